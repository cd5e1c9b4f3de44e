//! Connecting over loopback: turns, classes of failure, and that a locked socket stays where it is.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::fakes::ips;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const QUICK: Patience = Patience {
    stagger: Duration::from_millis(20),
    attempt: Duration::from_millis(200),
    total: Duration::from_secs(5),
};

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port that nobody listens on, kept from others while the test runs.
fn closed_port() -> (TcpStream, u16) {
    let (listener, port) = listener();
    let stream = TcpStream::connect((LOOPBACK, port)).unwrap();
    let taken = stream.local_addr().unwrap().port();
    drop(listener);
    (stream, taken)
}

#[tokio::test]
async fn the_socket_reaches_its_peer_both_ways_without_delay() {
    let (listener, port) = listener();
    let locked = connect(&[LOOPBACK], port, QUICK).await.unwrap();
    assert_eq!(locked.peer, SocketAddr::new(LOOPBACK, port));
    assert!(locked.socket.nodelay().unwrap());
    let (mut theirs, _) = listener.accept().unwrap();
    let mut ours = locked.socket;
    ours.set_nonblocking(false).unwrap();
    ours.write_all(b"ping").unwrap();
    let mut heard = [0; 4];
    theirs.read_exact(&mut heard).unwrap();
    theirs.write_all(&heard).unwrap();
    ours.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"ping");
}

/// Whether a connection that was aimed elsewhere comes about.
fn re_aimed(socket: &TcpStream, to: SocketAddr) -> bool {
    socket.set_nonblocking(true).unwrap();
    rustix::net::connect_unspec(socket).unwrap();
    let started = rustix::net::connect(socket, &to);
    assert!(
        matches!(started, Ok(()) | Err(rustix::io::Errno::INPROGRESS)),
        "{started:?}"
    );
    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: 500_000_000,
    };
    let ready = poll(
        &mut [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)],
        Some(&limit),
    );
    ready.unwrap() == 1 && socket.take_error().unwrap().is_none() && socket.peer_addr().is_ok()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_handed_over_socket_cannot_be_aimed_elsewhere() {
    let (_there, port) = listener();
    let (elsewhere, other) = listener();
    let to = elsewhere.local_addr().unwrap();
    assert_ne!(port, other);

    let plain = TcpStream::connect((LOOPBACK, port)).unwrap();
    assert!(
        re_aimed(&plain, to),
        "the control: an ordinary socket can be"
    );

    let locked = connect(&[LOOPBACK], port, QUICK).await.unwrap();
    assert!(!re_aimed(&locked.socket, to));
}

#[tokio::test]
async fn a_closed_port_is_told_from_silence() {
    let (_kept, port) = closed_port();
    assert_eq!(
        connect(&[LOOPBACK], port, QUICK).await.unwrap_err().class,
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
    let _queued = TcpStream::connect((LOOPBACK, port)).unwrap();
    assert_eq!(
        connect(&[LOOPBACK], port, QUICK).await.unwrap_err().class,
        Class::Timeout
    );
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let listener = TcpListener::bind("127.0.0.3:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let addresses = ips(&["::1", "127.0.0.2", "127.0.0.3"]);
    let locked = connect(&addresses, port, QUICK).await.unwrap();
    assert_eq!(locked.peer, listener.local_addr().unwrap());
}

#[tokio::test]
async fn without_an_address_there_is_no_connection() {
    assert_eq!(
        connect(&[], 443, QUICK).await.unwrap_err().class,
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
