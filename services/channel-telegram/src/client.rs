//! One bot's calls. The caller learns how sure it is that Telegram has seen a request: not sent, refused, or nobody knows.
//! A connection is used again only while it is surely younger than any server's patience.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use clawdbot_http::{BaseUrl, Connection, HttpError, Limits, Socket, Tls};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::Connect;
use crate::errors::{CallError, Refusal};
use crate::token::Token;

/// How long a connection may wait for its next call.
const KEPT: Duration = Duration::from_secs(10);
/// How many wait.
const MOST_KEPT: usize = 8;
/// Largest answer: a hundred updates are far smaller, one of ten megabytes still fits.
const LARGEST: usize = 24 << 20;
/// Longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// For all calls but the poll.
const CALL: Limits = Limits {
    head: Duration::from_secs(30),
    idle: Duration::from_secs(15),
    total: Duration::from_secs(45),
    body: LARGEST as u64,
};

/// The calls of one bot.
pub(crate) struct Client {
    base: BaseUrl,
    token: Token,
    connect: Connect,
    tls: Tls,
    kept: Mutex<Vec<(Wire, Instant)>>,
}

/// A connection that knows whether anything of a request has left.
pub(crate) struct Wire {
    connection: Connection,
    written: Arc<AtomicUsize>,
}

#[derive(Deserialize)]
struct Envelope {
    ok: bool,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error_code: i64,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Deserialize, Default)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

impl Client {
    pub(crate) fn new(base: BaseUrl, token: Token, connect: Connect, tls: Tls) -> Self {
        Self {
            base,
            token,
            connect,
            tls,
            kept: Mutex::default(),
        }
    }

    /// A connection that is ready for a call.
    pub(crate) async fn wire(&self) -> Result<Wire, CallError> {
        match self.take() {
            Some(wire) => Ok(wire),
            None => self.fresh().await,
        }
    }

    /// One call on a connection.
    pub(crate) async fn call(
        &self,
        wire: Wire,
        method: &str,
        body: &Value,
    ) -> Result<Value, CallError> {
        self.call_within(wire, method, body, &CALL).await
    }

    /// A call that does no harm when it happens twice.
    pub(crate) async fn ask(&self, method: &str, body: &Value) -> Result<Value, CallError> {
        if let Some(wire) = self.take() {
            match self.call(wire, method, body).await {
                Err(CallError::NotSent(_) | CallError::Lost(_)) => {}
                answer => return answer,
            }
        }
        let wire = self.fresh().await?;
        self.call(wire, method, body).await
    }

    /// The poll: held by the server for `hold`.
    pub(crate) async fn poll(&self, body: &Value, hold: Duration) -> Result<Value, CallError> {
        let limits = Limits {
            head: hold + Duration::from_secs(10),
            total: hold + Duration::from_secs(60),
            ..CALL
        };
        let wire = self.wire().await?;
        self.call_within(wire, "getUpdates", body, &limits).await
    }

    async fn call_within(
        &self,
        wire: Wire,
        method: &str,
        body: &Value,
        limits: &Limits,
    ) -> Result<Value, CallError> {
        let request = self
            .token
            .request(&self.base, method, Bytes::from(body.to_string()));
        let Wire {
            connection,
            written,
        } = wire;
        written.store(0, Ordering::Relaxed);
        let lost = |error: HttpError| {
            let message = self.token.blank(&error.to_string());
            match written.load(Ordering::Relaxed) {
                0 => CallError::NotSent(message),
                _ => CallError::Lost(message),
            }
        };
        let response = match connection.send(request, limits).await {
            Ok(response) => response,
            Err(HttpError::Redirected { status }) => {
                return Err(self.odd(status, "a redirect, which is not followed"));
            }
            Err(error) => return Err(lost(error)),
        };
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let bytes = body.read_all(LARGEST).await.map_err(lost)?;
        if let Some(connection) = body.into_connection().await {
            self.keep(Wire {
                connection,
                written: Arc::clone(&written),
            });
        }
        match serde_json::from_slice::<Envelope>(&bytes) {
            Ok(envelope) if envelope.ok => Ok(envelope.result),
            Ok(envelope) => Err(CallError::Refused(Refusal {
                code: match envelope.error_code {
                    0 => status.into(),
                    code => code,
                },
                description: self.token.blank(&envelope.description),
                retry_after: envelope
                    .parameters
                    .retry_after
                    .map(|pause| Duration::from_secs(pause).min(LONGEST_PAUSE)),
                migrate_to: envelope.parameters.migrate_to_chat_id,
            })),
            Err(_) => Err(self.odd(status, "an answer that is not the Bot API's")),
        }
    }

    /// Whoever wrote this is not the Bot API, so that its status says nothing about token, chat or message.
    fn odd(&self, status: u16, what: &str) -> CallError {
        let description = format!("{} gave {what} (HTTP {status})", self.base.destination());
        let code = match status {
            429 => 429,
            // Something in between refused, and so did not pass it on.
            300..=499 => return CallError::NotSent(description),
            // A success that cannot be read says as little as a failure of the server.
            _ => 502,
        };
        CallError::Refused(Refusal {
            code,
            description,
            retry_after: None,
            migrate_to: None,
        })
    }

    async fn fresh(&self) -> Result<Wire, CallError> {
        let destination = self.base.destination();
        let not_sent = |message: String| CallError::NotSent(self.token.blank(&message));
        let socket = (self.connect)(destination.clone())
            .await
            .map_err(not_sent)?;
        let written = Arc::new(AtomicUsize::new(0));
        let counted = Counted {
            socket,
            written: Arc::clone(&written),
        };
        let connection = match self.base.tls() {
            true => Connection::tls(counted, destination, &self.tls).await,
            false => Connection::plain(counted, destination).await,
        };
        Ok(Wire {
            connection: connection.map_err(|error| not_sent(error.to_string()))?,
            written,
        })
    }

    fn take(&self) -> Option<Wire> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(wire, until)| *until > Instant::now() && wire.connection.is_open());
        kept.pop().map(|(wire, _)| wire)
    }

    fn keep(&self, wire: Wire) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, until)| *until > Instant::now());
        if kept.len() < MOST_KEPT {
            kept.push((wire, Instant::now() + KEPT));
        }
    }
}

/// What an answer says, without its status: the result, or that there is none. Nothing when it is not the Bot API's.
pub(crate) fn result_of(answer: &[u8]) -> Option<Result<Value, i64>> {
    let envelope: Envelope = serde_json::from_slice(answer).ok()?;
    Some(match envelope.ok {
        true => Ok(envelope.result),
        false => Err(envelope.error_code),
    })
}

/// A socket that counts what left.
struct Counted {
    socket: Socket,
    written: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = polled {
            self.written.fetch_add(written, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
