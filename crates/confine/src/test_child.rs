//! Runs a closure in a forked child, because confinement cannot be taken back: the test process
//! stays free and sees how the child ended.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By its own exit status.
    Exit(i32),
    /// By a signal.
    Signal(i32),
}

impl Ended {
    /// The exit status; a child that a signal ended fails the test.
    #[track_caller]
    pub(crate) fn exit(self) -> i32 {
        match self {
            Ended::Exit(status) => status,
            Ended::Signal(signal) => panic!("the child was ended by signal {signal}"),
        }
    }
}

/// Makes calls answer an error, as a kernel or container without the feature does, for this child. A
/// list of a call's number and its error; the last rows may be about the calls that filter.
#[cfg(target_os = "linux")]
pub(crate) fn without(calls: &[(i64, i32)]) {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    for (number, errno) in calls {
        let filter = SeccompFilter::new(
            std::collections::BTreeMap::from([(*number, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(errno.unsigned_abs()),
            std::env::consts::ARCH.try_into().unwrap(),
        );
        seccompiler::apply_filter(&BpfProgram::try_from(filter.unwrap()).unwrap()).unwrap();
    }
}

/// Makes the child what a started process is: an ordinary user (the tests' own if that is one), as
/// dumpable as after an exec, without a variable, and without anything inherited that would survive an
/// exec (cargo passes its job server on).
#[cfg(target_os = "linux")]
pub(crate) fn as_started() {
    use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};
    if geteuid().is_root() {
        crate::process::drop_to(61_234, 61_235).unwrap();
    }
    set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    crate::process::env_wipe();
    for raw in crate::fd::open_numbers().unwrap() {
        // SAFETY: the borrow ends with this call; a number that is closed by now answers EBADF.
        let _closed = crate::fd::set_cloexec(unsafe { std::os::fd::BorrowedFd::borrow_raw(raw) });
    }
}

/// The status of a child whose closure panicked.
pub(crate) const PANICKED: i32 = 101;

/// Forks, runs `body` in the child and returns how it ended.
pub(crate) fn in_child(body: impl FnOnce() -> i32) -> Ended {
    // SAFETY: the child runs only `body` on this thread and leaves by `_exit`; glibc makes its
    // allocator usable in a child forked from a process with threads.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let status = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|cause| {
            // The harness's capture dies with the child: say it on the real standard error.
            let text = cause.downcast_ref::<String>().map(String::as_str);
            let text = text
                .or(cause.downcast_ref::<&str>().copied())
                .unwrap_or("no text");
            let line = format!("child panicked: {text}\n");
            let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
            PANICKED
        });
        // SAFETY: ends the child without running the parent's destructors.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call; `pid` is our child and not yet reaped.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            break;
        }
    }
    if libc::WIFSIGNALED(status) {
        Ended::Signal(libc::WTERMSIG(status))
    } else {
        Ended::Exit(libc::WEXITSTATUS(status))
    }
}
