//! From one frame to the program. It comes over descriptor 3 from whoever started the launcher, or, where
//! the service manager starts one for each connection, over the standard input. The connection closes by
//! itself when the program starts; a reply on it means that none did. Exit status 65: the request is
//! refused, 78: it could not be confined, 127: it cannot be executed.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::process::ExitCode;

use clawdbot_confine::frame::{self, Frame, FrameReader, Progress};
use clawdbot_confine::tool::{self, ToolError};
use clawdbot_confine::{fd, process};
use clawdbot_proto::v1;
use prost::Message as _;

use crate::request::Launch;
use crate::starter::{Starter, belongs_to};

/// Where the request comes from when another process starts the launcher.
const CONTROL: i32 = 3;

/// Why no program was started.
struct Refused {
    rule: &'static str,
    status: u8,
    message: String,
}

impl Refused {
    fn request(message: impl ToString) -> Self {
        Self {
            rule: "sandbox.request",
            status: 65,
            message: message.to_string(),
        }
    }

    fn confinement(message: impl ToString) -> Self {
        Self {
            rule: "sandbox.confinement",
            status: 78,
            message: message.to_string(),
        }
    }

    fn exec(message: impl ToString) -> Self {
        Self {
            rule: "sandbox.exec",
            status: 127,
            message: message.to_string(),
        }
    }
}

/// The whole life of the launcher. Returns only when it did not become the program.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let control = Starter::parse(&arguments).and_then(|starter| {
        let control = control(&starter).map_err(|error| {
            format!("is started by the executor or by the service manager, not by hand: {error}")
        })?;
        Ok((starter, control))
    });
    let (starter, control) = match control {
        Ok(found) => found,
        Err(why) => {
            // Nobody there to read it: the exit status says the same.
            let _lost = writeln!(io::stderr(), "clawdbot-sandbox: {why}");
            return ExitCode::from(65);
        }
    };
    let refused = match start(&starter, &control) {
        Ok(never) => match never {},
        Err(refused) => refused,
    };
    let reply = v1::SandboxReply {
        rule: refused.rule.into(),
        message: refused.message,
    };
    let _gone = frame::send(&control, &reply.encode_to_vec(), &[]);
    ExitCode::from(refused.status)
}

/// The connection that the request comes over.
fn control(starter: &Starter) -> io::Result<OwnedFd> {
    match starter {
        Starter::Executor => fd::take(CONTROL),
        Starter::Manager(_) => {
            let input = rustix::stdio::stdin();
            let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(input)?.st_mode);
            if kind != rustix::fs::FileType::Socket {
                return Err(io::Error::other("its standard input is no socket"));
            }
            // The standard streams become the program's.
            Ok(rustix::io::fcntl_dupfd_cloexec(input, CONTROL)?)
        }
    }
}

fn start(starter: &Starter, control: &OwnedFd) -> Result<std::convert::Infallible, Refused> {
    fd::close_from(&[control.as_fd()]).map_err(Refused::confinement)?;
    process::assert_identity().map_err(Refused::confinement)?;
    if let Starter::Manager(class) = starter {
        let own = rustix::process::geteuid().as_raw();
        let user = class.user();
        let known = process::lookup_user(user);
        let known = known.map_err(|error| Refused::confinement(format!("/etc/passwd: {error}")))?;
        belongs_to(user, known.map(|user| user.uid), own).map_err(Refused::confinement)?;
        // The group of the workspace, the agent of the class, reads what a tool writes.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    }
    let frame = receive(control).map_err(Refused::request)?;
    let request = v1::SandboxRequest::decode(frame.payload.as_slice())
        .map_err(|_| Refused::request("the request is unreadable"))?;
    let launch = Launch::parse(&request).map_err(Refused::request)?;
    let streams: [OwnedFd; 4] = frame.fds.try_into().map_err(|fds: Vec<OwnedFd>| {
        Refused::request(format!(
            "four descriptors must come along, {} did",
            fds.len()
        ))
    })?;
    let [stdin, stdout, stderr, mut workspace] = streams;
    if let Starter::Manager(_) = starter {
        workspace = seen_here(&workspace).map_err(Refused::request)?;
    }
    enter(&workspace, &launch).map_err(Refused::request)?;
    rustix::stdio::dup2_stdin(&stdin)
        .and_then(|()| rustix::stdio::dup2_stdout(&stdout))
        .and_then(|()| rustix::stdio::dup2_stderr(&stderr))
        .map_err(Refused::request)?;
    confine(&workspace, &launch).map_err(Refused::confinement)?;
    // All other descriptors close on exec.
    let error = tool::exec(&launch.program, &launch.argv, &launch.env);
    Err(Refused::exec(error))
}

fn receive(control: &OwnedFd) -> io::Result<Frame> {
    // Whoever made the pair may have made it non-blocking.
    rustix::io::ioctl_fionbio(control, false)?;
    match FrameReader::new().read_from(control)? {
        Progress::Frame(frame) => Ok(frame),
        Progress::Closed => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "no request came",
        )),
    }
}

/// The folder as this process sees it. What was handed over lies among the mounts of whoever did: from there, `..` would lead
/// past all that the unit hides, and no program could tell where it is.
fn seen_here(folder: &OwnedFd) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, fstat, open};
    let path = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let here = open(path, flags, Mode::empty())?;
    let (given, found) = (fstat(folder)?, fstat(&here)?);
    match (given.st_dev, given.st_ino) == (found.st_dev, found.st_ino) {
        true => Ok(here),
        false => Err(io::Error::other(
            "the workspace must be a folder that the unit shows",
        )),
    }
}

/// Goes to the folder to work in. The workspace must be a folder of this user, so that the system's
/// folders are none.
#[cfg(target_os = "linux")]
fn enter(workspace: &OwnedFd, launch: &Launch) -> io::Result<()> {
    use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
    let stat = fstat(workspace)?;
    let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if !folder || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(
            "the workspace must be a folder that belongs to this user",
        ));
    }
    // Folder by folder and over no link. There is no openat2, which could do it at once, in a unit with RestrictSUIDSGID=.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut cwd = openat(workspace, ".", flags, Mode::empty())?;
    for folder in &launch.cwd {
        cwd = openat(&cwd, folder, flags, Mode::empty())?;
    }
    Ok(rustix::process::fchdir(cwd)?)
}

#[cfg(target_os = "linux")]
fn confine(workspace: &OwnedFd, launch: &Launch) -> Result<(), ToolError> {
    tool::confine(workspace.as_fd(), &launch.limits)
}

/// Nothing is started where nothing can be confined.
#[cfg(not(target_os = "linux"))]
fn enter(_workspace: &OwnedFd, _launch: &Launch) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn confine(_workspace: &OwnedFd, _launch: &Launch) -> Result<(), ToolError> {
    Err(ToolError::NotHere)
}
