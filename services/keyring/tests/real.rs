//! The real program under its own filter, with a real session bus and a real gnome-keyring, each with a home of its own.
//! Where these are not installed, and as root, which the program refuses to be, it says so and tries nothing.

// Helpers outside of #[test] functions may fail like these do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clawdbot_confine::frame;
use clawdbot_confine::spawn::{Exit, Leash, Program, spawn};
use clawdbot_proto::v1::control_frame::Frame;
use clawdbot_proto::v1::keyring_reply::Outcome;
use clawdbot_proto::v1::{
    ControlFrame, Descriptor, KeyringReply, KeyringRequest, Setup, SetupDone, descriptor,
};
use prost::Message as _;

/// Lets everybody talk to everybody, and starts nobody.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>ADDRESS</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

/// A process of the desktop that ends with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A session bus with nobody on it.
struct Desktop {
    home: tempfile::TempDir,
    _bus: Daemon,
}

impl Desktop {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("bus.conf");
        fs::write(&config, BUS.replace("ADDRESS", &address(home.path()))).unwrap();
        let mut bus = dbus_daemon(home.path())
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .arg(format!("--config-file={}", config.display()))
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let said = bus.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        assert!(line.starts_with("unix:"), "the bus listens: {line}");
        Self {
            home,
            _bus: Daemon(bus),
        }
    }

    /// Starts the keyring of this desktop, unlocked with a password or as it is.
    fn keyring(&self, password: Option<&str>) -> Daemon {
        let mut daemon = Command::new("gnome-keyring-daemon")
            .args(["--foreground", "--components=secrets"])
            .args(password.map(|_| "--unlock"))
            .env_clear()
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.home.path())
            .env("DBUS_SESSION_BUS_ADDRESS", address(self.home.path()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = daemon.stdin.take().unwrap();
        stdin
            .write_all(password.unwrap_or_default().as_bytes())
            .unwrap();
        Daemon(daemon)
    }

    /// Asks until the keyring is on the bus: it says nowhere that it is.
    fn ask(&self, store: &[u8]) -> Outcome {
        // As many questions as fit into the time, since one may take next to none.
        let end = Instant::now() + Duration::from_secs(120);
        while Instant::now() < end {
            match ask(Some(&address(self.home.path())), store, true) {
                Outcome::Nowhere(why) if why.contains("keeps secrets") => {}
                outcome => return outcome,
            }
        }
        panic!("the keyring did not come");
    }
}

/// The program of the bus. It turns away whoever the user database does not know; for a user without an entry it gets a
/// database with one, in a mount namespace of its own.
fn dbus_daemon(home: &Path) -> Command {
    let known = Command::new("id").arg("-un").output().unwrap();
    if known.status.success() {
        return Command::new("dbus-daemon");
    }
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let entry = format!(
        "somebody:x:{}:{}::/nonexistent:/bin/false\n",
        user.as_raw(),
        group.as_raw()
    );
    let database = home.join("passwd");
    fs::write(&database, entry).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-current-user", "--keep-caps", "--mount"])
        .args([
            "sh",
            "-c",
            "mount --bind \"$1\" /etc/passwd && shift && exec \"$@\"",
            "sh",
        ])
        .arg(database)
        .arg("dbus-daemon");
    command
}

fn address(home: &Path) -> String {
    format!("unix:path={}/bus", home.display())
}

