//! The product from its start to its end, as `clawdbot up --json` tells it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use clawdbot_tests::kernel::Seen;
use clawdbot_tests::{Scratch, free_port};
use rustix::fs::{Mode, chmod};
use rustix::process::Signal;
use serde_json::Value;

/// A home directory and whom it belongs to.
pub struct Home {
    scratch: Scratch,
    user: Option<u32>,
    port: u16,
}

/// The product in it.
pub struct Running {
    child: Child,
    /// From before the start of the program to its word that everything is ready.
    pub took: Duration,
    /// Role and process, the supervisor among them.
    pub processes: Vec<(String, Seen)>,
    /// The levels of confinement that they report, each once; the supervisor's own is left out.
    pub levels: Vec<String>,
}

impl Home {
    /// An empty one, of `user` if this is root.
    pub fn new(user: Option<u32>) -> Self {
        Self::with(Scratch::new(), user)
    }

    fn with(scratch: Scratch, user: Option<u32>) -> Self {
        if user.is_some() {
            chmod(scratch.path(), Mode::from_raw_mode(0o755)).unwrap();
            chown(scratch.home(), user, user).unwrap();
        }
        let port = free_port();
        Self {
            scratch,
            user,
            port,
        }
    }

    /// One with a configuration, below `place`.
    pub fn configured(user: Option<u32>, place: Option<&Path>, configuration: &str) -> Self {
        let scratch = place.map_or_else(Scratch::new, Scratch::below);
        scratch.configure(configuration);
        let home = Self::with(scratch, user);
        if user.is_some() {
            for path in [home.state(), home.state().join("clawdbot.json")] {
                chown(path, user, user).unwrap();
            }
        }
        home
    }

    /// Where the front door will be.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn state(&self) -> PathBuf {
        self.scratch.state()
    }

    /// Starts the product and waits until it is ready.
    pub fn up(&self) -> Running {
        let mut command = self.scratch.program("clawdbot");
        command.args(["up", "--json", "--port", &self.port.to_string()]);
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let began = Instant::now();
        let mut child = command.spawn().unwrap();
        let mut events = BufReader::new(child.stdout.take().unwrap());
        let (ready, took) = loop {
            let mut line = String::new();
            assert!(
                events.read_line(&mut line).unwrap() > 0,
                "ended before it was ready"
            );
            let event: Value = serde_json::from_str(&line).unwrap();
            match event["event"].as_str() {
                Some("ready") => break (event, began.elapsed()),
                Some("error") => panic!("{event}"),
                _ => {}
            }
        };
        // What comes later has to go somewhere.
        std::thread::spawn(move || events.read_to_end(&mut Vec::new()));
        Running {
            child,
            took,
            processes: processes(&ready),
            levels: levels(&ready),
        }
    }
}

fn processes(ready: &Value) -> Vec<(String, Seen)> {
    let all = ready["processes"].as_array().unwrap();
    let one = |process: &Value| {
        let pid = process["pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok())
            .unwrap();
        (process["role"].as_str().unwrap().to_owned(), Seen(pid))
    };
    all.iter().map(one).collect()
}

fn levels(ready: &Value) -> Vec<String> {
    let all = ready["processes"].as_array().unwrap().iter();
    let mut levels: Vec<String> = all
        .filter(|process| process["role"] != "supervisor")
        .map(|process| {
            process["confinement"]["level"]
                .as_str()
                .unwrap_or("none")
                .to_owned()
        })
        .collect();
    levels.sort();
    levels.dedup();
    levels
}

impl Running {
    /// Asks the product to end, and returns how long it took until no process was left.
    pub fn stop(mut self) -> Duration {
        let began = Instant::now();
        Seen(self.child.id()).signal(Signal::TERM);
        self.child.wait().unwrap();
        while self.processes.iter().any(|(_, process)| process.lives()) {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "processes stay behind"
            );
            std::thread::yield_now();
        }
        began.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
