//! The life of one child as plain decisions: when it is started again, and when that makes no sense.

use std::time::{Duration, Instant};

use clawdbot_confine::spawn::Exit;

/// A death this soon after READY counts as a failed start.
const SETTLED: Duration = Duration::from_secs(1);
/// First and longest pause before another try of a start that failed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Exit status of a process whose self-test or settings are not acceptable.
const REFUSED: i32 = 78;

/// What has happened to a child so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    /// When it became ready, if it did. What it says of its confinement counts until then.
    pub(crate) ready: Option<Instant>,
    /// It was ready at least once, so that it can run here.
    proven: bool,
    /// Starts in a row that failed.
    failures: u32,
    /// Times it was started again.
    pub(crate) restarts: u32,
}

/// What follows a death.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Start again after this pause.
    Restart(Duration),
    /// It refuses to run and never did; another try would end the same way.
    GiveUp,
}

impl Life {
    /// The process says that it is ready. `false` when it has said so before.
    pub(crate) fn became_ready(&mut self, now: Instant) -> bool {
        self.proven = true;
        let first = self.ready.is_none();
        self.ready.get_or_insert(now);
        first
    }

    /// The process ended. Restart is the recovery: at once, with a growing pause only if it did not
    /// settle. Whoever took over a process that ran may end it with any status, so that a refusal counts
    /// before the first READY only.
    pub(crate) fn ended(&mut self, exit: Exit, now: Instant) -> Next {
        let settled = self
            .ready
            .is_some_and(|ready| now.saturating_duration_since(ready) >= SETTLED);
        self.ready = None;
        if exit == Exit::Code(REFUSED) && !self.proven {
            return Next::GiveUp;
        }
        self.restarts += 1;
        if settled {
            self.failures = 0;
            return Next::Restart(Duration::ZERO);
        }
        let pause = PAUSE
            .0
            .saturating_mul(1 << self.failures.min(16))
            .min(PAUSE.1);
        self.failures += 1;
        Next::Restart(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: Exit = Exit::Signal(9);

    #[test]
    fn a_settled_process_comes_back_at_once() {
        let now = Instant::now();
        let mut life = Life {
            ready: Some(now),
            ..Life::default()
        };
        assert_eq!(
            life.ended(KILLED, now + SETTLED),
            Next::Restart(Duration::ZERO)
        );
        assert_eq!(life.restarts, 1);
    }

    #[test]
    fn a_start_that_keeps_failing_is_tried_with_growing_pauses_for_ever() {
        let now = Instant::now();
        let mut life = Life::default();
        let pauses: Vec<u128> = (0..8)
            .map(|_| match life.ended(Exit::Code(1), now) {
                Next::Restart(pause) => pause.as_millis(),
                Next::GiveUp => panic!("gave up"),
            })
            .collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        life.ready = Some(now);
        assert_eq!(
            life.ended(KILLED, now + SETTLED),
            Next::Restart(Duration::ZERO)
        );
        assert_eq!(
            life.ended(KILLED, now),
            Next::Restart(PAUSE.0),
            "a settled life wipes the count"
        );
    }

    #[test]
    fn a_process_that_ran_cannot_end_everything_with_a_refusal() {
        let now = Instant::now();
        let mut life = Life::default();
        assert!(life.became_ready(now) && !life.became_ready(now + SETTLED));
        let refused = Exit::Code(REFUSED);
        assert_eq!(
            life.ended(refused, now + SETTLED),
            Next::Restart(Duration::ZERO)
        );
        // Nor with what it left in its state: its successor is a start that fails.
        assert_eq!(life.ended(refused, now), Next::Restart(PAUSE.0));
        assert_eq!(life.ended(refused, now), Next::Restart(PAUSE.0 * 2));
    }

    #[test]
    fn only_a_refusal_to_run_is_final() {
        let now = Instant::now();
        assert_eq!(Life::default().ended(Exit::Code(78), now), Next::GiveUp);
        for exit in [
            Exit::Code(0),
            Exit::Code(1),
            Exit::Code(101),
            Exit::Signal(31),
        ] {
            assert!(
                matches!(Life::default().ended(exit, now), Next::Restart(_)),
                "{exit:?}"
            );
        }
    }
}
