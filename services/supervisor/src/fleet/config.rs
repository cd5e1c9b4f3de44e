//! The configuration file, opened for policy and for nobody else, who cannot reach its folder. It is not looked into here.
//! Whatever lies there may take its time, which the loop does not have: a thread of its own opens it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clawdbot_identity::Role;
use clawdbot_proto::v1::{Descriptor, control_frame, descriptor};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::{Event, Fleet, Run};

/// How often it is opened within a span: oftener than policy reads a file that never comes to rest.
pub(super) const OPENED: (u32, Duration) = (16, Duration::from_secs(1));
/// How long a start of policy waits for it.
const START: Duration = Duration::from_millis(100);

/// The name under which policy gets it.
pub(super) const CONFIG: &str = "config";

impl Fleet {
    /// Has it opened. One at a time and not too often: beyond that policy is told at once to ask again.
    pub(super) fn open_config(&mut self, run: &Run) {
        if run.role != Role::policy() {
            return;
        }
        if self.opening || !self.configs.permits(Instant::now()) {
            self.config_opened(run, Err(Errno::AGAIN.into()));
            return;
        }
        let path = self.parts.setup.config_path.clone();
        let (run, events) = (run.clone(), self.events.clone());
        let begun = on_a_thread(
            move || read_only(&path),
            move |opened| {
                // Without a loop there is no policy either.
                let _over = events.blocking_send(Event::ConfigOpened(run, opened));
            },
        );
        self.opening = begun.is_ok();
    }

    /// Hands it over, or tells policy the system's answer.
    pub(super) fn config_opened(&mut self, run: &Run, opened: io::Result<OwnedFd>) {
        let Some(running) = self.running(run).and_then(|member| member.running.as_ref()) else {
            return;
        };
        match opened {
            Ok(file) => {
                let what = Some(descriptor::What::File(CONFIG.into()));
                running.started.give(Descriptor { what }, file);
            }
            Err(error) => {
                let number = error.raw_os_error().unwrap_or_default();
                running
                    .started
                    .send(control_frame::Frame::NoConfig(number), None);
            }
        }
    }

    /// The file for a policy that starts. Where it takes long policy asks for it later.
    pub(super) fn config(&self) -> Option<OwnedFd> {
        let path = self.parts.setup.config_path.clone();
        within(START, move || read_only(&path))?.ok()
    }
}

/// Does something that may block, beside everything else.
fn on_a_thread<T>(
    work: impl FnOnce() -> T + Send + 'static,
    done: impl FnOnce(T) + Send + 'static,
) -> io::Result<()> {
    let named = thread::Builder::new().name("open".into());
    named.spawn(move || done(work())).map(drop)
}

/// What comes out of it within a time.
fn within<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    // Too late it is dropped.
    on_a_thread(work, move |done| drop(sender.send(done))).ok()?;
    receiver.recv_timeout(time).ok()
}

/// A pipe without a writer is no reason to wait, and policy refuses what is no file.
fn read_only(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_does_not_answer_stops_nobody() {
        let (answer, answers) = mpsc::channel::<()>();
        let stuck = within(Duration::ZERO, move || answers.recv().is_ok());
        assert_eq!(stuck, None);
        drop(answer);
        assert_eq!(within(Duration::from_secs(20), || 7), Some(7));
    }
}
