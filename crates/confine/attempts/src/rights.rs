//! The process's own rights and protections: more of the former, fewer of the latter.

use crate::answer::Answer;
use crate::listing::{Attempt, attempts};
use crate::sys::{at, done, int};
use crate::world::World;

fn prctl(option: i32, value: usize, further: usize) -> Answer {
    done(libc::SYS_prctl, &[int(option), value, further, 0, 0])
}

/// Version 3 of the capability calls, for this process.
const HEADER: [u32; 2] = [0x2008_0522, 0];
const SYS_ADMIN: u32 = 1 << 21;
/// Not in libc.
const SET_SYSCALL_USER_DISPATCH: i32 = 59;

fn all_ids(number: libc::c_long) -> Answer {
    done(number, &[0, 0, 0])
}

fn add_filter(world: &World, by_prctl: bool) -> Answer {
    if world.free {
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
    }
    // BPF_RET: SECCOMP_RET_ALLOW.
    let permit: [u64; 1] = [0x7fff_0000_0000_0006];
    let program = [1_usize, at(&permit)];
    match by_prctl {
        true => prctl(libc::PR_SET_SECCOMP, 2, at(&program)),
        false => done(
            libc::SYS_seccomp,
            &[int(libc::SECCOMP_SET_MODE_FILTER), 0, at(&program)],
        ),
    }
}

pub(crate) const ATTEMPTS: &[Attempt] = attempts! { Nothing:
    "rights.user" => |_| done(libc::SYS_setuid, &[0]);
    "rights.group" => |_| done(libc::SYS_setgid, &[0]);
    "rights.users" => |_| all_ids(libc::SYS_setresuid);
    "rights.groups-all" => |_| all_ids(libc::SYS_setresgid);
    "rights.users-two" => |_| all_ids(libc::SYS_setreuid);
    "rights.groups" => |_| done(libc::SYS_setgroups, &[0, 0]);
    "rights.capabilities" => |_| {
        let sets = [SYS_ADMIN, SYS_ADMIN, 0, 0, 0, 0];
        done(libc::SYS_capset, &[at(&HEADER), at(&sets)])
    };
    "rights.capabilities-none" => |_| {
        done(libc::SYS_capset, &[at(&HEADER), at(&[0_u32; 6])])
    };
    "rights.capabilities-keep" => |_| prctl(libc::PR_SET_KEEPCAPS, 1, 0);
    "rights.capabilities-ambient" => |w| {
        if w.free {
            let sets = [SYS_ADMIN, SYS_ADMIN, SYS_ADMIN, 0, 0, 0];
            done(libc::SYS_capset, &[at(&HEADER), at(&sets)])?;
        }
        prctl(libc::PR_CAP_AMBIENT, int(libc::PR_CAP_AMBIENT_RAISE), 21)
    };
    "rights.capabilities-bounding" => |_| prctl(libc::PR_CAPBSET_DROP, 0, 0);
    "rights.secure-bits" => |_| prctl(libc::PR_SET_SECUREBITS, 0, 0);
    "rights.dumpable" => |_| prctl(libc::PR_SET_DUMPABLE, 1, 0);
    "rights.tracer" => |w| prctl(libc::PR_SET_PTRACER, w.number("neighbour")?, 0);
    "rights.off-the-leash" => |_| prctl(libc::PR_SET_PDEATHSIG, 0, 0);
    "rights.subreaper" => |_| prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0);
    "rights.add-filter" => |w| add_filter(w, false);
    "rights.add-filter-old-call" => |w| add_filter(w, true);
    "rights.strict-mode" => |w| {
        if w.free {
            // It would end this process with the next call: the question whether it exists must do.
            return done(libc::SYS_seccomp, &[2, 0, at(&0x7fff_0000_u32)]);
        }
        prctl(libc::PR_SET_SECCOMP, 1, 0)
    };
    "rights.dispatch-calls" => |_| prctl(SET_SYSCALL_USER_DISPATCH, 0, 0);
    "rights.memory-map" => |_| {
        // PR_SET_MM, PR_SET_MM_MAP_SIZE: how large the answer is.
        let mut size = 0_u32;
        prctl(libc::PR_SET_MM, int(libc::PR_SET_MM_MAP_SIZE), crate::sys::at_mut(&mut size))
    };
    "rights.name-memory" => |_| done(libc::SYS_prctl, &[int(libc::PR_SET_VMA), 0, 0, 0, 0]).or_else(|error| {
        match error.raw_os_error() {
            Some(libc::EINVAL | libc::EBADF) => Ok(()),
            _ => Err(error),
        }
    });
    "rights.thread-name" => |_| prctl(libc::PR_SET_NAME, crate::sys::text(c"probe"), 0);
    "rights.file-rules" => |_| {
        let handled = [1_u64];
        crate::sys::fd(libc::SYS_landlock_create_ruleset, &[at(&handled), 8, 0]).map(drop)
    };
    "rights.mask" => |_| done(libc::SYS_umask, &[0]);
};
