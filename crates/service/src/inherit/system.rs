//! System mode: listening sockets come from the service manager under the name of the role that may
//! connect (`LISTEN_FDNAMES`), settings from a short list of variables, peers are reached by path.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;

use clawdbot_confine::{fd, process};
use clawdbot_identity::Role;
use clawdbot_proto::v1::{Descriptor, Setup, descriptor};

use super::{Brought, CONTROL, Inherited, Way};
use crate::notify::Target;
use crate::{Notifier, StartError};

/// Name of the socket unit's descriptor that is the front door's TCP listener.
const LISTENER: &str = "listener";
/// Files that the service manager provides as credentials, by the name a process asks for.
const CREDENTIALS: [&str; 3] = ["environment", "gateway-token", "gateway-password"];

pub(super) fn take(role: Role) -> Result<Inherited, StartError> {
    let mut brought = Brought::default();
    let mut inherited: Vec<(String, OwnedFd)> = Vec::new();
    for (number, name) in names()? {
        let fd = fd::take(number).map_err(|e| StartError::io("LISTEN_FDS", &e))?;
        inherited.push((name, fd));
    }
    let keep: Vec<_> = inherited.iter().map(|(_, fd)| fd.as_fd()).collect();
    fd::close_from(&keep).map_err(|error| StartError::io("inherited descriptors", &error))?;
    for (name, fd) in inherited {
        fd::set_cloexec(&fd).map_err(|error| StartError::io("LISTEN_FDS", &error))?;
        let what = if name == LISTENER {
            descriptor::What::Listener(String::new())
        } else {
            descriptor::What::Accepts(name)
        };
        brought.add(Descriptor { what: Some(what) }, fd)?;
    }
    if let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        for name in CREDENTIALS {
            match File::open(PathBuf::from(&directory).join(name)) {
                Ok(file) => {
                    brought.files.insert(name.into(), file.into());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StartError::io(&format!("credential {name}"), &error)),
            }
        }
    }
    let setup = Setup {
        role: role.to_string(),
        state_dir: variable("CLAWDBOT_STATE_DIR", "/var/lib/clawdbot"),
        config_path: variable("CLAWDBOT_CONFIG_PATH", "/etc/clawdbot/clawdbot.json"),
        home_dir: variable("CLAWDBOT_WORK_DIR", "/var/lib/clawdbot-work"),
        port: 0,
        log_level: String::from("info"),
        sandbox_require: String::from("available"),
        workspaces: Vec::new(),
    };
    let runtime = PathBuf::from(variable("CLAWDBOT_RUNTIME_DIR", "/run/clawdbot"));
    let notifier = Notifier::new(manager()?);
    process::env_wipe();
    Ok(Inherited {
        role,
        setup,
        notifier,
        way: Way::Sockets(runtime),
        orphaned: Arc::default(),
        brought,
    })
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| default.into())
}

/// The descriptors that the service manager passed to this very process, with their names.
fn names() -> Result<Vec<(i32, String)>, StartError> {
    let pid: Option<u32> = std::env::var("LISTEN_PID")
        .ok()
        .and_then(|pid| pid.parse().ok());
    if pid != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let count: usize = std::env::var("LISTEN_FDS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = if names.is_empty() {
        Vec::new()
    } else {
        names.split(':').collect()
    };
    if names.len() != count {
        return Err(StartError::config(format!(
            "LISTEN_FDS says {count} sockets and LISTEN_FDNAMES names {}; every socket unit needs a FileDescriptorName",
            names.len()
        )));
    }
    Ok((CONTROL..)
        .zip(names.into_iter().map(String::from))
        .collect())
}

/// Connects to the service manager's notify socket while that is still allowed.
fn manager() -> Result<Target, StartError> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(Target::Nobody);
    };
    let failed = |error: io::Error| StartError::io("NOTIFY_SOCKET", &error);
    let socket = UnixDatagram::unbound().map_err(failed)?;
    #[cfg(target_os = "linux")]
    if let Some(name) = path.to_str().and_then(|path| path.strip_prefix('@')) {
        use std::os::linux::net::SocketAddrExt as _;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).map_err(failed)?;
        socket.connect_addr(&address).map_err(failed)?;
        return Ok(Target::Manager(socket));
    }
    socket.connect(path).map_err(failed)?;
    Ok(Target::Manager(socket))
}
