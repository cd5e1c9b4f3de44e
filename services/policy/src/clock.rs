//! Clocks that were set: what was issued while one ran ahead seems to come from the future afterwards. It would live longer
//! than it was meant to, so beyond a small difference it counts as over.

use std::time::Duration;

/// How far apart two readings of one clock may be that nobody set.
pub(crate) const SLACK: Duration = Duration::from_secs(5 * 60);

/// Whether something was issued later than now, in seconds since 1970.
pub(crate) fn is_ahead(issued: u64, now: u64) -> bool {
    issued > now.saturating_add(SLACK.as_secs())
}

/// The same in milliseconds.
pub(crate) fn is_ahead_ms(issued_ms: u64, now_ms: u64) -> bool {
    issued_ms.saturating_sub(now_ms) > SLACK.as_secs() * 1000
}
