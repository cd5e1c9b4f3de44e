//! Edges without processes, for tests: the real client, server and table over a socketpair.

use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Weak};

use clawdbot_identity::Role;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::source::{Slot, Source};
use crate::{Edge, Handover, Router, serve_stream};

/// An edge whose server can die and come back.
pub struct Link {
    edge: Edge,
    handover: Handover,
    client: Role,
    server: Role,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Link {
    /// An edge with nobody at its other end yet.
    #[must_use]
    pub fn new(client: &Role, server: &Role) -> Self {
        let (edge, handover) = Edge::handed(client.clone(), server.clone());
        Self {
            edge,
            handover,
            client: client.clone(),
            server: server.clone(),
            running: Mutex::new(None),
        }
    }

    /// The calling side.
    #[must_use]
    pub fn edge(&self) -> Edge {
        self.edge.clone()
    }

    /// The server dies: calls in flight are lost, new ones wait.
    pub async fn cut(&self) {
        if let Some(running) = self.running.lock().await.take() {
            running.abort();
            let _aborted = running.await;
        }
    }

    /// A new server takes the place of the old one.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub async fn reconnect(&self, router: Router) -> std::io::Result<()> {
        self.cut().await;
        let (ours, theirs) = StdStream::pair()?;
        theirs.set_nonblocking(true)?;
        let theirs = UnixStream::from_std(theirs)?;
        let served = serve_stream(theirs, self.client.clone(), self.server.clone(), router);
        *self.running.lock().await = Some(tokio::spawn(served));
        self.handover.give(ours);
        Ok(())
    }
}

/// An edge from `client` to `server`, which answers with `router`, also after the client has hung up. Must be called inside
/// a runtime.
///
/// # Errors
/// When the system has no descriptor left.
pub fn connect(client: &Role, server: &Role, router: Router) -> std::io::Result<Edge> {
    let (caller, callee) = (client.clone(), server.clone());
    let serve = Arc::new(move || -> std::io::Result<StdStream> {
        let (ours, theirs) = StdStream::pair()?;
        theirs.set_nonblocking(true)?;
        let theirs = UnixStream::from_std(theirs)?;
        let (client, server) = (caller.clone(), callee.clone());
        tokio::spawn(serve_stream(theirs, client, server, router.clone()));
        Ok(ours)
    });
    let slot = Arc::new_cyclic(|slot: &Weak<Slot>| {
        let (slot, serve) = (Weak::clone(slot), Arc::clone(&serve));
        Slot::asking(Box::new(move |_| {
            let (slot, serve) = (Weak::clone(&slot), Arc::clone(&serve));
            tokio::spawn(async move {
                if let (Some(slot), Ok(stream)) = (slot.upgrade(), serve()) {
                    slot.hand_over(stream);
                }
            });
        }))
    });
    slot.hand_over(serve()?);
    Ok(Edge::new(
        client.clone(),
        server.clone(),
        Source::Handed(slot),
    ))
}
