//! The limits of one exchange, in one place. None of them can be switched off.

use std::time::Duration;

use tokio::time::Instant;

/// Largest response head: status line and all headers, in bytes.
pub(crate) const HEAD_BYTES: usize = 64 << 10;

/// What one request may take. The defaults suit a streaming answer of a model provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the start of sending until the response head is complete.
    pub head: Duration,
    /// Between two pieces of the body.
    pub idle: Duration,
    /// From the start of sending until the end of the body.
    pub total: Duration,
    /// Largest response body, in bytes.
    pub body: u64,
}

impl Default for Limits {
    /// 120 s to the head, 60 s between pieces, 600 s in all, 32 MiB.
    fn default() -> Self {
        Self {
            head: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
            body: 32 << 20,
        }
    }
}

/// `duration` after `start`, at most a year: a limit that large is never meant to be met, and must not overflow.
pub(crate) fn after(start: Instant, duration: Duration) -> Instant {
    start + duration.min(Duration::from_secs(365 * 24 * 3600))
}
