//! A network namespace of its own: nothing but a loopback device that is down, so that a socket of
//! whatever family reaches nobody, also no abstract one of another program. The process makes it
//! itself, after its exec: the memory then goes on belonging to the user namespace outside, whose
//! owner's other processes stay locked out by "not dumpable", though they have every capability over
//! the namespace inside. What it gains by that are ids, and those it gives up at once.
#![allow(unsafe_code)]

use std::fs;
use std::io;

use crate::measure::Network;
use crate::process::give_up_all_capabilities;
use crate::profile::{Mode, Profile};

/// Where the kernel lists the devices of this process's namespace.
const DEVICES: &str = "/proc/self/net/dev";

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    /// As measured.
    pub(super) network: Network,
    /// False where the ids in the new user namespace could not be set.
    pub(super) mapped: bool,
}

/// Leaves the host's network if the profile says so. In system mode the unit has done it, and only
/// the result is measured: a user namespace of its own would hide who the peers of the edges are.
///
/// Any refusal leaves the process where it was: the call that makes the namespaces makes both or
/// none. A kernel that permits it and then does not let the ids be set (AppArmor's
/// `unprivileged_userns`) leaves a process whose ids are shown as nobody's. Nothing depends on how
/// they are shown (files belong to the id outside, and to that alone), the network is as empty, so it
/// stays and says so.
///
/// # Errors
/// When capabilities over the new namespace could not be given up; the process must end then.
pub(super) fn leave(profile: &Profile, mode: Mode) -> io::Result<Moved> {
    let mut moved = Moved {
        network: Network::Host,
        mapped: true,
    };
    if !profile.own_network {
        return Ok(moved);
    }
    if mode == Mode::Single {
        match unshare()? {
            Some(mapped) => moved.mapped = mapped,
            None => return Ok(moved),
        }
    }
    if devices().is_ok_and(|devices| devices == ["lo"]) {
        moved.network = Network::Own;
    }
    Ok(moved)
}

/// Makes both namespaces for this process, which has one thread. Whether its ids could be set there;
/// `None` where the kernel refuses.
///
/// # Errors
/// As [`leave`].
pub(crate) fn unshare() -> io::Result<Option<bool>> {
    let ids = [
        ("uid_map", rustix::process::geteuid().as_raw()),
        ("gid_map", rustix::process::getegid().as_raw()),
    ];
    // SAFETY: no memory is passed; the one thread that there is changes as a whole.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) } != 0 {
        return Ok(None);
    }
    let mapped = map(ids).is_ok();
    give_up_all_capabilities()?;
    Ok(Some(mapped))
}

/// The process's own ids keep their numbers; all others are nobody's.
fn map(ids: [(&str, u32); 2]) -> io::Result<()> {
    // Without capabilities outside, a group is set only by who can never change its groups.
    fs::write("/proc/self/setgroups", "deny")?;
    for (file, id) in ids {
        fs::write(format!("/proc/self/{file}"), format!("{id} {id} 1"))?;
    }
    Ok(())
}

/// The names of all network devices: two lines of heading, then `NAME: counters`.
fn devices() -> io::Result<Vec<String>> {
    let text = fs::read_to_string(DEVICES)?;
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    Ok(names.map(|(name, _)| name.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests;
