//! Files: what lies outside of the process's own places, by every way that leads to a file.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::answer::Answer;
use crate::listing::{Attempt, attempts};
use crate::sys::{at, at_mut, call, done, fd, int, text};
use crate::world::World;

fn open(path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    let flags = int(flags | libc::O_CLOEXEC);
    fd(
        libc::SYS_openat,
        &[int(libc::AT_FDCWD), text(path), flags, 0o600],
    )
}

fn read(path: &CStr) -> Answer {
    let file = open(path, libc::O_RDONLY)?;
    let mut byte = [0_u8; 1];
    done(
        libc::SYS_read,
        &[int(file.as_raw_fd()), at_mut(&mut byte), 1],
    )
}

fn list(path: &CStr) -> Answer {
    let folder = open(path, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let mut entries = [0_u8; 512];
    done(
        libc::SYS_getdents64,
        &[int(folder.as_raw_fd()), at_mut(&mut entries), entries.len()],
    )
}

/// Opens for writing and changes nothing.
fn write(path: &CStr) -> Answer {
    open(path, libc::O_WRONLY | libc::O_APPEND).map(drop)
}

/// Makes a file, under a name of this process's own.
fn make(world: &World, folder: &str, below: &str) -> Answer {
    let name = format!("{below}/planted-{}", std::process::id());
    let path = world.below(folder, &name)?;
    open(&path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL).map(drop)
}

fn read_state(world: &World, leaf: &str) -> Answer {
    read(&world.below("state", &format!("{leaf}/canary"))?)
}

/// An own file, as a fresh one where there is an own folder: what is moved and linked.
fn own_file(world: &World) -> io::Result<std::ffi::CString> {
    let path = world.below("own", &format!("moved-{}", std::process::id()))?;
    // Where nothing may be made the call itself shows it.
    let _made = open(&path, libc::O_WRONLY | libc::O_CREAT);
    Ok(path)
}

fn rename(from: &CStr, to: &CStr) -> Answer {
    let here = int(libc::AT_FDCWD);
    done(libc::SYS_renameat, &[here, text(from), here, text(to)])
}

/// A name in the open folder that nobody else takes.
fn outside(world: &World, name: &str) -> io::Result<std::ffi::CString> {
    world.below("open-folder", &format!("{name}-{}", std::process::id()))
}

/// A file of this process's own in the open folder, where it can make one.
fn spare(world: &World, name: &str) -> io::Result<std::ffi::CString> {
    let path = outside(world, name)?;
    if world.free {
        open(&path, libc::O_WRONLY | libc::O_CREAT)?;
    }
    Ok(path)
}

/// Opens without reading, then reads through the list of own descriptors.
fn reopen(path: &CStr, flags: i32) -> Answer {
    let handle = open(path, libc::O_PATH)?;
    let link = crate::sys::path(&format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
    open(&link, flags).map(drop)
}

fn neighbour_memory(world: &World) -> Answer {
    let file = open(&world.proc("neighbour", "mem")?, libc::O_RDWR)?;
    let mut byte = [0_u8; 1];
    let place = world.number("neighbour-address")?;
    let count = call(
        libc::SYS_pread64,
        &[int(file.as_raw_fd()), at_mut(&mut byte), 1, place],
    )?;
    if count == 1 {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

pub(crate) const ATTEMPTS: &[Attempt] = attempts! { Nothing:
    "file.shadow" => |_| read(c"/etc/shadow");
    "file.passwd" => |_| read(c"/etc/passwd");
    "file.hosts" => |_| read(c"/etc/hosts");
    "file.program-of-the-system" => |_| read(c"/bin/sh");
    "file.home" => |w| read(&w.path("canary")?);
    "file.home-write" => |w| write(&w.path("canary")?);
    "file.make" => |w| make(w, "open-folder", ".");
    "file.list-root" => |_| list(c"/");
    "file.list-state" => |w| list(&w.path("state")?);
    "file.config" => |w| read(&w.path("config")?);
    "file.config-write" => |w| write(&w.path("config")?);
    "file.config-beside" => |w| make(w, "state", ".");
    "file.config-replace" => |w| {
        let target = if w.free { outside(w, "config")? } else { w.path("config")? };
        rename(&own_file(w)?, &target)
    };
    "file.program-write" => |w| write(&w.path("program")?);
    "file.program-remove" => |w| {
        let target = if w.free { spare(w, "program")? } else { w.path("program")? };
        done(libc::SYS_unlinkat, &[int(libc::AT_FDCWD), text(&target), 0])
    };
    "file.queue" => |w| read_state(w, "queue");
    "file.queue-make" => |w| make(w, "state", "queue");
    "file.pairing" => |w| read_state(w, "pairing");
    "file.pairing-make" => |w| make(w, "state", "pairing");
    "file.audit" => |w| read_state(w, "audit");
    "file.audit-make" => |w| make(w, "state", "audit");
    "file.credentials" => |w| read_state(w, "credentials");
    "file.credentials-make" => |w| make(w, "state", "credentials");
    "file.secrets" => |w| read_state(w, "secrets");
    "file.secrets-make" => |w| make(w, "state", "secrets");
    "file.sessions-main" => |w| read_state(w, "sessions/main");
    "file.sessions-main-make" => |w| make(w, "state", "sessions/main");
    "file.sessions-guest" => |w| read_state(w, "sessions/guest");
    "file.sessions-guest-make" => |w| make(w, "state", "sessions/guest");
    "file.memory-main" => |w| read_state(w, "agents/main");
    "file.memory-guest" => |w| read_state(w, "agents/guest");
    "file.channel" => |w| read_state(w, "channels/telegram");
    "file.channel-make" => |w| make(w, "state", "channels/telegram");
    "file.log" => |w| read(&w.below("state", "gateway.log")?);
    "file.run-make" => |w| make(w, "state", "run");
    "file.workspace-main" => |w| read(&w.below("workspace-main", "canary")?);
    "file.workspace-main-make" => |w| make(w, "workspace-main", ".");
    "file.workspace-guest" => |w| read(&w.below("workspace-guest", "canary")?);
    "file.workspace-guest-make" => |w| make(w, "workspace-guest", ".");
    // By way of a link that lies in the own folder, where there is one.
    "file.follow-link" => |w| read(&w.below("own", "link-to-canary")?);
    "file.climb" => |w| {
        let own = open(&w.path("own")?, libc::O_PATH | libc::O_DIRECTORY)?;
        let up = w.path("canary-from-own")?;
        fd(libc::SYS_openat, &[int(own.as_raw_fd()), text(&up), int(libc::O_RDONLY), 0]).map(drop)
    };
    "file.openat2" => |w| {
        let how = [0_u64; 3];
        let path = w.path("canary")?;
        fd(libc::SYS_openat2, &[int(libc::AT_FDCWD), text(&path), at(&how), 24]).map(drop)
    };
    "file.opath-reopen" => |w| reopen(&w.path("canary")?, libc::O_RDONLY);
    "file.opath-reopen-write" => |w| reopen(&w.path("canary")?, libc::O_WRONLY);
    "file.symlink" => |w| {
        let (canary, link) = (w.path("canary")?, outside(w, "symlink")?);
        done(libc::SYS_symlinkat, &[text(&canary), int(libc::AT_FDCWD), text(&link)])
    };
    "file.hardlink" => |w| {
        let here = int(libc::AT_FDCWD);
        let (canary, link) = (w.path("canary")?, w.below("own", &format!("hard-{}", std::process::id()))?);
        done(libc::SYS_linkat, &[here, text(&canary), here, text(&link), 0])
    };
    "file.rename-out" => |w| rename(&own_file(w)?, &outside(w, "out")?);
    "file.rename-in" => |w| {
        let from = if w.free { spare(w, "in")? } else { w.path("canary")? };
        rename(&from, &w.below("own", &format!("in-{}", std::process::id()))?)
    };
    "file.remove" => |w| {
        let target = if w.free { spare(w, "remove")? } else { w.path("canary")? };
        done(libc::SYS_unlinkat, &[int(libc::AT_FDCWD), text(&target), 0])
    };
    "file.make-folder" => |w| {
        done(libc::SYS_mkdirat, &[int(libc::AT_FDCWD), text(&outside(w, "folder")?), 0o700])
    };
    "file.make-pipe" => |w| {
        let mode = int(libc::S_IFIFO as i32 | 0o600);
        done(libc::SYS_mknodat, &[int(libc::AT_FDCWD), text(&outside(w, "pipe")?), mode, 0])
    };
    "file.make-device" => |w| {
        let mode = int(libc::S_IFCHR as i32 | 0o600);
        let null = usize::try_from(libc::makedev(1, 3)).map_err(io::Error::other)?;
        done(libc::SYS_mknodat, &[int(libc::AT_FDCWD), text(&outside(w, "device")?), mode, null])
    };
    "file.truncate" => |w| {
        let target = if w.free { spare(w, "truncate")? } else { w.path("canary")? };
        done(libc::SYS_truncate, &[text(&target), 0])
    };
    "file.open-truncate" => |w| {
        let target = if w.free { spare(w, "truncate")? } else { w.path("canary")? };
        open(&target, libc::O_WRONLY | libc::O_TRUNC).map(drop)
    };
    "file.mode" => |w| {
        done(libc::SYS_fchmodat, &[int(libc::AT_FDCWD), text(&w.path("canary")?), 0o600])
    };
    "file.owner" => |w| {
        let same = usize::MAX;
        done(libc::SYS_fchownat, &[int(libc::AT_FDCWD), text(&w.path("canary")?), same, same, 0])
    };
    "file.times" => |w| {
        done(libc::SYS_utimensat, &[int(libc::AT_FDCWD), text(&w.path("canary")?), 0, 0])
    };
    "file.attribute" => |w| {
        let target = w.path("canary")?;
        done(libc::SYS_setxattr, &[text(&target), text(c"user.clawdbot"), at(b"x"), 1, 0])
    };
    "file.look-at" => |w| {
        let mut stat = [0_u64; 32];
        done(libc::SYS_newfstatat, &[int(libc::AT_FDCWD), text(&w.path("canary")?), at_mut(&mut stat), 0])
    };
    "file.enter" => |w| done(libc::SYS_chdir, &[text(&w.path("open-folder")?)]);
    "file.watch" => |w| {
        let watch = fd(libc::SYS_inotify_init1, &[int(libc::IN_CLOEXEC)])?;
        let mask = usize::try_from(libc::IN_ALL_EVENTS).map_err(io::Error::other)?;
        done(libc::SYS_inotify_add_watch, &[int(watch.as_raw_fd()), text(&w.path("open-folder")?), mask])
    };
    "file.watch-all" => |w| {
        // FAN_REPORT_FID, FAN_MODIFY on one file: what an ordinary user may.
        let group = fd(libc::SYS_fanotify_init, &[0x200, 0])?;
        let path = w.path("canary")?;
        done(libc::SYS_fanotify_mark, &[int(group.as_raw_fd()), 1, 2, int(libc::AT_FDCWD), text(&path)])
    };
    "file.handle" => |w| handle(w).map(drop);
    // By its number on the file system, past every path.
    "file.open-by-handle" => |w| {
        let (mut made, path) = (Handle::new(), w.path("open-folder")?);
        if w.free {
            made = handle(w)?;
        }
        let root = open(&path, libc::O_RDONLY | libc::O_DIRECTORY);
        let root = root.map_or(0, std::os::fd::IntoRawFd::into_raw_fd);
        fd(libc::SYS_open_by_handle_at, &[int(root), at(&made), int(libc::O_RDONLY)]).map(drop)
    };
    "file.send" => |w| {
        let from = open(&w.path("canary")?, libc::O_RDONLY);
        let source = from.as_ref().map_or(0, std::os::fd::AsRawFd::as_raw_fd);
        // Tried in any case, and then the opening counts.
        done(libc::SYS_sendfile, &[2, int(source), 0, 0]).and_then(|()| from.map(drop))
    };
    "file.init-environment" => |_| read(c"/proc/1/environ");
    "file.neighbour-environment" => |w| read(&w.proc("neighbour", "environ")?);
    "file.neighbour-memory" => |w| neighbour_memory(w);
    "file.neighbour-root" => |w| list(&w.proc("neighbour", "root")?);
    "file.neighbour-descriptor" => |w| {
        read(&w.proc("neighbour", &format!("fd/{}", w.number("neighbour-fd")?))?)
    };
    "file.sibling-environment" => |w| read(&w.proc("sibling", "environ")?);
    "file.sibling-memory" => |w| open(&w.proc("sibling", "mem")?, libc::O_RDWR).map(drop);
    "file.sibling-command" => |w| read(&w.proc("sibling", "cmdline")?);
    "file.processes" => |_| list(c"/proc");
    // Writing to the own program in memory, past its protection.
    "file.own-memory" => |_| open(c"/proc/self/mem", libc::O_RDWR).map(drop);
    "file.own-program" => |_| read(c"/proc/self/exe");
    "file.kernel-setting" => |_| write(c"/proc/sys/kernel/core_pattern");
    "file.kernel-log" => |_| open(c"/dev/kmsg", libc::O_RDONLY | libc::O_NONBLOCK).map(drop);
    "file.kernel-caches" => |_| write(c"/proc/sys/vm/drop_caches");
    "file.system" => |_| list(c"/sys/kernel");
    "file.terminal" => |_| open(c"/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY).map(drop);
    "file.shared-memory" => |_| {
        let name = crate::sys::path(&format!("/dev/shm/clawdbot-{}", std::process::id()))?;
        open(&name, libc::O_RDWR | libc::O_CREAT)?;
        done(libc::SYS_unlinkat, &[int(libc::AT_FDCWD), text(&name), 0])
    };
};

pub(crate) const BY_DESCRIPTOR: &[Attempt] = attempts! { File:
    "file.descriptor-reopen" => |w| {
        open(&crate::sys::path(&format!("/proc/self/fd/{}", w.fd()?))?, libc::O_WRONLY).map(drop)
    };
    "file.descriptor-mode" => |w| done(libc::SYS_fchmod, &[w.fd()?, 0o600]);
    "file.descriptor-flags" => |w| {
        done(libc::SYS_fcntl, &[w.fd()?, int(libc::F_SETOWN), int(std::process::id())])
    };
};

/// `struct file_handle` with room for what file systems need.
#[repr(C)]
pub(crate) struct Handle {
    bytes: u32,
    kind: i32,
    place: [u8; 128],
}

impl Handle {
    fn new() -> Self {
        Self {
            bytes: 128,
            kind: 0,
            place: [0; 128],
        }
    }
}

fn handle(world: &World) -> io::Result<Handle> {
    let (mut made, mut mount) = (Handle::new(), 0_i32);
    let path = world.path("canary")?;
    let here = int(libc::AT_FDCWD);
    done(
        libc::SYS_name_to_handle_at,
        &[here, text(&path), at_mut(&mut made), at_mut(&mut mount), 0],
    )?;
    Ok(made)
}
