//! The vault's key as the service manager gives it: 32 bytes, decrypted for this process alone. Where it should be and is not,
//! nothing takes its place: neither another key nor another vault.

use std::io;

use clawdbot_secrets::Secret;
use zeroize::Zeroizing;

use super::format::KEY;

const RESTORE: &str = "`systemctl status clawdbot-broker` may say why; put the copy of /etc/credstore.encrypted/clawdbot.vault-key back that this machine made, then `systemctl restart clawdbot-broker`";

/// What the service manager gave.
pub(crate) enum Provided {
    /// No service manager started this process.
    Nobody,
    /// The key.
    Key(Secret),
    /// There should be one: why there is none, and what to do.
    Missing(String),
}

impl Provided {
    /// Takes what the credential holds, if there is one.
    pub(crate) fn of(bytes: Option<io::Result<Zeroizing<Vec<u8>>>>) -> Self {
        let missing = |why: String| Self::Missing(format!("{why}; {RESTORE}"));
        match bytes {
            None => missing("the service manager gave no key for the vault".to_owned()),
            Some(Err(error)) => missing(format!("the vault's key cannot be read: {error}")),
            Some(Ok(bytes)) if bytes.len() != KEY => missing(format!(
                "the vault's key from the service manager has not {KEY} bytes"
            )),
            Some(Ok(bytes)) => Secret::new(bytes).map_or_else(
                |error| Self::Missing(format!("no memory for the vault's key: {error}")),
                Self::Key,
            ),
        }
    }

    /// Whether a service manager is there to ask.
    pub(crate) fn is_somebody(&self) -> bool {
        !matches!(self, Self::Nobody)
    }

    /// The key, once more.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub(crate) fn key(&self) -> Result<Secret, String> {
        match self {
            Self::Key(key) => Secret::new(key.expose(|key: &[u8]| Zeroizing::new(key.to_vec())))
                .map_err(|error| format!("no memory for the vault's key: {error}")),
            Self::Missing(why) => Err(why.clone()),
            Self::Nobody => Err(
                "the vault's key comes from the service manager, which did not start this process; start the installed units, or move the folder `credentials` out of the state directory and log in again"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Provided {
        Provided::of(Some(Ok(Zeroizing::new(bytes.to_vec()))))
    }

    #[test]
    fn exactly_a_key_is_one() {
        assert!(of(&[7; KEY]).key().unwrap().is(&[7; KEY]));
        for bytes in [&b""[..], &[7; KEY - 1], &[7; KEY + 1], &[b'0'; 2 * KEY]] {
            let why = of(bytes).key().err().unwrap();
            assert!(
                why.contains("32 bytes") && why.contains("credstore"),
                "{why}"
            );
        }
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        for absent in [None, Some(Err(refused))] {
            let absent = Provided::of(absent);
            assert!(absent.is_somebody());
            let why = absent.key().err().unwrap();
            assert!(why.contains("systemctl status clawdbot-broker"), "{why}");
        }
        assert!(!Provided::Nobody.is_somebody());
    }
}
