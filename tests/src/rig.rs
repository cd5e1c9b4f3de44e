//! Machines with systemd, in which tests install the product. A test that cannot have one says so in the summary.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_rig::{Rig, Suite};
use clawdbot_service::system::{self, service_unit};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::kernel::eventually;
use crate::{Conversation, Output, Scratch, finish_within, skip};

/// Words of the guide that answers where there is no model.
pub const GUIDE: &str = "not a language model";

/// What runs all the time.
pub const ALWAYS: [&str; 7] = [
    "gateway",
    "policy",
    "broker",
    "dialer",
    "executor",
    "agent-main",
    "agent-guest",
];

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

/// The package, as `--full` has built it out of the programs under test; says that the test is skipped when it has not.
#[track_caller]
pub fn package(test: &str) -> Option<PathBuf> {
    let found = std::env::var_os("CLAWDBOT_DEB").map(PathBuf::from);
    if found.is_none() {
        skip(test, "needs the package, which --full builds");
    }
    found
}

/// A fresh machine of each suite with the package installed and everything ready, one after the other.
#[track_caller]
pub fn on_each_installed(test: &str, check: impl Fn(&Machine)) {
    let Some(deb) = package(test) else { return };
    on_each(test, |machine| {
        machine.install(&deb).ok();
        machine.ready();
        check(machine);
    });
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

    /// The same with lines on its standard input, where a secret is never an argument.
    #[track_caller]
    pub fn as_user_told(&self, user: &str, words: &[&str], input: &str) -> Output {
        let (read, mut write) = std::io::pipe().unwrap();
        // Less than a pipe holds.
        write.write_all(input.as_bytes()).unwrap();
        drop(write);
        finish_within(PATIENCE, self.0.as_user(user, words).stdin(read))
    }

    /// A command of another user that a test speaks with while it runs.
    pub fn user_command(&self, user: &str, words: &[&str]) -> Command {
        self.0.as_user(user, words)
    }

    /// What a command that must succeed says, without the end of its last line.
    #[track_caller]
    pub fn says(&self, script: &str) -> String {
        self.sh(script).ok().stdout.trim_end().to_owned()
    }

    /// Waits until lines of shell succeed.
    #[track_caller]
    pub fn until(&self, script: &str) {
        let patience = Duration::from_secs(120);
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

    /// Waits until everything that the target wants has come up.
    #[track_caller]
    pub fn ready(&self) {
        let services = ALWAYS.map(|role| service_unit(&Role::parse(role).unwrap()));
        self.until(&format!(
            "systemctl is-active --quiet {}",
            services.join(" ")
        ));
    }

    /// A user inside who may use the operator's sockets, or one who may not.
    #[track_caller]
    pub fn add_user(&self, name: &str, operator: bool) {
        let group = if operator { "clawdbot" } else { "nogroup" };
        self.run(&["useradd", "--create-home", "--groups", group, name])
            .ok();
    }

    /// The fields of a unit, by name.
    #[track_caller]
    pub fn unit(&self, name: &str, fields: &str) -> BTreeMap<String, String> {
        let property = format!("--property={fields}");
        let shown = self
            .run(&["systemctl", "show", &property, name])
            .ok()
            .stdout;
        let fields = shown.lines().filter_map(|line| line.split_once('='));
        fields
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// What units named like this have to complain about in the journal: one line for each entry from warning upwards.
    #[track_caller]
    pub fn complaints(&self) -> String {
        self.says("journalctl --no-pager --output=short-monotonic --priority=warning --unit='clawdbot*' | grep -v '^-- No entries'; true")
    }

    /// A conversation over the gateway's operator socket.
    pub fn talk(&self) -> Conversation {
        let path = system::socket_path(&Role::gateway(), &Role::operator());
        Conversation::through(self.path(&path.to_string_lossy()))
    }

    /// Does something in the machine's network, which is closed to everything else: what is started or listens there, is
    /// reached at the machine's own loopback address.
    #[track_caller]
    pub fn network<R: Send>(&self, act: impl FnOnce() -> R + Send) -> R {
        let network = File::open(format!("/proc/{}/ns/net", self.leader())).unwrap();
        let done = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                    .unwrap();
                act()
            });
            thread.join()
        });
        done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
    }

    /// The number of a unit's process inside, 0 when it has none.
    #[track_caller]
    pub fn process(&self, unit: &str) -> u32 {
        self.unit(unit, "MainPID")["MainPID"].parse().unwrap()
    }

    /// Kills a unit's process and waits until the service manager has put another in its place.
    #[track_caller]
    pub fn kill(&self, unit: &str) {
        let before = self.process(unit);
        assert!(before > 0, "{unit} does not run");
        self.run(&["systemctl", "kill", "--signal=KILL", unit]).ok();
        let again = eventually(PATIENCE, || {
            let now = self.unit(unit, "MainPID,ActiveState");
            now["ActiveState"] == "active"
                && now["MainPID"] != before.to_string()
                && now["MainPID"] != "0"
        });
        assert!(
            again,
            "{unit} did not come back: {:?}",
            self.unit(unit, "ActiveState,Result,StatusText")
        );
    }

    /// Writes a file inside, of root and readable by everybody.
    #[track_caller]
    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }

    /// A machine that starts with what another kept.
    #[track_caller]
    pub fn boot_with(suite: Suite, kept: &Path) -> Self {
        Self(Rig::boot_with(suite, kept).unwrap())
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

/// The package again with a changed control file or other files: what `change`, lines of shell, does in its folder.
#[track_caller]
pub fn repack(deb: &Path, into: &Path, change: &str) {
    let scratch = Scratch::new();
    let folder = scratch.path().join("package");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--raw-extract").args([deb, &folder]);
    crate::finish(&mut unpack).ok();
    let mut edit = Command::new("sh");
    edit.args(["-ec", change]).current_dir(&folder);
    crate::finish(&mut edit).ok();
    pack(&folder, into);
}

/// The package in another version.
#[track_caller]
pub fn with_version(deb: &Path, into: &Path, version: &str) {
    repack(
        deb,
        into,
        &format!("sed -i 's/^Version:.*/Version: {version}/' DEBIAN/control"),
    );
}

/// A package of these files, made from a folder that becomes the root of the file system.
#[track_caller]
pub fn pack(folder: &Path, deb: &Path) {
    let mut command = Command::new("dpkg-deb");
    command
        .args(["--root-owner-group", "-Zgzip", "-z1", "--build"])
        .args([folder, deb]);
    crate::finish(&mut command).ok();
}