/// One life of the helper.
fn ask(bus: Option<&str>, store: &[u8], quiet: bool) -> Outcome {
    let built = std::env::var("CARGO_BIN_EXE_clawdbot-keyring").unwrap();
    let program = Program::open(Path::new(&built)).unwrap();
    let (control, theirs) = UnixStream::pair().unwrap();
    let (mut log, log_end) = std::io::pipe().unwrap();
    let log_end = OwnedFd::from(log_end);
    let argv = ["clawdbot-keyring"];
    let mut child = spawn(&program, &argv, theirs.into(), log_end, Leash::Parent).unwrap();
    let send = |frame, fd: Option<&dyn AsFd>| {
        let payload = ControlFrame { frame: Some(frame) }.encode_to_vec();
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        frame::send(&control, &payload, &fds).unwrap();
    };
    let file = |name: &str| {
        Frame::Descriptor(Descriptor {
            what: Some(descriptor::What::File(name.into())),
        })
    };
    send(
        Frame::Setup(Setup {
            role: "keyring".into(),
            log_level: "info".into(),
            ..Setup::default()
        }),
        None,
    );
    let (mut broker, end) = UnixStream::pair().unwrap();
    send(file("broker"), Some(&end));
    drop(end);
    if let Some(bus) = bus {
        let address = clawdbot_confine::fd::memfd("bus", bus.as_bytes()).unwrap();
        send(file("bus"), Some(&address));
    }
    send(Frame::SetupDone(SetupDone {}), None);
    let request = KeyringRequest {
        vault_id: "0f".repeat(16),
        store: store.to_vec(),
        quiet,
    };
    broker
        .write_all(&request.encode_length_delimited_to_vec())
        .unwrap();
    broker.shutdown(std::net::Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    broker.read_to_end(&mut reply).unwrap();
    let exit = child.wait().unwrap();
    let mut said = String::new();
    log.read_to_string(&mut said).unwrap();
    assert_eq!(exit, Exit::Code(0), "{said}");
    assert!(said.contains("confined"), "{said}");
    let reply = KeyringReply::decode_length_delimited(reply.as_slice()).unwrap();
    reply.outcome.unwrap()
}

/// Why this cannot be tried here.
fn obstacle(programs: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let missing = |name: &&&str| !places.iter().any(|place| place.join(name).exists());
    match programs.iter().find(missing) {
        Some(name) => Some(format!("{name} is not installed")),
        None if rustix::process::geteuid().is_root() => {
            Some("the program refuses to be root".into())
        }
        None => None,
    }
}

#[test]
fn a_key_is_kept_by_a_real_keyring_and_comes_back_after_its_restart() {
    let name = "a_key_is_kept_by_a_real_keyring_and_comes_back_after_its_restart";
    if let Some(why) = obstacle(&["dbus-daemon", "gnome-keyring-daemon"]) {
        println!("SKIPPED {name}: {why}");
        return;
    }
    let desktop = Desktop::start();
    match ask(Some(&address(desktop.home.path())), b"", false) {
        Outcome::Nowhere(why) => assert!(why.contains("start a keyring"), "{why}"),
        Outcome::Error(why) => panic!("a bus without a keyring: {why}"),
        _ => panic!("a bus without a keyring gave something"),
    }
    let keyring = desktop.keyring(Some("password"));
    assert!(desktop.ask(b"") == Outcome::Absent(true));
    let key: Vec<u8> = (0..32).collect();
    assert!(desktop.ask(&key) == Outcome::Key(key.clone()));
    drop(keyring);

    let keyring = desktop.keyring(Some("password"));
    assert!(desktop.ask(b"") == Outcome::Key(key.clone()));
    drop(keyring);
    let _keyring = desktop.keyring(None);
    match desktop.ask(b"") {
        Outcome::Error(why) => assert!(why.contains("locked"), "{why}"),
        _ => panic!("a locked keyring gave something"),
    }
    match ask(Some(&address(desktop.home.path())), b"", false) {
        Outcome::Error(why) => assert!(why.contains("unlock"), "{why}"),
        _ => panic!("a locked keyring gave something"),
    }
}

#[test]
fn without_a_bus_the_answer_is_a_remedy() {
    if let Some(why) = obstacle(&[]) {
        println!("SKIPPED without_a_bus_the_answer_is_a_remedy: {why}");
        return;
    }
    for bus in [None, Some("unix:path=/nonexistent/bus"), Some("")] {
        match ask(bus, b"", false) {
            Outcome::Nowhere(why) => assert!(why.contains("unlock the keyring"), "{why}"),
            _ => panic!("there is no keyring"),
        }
    }
}

#[test]
fn a_keyring_without_a_default_collection_keeps_nothing() {
    let name = "a_keyring_without_a_default_collection_keeps_nothing";
    if let Some(why) = obstacle(&["dbus-daemon", "gnome-keyring-daemon"]) {
        println!("SKIPPED {name}: {why}");
        return;
    }
    // It has the collection `session` all the same, which ends with it.
    let desktop = Desktop::start();
    let _keyring = desktop.keyring(None);
    match desktop.ask(&[7; 32]) {
        Outcome::Nowhere(why) => assert!(why.contains("default collection"), "{why}"),
        Outcome::Error(why) => panic!("{why}"),
        _ => panic!("the key is kept where it is lost"),
    }
}
