//! One question to the name servers: UDP first, TCP when the answer does not fit, the next server when
//! one is silent or cannot say. A datagram counts only on the connected socket that asked for it.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket};
use std::time::Duration;

use clawdbot_identity::HostName;
use rustix::net::{AddressFamily, SocketType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use super::message::{Answer, DATAGRAM, Kind, Query};
use super::{ResolveError, Timing};

/// Asks `servers` in turn for the addresses of `name`, until one knows.
pub async fn ask(
    servers: &[SocketAddr],
    name: &HostName,
    kind: Kind,
    timing: Timing,
) -> Result<Vec<IpAddr>, ResolveError> {
    let mut last = ResolveError::TimedOut;
    for _ in 0..timing.rounds {
        for server in servers {
            last = match timeout(timing.attempt, ask_one(*server, name, kind)).await {
                Err(_) => ResolveError::TimedOut,
                Ok(Err(e)) => ResolveError::Failed(format!("name server {server}: {e}")),
                Ok(Ok(Answer::Addresses(found))) => return Ok(found),
                Ok(Ok(Answer::NoSuchName)) => return Err(ResolveError::NoSuchName),
                Ok(Ok(Answer::Failed(why))) => ResolveError::Failed(format!("{server}: {why}")),
                Ok(Ok(Answer::Truncated | Answer::Plain)) => {
                    ResolveError::Failed(format!("name server {server} cannot answer the question"))
                }
            };
        }
    }
    Err(last)
}

/// One server: extended, plain if it must be, TCP if it must be.
async fn ask_one(server: SocketAddr, name: &HostName, kind: Kind) -> io::Result<Answer> {
    let mut query = new_query(name, kind, true)?;
    let mut answer = udp(server, &query).await?;
    if answer == Answer::Plain {
        query = new_query(name, kind, false)?;
        answer = udp(server, &query).await?;
    }
    if answer == Answer::Truncated {
        answer = tcp(server, &query).await?;
    }
    Ok(answer)
}

fn new_query(name: &HostName, kind: Kind, extended: bool) -> io::Result<Query> {
    let mut id = [0; 2];
    getrandom::fill(&mut id)?;
    Query::new(u16::from_be_bytes(id), name, kind, extended)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name cannot be asked for"))
}

async fn udp(server: SocketAddr, query: &Query) -> io::Result<Answer> {
    let socket = connected_udp(server)?;
    socket.send(query.bytes()).await?;
    let mut buffer = [0; DATAGRAM as usize];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = query.read(buffer.get(..length).unwrap_or_default()) {
            return Ok(answer);
        }
    }
}

/// Never bound by us, since this process has no `bind`: the kernel picks a random port at `connect`,
/// and from then on drops what another address or port sends.
fn connected_udp(server: SocketAddr) -> io::Result<UdpSocket> {
    let family = if server.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket(family, SocketType::DGRAM, None)?;
    clawdbot_confine::fd::set_cloexec(&socket)?;
    let socket = StdUdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    UdpSocket::from_std(socket)
}

async fn tcp(server: SocketAddr, query: &Query) -> io::Result<Answer> {
    let socket = if server.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    let mut stream = socket.connect(server).await?;
    let mut message = u16::try_from(query.bytes().len())
        .unwrap_or(0)
        .to_be_bytes()
        .to_vec();
    message.extend_from_slice(query.bytes());
    stream.write_all(&message).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    query.read(&answer).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "its answer by TCP is to another question",
        )
    })
}

impl Timing {
    /// Two seconds for a server, twice round, five in all; a quarter of a second for the other kind
    /// of address once one kind is known.
    pub const DEFAULT: Self = Self {
        attempt: Duration::from_secs(2),
        rounds: 2,
        total: Duration::from_secs(5),
        grace: Duration::from_millis(250),
    };
}
