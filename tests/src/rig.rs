//! Machines with systemd, in which tests install the product. A test that cannot have one says so in the summary.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clawdbot_rig::{Rig, Suite};

use crate::kernel::eventually;
use crate::{Output, finish_within, skip};

/// Longest time that a command inside may take; apt on a loaded machine is the slowest.
const PATIENCE: Duration = Duration::from_secs(240);

/// A fresh machine that ends with this value; says that the test is skipped where none can be had.
#[track_caller]
pub fn boot(test: &str, suite: Suite) -> Option<Machine> {
    let able = clawdbot_rig::possible().and_then(|()| suite.root().map(drop));
    if let Err(reason) = able {
        skip(test, &reason);
        return None;
    }
    Some(Machine(Rig::boot(suite).unwrap()))
}

/// A fresh machine of each suite, one after the other.
#[track_caller]
pub fn on_each(test: &str, check: impl Fn(&Machine)) {
    for suite in Suite::ALL {
        let Some(machine) = boot(test, suite) else {
            return;
        };
        check(&machine);
        machine.halt();
    }
}

/// A machine, for a test: what cannot be done ends it.
pub struct Machine(Rig);

impl std::ops::Deref for Machine {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.0
    }
}

impl Machine {
    /// Runs a command of root's inside to its end.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Output {
        finish_within(PATIENCE, &mut self.0.command(words))
    }

    /// The same for lines of shell.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        self.run(&["sh", "-c", script])
    }

    /// The same as another user.
    #[track_caller]
    pub fn as_user(&self, user: &str, words: &[&str]) -> Output {
        finish_within(PATIENCE, &mut self.0.as_user(user, words))
    }

    /// What a command that must succeed says, without the end of its last line.
    #[track_caller]
    pub fn says(&self, script: &str) -> String {
        self.sh(script).ok().stdout.trim_end().to_owned()
    }

    /// Waits until lines of shell succeed.
    #[track_caller]
    pub fn until(&self, script: &str) {
        let patience = Duration::from_secs(60);
        let done = eventually(patience, || self.sh(script).code == Some(0));
        assert!(done, "{}: not within {patience:?}: {script}", self.name());
    }

    /// Installs a package as `apt install ./FILE` does.
    #[track_caller]
    pub fn install(&self, deb: &Path) -> Output {
        let output = self.0.install(deb).unwrap();
        Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: Duration::ZERO,
        }
    }

    /// Writes a file inside, of root and readable by everybody.
    #[track_caller]
    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }

    /// Ends it and sees that it could be ended.
    #[track_caller]
    pub fn halt(self) {
        self.0.halt().unwrap();
    }

    /// Leaves it running for another process.
    pub fn leave(self) {
        self.0.leave();
    }

    /// A command that makes a transient service of a command and waits for its end, with properties of the unit.
    #[track_caller]
    pub fn service(&self, properties: &[&str], words: &[&str]) -> Output {
        let mut all = vec!["systemd-run", "--quiet", "--wait", "--pipe", "--collect"];
        for property in properties {
            all.extend(["--property", property]);
        }
        all.push("--");
        all.extend(words);
        self.run(&all)
    }
}

/// A package of these files, made from a folder that becomes the root of the file system.
#[track_caller]
pub fn pack(folder: &Path, deb: &Path) {
    let mut command = Command::new("dpkg-deb");
    command
        .args(["--root-owner-group", "--build"])
        .args([folder, deb]);
    crate::finish(&mut command).ok();
}
