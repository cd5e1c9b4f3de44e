//! Systems without a keyring that this program knows.

use std::os::fd::OwnedFd;

use crate::answer::{Fulfilled, Trouble, Wish};

/// Nothing.
pub(crate) struct Ring;

impl Ring {
    /// There is nothing to open.
    pub(crate) fn open(_: Option<OwnedFd>) -> Self {
        Self
    }

    /// Says that there is no keyring.
    ///
    /// # Errors
    /// Always.
    pub(crate) async fn fulfil(self, _: Wish) -> Fulfilled {
        Err(Trouble::Nowhere(
            "this system has no keyring that Clawdbot knows".to_owned(),
        ))
    }
}
