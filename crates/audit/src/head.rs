//! The head: where the log ends, and the key in use. It is written over in place with every record, so that a log whose
//! end was cut off is known by it, and so that a key that was used is gone.

use std::fmt::Write as _;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::chain::Chain;
use crate::hex;
use crate::seal::Key;

/// Name of its file.
pub const HEAD: &str = "head";
/// Its size, bytes: always the same, so that it is written with one call and over all that was there.
pub const HEAD_BYTES: usize = 512;

/// An event of another process that is on record: its number, and its time, since numbers begin anew with each start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Its number; zero for none.
    pub number: u64,
    /// When it was.
    pub at_ms: u64,
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The last record.
    pub chain: Chain,
    /// Which file it stands in.
    pub file: u64,
    /// Where it ends in that file.
    pub offset: u64,
    /// Number of the next checkpoint, from 1.
    pub checkpoint: u64,
    /// The key of the next checkpoint.
    pub key: Key,
    /// The last lease of the broker and the last dial that are on record.
    pub seen: [Cursor; 2],
    /// How long the log was kept so far, milliseconds: no clock, since clocks jump.
    pub age_ms: u64,
    /// The last record that tells of damage nobody has accepted yet; zero for none.
    pub gap: u64,
}

impl Head {
    /// Before the first record.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self {
            chain: Chain::default(),
            file: 1,
            offset: 0,
            checkpoint: 1,
            key,
            seen: [Cursor::default(); 2],
            age_ms: 0,
            gap: 0,
        }
    }

    /// The text, [`HEAD_BYTES`] long.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let [lease, dial] = self.seen;
        // One buffer for all of it: this is on the way of every decision.
        let mut text = Zeroizing::new(String::with_capacity(HEAD_BYTES));
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{{\"n\":{},\"file\":{},\"offset\":{},\"hash\":\"{}\",\"checkpoint\":{},\"key\":\"{}\",\"seen\":[{},{},{},{}],\"age\":{},\"gap\":{}}}",
            self.chain.n,
            self.file,
            self.offset,
            hex::encode(&self.chain.hash),
            self.checkpoint,
            *self.key.text(),
            lease.number,
            lease.at_ms,
            dial.number,
            dial.at_ms,
            self.age_ms,
            self.gap,
        );
        let rest = (HEAD_BYTES - 1).saturating_sub(text.len());
        text.extend(std::iter::repeat_n(' ', rest));
        text.push('\n');
        text
    }

    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let number = |name: &str| value[name].as_u64();
        let seen = value["seen"].as_array()?;
        let seen: Vec<u64> = seen.iter().map(Value::as_u64).collect::<Option<_>>()?;
        let [lease, lease_at, dial, dial_at] = seen.try_into().ok()?;
        let cursor = |number, at_ms| Cursor { number, at_ms };
        Some(Self {
            chain: Chain {
                n: number("n")?,
                hash: hex::decode(value["hash"].as_str()?.as_bytes())?,
            },
            file: number("file")?,
            offset: number("offset")?,
            checkpoint: number("checkpoint")?,
            key: Key::parse(value["key"].as_str()?).ok()?,
            seen: [cursor(lease, lease_at), cursor(dial, dial_at)],
            age_ms: number("age")?,
            gap: number("gap")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_one_size_and_comes_back() {
        let mut head = Head::new(Key::new([3; 32]));
        let least = head.text();
        head.chain.n = u64::MAX;
        head.offset = u64::MAX;
        (head.file, head.checkpoint) = (u64::MAX, u64::MAX);
        (head.age_ms, head.gap) = (u64::MAX, u64::MAX);
        let last = Cursor {
            number: u64::MAX,
            at_ms: u64::MAX,
        };
        head.seen = [last; 2];
        let most = head.text();
        assert_eq!((least.len(), most.len()), (HEAD_BYTES, HEAD_BYTES));
        assert_eq!(Head::parse(&most), Some(head));
        assert_eq!(Head::parse(&most[..100]), None);
        assert_eq!(Head::parse(""), None);
    }
}
