//! System mode: listening sockets come from the service manager under the name of the role that may
//! connect (`LISTEN_FDNAMES`), settings from a short list of variables and one file, peers are reached
//! by path.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawdbot_confine::{fd, process};
use clawdbot_identity::Role;
use clawdbot_proto::v1::{Descriptor, Setup, descriptor};

use super::{Brought, CONTROL, Inherited, Way};
use crate::callers::Callers;
use crate::notify::Target;
use crate::system::{self, Settings};
use crate::{Notifier, StartError};

/// Names of socket units that a message lists; policy has many.
const NAMED: usize = 3;

pub(super) fn take(role: Role) -> Result<Inherited, StartError> {
    let brought = sockets()?;
    let notifier = Notifier::new(manager()?);
    // From here on `systemctl status` shows what is wrong.
    rest(role, brought, notifier.clone()).inspect_err(|error| notifier.status(&error.to_string()))
}

fn rest(role: Role, mut brought: Brought, notifier: Notifier) -> Result<Inherited, StartError> {
    served(&role, &brought)?;
    if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        credentials(Path::new(&folder), &mut brought)?;
    }
    let runtime = PathBuf::from(variable(system::RUNTIME_VARIABLE, system::RUNTIME)?);
    let clients = brought.accepts.iter().map(|(client, _)| client);
    let (callers, mut warnings) = Callers::resolve(&role, &runtime, clients)?;
    let state_dir = variable(system::STATE_VARIABLE, system::STATE)?;
    let places = [runtime.as_path(), Path::new(&state_dir)];
    let (settings, problems) = Settings::read(&places.map(system::settings_file));
    warnings.extend(problems);
    let sandbox_require = match role == Role::policy() {
        // It is who says so: held to what it wrote before it ended, it could not take it back.
        true => Settings::default().sandbox_require(),
        false => settings.sandbox_require(),
    };
    let setup = Setup {
        role: role.to_string(),
        state_dir,
        config_path: variable(system::CONFIG_VARIABLE, system::CONFIG)?,
        home_dir: system::WORKSPACES.into(),
        port: 0,
        log_level: settings.log_level,
        sandbox_require: sandbox_require.into(),
        workspaces: workspaces(&role, &variable(system::WORKSPACES_VARIABLE, "")?)?,
    };
    process::env_wipe();
    Ok(Inherited {
        role,
        setup,
        notifier,
        way: Way::Sockets { runtime, callers },
        orphaned: Arc::default(),
        brought,
        warnings,
    })
}

/// Takes the sockets and closes everything else.
fn sockets() -> Result<Brought, StartError> {
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
        let what = if name == system::LISTENER {
            descriptor::What::Listener(String::new())
        } else {
            descriptor::What::Accepts(name)
        };
        brought.add(Descriptor { what: Some(what) }, fd)?;
    }
    Ok(brought)
}

/// A server that nobody can reach was started by hand, or its sockets are stopped: it would look well
/// and do nothing.
fn served(role: &Role, brought: &Brought) -> Result<(), StartError> {
    let clients = system::clients_of(role);
    if clients.is_empty() || !brought.accepts.is_empty() || !brought.listeners.is_empty() {
        return Ok(());
    }
    let named = clients.iter().take(NAMED);
    let mut units: Vec<String> = named
        .map(|client| system::socket_unit(role, client))
        .collect();
    if let more @ 1.. = clients.len().saturating_sub(NAMED) {
        units.push(format!("{more} more"));
    }
    Err(StartError::config(format!(
        "{role} was started without its sockets, so nobody can reach it: {} are stopped or gone, or it was started by hand; start everything with: systemctl start {}",
        units.join(", "),
        system::TARGET
    )))
}

/// Takes those that are there.
fn credentials(folder: &Path, brought: &mut Brought) -> Result<(), StartError> {
    for name in system::CREDENTIALS {
        match File::open(folder.join(name)) {
            Ok(file) => {
                brought.files.insert(name.into(), file.into());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StartError::io(&format!("credential {name}"), &error)),
        }
    }
    brought.credentials = Some(folder.to_owned());
    Ok(())
}

