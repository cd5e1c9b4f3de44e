//! The chain of lines. A line is one JSON object that begins with its number and ends with its hash; the hash is over the
//! hash of the line before and everything in this one up to its own hash.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::hex;

/// Longest line, bytes. A longer one is none of ours.
pub const MAX_LINE: usize = 64 * 1024;
/// How the names of the log's own records begin.
pub const OWN: &str = "audit-";

const BEGIN: &str = "{\"n\":";
const HASH: &str = ",\"hash\":\"";
const END: &str = "\"}";
const TAIL: usize = HASH.len() + 64 + END.len();

/// Where the chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain {
    /// Number of the last record; zero before the first.
    pub n: u64,
    /// Its hash; zeros before the first.
    pub hash: [u8; 32],
}

impl Chain {
    /// The next line, with its end, and where the chain stands after it. `fields` is the inside of a JSON object.
    #[must_use]
    pub fn next(&self, time_ms: u64, fields: &str) -> (String, Self) {
        let n = self.n + 1;
        let mut line = String::with_capacity(fields.len() + TAIL + 48);
        // Writing to a String cannot fail.
        let _ = write!(line, "{BEGIN}{n},\"time\":{time_ms},{fields}");
        let hash = self.hash_of(line.as_bytes());
        let _ = writeln!(line, "{HASH}{}{END}", hex::encode(&hash));
        (line, Self { n, hash })
    }

    /// Whether a line follows here.
    #[must_use]
    pub fn takes(&self, line: &Line<'_>) -> bool {
        line.n == self.n + 1 && self.hash_of(line.body) == line.hash
    }

    /// The hash that a line with this body has to have here.
    #[must_use]
    pub fn hash_of(&self, body: &[u8]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.hash);
        hasher.update(body);
        hasher.finalize().into()
    }
}

/// A line that has the form of one.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its number.
    pub n: u64,
    /// What its hash is over.
    pub body: &'a [u8],
    /// Its hash, as it says.
    pub hash: [u8; 32],
    /// All of it, without the end.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes a line without its end apart.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (body, tail) = text.split_at_checked(text.len().checked_sub(TAIL)?)?;
        let hash = tail
            .strip_prefix(HASH.as_bytes())?
            .strip_suffix(END.as_bytes())?;
        let (n, _) = number(body.strip_prefix(BEGIN.as_bytes())?)?;
        Some(Self {
            n,
            body,
            hash: hex::decode(hash)?,
            text,
        })
    }

    /// The chain after it, if one believes it.
    #[must_use]
    pub fn chain(&self) -> Chain {
        Chain {
            n: self.n,
            hash: self.hash,
        }
    }

    /// The fields of a record of the log itself, which is told by its first field after the time.
    #[must_use]
    pub fn own(&self) -> Option<Map<String, Value>> {
        let rest = number(self.body.strip_prefix(BEGIN.as_bytes())?)?.1;
        let rest = number(rest.strip_prefix(b",\"time\":")?)?.1;
        let rest = rest.strip_prefix(b",\"request\":\"")?;
        rest.strip_prefix(OWN.as_bytes())?;
        match serde_json::from_slice(self.text) {
            Ok(Value::Object(fields)) => Some(fields),
            _ => None,
        }
    }
}

/// The number at the beginning, and what is behind it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(digits);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_and_fits_where_it_was_made_only() {
        let start = Chain::default();
        let (first, after) = start.next(17, "\"request\":\"tool\"");
        let (second, _) = after.next(18, "\"request\":\"tool\"");
        let value: Value = serde_json::from_str(&first).unwrap();
        assert_eq!((&value["n"], &value["time"]), (&1.into(), &17.into()));
        let (one, two) = (first.trim_end().as_bytes(), second.trim_end().as_bytes());
        let (one, two) = (Line::parse(one).unwrap(), Line::parse(two).unwrap());
        assert!(start.takes(&one) && after.takes(&two));
        assert!(!start.takes(&two) && !after.takes(&one));
        assert!(one.own().is_none());
    }

    #[test]
    fn a_text_is_not_taken_for_a_record_of_the_log_itself() {
        let fields = format!("\"subject\":{}", Value::from("\"request\":\"audit-gap\""));
        let (line, _) = Chain::default().next(1, &fields);
        assert!(
            Line::parse(line.trim_end().as_bytes())
                .unwrap()
                .own()
                .is_none()
        );
        let (line, _) = Chain::default().next(1, "\"request\":\"audit-gap\"");
        assert!(
            Line::parse(line.trim_end().as_bytes())
                .unwrap()
                .own()
                .is_some()
        );
    }

    #[test]
    fn whatever_is_no_line_is_none() {
        let (line, _) = Chain::default().next(1, "\"request\":\"tool\"");
        let line = line.trim_end();
        for cut in 0..line.len() {
            assert!(Line::parse(&line.as_bytes()[..cut]).is_none(), "{cut}");
        }
        assert!(Line::parse(&line.as_bytes()[1..]).is_none());
    }
}
