//! The seal of checkpoints: HMAC-SHA256 under a key that is used once. The next key follows from it and not the other way
//! round, so that the keys of the past, once forgotten, cannot be had from the one in use.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::chain::Chain;
use crate::hex;

/// The key of one checkpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<[u8; 32]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyError;

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key of the audit log has 64 digits of 0-9 and a-f")
    }
}

impl std::error::Error for KeyError {}

impl Key {
    /// The first key, from random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// From its text.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        hex::decode(text.trim().as_bytes())
            .map(Self::new)
            .ok_or(KeyError)
    }

    /// As text, for a file or a person.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(&*self.0))
    }

    /// The key of the next checkpoint.
    #[must_use]
    pub fn next(&self) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"clawdbot audit: the next key");
        hasher.update(*self.0);
        Self::new(hasher.finalize().into())
    }

    /// The key so many checkpoints later.
    #[must_use]
    pub fn after(&self, checkpoints: u64) -> Self {
        (0..checkpoints).fold(self.clone(), |key, _| key.next())
    }

    /// The seal of a checkpoint behind the last record of the chain.
    #[must_use]
    pub fn seal(&self, checkpoint: u64, chain: &Chain) -> [u8; 32] {
        let mut mac = keyed(&self.0);
        mac.update(&checkpoint.to_be_bytes());
        mac.update(&chain.n.to_be_bytes());
        mac.update(&chain.hash);
        mac.finalize().into_bytes().into()
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC takes keys of any length; this branch does not exist for 32 bytes.
    Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_checkpoint_has_a_key_of_its_own_and_a_seal_is_for_one_place() {
        let first = Key::new([7; 32]);
        let second = first.next();
        assert_ne!(first, second);
        assert_eq!(first.after(2), second.next());
        let chain = Chain {
            n: 5,
            hash: [1; 32],
        };
        let seal = first.seal(1, &chain);
        assert_eq!(seal, first.seal(1, &chain));
        assert_ne!(seal, second.seal(1, &chain));
        assert_ne!(seal, first.seal(2, &chain));
        assert_ne!(seal, first.seal(1, &Chain { n: 6, ..chain }));
        assert_ne!(
            seal,
            first.seal(
                1,
                &Chain {
                    hash: [2; 32],
                    ..chain
                }
            )
        );
    }

    #[test]
    fn a_key_survives_its_text_and_shows_itself_nowhere_else() {
        let key = Key::new([0xab; 32]);
        assert_eq!(Key::parse(&format!(" {}\n", *key.text())), Ok(key.clone()));
        assert_eq!(Key::parse("abc"), Err(KeyError));
        assert!(!format!("{key:?}").contains("ab"));
    }
}
