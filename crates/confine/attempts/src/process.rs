//! Other processes of the same user: their memory, their descriptors, their signals; and new ones.

use std::io;
use std::os::fd::OwnedFd;

use crate::answer::Answer;
use crate::listing::{Attempt, attempts};
use crate::sys::{at, at_mut, call, child, collect, done, fd, int, text};
use crate::world::World;

fn pid(world: &World) -> io::Result<usize> {
    world.number("neighbour")
}

fn pidfd(world: &World) -> io::Result<OwnedFd> {
    fd(libc::SYS_pidfd_open, &[pid(world)?, 0])
}

/// The neighbour by descriptor where one can be had; else a descriptor that is none, since only the next
/// call is asked about.
fn pidfd_or_none(world: &World) -> usize {
    let may = world.free || world.facts.contains_key("pidfd");
    match may.then(|| pidfd(world)) {
        Some(Ok(opened)) => int(std::os::fd::IntoRawFd::into_raw_fd(opened)),
        _ => int(-1),
    }
}

/// Takes hold of the neighbour, and lets it go.
fn trace(world: &World, request: u32) -> Answer {
    let pid = pid(world)?;
    done(libc::SYS_ptrace, &[int(request), pid, 0, 0])?;
    if request == libc::PTRACE_ATTACH {
        collect(pid);
    } else {
        let _stopped = call(libc::SYS_ptrace, &[int(libc::PTRACE_INTERRUPT), pid, 0, 0]);
        collect(pid);
    }
    let _gone = call(libc::SYS_ptrace, &[int(libc::PTRACE_DETACH), pid, 0, 0]);
    done(libc::SYS_kill, &[pid, int(libc::SIGCONT)])
}

fn memory(world: &World, number: libc::c_long) -> Answer {
    let mut byte = [b'c'];
    let ours = [at_mut(&mut byte), 1];
    let theirs = [world.number("neighbour-address")?, 1];
    done(number, &[pid(world)?, at(&ours), 1, at(&theirs), 1, 0])
}

/// Becomes a shell that says so; the process is gone then.
fn shell(name: &str) -> Answer {
    let script = crate::sys::path(&format!("echo 'got {name} worked' >&2"))?;
    let arguments = [text(c"sh"), text(c"-c"), text(&script), 0];
    done(
        libc::SYS_execve,
        &[text(c"/bin/sh"), at(&arguments), at(&[0_usize])],
    )
}

fn from_memory() -> Answer {
    let script = b"#!/bin/sh\necho 'got process.exec-memory worked' >&2\n";
    // Without a memory file the exec itself is still tried, of the standard input.
    let made = call(libc::SYS_memfd_create, &[text(c"x"), 0])?;
    done(libc::SYS_write, &[made, at(script), script.len()])?;
    let arguments = [text(c"x"), 0];
    let flags = int(libc::AT_EMPTY_PATH);
    done(
        libc::SYS_execveat,
        &[made, text(c""), at(&arguments), at(&[0_usize]), flags],
    )
}

fn by_descriptor() -> Answer {
    let open = [int(libc::AT_FDCWD), text(c"/bin/sh"), int(libc::O_PATH), 0];
    let program = call(libc::SYS_openat, &open)?;
    let arguments = [
        text(c"sh"),
        text(c"-c"),
        text(c"echo 'got process.exec-descriptor worked' >&2"),
        0,
    ];
    let flags = int(libc::AT_EMPTY_PATH);
    done(
        libc::SYS_execveat,
        &[program, text(c""), at(&arguments), at(&[0_usize]), flags],
    )
}

/// A signal that does nothing to who gets it.
const HARMLESS: i32 = libc::SIGCONT;

fn signal_information() -> [i32; 32] {
    let mut information = [0; 32];
    // si_signo and si_code: SI_QUEUE.
    information[0] = HARMLESS;
    information[2] = -1;
    information
}

