//! The control descriptor of a running process: new ends of edges after a peer's restart, new
//! listeners, the end. When the supervisor dies, the descriptor closes and the process ends too.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clawdbot_confine::frame::FrameReader;
use clawdbot_proto::v1::{ControlFrame, control_frame};
use prost::Message as _;
use tracing::{error, warn};

use crate::context::{Feeds, Incoming, Listener};
use crate::frames::FrameConnection;
use crate::inherit::Brought;
use crate::{ServeError, log};

/// The names of the files that come after the start: a connection to a helper, and the configuration.
const KEYRING: &str = "keyring";
const CONFIG: &str = "config";

impl Feeds {
    /// Passes descriptors on to whoever waits for them.
    pub(crate) fn give(&self, mut brought: Brought) -> Result<(), ServeError> {
        if let Some(helper) = brought.files.remove(KEYRING) {
            let _over = self.keyring.send(UnixStream::from(helper));
        }
        if let Some(config) = brought.files.remove(CONFIG) {
            let _over = self.config.send(Ok(config.into()));
        }
        for (role, stream) in brought.calls {
            self.slots.of(&role).hand_over(stream);
        }
        // The receiver is gone only when the process ends.
        for (role, stream) in brought.serves {
            let _over = self.incoming.send(Incoming::Stream(role, stream));
        }
        for (role, socket) in brought.accepts {
            let _over = self.incoming.send(Incoming::Socket(role, socket));
        }
        for listener in brought.listeners {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            let socket = tokio::net::TcpListener::from_std(listener)?;
            self.listeners.send_modify(|all| {
                all.retain(|known| known.address != address);
                all.push(Arc::new(Listener { address, socket }));
            });
        }
        Ok(())
    }

    fn keep_only(&self, addresses: &[String]) {
        self.listeners.send_if_modified(|all| {
            let before = all.len();
            all.retain(|known| addresses.contains(&known.address.to_string()));
            all.len() != before
        });
    }
}

pub(crate) async fn follow(stream: UnixStream, reader: FrameReader, feeds: Feeds) {
    match FrameConnection::resume(stream, reader) {
        Ok(connection) => while obey(next(&connection).await, &feeds) {},
        Err(error) => error!(%error, "the control descriptor cannot be read"),
    }
    // Kept for whoever asks later: `send` keeps nothing while nobody listens.
    feeds.shutdown.send_replace(true);
}

/// Does what a frame says; `false` at the end.
fn obey(
    frame: Option<(control_frame::Frame, Option<std::os::fd::OwnedFd>)>,
    feeds: &Feeds,
) -> bool {
    match frame {
        Some((control_frame::Frame::Descriptor(what), Some(fd))) => {
            let mut brought = Brought::default();
            let given = brought
                .add(what, fd)
                .map_err(|error| ServeError::from(error.to_string()))
                .and_then(|()| feeds.give(brought));
            if let Err(error) = given {
                warn!(%error, "a descriptor from the supervisor cannot be used");
            }
            true
        }
        Some((control_frame::Frame::Listeners(kept), None)) => {
            feeds.keep_only(&kept.addresses);
            true
        }
        Some((control_frame::Frame::NoConfig(number), None)) => {
            let _over = feeds.config.send(Err(io::Error::from_raw_os_error(number)));
            true
        }
        Some((control_frame::Frame::LogLevel(level), None)) => {
            log::set_level(&level);
            true
        }
        Some((control_frame::Frame::Shutdown(_), None)) => false,
        Some(_) => {
            error!("the supervisor sent a frame out of order");
            false
        }
        None => {
            feeds.orphaned.store(true, Ordering::Relaxed);
            false
        }
    }
}

async fn next(
    connection: &FrameConnection,
) -> Option<(control_frame::Frame, Option<std::os::fd::OwnedFd>)> {
    match connection.receive().await {
        Ok(Some(frame)) => {
            let message = ControlFrame::decode(frame.payload.as_slice()).ok()?;
            Some((message.frame?, frame.fds.into_iter().next()))
        }
        Ok(None) => None,
        Err(error) => {
            error!(%error, "the control descriptor broke");
            None
        }
    }
}