/// What an agent may read beside its state: the named folders, or the one of its class.
fn workspaces(role: &Role, named: &str) -> Result<Vec<String>, StartError> {
    let Some(class) = role.class() else {
        return Ok(Vec::new());
    };
    let folders: Vec<String> = named
        .split(':')
        .filter(|folder| !folder.is_empty())
        .map(str::to_owned)
        .collect();
    match folders.iter().find(|folder| !folder.starts_with('/')) {
        Some(folder) => Err(StartError::config(format!(
            "{} names {folder:?}; name folders from / on, with : between two",
            system::WORKSPACES_VARIABLE
        ))),
        None if folders.is_empty() => {
            let own = system::workspace_folder(class);
            Ok(vec![own.to_string_lossy().into_owned()])
        }
        None => Ok(folders),
    }
}

fn variable(name: &str, default: &str) -> Result<String, StartError> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(default.into()),
        Err(std::env::VarError::NotUnicode(_)) => Err(StartError::config(format!(
            "{name} is not UTF-8; name a path that is"
        ))),
    }
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn role(text: &str) -> Role {
        Role::parse(text).unwrap()
    }

    #[test]
    fn a_server_without_a_socket_is_no_server_and_its_units_are_named() {
        let error = served(&role("policy"), &Brought::default()).unwrap_err();
        assert_eq!(error.code(), 78);
        for word in [
            "clawdbot-policy-from-gateway.socket",
            " more",
            "systemctl start clawdbot.target",
        ] {
            assert!(error.to_string().contains(word), "{error}");
        }
        let agent = served(&role("agent-guest"), &Brought::default()).unwrap_err();
        assert!(!agent.to_string().contains("more"), "{agent}");
        served(&role("channel-telegram"), &Brought::default()).unwrap();

        let scratch = tempfile::tempdir().unwrap();
        let socket = UnixListener::bind(scratch.path().join("s")).unwrap();
        let mut one = Brought::default();
        one.accepts.push((role("gateway"), socket));
        served(&role("policy"), &one).unwrap();
        let mut door = Brought::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        door.listeners.push(listener);
        served(&role("gateway"), &door).unwrap();
    }

    #[test]
    fn the_credentials_that_are_there_are_handed_over_and_no_other_file() {
        let scratch = tempfile::tempdir().unwrap();
        for name in ["vault-key", "environment", "other"] {
            std::fs::write(scratch.path().join(name), name).unwrap();
        }
        let mut brought = Brought::default();
        credentials(scratch.path(), &mut brought).unwrap();
        let names: Vec<&str> = brought.files.keys().map(String::as_str).collect();
        assert_eq!(names, ["environment", "vault-key"]);
        let mut key = File::from(brought.files.remove("vault-key").unwrap());
        let mut text = String::new();
        io::Read::read_to_string(&mut key, &mut text).unwrap();
        assert_eq!(text, "vault-key");
        let error = credentials(Path::new("/dev/null"), &mut brought).unwrap_err();
        assert!(
            error.to_string().starts_with("credential environment: "),
            "{error}"
        );
    }

    #[test]
    fn an_agent_reads_the_folders_that_its_unit_names_or_that_of_its_class() {
        let folders = |role_name: &str, named: &str| workspaces(&role(role_name), named);
        assert_eq!(
            folders("agent-guest", "").unwrap(),
            ["/var/lib/clawdbot-work/guest"]
        );
        assert_eq!(folders("agent-main", "/a:/b/c:").unwrap(), ["/a", "/b/c"]);
        assert_eq!(folders("policy", "/a").unwrap(), [""; 0]);
        let error = folders("agent-main", "/a:b").unwrap_err();
        assert_eq!(error.code(), 78);
        assert!(
            error
                .to_string()
                .contains("CLAWDBOT_WORKSPACES names \"b\""),
            "{error}"
        );
    }
}
