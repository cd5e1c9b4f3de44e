//! Answers what a filter alone cannot: landlock's version, and whether a write is to the table of ids of
//! a user namespace. It lives in a process of its own, beside the command and not its parent, and ends
//! with the last process that could ask.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use libc::{seccomp_notif, seccomp_notif_resp};
use rustix::event::{PollFd, PollFlags, poll};

/// Answers until nobody is left; `landlock` is the version that is claimed.
///
/// # Errors
/// The kernel's answer; whoever asks gets ENOSYS from then on.
pub(crate) fn answer(questions: &OwnedFd, landlock: Option<i64>) -> io::Result<()> {
    loop {
        let mut waiting = [PollFd::new(questions, PollFlags::IN)];
        poll(&mut waiting, None)?;
        let events = waiting.map(|one| one.revents());
        if !events.iter().any(|events| events.contains(PollFlags::IN)) {
            return Ok(());
        }
        // SAFETY: zero is a value for every member, and the kernel wants them zeroed.
        let mut question: seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel fills in a structure of the size that the request's number carries.
        if unsafe {
            libc::ioctl(
                questions.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut question,
            )
        } != 0
        {
            // Whoever asked is gone.
            continue;
        }
        let mut reply = decide(&question, landlock);
        // SAFETY: the kernel reads a structure of the size that the request's number carries. A failure
        // means that nobody waits for the answer any more.
        unsafe {
            libc::ioctl(
                questions.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw mut reply,
            )
        };
    }
}

fn decide(question: &seccomp_notif, landlock: Option<i64>) -> seccomp_notif_resp {
    let mut reply = seccomp_notif_resp {
        id: question.id,
        val: 0,
        error: 0,
        flags: 0,
    };
    let call = libc::c_long::from(question.data.nr);
    match landlock {
        Some(version) if call == libc::SYS_landlock_create_ruleset => reply.val = version,
        _ if call == libc::SYS_write && is_id_map(question.pid, question.data.args[0]) => {
            reply.error = -libc::EPERM;
        }
        _ => reply.flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1),
    }
    reply
}

/// False also for a process that hides its descriptors; it has set its ids before.
fn is_id_map(pid: u32, fd: u64) -> bool {
    let target = fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
    ["uid_map", "gid_map"]
        .iter()
        .any(|name| target.ends_with(name))
}
