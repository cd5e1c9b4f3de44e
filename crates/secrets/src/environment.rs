//! The start environment as the broker gets it: one blob of NUL-separated `NAME=VALUE`, taken apart into secrets once.
//! Entries that cannot be a credential are not kept. The blob is wiped, whatever happens.

use std::collections::BTreeMap;
use std::io;

use zeroize::Zeroizing;

use crate::{EnvironmentFile, Secret};

/// Largest blob, in bytes. Linux gives a process some MiB at most; a shell's environment has a few KiB.
pub const MAX_BLOB: usize = 1 << 20;

/// Longest value that is kept, in bytes. Keys and tokens have hundreds.
pub const MAX_VALUE: usize = 16 << 10;

/// Why an environment blob was not taken.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// More than [`MAX_BLOB`] bytes.
    #[error(
        "the start environment has {0} bytes, at most {MAX_BLOB} are taken; start with fewer variables"
    )]
    TooLarge(usize),
    /// The system gave no memory.
    #[error("no memory for the start environment: {0}")]
    Memory(#[from] io::Error),
}

/// Environment variables as secrets, by name.
#[derive(Default)]
pub struct Environment {
    values: BTreeMap<String, Secret>,
    skipped: usize,
}

impl Environment {
    /// Takes a blob apart. Kept are entries whose name is `[A-Z_][A-Z0-9_]*` and `wanted`, and whose value is neither
    /// empty (which means unset) nor longer than [`MAX_VALUE`]; of two with one name the first, as getenv does.
    /// An ordinary environment is mostly not credentials, and each secret costs a page of locked memory: want little.
    ///
    /// # Errors
    /// When the blob is too large or memory runs out. The blob is wiped then, too.
    pub fn parse(
        blob: Zeroizing<Vec<u8>>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self, EnvironmentError> {
        if blob.len() > MAX_BLOB {
            return Err(EnvironmentError::TooLarge(blob.len()));
        }
        let mut parsed = Self::default();
        for entry in blob.split(|&b| b == 0).filter(|entry| !entry.is_empty()) {
            match split(entry)
                .filter(|(name, _)| wanted(name) && !parsed.values.contains_key(*name))
            {
                Some((name, value)) => {
                    let secret = Secret::new(Zeroizing::new(value.to_vec()))?;
                    parsed.values.insert(name.to_owned(), secret);
                }
                None => parsed.skipped += 1,
            }
        }
        Ok(parsed)
    }

    /// Takes over what a file says, as [`Self::parse`] does: kept are names that are `wanted`, and values that are not
    /// empty. Of two with one name the last counts, as the service manager has it.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn of_file(
        file: &EnvironmentFile,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self, EnvironmentError> {
        let mut taken = Self::default();
        for (name, value) in &file.assignments {
            taken.values.remove(name);
            if value.is_empty() || !wanted(name) {
                taken.skipped += 1;
                continue;
            }
            let secret = Secret::new(value.clone())?;
            taken.values.insert(name.clone(), secret);
        }
        Ok(taken)
    }

    /// The names that are set, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.values.get(name)
    }

    /// How many entries were not kept.
    pub fn skipped(&self) -> usize {
        self.skipped
    }
}

/// Name and value of an entry that can be a credential.
fn split(entry: &[u8]) -> Option<(&str, &[u8])> {
    let at = entry.iter().position(|&b| b == b'=')?;
    let (name, value) = (std::str::from_utf8(&entry[..at]).ok()?, &entry[at + 1..]);
    (is_name(name) && (1..=MAX_VALUE).contains(&value.len())).then_some((name, value))
}

/// Whether a text is a variable name that the config may refer to: `[A-Z_][A-Z0-9_]*`.
pub fn is_name(name: &str) -> bool {
    name.bytes()
        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        && name.starts_with(|c: char| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(blob: &[u8]) -> Environment {
        Environment::parse(blob.to_vec().into(), |_| true).unwrap()
    }

    #[test]
    fn values_are_kept_byte_for_byte_under_their_names() {
        let env = parse(b"OPENAI_API_KEY=sk=1=\0_X=a b\xff\0A1=\n\0");
        assert_eq!(
            env.names().collect::<Vec<_>>(),
            ["A1", "OPENAI_API_KEY", "_X"]
        );
        assert!(env.get("OPENAI_API_KEY").unwrap().is(b"sk=1="));
        assert!(env.get("_X").unwrap().is(b"a b\xff"));
        assert!(env.get("A1").unwrap().is(b"\n"));
        assert_eq!(env.skipped(), 0);
        assert!(env.get("HOME").is_none());
    }

    #[test]
    fn what_cannot_be_a_credential_is_skipped_and_counted() {
        let long = [b"LONG=".as_slice(), &vec![b'x'; MAX_VALUE + 1]].concat();
        for entry in [
            &b"lower=x"[..],
            b"1A=x",
            b"=x",
            b"NOVALUE",
            b"EMPTY=",
            b"A-B=x",
            b"\xff=x",
            b"BASH_FUNC_f%%=() {",
            &long,
        ] {
            let env = parse(&[entry, b"\0GOOD=1"].concat());
            assert_eq!(
                (env.names().collect::<Vec<_>>(), env.skipped()),
                (vec!["GOOD"], 1)
            );
        }
        assert_eq!(parse(b"\0\0").skipped(), 0);
    }

    #[test]
    fn the_first_of_two_values_counts() {
        let env = parse(b"A=1\0A=2");
        assert!(env.get("A").unwrap().is(b"1"));
        assert_eq!(env.skipped(), 1);
    }

    #[test]
    fn of_a_file_the_last_value_counts_and_an_empty_one_unsets() {
        let file = EnvironmentFile::parse(b"A=1\nA=2\nB=1\nB=\nC=3\nlower=x\n");
        let env = Environment::of_file(&file, |name| name != "C").unwrap();
        assert_eq!(env.names().collect::<Vec<_>>(), ["A"]);
        assert!(env.get("A").unwrap().is(b"2"));
        assert_eq!(env.skipped(), 2);
    }

    #[test]
    fn only_wanted_names_take_locked_memory() {
        let blob = b"PATH=/bin\0OPENAI_API_KEY=k\0".to_vec();
        let env =
            Environment::parse(blob.into(), |name| crate::owner::of_name(name).is_some()).unwrap();
        assert_eq!(env.names().collect::<Vec<_>>(), ["OPENAI_API_KEY"]);
    }

    #[test]
    fn a_blob_is_bounded() {
        let blob = |len| [b"lower=".as_slice(), &vec![b'x'; len - 6]].concat();
        assert!(Environment::parse(blob(MAX_BLOB).into(), |_| true).is_ok());
        let error = Environment::parse(blob(MAX_BLOB + 1).into(), |_| true)
            .err()
            .unwrap();
        assert!(error.to_string().contains("1048577"), "{error}");
    }
}
