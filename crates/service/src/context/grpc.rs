//! The gRPC part of a process's context: edges to call, edges to answer, the slice of the configuration.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use clawdbot_identity::Role;
use clawdbot_proto::v1::Snapshot;
use tokio::sync::watch;

use super::{Context, accept_from};
use crate::callers::Callers;
use crate::edge::serve_stream;
use crate::watch_config::follow_config_and;
use crate::{Edge, Router, ServeError};

/// What was asked for so far.
#[derive(Default)]
pub(super) struct Grpc {
    config: OnceLock<watch::Receiver<Option<Arc<Snapshot>>>>,
    edges: Mutex<BTreeMap<Role, Edge>>,
}

impl Context {
    /// The edge on which this process calls `server`: one connection, however often it is asked for.
    /// Calls on an edge that the table does not have end with PERMISSION_DENIED.
    #[must_use]
    pub fn edge(&self, server: &Role) -> Edge {
        let mut edges = self
            .0
            .grpc
            .edges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let made = || Edge::new(self.0.role.clone(), server.clone(), self.source(server));
        edges.entry(server.clone()).or_insert_with(made).clone()
    }

    /// This process's slice of the configuration, kept fresh; `None` while there is none.
    #[must_use]
    pub fn config(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.0
            .grpc
            .config
            .get_or_init(|| {
                // The task lives as long as somebody holds the receiver, which is in what it must not hold itself.
                let own = Arc::downgrade(&self.0);
                follow_config_and(self.edge(&Role::policy()), move |snapshot| {
                    if let Some(own) = own.upgrade() {
                        Context(own).obey(&snapshot.log_level, &snapshot.sandbox_require);
                    }
                })
            })
            .clone()
    }

    /// Serves all gRPC edges, present and future, until the process should end.
    ///
    /// # Errors
    /// When it was called before.
    pub async fn serve(&self, router: Router) -> Result<(), ServeError> {
        let server = self.0.role.clone();
        self.accept(move |role, stream| {
            tokio::spawn(serve_stream(stream, role, server.clone(), router.clone()));
        })
        .await
    }
}

/// Serves a socket with a name to whoever runs as this user, under the given role.
pub async fn serve_socket(socket: StdListener, client: Role, server: Role, router: Router) {
    let each = |role, stream| {
        tokio::spawn(serve_stream(stream, role, server.clone(), router.clone()));
    };
    accept_from(client, socket, Callers::this_user(false), each).await;
}
