//! The life of the process: the bus is reached before the confinement, the request is answered after it.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use clawdbot_service::{Context, ServeError, Start, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::answer::{Trouble, answer};
use crate::ring::Ring;

/// The supervisor ends this process after five seconds; what went wrong is said before.
const PATIENCE: Duration = Duration::from_millis(4500);
/// Longest request, bytes.
const MAX_REQUEST: u64 = 4096;

/// What the process opened before its confinement.
pub struct Prepared {
    broker: UnixStream,
    ring: Ring,
}

/// Takes the connection to the broker and opens the way to the keyring. That there is none is for the broker to know,
/// not a failed start.
///
/// # Errors
/// When nobody wants an answer.
pub fn prepare(start: &mut Start) -> Result<Prepared, StartError> {
    let broker = start.take_file("broker").ok_or_else(|| {
        StartError::config("the keyring's helper is started when the broker asks for it")
    })?;
    Ok(Prepared {
        broker: broker.into(),
        ring: Ring::open(start.take_file("bus")),
    })
}

/// Answers the one request.
///
/// # Errors
/// When the broker is gone.
pub async fn serve(prepared: Prepared, _: Context) -> Result<(), ServeError> {
    let Prepared { broker, ring } = prepared;
    broker.set_nonblocking(true)?;
    let mut broker = tokio::net::UnixStream::from_std(broker)?;
    let mut request = Zeroizing::new(Vec::with_capacity(MAX_REQUEST as usize));
    (&mut broker)
        .take(MAX_REQUEST)
        .read_to_end(&mut request)
        .await?;
    let reply = answer(&request, async |wish| {
        match timeout(PATIENCE, ring.fulfil(wish)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Trouble::Unusable(
                "the keyring does not answer; unlock it (its question may be waiting on the screen) and try again"
                    .to_owned(),
            )),
        }
    })
    .await;
    broker.write_all(&reply).await?;
    Ok(())
}
