//! What a process starts with: its role, its settings and its descriptors. They come over the control
//! descriptor in single-user mode, or from the service manager in system mode; after this module
//! nobody can tell the difference.

mod single;
mod system;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clawdbot_confine::frame::FrameReader;
use clawdbot_identity::Role;
use clawdbot_proto::edges::PROCESSES;
use clawdbot_proto::v1::{Descriptor, Setup, descriptor};

use crate::callers::Callers;
use crate::notify::Target;
use crate::{Notifier, StartError};

/// Number of the control descriptor.
const CONTROL: i32 = 3;

/// Everything that came from outside.
pub(crate) struct Inherited {
    pub(crate) role: Role,
    pub(crate) setup: Setup,
    pub(crate) notifier: Notifier,
    pub(crate) way: Way,
    /// Set when the supervisor is gone.
    pub(crate) orphaned: Arc<AtomicBool>,
    pub(crate) brought: Brought,
    /// What is not as it should be and ends nothing, for the log.
    pub(crate) warnings: Vec<String>,
}

/// How the peers are reached.
pub(crate) enum Way {
    /// Streams come over the control descriptor.
    Control {
        stream: UnixStream,
        reader: FrameReader,
    },
    /// Servers listen in the runtime folder, see [`crate::system::socket_in`].
    Sockets { runtime: PathBuf, callers: Callers },
}

/// Descriptors by what they are for.
#[derive(Default)]
pub(crate) struct Brought {
    pub(crate) serves: Vec<(Role, UnixStream)>,
    pub(crate) calls: Vec<(Role, UnixStream)>,
    pub(crate) accepts: Vec<(Role, UnixListener)>,
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) files: BTreeMap<String, OwnedFd>,
    /// Where the service manager put the credentials.
    pub(crate) credentials: Option<PathBuf>,
}

impl Brought {
    /// Sorts in one descriptor. An unknown kind is refused: it was made for another version.
    pub(crate) fn add(&mut self, what: Descriptor, fd: OwnedFd) -> Result<(), StartError> {
        match what.what {
            Some(descriptor::What::Serves(role)) => self.serves.push((parse(&role)?, fd.into())),
            Some(descriptor::What::Calls(role)) => self.calls.push((parse(&role)?, fd.into())),
            Some(descriptor::What::Accepts(role)) => self.accepts.push((parse(&role)?, fd.into())),
            Some(descriptor::What::Listener(_)) => self.listeners.push(fd.into()),
            Some(descriptor::What::File(name)) => {
                self.files.insert(name, fd);
            }
            None => {
                return Err(StartError::config(
                    "an inherited descriptor has no known purpose",
                ));
            }
        }
        Ok(())
    }
}

fn parse(role: &str) -> Result<Role, StartError> {
    Role::parse(role).map_err(|error| StartError::config(format!("inherited descriptor: {error}")))
}

/// The role of this program: its name, and its instance if it has one (`clawdbot-agent main`).
pub(crate) fn own_role(program: &str, arguments: &[String]) -> Result<Role, StartError> {
    let wrong = |why: String| StartError::config(format!("clawdbot-{program}: {why}"));
    let text = match arguments {
        [] => program.to_owned(),
        [instance] => format!("{program}-{instance}"),
        _ => return Err(wrong("takes one argument at most, the instance".into())),
    };
    let known = PROCESSES.iter().any(|p| {
        p.role == text
            || p.role
                .strip_suffix("NAME")
                .is_some_and(|family| text.starts_with(family))
    });
    let role = Role::parse(&text).map_err(|error| wrong(error.to_string()))?;
    if known {
        Ok(role)
    } else {
        Err(wrong(format!("there is no process {text}")))
    }
}

/// Takes what was inherited and closes everything else.
pub(crate) fn take(role: Role) -> Result<Inherited, StartError> {
    if std::env::var_os("LISTEN_PID").is_some() || std::env::var_os("NOTIFY_SOCKET").is_some() {
        return system::take(role);
    }
    single::take(role)
}

fn target(control: &UnixStream) -> Result<Target, StartError> {
    let stream = control
        .try_clone()
        .map_err(|e| StartError::io("control descriptor", &e))?;
    Ok(Target::Control(stream))
}
