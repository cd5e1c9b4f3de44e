//! The body of an answer, piece by piece, each with a time limit and all together with a size limit.
//! An end that the server did not declare is an error, never a short answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::after;
use crate::{Connection, HttpError, Limits};

/// The body of an answer. Dropping it before its end closes the connection, which cancels the request.
pub struct Body {
    incoming: Incoming,
    connection: Connection,
    deadline: Instant,
    limits: Limits,
    received: u64,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Open,
    Complete,
    Failed,
}

impl Body {
    pub(crate) fn new(
        incoming: Incoming,
        connection: Connection,
        start: Instant,
        limits: Limits,
    ) -> Result<Self, HttpError> {
        if incoming.size_hint().lower() > limits.body {
            return Err(HttpError::BodyTooLarge { limit: limits.body });
        }
        let deadline = after(start, limits.total);
        Ok(Self {
            incoming,
            connection,
            deadline,
            limits,
            received: 0,
            state: State::Open,
        })
    }

    /// The next piece, never empty; nothing at the declared end, and after an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, HttpError>> {
        while self.state == State::Open {
            match self.frame().await {
                Ok(Some(data)) if data.is_empty() => {}
                Ok(Some(data)) => return Some(Ok(data)),
                Ok(None) => self.state = State::Complete,
                Err(error) => {
                    self.state = State::Failed;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// The next piece if it has arrived already, as it has when the server sent several at once; nothing does not mean that
    /// the end has come.
    pub async fn at_hand(&mut self) -> Option<Result<Bytes, HttpError>> {
        if self.state != State::Open {
            return None;
        }
        let mut asked = false;
        let frame = poll_fn(|cx| match Pin::new(&mut self.incoming).poll_frame(cx) {
            // Whoever reads the connection hands over one piece a round, when it is asked for.
            Poll::Pending if !std::mem::replace(&mut asked, true) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Ready(None),
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
        });
        let taken = match frame.await? {
            Some(Ok(frame)) => self.take(frame),
            Some(Err(error)) => Err(HttpError::of_hyper(&error)),
            None => {
                self.state = State::Complete;
                return None;
            }
        };
        self.state = match taken {
            Ok(_) => State::Open,
            Err(_) => State::Failed,
        };
        Some(taken).filter(|taken| !matches!(taken, Ok(data) if data.is_empty()))
    }

    /// Everything that is left, if it is at most `max` bytes.
    ///
    /// # Errors
    /// [`HttpError::BodyTooLarge`] if it is more, and what [`next`](Self::next) fails with.
    pub async fn read_all(&mut self, max: usize) -> Result<Vec<u8>, HttpError> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if piece.len() > max - all.len() {
                self.state = State::Failed;
                return Err(HttpError::BodyTooLarge { limit: max as u64 });
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// The connection, for another request: only after the end of the body, and if the server keeps it open.
    pub async fn into_connection(mut self) -> Option<Connection> {
        if self.state != State::Complete {
            return None;
        }
        match timeout(self.limits.idle, self.connection.is_ready()).await {
            Ok(true) => Some(self.connection),
            _ => None,
        }
    }

    /// The next data; empty for what is not data (trailers, which nobody here needs).
    async fn frame(&mut self) -> Result<Option<Bytes>, HttpError> {
        let idle = after(Instant::now(), self.limits.idle);
        let frame = match timeout_at(idle.min(self.deadline), self.incoming.frame()).await {
            Ok(Some(frame)) => frame.map_err(|error| HttpError::of_hyper(&error))?,
            Ok(None) => return Ok(None),
            Err(_) if idle < self.deadline => {
                return Err(HttpError::IdleTimeout {
                    seconds: self.limits.idle.as_secs(),
                });
            }
            Err(_) => {
                return Err(HttpError::TotalTimeout {
                    seconds: self.limits.total.as_secs(),
                });
            }
        };
        self.take(frame).map(Some)
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<Bytes, HttpError> {
        let data = frame.into_data().unwrap_or_default();
        self.received += data.len() as u64;
        match self.received > self.limits.body {
            true => Err(HttpError::BodyTooLarge {
                limit: self.limits.body,
            }),
            false => Ok(data),
        }
    }
}
