//! What one process may add to the shared log: one that was taken over would write until nothing older is left of it.

use std::time::{Duration, Instant};

/// Bytes a minute. All files of the log together hold the lines of more than an hour at that rate.
const SHARE: usize = 512 << 10;
/// The minute.
const SPAN: Duration = Duration::from_secs(60);

/// The share of one process, whatever its restarts.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// Beginning of the present span.
    since: Option<Instant>,
    /// Bytes that were kept in it.
    kept: usize,
    /// Lines that were dropped in it.
    dropped: u64,
}

impl Share {
    /// Whether a line of this length is kept. From the first that is not to the end of the span none is.
    pub(super) fn keeps(&mut self, length: usize, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + SPAN) && self.dropped == 0 {
            self.since = Some(now);
            self.kept = 0;
        }
        if self.dropped > 0 || self.kept + length > SHARE {
            self.dropped += 1;
            return false;
        }
        self.kept += length;
        true
    }

    /// When the number of the dropped lines is to be told.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.since.filter(|_| self.dropped > 0)?;
        Some(since + SPAN)
    }

    /// The number of the dropped lines when it is due, or `at_once`. Then a new span begins.
    pub(super) fn dropped(&mut self, now: Instant, at_once: bool) -> Option<u64> {
        let due = self.due().is_some_and(|due| at_once || now >= due);
        due.then(|| std::mem::take(self).dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_writes_so_much_a_minute_and_what_is_dropped_is_counted() {
        let (mut share, start) = (Share::default(), Instant::now());
        let kept = (0..10_000).filter(|_| share.keeps(1024, start)).count();
        assert_eq!(kept, SHARE / 1024);
        let later = start + SPAN;
        assert_eq!(share.due(), Some(later));
        assert_eq!(share.dropped(later - Duration::from_millis(1), false), None);
        assert!(!share.keeps(1, later), "first the count is told");
        let dropped = 10_000 - kept as u64 + 1;
        assert_eq!(share.dropped(later, false), Some(dropped));
        assert_eq!((share.due(), share.dropped(later, true)), (None, None));
        assert!(share.keeps(1024, later));
    }

    #[test]
    fn who_writes_little_loses_nothing() {
        let (mut share, start) = (Share::default(), Instant::now());
        for minute in 0..100 {
            let now = start + SPAN * minute;
            assert!((0..500).all(|_| share.keeps(1024, now)));
        }
        assert_eq!(share.due(), None);
    }

    #[test]
    fn at_the_end_the_count_is_told_at_once() {
        let (mut share, now) = (Share::default(), Instant::now());
        assert!(!share.keeps(SHARE + 1, now));
        assert_eq!(share.dropped(now, true), Some(1));
    }
}
