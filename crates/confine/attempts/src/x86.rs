//! Calls of the other ways into an x86 kernel: 32-bit, x32, ports, segments. A filter that looks at the
//! number alone would take them for other calls.
#![allow(unsafe_code)]

use std::arch::asm;
use std::io;

use crate::answer::Answer;
use crate::listing::{Attempt, attempts};
use crate::sys::{at, at_mut, collect, done, int};

/// The 32-bit way in. Numbers differ: 20 is getpid, and 11 execve, where a 64-bit process has others.
fn by_interrupt(number: i32) -> Answer {
    let mut result = i64::from(number);
    // SAFETY: the call takes no argument and touches no memory; the kernel saves every register but
    // the one that holds the result, and those that it clears are named.
    unsafe {
        asm!(
            "int 0x80",
            inout("rax") result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            options(nostack)
        );
    }
    // The result has 32 bits.
    let result = result as i32;
    if result < 0 {
        Err(io::Error::from_raw_os_error(-result))
    } else {
        Ok(())
    }
}

const X32: libc::c_long = 0x4000_0000;

fn forks(number: libc::c_long) -> Answer {
    let pid = crate::sys::call(number, &[])?;
    if pid == 0 {
        let _never = crate::sys::call(libc::SYS_exit_group, &[0]);
    }
    collect(pid);
    Ok(())
}

pub(crate) const ATTEMPTS: &[Attempt] = attempts! { Nothing:
    "x86.interrupt" => |_| by_interrupt(20);
    // A call that has no number of its own among the 64-bit ones: 200 is getgid here and tkill there.
    "x86.interrupt-other" => |_| by_interrupt(200);
    "x86.x32" => |_| done(X32 | libc::SYS_getpid, &[]);
    "x86.x32-of-its-own" => |_| {
        // 514 is the x32 form of ioctl.
        done(X32 | 514, &[2, int(0x5401), 0])
    };
    "x86.segments" => |_| {
        let mut found = [0_u8; 16];
        done(libc::SYS_modify_ldt, &[0, at_mut(&mut found), 16])
    };
    "x86.ports" => |_| done(libc::SYS_iopl, &[3]);
    "x86.ports-some" => |_| done(libc::SYS_ioperm, &[0x80, 1, 1]);
    "x86.base" => |_| {
        // ARCH_GET_FS: harmless, and of the same call as ARCH_SET_FS.
        let mut base = 0_usize;
        done(libc::SYS_arch_prctl, &[0x1003, at_mut(&mut base)])
    };
    "x86.fork" => |_| forks(libc::SYS_fork);
    "x86.open" => |_| {
        // The older forms of calls that have rules under their newer names.
        crate::sys::fd(libc::SYS_open, &[crate::sys::text(c"/etc/passwd"), 0, 0]).map(drop)
    };
    "x86.link" => |w| {
        let (canary, link) = (w.path("canary")?, w.below("open-folder", &format!("link-{}", std::process::id()))?);
        done(libc::SYS_link, &[crate::sys::text(&canary), crate::sys::text(&link)])
    };
    "x86.symlink" => |w| {
        let link = w.below("open-folder", &format!("soft-{}", std::process::id()))?;
        done(libc::SYS_symlink, &[crate::sys::text(c"/etc/passwd"), crate::sys::text(&link)])
    };
    "x86.mknod" => |w| {
        let pipe = w.below("open-folder", &format!("node-{}", std::process::id()))?;
        done(libc::SYS_mknod, &[crate::sys::text(&pipe), int(libc::S_IFIFO as i32 | 0o600), 0])
    };
    "x86.unlink" => |w| {
        let target = w.below("open-folder", &format!("gone-{}", std::process::id()))?;
        if w.free {
            let make = int(libc::O_WRONLY | libc::O_CREAT);
            crate::sys::fd(libc::SYS_open, &[crate::sys::text(&target), make, 0o600])?;
        }
        let target = if w.free { target } else { w.path("canary")? };
        done(libc::SYS_unlink, &[crate::sys::text(&target)])
    };
    "x86.rename" => |w| {
        let target = w.below("open-folder", &format!("moved-{}", std::process::id()))?;
        if w.free {
            let make = int(libc::O_WRONLY | libc::O_CREAT);
            crate::sys::fd(libc::SYS_open, &[crate::sys::text(&target), make, 0o600])?;
            return done(libc::SYS_rename, &[crate::sys::text(&target), crate::sys::text(&target)]);
        }
        done(libc::SYS_rename, &[crate::sys::text(&w.path("canary")?), crate::sys::text(&target)])
    };
    "x86.mode" => |w| done(libc::SYS_chmod, &[crate::sys::text(&w.path("canary")?), 0o600]);
    "x86.system-information" => |_| {
        // sysfs: the number of file systems.
        done(libc::SYS_sysfs, &[3, 0, 0])
    };
    "x86.time-page" => |_| {
        let mut seconds = 0_i64;
        done(libc::SYS_time, &[at_mut(&mut seconds)]).and_then(|()| done(libc::SYS_getpid, &[at(&seconds)]))
    };
};
