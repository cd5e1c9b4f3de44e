//! The descriptors that attempts need, and the dialer as a process sees it.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use clawdbot_attempts::{Column, Needs};
use clawdbot_confine::frame::{self, FrameReader, Progress};
use clawdbot_confine::socket_filter;
use clawdbot_proto::v1::{Connected, DialerReply, DialerRequest, dialer_reply};
use prost::Message as _;

/// A descriptor for an attempt, and what has to stay open beside it.
#[derive(Debug)]
pub struct Handed {
    /// What the process gets.
    pub fd: OwnedFd,
    /// The other end.
    pub peer: Option<OwnedFd>,
}

/// Where the descriptor of an attempt comes from, if whoever starts the process does not hand it over: the dialer for
/// those that dial, the front door's listener for who accepts.
#[must_use]
pub fn source(column: &Column, needs: Needs) -> Option<&'static str> {
    match (column.key, needs) {
        ("model" | "channel", Needs::Dialled) => Some("from-dialer"),
        ("gateway", Needs::Accepted) => Some("from-listener"),
        _ => None,
    }
}

/// A TCP connection: the end that accepted it and the end that made it.
fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let made = TcpStream::connect(listener.local_addr()?)?;
    let (accepted, _) = listener.accept()?;
    Ok((accepted, made))
}

/// What the dialer hands over for a connection: where the kernel lets it nail a TCP socket to its peer
/// that socket, else an end of a pair.
///
/// # Errors
/// When there is no socket to be had.
fn as_the_dialer_does() -> io::Result<Handed> {
    let (accepted, made) = connection()?;
    made.set_nonblocking(true)?;
    match socket_filter::lock_to_peer(&made, made.peer_addr()?) {
        Ok(()) => Ok(Handed {
            fd: made.into(),
            peer: Some(accepted.into()),
        }),
        Err(_) => {
            let (ours, theirs) = UnixStream::pair()?;
            theirs.set_nonblocking(true)?;
            Ok(Handed {
                fd: theirs.into(),
                peer: Some(ours.into()),
            })
        }
    }
}

/// The descriptor that an attempt needs. `free`: for a control, which gets a plain TCP socket where
/// others get one that is nailed down.
///
/// # Errors
/// When there is none to be had.
pub fn hand(needs: Needs, file: &Path, free: bool) -> io::Result<Option<Handed>> {
    let handed = match needs {
        Needs::Nothing => return Ok(None),
        Needs::Dialled if !free => as_the_dialer_does()?,
        Needs::Accepted | Needs::Dialled => {
            let (accepted, made) = connection()?;
            accepted.set_nonblocking(true)?;
            Handed {
                fd: accepted.into(),
                peer: Some(made.into()),
            }
        }
        Needs::Edge => {
            let (ours, theirs) = UnixStream::pair()?;
            Handed {
                fd: theirs.into(),
                peer: Some(ours.into()),
            }
        }
        Needs::File => Handed {
            fd: std::fs::File::open(file)?.into(),
            peer: None,
        },
    };
    Ok(Some(handed))
}

/// Answers one question for a connection on an edge to the dialer, and holds what belongs to it until the
/// asker is gone.
///
/// # Errors
/// When the asker breaks the framing, or no socket is to be had.
pub fn play_dialer(edge: UnixStream) -> io::Result<()> {
    let mut reader = FrameReader::new();
    let Progress::Frame(asked) = reader.read_from(&edge)? else {
        return Ok(());
    };
    let request = DialerRequest::decode(asked.payload.as_slice()).map_err(io::Error::other)?;
    let handed = as_the_dialer_does()?;
    let reply = DialerReply {
        id: request.id,
        outcome: Some(dialer_reply::Outcome::Connected(Connected {
            peer: "127.0.0.1:443".into(),
        })),
    };
    frame::send(&edge, &reply.encode_to_vec(), &[handed.fd.as_fd()])?;
    while matches!(reader.read_from(&edge), Ok(Progress::Frame(_))) {}
    drop(handed.peer);
    Ok(())
}
