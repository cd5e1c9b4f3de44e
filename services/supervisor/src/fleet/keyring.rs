//! The keyring's helper, for the broker alone: one at a time, whatever the broker asks for.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use clawdbot_identity::Role;
use clawdbot_proto::v1::{Descriptor, descriptor};

use super::{Fleet, Run};
use crate::helper::{Helper, KEYRING};

/// Helpers that may be started within a span: more than a person's commands need, and few enough to wait for.
pub(super) const STARTS: (u32, Duration) = (16, Duration::from_secs(60));

impl Fleet {
    /// Starts a helper. Without one the broker sees the connection end.
    pub(super) fn start_helper(&mut self, run: &Run) {
        if run.role != Role::broker() || self.stopping.is_some() {
            return;
        }
        let now = Instant::now();
        if !self.helpers.permits(now) {
            if self.helpers.is_first_refusal() {
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
