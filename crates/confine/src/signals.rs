//! A service manager's wish that the process should end, as something to be read: the filter of a confined process has no
//! call for signals of its own, and needs none when the descriptor is open before it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

/// Blocks SIGTERM in this thread and in those that it starts, and returns a descriptor that becomes readable when one has
/// come. To be called while there is one thread.
///
/// # Errors
/// The kernel's answer.
#[cfg(target_os = "linux")]
pub fn termination() -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: a zeroed set is only written to, by sigemptyset, before it is read; all pointers are to it and outlive the
    // calls; the descriptor that comes back is new and nobody else's.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        let blocked = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Not there outside Linux.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn termination() -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;
    use crate::test_child::{Ended, in_child};

    #[test]
    fn the_wish_to_end_is_read_and_other_signals_still_kill() {
        let waits = || {
            let fd = termination().unwrap();
            let readable = || {
                let mut fds = [PollFd::new(&fd, PollFlags::IN)];
                let wait = Duration::ZERO.try_into().unwrap();
                poll(&mut fds, Some(&wait)).unwrap() == 1
            };
            assert!(!readable());
            // To the process, as a manager sends it; threads that are started later do not take it either.
            let thread = std::thread::spawn(|| kill_process(getpid(), Signal::TERM).unwrap());
            thread.join().unwrap();
            assert!(readable());
            let mut told = [0; 128];
            assert_eq!(rustix::io::read(&fd, &mut told).unwrap(), 128);
            assert!(!readable());
            kill_process(getpid(), Signal::USR1).unwrap();
            0
        };
        assert_eq!(in_child(waits), Ended::Signal(libc::SIGUSR1));
        let unprepared = || {
            kill_process(getpid(), Signal::TERM).unwrap();
            0
        };
        assert_eq!(in_child(unprepared), Ended::Signal(libc::SIGTERM));
    }
}
