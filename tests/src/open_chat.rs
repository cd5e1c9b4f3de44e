//! A chat on a machine of the rig that stays open, as a person's does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Stdio};

use crate::rig::{GUIDE, Machine};

/// A chat whose lines are written one by one.
pub struct OpenChat {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl OpenChat {
    /// Opens it as this user.
    pub fn of(machine: &Machine, user: &str) -> Self {
        let mut child = machine
            .user_command(user, &["clawdbot", "chat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// Says something and reads until the guide has answered.
    #[track_caller]
    pub fn ask(&mut self, text: &str) {
        writeln!(self.child.stdin.as_ref().unwrap(), "{text}").unwrap();
        let mut all = String::new();
        while !all.contains(GUIDE) {
            let mut line = String::new();
            let read = self.said.read_line(&mut line).unwrap();
            assert!(read > 0, "the chat ended after: {all}");
            all.push_str(&line);
        }
    }

    /// Ends it.
    #[track_caller]
    pub fn close(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}
