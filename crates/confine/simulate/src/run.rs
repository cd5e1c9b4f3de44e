//! From the arguments to the command: the filter is put in force, the process that answers questions is
//! started if there are any, and the command takes this program's place.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use clawdbot_confine::fd;
use clawdbot_confine::frame::{self, FrameReader, Progress};

use crate::kernel::{Answer, KERNELS, Kernel, Row, parse};
use crate::{asked, filter};

/// The whole program. Exit status 2 for a mistake in the arguments, 126 when a kernel cannot be
/// simulated here, 127 when the command cannot be started.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (kernels, program, rest) = match split(&arguments) {
        Ok(asked) => asked,
        Err(message) => return fail(&format!("{message}\n{}", usage()), 2),
    };
    if let Err(error) = become_kernel(&kernels) {
        return fail(
            &format!("this kernel cannot be simulated here: {error}"),
            126,
        );
    }
    let error = Command::new(program).args(rest).exec();
    fail(&format!("{}: {error}", program.display()), 127)
}

fn fail(message: &str, code: u8) -> ExitCode {
    let text = format!("clawdbot-simulate: {message}\n");
    let _unread = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
    ExitCode::from(code)
}

fn usage() -> String {
    let mut text =
        String::from("usage: clawdbot-simulate KERNEL[,KERNEL...] -- COMMAND [ARGUMENT...]\n");
    for kernel in KERNELS {
        text.push_str(&format!("  {:<18} {}\n", kernel.name, kernel.lacks));
    }
    text
}

type Asked<'a> = (Vec<Kernel>, &'a OsString, &'a [OsString]);

fn split(arguments: &[OsString]) -> Result<Asked<'_>, String> {
    let [names, dashes, program, rest @ ..] = arguments else {
        return Err("a kernel and a command are needed".to_owned());
    };
    if dashes != "--" {
        return Err("the command stands behind `--`".to_owned());
    }
    let names = names.to_str().unwrap_or_default();
    let kernels = parse(names).map_err(|name| format!("there is no kernel `{name}`"))?;
    Ok((kernels, program, rest))
}

fn become_kernel(kernels: &[Kernel]) -> io::Result<()> {
    if kernels.iter().any(|kernel| kernel.no_proc) {
        hide_proc()?;
    }
    let rows: Vec<Row> = kernels
        .iter()
        .flat_map(|kernel| kernel.rows)
        .copied()
        .collect();
    if rows.iter().all(|row| row.answer != Answer::Ask) {
        return filter::apply(&rows).map(drop);
    }
    let (ours, theirs) = UnixStream::pair()?;
    start_answerer(theirs, kernels.iter().find_map(|kernel| kernel.landlock))?;
    let questions = filter::apply(&rows)?.ok_or(io::ErrorKind::Unsupported)?;
    frame::send(&ours, b"questions", &[questions.as_fd()])
}

/// In a process whose parent is not the command, which would wonder about a child that it never had.
fn start_answerer(questions: UnixStream, landlock: Option<i64>) -> io::Result<()> {
    // SAFETY: this program has one thread, so that its copy may do whatever this one may.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        between => {
            let mut status = 0;
            // SAFETY: our own child; the status outlives the call.
            unsafe { libc::waitpid(between, &raw mut status, 0) };
            return Ok(());
        }
    }
    // SAFETY: as above; the process in between ends, whatever the answer.
    if unsafe { libc::fork() } == 0 {
        // Nobody reads how it ends; whoever asks later gets ENOSYS and fails a test.
        let _ended = live(&questions, landlock);
    }
    // SAFETY: ends a copy without running what is this program's to run.
    unsafe { libc::_exit(0) }
}

fn live(questions: &UnixStream, landlock: Option<i64>) -> io::Result<()> {
    rustix::process::setsid()?;
    // The command's output ends with the command.
    let null = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    let null = OwnedFd::from(null);
    fd::close_from(&[questions.as_fd(), null.as_fd()])?;
    let Progress::Frame(frame) = FrameReader::new().read_from(questions)? else {
        return Ok(());
    };
    let listener = frame
        .fds
        .into_iter()
        .next()
        .ok_or(io::ErrorKind::InvalidData)?;
    asked::answer(&listener, landlock)
}

/// An empty folder in the place of `/proc`, in namespaces of its own, over which no right is kept.
fn hide_proc() -> io::Result<()> {
    let ids = [
        ("uid_map", rustix::process::geteuid().as_raw()),
        ("gid_map", rustix::process::getegid().as_raw()),
    ];
    // SAFETY: no memory is passed; this program has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    fs::write("/proc/self/setgroups", "deny")?;
    for (file, id) in ids {
        fs::write(format!("/proc/self/{file}"), format!("{id} {id} 1"))?;
    }
    // SAFETY: four strings with a NUL at their end, no data.
    let mounted = unsafe {
        let kind = c"tmpfs".as_ptr();
        libc::mount(
            kind,
            c"/proc".as_ptr(),
            kind,
            libc::MS_RDONLY,
            std::ptr::null(),
        )
    };
    match mounted {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
