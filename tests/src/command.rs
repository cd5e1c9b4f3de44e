//! Programs and places: where the built programs lie, an empty home, one command at a time.

use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest time that any single command of a test may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ports that are given away. Below those that the kernel gives to connections and to whoever asks for any port: one of
/// these may be somebody's before the program that was told it listens. Above our own.
const PORTS: Range<u16> = 20_000..32_000;

/// A program of the product: in `CLAWDBOT_BIN_DIR`, or where cargo put it beside this test.
pub fn binary(name: &str) -> PathBuf {
    let directory = std::env::var_os("CLAWDBOT_BIN_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let own = std::env::current_exe().unwrap();
            own.parent().and_then(Path::parent).unwrap().to_owned()
        });
    let path = directory.join(name);
    assert!(
        path.exists(),
        "{} is not built; run `cargo xtask test`",
        path.display()
    );
    path
}

/// A port that nobody listens on and that nobody else is told, for a program that is told where to listen.
pub fn free_port() -> u16 {
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    // Another run on the same machine begins elsewhere.
    let first = std::process::id() as usize * 127;
    loop {
        let next = first + GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + u16::try_from(next % PORTS.len()).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Whether this test runs as root.
pub fn runs_as_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says in the summary that a test could not run here, and why.
pub fn skip(test: &str, reason: &str) {
    println!("SKIPPED {test}: {reason}");
}

/// An empty home with a state directory that does not exist yet.
pub struct Scratch {
    directory: TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Exit status; `None` for a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Output {
    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    /// A new one; it goes when it is dropped.
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// A new one in this folder.
    pub fn below(folder: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("clawdbot-test-")
            .tempdir_in(folder)
            .unwrap();
        std::fs::create_dir(directory.path().join("home")).unwrap();
        Self { directory }
    }

    /// Root's scratch folder, through which the ordinary user may pass.
    pub fn passable() -> Self {
        let scratch = Self::new();
        for path in [scratch.path().to_owned(), scratch.home()] {
            rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        }
        scratch
    }

    /// The scratch folder.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The home directory, empty at first.
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// The default state directory.
    pub fn state(&self) -> PathBuf {
        self.home().join(".clawdbot")
    }

    /// Writes the configuration file.
    pub fn configure(&self, text: &str) {
        std::fs::create_dir_all(self.state()).unwrap();
        rustix::fs::chmod(self.state(), rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
        std::fs::write(self.state().join("clawdbot.json"), text).unwrap();
    }

    /// Root's configuration becomes that of the ordinary user that the product runs as.
    pub fn give_to_nobody(&self) {
        let user = clawdbot_confine::process::lookup_user("nobody");
        let user = user.unwrap().unwrap();
        for path in [self.state(), self.state().join("clawdbot.json")] {
            std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).unwrap();
        }
    }

    /// A program of the product, with this home and nothing else in its environment.
    pub fn program(&self, name: &str) -> Command {
        self.program_at(&binary(name))
    }

    /// Any program, in the same way.
    pub fn program_at(&self, path: &Path) -> Command {
        let mut command = Command::new(path);
        command
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", "/usr/bin:/bin");
        command.env("CLAWDBOT_STATE_DIR", self.state());
        command.stdin(Stdio::null());
        command
    }

    /// Runs `clawdbot` with arguments to its end.
    #[track_caller]
    pub fn clawdbot(&self, arguments: &[&str]) -> Output {
        let mut command = self.program("clawdbot");
        command.args(arguments);
        finish(&mut command)
    }

    /// The same for what gives everybody a moment to answer, asked again until something holds or the patience is over: on a
    /// busy machine a moment may be too short.
    #[track_caller]
    pub fn clawdbot_until(&self, arguments: &[&str], holds: impl Fn(&Output) -> bool) -> Output {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.clawdbot(arguments);
            if holds(&output) || Instant::now() > deadline {
                return output;
            }
        }
    }
}

/// Runs a command to its end, within the patience of a test.
#[track_caller]
pub fn finish(command: &mut Command) -> Output {
    finish_within(PATIENCE, command)
}

/// Runs a command to its end, within a patience of its own.
#[track_caller]
pub fn finish_within(patience: Duration, command: &mut Command) -> Output {
    let began = Instant::now();
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let (done, finished) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let output = child.wait_with_output().unwrap();
        let _nobody_waits = done.send(());
        output
    });
    if finished.recv_timeout(patience).is_err() {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let output = waiter.join().unwrap();
        panic!("{command:?} did not end: {output:?}");
    }
    let output = waiter.join().unwrap();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: began.elapsed(),
    }
}

/// A pipe whose lines end up in a file: processes may write no file of their own.
pub fn log_pipe(path: &Path) -> std::os::fd::OwnedFd {
    let (mut lines, end) = std::io::pipe().unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    std::thread::spawn(move || std::io::copy(&mut lines, &mut file));
    end.into()
}
