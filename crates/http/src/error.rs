//! What can go wrong with a request, one variant for each thing that a caller would do differently.
//! No message repeats what the server sent: a provider may echo a key, and a redirect may carry one in its path.

use std::io;

use clawdbot_identity::text::sanitize_line;

use crate::limits::HEAD_BYTES;

/// Why a request has no (complete) answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// TLS could not be agreed on: wrong certificate, wrong name, no common version.
    #[error("TLS with {host} failed: {reason}; nothing was sent")]
    Handshake {
        /// The host that was dialled.
        host: String,
        /// What the TLS library says, safe to show.
        reason: String,
    },
    /// TLS was not agreed on in time.
    #[error("TLS with {host} was not ready after {seconds} s; nothing was sent")]
    HandshakeTimeout {
        /// The host that was dialled.
        host: String,
        /// How long it was given.
        seconds: u64,
    },
    /// The caller's request cannot be sent; nothing was.
    #[error("request not sent: {0}")]
    Request(&'static str),
    /// A connection that was used before died before the first byte of the answer. Servers hang up idle connections,
    /// so this says nothing about the request: repeat it once on a fresh connection.
    #[error(
        "the kept connection was closed by the server before it answered; repeat once on a fresh one"
    )]
    Stale,
    /// A fresh connection ended before the head of the answer was complete.
    #[error("the server closed the connection before it answered")]
    Closed,
    /// The head of the answer did not come in time.
    #[error("no answer after {seconds} s")]
    HeadTimeout {
        /// How long it was given.
        seconds: u64,
    },
    /// The head of the answer is larger than 64 KiB.
    #[error("the head of the answer exceeds 64 KiB")]
    HeadTooLarge,
    /// The answer is a redirect, which is never followed: it would lead past the dialer's list.
    #[error(
        "the server answered with redirect {status}, which is not followed; configure the final address instead"
    )]
    Redirected {
        /// 300 to 399.
        status: u16,
    },
    /// The body is compressed although we asked for plain bytes.
    #[error("the server compressed its answer although it was asked not to")]
    Encoded,
    /// The answer is not HTTP/1.1 as we take it.
    #[error("the answer is not valid HTTP: {0}")]
    Protocol(String),
    /// The body is larger than its limit.
    #[error("the answer exceeds {limit} bytes")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The connection ended within the body.
    #[error("the server closed the connection in the middle of its answer")]
    Truncated,
    /// Nothing more of the body came for too long.
    #[error("the server sent nothing for {seconds} s in the middle of its answer")]
    IdleTimeout {
        /// How long it was silent.
        seconds: u64,
    },
    /// The whole exchange took too long.
    #[error("the answer was not complete after {seconds} s")]
    TotalTimeout {
        /// How long it was given.
        seconds: u64,
    },
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(io::Error),
}

impl HttpError {
    /// What a failure before the head of the answer means. `reused`: the connection had answered before; `received`:
    /// bytes that came in since this request began.
    pub(crate) fn before_head(error: &hyper::Error, reused: bool, received: usize) -> Self {
        if error.is_parse() && received >= HEAD_BYTES {
            return Self::HeadTooLarge;
        }
        match Self::of_hyper(error) {
            Self::Truncated | Self::Io(_) if reused && received == 0 => Self::Stale,
            Self::Truncated => Self::Closed,
            other => other,
        }
    }

    /// What a failure within the body means.
    pub(crate) fn of_hyper(error: &hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            return Self::Truncated;
        }
        match io_cause(error) {
            Some(io) if is_hang_up(io.kind()) => Self::Truncated,
            Some(io) => Self::Io(io::Error::new(
                io.kind(),
                sanitize_line(&io.to_string()).into_owned(),
            )),
            None => Self::Protocol(sanitize_line(&error.to_string()).into_owned()),
        }
    }
}

fn is_hang_up(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
    };
    matches!(
        kind,
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
    )
}

fn io_cause(error: &hyper::Error) -> Option<&io::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        match error.downcast_ref::<io::Error>() {
            Some(io) => return Some(io),
            None => cause = error.source(),
        }
    }
    None
}
