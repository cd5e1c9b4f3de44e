//! Starts a confined child through a descriptor that was opened before: nothing inherited but a
//! control socket (3) and a place for its last words (2), an empty environment, a session of its
//! own, and death with its parent.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};

pub use rustix::process::Signal;

/// The descriptor number of the control socket in a child.
pub const CONTROL: RawFd = 3;

/// A program that can be executed later, also when its path has become unreachable.
#[derive(Debug)]
pub struct Program {
    file: OwnedFd,
    /// Where no program can be executed through a descriptor (macOS).
    #[cfg_attr(target_os = "linux", allow(dead_code))]
    path: CString,
}

impl Program {
    /// Opens the program file.
    ///
    /// # Errors
    /// The kernel's answer; `PermissionDenied` for what is no executable file.
    pub fn open(path: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        #[cfg(not(target_os = "linux"))]
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        if kind != rustix::fs::FileType::RegularFile || stat.st_mode & 0o111 == 0 {
            let text = format!("{} is not an executable file", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Self {
            file,
            path: CString::new(path.as_os_str().as_bytes())?,
        })
    }
}

/// What ends a child when its parent dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leash {
    /// The kernel kills it at once (Linux; elsewhere as [`Leash::Control`]).
    Parent,
    /// It sees the end of its control socket and has a moment to tidy up.
    Control,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By its own exit status.
    Code(i32),
    /// By a signal's number.
    Signal(i32),
}

/// A started child. Dropping it neither ends nor reaps the process.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: Option<OwnedFd>,
    exit: Option<Exit>,
}

impl Child {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Becomes readable when the child has ended; none outside Linux (watch SIGCHLD there).
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(std::os::fd::AsFd::as_fd)
    }

    /// Sends a signal. A child that has ended already is no error.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        if self.exit.is_some() {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        if let Some(pidfd) = &self.pidfd {
            return match rustix::process::pidfd_send_signal(pidfd, signal) {
                Err(rustix::io::Errno::SRCH) => Ok(()),
                other => Ok(other?),
            };
        }
        // Not reaped yet, so the number still names this child.
        Ok(rustix::process::kill_process(self.pid, signal)?)
    }

    /// How the child ended, or `None` while it runs. May be asked again afterwards.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn try_wait(&mut self) -> io::Result<Option<Exit>> {
        self.reap(WaitOptions::NOHANG)
    }

    /// Waits until the child has ended.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn wait(&mut self) -> io::Result<Exit> {
        loop {
            if let Some(exit) = self.reap(WaitOptions::empty())? {
                return Ok(exit);
            }
        }
    }

    fn reap(&mut self, options: WaitOptions) -> io::Result<Option<Exit>> {
        if self.exit.is_some() {
            return Ok(self.exit);
        }
        let status = match waitpid(Some(self.pid), options) {
            Err(rustix::io::Errno::INTR) | Ok(None) => return Ok(None),
            Ok(Some((_, status))) => status,
            Err(error) => return Err(error.into()),
        };
        self.exit = exit_of(status);
        Ok(self.exit)
    }
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    status
        .exit_status()
        .map(Exit::Code)
        .or(status.terminating_signal().map(Exit::Signal))
}

/// Starts a child.
///
/// It gets `argv` as its arguments (the first is its name), no environment, `/` as its directory,
/// `/dev/null` for input and output, `stderr` as 2, `control` as [`CONTROL`] and no other
/// descriptor; a session of its own; all signals at their defaults. `Leash::Parent` has it killed
/// when the thread that called this ends, so call it from the thread that lives as long as the
/// process. Returns when the program runs.
///
/// # Errors
/// `InvalidInput` for an argument with a NUL byte; the kernel's answer to fork or exec.
pub fn spawn(
    program: &Program,
    argv: &[&str],
    control: OwnedFd,
    stderr: OwnedFd,
    leash: Leash,
) -> io::Result<Child> {
    let argv: Vec<CString> = argv
        .iter()
        .map(|argument| CString::new(*argument))
        .collect::<Result<_, _>>()?;
    let mut pointers: Vec<*const c_char> = argv.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let (report, report_end) = std::io::pipe()?;
    let report_end = OwnedFd::from(report_end);
    // Numbers above the targets, so that no dup2 below overwrites another source.
    let high = [&null, &stderr, &control, &program.file, &report_end]
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 16));
    let [null, stderr_copy, control_copy, file, report_copy] = high;
    let (null, stderr_copy, control_copy) = (null?, stderr_copy?, control_copy?);
    let (file, report_copy) = (file?, report_copy?);
    let plan = Plan {
        targets: [
            (null.as_raw_fd(), 0),
            (null.as_raw_fd(), 1),
            (stderr_copy.as_raw_fd(), 2),
            (control_copy.as_raw_fd(), CONTROL),
        ],
        #[cfg(target_os = "linux")]
        file: file.as_raw_fd(),
        #[cfg(not(target_os = "linux"))]
        path: program.path.as_ptr(),
        argv: pointers.as_ptr(),
        report: report_copy.as_raw_fd(),
        leash,
        // SAFETY: no memory is passed.
        parent: unsafe { libc::getpid() },
    };
    // SAFETY: the child calls nothing but `Plan::run`, which is async-signal-safe, allocates
    // nothing and never returns; all that `plan` points to is copied with the address space.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: this is the child of the fork above.
        unsafe { plan.run() }
    }
    let pid = Pid::from_raw(pid)
        .filter(|_| pid > 0)
        .ok_or_else(io::Error::last_os_error)?;
    drop((
        report_end,
        report_copy,
        control,
        control_copy,
        stderr,
        stderr_copy,
        file,
    ));
    let mut child = Child {
        pid,
        pidfd: None,
        exit: None,
    };
    let mut errno = [0; 4];
    let reported = open_pidfd(pid).and_then(|pidfd| {
        child.pidfd = pidfd;
        read_report(report, &mut errno)
    });
    match reported {
        // The pipe closed by exec: the program runs (or the child was killed: `try_wait` tells).
        Ok(0) => Ok(child),
        Ok(_) => {
            child.wait()?;
            Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
        }
        Err(error) => {
            // Nobody else will know of the child. The first error is the one to tell.
            let _ended = child.kill(Signal::KILL).and_then(|()| child.wait());
            Err(error)
        }
    }
}

