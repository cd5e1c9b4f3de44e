//! The answering side of an edge. A call passes only if the table has a row for the role of its stream
//! and its method, within the row's size and rate; everything else is refused before any service sees it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use clawdbot_identity::Role;
use clawdbot_proto::edges::{self, Edge, Method};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tracing::warn;

use crate::rate::Rates;

use super::body::Incoming;
use super::gather::Gather;

/// Calls that one connection may have open at the same time.
const MAX_STREAMS: u32 = 256;
/// What a client may send ahead of its readers, bytes: in one call and in all of them.
const WINDOW: u32 = 1 << 20;
/// Bytes of the headers of one call; without a limit of ours it would be 16 MiB.
const MAX_HEAD: u32 = 16 << 10;
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
    let stream = match Gather::new(stream) {
        Ok(stream) => stream,
        Err(error) => {
            warn!(client = %gate.client, %error, "an edge cannot be served");
            return;
        }
    };
    let connection = h2::server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        // A peer that gives calls up is no attacker: its own client may have hung up on it.
        .max_pending_accept_reset_streams(2 * MAX_STREAMS as usize)
        .handshake::<_, Bytes>(stream)
        .await;
    // How it ends does not matter: the peer is another process that may die at any time.
    let Ok(mut connection) = connection else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (gate, router) = (Arc::clone(&gate), router.clone());
        let mut call = Box::pin(serve_call(gate, router, request, respond));
        // Most calls need to wait for nothing; only those that do become a task of their own.
        let mut nobody = Context::from_waker(Waker::noop());
        if call.as_mut().poll(&mut nobody).is_pending() {
            tokio::spawn(call);
        }
    }
}

/// Answers one call, unless the peer gives it up before.
async fn serve_call(
    gate: Arc<Gate>,
    router: Router,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let mut answer = pin!(answer(&gate, &router, request.map(Incoming::new)));
    let answered = poll_fn(|cx| match respond.poll_reset(cx) {
        Poll::Ready(_given_up) => Poll::Ready(None),
        Poll::Pending => answer.as_mut().poll(cx).map(Some),
    });
    if let Some(answer) = answered.await {
        // However it ends, nobody else wants to know.
        let _ended = send(respond, answer).await;
    }
}

/// Sends an answer, no faster than the peer takes it.
async fn send(mut respond: SendResponse<Bytes>, answer: Response<Body>) -> Result<(), h2::Error> {
    let (head, mut body) = answer.into_parts();
    let nothing_follows = body.is_end_stream();
    let mut stream = respond.send_response(Response::from_parts(head, ()), nothing_follows)?;
    if nothing_follows {
        return Ok(());
    }
    loop {
        stream.reserve_capacity(1);
        while stream.capacity() == 0 {
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(room) => drop(room?),
                None => return Ok(()),
            }
        }
        let frame = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(given_up) => Poll::Ready(Err(given_up)),
            Poll::Pending => Pin::new(&mut body).poll_frame(cx).map(Ok),
        });
        let Ok(frame) = frame.await else {
            return Ok(());
        };
        let frame = match frame {
            None => return stream.send_data(Bytes::new(), true),
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
        };
        let frame = match frame.into_data() {
            Ok(data) => {
                stream.send_data(data, false)?;
                continue;
            }
            Err(frame) => frame,
        };
        if let Ok(trailers) = frame.into_trailers() {
            stream.reserve_capacity(0);
            return stream.send_trailers(trailers);
        }
    }
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
