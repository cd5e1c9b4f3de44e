//! READY, STATUS and WATCHDOG lines, in one format for both modes: to the supervisor over the control
//! descriptor, or to the service manager's socket, which is connected before the filter closes `socket`.
//! Nobody waits for whoever reads them: what finds no room is kept, the newest of each kind, until there is some.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdbot_confine::frame::FrameWriter;
use clawdbot_identity::Role;
use clawdbot_proto::v1::{ChildFrame, child_frame};
use prost::Message as _;
use tokio::io::Interest;
use tokio::sync::Notify;

/// Where this process reports itself. Cheap to clone.
#[derive(Clone)]
pub struct Notifier(Arc<Inner>);

struct Inner {
    outbox: Mutex<Outbox>,
    /// Something found no room.
    left: Notify,
}

pub(crate) enum Target {
    Control(UnixStream),
    Manager(UnixDatagram),
    Nobody,
}

/// Why a connection to a server has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Without the server's end, as far as is known here.
    Lost,
    /// This process gave it up.
    GivenUp,
}

struct Outbox {
    target: Target,
    /// The frame that is being sent, which may be cut anywhere.
    writer: FrameWriter,
    unsent: Unsent,
}

/// What is still to be said.
#[derive(Default)]
struct Unsent {
    ready: bool,
    status: Option<String>,
    watchdog: bool,
    stopping: bool,
    edges: BTreeMap<Role, Why>,
    keyring: bool,
    config: bool,
}

impl Unsent {
    /// The lines, which are taken with it; none is nothing.
    fn lines(&mut self) -> Option<String> {
        let mut lines = Vec::new();
        let mut word = |said: &mut bool, word: &str| {
            if std::mem::take(said) {
                lines.push(word.to_owned());
            }
        };
        word(&mut self.ready, "READY=1");
        word(&mut self.watchdog, "WATCHDOG=1");
        word(&mut self.stopping, "STOPPING=1");
        let status = self.status.take();
        lines.extend(status.map(|status| format!("STATUS={status}")));
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// The next frame, which is taken with it.
    fn frame(&mut self) -> Option<child_frame::Frame> {
        use child_frame::Frame;
        if let Some(lines) = self.lines() {
            return Some(Frame::Notify(lines));
        }
        if let Some((server, why)) = self.edges.pop_first() {
            return Some(match why {
                Why::Lost => Frame::EdgeLost(server.to_string()),
                Why::GivenUp => Frame::EdgeGivenUp(server.to_string()),
            });
        }
        if std::mem::take(&mut self.keyring) {
            return Some(Frame::Keyring(true));
        }
        std::mem::take(&mut self.config).then_some(Frame::Config(true))
    }
}

impl Outbox {
    /// Says what there is room for. `WouldBlock` when something is left.
    fn flush(&mut self) -> io::Result<()> {
        let unsent = &mut self.unsent;
        match &self.target {
            Target::Control(stream) => loop {
                self.writer.flush(stream)?;
                let Some(frame) = unsent.frame() else {
                    return Ok(());
                };
                let frame = ChildFrame { frame: Some(frame) };
                self.writer.push(&frame.encode_to_vec(), Vec::new())?;
            },
            Target::Manager(socket) => {
                // A datagram is taken as a whole or not at all.
                let (ready, status) = (unsent.ready, unsent.status.clone());
                let (watchdog, stopping) = (unsent.watchdog, unsent.stopping);
                let Some(lines) = unsent.lines() else {
                    return Ok(());
                };
                socket.send(lines.as_bytes()).map(drop).inspect_err(|_| {
                    (unsent.ready, unsent.status) = (ready, status);
                    (unsent.watchdog, unsent.stopping) = (watchdog, stopping);
                })
            }
            Target::Nobody => {
                *unsent = Unsent::default();
                Ok(())
            }
        }
    }
}

/// The socket, watched for room by the runtime.
enum Watched {
    Control(tokio::net::UnixStream),
    Manager(tokio::net::UnixDatagram),
}

impl Watched {
    async fn when_writable(&self, write: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Control(stream) => {
                stream.writable().await?;
                stream.try_io(Interest::WRITABLE, write)
            }
            Self::Manager(socket) => {
                socket.writable().await?;
                socket.try_io(Interest::WRITABLE, write)
            }
        }
    }
}

impl Notifier {
    pub(crate) fn new(target: Target) -> Self {
        if let Target::Manager(socket) = &target {
            // Then a manager that reads nothing is waited for: worse than nothing, and better than not to start.
            let _blocking = socket.set_nonblocking(true);
        }
        let outbox = Outbox {
            target,
            writer: FrameWriter::new(),
            unsent: Unsent::default(),
        };
        Self(Arc::new(Inner {
            outbox: Mutex::new(outbox),
            left: Notify::new(),
        }))
    }

    /// The process is ready; `status` is its status line.
    pub fn ready(&self, status: &str) {
        self.say(|unsent| {
            unsent.ready = true;
            unsent.status = Some(one_line(status));
        });
    }

    /// The status line changed.
    pub fn status(&self, status: &str) {
        self.say(|unsent| unsent.status = Some(one_line(status)));
    }

    /// The process makes progress.
    pub fn watchdog(&self) {
        self.say(|unsent| unsent.watchdog = true);
    }

    /// The process is about to end in good order.
    pub fn stopping(&self) {
        self.say(|unsent| unsent.stopping = true);
    }

