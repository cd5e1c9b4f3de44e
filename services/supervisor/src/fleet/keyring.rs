//! The keyring's helper, for the broker alone: one at a time, whatever the broker asks for.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use clawdbot_identity::Role;
use clawdbot_proto::v1::{Descriptor, descriptor};

use super::{Fleet, Run};
use crate::helper::{Helper, KEYRING};

/// Helpers that may be started within a span: more than a person's commands need, and few enough to wait for.
const STARTS: (u32, Duration) = (16, Duration::from_secs(60));

/// How often helpers are started.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Beginning of the span.
    since: Option<Instant>,
    /// Starts that were wanted in it.
    wanted: u32,
}

impl Pace {
    /// Whether one more may start.
    fn permits(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + STARTS.1) {
            self.since = Some(now);
            self.wanted = 0;
        }
        self.wanted = self.wanted.saturating_add(1);
        self.wanted <= STARTS.0
    }

    fn is_first_refusal(&self) -> bool {
        self.wanted == STARTS.0 + 1
    }
}

impl Fleet {
    /// Starts a helper. Without one the broker sees the connection end.
    pub(super) fn start_helper(&mut self, run: &Run) {
        if run.role != Role::broker() || self.stopping.is_some() {
            return;
        }
        let now = Instant::now();
        if !self.pace.permits(now) {
            if self.pace.is_first_refusal() {
                self.note(
                    "error",
                    "the broker asks for the keyring's helper without a pause and gets none for a while",
                );
            }
            return;
        }
        if let Some(earlier) = self.helper.take() {
            earlier.end();
        }
        let made = UnixStream::pair();
        let (broker_end, helper_end) = match made {
            Ok(pair) => pair,
            Err(error) => {
                self.note("error", &format!("the keyring cannot be asked: {error}"));
                return;
            }
        };
        let Some(running) = self.running(run).and_then(|member| member.running.as_ref()) else {
            return;
        };
        let what = Some(descriptor::What::File(KEYRING.into()));
        running.started.give(Descriptor { what }, broker_end.into());
        let parts = &self.parts;
        let bus = parts.environment.bus.as_deref();
        match Helper::start(&parts.programs, &parts.setup, bus, helper_end, &self.events) {
            Ok(helper) => self.helper = Some(helper),
            Err(error) => self.note("error", &format!("the keyring cannot be asked: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_asks_without_end_gets_a_bounded_number_of_helpers() {
        let (mut pace, start) = (Pace::default(), Instant::now());
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
