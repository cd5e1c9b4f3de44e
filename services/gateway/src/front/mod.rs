//! The front door: HTTP and WebSocket on listeners that somebody else opened. Until a peer has authenticated, whatever
//! it can make this process keep or wait for is bounded by `limits`.

mod access;
pub mod api;
mod assets;
mod body;
mod census;
mod connection;
mod guard;
mod key_tries;
mod lockouts;
pub mod login;
mod metered;
mod pages;
mod pulse;
pub mod reply;
mod routes;
pub mod socket;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clawdbot_proto::v1;
use clawdbot_proto::v1::snapshot::Slice;
use clawdbot_service::{Edge, Listener};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::desk::Desk;
use access::Access;
use api::Keys;
use census::Census;

/// The front door. Clones share it.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    desk: Desk,
    access: Access,
    census: Census,
    keys: Keys,
    feeds: Feeds,
    started: Instant,
}

/// The slice in force when it was asked for.
struct Config(Arc<v1::Snapshot>);

impl Deref for Config {
    type Target = v1::GatewaySlice;

    fn deref(&self) -> &v1::GatewaySlice {
        static NONE: LazyLock<v1::GatewaySlice> = LazyLock::new(v1::GatewaySlice::default);
        match &self.0.slice {
            Some(Slice::Gateway(slice)) => slice,
            // `Config` is made of a gateway's slice only.
            _ => &NONE,
        }
    }
}

/// What comes from outside while the front door is open.
pub struct Feeds {
    /// The gateway's slice of the configuration, once there is one.
    pub config: watch::Receiver<Option<Arc<v1::Snapshot>>>,
    /// The listening sockets, as they come and go.
    pub listeners: watch::Receiver<Vec<Arc<Listener>>>,
    /// Becomes true when the process should end.
    pub over: watch::Receiver<bool>,
}

impl Front {
    /// A front door that nobody can reach before [`Front::open`].
    pub fn new(desk: Desk, policy: Edge, feeds: Feeds) -> Self {
        Self(Arc::new(Inner {
            desk,
            access: Access::new(policy),
            census: Census::default(),
            keys: Keys::default(),
            feeds,
            started: Instant::now(),
        }))
    }

    /// What an operator can do here.
    pub fn desk(&self) -> &Desk {
        &self.0.desk
    }

    /// The addresses under which it can be opened now.
    pub fn urls(&self) -> Vec<String> {
        let listeners = self.0.feeds.listeners.borrow();
        listeners.iter().map(|l| url(l.address)).collect()
    }

    /// How things stand.
    pub fn status(&self) -> v1::GatewayStatus {
        let (pending, running) = self.0.desk.turns().counts();
        let (undelivered, tally) = self.0.desk.turns().channels().tally();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        v1::GatewayStatus {
            urls: self.urls(),
            pending: number(pending),
            running: number(running),
            connections: self.0.census.open(),
            uptime_ms: u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            undelivered: number(undelivered),
            unknown: tally.unknown,
            rejected: tally.rejected,
        }
    }

    /// The slice in force.
    fn slice(&self) -> Option<Config> {
        let snapshot = Arc::clone(self.0.feeds.config.borrow().as_ref()?);
        matches!(snapshot.slice, Some(Slice::Gateway(_))).then(|| Config(snapshot))
    }

    /// Returns when the process should end.
    async fn over(&self) {
        // A sender that is gone means the same.
        let _ = self.0.feeds.over.clone().wait_for(|over| *over).await;
    }

    /// Accepts connections on the listeners of the moment until the process should end, then gives connections that
    /// are open a moment to say goodbye.
    pub async fn open(&self) {
        let mut listeners = self.0.feeds.listeners.clone();
        let mut doors: Vec<(Arc<Listener>, JoinHandle<()>)> = Vec::new();
        loop {
            let now = listeners.borrow_and_update().clone();
            // Only the accepting ends: connections that are open stay.
            doors.retain(|(door, task)| {
                let stays = now.iter().any(|other| Arc::ptr_eq(door, other));
                if !stays {
                    task.abort();
                    info!(address = %door.address, "the front door no longer listens here");
                }
                stays
            });
            for listener in now {
                if !doors.iter().any(|(door, _)| Arc::ptr_eq(door, &listener)) {
                    info!(address = %listener.address, "the front door listens");
                    let task = tokio::spawn(self.clone().accept(Arc::clone(&listener)));
                    doors.push((listener, task));
                }
            }
            tokio::select! {
                changed = listeners.changed() => if changed.is_err() {
                    self.over().await;
                    break;
                },
                () = self.over() => break,
            }
        }
        for (_, task) in &doors {
            task.abort();
        }
        let _ = tokio::time::timeout(Duration::from_millis(700), self.0.census.empty()).await;
    }

    async fn accept(self, listener: Arc<Listener>) {
        loop {
            match listener.socket.accept().await {
                Ok((stream, peer)) => self.welcome(stream, peer),
                Err(error) => {
                    // Out of descriptors, for example: others end first, then there is room again.
                    warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr) {
        let (Ok(local), Ok(())) = (stream.local_addr(), stream.set_nodelay(true)) else {
            return;
        };
        match self.0.census.enter(peer.ip()) {
            Some(place) => {
                tokio::spawn(connection::serve(self.clone(), stream, peer, local, place));
            }
            None => reply::turn_away(stream),
        }
    }
}

/// The address as a person opens it on this machine.
fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}
