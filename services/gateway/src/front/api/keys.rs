//! Visit keys of bearers that were right a moment ago, so that a request costs no check of a password. A bearer is known
//! again by its digest alone, for minutes; policy judges the key at every request, so what it ends is over at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::super::connection::Connection;
use super::super::{Front, access};
use super::fault::Fault;
use crate::limits;

type BearerDigest = [u8; 32];

/// The keys.
#[derive(Default)]
pub struct Keys {
    known: Mutex<HashMap<BearerDigest, Known>>,
    /// Policy hashes one password at a time and is asked rarely; whoever waits here finds what the one before learned.
    asking: tokio::sync::Mutex<()>,
}

struct Known {
    key: String,
    until: Instant,
}

/// A bearer that was shown, and the visit key that it opened.
pub struct Pass {
    /// What policy judges.
    pub key: String,
    /// Whether the bearer was right a while ago, not just now.
    remembered: bool,
    bearer: Bearer,
}

struct Bearer {
    mode: String,
    word: String,
    digest: BearerDigest,
}

impl Keys {
    /// The pass of a request, which marks its connection as authenticated.
    ///
    /// # Errors
    /// When there is no right bearer, its source has to wait, or policy cannot be reached.
    pub async fn pass(
        &self,
        front: &Front,
        connection: &Connection,
        mode: &str,
        headers: &HeaderMap,
    ) -> Result<Pass, Fault> {
        let Some(Some(word)) = access::bearer(headers) else {
            return Err(Fault::no_credential());
        };
        // Before what is remembered: a source that guesses must not learn by this way which guess was right.
        if let Some(refusal) = front.0.access.locked_out(connection.peer.ip()) {
            return Err(Fault::credential(&refusal));
        }
        let bearer = Bearer {
            mode: mode.to_owned(),
            digest: digest(mode, &word),
            word,
        };
        match self.remembered(&bearer.digest) {
            Some(key) => {
                connection.authenticated();
                Ok(Pass {
                    key,
                    remembered: true,
                    bearer,
                })
            }
            None => self.verify(front, connection, bearer).await,
        }
    }

    /// Another pass for the same bearer, when policy refused what was remembered. `None` when it was just verified.
    ///
    /// # Errors
    /// As [`Keys::pass`].
    pub async fn renew(
        &self,
        front: &Front,
        connection: &Connection,
        pass: &Pass,
    ) -> Result<Option<Pass>, Fault> {
        if !pass.remembered {
            return Ok(None);
        }
        let Bearer { mode, word, digest } = &pass.bearer;
        self.forget(digest, &pass.key);
        let bearer = Bearer {
            mode: mode.clone(),
            word: word.clone(),
            digest: *digest,
        };
        self.verify(front, connection, bearer).await.map(Some)
    }

    /// Sees to it that a pass is still right where nothing else asks policy.
    ///
    /// # Errors
    /// As [`Keys::pass`].
    pub async fn check(
        &self,
        front: &Front,
        connection: &Connection,
        pass: Pass,
    ) -> Result<(), Fault> {
        if !pass.remembered {
            return Ok(());
        }
        let checked = front.0.access.recheck(&pass.key).await;
        match checked.map_err(|status| Fault::status(&status))? {
            Ok(_) => Ok(()),
            Err(_) => self.renew(front, connection, &pass).await.map(drop),
        }
    }

    async fn verify(
        &self,
        front: &Front,
        connection: &Connection,
        bearer: Bearer,
    ) -> Result<Pass, Fault> {
        let _one = self.asking.lock().await;
        let pass = |key, remembered, bearer| Pass {
            key,
            remembered,
            bearer,
        };
        if let Some(key) = self.remembered(&bearer.digest) {
            connection.authenticated();
            return Ok(pass(key, true, bearer));
        }
        let credential = access::credential(&bearer.mode, bearer.word.clone());
        let verified = front.0.access.verify(credential, connection.peer.ip());
        let visit = verified
            .await
            .map_err(|status| Fault::status(&status))?
            .map_err(|refusal| Fault::credential(&refusal))?;
        connection.authenticated();
        self.remember(bearer.digest, &visit.key);
        Ok(pass(visit.key, false, bearer))
    }

    fn remembered(&self, digest: &BearerDigest) -> Option<String> {
        let known = self.known();
        let known = known.get(digest)?;
        (known.until > Instant::now()).then(|| known.key.clone())
    }

    fn remember(&self, digest: BearerDigest, key: &str) {
        let now = Instant::now();
        let mut known = self.known();
        known.retain(|_, known| known.until > now);
        // Only right bearers come here, so there are few; one that is not remembered is asked about again.
        if known.len() < limits::BEARERS.0 {
            let (key, until) = (key.to_owned(), now + limits::BEARERS.1);
            known.insert(digest, Known { key, until });
        }
    }

    /// Somebody else may have been quicker, and remembered the next key.
    fn forget(&self, digest: &BearerDigest, key: &str) {
        self.known()
            .retain(|other, known| other != digest || known.key != key);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<BearerDigest, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mode counts: what was right as a token is not so as a password.
fn digest(mode: &str, word: &str) -> BearerDigest {
    let mut digest = Sha256::new_with_prefix(mode.as_bytes());
    digest.update(b"\0");
    digest.update(word.as_bytes());
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_remembered_for_its_time_and_their_number_is_bounded() {
        tokio::time::pause();
        let keys = Keys::default();
        let right = digest("token", "right");
        keys.remember(right, "key");
        assert_eq!(keys.remembered(&right).as_deref(), Some("key"));
        assert_eq!(keys.remembered(&digest("password", "right")), None);
        tokio::time::advance(limits::BEARERS.1).await;
        assert_eq!(keys.remembered(&right), None);
        for n in 0..2 * limits::BEARERS.0 {
            keys.remember(digest("token", &n.to_string()), "key");
        }
        assert_eq!(keys.known().len(), limits::BEARERS.0);
    }
}
