//! Namespaces, mounts and roots of the file tree: another view of the machine, in which one would be root.

use std::io;
use std::os::fd::{AsRawFd as _, IntoRawFd as _};

use crate::answer::{Answer, reached};
use crate::listing::{Attempt, attempts};
use crate::sys::{at, call, child, done, fd, int, text};
use crate::world::World;

/// Not in libc.
const CLONE_NEWTIME: i32 = 0x80;

fn unshare(flags: i32) -> Answer {
    done(libc::SYS_unshare, &[int(flags)])
}

/// A folder that may become a mount point: of this attempt's own where it can make one.
fn point(world: &World) -> io::Result<std::ffi::CString> {
    let path = world.below("open-folder", &format!("mount-{}", std::process::id()))?;
    if world.free {
        done(
            libc::SYS_mkdirat,
            &[int(libc::AT_FDCWD), text(&path), 0o700],
        )?;
    }
    Ok(path)
}

fn mount_tmpfs(world: &World) -> Answer {
    let at_point = point(world)?;
    done(
        libc::SYS_mount,
        &[text(c"x"), text(&at_point), text(c"tmpfs"), 0, 0],
    )
}

fn bind(world: &World, from: &std::ffi::CStr) -> io::Result<std::ffi::CString> {
    let at_point = point(world)?;
    let flags = usize::try_from(libc::MS_BIND).map_err(io::Error::other)?;
    done(libc::SYS_mount, &[text(from), text(&at_point), 0, flags, 0])?;
    Ok(at_point)
}

/// A new file system that is not attached anywhere, or no descriptor where only the next call counts.
fn context(world: &World) -> usize {
    match world
        .free
        .then(|| call(libc::SYS_fsopen, &[text(c"tmpfs"), 0]))
    {
        Some(Ok(raw)) => raw,
        _ => int(-1),
    }
}

const CONFIGURE_CREATE: usize = 6;
const FROM_EMPTY: usize = 4;
const TREE_CLONE: usize = 1;

fn new_mount(world: &World) -> usize {
    if !world.free {
        return int(-1);
    }
    let made = context(world);
    let _answered = call(libc::SYS_fsconfig, &[made, CONFIGURE_CREATE, 0, 0, 0]);
    call(libc::SYS_fsmount, &[made, 0, 0]).unwrap_or(int(-1))
}

fn tree(path: &std::ffi::CStr) -> io::Result<std::os::fd::OwnedFd> {
    fd(
        libc::SYS_open_tree,
        &[int(libc::AT_FDCWD), text(path), TREE_CLONE],
    )
}

fn change_root(world: &World) -> Answer {
    let flags = usize::try_from(libc::MS_BIND).map_err(io::Error::other)?;
    if world.free {
        let private = usize::try_from(libc::MS_REC | libc::MS_PRIVATE).map_err(io::Error::other)?;
        done(libc::SYS_mount, &[0, text(c"/"), 0, private, 0])?;
        let folder = point(world)?;
        done(
            libc::SYS_mount,
            &[text(&folder), text(&folder), 0, flags, 0],
        )?;
        done(libc::SYS_chdir, &[text(&folder)])?;
    }
    done(libc::SYS_pivot_root, &[text(c"."), text(c".")])
}

fn enter(world: &World, kind: &str) -> Answer {
    let path = if world.free {
        format!("/proc/self/ns/{kind}")
    } else {
        format!("/proc/{}/ns/{kind}", world.number("neighbour")?)
    };
    let path = crate::sys::path(&path)?;
    let open = [int(libc::AT_FDCWD), text(&path), int(libc::O_RDONLY), 0];
    // Where it cannot be opened, another descriptor: only the call counts.
    done(
        libc::SYS_setns,
        &[call(libc::SYS_openat, &open).unwrap_or(2), 0],
    )
}

