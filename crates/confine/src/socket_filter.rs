//! Nails a TCP socket to the peer it was dialled to: a packet filter, locked for good, drops whatever
//! comes from another address or port. A connected socket could otherwise be taken apart and pointed
//! elsewhere by whoever it is handed to; then no answer ever reaches it (a SYN may still leave).
#![cfg_attr(target_os = "linux", allow(unsafe_code))]

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

#[cfg(target_os = "linux")]
use linux::{attach, program};

/// Attaches and locks the filter. The socket may be connected already or not yet.
///
/// # Errors
/// The kernel's answer; the socket must not be handed over then.
#[cfg(target_os = "linux")]
pub fn lock_to_peer(socket: impl AsFd, peer: SocketAddr) -> io::Result<()> {
    attach(socket.as_fd(), &program(peer))
}

/// There is no such filter here; the measured level is `none` and says so.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn lock_to_peer(_socket: impl AsFd, _peer: SocketAddr) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::mem::size_of_val;
    use std::net::{IpAddr, SocketAddr};
    use std::os::fd::{AsRawFd, BorrowedFd};

    use libc::{
        BPF_ABS, BPF_ALU, BPF_B, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_RSH, BPF_W,
    };
    use libc::{sock_filter, sock_fprog};

    /// Loads at this offset count from the IP header; others from the TCP header.
    const IP: u32 = libc::SKF_NET_OFF.cast_unsigned();

    /// The comparisons that a packet has to pass, then "keep" and "drop".
    pub(super) fn program(peer: SocketAddr) -> Vec<sock_filter> {
        // Load a part of the packet, shift it, and compare it with a value.
        let mut checks: Vec<(u32, u32, u32, u32)> = Vec::new();
        match peer.ip().to_canonical() {
            IpAddr::V4(address) => {
                checks.push((BPF_B, IP, 4, 4));
                checks.push((BPF_W, IP.wrapping_add(12), 0, u32::from(address)));
            }
            IpAddr::V6(address) => {
                checks.push((BPF_B, IP, 4, 6));
                for (offset, shift) in [(8, 96), (12, 64), (16, 32), (20, 0)] {
                    let word = (u128::from(address) >> shift) & u128::from(u32::MAX);
                    checks.push((
                        BPF_W,
                        IP.wrapping_add(offset),
                        0,
                        u32::try_from(word).unwrap_or(0),
                    ));
                }
            }
        }
        checks.push((BPF_H, 0, 0, u32::from(peer.port())));

        let mut program = Vec::new();
        let instruction = |code: u32, jf: u8, k: u32| {
            let code = u16::try_from(code).unwrap_or(0);
            sock_filter { code, jt: 0, jf, k }
        };
        for (index, (size, offset, shift, value)) in checks.iter().enumerate() {
            program.push(instruction(BPF_LD | size | BPF_ABS, 0, *offset));
            program.push(instruction(BPF_ALU | BPF_RSH | BPF_K, 0, *shift));
            // Three instructions for each check that is left, then "keep": behind it lies "drop".
            let left = u8::try_from(checks.len() - index - 1).unwrap_or(u8::MAX);
            program.push(instruction(BPF_JMP | BPF_JEQ | BPF_K, left * 3 + 1, *value));
        }
        program.push(instruction(BPF_RET | BPF_K, 0, u32::MAX));
        program.push(instruction(BPF_RET | BPF_K, 0, 0));
        program
    }

    pub(super) fn attach(socket: BorrowedFd<'_>, program: &[sock_filter]) -> io::Result<()> {
        let header = sock_fprog {
            len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            filter: program.as_ptr().cast_mut(),
        };
        set(socket, libc::SO_ATTACH_FILTER, &header)?;
        set(socket, libc::SO_LOCK_FILTER, &1_i32)
    }

    fn set<T>(socket: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
        let length = libc::socklen_t::try_from(size_of_val(value))
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the kernel reads `length` bytes of `value`, and for a program the instructions that
        // it points to and counts; both outlive the call and neither is written.
        let status = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                std::ptr::from_ref(value).cast(),
                length,
            )
        };
        if status == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// Listeners at two ports of the same host, where the host has such an address.
    fn listeners(host: &str) -> Option<(TcpListener, TcpListener)> {
        Some((
            TcpListener::bind((host, 0)).ok()?,
            TcpListener::bind((host, 0)).ok()?,
        ))
    }

    /// Takes a connected socket apart and points it elsewhere; true when the connection comes about.
    fn re_aim(socket: &TcpStream, to: SocketAddr) -> bool {
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
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: 300_000_000,
        };
        poll(&mut fds, Some(&wait)).unwrap() > 0 && socket.peer_addr().is_ok()
    }

    #[test]
    fn a_locked_socket_speaks_with_its_peer_and_cannot_be_pointed_elsewhere() {
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
                    re_aim(&socket, elsewhere),
                    !locked,
                    "{host} locked={locked}"
                );
            }
        }
    }

    #[test]
    fn the_same_port_of_another_address_is_elsewhere_too() {
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
            assert_eq!(re_aim(&socket, second.local_addr().unwrap()), !locked);
        }
    }

    #[test]
    fn a_filter_that_is_attached_before_the_connection_lets_it_come_about() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        use rustix::net::{AddressFamily, SocketType};
        for (dialled, works) in [(peer, true), ("127.0.0.1:1".parse().unwrap(), false)] {
            let socket =
                rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            lock_to_peer(&socket, dialled).unwrap();
            rustix::io::ioctl_fionbio(&socket, true).unwrap();
            let _ = rustix::net::connect(&socket, &peer);
            let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: 300_000_000,
            };
            assert_eq!(poll(&mut fds, Some(&wait)).unwrap() > 0, works);
        }
    }

    #[test]
    fn the_lock_cannot_be_taken_off_or_replaced() {
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
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
