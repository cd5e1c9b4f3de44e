//! UNIX sockets: other edges, the operator's sockets, the session bus, a container engine, names
//! without a file; and descriptors passed out over an edge.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::answer::Answer;
use crate::listing::{Attempt, attempts};
use crate::net::socket;
use crate::sys::{at, at_mut, done, fd, int, path, text};
use crate::world::World;

pub(crate) fn path_address(path: &CStr) -> libc::sockaddr_un {
    address(path.to_bytes_with_nul())
}

fn address(name: &[u8]) -> libc::sockaddr_un {
    let mut address = libc::sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        sun_path: [0; 108],
    };
    for (place, byte) in address.sun_path.iter_mut().zip(name) {
        *place = byte.cast_signed();
    }
    address
}

/// The address of a name without a file, and its length.
fn abstract_address(name: &str) -> (libc::sockaddr_un, usize) {
    let name: Vec<u8> = [0].into_iter().chain(name.bytes()).collect();
    (address(&name), name.len() + 2)
}

fn stream() -> io::Result<OwnedFd> {
    socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)
}

fn connect(socket: usize, address: &libc::sockaddr_un, length: usize) -> Answer {
    done(libc::SYS_connect, &[socket, at(address), length])
}

fn to_path(path: &CStr) -> Answer {
    let address = path_address(path);
    connect(int(stream()?.as_raw_fd()), &address, size_of_val(&address))
}

/// A socket in the runtime directory: the server, and the role whose it is.
fn to_edge(world: &World, edge: &str) -> Answer {
    to_path(&world.below("runtime", &format!("{edge}.sock"))?)
}

fn pair(kind: i32) -> io::Result<[OwnedFd; 2]> {
    let mut pair = [0_i32; 2];
    let arguments = [
        int(libc::AF_UNIX),
        int(kind | libc::SOCK_CLOEXEC),
        0,
        at_mut(&mut pair),
    ];
    done(libc::SYS_socketpair, &arguments)?;
    let taken = |raw: i32| fd(libc::SYS_fcntl, &[int(raw), int(libc::F_DUPFD_CLOEXEC), 3]);
    Ok([taken(pair[0])?, taken(pair[1])?])
}

/// A message that carries a descriptor.
#[repr(C)]
struct Carrier {
    length: usize,
    level: i32,
    kind: i32,
    descriptor: i32,
    end: i32,
}

/// Sends a descriptor of the root folder to the peer.
fn pass(world: &World, many: bool) -> Answer {
    let flags = int(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC);
    let folder = fd(
        libc::SYS_openat,
        &[int(libc::AT_FDCWD), text(c"/"), flags, 0],
    )?;
    let carrier = Carrier {
        length: 20,
        level: libc::SOL_SOCKET,
        kind: libc::SCM_RIGHTS,
        descriptor: folder.as_raw_fd(),
        end: 0,
    };
    let part = [at(b"x"), 1];
    // `struct msghdr`, and for many the count behind it.
    let message = [0, 0, at(&part), 1, at(&carrier), size_of::<Carrier>(), 0, 0];
    match many {
        false => done(libc::SYS_sendmsg, &[world.fd()?, at(&message), 0]),
        true => done(libc::SYS_sendmmsg, &[world.fd()?, at(&message), 1, 0]),
    }
}

pub(crate) const ATTEMPTS: &[Attempt] = attempts! { Nothing:
    "unix.stream" => |_| stream().map(drop);
    "unix.datagram" => |_| socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0).map(drop);
    "unix.packets" => |_| socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0).map(drop);
    "unix.pair" => |_| pair(libc::SOCK_STREAM).map(drop);
    "unix.pair-datagram" => |_| pair(libc::SOCK_DGRAM).map(drop);
    "unix.pair-packets" => |_| pair(libc::SOCK_SEQPACKET).map(drop);
    "unix.abstract" => |w| {
        let (address, length) = abstract_address(w.text("abstract")?);
        connect(int(stream()?.as_raw_fd()), &address, length)
    };
    "unix.session-bus" => |w| to_path(&w.path("bus")?);
    "unix.docker" => |w| to_path(&w.path("docker")?);
    "unix.operator-gateway" => |w| to_path(&w.below("operators", "gateway.sock")?);
    "unix.operator-policy" => |w| to_path(&w.below("operators", "policy.sock")?);
    "unix.operator-broker" => |w| to_path(&w.below("operators", "broker.sock")?);
    "unix.operator-supervisor" => |w| to_path(&w.below("operators", "supervisor.sock")?);
    "unix.edge-gateway-telegram" => |w| to_edge(w, "gateway/channel-telegram");
    "unix.edge-policy-gateway" => |w| to_edge(w, "policy/gateway");
    "unix.edge-policy-executor" => |w| to_edge(w, "policy/executor");
    "unix.edge-policy-telegram" => |w| to_edge(w, "policy/channel-telegram");
    "unix.edge-broker-policy" => |w| to_edge(w, "broker/policy");
    "unix.edge-broker-model" => |w| to_edge(w, "broker/model-openai");
    "unix.edge-broker-telegram" => |w| to_edge(w, "broker/channel-telegram");
    "unix.edge-dialer-policy" => |w| to_edge(w, "dialer/policy");
    "unix.edge-dialer-model" => |w| to_edge(w, "dialer/model-openai");
    "unix.edge-agent-main" => |w| to_edge(w, "agent-main/gateway");
    "unix.edge-agent-guest" => |w| to_edge(w, "agent-guest/gateway");
    "unix.edge-model-main" => |w| to_edge(w, "model-openai/agent-main");
    "unix.edge-executor-main" => |w| to_edge(w, "executor/agent-main");
    "unix.bind-path" => |w| {
        let name = path(&format!("{}/socket-{}", w.text("open-folder")?, std::process::id()))?;
        let address = path_address(&name);
        done(libc::SYS_bind, &[int(stream()?.as_raw_fd()), at(&address), size_of_val(&address)])
    };
    "unix.bind-abstract" => |_| {
        let (address, length) = abstract_address(&format!("clawdbot-{}", std::process::id()));
        done(libc::SYS_bind, &[int(stream()?.as_raw_fd()), at(&address), length])
    };
    "unix.send-to" => |w| {
        let socket = socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)?;
        let address = path_address(&w.path("datagrams")?);
        let socket = int(socket.as_raw_fd());
        done(libc::SYS_sendto, &[socket, at(b"x"), 1, 0, at(&address), size_of_val(&address)])
    };
    // Both ends are the process's own until one is pointed at a name.
    "unix.aim-pair" => |w| {
        let kind = if w.free { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
        let address = path_address(&w.path(if w.free { "datagrams" } else { "bus" })?);
        connect(int(pair(kind)?[0].as_raw_fd()), &address, size_of_val(&address))
    };
};

pub(crate) const BY_EDGE: &[Attempt] = attempts! { Edge:
    "unix.aim-edge" => |w| {
        let (address, length) = abstract_address(w.text("abstract")?);
        match connect(w.fd()?, &address, length) {
            // A stream that has a peer keeps it: outside, too, this is all that can be had.
            Err(error) if w.free && error.raw_os_error() == Some(libc::EISCONN) => Ok(()),
            answer => answer,
        }
    };
    "unix.pass-folder" => |w| pass(w, false);
    "unix.pass-folder-many" => |w| pass(w, true);
};
