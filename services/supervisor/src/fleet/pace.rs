//! How often a process gets what it asks the supervisor for: one that was taken over may ask without end.

use std::time::{Duration, Instant};

/// So many in a span of time, and no more.
#[derive(Debug)]
pub(super) struct Pace {
    most: u32,
    span: Duration,
    /// Beginning of the present span.
    since: Option<Instant>,
    /// What was wanted in it.
    wanted: u32,
}

impl Pace {
    pub(super) fn new((most, span): (u32, Duration)) -> Self {
        Self {
            most,
            span,
            since: None,
            wanted: 0,
        }
    }

    /// Whether it gets one more.
    pub(super) fn permits(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + self.span) {
            self.since = Some(now);
            self.wanted = 0;
        }
        self.wanted = self.wanted.saturating_add(1);
        self.wanted <= self.most
    }

    pub(super) fn is_first_refusal(&self) -> bool {
        self.wanted == self.most + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_without_end_gets_a_bounded_number() {
        let (mut pace, start) = (Pace::new((16, Duration::from_secs(60))), Instant::now());
        let mut many = |at: Duration| {
            let mut told = 0;
            let started = (0..1000).filter(|_| {
                let permits = pace.permits(start + at);
                told += u32::from(!permits && pace.is_first_refusal());
                permits
            });
            (started.count(), told)
        };
        assert_eq!(many(Duration::ZERO), (16, 1));
        assert_eq!(many(Duration::from_secs(59)), (0, 0));
        assert_eq!(many(Duration::from_secs(60)), (16, 1));
    }
}
