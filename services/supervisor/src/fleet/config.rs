//! The configuration file, opened for policy and for nobody else, who cannot reach its folder. It is not looked into here.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use clawdbot_identity::Role;
use clawdbot_proto::v1::{Descriptor, control_frame, descriptor};
use rustix::fs::{Mode, OFlags, open};

use super::{Fleet, Run};

/// How often it is opened within a span: oftener than policy reads a file that never comes to rest.
pub(super) const OPENED: (u32, Duration) = (16, Duration::from_secs(1));

/// The name under which policy gets it.
pub(super) const CONFIG: &str = "config";

impl Fleet {
    /// Opens it, or tells policy the system's answer.
    pub(super) fn open_config(&mut self, run: &Run) {
        if run.role != Role::policy() || !self.configs.permits(Instant::now()) {
            return;
        }
        let opened = self.config();
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

    /// The file as it is now. Whatever lies there: a pipe without a writer is no reason to wait, and policy refuses what is
    /// no file.
    pub(super) fn config(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let path = self.parts.setup.config_path.as_str();
        Ok(open(path, flags, Mode::empty())?)
    }
}
