//! A secret: bytes in locked memory that can be looked at only inside a closure.
//! It cannot be printed, cloned, compared with `==` or serialized, so that it leaves only where somebody wrote `expose`.

use std::io;

use clawdbot_confine::memory::{Backing, LockedBytes};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes: a key, a token, a password. Wiped when dropped.
///
/// What is possible:
/// ```
/// # use clawdbot_secrets::Secret;
/// # fn main() -> std::io::Result<()> {
/// fn show(text: &(impl std::fmt::Debug + std::fmt::Display + Clone + serde::Serialize)) {}
/// show(&"text");
/// let secret = Secret::new(b"key".to_vec().into())?;
/// assert_eq!(secret.expose(<[u8]>::len), 3);
/// # Ok(())
/// # }
/// ```
/// What is not, each the same call with a secret:
/// ```compile_fail,E0277
/// fn show(value: &impl std::fmt::Debug) {}
/// fn refused(secret: &clawdbot_secrets::Secret) { show(secret) }
/// ```
/// ```compile_fail,E0277
/// fn show(value: &impl std::fmt::Display) {}
/// fn refused(secret: &clawdbot_secrets::Secret) { show(secret) }
/// ```
/// ```compile_fail,E0277
/// fn copy(value: &impl Clone) {}
/// fn refused(secret: &clawdbot_secrets::Secret) { copy(secret) }
/// ```
/// ```compile_fail,E0277
/// fn send(value: &impl serde::Serialize) {}
/// fn refused(secret: &clawdbot_secrets::Secret) { send(secret) }
/// ```
/// ```compile_fail,E0277
/// fn compare(value: &impl PartialEq) {}
/// fn refused(secret: &clawdbot_secrets::Secret) { compare(secret) }
/// ```
pub struct Secret(LockedBytes);

impl Secret {
    /// Moves bytes into locked memory; the source is wiped.
    ///
    /// # Errors
    /// When the system gives no memory.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> io::Result<Self> {
        LockedBytes::from_zeroizing(bytes).map(Self)
    }

    /// Lends the bytes to `look`. What it copies out of there it has to wipe itself.
    pub fn expose<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        self.0.expose(look)
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What kind of memory the bytes rest in; less than locked is worth a warning.
    pub fn backing(&self) -> Backing {
        self.0.kind()
    }

    /// Whether `presented` is this secret, in a time that depends on its length only.
    pub fn is(&self, presented: &[u8]) -> bool {
        self.expose(|bytes| bytes.ct_eq(presented).into())
    }
}

/// The SHA-256 of a token, which is enough to recognise the token and too little to use it.
///
/// For tokens of at least 128 random bits only: a password can be guessed from its digest.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Digests a token.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Whether `presented` is the token, in a time that says nothing about the token, not even its length.
    pub fn is_of(&self, presented: &[u8]) -> bool {
        self.0.ct_eq(&Self::of(presented).0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_gives_back_exactly_its_bytes() {
        let secret = Secret::new(b"sk-\0\xff".to_vec().into()).unwrap();
        assert_eq!(secret.expose(<[u8]>::to_vec), b"sk-\0\xff");
        assert_eq!((secret.len(), secret.is_empty()), (5, false));
    }

    #[test]
    fn only_the_same_bytes_are_the_secret() {
        let secret = Secret::new(b"correct".to_vec().into()).unwrap();
        assert!(secret.is(b"correct"));
        for other in [&b"correcT"[..], b"correc", b"correct ", b""] {
            assert!(!secret.is(other));
        }
    }

    #[test]
    fn a_digest_recognises_its_token_only() {
        let digest = TokenDigest::of(b"abc");
        assert_eq!(
            digest.0[..4],
            [0xba, 0x78, 0x16, 0xbf],
            "SHA-256 of abc, FIPS 180-2"
        );
        assert!(digest.is_of(b"abc"));
        assert!(!digest.is_of(b"abd") && !digest.is_of(b"") && !digest.is_of(b"abcd"));
    }
}
