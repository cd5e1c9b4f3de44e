//! The answering side of an edge. A call passes only if the table has a row for the role of its stream
//! and its method, within the row's size and rate; everything else, and a request that does not come to its
//! end, is refused before any service sees it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clawdbot_identity::Role;
use clawdbot_proto::edges::Method;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::Full;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tracing::warn;

use crate::gate::{Gate, Gates};

use super::gather::Gather;

/// Calls that one connection may have open at the same time.
const MAX_STREAMS: u32 = 256;
/// Calls that one client may have open at the same time: for a moment it may have an old connection besides its new one.
const CALLS: usize = 2 * MAX_STREAMS as usize;
/// Bytes of a request that every call may bring, whatever the others do.
const SMALL: u32 = 32 << 10;
/// How long a request may take from its head to its end.
const BODY: Duration = Duration::from_secs(10);
/// How long a connection may take to begin, from its first byte. Before that it may be silent: clients are given theirs when
/// they start, and begin when they have something to ask.
const HANDSHAKE: Duration = Duration::from_secs(5);
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

/// The gRPC services of a process, with what each client has left of its limits.
#[derive(Clone)]
pub struct Router {
    services: Arc<BTreeMap<&'static str, Arc<dyn Dispatch>>>,
    gates: Gates,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            services: Arc::default(),
            gates: Gates::new(CALLS),
        }
    }
}

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
        let mut services = (*self.services).clone();
        services.insert(S::NAME, Arc::new(Service(service)));
        Self {
            services: Arc::new(services),
            ..self
        }
    }

    fn find(&self, path: &str) -> Option<&Arc<dyn Dispatch>> {
        let service = path.strip_prefix('/')?.split_once('/')?.0;
        self.services.get(service)
    }
}

fn admit(gate: &Gate, path: &str) -> Result<&'static Method, Status> {
    let is_news = || gate.is_news(Instant::now());
    let Some(row) = gate.row(path) else {
        if is_news() {
            warn!(client = %gate.client, path, "refused a call that the edge table does not permit");
        }
        return Err(Status::permission_denied(format!(
            "{} may not call this at {}",
            gate.client, gate.server
        )));
    };
    if gate.spend(row) {
        Ok(row)
    } else {
        if is_news() {
            warn!(client = %gate.client, path, "refused a call above the edge's rate");
        }
        Err(Status::resource_exhausted(format!(
            "more than {} calls a second",
            row.rate
        )))
    }
}

/// Serves one connection of the given role until the peer ends it. Everything that this router serves to one role shares
/// its limits.
pub async fn serve_stream(stream: UnixStream, client: Role, server: Role, router: Router) {
    let gate = router.gates.of(&client, &server);
    let Some(_place) = gate.connect() else {
        if gate.is_news(Instant::now()) {
            warn!(%client, "refused a connection of a client that has too many");
        }
        return;
    };
    let begun = stream.readable().await.and_then(|()| Gather::new(stream));
    let stream = match begun {
        Ok(stream) => stream,
        Err(error) => {
            warn!(%client, %error, "an edge cannot be served");
            return;
        }
    };
    let connection = h2::server::Builder::new()
        .initial_window_size(SMALL)
        .initial_connection_window_size(SMALL * MAX_STREAMS)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        // A peer that gives calls up is no attacker: its own client may have hung up on it.
        .max_pending_accept_reset_streams(2 * MAX_STREAMS as usize)
        .handshake::<_, Bytes>(stream);
    // How it ends does not matter: the peer is another process that may die at any time.
    let Ok(Ok(mut connection)) = timeout(HANDSHAKE, connection).await else {
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
    let Ok(_place) = gate.calls.try_acquire() else {
        let refused = Status::resource_exhausted("too many calls at the same time");
        let _ended = send(respond, refused.into_http()).await;
        return;
    };
    let mut answer = pin!(answer(&gate, &router, request));
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

async fn answer(gate: &Gate, router: &Router, request: Request<RecvStream>) -> Response<Body> {
    let row = match admit(gate, request.uri().path()) {
        Ok(row) => row,
        Err(status) => return status.into_http(),
    };
    let Some(service) = router.find(row.path) else {
        return Status::unimplemented("this process does not serve the method").into_http();
    };
    let (mut head, body) = request.into_parts();
    head.extensions.insert(Caller(gate.client.clone()));
    let message = timeout(BODY, gather(gate, row, body)).await;
    let message = message.unwrap_or_else(|_| {
        let late = format!("the request did not arrive within {} s", BODY.as_secs());
        Err(Status::deadline_exceeded(late))
    });
    match message {
        Ok(message) => {
            let body = Body::new(Full::new(message));
            service.call(Request::from_parts(head, body)).await
        }
        Err(refused) => refused.into_http(),
    }
}

/// The whole request, so that no half of one is anywhere but here. The room for its beginning is given back at its end; to
/// bring more it needs a share of what the client's requests may hold together.
async fn gather(gate: &Gate, row: &Method, mut body: RecvStream) -> Result<Bytes, Status> {
    let longest = row.max as usize + PREFIX;
    let mut whole = BytesMut::new();
    let mut held = 0;
    let mut share = None;
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| Status::cancelled("the request is cut"))?;
        held += data.len();
        if whole.len() + data.len() > longest {
            let long = format!("the request is longer than {} bytes", row.max);
            return Err(Status::resource_exhausted(long));
        }
        if whole.is_empty() && body.is_end_stream() {
            // Nearly all come in one piece.
            let _over = body.flow_control().release_capacity(held);
            return Ok(data);
        }
        whole.extend_from_slice(&data);
        if share.is_none() && held >= SMALL as usize / 2 && !body.is_end_stream() {
            // Closed never.
            share = gate.bytes.acquire_many(row.max).await.ok();
        }
        if share.is_some() {
            let _over = body
                .flow_control()
                .release_capacity(std::mem::take(&mut held));
        }
    }
    let _over = body.flow_control().release_capacity(held);
    Ok(whole.freeze())
}
