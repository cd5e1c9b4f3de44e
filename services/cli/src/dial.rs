//! Connects to the operator's sockets, in STATE/run or in system mode in the runtime folder. What is not there, refuses or belongs to somebody else is told
//! apart in one sentence, at once: a command never hangs because nothing runs.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_service::Edge;
use clawdbot_service::system::operator_folder;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::failure::{EXIT_NOT_RUNNING, Failure, NOT_RUNNING};
use crate::place::{Mode, Place};
use crate::rights;

/// How long a socket may take to accept.
const CONNECT: Duration = Duration::from_millis(500);
/// How long a call waits for a server that is being restarted.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a path that fit into a socket address, with its final zero byte.
const SUN_PATH: usize = if cfg!(target_os = "macos") { 104 } else { 108 };

/// Who answers the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Messages, sessions.
    Gateway,
    /// Tokens, login links, the configuration in force.
    Policy,
    /// Credentials.
    Broker,
    /// Processes.
    Supervisor,
}

impl Server {
    /// The role, which is also the name of the socket.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Policy => "policy",
            Self::Broker => "broker",
            Self::Supervisor => "supervisor",
        }
    }
}

/// A server that answered the door.
pub struct Line {
    /// Its edge, which connects again by itself when the server was restarted.
    pub edge: Edge,
    /// What the edge's path goes through, if it was too long for a socket address.
    _directory: Option<OwnedFd>,
}

impl From<Edge> for Line {
    fn from(edge: Edge) -> Self {
        Self {
            edge,
            _directory: None,
        }
    }
}

/// The operator's sockets of one assistant.
#[derive(Debug, Clone)]
pub struct Sockets {
    place: Place,
}

impl Sockets {
    /// Those that `clawdbot up` has in `state`. Nothing is opened yet.
    pub fn new(state: PathBuf) -> Self {
        Self::of(&Place {
            state,
            ..Place::default()
        })
    }

    /// Those of the assistant that is meant. Nothing is opened yet.
    pub fn of(place: &Place) -> Self {
        Self {
            place: place.clone(),
        }
    }

    /// The assistant that is meant.
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn folder(&self) -> PathBuf {
        match &self.place.mode {
            Mode::Single => self.place.state.join("run"),
            Mode::System { runtime } => operator_folder(runtime),
        }
    }

    /// A line to `server`, after a first connection has shown that somebody is there: the edge itself could not tell
    /// why nobody is.
    ///
    /// # Errors
    /// Exit status 69 when nothing answers there or it belongs to another user.
    pub async fn open(&self, server: Server) -> Result<Line, Failure> {
        let (path, directory) = self
            .probe(server)
            .await
            .map_err(|error| self.explain(server, &error))?;
        let role =
            |name| Role::parse(name).map_err(|error| Failure::new("role", error.to_string()));
        let edge = Edge::to_path(path, role("operator")?, role(server.name())?, PATIENCE);
        Ok(Line {
            edge,
            _directory: directory,
        })
    }

    async fn probe(&self, server: Server) -> io::Result<(PathBuf, Option<OwnedFd>)> {
        let name = format!("{}.sock", server.name());
        let found = reachable(&self.folder(), &name)?;
        timeout(CONNECT, UnixStream::connect(&found.0)).await??;
        Ok(found)
    }

    fn explain(&self, server: Server, error: &io::Error) -> Failure {
        match &self.place.mode {
            Mode::Single => self.explain_single(server, error),
            Mode::System { .. } => {
                let path = self.folder().join(format!("{}.sock", server.name()));
                explain_system(server, &path, error)
            }
        }
    }

    fn explain_single(&self, server: Server, error: &io::Error) -> Failure {
        let state = self.place.state.display();
        let failure = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {
                Failure::new(NOT_RUNNING, format!("nothing is running in {state}"))
                    .remedy("start it with `clawdbot up`")
            }
            ErrorKind::PermissionDenied => {
                let owner = std::fs::metadata(&self.place.state).map(|found| found.uid());
                let owner = owner.map_or("another user".to_owned(), |uid| {
                    format!("the user with id {uid}")
                });
                Failure::new(
                    "not_yours",
                    format!("what is in {state} belongs to {owner}"),
                )
                .remedy("run this as that user, or name a directory of your own with --state-dir")
            }
            ErrorKind::InvalidInput => Failure::new("path", format!("{state}: {error}"))
                .remedy("choose a shorter directory with --state-dir"),
            _ => Failure::new(
                "unreachable",
                format!("the {} in {state} does not answer: {error}", server.name()),
            )
            .remedy("if it stays so, stop `clawdbot up` and start it again"),
        };
        failure.exit(EXIT_NOT_RUNNING)
    }
}

