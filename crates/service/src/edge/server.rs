//! The answering side of an edge. A call passes only if the table has a row for the role of its stream
//! and its method, within the row's size and rate; everything else is refused before any service sees it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use clawdbot_identity::Role;
use clawdbot_proto::edges::{self, Edge, Method};
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tracing::warn;

use crate::rate::Rates;

use super::gather::Gather;

/// Calls that one connection may have open at the same time.
const MAX_STREAMS: u32 = 256;
/// gRPC's length prefix.
const PREFIX: usize = 5;

/// The role of the edge that a call came in on.
#[derive(Clone, Debug)]
pub struct Caller(pub Role);

/// The role of the edge that a call came in on.
///
/// # Errors
/// INTERNAL when the request did not come through a [`Router`].
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Role, Status> {
    let known = request
        .extensions()
        .get::<Caller>()
        .map(|Caller(role)| role.clone());
    known.ok_or_else(|| Status::internal("the call came in on no edge"))
}

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

trait Dispatch: Send + Sync {
    fn call(&self, request: Request<Body>) -> Answer;
}

struct Service<S>(S);

impl<S> Dispatch for Service<S>
where
    S: tower_service::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    fn call(&self, request: Request<Body>) -> Answer {
        // tonic's servers are ready at any time.
        let mut service = self.0.clone();
        Box::pin(async move {
            match service.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    }
}

/// The gRPC services of a process.
#[derive(Clone, Default)]
pub struct Router(Arc<BTreeMap<&'static str, Arc<dyn Dispatch>>>);

impl Router {
    /// No service yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a generated server.
    #[must_use]
    #[allow(clippy::should_implement_trait)]
    pub fn add<S>(self, service: S) -> Self
    where
        S: tower_service::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let mut services = (*self.0).clone();
        services.insert(S::NAME, Arc::new(Service(service)));
        Self(Arc::new(services))
    }

    fn find(&self, path: &str) -> Option<&Arc<dyn Dispatch>> {
        let service = path.strip_prefix('/')?.split_once('/')?.0;
        self.0.get(service)
    }
}

/// What one connection may do, and how much of its rate it has left.
struct Gate {
    client: Role,
    server: Role,
    edge: Option<&'static Edge>,
    rates: Mutex<Rates>,
}

impl Gate {
    fn new(client: Role, server: Role) -> Self {
        let edge = edges::edge(client.as_str(), server.as_str());
        Self {
            client,
            server,
            edge,
            rates: Mutex::default(),
        }
    }

    fn admit(&self, path: &str, now: Instant) -> Result<&'static Method, Status> {
        let row = self
            .edge
            .and_then(|edge| edge.methods.iter().find(|m| m.path == path));
        let Some(row) = row else {
            warn!(client = %self.client, path, "refused a call that the edge table does not permit");
            return Err(Status::permission_denied(format!(
                "{} may not call this at {}",
                self.client, self.server
            )));
        };
        if self
            .rates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .spend(row, now)
        {
            Ok(row)
        } else {
            warn!(client = %self.client, path, "refused a call above the edge's rate");
            Err(Status::resource_exhausted(format!(
                "more than {} calls a second",
                row.rate
            )))
        }
    }
}

/// Serves one connection of the given role until the peer ends it.
pub async fn serve_stream(stream: UnixStream, client: Role, server: Role, router: Router) {
    let gate = Arc::new(Gate::new(client, server));
    let service = service_fn(move |request: Request<Incoming>| {
        let gate = Arc::clone(&gate);
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(&gate, &router, request).await) }
    });
    // How it ended does not matter: the peer is another process that may die at any time.
    let _ended = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(MAX_STREAMS)
        // A peer that gives calls up is no attacker: its own client may have hung up on it.
        .max_pending_accept_reset_streams(2 * MAX_STREAMS as usize)
        .serve_connection(TokioIo::new(Gather::new(stream)), service)
        .await;
}

async fn answer(gate: &Gate, router: &Router, request: Request<Incoming>) -> Response<Body> {
    let row = match gate.admit(request.uri().path(), Instant::now()) {
        Ok(row) => row,
        Err(status) => return status.into_http(),
    };
    let Some(service) = router.find(row.path) else {
        return Status::unimplemented("this process does not serve the method").into_http();
    };
    let too_long = row.max;
    let (mut head, body) = request.into_parts();
    head.extensions.insert(Caller(gate.client.clone()));
    let limited = Limited::new(body, row.max as usize + PREFIX).map_err(move |_| {
        Status::resource_exhausted(format!(
            "the request is cut, or longer than {too_long} bytes"
        ))
    });
    service
        .call(Request::from_parts(head, Body::new(limited)))
        .await
}
