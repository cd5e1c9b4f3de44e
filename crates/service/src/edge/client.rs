//! The calling side of an edge: a tower service for tonic's generated clients that waits for its peer,
//! reconnects when the peer was restarted and repeats lost calls as the edge table says.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use clawdbot_identity::Role;
use clawdbot_proto::edges::{self, Method, Retry};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::body::Body;

use crate::notify::Why;
use crate::source::{Slot, Source};

use super::body::Incoming;
use super::gather::Gather;

/// What a server may send ahead of its readers, bytes: in one answer and in all of them.
const WINDOW: (u32, u32) = (2 << 20, 5 << 20);
/// Bytes of the headers of one answer, as a server takes of a call; without a limit of ours it would be 16 MiB.
const MAX_HEAD: u32 = 16 << 10;
/// Calls that may be under way before the server has said how many it takes; it takes more.
const FIRST_STREAMS: usize = 100;

/// How long a call waits for its peer before it is UNAVAILABLE, and then until the peer takes one more.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer may take, of a stream its head: a server begins it at once, whatever comes on it later.
const REPLY: Duration = Duration::from_secs(60);
/// The same where a person may have to be waited for, who has an hour at most (`approvals.exec.timeoutSeconds`).
const WORD: Duration = Duration::from_secs(3600 + 60);
/// Longest answer that is no stream, bytes: what tonic's clients take.
const LONGEST: usize = (4 << 20) + 5;
/// Servers in a row that a call is tried at.
const TRIES: u32 = 8;
/// Pause before the second of them; it doubles with each.
const PAUSE: Duration = Duration::from_millis(10);

/// One edge from this process to a server. Cheap to clone; all clones share the connection.
#[derive(Clone)]
pub struct Edge(Arc<Inner>);

struct Inner {
    client: Role,
    server: Role,
    source: Source,
    patience: Duration,
    current: Mutex<Option<Current>>,
    /// Connections so far.
    count: AtomicU64,
}

/// Where an edge gets its streams from.
pub struct Handover(Arc<Slot>);

impl Handover {
    /// Gives the edge its end of a new connection.
    pub fn give(&self, stream: std::os::unix::net::UnixStream) {
        self.0.hand_over(stream);
    }
}

/// The connection in use; the number tells it from those before.
struct Current {
    number: u64,
    sender: SendRequest<Bytes>,
    over: Arc<AtomicBool>,
}

/// Why one try of a call did not bring an answer.
enum Lost {
    /// The request never left over the connection of this number.
    Unsent(u64),
    /// The request may have been seen.
    Cut,
    /// No peer to talk to, or no answer that can be used.
    Hopeless(Status),
}

impl Edge {
    pub(crate) fn new(client: Role, server: Role, source: Source) -> Self {
        Self(Arc::new(Inner {
            client,
            server,
            source,
            patience: PATIENCE,
            current: Mutex::new(None),
            count: AtomicU64::new(0),
        }))
    }

    /// An edge over a socket with a name. `patience` bounds the wait for the peer.
    #[must_use]
    pub fn to_path(path: PathBuf, client: Role, server: Role, patience: Duration) -> Self {
        let source = Source::path(path);
        Self(Arc::new(Inner {
            client,
            server,
            source,
            patience,
            current: Mutex::new(None),
            count: AtomicU64::new(0),
        }))
    }

    /// An edge whose streams come from the [`Handover`], one for each life of the server.
    #[must_use]
    pub fn handed(client: Role, server: Role) -> (Self, Handover) {
        let slot = Arc::new(Slot::new());
        (
            Self::new(client, server, Source::Handed(Arc::clone(&slot))),
            Handover(slot),
        )
    }

    /// Ends the connection as soon as no call is open on it; the next call is made over another one. What was said last is
    /// in its buffers on both sides until then, and wiped with them.
    pub async fn hang_up(&self) {
        if self.0.current.lock().await.take().is_some() {
            self.0.source.ended(Why::GivenUp);
        }
    }

    /// Waits while a peer that ends as soon as it is started is left alone: calls end UNAVAILABLE until then. For whoever asks
    /// again and again by itself.
    pub async fn rested(&self) {
        self.0.source.rested().await;
    }

    /// Changes whenever the peer was started anew, so that whoever pushed something to it pushes again.
    #[must_use]
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.0.source.generation()
    }
}

impl Inner {
    /// The connection to the present peer, made if need be.
    async fn connection(self: &Arc<Self>) -> Result<(u64, SendRequest<Bytes>), Status> {
        let mut current = self.current.lock().await;
        let stream = match self.source.newer() {
            Some(stream) => stream,
            None => {
                let open = current.as_ref();
                if let Some(open) = open.filter(|open| !open.over.load(Ordering::Relaxed)) {
                    return Ok((open.number, open.sender.clone()));
                }
                self.source.next().await
            }
        };
        let stream = stream.map_err(|error| self.unavailable(&error.to_string()))?;
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let over = Arc::default();
        let sender = self.handshake(stream, number, &over).await?;
        let used = sender.clone();
        *current = Some(Current {
            number,
            sender,
            over,
        });
        Ok((number, used))
    }

