//! What the probe of one service is aimed at: a state directory, a configuration and edges of its own, as the real ones
//! are and beside them, so that nothing real is touched whatever succeeds.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawdbot_attempts::{Column, Needs, Place, Plan, all, system_columns};
use clawdbot_confine::process::lookup_user;
use clawdbot_identity::Role;
use clawdbot_scene::{EDGES, Listener, Places, Set, furnish, hand, source};
use clawdbot_service::system;

/// The servers that have a socket for operators.
const OPERATED: [&str; 4] = ["gateway", "policy", "broker", "supervisor"];
/// In the attempts this one stands for every model worker.
const MODEL: &str = "model-openai";
/// Where a container engine listens.
const DOCKER: &str = "/run/docker.sock";

/// What a service manager hands over: descriptors by name.
type Passed = Vec<(String, OwnedFd)>;

/// The column of a role; `None` for who has none.
pub fn column(role: &Role) -> Option<Column> {
    let key = match role.family() {
        "model" => "model",
        "channel" => "channel",
        _ => role.as_str(),
    };
    system_columns()
        .into_iter()
        .find(|column| column.place == Place::System && column.key == key)
}

/// Program and instance, as the probe takes them.
pub fn service(role: &Role) -> Vec<String> {
    match (role.family(), instance(role)) {
        // Each channel is a program.
        ("channel", _) | (_, "") => vec![role.to_string()],
        (family, instance) => vec![family.to_owned(), instance.to_owned()],
    }
}

/// The instance of the role's unit; empty where it is none.
pub fn instance(role: &Role) -> &str {
    let rest = role.as_str().strip_prefix(role.family());
    rest.unwrap_or_default().trim_start_matches('-')
}

/// The stage of one role.
pub struct Stage {
    role: Role,
    column: Column,
    set: Set,
    folder: PathBuf,
    /// Of the role itself, for each process that plays it.
    own: Option<(Role, UnixListener)>,
    /// Where the probe asks.
    pub asks: Arc<UnixListener>,
    /// Where it has connections made, if it may.
    pub dialer: Option<Arc<UnixListener>>,
    _listeners: Vec<Listener>,
}

/// Owner, group and mode.
#[derive(Debug, Clone, Copy)]
struct Rights(u32, u32, u32);

impl Rights {
    /// Those of something real, or else these.
    fn of(real: &Path, otherwise: Self) -> Self {
        let found = fs::metadata(real);
        found.map_or(otherwise, |real| {
            Self(real.uid(), real.gid(), real.mode() & 0o7777)
        })
    }

    fn set(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.0), Some(self.1))?;
        fs::set_permissions(path, fs::Permissions::from_mode(self.2))
    }
}

fn open_to(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn open_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    open_to(path, 0o755)
}

/// Gives everything below to one user, links as they are. A folder comes last: what is somebody else's already is not
/// walked through any more.
fn give(path: &Path, user: (u32, u32)) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    lchown(path, Some(user.0), Some(user.1))
}

impl Stage {
    /// Sets it up in `folder`. `runtime`: the real sockets, whose owners and modes are taken over; `sibling`: a process
    /// of another service.
    ///
    /// # Errors
    /// When something cannot be made.
    pub fn build(
        folder: &Path,
        role: &Role,
        column: Column,
        runtime: &Path,
        sibling: u32,
    ) -> io::Result<Self> {
        let name = system::user_of(role);
        let user = lookup_user(&name)?
            .ok_or_else(|| io::Error::other(format!("there is no user {name}")))?;
        fs::create_dir_all(folder)?;
        // Nobody else of this machine comes in.
        Rights(0, user.gid, 0o750).set(folder)?;
        let (mut set, mut listeners) = Set::build(folder)?;
        for name in ["home", "home/private", "home/clawd", "home/clawd-guest"] {
            open_to(&folder.join(name), 0o755)?;
        }
        for name in ["private", "clawd", "clawd-guest"] {
            open_to(&folder.join("home").join(name).join("canary"), 0o644)?;
        }
        Rights(user.uid, user.gid, 0o700).set(&folder.join("open"))?;
        open_to(&folder.join("bus"), 0o600)?;
        Rights::of(Path::new(DOCKER), Rights(0, 0, 0o660)).set(&folder.join("docker.sock"))?;
        let state = folder.join("state");
        furnish(&state, &set.canary())?;
        give(&state, (user.uid, user.gid))?;
        let etc = folder.join("etc");
        open_folder(&etc)?;
        fs::write(etc.join("clawdbot.json"), "{}")?;
        give(&etc, (user.uid, user.gid))?;
        listeners.extend(sockets(folder, role, runtime)?);
        let dialer = match role.family() {
            "model" | "channel" => Some(Arc::new(dialer(folder, role, user.gid)?)),
            _ => None,
        };
        plan(folder, runtime)?;
        let own = match system::clients_of(role).into_iter().next() {
            Some(client) => Some((client, UnixListener::bind(folder.join("own.sock"))?)),
            None => None,
        };
        let path = folder.join("asks.sock");
        let asks = UnixListener::bind(&path)?;
        Rights(0, user.gid, 0o660).set(&path)?;
        set.tell("sibling", sibling);
        set.tell("sibling-address", 0);
        // Who started it is the service manager, which a signal that does nothing leaves as it is.
        set.tell("parent", 1);
        Ok(Self {
            role: role.clone(),
            column,
            set,
            folder: folder.to_owned(),
            own,
            asks: Arc::new(asks),
            dialer,
            _listeners: listeners,
        })
    }

