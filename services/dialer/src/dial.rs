//! From addresses that may be dialled to one connection.
//! IPv6 and IPv4 take turns and a slow address does not hold up the next (RFC 8305, in small).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// As many addresses of one answer are tried.
const MAX_TRIED: usize = 8;

/// How long connecting may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// After this long without an answer the next address is tried as well.
    pub stagger: Duration,
    /// For one address.
    pub attempt: Duration,
    /// For all of them.
    pub total: Duration,
}

impl Patience {
    /// 250 ms, 5 s, 10 s.
    pub const DEFAULT: Self = Self {
        stagger: Duration::from_millis(250),
        attempt: Duration::from_secs(5),
        total: Duration::from_secs(10),
    };
}

/// Why nobody answered; in the order in which a caller wants to hear of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Somebody is there and has nothing on that port.
    Refused,
    /// Nobody said anything.
    Timeout,
    /// Something else went wrong on this machine.
    Io,
    /// There is no way there.
    Unreachable,
}

impl Class {
    /// The name that crosses the edge.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Io => "io",
            Self::Unreachable => "unreachable",
        }
    }

    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Self::Refused,
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable => Self::Unreachable,
            _ => Self::Io,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The most telling of all addresses tried.
    pub class: Class,
    /// What each address said.
    pub message: String,
}

/// Connects to the first of `addresses` that answers.
///
/// # Errors
/// When none answered in time.
pub async fn connect(
    addresses: &[IpAddr],
    port: u16,
    patience: Patience,
) -> Result<(TcpStream, SocketAddr), Failure> {
    let deadline = Instant::now() + patience.total;
    let mut waiting = take_turns(addresses)
        .into_iter()
        .map(|ip| SocketAddr::new(ip, port));
    let mut trying = JoinSet::new();
    let mut said: Vec<(Class, String)> = Vec::new();
    loop {
        let next = waiting.next();
        if let Some(address) = next {
            trying.spawn(async move { (address, attempt(address, patience.attempt).await) });
        }
        if trying.is_empty() {
            break;
        }
        // With an address left, wait only the stagger; with none, as long as there is time.
        let until = if next.is_some() {
            deadline.min(Instant::now() + patience.stagger)
        } else {
            deadline
        };
        let ended = timeout_at(until, trying.join_next()).await;
        match ended {
            Ok(Some(Ok((address, Ok(stream))))) => return Ok((stream, address)),
            Ok(Some(Ok((address, Err(e))))) => {
                said.push((Class::of(&e), format!("{address}: {e}")))
            }
            Ok(_) => {}
            Err(_) if Instant::now() >= deadline => {
                said.push((Class::Timeout, "no answer in time".into()));
                break;
            }
            Err(_) => {}
        }
    }
    let class = said
        .iter()
        .map(|(class, _)| *class)
        .min()
        .unwrap_or(Class::Unreachable);
    let message = said
        .into_iter()
        .map(|(_, text)| text)
        .collect::<Vec<_>>()
        .join("; ");
    Err(Failure { class, message })
}

async fn attempt(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    let stream = timeout(limit, socket.connect(address))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))??;
    // A port of this machine that nobody listens on can end up connected to itself.
    if stream.local_addr()? == address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// IPv6 and IPv4 by turns, IPv6 first, each in the order given.
fn take_turns(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut six = addresses.iter().filter(|ip| ip.is_ipv6());
    let mut four = addresses.iter().filter(|ip| ip.is_ipv4());
    let mut turns = Vec::new();
    loop {
        let before = turns.len();
        turns.extend(six.next());
        turns.extend(four.next());
        if turns.len() == before || turns.len() >= MAX_TRIED {
            turns.truncate(MAX_TRIED);
            return turns;
        }
    }
}

#[cfg(test)]
mod tests;
