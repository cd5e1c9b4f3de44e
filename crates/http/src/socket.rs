//! A connected socket as the dialer hands it over: TCP, or one end of a UNIX stream where the dialer relays. Which of the
//! two is asked of the socket itself, since the sender's word for it would be one more thing that can be wrong.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::{AddressFamily, getsockname};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected stream socket of either family.
#[derive(Debug)]
pub enum Socket {
    /// The socket to the peer itself.
    Tcp(TcpStream),
    /// One end of a pair behind which somebody passes the bytes on.
    Unix(UnixStream),
}

impl Socket {
    /// Takes over a connected socket. Must be called inside the runtime.
    ///
    /// # Errors
    /// When it is no stream socket of these families, or the runtime cannot watch it.
    pub fn adopt(socket: OwnedFd) -> io::Result<Self> {
        match getsockname(&socket)?.address_family() {
            AddressFamily::UNIX => {
                let stream = StdUnixStream::from(socket);
                stream.set_nonblocking(true)?;
                UnixStream::from_std(stream).map(Self::Unix)
            }
            AddressFamily::INET | AddressFamily::INET6 => {
                let stream = std::net::TcpStream::from(socket);
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream).map(Self::Tcp)
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the descriptor is neither a TCP nor a UNIX socket",
            )),
        }
    }
}

/// Hands the call on to whichever socket it is.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream as StdTcpStream};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn echoed(ours: OwnedFd, theirs: OwnedFd) -> bool {
        let (mut ours, mut theirs) = (Socket::adopt(ours).unwrap(), Socket::adopt(theirs).unwrap());
        ours.write_all(b"hello").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        heard == b"hello"
    }

    #[tokio::test]
    async fn both_families_carry_bytes_and_something_else_is_refused() {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        assert!(echoed(ours.into(), theirs.into()).await);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = StdTcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        assert!(echoed(ours.into(), theirs.into()).await);

        let file = tempfile::tempfile().unwrap();
        assert!(Socket::adopt(file.into()).is_err());
    }
}
