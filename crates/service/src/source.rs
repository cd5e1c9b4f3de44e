//! Where the streams of an edge come from: handed over by the supervisor, again after each restart of
//! the peer, or connected to by path where a service manager made the sockets.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clawdbot_identity::Role;
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};

use crate::Notifier;
use crate::notify::Why;
use crate::pace::Pace;

/// Asks for another stream, since one has ended.
pub(crate) type Ask = Box<dyn Fn(Why) + Send + Sync>;

/// Holds the newest stream that the supervisor handed over and nobody has taken yet.
pub(crate) struct Slot {
    next: Mutex<Option<StdStream>>,
    arrived: Notify,
    generation: watch::Sender<u64>,
    /// Asks for another stream.
    ask: Option<Ask>,
}

/// The slots of a process, one for each server that it calls.
pub(crate) struct Slots {
    known: Mutex<BTreeMap<Role, Arc<Slot>>>,
    notifier: Notifier,
}

impl Slots {
    pub(crate) fn new(notifier: Notifier) -> Self {
        Self {
            known: Mutex::default(),
            notifier,
        }
    }

    /// The slot of a server. When its stream ends, the supervisor is asked for another.
    pub(crate) fn of(&self, server: &Role) -> Arc<Slot> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            let (notifier, name) = (self.notifier.clone(), server.clone());
            let ask = move |why| notifier.edge_ended(&name, why);
            Arc::new(Slot::asking(Box::new(ask)))
        };
        Arc::clone(known.entry(server.clone()).or_insert_with(made))
    }
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            next: Mutex::new(None),
            arrived: Notify::new(),
            generation: watch::Sender::new(0),
            ask: None,
        }
    }

    /// With a way to ask for another stream when one has ended. It is called under the slot's lock.
    pub(crate) fn asking(ask: Ask) -> Self {
        Self {
            ask: Some(ask),
            ..Self::new()
        }
    }

    /// A fresh stream replaces an unused older one, whose peer is gone.
    pub(crate) fn hand_over(&self, stream: StdStream) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
        self.generation.send_modify(|n| *n += 1);
        self.arrived.notify_one();
    }

    pub(crate) fn newer(&self) -> Option<StdStream> {
        self.next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Where the next stream to a peer comes from.
pub(crate) enum Source {
    Handed(Arc<Slot>),
    Path {
        path: PathBuf,
        generation: watch::Sender<u64>,
        /// Where each connect starts a peer that is not there.
        pace: Option<Pace>,
    },
}

impl Source {
    pub(crate) fn path(path: PathBuf) -> Self {
        Self::Path {
            path,
            generation: watch::Sender::new(0),
            pace: None,
        }
    }

    /// A socket of a service manager, which starts the peer for whoever connects: one that ends at once is left alone for
    /// longer and longer.
    pub(crate) fn activating(path: PathBuf) -> Self {
        Self::Path {
            path,
            generation: watch::Sender::new(0),
            pace: Some(Pace::default()),
        }
    }

    fn pace(&self) -> Option<&Pace> {
        match self {
            Self::Handed(_) => None,
            Self::Path { pace, .. } => pace.as_ref(),
        }
    }

    /// The peer has answered something.
    pub(crate) fn answered(&self) {
        if let Some(pace) = self.pace() {
            pace.answered();
        }
    }

    /// Waits until the peer may be connected to, which is nearly always now.
    #[cfg(feature = "grpc")]
    pub(crate) async fn rested(&self) {
        if let Some(pace) = self.pace() {
            pace.rested().await;
        }
    }

    /// A stream that came in since the last call, without waiting.
    pub(crate) fn newer(&self) -> Option<io::Result<UnixStream>> {
        match self {
            Self::Handed(slot) => slot.newer().map(adopt),
            Self::Path { .. } => None,
        }
    }

    /// The next stream; waits for the supervisor where it hands them over.
    ///
    /// # Errors
    /// When the peer cannot be connected to, or has ended at once too often to be tried again by now.
    pub(crate) async fn next(&self) -> io::Result<UnixStream> {
        match self {
            Self::Handed(slot) => loop {
                if let Some(stream) = slot.newer() {
                    return adopt(stream);
                }
                slot.arrived.notified().await;
            },
            Self::Path { path, pace, .. } => {
                let Some(pace) = pace else {
                    return UnixStream::connect(path).await;
                };
                pace.turn().await?;
                let connected = UnixStream::connect(path).await;
                pace.tried(connected.is_ok());
                connected
            }
        }
    }

    /// Counts the peers that this edge has had: it changes when a peer was restarted.
    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        match self {
            Self::Handed(slot) => slot.generation.subscribe(),
            Self::Path { generation, .. } => generation.subscribe(),
        }
    }

    /// The connection ended. Where streams are handed over, the next one is here already if the peer
    /// was started anew; else it is asked for.
    pub(crate) fn ended(&self, why: Why) {
        match self {
            Self::Handed(slot) => {
                let next = slot.next.lock().unwrap_or_else(PoisonError::into_inner);
                if let (None, Some(ask)) = (next.as_ref(), &slot.ask) {
                    ask(why);
                }
            }
            Self::Path { generation, .. } => generation.send_modify(|n| *n += 1),
        }
    }
}

fn adopt(stream: StdStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