fn read_report(mut report: std::io::PipeReader, errno: &mut [u8; 4]) -> io::Result<usize> {
    use std::io::Read;
    loop {
        match report.read(errno) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(target_os = "linux")]
fn open_pidfd(pid: Pid) -> io::Result<Option<OwnedFd>> {
    // The child is not reaped yet, so the number cannot have been given to another process.
    Ok(Some(rustix::process::pidfd_open(
        pid,
        rustix::process::PidfdFlags::empty(),
    )?))
}

#[cfg(not(target_os = "linux"))]
fn open_pidfd(_pid: Pid) -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

/// All that the child needs between fork and exec, made before the fork.
struct Plan {
    targets: [(RawFd, RawFd); 4],
    #[cfg(target_os = "linux")]
    file: RawFd,
    #[cfg(not(target_os = "linux"))]
    path: *const c_char,
    argv: *const *const c_char,
    report: RawFd,
    leash: Leash,
    parent: libc::pid_t,
}

impl Plan {
    /// # Safety
    /// Only in a freshly forked child whose plan's pointers and descriptors are valid.
    unsafe fn run(&self) -> ! {
        // SAFETY: every call below is async-signal-safe; the pointers are valid by contract, the
        // signal set is initialised by `sigemptyset` before it is read.
        unsafe {
            libc::setsid();
            #[cfg(target_os = "linux")]
            if self.leash == Leash::Parent {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // Died before the call above: nobody would send the signal.
                if libc::getppid() != self.parent {
                    libc::_exit(127);
                }
            }
            #[cfg(not(target_os = "linux"))]
            let _ = (self.parent, self.leash);
            // A disposition of "ignored" survives exec, and so does the mask.
            for signal in 1..=64 {
                default_disposition(signal);
            }
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            for (source, target) in self.targets {
                if libc::dup2(source, target) < 0 {
                    self.fail();
                }
            }
            if libc::chdir(c"/".as_ptr()) != 0 {
                self.fail();
            }
            let environment: [*const c_char; 1] = [std::ptr::null()];
            #[cfg(target_os = "linux")]
            {
                // What somebody opened without close-on-exec; kernels before 5.11 answer EINVAL,
                // there the child's own first step closes it.
                libc::syscall(
                    libc::SYS_close_range,
                    CONTROL as libc::c_uint + 1,
                    libc::c_uint::MAX,
                    libc::CLOSE_RANGE_CLOEXEC,
                );
                libc::syscall(
                    libc::SYS_execveat,
                    self.file,
                    c"".as_ptr(),
                    self.argv,
                    environment.as_ptr(),
                    libc::AT_EMPTY_PATH,
                );
            }
            #[cfg(not(target_os = "linux"))]
            libc::execve(self.path, self.argv, environment.as_ptr());
            self.fail()
        }
    }

    /// Tells the parent the error number and ends.
    ///
    /// # Safety
    /// As `run`.
    unsafe fn fail(&self) -> ! {
        let errno = io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO)
            .to_ne_bytes();
        // SAFETY: four bytes are read from an array of four; `_exit` runs no destructor.
        unsafe {
            libc::write(self.report, errno.as_ptr().cast(), errno.len());
            libc::_exit(127)
        }
    }
}

/// Sets a signal to its default. Not through `signal`, which leaves out the two that glibc keeps to
/// itself; those too may have been ignored by whoever started us.
///
/// # Safety
/// None beyond async-signal safety, which it has.
unsafe fn default_disposition(signal: libc::c_int) {
    #[cfg(target_os = "linux")]
    // SAFETY: the kernel reads its own `sigaction` (at most 32 bytes) from a zeroed buffer, which
    // means SIG_DFL, no flag and an empty mask; nothing is written.
    unsafe {
        let default = [0_u64; 8];
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            default.as_ptr(),
            std::ptr::null_mut::<u64>(),
            8,
        );
    }
    #[cfg(not(target_os = "linux"))]
    // SAFETY: no memory is passed.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
    }
}

#[cfg(test)]
mod tests;
