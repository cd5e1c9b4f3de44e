//! How long to wait before another try. Two rules: full jitter for connections, and the configured pauses for sends.
//! Chance comes from outside, as a number from 0 to 1, so that both can be tested.

use std::time::{Duration, Instant};

/// How long a connection must have worked before its failures are forgotten.
const STABLE: Duration = Duration::from_secs(60);

/// A number from 0 (included) to 1 (excluded) from the system's source of chance; a half when it has none.
#[must_use]
pub fn random() -> f64 {
    const SCALE: f64 = (1u64 << 32) as f64;
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / SCALE)
}

/// Exponential pauses with full jitter: anything between nothing and the present step.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
    works_since: Option<Instant>,
}

impl Backoff {
    /// Steps from `base`, doubled with each failure, to `cap`.
    #[must_use]
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            failures: 0,
            works_since: None,
        }
    }

    /// A try failed: how long to wait before the next.
    pub fn failed(&mut self, now: Instant, random: f64) -> Duration {
        if self.is_stable(now) {
            self.failures = 0;
        }
        self.works_since = None;
        let step = doubled(self.base, self.failures, self.cap);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(random.clamp(0.0, 1.0))
    }

    /// A try worked. Failures are forgotten only after 60 s without another.
    pub fn worked(&mut self, now: Instant) {
        self.works_since.get_or_insert(now);
    }

    fn is_stable(&self, now: Instant) -> bool {
        self.works_since
            .is_some_and(|since| now.saturating_duration_since(since) >= STABLE)
    }
}

/// The configured pauses between the tries of one send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pauses {
    /// Tries altogether, at least one.
    pub attempts: u32,
    /// First pause.
    pub min: Duration,
    /// Longest pause.
    pub max: Duration,
    /// Part of a pause that varies, 0 to 1.
    pub jitter: f64,
}

impl Pauses {
    /// How long to wait after `tried` tries that did not start; `None` when there were enough.
    #[must_use]
    pub fn after(&self, tried: u32, random: f64) -> Option<Duration> {
        if tried >= self.attempts.max(1) {
            return None;
        }
        let pause = doubled(self.min, tried.saturating_sub(1), self.max);
        let vary = self.jitter.clamp(0.0, 1.0) * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        Some(pause.mul_f64(1.0 + vary))
    }
}

fn doubled(base: Duration, times: u32, cap: Duration) -> Duration {
    let factor = 2u32.checked_pow(times).unwrap_or(u32::MAX);
    base.checked_mul(factor).unwrap_or(cap).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn pauses_grow_to_the_cap_and_vary_from_nothing_to_all() {
        let now = Instant::now();
        let mut backoff = Backoff::new(S(1), S(60));
        let steps: Vec<u64> = (0..8).map(|_| backoff.failed(now, 1.0).as_secs()).collect();
        assert_eq!(steps, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.failed(now, 0.0), Duration::ZERO);
    }

    #[test]
    fn failures_are_forgotten_only_after_a_minute_of_work() {
        let start = Instant::now();
        let mut backoff = Backoff::new(S(1), S(60));
        for _ in 0..4 {
            let _pause = backoff.failed(start, 1.0);
        }
        backoff.worked(start);
        backoff.worked(start + S(59));
        assert_eq!(backoff.failed(start + S(59), 1.0), S(16), "too early");
        backoff.worked(start + S(60));
        assert_eq!(backoff.failed(start + S(120), 1.0), S(1));
    }

    #[test]
    fn a_send_is_tried_as_often_as_configured() {
        let pauses = Pauses {
            attempts: 3,
            min: S(1),
            max: S(30),
            jitter: 0.1,
        };
        assert_eq!(pauses.after(1, 0.5), Some(S(1)));
        assert_eq!(pauses.after(2, 0.5), Some(S(2)));
        assert_eq!(pauses.after(3, 0.5), None);
        assert_eq!(pauses.after(1, 0.0), Some(Duration::from_millis(900)));
        let once = Pauses {
            attempts: 0,
            ..pauses
        };
        assert_eq!(once.after(1, 0.5), None);
        let many = Pauses {
            attempts: 100,
            ..pauses
        };
        assert_eq!(many.after(99, 0.5), Some(S(30)));
    }
}
