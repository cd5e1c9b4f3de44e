//! A decision against the caller: a value, not an error. It names its rule and says in words what to do.

use std::time::Duration;

use clawdbot_proto::v1;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Stable name of the rule, for instance `auth.rate_limited`.
    pub rule: &'static str,
    /// What to tell the person.
    pub message: String,
    /// How long to wait before another try makes sense; zero when waiting does not help.
    pub retry_after: Duration,
}

impl Denied {
    /// A refusal that waiting does not change.
    pub fn new(rule: &'static str, message: impl Into<String>) -> Self {
        Self {
            rule,
            message: message.into(),
            retry_after: Duration::ZERO,
        }
    }

    /// A refusal for a while.
    pub fn until(rule: &'static str, message: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            rule,
            message: message.into(),
            retry_after,
        }
    }
}

impl From<Denied> for v1::Refusal {
    fn from(denied: Denied) -> Self {
        Self {
            rule: denied.rule.to_owned(),
            message: denied.message,
            retry_after_seconds: whole_seconds(denied.retry_after),
        }
    }
}

/// Seconds, rounded up: who waits that long does not come too early.
pub fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_told_shorter_than_it_is() {
        for (wait, seconds) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(wait)), seconds);
        }
    }
}
