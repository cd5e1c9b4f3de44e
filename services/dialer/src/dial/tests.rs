//! Connecting over loopback: turns and classes of failure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream as StdTcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::*;
use crate::fakes::ips;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// No test waits for the end of it, but for the next address.
const PATIENT: Patience = Patience {
    stagger: Duration::from_millis(20),
    attempt: Duration::from_secs(60),
    total: Duration::from_secs(120),
};

/// For silence.
const IMPATIENT: Patience = Patience {
    attempt: Duration::from_millis(200),
    ..PATIENT
};

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port that nobody listens on, kept from others while the test runs.
fn closed_port() -> (StdTcpStream, u16) {
    let (listener, port) = listener();
    let stream = StdTcpStream::connect((LOOPBACK, port)).unwrap();
    let taken = stream.local_addr().unwrap().port();
    drop(listener);
    (stream, taken)
}

#[tokio::test]
async fn the_address_that_answered_is_told() {
    let (listener, port) = listener();
    let (stream, peer) = connect(&[LOOPBACK], port, PATIENT).await.unwrap();
    assert_eq!(peer, SocketAddr::new(LOOPBACK, port));
    assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
}

#[tokio::test]
async fn a_closed_port_is_told_from_silence() {
    let (_kept, port) = closed_port();
    assert_eq!(
        connect(&[LOOPBACK], port, PATIENT).await.unwrap_err().class,
        Class::Refused
    );

    // A listener whose queue is full drops what comes.
    let full = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&full, &SocketAddr::new(LOOPBACK, 0)).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let full = TcpListener::from(full);
    let port = full.local_addr().unwrap().port();
    let _queued = StdTcpStream::connect((LOOPBACK, port)).unwrap();
    let mut fds = [PollFd::new(&full, PollFlags::IN)];
    assert_eq!(poll(&mut fds, None).unwrap(), 1, "it is in the queue");
    assert_eq!(
        connect(&[LOOPBACK], port, IMPATIENT)
            .await
            .unwrap_err()
            .class,
        Class::Timeout
    );
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let listener = TcpListener::bind("127.0.0.3:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let addresses = ips(&["::1", "127.0.0.2", "127.0.0.3"]);
    let (_, peer) = connect(&addresses, port, PATIENT).await.unwrap();
    assert_eq!(peer, listener.local_addr().unwrap());
}

#[tokio::test]
async fn without_an_address_there_is_no_connection() {
    assert_eq!(
        connect(&[], 443, PATIENT).await.unwrap_err().class,
        Class::Unreachable
    );
}

#[test]
fn kinds_of_address_take_turns_and_their_number_is_bounded() {
    let given = ips(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"]);
    let turns = ips(&["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(take_turns(&given), turns);
    assert_eq!(take_turns(&vec![LOOPBACK; 40]).len(), MAX_TRIED);
    assert!(take_turns(&[]).is_empty());
}

#[test]
fn every_class_has_its_errors_and_a_refusal_says_most() {
    for (number, class) in [
        (rustix::io::Errno::CONNREFUSED, Class::Refused),
        (rustix::io::Errno::TIMEDOUT, Class::Timeout),
        (rustix::io::Errno::NETUNREACH, Class::Unreachable),
        (rustix::io::Errno::HOSTUNREACH, Class::Unreachable),
        (rustix::io::Errno::ADDRNOTAVAIL, Class::Unreachable),
        (rustix::io::Errno::MFILE, Class::Io),
        (rustix::io::Errno::ACCESS, Class::Io),
    ] {
        assert_eq!(Class::of(&number.into()), class, "{number}");
    }
    let order = [
        Class::Refused,
        Class::Timeout,
        Class::Io,
        Class::Unreachable,
    ];
    assert!(order.is_sorted());
}
