//! The gateway password: argon2id, computed when it is first needed. The clear text is wiped with that first use, and the
//! 19 MiB that each computation takes go back to the system at once.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use clawdbot_secrets::Secret;
use subtle::ConstantTimeEq;

/// OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// Blocks of 1 KiB that are reserved, more than are used: from 32 MiB on glibc always maps an allocation by itself and
/// unmaps it when it is freed. Below, it would learn to keep the memory for the next time (mallopt(3), M_MMAP_THRESHOLD).
/// Pages that are never touched cost nothing.
const RESERVED_BLOCKS: usize = 33 * 1024;

/// The password could not be computed.
#[derive(Debug, thiserror::Error)]
#[error("the password cannot be checked: {0}")]
pub struct PasswordError(String);

/// What the right password is recognised by.
pub struct Password(State);

enum State {
    Clear(Secret),
    Hashed { salt: [u8; 16], hash: [u8; 32] },
}

impl Password {
    /// Takes the password in clear.
    pub fn new(clear: Secret) -> Self {
        Self(State::Clear(clear))
    }

    /// Whether `presented` is the password. Takes tens of milliseconds and 19 MiB: for a thread that may block, one
    /// call at a time. `salt` is random; it is used the first time only.
    ///
    /// # Errors
    /// When the system gives no 19 MiB.
    pub fn is(&mut self, presented: &[u8], salt: [u8; 16]) -> Result<bool, PasswordError> {
        if let State::Clear(clear) = &self.0 {
            let hash = clear.expose(|clear| argon2id(clear, &salt))?;
            self.0 = State::Hashed { salt, hash };
        }
        match &self.0 {
            State::Hashed { salt, hash } => Ok(argon2id(presented, salt)?.ct_eq(hash).into()),
            State::Clear(_) => Ok(false),
        }
    }
}

fn argon2id(password: &[u8], salt: &[u8; 16]) -> Result<[u8; 32], PasswordError> {
    let failed = |error: &dyn std::fmt::Display| PasswordError(error.to_string());
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(32)).map_err(|error| failed(&error))?;
    let count = params.block_count();
    let mut blocks = Vec::new();
    blocks
        .try_reserve_exact(RESERVED_BLOCKS.max(count))
        .map_err(|error| failed(&error))?;
    blocks.resize(count, Block::new());
    let mut hash = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, &mut hash, &mut blocks)
        .map_err(|error| failed(&error))?;
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_is_right_before_and_after_it_was_hashed() {
        for order in [[true, false], [false, true]] {
            let mut password =
                Password::new(Secret::new(b"correct horse battery".to_vec().into()).unwrap());
            for right in order {
                let presented: &[u8] = if right {
                    b"correct horse battery"
                } else {
                    b"correct horse batterY"
                };
                assert_eq!(password.is(presented, [right.into(); 16]).unwrap(), right);
                assert!(
                    matches!(password.0, State::Hashed { .. }),
                    "the clear text is wiped"
                );
            }
            assert!(!password.is(b"", [0; 16]).unwrap());
        }
    }

    #[test]
    fn the_hash_is_argon2id() {
        // From `echo -n password | argon2 somesalt12345678 -id -t 2 -k 19456 -p 1 -l 32 -r`.
        let hash = argon2id(b"password", b"somesalt12345678").unwrap();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "0c4c0b6db219194b6006e078818a24eabea136f7af619a31930310e7f2d749a5"
        );
    }
}
