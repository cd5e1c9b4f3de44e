//! A process of its own for what may end it: it begins as a copy of this one, before the confinement, and its end
//! is seen.
#![allow(unsafe_code)]

use std::io;

/// Longest life of such a process, seconds.
const LIFE: u32 = 20;

/// Which of the two processes goes on here.
#[derive(Debug, PartialEq, Eq)]
pub enum Side {
    /// The new one.
    New,
    /// The one that made it, when the new one has ended.
    Old(Ended),
}

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, and well.
    Well,
    /// Otherwise: the word in the table.
    Word(String),
}

/// Makes the new process and waits for its end. Like one that the supervisor starts it leads a session of its own and
/// dies with who made it. Only for a process that has a single thread: no other would be copied.
///
/// # Errors
/// The kernel's answer.
pub fn apart() -> io::Result<Side> {
    // SAFETY: takes no pointer; there is no other thread that could hold a lock in the copy.
    let made = unsafe { libc::fork() };
    match made {
        0 => begin().map(|()| Side::New),
        made if made > 0 => end_of(made).map(Side::Old),
        _ => Err(io::Error::last_os_error()),
    }
}

fn begin() -> io::Result<()> {
    let done = |answer: libc::c_int| match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    };
    // SAFETY: none of these calls takes a pointer.
    unsafe {
        done(libc::setsid())?;
        let kill = libc::SIGKILL as libc::c_ulong;
        done(libc::prctl(libc::PR_SET_PDEATHSIG, kill))?;
        libc::alarm(LIFE);
    }
    Ok(())
}

fn end_of(process: libc::pid_t) -> io::Result<Ended> {
    let mut status = 0;
    // SAFETY: `status` lives until the call returns.
    while unsafe { libc::waitpid(process, &raw mut status, 0) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(match status {
        _ if libc::WIFEXITED(status) => match libc::WEXITSTATUS(status) {
            0 => Ended::Well,
            code => Ended::Word(format!("exit-{code}")),
        },
        _ => Ended::Word(match libc::WTERMSIG(status) {
            libc::SIGSYS => "killed".to_owned(),
            libc::SIGALRM => "hung".to_owned(),
            signal => format!("signal-{signal}"),
        }),
    })
}
