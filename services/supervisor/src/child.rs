//! One start of one process: its control descriptor, its log pipe, and the tasks that move frames and
//! lines between it and the fleet.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use clawdbot_confine::spawn::{Child, Leash, Signal, spawn};
use clawdbot_identity::Role;
use clawdbot_proto::v1::{
    ChildFrame, ControlFrame, Descriptor, Setup, SetupDone, child_frame, control_frame,
};
use clawdbot_service::FrameConnection;
use prost::Message as _;
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::fleet::{Event, Run, Why};
use crate::log_file::LINE;
use crate::programs::Installed;

type Outgoing = (ControlFrame, Option<OwnedFd>);

/// A started process and the way to talk to it.
pub(crate) struct Started {
    pub(crate) child: Child,
    outgoing: mpsc::UnboundedSender<Outgoing>,
}

impl Started {
    /// Starts the program and sends its settings. Descriptors follow with [`Started::give`], then
    /// [`Started::done`].
    pub(crate) fn new(
        program: &Installed,
        run: Run,
        setup: Setup,
        events: &mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let (log, log_end) = io::pipe()?;
        let argv = program.arguments(&run.role);
        // Policy stays a moment longer than a supervisor that was killed: it removes the sockets.
        let leash = if run.role == Role::policy() {
            Leash::Control
        } else {
            Leash::Parent
        };
        // Whatever can fail comes before the start.
        let connection = std::sync::Arc::new(FrameConnection::new(ours)?);
        let log = pipe::Receiver::from_owned_fd(log.into())?;
        let child = spawn(&program.file, &argv, theirs.into(), log_end.into(), leash)?;
        let (outgoing, queue) = mpsc::unbounded_channel();
        tokio::spawn(write_frames(std::sync::Arc::clone(&connection), queue));
        tokio::spawn(read_frames(connection, run.clone(), events.clone()));
        tokio::spawn(read_log(log, run, child.pid(), events.clone()));
        let started = Self { child, outgoing };
        started.send(control_frame::Frame::Setup(setup), None);
        Ok(started)
    }

    /// Ends a process that did not get what it needs.
    pub(crate) fn abandon(mut self) {
        if self.child.kill(Signal::KILL).is_ok() {
            // It ends at once; what it says about it is of no use.
            let _exit = self.child.wait();
        }
    }

    /// Hands over a descriptor.
    pub(crate) fn give(&self, what: Descriptor, fd: OwnedFd) {
        self.send(control_frame::Frame::Descriptor(what), Some(fd));
    }

    /// Everything that the process starts with has been handed over.
    pub(crate) fn done(&self) {
        self.send(control_frame::Frame::SetupDone(SetupDone {}), None);
    }

    /// Sends a frame. One that cannot be sent any more is lost with the process.
    pub(crate) fn send(&self, frame: control_frame::Frame, fd: Option<OwnedFd>) {
        let _ended = self
            .outgoing
            .send((ControlFrame { frame: Some(frame) }, fd));
    }
}

async fn write_frames(
    connection: std::sync::Arc<FrameConnection>,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
) {
    while let Some((frame, fd)) = queue.recv().await {
        if connection
            .send(&frame.encode_to_vec(), fd.into_iter().collect())
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn read_frames(
    connection: std::sync::Arc<FrameConnection>,
    run: Run,
    events: mpsc::Sender<Event>,
) {
    while let Ok(Some(frame)) = connection.receive().await {
        let message = ChildFrame::decode(frame.payload.as_slice())
            .ok()
            .and_then(|m| m.frame);
        let event = match message {
            Some(child_frame::Frame::Notify(lines)) => Event::Notified(run.clone(), lines),
            Some(child_frame::Frame::EdgeLost(server)) => {
                Event::EdgeEnded(run.clone(), server, Why::Lost)
            }
            Some(child_frame::Frame::EdgeGivenUp(server)) => {
                Event::EdgeEnded(run.clone(), server, Why::GivenUp)
            }
            Some(child_frame::Frame::Keyring(true)) => Event::KeyringWanted(run.clone()),
            Some(child_frame::Frame::Config(true)) => Event::ConfigWanted(run.clone()),
            Some(child_frame::Frame::Keyring(false) | child_frame::Frame::Config(false)) | None => {
                continue;
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Reads lines until the process ends. A line that is too long is cut; a process that writes without
/// pause waits for the log, not the other way round.
async fn read_log(log: pipe::Receiver, run: Run, pid: u32, events: mpsc::Sender<Event>) {
    let mut lines = Lines::default();
    let mut chunk = vec![0; LINE];
    loop {
        if log.ready(Interest::READABLE).await.is_err() {
            return;
        }
        match log.try_read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => {
                for line in lines.push(chunk.get(..read).unwrap_or_default()) {
                    if events
                        .send(Event::Logged(run.clone(), pid, line))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    if let Some(rest) = lines.rest() {
        let _stopping = events.send(Event::Logged(run, pid, rest)).await;
    }
}

/// Cuts a stream of bytes into lines of bounded length.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    cut: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut done = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => {
                    self.cut = false;
                    done.extend(self.rest());
                }
                _ if self.cut => {}
                _ => {
                    self.line.push(*byte);
                    if self.line.len() == LINE {
                        self.cut = true;
                        done.extend(self.rest());
                    }
                }
            }
        }
        done
    }

    fn rest(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.line)).filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_their_ends_and_at_the_limit() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\ntw"), [b"one".to_vec()]);
        assert_eq!(lines.push(b"o\n\nthree"), [b"two".to_vec()]);
        assert_eq!(lines.rest(), Some(b"three".to_vec()));
        let long = vec![b'x'; LINE * 3];
        assert_eq!(lines.push(&long), [vec![b'x'; LINE]]);
        assert_eq!(lines.push(b"lost\nnext\n"), [b"next".to_vec()]);
    }
}