fn limit(new: [u64; 2], resource: libc::__rlimit_resource_t, process: usize) -> Answer {
    done(libc::SYS_prlimit64, &[process, int(resource), at(&new), 0])
}

/// A call in a child: who leads a group or a session already cannot begin another.
fn in_child(number: libc::c_long) -> Answer {
    let child = call(libc::SYS_clone, &[int(libc::SIGCHLD)])?;
    if child == 0 {
        let begun = call(number, &[0, 0]);
        let _never = call(libc::SYS_exit_group, &[usize::from(begun.is_err())]);
    }
    let mut status = 0_i32;
    done(libc::SYS_wait4, &[child, at_mut(&mut status), 0, 0])?;
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::other("refused in a child"))
    }
}

/// `struct clone_args` with the flags and the signal.
fn clone3(flags: i32) -> Answer {
    let arguments = [
        int(flags) as u64,
        0,
        0,
        0,
        libc::SIGCHLD as u64,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    let pid = call(libc::SYS_clone3, &[at(&arguments), size_of_val(&arguments)])?;
    if pid == 0 {
        let _never = call(libc::SYS_exit_group, &[0]);
    }
    collect(pid);
    Ok(())
}

pub(crate) const ATTEMPTS: &[Attempt] = attempts! { Nothing:
    "process.ptrace" => |w| trace(w, libc::PTRACE_ATTACH);
    "process.ptrace-seize" => |w| trace(w, libc::PTRACE_SEIZE);
    "process.ptrace-me" => |_| done(libc::SYS_ptrace, &[int(libc::PTRACE_TRACEME), 0, 0, 0]);
    "process.read-memory" => |w| memory(w, libc::SYS_process_vm_readv);
    "process.write-memory" => |w| memory(w, libc::SYS_process_vm_writev);
    "process.read-sibling" => |w| {
        let mut byte = [0_u8];
        let (ours, theirs) = ([at_mut(&mut byte), 1], [w.number("sibling-address")?, 1]);
        done(libc::SYS_process_vm_readv, &[w.number("sibling")?, at(&ours), 1, at(&theirs), 1, 0])
    };
    "process.pidfd" => |w| pidfd(w).map(drop);
    "process.pidfd-take" => |w| {
        fd(libc::SYS_pidfd_getfd, &[pidfd_or_none(w), w.number("neighbour-fd")?, 0]).map(drop)
    };
    "process.pidfd-signal" => |w| {
        done(libc::SYS_pidfd_send_signal, &[pidfd_or_none(w), int(HARMLESS), 0, 0])
    };
    "process.memory-advice" => |w| {
        let range = [w.number("neighbour-address")? & !0xfff, 4096];
        done(libc::SYS_process_madvise, &[pidfd_or_none(w), at(&range), 1, int(libc::MADV_COLD), 0])
    };
    "process.memory-release" => |w| {
        // It does not die: that it may not be released is the answer to who may ask.
        crate::answer::reached(call(libc::SYS_process_mrelease, &[pidfd_or_none(w), 0]), &[libc::EINVAL])
    };
    "process.compare" => |w| {
        done(libc::SYS_kcmp, &[pid(w)?, int(std::process::id()), 1, 0, 0])
    };
    "process.robust-list" => |w| {
        let mut found = [0_usize; 2];
        done(libc::SYS_get_robust_list, &[pid(w)?, at_mut(&mut found[0]), at(&found[1])])
    };
    "process.move-pages" => |w| {
        let (page, mut status) = ([w.number("neighbour-address")? & !0xfff], [0_i32]);
        done(libc::SYS_move_pages, &[pid(w)?, 1, at(&page), 0, at_mut(&mut status), 0])
    };
    "process.kill" => |w| done(libc::SYS_kill, &[pid(w)?, int(HARMLESS)]);
    "process.kill-sibling" => |w| done(libc::SYS_kill, &[w.number("sibling")?, int(HARMLESS)]);
    "process.kill-parent" => |w| done(libc::SYS_kill, &[w.number("parent")?, int(HARMLESS)]);
    // Everybody that the user may signal.
    "process.kill-all" => |_| done(libc::SYS_kill, &[int(-1), 0]);
    "process.kill-thread" => |w| done(libc::SYS_tgkill, &[pid(w)?, pid(w)?, int(HARMLESS)]);
    "process.kill-task" => |w| done(libc::SYS_tkill, &[pid(w)?, int(HARMLESS)]);
    "process.queue-signal" => |w| {
        done(libc::SYS_rt_sigqueueinfo, &[pid(w)?, int(HARMLESS), at(&signal_information())])
    };
    "process.queue-signal-thread" => |w| {
        let information = signal_information();
        done(libc::SYS_rt_tgsigqueueinfo, &[pid(w)?, pid(w)?, int(HARMLESS), at(&information)])
    };
    // A signal by way of a descriptor's owner.
    "process.signal-by-owner" => |w| {
        let pair = [int(2), int(libc::F_SETOWN), pid(w)?];
        done(libc::SYS_fcntl, &pair)
    };
    "process.limits-of-other" => |w| limit([1024, 1024], libc::RLIMIT_NICE, pid(w)?)
        .or_else(|_| {
            let mut found = [0_u64; 2];
            done(libc::SYS_prlimit64, &[pid(w)?, int(libc::RLIMIT_NOFILE), 0, at_mut(&mut found)])?;
            limit(found, libc::RLIMIT_NOFILE, pid(w)?)
        });
    // The lowest one, which is permitted whatever this process began with.
    "process.priority" => |w| {
        done(libc::SYS_setpriority, &[int(libc::PRIO_PROCESS), pid(w)?, 19])
    };
    "process.affinity" => |w| {
        let every = [u64::MAX; 16];
        done(libc::SYS_sched_setaffinity, &[pid(w)?, size_of_val(&every), at(&every)])
    };
    "process.scheduler" => |w| {
        done(libc::SYS_sched_setscheduler, &[pid(w)?, int(libc::SCHED_OTHER), at(&0_i32)])
    };
    "process.io-priority" => |w| done(libc::SYS_ioprio_set, &[1, pid(w)?, 2 << 13]);
    "process.group" => |w| match w.free {
        true => in_child(libc::SYS_setpgid),
        false => done(libc::SYS_setpgid, &[pid(w)?, 0]),
    };
    "process.session" => |w| match w.free {
        true => in_child(libc::SYS_setsid),
        false => done(libc::SYS_setsid, &[]),
    };
    "process.fork" => |_| child(0);
    "process.fork-unwatched" => |_| child(libc::CLONE_PARENT);
    "process.clone3" => |_| clone3(0);
    "process.exec-shell" => |_| shell("process.exec-shell");
    "process.exec-descriptor" => |_| by_descriptor();
    "process.exec-memory" => |_| from_memory();
    "process.exec-own-file" => |w| {
        let program = w.path("script")?;
        done(libc::SYS_execve, &[text(&program), at(&[text(&program), 0]), at(&[0_usize])])
    };
    "process.limits" => |_| {
        let mut found = [0_u64; 2];
        done(libc::SYS_prlimit64, &[0, int(libc::RLIMIT_NOFILE), 0, at_mut(&mut found)])?;
        limit(found, libc::RLIMIT_NOFILE, 0)
    };
    "process.limits-raise" => |_| {
        let mut found = [0_u64; 2];
        done(libc::SYS_prlimit64, &[0, int(libc::RLIMIT_NOFILE), 0, at_mut(&mut found)])?;
        limit([found[0], found[1] + 1], libc::RLIMIT_NOFILE, 0)
    };
    "process.core-dumps" => |_| limit([1 << 20, 1 << 20], libc::RLIMIT_CORE, 0);
    "process.limits-old-call" => |_| {
        done(libc::SYS_setrlimit, &[int(libc::RLIMIT_CORE), at(&[0_u64; 2])])
    };
};