    /// The folder of all of it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the probe asks.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("asks.sock")
    }

    fn config(&self) -> PathBuf {
        self.folder.join("etc/clawdbot.json")
    }

    fn runtime(&self) -> PathBuf {
        self.folder.join("runtime")
    }

    /// What tells a process where its folders are.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let workspace = match self.role.as_str() {
            "agent-guest" => "home/clawd-guest",
            _ => "home/clawd",
        };
        vec![
            (system::STATE_VARIABLE, text(self.folder.join("state"))),
            (system::CONFIG_VARIABLE, text(self.config())),
            (system::RUNTIME_VARIABLE, text(self.runtime())),
            (
                system::WORKSPACES_VARIABLE,
                text(self.folder.join(workspace)),
            ),
        ]
    }

    /// What the probe is to try.
    pub fn plan(&self) -> Plan {
        let state = self.folder.join("state");
        let operators = system::operator_folder(&self.runtime());
        let places = Places {
            state: &state,
            config: &self.config(),
            operators: &operators,
        };
        let mut plan = Plan::default();
        plan.world.facts = self.set.facts(&places, &Set::own(&self.column, &state));
        plan.world
            .facts
            .insert("connect".into(), "permitted".into());
        let names = all().map(|attempt| attempt.name);
        plan.attempts = names.map(str::to_owned).collect();
        plan
    }

    /// What a process is handed by the service manager: descriptors with their names, and what has to stay open.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn hand(&self, needs: Needs) -> io::Result<(Passed, Vec<OwnedFd>)> {
        let (mut passed, mut kept) = (Passed::new(), Vec::new());
        match source(&self.column, needs) {
            Some("from-listener") => {
                let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
                let made = std::net::TcpStream::connect(listener.local_addr()?)?;
                kept.push(made.into());
                passed.push((system::LISTENER.into(), listener.into()));
            }
            Some(_) => {}
            None => {
                if let Some(handed) = hand(needs, &self.set.canary(), false)? {
                    // Under the name of a role, and never served: only its number counts.
                    passed.push((Role::operator().to_string(), handed.fd));
                    kept.extend(handed.peer);
                }
            }
        }
        if let Some((client, listener)) = &self.own {
            // A server without a socket does not start. It stands behind those that the attempts know by number.
            passed.push((client.to_string(), listener.as_fd().try_clone_to_owned()?));
        }
        Ok((passed, kept))
    }
}

/// The edges and the operator's sockets, each with the rights of the real one.
fn sockets(folder: &Path, role: &Role, real: &Path) -> io::Result<Vec<Listener>> {
    let runtime = folder.join("runtime");
    open_folder(&runtime)?;
    let listeners = clawdbot_scene::edges(&runtime)?;
    let stands = |name: &str| match role.family() {
        "model" if name == MODEL => role.to_string(),
        _ => name.to_owned(),
    };
    for edge in EDGES {
        let Some((server, client)) = edge.split_once('/') else {
            continue;
        };
        open_to(&runtime.join(server), 0o755)?;
        let path = runtime.join(format!("{edge}.sock"));
        let client = stands(client);
        let group = Role::parse(&client).ok();
        let group = group.and_then(|role| lookup_user(&system::user_of(&role)).ok().flatten());
        let usual = Rights(0, group.map_or(0, |user| user.gid), 0o660);
        let real = real.join(stands(server)).join(format!("{client}.sock"));
        Rights::of(&real, usual).set(&path)?;
    }
    let operators = system::operator_folder(&runtime);
    open_folder(&operators)?;
    let mut all = listeners;
    for server in OPERATED {
        let name = format!("{server}.sock");
        let path = operators.join(&name);
        all.push(Listener::Unix(UnixListener::bind(&path)?));
        let real = system::operator_folder(real).join(&name);
        Rights::of(&real, Rights(0, 0, 0o660)).set(&path)?;
    }
    Ok(all)
}

/// Where the dialer is played, for one that dials.
fn dialer(folder: &Path, role: &Role, group: u32) -> io::Result<UnixListener> {
    let path = folder.join("runtime/dialer").join(format!("{role}.sock"));
    // In its place, where it is one of those that are attacked.
    let _attacked_only = fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    Rights(0, group, 0o660).set(&path)?;
    Ok(listener)
}

/// What policy says to every process that starts.
fn plan(folder: &Path, real: &Path) -> io::Result<()> {
    let runtime = folder.join("runtime");
    let plan = system::plan_folder(&runtime);
    open_folder(&plan)?;
    // Its folder is policy's: what lies there is read as every process reads it.
    if let Ok(said) = system::settings_text(&system::settings_file(real)) {
        fs::write(system::settings_file(&runtime), said)?;
        open_to(&system::settings_file(&runtime), 0o644)?;
    }
    let policy = lookup_user(&system::user_of(&Role::policy()))?;
    match policy {
        Some(user) => give(&plan, (user.uid, user.gid)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_that_is_installed_has_a_column_and_a_program() {
        for role in system::roles() {
            assert!(column(&role).is_some(), "{role}");
        }
        let service = |role: &str| service(&Role::parse(role).unwrap()).join(" ");
        assert_eq!(service("agent-main"), "agent main");
        assert_eq!(service("model-my-llm"), "model my-llm");
        assert_eq!(service("channel-telegram"), "channel-telegram");
        assert_eq!(service("policy"), "policy");
        let telegram = Role::parse("channel-telegram").unwrap();
        assert_eq!(
            (instance(&telegram), instance(&Role::policy())),
            ("telegram", "")
        );
        assert_eq!(column(&Role::parse("supervisor").unwrap()), None);
    }
}
