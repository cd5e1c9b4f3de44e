//! The built dialer in its real confinement, with a shell as the service manager: it still takes lists,
//! resolves, connects and hands over, and a caller gets nothing that is not on its list.
#![cfg(target_os = "linux")]
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use clawdbot_confine::frame::{self, FrameReader, Progress};
use clawdbot_proto::v1::dialer_reply::Outcome;
use clawdbot_proto::v1::{self, dialer_request::Request};
use prost::Message;

/// Who the dialer runs as when the tests run as root, which it refuses to be.
const NOBODY: u32 = 65_534;

/// A program that a child of another test inherits open for writing cannot be executed: one start at
/// a time.
static START: Mutex<()> = Mutex::new(());

struct Dialer {
    process: Child,
    folder: tempfile::TempDir,
}

impl Dialer {
    fn start() -> Self {
        let _alone = START.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        // A copy that the ordinary user can reach, wherever the build lies.
        let program = folder.path().join("clawdbot-dialer");
        let built = std::env::var("CARGO_BIN_EXE_clawdbot-dialer").unwrap();
        fs::copy(built, &program).unwrap();
        let socket = |name: &str| {
            let path = folder.path().join(name);
            let listener = UnixListener::bind(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            OwnedFd::from(listener)
        };
        let mut shell = Command::new("/bin/sh");
        // Two sockets come in as standard input and output and become descriptors 3 and 4.
        let script = "export LISTEN_PID=$$; exec \"$0\" 3<&0 4<&1 </dev/null >/dev/null";
        shell
            .args(["-c", script])
            .arg(&program)
            .env_clear()
            .env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", "policy:model-x")
            // Whose folder it is tells the dialer that there is one user here.
            .env("CLAWDBOT_RUNTIME_DIR", folder.path())
            .stdin(Stdio::from(socket("policy")))
            .stdout(Stdio::from(socket("model-x")))
            .stderr(Stdio::inherit());
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            shell.uid(NOBODY).gid(NOBODY);
        }
        let process = shell.spawn().unwrap();
        Self { process, folder }
    }

    /// Asks on the edge of `role`.
    fn ask(&self, role: &str, request: Request) -> (Option<Outcome>, Vec<OwnedFd>) {
        let edge = UnixStream::connect(self.folder.path().join(role)).unwrap();
        let request = v1::DialerRequest {
            id: 9,
            request: Some(request),
        };
        frame::send(&edge, &request.encode_to_vec(), &[]).unwrap();
        match FrameReader::new().read_from(&edge) {
            Ok(Progress::Frame(frame)) => {
                let reply = v1::DialerReply::decode(frame.payload.as_slice()).unwrap();
                assert_eq!(reply.id, 9);
                (reply.outcome, frame.fds)
            }
            _ => (None, Vec::new()),
        }
    }

    fn dial(&self, role: &str, host: &str, port: u16) -> (Option<Outcome>, Vec<OwnedFd>) {
        self.ask(
            role,
            Request::Dial(v1::Dial {
                host: host.into(),
                port: port.into(),
            }),
        )
    }

    fn push(&self, role: &str, allowed: &[(&str, u16, bool)]) -> Option<Outcome> {
        let allowed = allowed
            .iter()
            .map(|(host, port, private_allowed)| v1::AllowedDestination {
                host: (*host).into(),
                port: u32::from(*port),
                private_allowed: *private_allowed,
            });
        let list = v1::RoleDestinations {
            role: "model-x".into(),
            allowed: allowed.collect(),
        };
        let push = v1::Destinations {
            revision: 5,
            roles: vec![list],
            ..v1::Destinations::default()
        };
        self.ask(role, Request::Destinations(push)).0
    }
}

impl Drop for Dialer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn rule(outcome: Option<Outcome>) -> String {
    match outcome {
        Some(Outcome::Refused(refused)) => refused.rule,
        other => format!("{other:?}"),
    }
}

#[test]
fn a_confined_dialer_hands_over_what_is_listed_and_nothing_else() {
    let mut dialer = Dialer::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let allowed = [("localhost", port, true), ("127.0.0.1", port, false)];
    assert_eq!(dialer.push("policy", &allowed), Some(Outcome::Revision(5)));

    let (outcome, mut fds) = dialer.dial("model-x", "localhost", port);
    assert!(
        matches!(outcome, Some(Outcome::Connected(_))),
        "{outcome:?}"
    );
    let mut ours = TcpStream::from(fds.pop().unwrap());
    ours.set_nonblocking(false).unwrap();
    let (mut theirs, _) = listener.accept().unwrap();
    ours.write_all(b"ping").unwrap();
    let mut heard = [0; 4];
    theirs.read_exact(&mut heard).unwrap();
    theirs.write_all(&heard).unwrap();
    drop(theirs);
    let mut answer = String::new();
    ours.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "ping");

    assert_eq!(
        rule(dialer.dial("model-x", "127.0.0.1", port).0),
        "dial.private_address"
    );
    assert_eq!(
        rule(dialer.dial("model-x", "localhost", 1).0),
        "dial.not_listed"
    );
    // The edge table has no such rows: the connection ends without an answer.
    assert_eq!(dialer.dial("policy", "localhost", port).0, None);
    assert_eq!(dialer.push("model-x", &[("evil.example", 443, true)]), None);
    assert!(
        dialer.process.try_wait().unwrap().is_none(),
        "it still runs"
    );
}

#[test]
fn the_kernel_confirms_the_confinement() {
    let dialer = Dialer::start();
    // Ready once it answers.
    assert_eq!(dialer.push("policy", &[]), Some(Outcome::Revision(5)));
    let status = Path::new("/proc")
        .join(dialer.process.id().to_string())
        .join("status");
    let status = fs::read_to_string(status).unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{line}: {status}");
    }
}