    /// The connection to a server ended without the server's end; another one is wanted.
    pub(crate) fn edge_ended(&self, server: &Role, why: Why) {
        self.say(|unsent| {
            unsent.edges.insert(server.clone(), why);
        });
    }

    /// A helper that can reach the keyring is wanted.
    ///
    /// # Errors
    /// When there is no supervisor that could start one.
    pub(crate) fn keyring(&self) -> io::Result<()> {
        self.ask(|unsent| unsent.keyring = true)
    }

    /// The configuration file is wanted, opened.
    ///
    /// # Errors
    /// When there is no supervisor that could open it.
    pub(crate) fn config(&self) -> io::Result<()> {
        self.ask(|unsent| unsent.config = true)
    }

    /// Asks the supervisor for something.
    fn ask(&self, what: impl FnOnce(&mut Unsent)) -> io::Result<()> {
        if !matches!(self.outbox().target, Target::Control(_)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.say(what);
        Ok(())
    }

    fn say(&self, what: impl FnOnce(&mut Unsent)) {
        let mut outbox = self.outbox();
        what(&mut outbox.unsent);
        match outbox.flush() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.0.left.notify_one(),
            // Nobody listens any more: the end of the supervisor is noticed where its frames are read.
            Err(error) => {
                outbox.unsent = Unsent::default();
                tracing::debug!(%error, "a notification did not arrive");
            }
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        let outbox = self.0.outbox.lock();
        outbox.unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what found no room, as soon as there is some. For as long as the process lives.
    ///
    /// # Errors
    /// When the socket cannot be watched, or nobody is at its other end any more.
    pub(crate) async fn deliver(self) -> io::Result<()> {
        let watched = match &self.outbox().target {
            Target::Control(stream) => {
                let stream = stream.try_clone()?;
                stream.set_nonblocking(true)?;
                Watched::Control(tokio::net::UnixStream::from_std(stream)?)
            }
            Target::Manager(socket) => {
                Watched::Manager(tokio::net::UnixDatagram::from_std(socket.try_clone()?)?)
            }
            Target::Nobody => return Ok(()),
        };
        loop {
            self.0.left.notified().await;
            loop {
                let flushed = watched.when_writable(|| self.outbox().flush()).await;
                match flushed {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                    Ok(()) => break,
                }
            }
        }
    }
}

fn one_line(status: &str) -> String {
    clawdbot_identity::text::sanitize_line(status).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clawdbot_confine::frame::{FrameReader, Progress};

    use super::*;

    /// More of what is said than any socket holds.
    const MANY: usize = 4_000;

    fn said(reader: &mut FrameReader, far: &UnixStream) -> Option<child_frame::Frame> {
        match reader.read_from(far) {
            Ok(Progress::Frame(frame)) => {
                ChildFrame::decode(frame.payload.as_slice()).unwrap().frame
            }
            _ => None,
        }
    }

    #[tokio::test]
    async fn who_reads_nothing_is_waited_for_by_nobody_and_hears_the_newest_later() {
        use child_frame::Frame;
        let (near, far) = UnixStream::pair().unwrap();
        let notifier = Notifier::new(Target::Control(near));
        // Also before there is a runtime: the socket waits by itself, these do not.
        notifier.ready("first | level=full");
        for number in 0..MANY {
            notifier.status(&format!("{number} | level=full"));
            notifier.watchdog();
        }
        notifier.edge_ended(&Role::policy(), Why::GivenUp);
        notifier.edge_ended(&Role::policy(), Why::Lost);
        notifier.edge_ended(&Role::broker(), Why::GivenUp);
        notifier.config().unwrap();
        notifier.config().unwrap();

        let delivering = tokio::spawn(notifier.clone().deliver());
        let reading = tokio::task::spawn_blocking(move || {
            let mut reader = FrameReader::new();
            far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut heard = Vec::new();
            while heard.last() != Some(&Frame::Config(true)) {
                heard.push(said(&mut reader, &far).unwrap());
            }
            far.set_nonblocking(true).unwrap();
            (heard, said(&mut reader, &far))
        });
        let (heard, more) = reading.await.unwrap();
        delivering.abort();
        assert_eq!(
            heard[0],
            Frame::Notify("READY=1\nSTATUS=first | level=full".into())
        );
        let last = format!("WATCHDOG=1\nSTATUS={} | level=full", MANY - 1);
        let end = [
            Frame::Notify(last),
            Frame::EdgeGivenUp("broker".into()),
            Frame::EdgeLost("policy".into()),
            Frame::Config(true),
        ];
        assert_eq!(heard[heard.len() - 4..], end);
        assert!(heard.len() < MANY, "{} were kept", heard.len());
        assert_eq!(more, None, "each once");
    }

    #[tokio::test]
    async fn a_manager_that_reads_nothing_is_waited_for_by_nobody_and_hears_the_newest_later() {
        let (near, far) = UnixDatagram::pair().unwrap();
        let notifier = Notifier::new(Target::Manager(near));
        for number in 0..MANY {
            notifier.status(&number.to_string());
        }
        notifier.ready("last");
        assert!(notifier.config().is_err(), "it opens no files");
        tokio::spawn(notifier.clone().deliver());
        far.set_nonblocking(true).unwrap();
        let far = tokio::net::UnixDatagram::from_std(far).unwrap();
        let mut buffer = [0; 256];
        loop {
            let length = far.recv(&mut buffer).await.unwrap();
            if buffer[..length].starts_with(b"READY=1") {
                assert_eq!(&buffer[..length], b"READY=1\nSTATUS=last");
                break;
            }
        }
    }
}
