//! What the processes say of themselves, and what is told of it to the person and the log.

use std::time::{Instant, SystemTime};

use clawdbot_identity::Role;
use clawdbot_service::{shortfall, split_status};

use super::{Fleet, Member, REFUSED, Run};
use crate::home::Refusal;
use crate::log_file::Line;
use crate::ui::{Ready, Shown, level};

impl Fleet {
    /// The running start that a piece of news is about, unless it is about an earlier one.
    pub(super) fn running(&mut self, run: &Run) -> Option<&mut Member> {
        let member = self.members.get_mut(&run.role)?;
        let current = member
            .running
            .as_ref()
            .is_some_and(|r| r.generation == run.generation);
        current.then_some(member)
    }

    pub(super) fn notified(&mut self, run: &Run, lines: &str) {
        let now = Instant::now();
        let Some(member) = self.running(run) else {
            return;
        };
        if let Some(running) = member.running.as_mut().filter(|_| is_sign_of_life(lines)) {
            running.heard = now;
        }
        if member.hears(lines, now) {
            let (pid, confinement) = (member.pid(), member.confinement.clone());
            self.parts
                .ui
                .process(run.role.as_str(), pid, "ready", &confinement);
            self.check_level(&run.role, &confinement);
            self.announce(now);
        }
    }

    /// With `sandbox.require: "full"` a weaker process ends everything.
    pub(super) fn check_level(&mut self, role: &Role, confinement: &str) {
        if self.parts.setup.sandbox_require == "full" && level(confinement) != "full" {
            let (message, remedy) = shortfall(role.as_str(), confinement);
            self.stop(Some(Refusal {
                message,
                remedy,
                code: REFUSED,
            }));
        }
    }

    /// Says once that everything is up.
    pub(super) fn announce(&mut self, now: Instant) {
        let up = self.planned
            && self
                .members
                .values()
                .all(|m| m.unwanted.is_some() || m.life.ready.is_some());
        if self.announced || !up || self.stopping.is_some() {
            return;
        }
        self.announced = true;
        let own = Shown {
            role: "supervisor",
            pid: std::process::id(),
            confinement: &self.parts.confinement,
        };
        let mut processes: Vec<Shown<'_>> = self
            .members
            .iter()
            .map(|(role, member)| Shown {
                role: role.as_str(),
                pid: member.pid(),
                confinement: &member.confinement,
            })
            .collect();
        processes.push(own);
        self.parts.ui.ready(&Ready {
            urls: &self.listeners.urls(),
            state_dir: &self.parts.setup.state_dir,
            processes: &processes,
            took: now.saturating_duration_since(self.parts.started),
        });
    }

    pub(super) fn logged(&mut self, run: &Run, pid: u32, bytes: &[u8]) {
        // The supervisor's own lines and those of who is no member any more have no share.
        let member = self.members.get_mut(&run.role);
        if member.is_some_and(|member| !member.log.keeps(bytes.len(), Instant::now())) {
            return;
        }
        let line = Line::from_process(run.role.as_str(), pid, bytes, SystemTime::now());
        self.parts.ui.log(run.role.as_str(), &line);
        match self.parts.log.write(&line) {
            Ok(()) => self.log_failed = false,
            Err(error) if !self.log_failed => {
                self.log_failed = true;
                let path = self.parts.log_path.display();
                self.parts
                    .ui
                    .alarm(&format!("log lines are lost: {path}: {error}"));
            }
            Err(_) => {}
        }
    }

    /// Says how many lines were dropped of whom.
    pub(super) fn tell_dropped(&mut self, now: Instant, at_once: bool) {
        let dropped = |(role, member): (&Role, &mut Member)| {
            let dropped = member.log.dropped(now, at_once)?;
            Some((role.clone(), dropped))
        };
        let told: Vec<_> = self.members.iter_mut().filter_map(dropped).collect();
        for (role, dropped) in told {
            self.note(
                "warn",
                &format!(
                    "{role} wrote more than its share of this log; {dropped} of its lines were dropped"
                ),
            );
        }
    }

    /// A line of the supervisor's own.
    pub(super) fn note(&mut self, level: &str, message: &str) {
        let bytes = serde_json::json!({ "level": level, "message": message }).to_string();
        let run = Run {
            role: Role::supervisor(),
            generation: 0,
        };
        self.logged(&run, std::process::id(), bytes.as_bytes());
    }
}

/// Whether a process says that everything in it gets on. It may still change its status line when something hangs.
fn is_sign_of_life(lines: &str) -> bool {
    lines
        .lines()
        .any(|line| matches!(line, "WATCHDOG=1" | "READY=1"))
}

impl Member {
    /// Takes what the process says of itself; whether it has become ready with that. What it measured of its confinement stays
    /// as it was then: a process that is taken over later would say whatever helps it.
    fn hears(&mut self, lines: &str, now: Instant) -> bool {
        let measures = self.life.ready.is_none();
        let mut became_ready = false;
        for line in lines.lines() {
            if line == "READY=1" {
                became_ready |= self.life.became_ready(now);
            } else if let Some(status) = line.strip_prefix("STATUS=") {
                let (status, confinement) = split_status(status);
                self.status = status.into();
                if let Some(confinement) = confinement.filter(|_| measures) {
                    self.confinement = confinement.into();
                }
            }
        }
        became_ready
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_confine::spawn::Exit;

    use super::*;

    #[test]
    fn a_status_line_alone_is_no_sign_of_life() {
        for lines in [
            "WATCHDOG=1",
            "READY=1\nSTATUS=a",
            "WATCHDOG=1\nSTATUS=a | level=full",
        ] {
            assert!(is_sign_of_life(lines), "{lines}");
        }
        for lines in [
            "STATUS=a",
            "STOPPING=1",
            "",
            "STATUS=WATCHDOG=1",
            "WATCHDOG=10",
        ] {
            assert!(!is_sign_of_life(lines), "{lines}");
        }
    }

    #[test]
    fn what_a_process_measured_stays_as_it_was_when_it_became_ready() {
        let (mut member, now) = (Member::default(), Instant::now());
        assert!(!member.hears("STATUS=starting | level=limits", now));
        assert!(member.hears("READY=1\nSTATUS=ready | level=full", now));
        assert_eq!(member.confinement, "level=full");
        for forged in [
            "STATUS=working | level=none",
            "READY=1\nSTATUS=working | level=none",
            "STATUS=more | level=none\nREADY=1\nSTATUS=working",
        ] {
            assert!(!member.hears(forged, now), "{forged}");
            assert_eq!(member.confinement, "level=full", "{forged}");
            assert_eq!(member.status, "working", "{forged}");
        }
        // Its successor measures for itself.
        member.life.ended(Exit::Code(1), now);
        assert!(member.hears("READY=1\nSTATUS=ready | level=limits", now));
        assert_eq!(member.confinement, "level=limits");
    }
}
