use super::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// False where the lock is not to be had; then it must be refused and not skipped.
fn lockable() -> bool {
    if !permitted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        let socket = TcpStream::connect(peer).unwrap();
        let refused = lock_to_peer(&socket, peer).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }
    permitted()
}

/// Listeners at two ports of the same host, where the host has such an address.
fn listeners(host: &str) -> Option<(TcpListener, TcpListener)> {
    Some((
        TcpListener::bind((host, 0)).ok()?,
        TcpListener::bind((host, 0)).ok()?,
    ))
}

/// How long a connection is waited for that is to come about, and one that is not.
fn patience(comes: bool) -> Timespec {
    Timespec {
        tv_sec: if comes { 60 } else { 1 },
        tv_nsec: 0,
    }
}

/// Takes a connected socket apart and points it elsewhere; true when the connection comes about, as expected or not.
fn re_aim(socket: &TcpStream, to: SocketAddr, expected: bool) -> bool {
    socket.set_nonblocking(true).unwrap();
    // SAFETY: a zeroed address means AF_UNSPEC; the kernel reads its given length.
    let status = unsafe {
        let nobody: libc::sockaddr_in6 = std::mem::zeroed();
        libc::connect(
            std::os::fd::AsRawFd::as_raw_fd(socket),
            (&raw const nobody).cast(),
            libc::socklen_t::try_from(size_of_val(&nobody)).unwrap(),
        )
    };
    assert_eq!(
        status, 0,
        "taking the connection apart is not what the filter stops"
    );
    let _ = rustix::net::connect(socket, &to);
    let mut fds = [PollFd::new(socket, PollFlags::OUT)];
    // The handshake over loopback is done within the call above; the wait is for slow machines.
    poll(&mut fds, Some(&patience(expected))).unwrap() > 0 && socket.peer_addr().is_ok()
}

#[test]
fn a_locked_socket_speaks_with_its_peer_and_cannot_be_pointed_elsewhere() {
    if !lockable() {
        return;
    }
    for host in ["127.0.0.1", "::1"] {
        let Some((first, second)) = listeners(host) else {
            continue;
        };
        let (peer, elsewhere) = (first.local_addr().unwrap(), second.local_addr().unwrap());
        for locked in [false, true] {
            let mut socket = TcpStream::connect(peer).unwrap();
            if locked {
                lock_to_peer(&socket, peer).unwrap();
            }
            let (mut accepted, _) = first.accept().unwrap();
            for text in ["ping", "a second one"] {
                socket.write_all(text.as_bytes()).unwrap();
                let mut buffer = vec![0; text.len()];
                accepted.read_exact(&mut buffer).unwrap();
                accepted.write_all(&buffer).unwrap();
                socket.read_exact(&mut buffer).unwrap();
                assert_eq!(buffer, text.as_bytes());
            }
            assert_eq!(
                re_aim(&socket, elsewhere, !locked),
                !locked,
                "{host} locked={locked}"
            );
        }
    }
}

#[test]
fn the_same_port_of_another_address_is_elsewhere_too() {
    if !lockable() {
        return;
    }
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = first.local_addr().unwrap();
    let Ok(second) = TcpListener::bind(("127.0.0.2", peer.port())) else {
        return;
    };
    for locked in [false, true] {
        let socket = TcpStream::connect(peer).unwrap();
        if locked {
            lock_to_peer(&socket, peer).unwrap();
        }
        let elsewhere = second.local_addr().unwrap();
        assert_eq!(re_aim(&socket, elsewhere, !locked), !locked);
    }
}

#[test]
fn a_filter_that_is_attached_before_the_connection_lets_it_come_about() {
    if !lockable() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    use rustix::net::{AddressFamily, SocketType};
    for (dialled, works) in [(peer, true), ("127.0.0.1:1".parse().unwrap(), false)] {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        lock_to_peer(&socket, dialled).unwrap();
        rustix::io::ioctl_fionbio(&socket, true).unwrap();
        let _ = rustix::net::connect(&socket, &peer);
        let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
        assert_eq!(poll(&mut fds, Some(&patience(works))).unwrap() > 0, works);
    }
}

#[test]
fn the_lock_cannot_be_taken_off_or_replaced() {
    if !lockable() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    let socket = TcpStream::connect(peer).unwrap();
    let option = |name: libc::c_int, value: libc::c_int| {
        // SAFETY: the kernel reads the four bytes of `value`.
        unsafe {
            libc::setsockopt(
                std::os::fd::AsRawFd::as_raw_fd(&socket),
                libc::SOL_SOCKET,
                name,
                (&raw const value).cast(),
                4,
            )
        }
    };
    attach(socket.as_fd(), &program(peer)).unwrap();
    assert_eq!(option(libc::SO_DETACH_FILTER, 0), -1);
    assert_eq!(option(libc::SO_LOCK_FILTER, 0), -1);
    let refused = lock_to_peer(&socket, peer).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
}
