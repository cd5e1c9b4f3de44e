//! Nails a TCP socket to the peer it was dialled to: a packet filter, locked for good, drops whatever
//! comes from another address or port. A connected socket could otherwise be taken apart and pointed
//! elsewhere by whoever it is handed to; then no answer ever reaches it (a SYN may still leave).
//!
//! Newer kernels, and stable ones they were patched into, want CAP_NET_ADMIN for a filter on a TCP
//! socket (Linux commit 5d39580f68e6; UDP and UNIX sockets are free). Nobody here has it, so there the
//! lock is refused, never skipped: [`permitted`] tells beforehand.
#![cfg_attr(target_os = "linux", allow(unsafe_code))]

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

#[cfg(target_os = "linux")]
use linux::{attach, keep_all, program};

/// Attaches and locks the filter. The socket may be connected already or not yet.
///
/// # Errors
/// `PermissionDenied` where the kernel wants a privilege for it (see [`permitted`]) or the socket is
/// locked already; the kernel's answer otherwise. The socket is not nailed then.
#[cfg(target_os = "linux")]
pub fn lock_to_peer(socket: impl AsFd, peer: SocketAddr) -> io::Result<()> {
    attach(socket.as_fd(), &program(peer)).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "cannot nail the socket to its peer: it is locked already, or this kernel wants \
             CAP_NET_ADMIN for a filter on a TCP socket",
        ),
        _ => error,
    })
}

/// Whether this process may nail a TCP socket, tried on a fresh one.
#[cfg(target_os = "linux")]
pub fn permitted() -> bool {
    use rustix::net::ipproto::TCP;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let family = [AddressFamily::INET, AddressFamily::INET6];
    family.into_iter().any(|family| {
        socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(TCP))
            .is_ok_and(|socket| attach(socket.as_fd(), &keep_all()).is_ok())
    })
}

/// There is no such filter here; the measured level is `none` and says so.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn lock_to_peer(_socket: impl AsFd, _peer: SocketAddr) -> io::Result<()> {
    Ok(())
}

/// Never, here.
#[cfg(not(target_os = "linux"))]
pub fn permitted() -> bool {
    false
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

    fn instruction(code: u32, jf: u8, k: u32) -> sock_filter {
        let code = u16::try_from(code).unwrap_or(0);
        sock_filter { code, jt: 0, jf, k }
    }

    /// A program that drops nothing.
    pub(super) fn keep_all() -> [sock_filter; 1] {
        [instruction(BPF_RET | BPF_K, 0, u32::MAX)]
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

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
