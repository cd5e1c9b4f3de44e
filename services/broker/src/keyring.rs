//! Asks the helper that can reach the user's keyring: one request, one answer, and the helper ends. Whatever goes wrong
//! is one sentence with a remedy; a keyring that does not answer in time counts as one that cannot be used.

use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use clawdbot_proto::v1::{KeyringReply, KeyringRequest, keyring_reply};
use clawdbot_secrets::Secret;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::vault::KEY;

/// The helper has five seconds; then its end of the connection closes.
const PATIENCE: Duration = Duration::from_secs(6);
/// Longest answer, bytes.
const MAX_REPLY: u64 = 4096;

/// Why the keyring cannot be used, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There is none here.
    Nowhere(String),
    /// There is one: locked, late or broken.
    Unusable(String),
}

impl Trouble {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Nowhere(why) | Self::Unusable(why) => why,
        }
    }
}

fn unusable(why: impl Into<String>) -> Trouble {
    Trouble::Unusable(why.into())
}

/// A connection to a helper that was just started.
pub(crate) type Helper = Pin<Box<dyn Future<Output = io::Result<StdStream>> + Send>>;
/// Starts a helper.
pub(crate) type Helpers = Arc<dyn Fn() -> Helper + Send + Sync>;

/// The key of a vault, fetched. When `quiet`, nobody is asked to unlock the keyring.
///
/// # Errors
/// Why it cannot be had, and what to do.
pub(crate) async fn fetch(
    helpers: &Helpers,
    vault_id: String,
    quiet: bool,
) -> Result<Secret, Trouble> {
    let request = KeyringRequest {
        vault_id: vault_id.clone(),
        store: Vec::new(),
        quiet,
    };
    match ask(helpers, request).await? {
        Some(key) => Ok(key),
        None => Err(unusable(format!(
            "the keyring answered, but has no key for vault {vault_id}; use the keyring that it was made with, or move the folder `credentials` out of the state directory and log in again"
        ))),
    }
}

/// Keeps the key of a new vault in the keyring.
///
/// # Errors
/// Why it cannot be kept, and what to do.
pub(crate) async fn keep(helpers: &Helpers, vault_id: String, key: &Secret) -> Result<(), Trouble> {
    let request = KeyringRequest {
        vault_id,
        store: key.expose(<[u8]>::to_vec),
        quiet: false,
    };
    match ask(helpers, request).await? {
        Some(kept) if kept.expose(|kept| key.is(kept)) => Ok(()),
        _ => Err(unusable(
            "the keyring took the vault's key and does not give it back; log in with --key-source file",
        )),
    }
}

async fn ask(helpers: &Helpers, request: KeyringRequest) -> Result<Option<Secret>, Trouble> {
    let answered = timeout(PATIENCE, exchange(helpers, request)).await;
    let bytes = match answered {
        Ok(Ok(bytes)) if !bytes.is_empty() => bytes,
        // A helper that is there says why it has no key.
        Ok(Ok(_)) => {
            return Err(Trouble::Nowhere(
                "the keyring's helper ended without an answer; see the log".to_owned(),
            ));
        }
        Err(_) => {
            return Err(unusable(
                "the keyring did not answer within 5 seconds; unlock it and try again",
            ));
        }
        Ok(Err(error)) => return Err(unusable(format!("the keyring cannot be asked: {error}"))),
    };
    let reply = KeyringReply::decode_length_delimited(bytes.as_slice()).map_err(|error| {
        unusable(format!(
            "the keyring's helper cannot be understood: {error}"
        ))
    })?;
    match reply.outcome {
        Some(keyring_reply::Outcome::Key(key)) => {
            let key = Zeroizing::new(key);
            if key.len() != KEY {
                return Err(unusable("what the keyring holds for this vault is no key"));
            }
            let key = Secret::new(key);
            key.map(Some)
                .map_err(|error| unusable(format!("no memory for the vault's key: {error}")))
        }
        Some(keyring_reply::Outcome::Absent(_)) => Ok(None),
        Some(keyring_reply::Outcome::Error(why)) => Err(unusable(why)),
        Some(keyring_reply::Outcome::Nowhere(why)) => Err(Trouble::Nowhere(why)),
        None => Err(unusable("the keyring's helper gave an empty answer")),
    }
}

async fn exchange(helpers: &Helpers, request: KeyringRequest) -> io::Result<Zeroizing<Vec<u8>>> {
    let message = Zeroizing::new(request.encode_length_delimited_to_vec());
    let _wiped = Zeroizing::new(request.store);
    let stream = helpers().await?;
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    // A helper that ended says so by what it does not answer.
    let _ended = stream.write_all(&message).await;
    let _ended = stream.shutdown().await;
    let mut reply = Zeroizing::new(Vec::with_capacity(MAX_REPLY as usize));
    stream.take(MAX_REPLY).read_to_end(&mut reply).await?;
    Ok(reply)
}
