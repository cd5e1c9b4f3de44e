//! The keyring's helper: started when the broker asks, for one answer, and ended after five seconds whatever it does. What
//! the two say to each other does not pass here.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use clawdbot_confine::fd;
use clawdbot_identity::Role;
use clawdbot_proto::v1::{Descriptor, Setup, descriptor};
use tokio::sync::mpsc;

use crate::child::Started;
use crate::fleet::{Event, Run};
use crate::programs::Programs;

/// How long it may live.
const LIFE: Duration = Duration::from_secs(5);

/// The helper's role, and the name under which the broker gets its end of the connection.
pub(crate) const KEYRING: &str = "keyring";

/// A running helper.
pub(crate) struct Helper {
    started: Started,
    until: Instant,
}

impl Helper {
    /// Starts one with `broker` as its end of the connection.
    pub(crate) fn start(
        programs: &Programs,
        setup: &Setup,
        bus: Option<&str>,
        broker: UnixStream,
        events: &mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let role = Role::parse(KEYRING).map_err(io::Error::other)?;
        let program = programs.of(&role).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "clawdbot-keyring is not installed")
        })?;
        let bus = bus.map(|address| fd::memfd("bus", address.as_bytes()));
        let bus = bus.transpose()?;
        let setup = Setup {
            role: role.to_string(),
            ..setup.clone()
        };
        let run = Run {
            role,
            generation: 0,
        };
        let started = Started::new(program, run, setup, events)?;
        let give = |name: &str, fd: OwnedFd| {
            let what = Some(descriptor::What::File(name.into()));
            started.give(Descriptor { what }, fd);
        };
        give("broker", broker.into());
        if let Some(bus) = bus {
            give("bus", bus);
        }
        started.done();
        Ok(Self {
            started,
            until: Instant::now() + LIFE,
        })
    }

    /// When it is ended.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Whether it is gone. The kernel's failure to tell counts as that: nobody needs to know more.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.started.child.try_wait(), Ok(None))
    }

    /// Ends it.
    pub(crate) fn end(self) {
        self.started.abandon();
    }
}