pub(crate) const ATTEMPTS: &[Attempt] = attempts! { Nothing:
    "space.unshare-user" => |_| unshare(libc::CLONE_NEWUSER);
    "space.unshare-net" => |_| unshare(libc::CLONE_NEWNET);
    "space.unshare-mount" => |_| unshare(libc::CLONE_NEWNS);
    "space.unshare-pid" => |_| unshare(libc::CLONE_NEWPID);
    "space.unshare-ipc" => |_| unshare(libc::CLONE_NEWIPC);
    "space.unshare-uts" => |_| unshare(libc::CLONE_NEWUTS);
    "space.unshare-cgroup" => |_| unshare(libc::CLONE_NEWCGROUP);
    "space.unshare-time" => |_| unshare(CLONE_NEWTIME);
    "space.unshare-all" => |_| unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET);
    "space.unshare-files" => |_| unshare(libc::CLONE_FILES);
    "space.clone-user" => |_| child(libc::CLONE_NEWUSER);
    "space.clone-net" => |_| child(libc::CLONE_NEWNET);
    "space.clone-mount" => |_| child(libc::CLONE_NEWNS);
    "space.clone-pid" => |_| child(libc::CLONE_NEWPID);
    "space.clone-ipc" => |_| child(libc::CLONE_NEWIPC);
    "space.clone-uts" => |_| child(libc::CLONE_NEWUTS);
    "space.clone-cgroup" => |_| child(libc::CLONE_NEWCGROUP);
    "space.clone3-user" => |_| {
        let arguments = [int(libc::CLONE_NEWUSER) as u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
        match call(libc::SYS_clone3, &[at(&arguments), size_of_val(&arguments)])? {
            0 => done(libc::SYS_exit_group, &[0]),
            pid => {
                crate::sys::collect(pid);
                Ok(())
            }
        }
    };
    "space.setns-net" => |w| enter(w, "net");
    "space.setns-user" => |w| {
        // One's own user namespace cannot be entered again; a child's can.
        if !w.free {
            return enter(w, "user");
        }
        enter(w, "uts")
    };
    "space.setns-pidfd" => |w| {
        let target = if w.free { int(std::process::id()) } else { w.number("neighbour")? };
        let process = if w.free { call(libc::SYS_pidfd_open, &[target, 0])? } else { 2 };
        done(libc::SYS_setns, &[process, int(libc::CLONE_NEWUTS)])
    };
    "space.mount" => mount_tmpfs;
    "space.bind" => |w| bind(w, c"/etc").map(drop);
    "space.remount" => |w| {
        let folder = if w.free { bind(w, c"/etc")? } else { w.path("open-folder")? };
        let flags = usize::try_from(libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | libc::MS_NOSUID
            | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RELATIME).map_err(io::Error::other)?;
        done(libc::SYS_mount, &[0, text(&folder), 0, flags, 0])
    };
    "space.unmount" => |w| {
        if w.free {
            let folder = bind(w, c"/etc")?;
            return done(libc::SYS_umount2, &[text(&folder), int(libc::MNT_DETACH)]);
        }
        // Nothing is mounted there.
        let folder = w.path("open-folder")?;
        reached(call(libc::SYS_umount2, &[text(&folder), int(libc::MNT_DETACH)]), &[libc::EINVAL])
    };
    "space.new-file-system" => |_| fd(libc::SYS_fsopen, &[text(c"tmpfs"), 0]).map(drop);
    "space.configure-file-system" => |w| {
        done(libc::SYS_fsconfig, &[context(w), CONFIGURE_CREATE, 0, 0, 0])
    };
    "space.new-mount" => |w| {
        if w.free {
            return match new_mount(w) {
                raw if raw == int(-1) => Err(io::Error::last_os_error()),
                _ => Ok(()),
            };
        }
        fd(libc::SYS_fsmount, &[context(w), 0, 0]).map(drop)
    };
    "space.pick-file-system" => |w| {
        let folder = if w.free { let at_point = point(w)?; mount_at(&at_point)?; at_point } else { w.path("open-folder")? };
        fd(libc::SYS_fspick, &[int(libc::AT_FDCWD), text(&folder), 0]).map(drop)
    };
    "space.copy-tree" => |w| tree(&w.path("open-folder")?).map(drop);
    "space.move-mount" => |w| {
        let (made, to) = (new_mount(w), point(w)?);
        done(libc::SYS_move_mount, &[made, text(c""), int(libc::AT_FDCWD), text(&to), FROM_EMPTY])
    };
    "space.mount-attributes" => |w| {
        let attributes = [1_u64, 0, 0, 0];
        let folder = if w.free { let at_point = point(w)?; mount_at(&at_point)?; at_point } else { w.path("open-folder")? };
        done(libc::SYS_mount_setattr, &[int(libc::AT_FDCWD), text(&folder), 0, at(&attributes), 32])
    };
    "space.list-mounts" => |_| {
        // `struct mnt_id_req` for the root mount.
        let request = [24_u64, u64::MAX, 0];
        let mut found = [0_u64; 8];
        done(458, &[at(&request), crate::sys::at_mut(&mut found), found.len(), 0])
    };
    "space.chroot" => |w| done(libc::SYS_chroot, &[text(&w.path("open-folder")?)]);
    "space.pivot-root" => change_root;
    "space.enter-by-descriptor" => |w| {
        let path = w.path("open-folder")?;
        let open = [int(libc::AT_FDCWD), text(&path), int(libc::O_PATH), 0];
        let folder = fd(libc::SYS_openat, &open)?;
        done(libc::SYS_fchdir, &[int(folder.as_raw_fd())])
    };
    "space.climb-from-root" => |_| {
        let root = fd(libc::SYS_openat, &[int(libc::AT_FDCWD), text(c"/"), int(libc::O_PATH), 0])?;
        // Beneath the root nothing is outside; through its parent neither.
        let up = [int(root.into_raw_fd()), text(c"../../etc/passwd"), int(libc::O_RDONLY), 0];
        fd(libc::SYS_openat, &up).map(drop)
    };
};

fn mount_at(folder: &std::ffi::CStr) -> Answer {
    done(
        libc::SYS_mount,
        &[text(c"x"), text(folder), text(c"tmpfs"), 0, 0],
    )
}
