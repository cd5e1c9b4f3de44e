//! How often a peer is connected to that a service manager starts for whoever connects. One that ends before it has answered
//! anything would be started again at its callers' pace; it is left alone for longer and longer, and until then calls fail.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// From the first connection without an answer to the next; it doubles with each. So the tries of one call, which keep the
/// same pauses, are all made.
const FIRST: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);
/// The same where the socket lets nobody connect: that starts nothing, and once it does the peer should be found soon.
const REFUSED: Duration = Duration::from_secs(1);
/// What a call waits of a pause instead of failing: the longest one between two tries of its own.
const SHORT: Duration = Duration::from_millis(640);

/// The connections to one peer.
#[derive(Default)]
pub(crate) struct Pace(Mutex<Tries>);

#[derive(Default)]
struct Tries {
    /// In a row that were connected, or that were not.
    count: u32,
    connected: bool,
    /// When the next may be made.
    next: Option<Instant>,
}

impl Pace {
    /// Waits for the next connect if it is soon.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) async fn turn(&self) -> io::Result<()> {
        let (left, connected) = {
            let tries = self.tries();
            (tries.left(), tries.connected)
        };
        if left <= SHORT {
            sleep(left).await;
            return Ok(());
        }
        let what = match connected {
            true => "it ends as soon as it is started",
            false => "its socket lets nobody connect",
        };
        let left = left.as_millis().div_ceil(1000);
        Err(io::Error::other(format!(
            "{what}; the next try is in {left} s"
        )))
    }

    /// A connect was tried. Until the peer answers, the next has to wait.
    pub(crate) fn tried(&self, connected: bool) {
        let mut tries = self.tries();
        if tries.connected != connected {
            tries.count = 0;
        }
        let longest = if connected { LONGEST } else { REFUSED };
        let pause = FIRST.saturating_mul(1_u32.checked_shl(tries.count).unwrap_or(u32::MAX));
        tries.count = tries.count.saturating_add(1);
        tries.connected = connected;
        tries.next = Some(Instant::now() + pause.min(longest));
    }

    /// The peer works.
    pub(crate) fn answered(&self) {
        *self.tries() = Tries::default();
    }

    /// Waits until the next connect may be made.
    #[cfg(feature = "grpc")]
    pub(crate) async fn rested(&self) {
        loop {
            let left = self.tries().left();
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }

    fn tries(&self) -> MutexGuard<'_, Tries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tries {
    fn left(&self) -> Duration {
        let left = |next: Instant| next.saturating_duration_since(Instant::now());
        self.next.map_or(Duration::ZERO, left)
    }
}

#[cfg(test)]
mod tests;
