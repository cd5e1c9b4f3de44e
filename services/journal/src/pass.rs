//! From the request to journalctl.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clawdbot_service::system::{ACCEPTED, Reading};

use crate::receive::receive;

/// Following shows the running boot alone unless it reads the journals of all machines, and which boot that is journalctl
/// cannot know here: it sees none of the kernel's files, and in a container these would name another one. The unit lets it
/// reach this machine's journal only.
const ALL_BOOTS: &str = "--merge";

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The whole life of the process; its argument is the path of journalctl, its standard input and output are the
/// connection. Returns only when it did not become journalctl: exit status 65 after a request that is none, else 78.
pub fn main() -> ExitCode {
    let program = std::env::args_os().nth(1);
    let (Some(program), Ok(stream)) = (program, connection()) else {
        // Nobody there to read it: the exit status says the same.
        let _lost = writeln!(
            io::stderr(),
            "clawdbot-journal: the service manager starts it, with a connection and the path of journalctl"
        );
        return ExitCode::from(78);
    };
    let (status, words) = answer(program, &stream);
    let _gone = writeln!(&stream, "{words}");
    ExitCode::from(status)
}

fn connection() -> io::Result<UnixStream> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Nothing else has an address of this kind.
    stream.local_addr()?;
    Ok(stream)
}

/// Why it did not become journalctl, as an exit status and in words.
fn answer(program: OsString, stream: &UnixStream) -> (u8, String) {
    let reading = match receive(stream, PATIENCE) {
        Ok(reading) => reading,
        Err(refused) => return (65, refused.words().to_owned()),
    };
    let mut writer = stream;
    if writeln!(writer, "{ACCEPTED}").is_err() {
        return (65, String::new());
    }
    let mut journalctl = Command::new(&program);
    journalctl
        .args((reading == Reading::Follow).then_some(ALL_BOOTS))
        .args(reading.arguments())
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    let error = journalctl.exec();
    (78, format!("{}: {error}", program.to_string_lossy()))
}
