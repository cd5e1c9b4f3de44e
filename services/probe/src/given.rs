//! Descriptors that attempts are about, made before the confinement by the process itself.

use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use clawdbot_attempts::Needs;
use clawdbot_confine::socket_filter;

/// The descriptor that an attempt needs. It stays open as long as the process lives, and so does its other end.
pub(crate) fn given(needs: Needs, file: &Path) -> io::Result<Option<RawFd>> {
    let fd = match needs {
        Needs::Nothing => return Ok(None),
        Needs::Accepted => {
            let (accepted, made) = connection()?;
            accepted.set_nonblocking(true)?;
            beside(accepted, made)
        }
        Needs::Dialled => dialled()?,
        Needs::Edge => {
            let (ours, theirs) = UnixStream::pair()?;
            beside(theirs, ours)
        }
        Needs::File => File::open(file)?.into_raw_fd(),
    };
    Ok(Some(fd))
}

fn beside(fd: impl IntoRawFd, peer: impl IntoRawFd) -> RawFd {
    let _stays_open = peer.into_raw_fd();
    fd.into_raw_fd()
}

/// A TCP connection: the end that accepted it and the end that made it.
fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let made = TcpStream::connect(listener.local_addr()?)?;
    let (accepted, _) = listener.accept()?;
    Ok((accepted, made))
}

/// What the dialer hands over for a connection: where the kernel lets it nail a TCP socket to its peer that socket,
/// else an end of a pair.
fn dialled() -> io::Result<RawFd> {
    let (accepted, made) = connection()?;
    made.set_nonblocking(true)?;
    if socket_filter::lock_to_peer(&made, made.peer_addr()?).is_ok() {
        return Ok(beside(made, accepted));
    }
    let (ours, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    Ok(beside(theirs, ours))
}
