//! A socket that leads to one peer is taken apart and pointed elsewhere: the one that the dialer hands
//! over, and one that came in on an inherited listener.

use std::io;

use crate::answer::{Answer, reached};
use crate::listing::{Attempt, attempts};
use crate::net::v4;
use crate::sys::{at, at_mut, call, done, int, text};
use crate::unix::path_address;
use crate::world::World;

/// Where it would rather lead: another listener of the same family.
enum Elsewhere {
    Tcp(libc::sockaddr_in),
    Unix(libc::sockaddr_un),
}

impl Elsewhere {
    fn of(world: &World) -> io::Result<Self> {
        let (mut domain, mut length) = (0_i32, 4_u32);
        let (domain_at, length_at) = (at_mut(&mut domain), at_mut(&mut length));
        let asked = [
            world.fd()?,
            int(libc::SOL_SOCKET),
            int(libc::SO_DOMAIN),
            domain_at,
            length_at,
        ];
        done(libc::SYS_getsockopt, &asked)?;
        Ok(match domain {
            libc::AF_UNIX => Self::Unix(path_address(&world.path("bus")?)),
            _ => Self::Tcp(v4([127, 0, 0, 1], world.port("tcp")?)),
        })
    }

    fn place(&self) -> (usize, usize) {
        match self {
            Self::Tcp(address) => (at(address), size_of_val(address)),
            Self::Unix(address) => (at(address), size_of_val(address)),
        }
    }
}

fn disconnect(world: &World) -> Answer {
    let nowhere = [0_u16; 8];
    done(
        libc::SYS_connect,
        &[world.fd()?, at(&nowhere), size_of_val(&nowhere)],
    )
}

/// Frees it from its peer where that is permitted; the next call is the one that is asked about.
fn free(world: &World) {
    if world.free || world.facts.contains_key("connect") {
        let _still_bound = disconnect(world);
    }
}

fn connect(world: &World) -> Answer {
    let elsewhere = Elsewhere::of(world)?;
    let (address, length) = elsewhere.place();
    free(world);
    reached(
        call(libc::SYS_connect, &[world.fd()?, address, length]),
        &[libc::EINPROGRESS],
    )
}

fn bind(world: &World) -> Answer {
    let elsewhere = Elsewhere::of(world)?;
    let address = v4([127, 0, 0, 1], 0);
    let (mut place, mut length) = (at(&address), size_of_val(&address));
    if matches!(elsewhere, Elsewhere::Unix(_)) {
        // The empty name: the kernel gives one.
        (place, length) = (at(&UNIX), 2);
    }
    free(world);
    done(libc::SYS_bind, &[world.fd()?, place, length])
}

static UNIX: u16 = libc::AF_UNIX as u16;

fn listen(world: &World) -> Answer {
    if world.free {
        bind(world)?;
    }
    done(libc::SYS_listen, &[world.fd()?, 1])
}

/// A message with an address: `sendto` and `sendmsg` connect by the way if they are told to.
fn send(world: &World, flags: i32, by_message: bool) -> Answer {
    let elsewhere = Elsewhere::of(world)?;
    let (address, length) = elsewhere.place();
    // A message that does not connect needs a connection; its address must not count.
    if flags == libc::MSG_FASTOPEN {
        free(world);
    }
    if !by_message {
        let arguments = [world.fd()?, at(b"x"), 1, int(flags), address, length];
        return reached(call(libc::SYS_sendto, &arguments), &[libc::EINPROGRESS]);
    }
    let part = [at(b"x"), 1];
    let message = [address, length, at(&part), 1, 0, 0, 0];
    let arguments = [world.fd()?, at(&message), int(flags)];
    reached(call(libc::SYS_sendmsg, &arguments), &[libc::EINPROGRESS])
}

fn option(world: &World, level: i32, name: i32, value: i32) -> Answer {
    if world.free && name == libc::TCP_FASTOPEN_CONNECT {
        disconnect(world)?;
    }
    done(
        libc::SYS_setsockopt,
        &[world.fd()?, int(level), int(name), at(&value), 4],
    )
}

/// A packet filter of its own, or none: what nails the socket to its peer would be gone.
fn filter(world: &World) -> Answer {
    // BPF_RET: keep everything.
    let keep: [u64; 1] = [0xffff_ffff_0000_0006];
    let program = [1_usize, at(&keep)];
    let arguments = [
        world.fd()?,
        int(libc::SOL_SOCKET),
        int(libc::SO_ATTACH_FILTER),
        at(&program),
        16,
    ];
    done(libc::SYS_setsockopt, &arguments)
}

fn device(world: &World) -> Answer {
    let arguments = [
        world.fd()?,
        int(libc::SOL_SOCKET),
        int(libc::SO_BINDTODEVICE),
        text(c"lo"),
        3,
    ];
    done(libc::SYS_setsockopt, &arguments)
}

/// The same attempts for both kinds of socket.
macro_rules! reaims {
    ($needs:ident $prefix:literal) => {
        attempts! { $needs:
            concat!("reaim.", $prefix, "-disconnect") => disconnect;
            concat!("reaim.", $prefix, "-connect") => connect;
            concat!("reaim.", $prefix, "-bind") => bind;
            concat!("reaim.", $prefix, "-listen") => listen;
            concat!("reaim.", $prefix, "-send-to") => |w| send(w, 0, false);
            concat!("reaim.", $prefix, "-fastopen") => |w| send(w, libc::MSG_FASTOPEN, false);
            concat!("reaim.", $prefix, "-fastopen-message") => |w| send(w, libc::MSG_FASTOPEN, true);
            concat!("reaim.", $prefix, "-fastopen-option") => |w| {
                option(w, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)
            };
            concat!("reaim.", $prefix, "-repair") => |w| option(w, libc::IPPROTO_TCP, libc::TCP_REPAIR, 1);
            concat!("reaim.", $prefix, "-address-option") => |w| option(w, libc::IPPROTO_IP, libc::IP_TOS, 8);
            concat!("reaim.", $prefix, "-reuse") => |w| option(w, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1);
            concat!("reaim.", $prefix, "-filter") => filter;
            concat!("reaim.", $prefix, "-device") => device;
        }
    };
}

pub(crate) const ACCEPTED: &[Attempt] = reaims!(Accepted "accepted");
pub(crate) const DIALLED: &[Attempt] = reaims!(Dialled "dialled");
