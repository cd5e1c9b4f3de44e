//! Sockets that reach another machine, or this one by its addresses: made of every family, and used.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::answer::{Answer, reached};
use crate::listing::{Attempt, attempts};
use crate::sys::{at, call, done, fd, int};
use crate::world::World;

pub(crate) const MPTCP: i32 = 262;
/// Deprecated, and still there.
const SOCK_PACKET: i32 = 10;
const SMC: i32 = 43;
const XDP: i32 = 44;

pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = int(kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
    fd(libc::SYS_socket, &[int(family), kind, int(protocol)])
}

fn makes(family: i32, kind: i32, protocol: i32) -> Answer {
    socket(family, kind, protocol).map(drop)
}

/// `struct sockaddr_in` of 127.0.0.1 or another address.
pub(crate) fn v4(address: [u8; 4], port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address),
        },
        sin_zero: [0; 8],
    }
}

fn v6_loopback(port: u16) -> libc::sockaddr_in6 {
    let mut address = [0; 16];
    address[15] = 1;
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: port.to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: address },
        sin6_scope_id: 0,
    }
}

/// Connecting got as far as the network, whatever the network says.
fn connect<T>(socket: &OwnedFd, address: &T) -> Answer {
    let arguments = [int(socket.as_raw_fd()), at(address), size_of::<T>()];
    let network = [
        libc::EINPROGRESS,
        libc::ECONNREFUSED,
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
    ];
    reached(call(libc::SYS_connect, &arguments), &network)
}

fn bind_tcp() -> io::Result<OwnedFd> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP)?;
    let address = v4([127, 0, 0, 1], 0);
    done(
        libc::SYS_bind,
        &[int(socket.as_raw_fd()), at(&address), size_of_val(&address)],
    )?;
    Ok(socket)
}

/// Every family but the three that have rows of their own, streams and datagrams.
fn other_families() -> Answer {
    let mut last = Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    for family in (0..=50).filter(|f| ![libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].contains(f)) {
        for kind in [
            libc::SOCK_STREAM,
            libc::SOCK_DGRAM,
            libc::SOCK_RAW,
            libc::SOCK_SEQPACKET,
        ] {
            match makes(family, kind, 0) {
                Ok(()) => return Ok(()),
                error => last = error,
            }
        }
    }
    last
}

fn udp(world: &World) -> Answer {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    connect(&socket, &v4([127, 0, 0, 1], world.port("udp")?))?;
    done(
        libc::SYS_sendto,
        &[int(socket.as_raw_fd()), at(b"x"), 1, 0, 0, 0],
    )
}

pub(crate) const ATTEMPTS: &[Attempt] = attempts! { Nothing:
    "net.tcp4" => |_| makes(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP);
    "net.tcp6" => |_| makes(libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP);
    "net.stream" => |_| makes(libc::AF_INET, libc::SOCK_STREAM, 0);
    "net.udp4" => |_| makes(libc::AF_INET, libc::SOCK_DGRAM, 0);
    "net.udp6" => |_| makes(libc::AF_INET6, libc::SOCK_DGRAM, 0);
    "net.mptcp4" => |_| makes(libc::AF_INET, libc::SOCK_STREAM, MPTCP);
    "net.mptcp6" => |_| makes(libc::AF_INET6, libc::SOCK_STREAM, MPTCP);
    "net.sctp" => |_| makes(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP);
    "net.sctp-packets" => |_| makes(libc::AF_INET, libc::SOCK_SEQPACKET, libc::IPPROTO_SCTP);
    "net.udplite" => |_| makes(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE);
    "net.dccp" => |_| makes(libc::AF_INET, libc::SOCK_DCCP, libc::IPPROTO_DCCP);
    "net.raw4" => |_| makes(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP);
    "net.raw6" => |_| makes(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6);
    "net.raw-any" => |_| makes(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW);
    "net.packet" => |_| makes(libc::AF_PACKET, libc::SOCK_RAW, 0);
    "net.packet-obsolete" => |_| makes(libc::AF_INET, SOCK_PACKET, 0);
    "net.netlink" => |_| makes(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE);
    "net.netlink-audit" => |_| makes(libc::AF_NETLINK, libc::SOCK_DGRAM, libc::NETLINK_KOBJECT_UEVENT);
    "net.vsock" => |_| makes(libc::AF_VSOCK, libc::SOCK_STREAM, 0);
    "net.alg" => |_| makes(libc::AF_ALG, libc::SOCK_SEQPACKET, 0);
    "net.xdp" => |_| makes(XDP, libc::SOCK_RAW, 0);
    "net.smc" => |_| makes(SMC, libc::SOCK_STREAM, 0);
    "net.bluetooth" => |_| makes(libc::AF_BLUETOOTH, libc::SOCK_RAW, 1);
    "net.tipc" => |_| makes(libc::AF_TIPC, libc::SOCK_SEQPACKET, 0);
    "net.other-families" => |_| other_families();
    "net.pair" => |_| {
        let mut pair = [0_i32; 2];
        done(libc::SYS_socketpair, &[int(libc::AF_INET), int(libc::SOCK_STREAM), 0, crate::sys::at_mut(&mut pair)])
    };
    "net.connect4" => |w| {
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP)?;
        connect(&socket, &v4([127, 0, 0, 1], w.port("tcp")?))
    };
    "net.connect6" => |w| {
        let socket = socket(libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP)?;
        connect(&socket, &v6_loopback(w.port("tcp")?))
    };
    // Where a cloud's machines find their credentials.
    "net.metadata" => |_| {
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP)?;
        connect(&socket, &v4([169, 254, 169, 254], 80))
    };
    "net.udp-send" => |w| udp(w);
    "net.udp-send-to" => |w| {
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let address = v4([127, 0, 0, 1], w.port("udp")?);
        let socket = int(socket.as_raw_fd());
        done(libc::SYS_sendto, &[socket, at(b"x"), 1, 0, at(&address), size_of_val(&address)])
    };
    "net.fastopen" => |w| {
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP)?;
        let address = v4([127, 0, 0, 1], w.port("tcp")?);
        let arguments = [int(socket.as_raw_fd()), at(b"x"), 1, int(libc::MSG_FASTOPEN), at(&address), size_of_val(&address)];
        reached(call(libc::SYS_sendto, &arguments), &[libc::EINPROGRESS])
    };
    "net.bind" => |_| bind_tcp().map(drop);
    "net.bind-udp" => |_| {
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let address = v4([127, 0, 0, 1], 0);
        done(libc::SYS_bind, &[int(socket.as_raw_fd()), at(&address), size_of_val(&address)])
    };
    "net.listen" => |w| {
        let socket = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP)?;
        if w.free {
            return done(libc::SYS_listen, &[int(bind_tcp()?.as_raw_fd()), 1]);
        }
        // Without a bind the kernel chooses a port.
        done(libc::SYS_listen, &[int(socket.as_raw_fd()), 1])
    };
};
