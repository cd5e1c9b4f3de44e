//! The box for a program that is not ours: what a tool call may do to this machine. Files: the
//! system's programs, and one workspace. Calls: all but a list of those that reach sockets, other
//! processes, namespaces or the kernel's insides. Nothing runs in half a box.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod files;

use std::ffi::CString;
use std::io;

#[cfg(target_os = "linux")]
use crate::confine::network;
#[cfg(target_os = "linux")]
use std::os::fd::BorrowedFd;

/// What a program may use up. Each counts for every process of its own, but `processes`, which the
/// kernel counts for the box where it has a user namespace of its own, else for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolLimits {
    /// Seconds of processor time, then SIGKILL.
    pub cpu_seconds: u64,
    /// Bytes of address space.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Bytes of a file that is written.
    pub file_bytes: u64,
}

/// Why there is no box. The program must not run then.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// A step that every kernel has was refused.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel does not close files, or the rules cannot be made.
    #[error("the file rules are not in force: {0}")]
    Files(String),
    /// The kernel does not filter calls, or the filter cannot be made.
    #[error("the filter of system calls is not in force: {0}")]
    Calls(String),
    /// Something forbidden worked.
    #[error("the self-test failed, forbidden and yet possible: {0}")]
    SelfTest(&'static str),
    /// This system has neither file rules nor filters.
    #[error("this system cannot confine a program")]
    NotHere,
}

/// Puts this process, and what it executes, into the box. It can be done once, by a process with one
/// thread.
///
/// Where the kernel permits it the box has an empty network of its own, beneath the filter that
/// refuses every socket; the executor, which was started by the same kernel for the same user, has
/// reported whether it does.
///
/// # Errors
/// See [`ToolError`]. A part may be in force; the process must end.
#[cfg(target_os = "linux")]
pub fn confine(workspace: BorrowedFd<'_>, limits: &ToolLimits) -> Result<(), ToolError> {
    let step =
        |step, result: io::Result<()>| result.map_err(|source| ToolError::Step { step, source });
    step("leave the network", network::unshare().map(drop))?;
    step("set limits", set_limits(limits))?;
    step("forbid new privileges", crate::process::no_new_privs())?;
    let calls = calls::compile()?;
    files::restrict(workspace)?;
    calls::apply(&calls)?;
    self_test()
}

#[cfg(target_os = "linux")]
fn set_limits(limits: &ToolLimits) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    for (resource, wanted) in [
        (Resource::Core, 0),
        // Locked memory is nothing a tool needs, and it cannot be taken back while it runs.
        (Resource::Memlock, 0),
        (Resource::Nofile, 1024),
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::As, limits.memory_bytes),
        (Resource::Nproc, limits.processes),
        (Resource::Fsize, limits.file_bytes),
    ] {
        let most = getrlimit(resource)
            .maximum
            .map_or(wanted, |hard| hard.min(wanted));
        setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: Some(most),
            },
        )?;
    }
    Ok(())
}

/// What the box must refuse is tried. The root folder is outside of every rule.
#[cfg(target_os = "linux")]
fn self_test() -> Result<(), ToolError> {
    use rustix::fs::{Mode, OFlags};
    use rustix::net::{AddressFamily, SocketType};
    let list = rustix::fs::open(
        "/",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    if list.is_ok() {
        return Err(ToolError::SelfTest("list the root folder"));
    }
    for family in [AddressFamily::UNIX, AddressFamily::INET] {
        if rustix::net::socket(family, SocketType::STREAM, None).is_ok() {
            return Err(ToolError::SelfTest("make a socket"));
        }
    }
    Ok(())
}

/// Becomes another program: exactly this path, these arguments, this environment. Unlike the C
/// library's `execvp` it looks nothing up and never falls back to a shell. Signals are as a program
/// expects them, also SIGPIPE, which Rust's start-up ignores. Returns only with the kernel's refusal.
#[allow(unsafe_code)]
pub fn exec(program: &CString, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: the set is initialised by sigemptyset before it is used; SIG_DFL is a valid disposition;
    // both lists end in null, and they and their strings outlive the call, which does not return if it
    // succeeds.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr());
    }
    io::Error::last_os_error()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
