//! One HTTP/1.1 request over a stream that somebody else connected. The target, the `Host` header and the framing are
//! not the caller's to choose, redirects are not followed, and nothing is tried twice.

use bytes::Bytes;
use clawdbot_identity::Destination;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use crate::limits::HEAD_BYTES;
use crate::watched::{Received, Watched};
use crate::{BaseUrl, Body, HttpError, Limits, Tls};

/// A connection that is ready for a request. Dropping it, or the [`Body`] it became, closes the socket.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    host: HeaderValue,
    destination: Destination,
    tls: bool,
    received: Received,
    reused: bool,
}

/// The task that moves the bytes; it ends with the connection.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Speaks TLS with `destination` over a stream that is connected to it.
    ///
    /// # Errors
    /// [`HttpError::Handshake`] or [`HttpError::HandshakeTimeout`]; nothing of a request was sent.
    pub async fn tls<S>(stream: S, destination: &Destination, tls: &Tls) -> Result<Self, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = tls.connect(destination.host(), stream).await?;
        Self::open(stream, destination, true).await
    }

    /// Speaks without encryption: only for an address that the configuration itself names with `http://`.
    ///
    /// # Errors
    /// [`HttpError::Protocol`] when HTTP cannot be started.
    pub async fn plain<S>(stream: S, destination: &Destination) -> Result<Self, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::open(stream, destination, false).await
    }

    async fn open<S>(stream: S, destination: &Destination, tls: bool) -> Result<Self, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let authority = destination.to_string();
        let default_port = if tls { 443 } else { 80 };
        let host = match authority.strip_suffix(&format!(":{default_port}")) {
            Some(host) => HeaderValue::from_str(host),
            None => HeaderValue::from_str(&authority),
        };
        let host = host.map_err(|_| HttpError::Request("the host cannot stand in a header"))?;
        let (stream, received) = Watched::new(stream);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| HttpError::of_hyper(&error))?;
        // What ends the connection is reported to the request or body that waits for it.
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        Ok(Self {
            sender,
            driver,
            host,
            destination: destination.clone(),
            tls,
            received,
            reused: false,
        })
    }

    /// Sends a request and waits for the head of its answer. The request's target is a path with an optional query;
    /// `Host`, `Accept-Encoding` and the framing headers are set here, whatever it carries.
    ///
    /// # Errors
    /// Every variant of [`HttpError`] up to the body. A status of 400 and above is an answer, not an error.
    pub async fn send(
        mut self,
        request: Request<Bytes>,
        limits: &Limits,
    ) -> Result<Response<Body>, HttpError> {
        let request = self.prepare(request)?;
        let start = Instant::now();
        self.received.reset();
        let allowed = limits.head.min(limits.total);
        let (head, incoming) = match timeout(allowed, self.sender.send_request(request)).await {
            Ok(Ok(response)) => response.into_parts(),
            Ok(Err(error)) => {
                return Err(HttpError::before_head(
                    &error,
                    self.reused,
                    self.received.get(),
                ));
            }
            Err(_) => {
                return Err(HttpError::HeadTimeout {
                    seconds: allowed.as_secs(),
                });
            }
        };
        check(&head)?;
        self.reused = true;
        let body = Body::new(incoming, self, start, *limits)?;
        Ok(Response::from_parts(head, body))
    }

    fn prepare(&self, mut request: Request<Bytes>) -> Result<Request<Full<Bytes>>, HttpError> {
        let uri = request.uri();
        if uri.authority().is_some() || !uri.path().starts_with('/') {
            return Err(HttpError::Request(
                "its target must be a path, since the connection has its host",
            ));
        }
        if request.method() == Method::CONNECT {
            return Err(HttpError::Request(
                "CONNECT would turn the connection into a tunnel",
            ));
        }
        let headers: &mut HeaderMap = request.headers_mut();
        for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE] {
            headers.remove(name);
        }
        headers.insert(HOST, self.host.clone());
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        *request.version_mut() = http::Version::HTTP_11;
        Ok(request.map(Full::new))
    }

    /// Whether it leads to this server, spoken to in this way. The path is each request's own.
    #[must_use]
    pub fn leads_to(&self, server: &BaseUrl) -> bool {
        self.tls == server.tls() && self.destination == *server.destination()
    }

    /// Whether the server has not ended the connection, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed() && !self.driver.0.is_finished()
    }

    /// Waits until another request can be sent; no when the server ended the connection.
    pub(crate) async fn is_ready(&mut self) -> bool {
        self.sender.ready().await.is_ok() && self.is_open()
    }
}

/// Refuses answers that nobody here should read further.
fn check(head: &http::response::Parts) -> Result<(), HttpError> {
    match head.status.as_u16() {
        status @ 300..=399 => return Err(HttpError::Redirected { status }),
        200.. => {}
        _ => return Err(HttpError::Protocol("it switches protocols".to_owned())),
    }
    // hyper stops reading at the limit, but takes a head that its last read happened to complete.
    let lines = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    if lines.sum::<usize>() > HEAD_BYTES {
        return Err(HttpError::HeadTooLarge);
    }
    let plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    match head.headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        true => Ok(()),
        false => Err(HttpError::Encoded),
    }
}