    /// Leaves a connection that takes no more calls although it has not ended: its server has said goodbye.
    async fn leave(&self, number: u64) {
        let mut current = self.current.lock().await;
        // One that is over is replaced where its end is noticed.
        let left = |open: &mut Current| open.number == number && !open.over.load(Ordering::Relaxed);
        if current.take_if(left).is_some() {
            self.source.ended(Why::Lost);
        }
    }

    async fn handshake(
        self: &Arc<Self>,
        stream: UnixStream,
        number: u64,
        over: &Arc<AtomicBool>,
    ) -> Result<SendRequest<Bytes>, Status> {
        let lost = |error: &dyn std::fmt::Display| self.unavailable(&error.to_string());
        let stream = Gather::new(stream).map_err(|error| lost(&error))?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW.0)
            .initial_connection_window_size(WINDOW.1)
            .initial_max_send_streams(FIRST_STREAMS)
            .max_header_list_size(MAX_HEAD)
            .enable_push(false)
            .handshake(stream)
            .await
            .map_err(|error| lost(&error))?;
        let (inner, over) = (Arc::downgrade(self), Arc::clone(over));
        tokio::spawn(async move {
            // How it ended does not matter: calls in flight learn it by themselves.
            let _ended = connection.await;
            over.store(true, Ordering::Relaxed);
            let Some(inner) = inner.upgrade() else { return };
            // One that was replaced ends because of that.
            let current = inner.current.lock().await;
            if current
                .as_ref()
                .is_some_and(|current| current.number == number)
            {
                inner.source.ended(Why::Lost);
            }
        });
        Ok(sender)
    }

    async fn attempt(
        self: &Arc<Self>,
        method: &'static Method,
        request: Request<()>,
        body: Bytes,
    ) -> Result<Response<Body>, Lost> {
        let (number, mut sender) = timeout(self.patience, self.connection())
            .await
            .map_err(|_| Lost::Hopeless(self.unavailable("nobody is at the other end")))?
            .map_err(Lost::Hopeless)?;
        let sent = async {
            let begun = sender.send_request(request, body.is_empty());
            let (answer, mut rest) = begun.map_err(|_| Lost::Unsent(number))?;
            // Head and body leave together.
            if !body.is_empty() {
                rest.send_data(body, true).map_err(|_| Lost::Cut)?;
            }
            // The peer takes only so many calls at a time. Whether the connection ended meanwhile shows in the answer.
            let _left = timeout(self.patience, sender.ready())
                .await
                .map_err(|_| Lost::Hopeless(self.unavailable("it takes no more calls for now")))?;
            let answer = answer.await.map_err(|_| Lost::Cut)?;
            self.source.answered();
            Ok(answer.map(Incoming::new))
        };
        let answer = async {
            let (head, body) = sent.await?.into_parts();
            let body = match method.streams {
                true => self.live(body),
                false => self.whole(body).await?,
            };
            Ok(Response::from_parts(head, body))
        };
        let patience = if method.waits { WORD } else { REPLY };
        timeout(patience, answer).await.unwrap_or_else(|_| {
            let late = format!(
                "{} did not answer within {} s",
                self.server,
                patience.as_secs()
            );
            Err(Lost::Hopeless(Status::deadline_exceeded(late)))
        })
    }

    /// The whole answer of a call that is no stream, so that a lost half of it can be asked for again.
    async fn whole(&self, body: Incoming) -> Result<Body, Lost> {
        match Limited::new(body, LONGEST).collect().await {
            Ok(whole) => Ok(Body::new(whole.map_err(|never| match never {}))),
            Err(error) if error.is::<LengthLimitError>() => {
                let long = format!("{} gave an answer above {LONGEST} bytes", self.server);
                Err(Lost::Hopeless(Status::out_of_range(long)))
            }
            Err(_) => Err(Lost::Cut),
        }
    }

    /// A stream whose server dies ends with UNAVAILABLE.
    fn live(&self, body: Incoming) -> Body {
        let lost = self.unavailable("it ended before its answer did");
        Body::new(body.map_err(move |_| lost.clone()))
    }

    fn unavailable(&self, why: &str) -> Status {
        Status::unavailable(format!("{} cannot be reached: {why}", self.server))
    }

    fn request(&self, path: &'static str, headers: &HeaderMap) -> Result<Request<()>, Status> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(self.server.as_str())
            .path_and_query(path)
            .build()
            .map_err(|error| Status::internal(error.to_string()))?;
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers.clone();
        Ok(request)
    }

    async fn call(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let Some(method) = edges::method(self.client.as_str(), self.server.as_str(), &path) else {
            return Err(Status::permission_denied(format!(
                "{} may not call {path} at {}",
                self.client, self.server
            )));
        };
        let body = body.collect().await?.to_bytes();
        for number in 0..TRIES {
            if let Some(doublings) = number.checked_sub(1) {
                sleep(PAUSE * (1 << doublings)).await;
            }
            let request = self.request(method.path, &head.headers)?;
            match self.attempt(method, request, body.clone()).await {
                Ok(response) => return Ok(response),
                Err(Lost::Hopeless(status)) => return Err(status),
                Err(Lost::Unsent(number)) => self.leave(number).await,
                Err(Lost::Cut) if method.retry != Retry::No => {}
                Err(Lost::Cut) => break,
            }
        }
        Err(self.unavailable("it ended before its answer did"))
    }
}

impl tower_service::Service<Request<Body>> for Edge {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(Arc::clone(&self.0).call(request))
    }
}
