//! What a caller gets: a socket that leads to one peer and to nobody else, whatever its holder does to
//! it. Where the kernel permits, that is the connected TCP socket with a locked filter. Newer kernels
//! want CAP_NET_ADMIN for that filter; there the TCP socket stays here, the caller gets one end of a
//! UNIX pair, which cannot be aimed anywhere, and the bytes (TLS, unreadable here) are passed on.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// How long one direction goes on after the other has ended; about what the kernel gives a TCP
/// connection that one side has closed (tcp_fin_timeout).
const LINGER: Duration = Duration::from_secs(60);

/// Bytes that are passed on at a time.
const PASSED: usize = 16 << 10;

/// Ties a socket to a peer for good; `PermissionDenied` where the kernel wants a privilege for it.
pub type Lock = fn(BorrowedFd<'_>, SocketAddr) -> io::Result<()>;

/// The lock of this system.
pub const LOCK: Lock = |socket, peer| clawdbot_confine::socket_filter::lock_to_peer(socket, peer);

/// The caller's end.
#[derive(Debug)]
pub struct Handed {
    /// A connected stream socket, non-blocking: TCP, or UNIX with a [`Relay`] behind it.
    pub socket: OwnedFd,
    /// To be run for as long as it lasts.
    pub relay: Option<Relay>,
}

/// Makes the caller's end of a connection to `peer`.
///
/// # Errors
/// When the socket can neither be locked nor relayed; it must not be handed over then.
pub fn hand_over(stream: TcpStream, peer: SocketAddr, lock: Lock) -> io::Result<Handed> {
    stream.set_nodelay(true)?;
    match lock(stream.as_fd(), peer) {
        // Out of the event loop: the receiver registers it in its own.
        Ok(()) => Ok(Handed {
            socket: stream.into_std()?.into(),
            relay: None,
        }),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            let (inside, theirs) = StdUnixStream::pair()?;
            inside.set_nonblocking(true)?;
            theirs.set_nonblocking(true)?;
            let relay = Relay {
                inside: UnixStream::from_std(inside)?,
                outside: stream,
            };
            Ok(Handed {
                socket: theirs.into(),
                relay: Some(relay),
            })
        }
        Err(e) => Err(e),
    }
}

/// Passes bytes between a caller and its peer.
#[derive(Debug)]
pub struct Relay {
    inside: UnixStream,
    outside: TcpStream,
}

impl Relay {
    /// Both ways until both have ended, or one has broken, which ends the other.
    pub async fn run(mut self) {
        let (mut from_caller, mut to_caller) = self.inside.split();
        let (mut from_peer, mut to_peer) = self.outside.split();
        let up = pass(&mut from_caller, &mut to_peer);
        let down = pass(&mut from_peer, &mut to_caller);
        tokio::pin!(up, down);
        tokio::select! {
            ended = &mut up => finish(ended, down).await,
            ended = &mut down => finish(ended, up).await,
        }
    }
}

async fn finish(one: io::Result<()>, other: impl Future<Output = io::Result<()>>) {
    if one.is_ok() {
        // However it ends, both sockets are closed next.
        let _closed = timeout(LINGER, other).await;
    }
}

/// What was passed on is wiped at once: a server of this machine or its network may be spoken to without TLS.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut buffer = vec![0; PASSED];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let written = to.write_all(&buffer[..count]).await;
        buffer[..count].fill(0);
        written?;
    }
}

#[cfg(test)]
mod tests;