fn explain_system(server: Server, path: &Path, error: &io::Error) -> Failure {
    let (shown, name) = (path.display(), server.name());
    let failure = match error.kind() {
        ErrorKind::PermissionDenied => return rights::refused(path),
        ErrorKind::NotFound | ErrorKind::NotADirectory => Failure::new(
            NOT_RUNNING,
            format!("the assistant of this machine is not running: there is no {shown}"),
        )
        .remedy("sudo systemctl start clawdbot.target"),
        ErrorKind::ConnectionRefused => Failure::new(
            NOT_RUNNING,
            format!("nobody listens at {shown}: its socket unit was stopped"),
        )
        .remedy("sudo clawdbot service restart"),
        _ => Failure::new(
            "unreachable",
            format!("the {name} at {shown} does not answer: {error}"),
        )
        .remedy(format!(
            "systemctl status clawdbot-{name}.service shows why; if it stays so: sudo clawdbot service restart"
        )),
    };
    failure.exit(EXIT_NOT_RUNNING)
}

/// Whether somebody answers the operator in this state directory. Never waits: a queue that is full has an owner.
pub fn answers(state: &Path) -> bool {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

    let connected = || -> io::Result<()> {
        let (path, _directory) = reachable(&state.join("run"), "gateway.sock")?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(())
    };
    match connected() {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// A path to `name` in `directory` that fits into a socket address. A longer one goes through an open descriptor of
/// the directory, which has to live until the connection is made.
fn reachable(directory: &Path, name: &str) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    let path = directory.join(name);
    if path.as_os_str().as_bytes().len() < SUN_PATH {
        return Ok((path, None));
    }
    through_descriptor(directory, name)
}

#[cfg(target_os = "linux")]
fn through_descriptor(directory: &Path, name: &str) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{Mode, OFlags};

    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::open(directory, flags, Mode::empty())?;
    Ok((
        PathBuf::from(format!("/proc/self/fd/{}/{name}", open.as_raw_fd())),
        Some(open),
    ))
}

#[cfg(not(target_os = "linux"))]
fn through_descriptor(_: &Path, _: &str) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    let limit = SUN_PATH - 1;
    Err(io::Error::new(
        ErrorKind::InvalidInput,
        format!("a socket's path has at most {limit} bytes here"),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn on_runtime<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(work)
    }

    fn listening(state: &Path) -> UnixListener {
        std::fs::create_dir_all(state.join("run")).unwrap();
        let (path, _directory) = reachable(&state.join("run"), "gateway.sock").unwrap();
        UnixListener::bind(path).unwrap()
    }

    fn failure(state: &Path) -> Failure {
        on_runtime(Sockets::new(state.to_owned()).open(Server::Gateway))
            .err()
            .unwrap()
    }

    #[test]
    fn nothing_there_and_a_socket_left_over_are_both_not_running() {
        let state = tempfile::tempdir().unwrap();
        let missing = failure(state.path());
        drop(listening(state.path()));
        for failure in [missing, failure(state.path())] {
            assert_eq!((failure.exit, failure.code.as_str()), (69, "not_running"));
            assert!(failure.remedy.unwrap().contains("clawdbot up"));
        }
    }

    #[test]
    fn a_listening_socket_is_reached_also_under_a_path_longer_than_an_address() {
        let state = tempfile::tempdir().unwrap();
        for state in [
            state.path().to_owned(),
            state.path().join("d".repeat(120)).join("e".repeat(120)),
        ] {
            let listener = listening(&state);
            on_runtime(Sockets::new(state).open(Server::Gateway))
                .map(drop)
                .unwrap();
            listener.accept().unwrap();
        }
    }

    #[test]
    fn in_system_mode_closed_missing_and_stopped_are_three_sentences() {
        let runtime = tempfile::tempdir().unwrap();
        let sockets = Sockets::of(&Place {
            mode: Mode::System {
                runtime: runtime.path().to_owned(),
            },
            ..Place::default()
        });
        let open = || on_runtime(sockets.open(Server::Policy)).map(drop);
        let missing = open().unwrap_err();
        assert_eq!((missing.exit, missing.code.as_str()), (69, NOT_RUNNING));
        assert!(
            missing
                .remedy
                .unwrap()
                .contains("systemctl start clawdbot.target")
        );
        let folder = runtime.path().join("operator");
        std::fs::create_dir(&folder).unwrap();
        let listener = UnixListener::bind(folder.join("policy.sock")).unwrap();
        open().unwrap();
        listener.accept().unwrap();
        drop(listener);
        let stopped = open().unwrap_err();
        assert_eq!((stopped.exit, stopped.code.as_str()), (69, NOT_RUNNING));
        assert!(
            stopped.message.contains("nobody listens"),
            "{}",
            stopped.message
        );
        let closed = sockets.explain(Server::Policy, &ErrorKind::PermissionDenied.into());
        assert_eq!(closed.exit, 77);
    }

    #[test]
    fn a_socket_that_was_left_over_answers_nobody() {
        let state = tempfile::tempdir().unwrap();
        assert!(!answers(state.path()));
        let listener = listening(state.path());
        assert!(answers(state.path()));
        drop(listener);
        assert!(!answers(state.path()));
    }

    #[test]
    fn another_users_directory_is_named_as_such() {
        let sockets = Sockets::new("/proc".into());
        let refused = sockets.explain(Server::Gateway, &ErrorKind::PermissionDenied.into());
        assert_eq!((refused.exit, refused.code.as_str()), (69, "not_yours"));
        assert!(
            refused.message.contains("the user with id 0"),
            "{}",
            refused.message
        );
    }
}
