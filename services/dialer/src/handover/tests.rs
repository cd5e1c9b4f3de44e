//! Both forms of a handed-over socket: that it works, ends when it should, and stays where it is.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream as StdTcpStream};
use std::os::unix::net::UnixStream as StdUnix;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A kernel that wants a privilege.
const DENIED: Lock = |_, _| Err(io::ErrorKind::PermissionDenied.into());

/// What the kernel under the test gives: the locked socket, or the relay.
async fn handed(lock: Lock) -> (Handed, tokio::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let peer = listener.local_addr().unwrap();
    let stream = TcpStream::connect(peer).await.unwrap();
    let handed = hand_over(stream, peer, lock).unwrap();
    (handed, listener.accept().await.unwrap().0)
}

fn relayed(handed: Handed) -> (UnixStream, tokio::task::JoinHandle<()>) {
    let relay = tokio::spawn(handed.relay.unwrap().run());
    (
        UnixStream::from_std(StdUnix::from(handed.socket)).unwrap(),
        relay,
    )
}

#[tokio::test]
async fn a_relayed_socket_passes_bytes_both_ways_and_each_end_by_itself() {
    let (handed, mut peer) = handed(DENIED).await;
    let (mut caller, relay) = relayed(handed);
    let long = vec![7; 1 << 20];
    let (sent, got) = tokio::join!(
        async {
            caller.write_all(&long).await?;
            caller.shutdown().await
        },
        async {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).await.map(|_| got)
        }
    );
    sent.unwrap();
    assert_eq!(got.unwrap(), long);
    // The caller has ended its half; the answer still comes.
    peer.write_all(b"answer").await.unwrap();
    drop(peer);
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    relay.await.unwrap();
}

#[tokio::test]
async fn a_relay_ends_when_the_caller_is_gone_and_the_peer_notices() {
    let (handed, mut peer) = handed(DENIED).await;
    let (caller, relay) = relayed(handed);
    drop(caller);
    assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    drop(peer);
    relay.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_ends_the_relay_at_once() {
    let (handed, peer) = handed(DENIED).await;
    let (mut caller, relay) = relayed(handed);
    // Closing with unread bytes resets the connection.
    caller.write_all(b"unread").await.unwrap();
    assert_eq!(peer.peek(&mut [0]).await.unwrap(), 1);
    drop(peer);
    relay.await.unwrap();
    assert!(matches!(caller.read(&mut [0]).await, Ok(0) | Err(_)));
}

/// Whether a connection that was aimed elsewhere comes about in so many seconds.
#[cfg(target_os = "linux")]
fn re_aimed(socket: &OwnedFd, to: SocketAddr, seconds: i64) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    if rustix::net::connect_unspec(socket).is_err() {
        return false;
    }
    if !matches!(
        rustix::net::connect(socket, &to),
        Ok(()) | Err(rustix::io::Errno::INPROGRESS)
    ) {
        return false;
    }
    let limit = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let ready = poll(
        &mut [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)],
        Some(&limit),
    );
    let broken = rustix::net::sockopt::socket_error(socket).unwrap().is_err();
    ready.unwrap() == 1 && !broken && rustix::net::getpeername(socket).is_ok()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_form_of_a_handed_over_socket_can_be_aimed_elsewhere() {
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = elsewhere.local_addr().unwrap();
    let plain = StdTcpStream::connect(to).unwrap();
    plain.set_nonblocking(true).unwrap();
    assert!(
        re_aimed(&plain.into(), to, 60),
        "the control: an ordinary socket can be"
    );
    for lock in [LOCK, DENIED] {
        let (handed, _peer) = handed(lock).await;
        assert!(!re_aimed(&handed.socket, to, 1));
        assert!(rustix::net::listen(&handed.socket, 1).is_err() || handed.relay.is_none());
    }
}

#[tokio::test]
async fn what_can_be_locked_is_handed_over_itself_without_delay() {
    let (handed, peer) = handed(|_, _| Ok(())).await;
    assert!(handed.relay.is_none());
    let mut caller = StdTcpStream::from(handed.socket);
    assert!(caller.nodelay().unwrap());
    caller.set_nonblocking(false).unwrap();
    let mut peer = peer.into_std().unwrap();
    peer.set_nonblocking(false).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    caller.write_all(b"ping").unwrap();
    let mut heard = [0; 4];
    peer.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"ping");
}

#[tokio::test]
async fn a_lock_that_fails_for_another_reason_hands_over_nothing() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peer = listener.local_addr().unwrap();
    let stream = TcpStream::connect(peer).await.unwrap();
    assert!(hand_over(stream, peer, |_, _| Err(io::ErrorKind::OutOfMemory.into())).is_err());
}
