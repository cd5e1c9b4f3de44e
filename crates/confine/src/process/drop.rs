//! From root to an ordinary user, for good: the supervisor that root started. After the change it
//! tries to come back and refuses to go on if it can.

use std::io;
use std::path::PathBuf;

/// A row of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Login name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
}

/// Looks a user up in `/etc/passwd` alone: the name service would load foreign code.
///
/// # Errors
/// When the file cannot be read.
pub fn lookup_user(name: &str) -> io::Result<Option<User>> {
    // A name in another encoding hides nobody else.
    let passwd = std::fs::read("/etc/passwd")?;
    Ok(find_user(&String::from_utf8_lossy(&passwd), name))
}

fn find_user(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = PathBuf::from(fields.nth(1)?);
        Some(User {
            uid,
            gid,
            name: name.to_owned(),
            home,
        })
    })
}

/// Why the change of user is not safe.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// Root was given as the target.
    #[error("the target user is root (uid {uid}, gid {gid}); name an ordinary user")]
    Root {
        /// Target user id.
        uid: u32,
        /// Target group id.
        gid: u32,
    },
    /// More than one thread: only one of them would change.
    #[error("the process has {0} threads; the user is changed before there is a second one")]
    Threads(u32),
    /// The kernel refused a step.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The change did not hold.
    #[error("after the change of user the process {0}")]
    NotDropped(&'static str),
}

#[cfg(target_os = "linux")]
pub use linux::drop_to;

#[cfg(target_os = "linux")]
mod linux {
    use super::DropError;
    use crate::process::Status;
    use crate::process::identity::{empty_bounding_set, give_up_capabilities};
    use rustix::process::{Gid, Uid, getgroups};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    use std::io;

    fn step<E: Into<io::Error>>(
        step: &'static str,
        result: Result<(), E>,
    ) -> Result<(), DropError> {
        result.map_err(|source| DropError::Step {
            step,
            source: source.into(),
        })
    }

    /// Becomes an ordinary user for good: no supplementary group, all ids changed, all capability
    /// sets empty. Needs root and a single thread.
    ///
    /// # Errors
    /// See [`DropError`]; the process must end then, since it may be half changed.
    pub fn drop_to(uid: u32, gid: u32) -> Result<(), DropError> {
        if uid == 0 || gid == 0 {
            return Err(DropError::Root { uid, gid });
        }
        let status = Status::now().map_err(|source| DropError::Step {
            step: "read /proc/self/status",
            source,
        })?;
        if status.threads != 1 {
            return Err(DropError::Threads(status.threads));
        }
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
        step("empty the bounding set", empty_bounding_set())?;
        step("leave all groups", set_thread_groups(&[]))?;
        step("change the group", set_thread_res_gid(group, group, group))?;
        step("change the user", set_thread_res_uid(user, user, user))?;
        step("give up capabilities", give_up_capabilities())?;
        verify(uid, gid)
    }

    fn verify(uid: u32, gid: u32) -> Result<(), DropError> {
        let root = (Uid::ROOT, Gid::ROOT);
        if set_thread_res_uid(root.0, root.0, root.0).is_ok() {
            return Err(DropError::NotDropped("could become root again"));
        }
        if set_thread_res_gid(root.1, root.1, root.1).is_ok() {
            return Err(DropError::NotDropped("could join root's group again"));
        }
        let status = Status::now().map_err(|source| DropError::Step {
            step: "read /proc/self/status",
            source,
        })?;
        if status.uids != [uid; 4] || status.gids != [gid; 4] {
            return Err(DropError::NotDropped("has other ids than it should"));
        }
        if !getgroups().unwrap_or_default().is_empty() {
            return Err(DropError::NotDropped("is still in other groups"));
        }
        let left = [
            status.inheritable,
            status.permitted,
            status.effective,
            status.bounding,
            status.ambient,
        ];
        if left != [0; 5] {
            return Err(DropError::NotDropped("still has capabilities"));
        }
        Ok(())
    }
}

/// Becomes an ordinary user for good. Needs root.
///
/// # Errors
/// See [`DropError`]; the process must end then, since it may be half changed.
#[cfg(not(target_os = "linux"))]
#[allow(unsafe_code)]
pub fn drop_to(uid: u32, gid: u32) -> Result<(), DropError> {
    if uid == 0 || gid == 0 {
        return Err(DropError::Root { uid, gid });
    }
    let check = |step, status: libc::c_int| match status {
        0 => Ok(()),
        _ => Err(DropError::Step {
            step,
            source: io::Error::last_os_error(),
        }),
    };
    // SAFETY: one group id is passed by pointer and count; the others pass no memory.
    check("leave all groups", unsafe {
        libc::setgroups(1, &raw const gid)
    })?;
    // SAFETY: no memory is passed.
    check("change the group", unsafe { libc::setgid(gid) })?;
    // SAFETY: no memory is passed.
    check("change the user", unsafe { libc::setuid(uid) })?;
    // SAFETY: no memory is passed.
    if unsafe { libc::setuid(0) } == 0 {
        return Err(DropError::NotDropped("could become root again"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1001:Ann,,,:/home/ann:/bin/sh\n";
        let ann = find_user(passwd, "ann").unwrap();
        assert_eq!(
            (ann.uid, ann.gid, ann.home),
            (1000, 1001, PathBuf::from("/home/ann"))
        );
        for unknown in ["an", "Ann", "", "x", "broken"] {
            assert_eq!(find_user(passwd, unknown), None);
        }
        assert_eq!(lookup_user("root").unwrap().unwrap().uid, 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn root_becomes_an_ordinary_user_and_cannot_come_back() {
        use crate::test_child::in_child;
        let root = rustix::process::geteuid().is_root();
        let status = in_child(|| match drop_to(65_534, 65_533) {
            Ok(()) => 0,
            Err(DropError::Step { .. }) => 1,
            Err(_) => 2,
        });
        assert_eq!(status.exit(), i32::from(!root));
        let to_root = in_child(|| i32::from(!matches!(drop_to(0, 1), Err(DropError::Root { .. }))));
        assert_eq!(to_root.exit(), 0);
    }
}
