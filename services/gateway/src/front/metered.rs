//! The socket of a connection, watched: every byte that passes moves the connection's clockwork, which says when it has
//! to be over and when a stranger has sent enough.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::pulse::Pulse;

/// The clockwork, shared by socket, service and driver of one connection.
#[derive(Clone)]
pub struct SharedPulse(Arc<Mutex<Pulse>>);

impl SharedPulse {
    /// For a connection that was accepted just now.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Pulse::new(Instant::now()))))
    }

    /// Looks at it or moves it; not across an await.
    pub fn get(&self) -> MutexGuard<'_, Pulse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says in an error's kind that a stranger sent too much.
pub const TOO_MUCH: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// A watched socket.
pub struct Metered {
    stream: TcpStream,
    pulse: SharedPulse,
}

impl Metered {
    /// Watches a socket.
    pub fn new(stream: TcpStream, pulse: SharedPulse) -> Self {
        Self { stream, pulse }
    }

    /// The bare socket.
    pub fn into_inner(self) -> TcpStream {
        self.stream
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        match self.pulse.get().received(bytes, Instant::now()) {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(Err(TOO_MUCH.into())),
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.pulse.get().wrote(Instant::now());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        self.pulse.get().wrote(Instant::now());
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.pulse.get().flushed(Instant::now());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
