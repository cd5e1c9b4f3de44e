//! READY, STATUS and WATCHDOG lines, in one format for both modes: to the supervisor over the control
//! descriptor, or to the service manager's socket, which is connected before the filter closes `socket`.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};

use clawdbot_confine::frame;
use clawdbot_identity::Role;
use clawdbot_proto::v1::{ChildFrame, child_frame};
use prost::Message as _;

/// Where this process reports itself. Cheap to clone.
#[derive(Clone)]
pub struct Notifier(Arc<Mutex<Target>>);

pub(crate) enum Target {
    Control(UnixStream),
    Manager(UnixDatagram),
    Nobody,
}

impl Notifier {
    pub(crate) fn new(target: Target) -> Self {
        Self(Arc::new(Mutex::new(target)))
    }

    /// The process is ready; `status` is its status line.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// The status line changed.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// The process makes progress.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    /// The process is about to end in good order.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The connection to a server ended without the server's end.
    pub(crate) fn edge_lost(&self, server: &Role) {
        let frame = child_frame::Frame::EdgeLost(server.to_string());
        if let Err(error) = self.ask(frame) {
            tracing::debug!(%error, "a notification did not arrive");
        }
    }

    /// A helper that can reach the keyring is wanted.
    ///
    /// # Errors
    /// When there is no supervisor that could start one.
    pub(crate) fn keyring(&self) -> io::Result<()> {
        self.ask(child_frame::Frame::Keyring(true))
    }

    /// The configuration file is wanted, opened.
    ///
    /// # Errors
    /// When there is no supervisor that could open it.
    pub(crate) fn config(&self) -> io::Result<()> {
        self.ask(child_frame::Frame::Config(true))
    }

    /// Asks the supervisor for something.
    fn ask(&self, frame: child_frame::Frame) -> io::Result<()> {
        let target = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*target {
            Target::Control(stream) => send_frame(stream, frame),
            Target::Manager(_) | Target::Nobody => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn send(&self, lines: &str) {
        let target = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = match &*target {
            Target::Control(stream) => send_frame(stream, child_frame::Frame::Notify(lines.into())),
            Target::Manager(socket) => socket.send(lines.as_bytes()).map(drop),
            Target::Nobody => Ok(()),
        };
        // Nobody listens any more: the end of the supervisor is noticed where its frames are read.
        if let Err(error) = sent {
            tracing::debug!(%error, "a notification did not arrive");
        }
    }
}

fn send_frame(stream: impl AsFd, frame: child_frame::Frame) -> io::Result<()> {
    let frame = ChildFrame { frame: Some(frame) };
    frame::send(stream, &frame.encode_to_vec(), &[])
}

fn one_line(status: &str) -> String {
    clawdbot_identity::text::sanitize_line(status).into_owned()
}
