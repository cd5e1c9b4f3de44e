//! Who a process is allowed to be: an ordinary user with no capability in any set. What a login
//! session or a container left in the sets is given up first (desktop sessions carry
//! CAP_WAKE_ALARM), what cannot be given up is refused.

use std::io;

#[cfg(target_os = "linux")]
use super::Status;

/// What it takes to empty the bounding set.
#[cfg(target_os = "linux")]
const SETPCAP: u64 = 1 << 8;

/// Why a process may not start as who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Root, in one of the four user or group ids.
    #[error(
        "this process runs as root (uid {uid}, gid {gid}) and refuses to work; start it as an ordinary user, or start everything with `clawdbot up`, which becomes one"
    )]
    Root {
        /// The effective user id.
        uid: u32,
        /// The effective group id.
        gid: u32,
    },
    /// Real, effective, saved and file system ids differ.
    #[error(
        "real, effective, saved and file system {what} differ ({ids:?}): a set-id program is refused"
    )]
    MixedIds {
        /// "user ids" or "group ids".
        what: &'static str,
        /// The four ids.
        ids: [u32; 4],
    },
    /// A capability set is not empty and could not be emptied.
    #[error(
        "the {set} capability set is not empty (mask {mask:x}); start the process without capabilities"
    )]
    Capability {
        /// Which of the four.
        set: &'static str,
        /// Its bits.
        mask: u64,
    },
    /// The kernel's view could not be read.
    #[error("cannot read who this process is (is /proc mounted?): {0}")]
    Unknown(#[from] io::Error),
}

/// Gives up all capabilities, sets the umask to 077 and checks that the process is an ordinary user.
///
/// Nothing is asked of the kernel that is so already: a service manager that has dropped everything
/// refuses the calls as well. The bounding set is emptied where that is possible; an ordinary user
/// cannot, and it means nothing once `no_new_privs` is set.
///
/// # Errors
/// The first thing that is not as it must be.
#[cfg(target_os = "linux")]
pub fn assert_identity() -> Result<(), IdentityError> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let status = Status::now()?;
    let [_, uid, ..] = status.uids;
    let [_, gid, ..] = status.gids;
    if status.uids.contains(&0) || status.gids.contains(&0) {
        return Err(IdentityError::Root { uid, gid });
    }
    for (what, ids) in [("user ids", status.uids), ("group ids", status.gids)] {
        if ids.iter().any(|id| Some(id) != ids.first()) {
            return Err(IdentityError::MixedIds { what, ids });
        }
    }
    if status.bounding != 0 && status.effective & SETPCAP != 0 {
        empty_bounding_set()?;
    }
    if status.capabilities() == 0 {
        return Ok(());
    }
    give_up_capabilities()?;
    let status = Status::now()?;
    let sets = [
        ("inheritable", status.inheritable),
        ("permitted", status.permitted),
        ("effective", status.effective),
        ("ambient", status.ambient),
    ];
    match sets.into_iter().find(|(_, mask)| *mask != 0) {
        Some((set, mask)) => Err(IdentityError::Capability { set, mask }),
        None => Ok(()),
    }
}

/// Empties all sets but the bounding set, which only a privileged process can.
#[cfg(target_os = "linux")]
pub(super) fn give_up_capabilities() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets};
    let empty = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: empty,
            permitted: empty,
            inheritable: empty,
        },
    )?;
    // Kernels without ambient capabilities have none to clear.
    let _ = rustix::thread::clear_ambient_capability_set();
    Ok(())
}

/// Empties all five sets: in a user namespace of its own a process is given every capability.
#[cfg(target_os = "linux")]
pub(crate) fn give_up_all_capabilities() -> io::Result<()> {
    // Whoever is refused this one has no exec left that could use it.
    let _ = empty_bounding_set();
    give_up_capabilities()
}

