//! A second supervisor, over a home of its own: the program that `clawdbot up` becomes, which starts its processes as
//! always. Some of its programs are the probe instead; what they say comes out of its log.

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use clawdbot_confine::spawn::{Child, Exit, Leash, Program, Signal, spawn};
use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::edges::{PROCESSES, Starts};
use serde_json::Value;

use super::scene::Home;
use crate::logs::Follow;

/// How long it may take to stop; it promises two seconds.
const STOP: Duration = Duration::from_secs(5);

/// A running one. It ends when this is dropped.
pub struct Fleet {
    child: Child,
    log: Follow,
    /// What it says last.
    said: Option<io::PipeReader>,
}

/// A line that a process wrote.
pub struct Line {
    pub role: String,
    pub message: String,
    /// What it measured of itself, once it has.
    pub confinement: Option<String>,
}

impl Fleet {
    /// Starts it. `real`: the programs that are themselves; in the place of all others stands the probe.
    ///
    /// # Errors
    /// When something is missing or cannot be started.
    pub fn start(home: &Home, programs: &Path, real: &[&str], port: u16) -> io::Result<Self> {
        for process in PROCESSES {
            if matches!(process.starts, Starts::Itself | Starts::Person) {
                continue;
            }
            let program = match real.contains(&process.binary) {
                true => process.binary,
                false => super::PROBE,
            };
            match symlink(programs.join(program), home.programs.join(process.binary)) {
                // Two roles of one program.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let supervisor = Program::open(&programs.join(super::SUPERVISOR))?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let (state, config) = (text(&home.state), text(&home.config()));
        let (folder, workspace) = (text(&home.programs), text(&home.workspace));
        let port = port.to_string();
        let argv = [
            super::SUPERVISOR,
            "--state-dir",
            &state,
            "--config",
            &config,
            "--port",
            &port,
            "--workspace",
            &workspace,
            "--programs",
            &folder,
        ];
        let log = Follow::at_end(&home.state.join("gateway.log"))?;
        let (said, errors) = io::pipe()?;
        // It inherits a descriptor that it has no use for, and closes it.
        let (_ours, theirs) = UnixStream::pair()?;
        let child = spawn(
            &supervisor,
            &argv,
            OwnedFd::from(theirs),
            OwnedFd::from(errors),
            Leash::Parent,
        )?;
        Ok(Self {
            child,
            log,
            said: Some(said),
        })
    }

    /// What its processes wrote since the last call.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn news(&mut self) -> io::Result<Vec<Line>> {
        let lines = self.log.new_lines()?;
        Ok(lines.iter().filter_map(|line| parse(line)).collect())
    }

    /// Why it has ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn has_ended(&mut self) -> io::Result<Option<String>> {
        let Some(exit) = self.child.try_wait()? else {
            return Ok(None);
        };
        let mut why = String::new();
        if let Some(mut said) = self.said.take() {
            said.read_to_string(&mut why)?;
        }
        let how = match exit {
            Exit::Code(code) => format!("exit status {code}"),
            Exit::Signal(number) => format!("signal {number}"),
        };
        Ok(Some(format!("{how}: {}", sanitize_line(why.trim()))))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let until = Instant::now() + STOP;
        let _gone = self.child.kill(Signal::TERM);
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
        let _gone = self.child.kill(Signal::KILL);
        let _gone = self.child.wait();
    }
}

fn parse(line: &str) -> Option<Line> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Line {
        role: text("role")?,
        message: text("message")?,
        confinement: text("confinement"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whose_it_is_and_what_was_measured() {
        let line = parse(r#"{"role":"broker","message":"confined","confinement":"level=full"}"#);
        let line = line.unwrap();
        assert_eq!(
            (line.role.as_str(), line.message.as_str()),
            ("broker", "confined")
        );
        assert_eq!(line.confinement.as_deref(), Some("level=full"));
        assert!(parse("{\"role\":\"broker\"}").is_none());
        assert!(parse("no object").is_none());
    }
}
