//! The login Keychain of macOS. The key is kept as text, so that the Keychain program can show that it is one.

use std::os::fd::OwnedFd;

use clawdbot_secrets::hex;
use security_framework::base::Error;
use security_framework::passwords::{get_generic_password, set_generic_password};
use zeroize::Zeroizing;

use crate::answer::{Fulfilled, Trouble, Wish};

const SERVICE: &str = "clawdbot";
/// errSecItemNotFound.
const NOT_FOUND: i32 = -25300;

/// The Keychain, which needs no connection.
pub(crate) struct Ring;

impl Ring {
    /// There is nothing to open.
    pub(crate) fn open(_: Option<OwnedFd>) -> Self {
        Self
    }

    /// Does what the broker wants. The calls wait for the person where the Keychain asks; the supervisor's limit ends that.
    ///
    /// # Errors
    /// Why the Keychain cannot be used, and the remedy.
    pub(crate) async fn fulfil(self, wish: Wish) -> Fulfilled {
        let done = tokio::task::spawn_blocking(move || match wish {
            // Whether the Keychain asks is its own decision.
            Wish::Fetch { vault, quiet: _ } => fetch(&vault),
            Wish::Keep { vault, key } => {
                let text = hex::encode(&key);
                set_generic_password(SERVICE, &vault, text.as_bytes())?;
                fetch(&vault)
            }
        });
        done.await
            .map_err(|_| Trouble::Unusable("the keyring's helper is stopping".to_owned()))?
            .map_err(|error| {
                Trouble::Unusable(format!(
                    "the Keychain cannot be used: {error}; unlock it and try again"
                ))
            })
    }
}

fn fetch(vault: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    match get_generic_password(SERVICE, vault) {
        Ok(text) => Ok(Some(hex::decode(&Zeroizing::new(text)).unwrap_or_default())),
        Err(error) if error.code() == NOT_FOUND => Ok(None),
        Err(error) => Err(error),
    }
}