/// Needs CAP_SETPCAP.
#[cfg(target_os = "linux")]
pub(super) fn empty_bounding_set() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
    for bit in 0..64 {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // The first number that this kernel does not know.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sets the umask to 077 and checks that the process is an ordinary user.
///
/// # Errors
/// The first thing that is not as it must be.
#[cfg(not(target_os = "linux"))]
pub fn assert_identity() -> Result<(), IdentityError> {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let uids = [getuid(), geteuid()].map(rustix::process::Uid::as_raw);
    let gids = [getgid(), getegid()].map(rustix::process::Gid::as_raw);
    let ([uid, euid], [gid, egid]) = (uids, gids);
    if uids.contains(&0) {
        return Err(IdentityError::Root {
            uid: euid,
            gid: egid,
        });
    }
    if uid != euid {
        return Err(IdentityError::MixedIds {
            what: "user ids",
            ids: [uid, euid, euid, euid],
        });
    }
    if gid != egid {
        return Err(IdentityError::MixedIds {
            what: "group ids",
            ids: [gid, egid, egid, egid],
        });
    }
    Ok(())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::process::drop_to;
    use crate::test_child::in_child;

    #[test]
    fn root_is_refused_and_an_ordinary_user_is_not() {
        let root = rustix::process::geteuid().is_root();
        let status = in_child(|| match assert_identity() {
            Ok(()) => 0,
            Err(IdentityError::Root { uid: 0, .. }) => 1,
            Err(_) => 2,
        });
        assert_eq!(status.exit(), i32::from(root));
        if root {
            let status = in_child(|| {
                drop_to(65_534, 65_534).unwrap();
                assert_identity().unwrap();
                0
            });
            assert_eq!(status.exit(), 0);
        }
    }

    /// An ordinary user that kept its capabilities over the change, as a login session may.
    fn keep_capabilities() {
        rustix::thread::set_keep_capabilities(true).unwrap();
        let group = rustix::process::Gid::from_raw(65_534);
        rustix::thread::set_thread_res_gid(group, group, group).unwrap();
        let user = rustix::process::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
    }

    #[test]
    fn left_over_capabilities_are_given_up() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let status = in_child(|| {
            keep_capabilities();
            assert_ne!(Status::now().unwrap().permitted, 0);
            assert_identity().unwrap();
            i32::from(Status::now().unwrap().permitted != 0)
        });
        assert_eq!(status.exit(), 0);
    }

    #[test]
    fn who_has_nothing_to_give_up_needs_no_call_for_it() {
        use crate::test_child::without;
        let refused = (libc::SYS_capset, libc::EPERM);
        let root = rustix::process::geteuid().is_root();
        let status = in_child(|| {
            if root {
                drop_to(65_534, 65_534).unwrap();
            }
            without(&[refused]);
            assert_identity().unwrap();
            0
        });
        assert_eq!(status.exit(), 0);
        if root {
            let status = in_child(|| {
                keep_capabilities();
                without(&[refused]);
                i32::from(!matches!(assert_identity(), Err(IdentityError::Unknown(_))))
            });
            assert_eq!(status.exit(), 0);
        }
    }

    #[test]
    fn the_bounding_set_is_emptied_where_that_is_possible() {
        use rustix::thread::{CapabilitySets, capabilities, set_capabilities};
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let status = in_child(|| {
            keep_capabilities();
            let sets = capabilities(None).unwrap();
            let effective = sets.permitted;
            set_capabilities(None, CapabilitySets { effective, ..sets }).unwrap();
            assert_ne!(Status::now().unwrap().bounding, 0);
            assert_identity().unwrap();
            let left = Status::now().unwrap();
            i32::from(left.bounding != 0 || left.capabilities() != 0)
        });
        assert_eq!(status.exit(), 0);
    }

    #[test]
    fn a_set_id_program_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let status = in_child(|| {
            let group = rustix::process::Gid::from_raw(65_534);
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            let [a, b] = [65_534, 65_533].map(rustix::process::Uid::from_raw);
            rustix::thread::set_thread_res_uid(a, b, b).unwrap();
            let refused = assert_identity();
            i32::from(!matches!(
                refused,
                Err(IdentityError::MixedIds {
                    what: "user ids",
                    ..
                })
            ))
        });
        assert_eq!(status.exit(), 0);
    }
}
