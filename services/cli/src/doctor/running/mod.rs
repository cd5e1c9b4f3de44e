//! What runs, as it is measured from outside: processes in `/proc`, units at the service manager, sockets where they lie,
//! the machine below. Gathered at once and in parallel; the checks are functions of what was found.

mod deep;
mod ends;
mod folders;
mod limits;
mod machine;
mod overrides;
mod process;
mod procfs;
mod shown;
mod sockets;
mod units;
mod weaker;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_proto::edges::{PROCESSES, Starts};
use clawdbot_proto::v1::Process;
use clawdbot_service::system;
use tokio::time::timeout;

use self::deep::Answers;
use self::ends::Ends;
use self::folders::OwnFolder;
use self::machine::Machine;
use self::overrides::Overridden;
use self::procfs::{IpSocket, ProcessFact};
pub use self::shown::{machine_schema, schema};
use self::sockets::SocketFile;
pub use self::weaker::assignments;
use super::check::Check;
use crate::accounts::Accounts;
use crate::dial::{Server, Sockets};
use crate::failure::Failure;
use crate::manager::{self, SocketUnit, UnitFact};
use crate::place::{Mode, Place};
use crate::service;
use crate::status::{self, Report};

/// Every row about what was measured.
pub const CHECKS: &[&[Check]] = &[
    process::CHECKS,
    units::CHECKS,
    sockets::CHECKS,
    folders::CHECKS,
    deep::CHECKS,
    machine::CHECKS,
];

/// How long whoever is asked may take, on a machine that has much to do, too.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same for programs of the service manager's, without which little can be told.
const LONG: Duration = Duration::from_secs(10);
/// The largest unit file.
const MAX_UNIT: u64 = 256 << 10;
/// In this order a unit file of the same name wins.
const UNIT_FOLDERS: [&str; 3] = [
    "etc/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// What was found.
#[derive(Debug, Default)]
pub struct Running {
    /// Whether anybody looked; without it nothing below means anything.
    pub looked: bool,
    /// Whether a service manager starts the processes, each as a user of its own.
    pub system: bool,
    /// Whether this user's own service manager starts them, in single-user mode.
    pub own_unit: bool,
    /// Folder of the sockets, in system mode.
    pub runtime: PathBuf,
    /// What `clawdbot apply` would do.
    pub pending: Vec<String>,
    /// Of the supervisor.
    pub version: Option<String>,
    pub processes: Vec<ProcessFact>,
    pub accounts: Accounts,
    pub units: Option<Vec<UnitFact>>,
    /// How processes ended lately; nothing where the journal could not be read.
    pub ends: Option<Ends>,
    /// Units that run whatever the configuration says.
    pub always: Vec<String>,
    pub socket_units: Option<Vec<SocketUnit>>,
    /// Socket units that are installed.
    pub wanted_sockets: Vec<String>,
    /// Services without a limit that their unit has, each with the limit's name.
    pub unlimited: Vec<(String, &'static str)>,
    /// Whether the service manager has the programs for BPF without which some lines of units do nothing.
    pub bpf: Option<bool>,
    /// Sockets and slices over which something was put.
    pub overridden: Vec<Overridden>,
    /// Unit files and drop-ins by their paths.
    pub unit_files: BTreeMap<String, String>,
    pub socket_files: Vec<SocketFile>,
    /// Folders that one process each writes to.
    pub folders: Vec<OwnFolder>,
    /// Channels of policy's plan, as roles.
    pub planned: Vec<String>,
    /// Sockets of this machine's network that accept connections.
    pub listening: Option<Vec<IpSocket>>,
    /// Where the front door should be.
    pub listeners: Vec<SocketAddr>,
    pub gateway_runs: bool,
    pub answers: Answers,
    pub machine: Machine,
    /// What this user could not see, in words.
    pub unseen: Vec<String>,
}

impl Running {
    /// What starts everything.
    pub fn start(&self) -> &'static str {
        match (self.system, self.own_unit) {
            (true, _) => "sudo systemctl start clawdbot.target",
            (false, true) => "clawdbot service start",
            (false, false) => "clawdbot up",
        }
    }

    /// Where the package has a unit's file; an instance has its template's.
    fn shipped(&self, unit: &str) -> String {
        let file = match (unit.split_once('@'), unit.rsplit_once('.')) {
            (Some((template, _)), Some((_, kind))) => format!("{template}@.{kind}"),
            _ => unit.to_owned(),
        };
        let paths = ["/usr/lib/systemd/system", "/lib/systemd/system"]
            .map(|folder| format!("{folder}/{file}"));
        let [usual, old] = paths;
        match self.unit_files.contains_key(&usual) {
            true => usual,
            false => old,
        }
    }

    /// The processes of units in the words of the supervisor, for what looks at both.
    pub fn as_processes(&self) -> Vec<Process> {
        let processes = self.processes.iter().filter(|_| self.system);
        let processes = processes.map(|fact| Process {
            role: fact.role.clone(),
            pid: fact.pid,
            state: "ready".to_owned(),
            confinement: fact.says.clone(),
            ..Process::default()
        });
        processes.collect()
    }
}

/// The service that runs a role.
fn unit_of(role: &str) -> String {
    let parsed = Role::parse(role).map(|role| system::service_unit(&role));
    parsed.unwrap_or_else(|_| format!("clawdbot-{role}.service"))
}

/// The user that a role runs as in system mode.
fn user_of(role: &str) -> String {
    format!("clawdbot-{role}")
}

/// The users that processes of the assistant run as.
pub struct Ours<'a> {
    accounts: &'a Accounts,
    users: Vec<String>,
}

impl<'a> Ours<'a> {
    fn new(accounts: &'a Accounts, system: bool, uid: u32) -> Self {
        let users = match system {
            true => accounts.names("clawdbot-").map(str::to_owned).collect(),
            false => accounts.user(uid).map(str::to_owned).into_iter().collect(),
        };
        Self { accounts, users }
    }

    /// Groups that are as good as root, with who of them is in it.
    fn mighty(&self, system: bool) -> Vec<(&'static str, String)> {
        let more: &[&str] = if system { machine::FOR_PEOPLE } else { &[] };
        let groups = machine::MIGHTY.iter().chain(more).copied();
        let all = groups.flat_map(|group| {
            let members = self.accounts.members(group).iter();
            let ours = members.filter(|name| self.users.contains(name));
            ours.map(move |name| (group, name.clone()))
        });
        all.collect()
    }
}

fn is_installed(root: &Path, unit: &str) -> bool {
    let mut folders = UNIT_FOLDERS.iter();
    folders.any(|folder| root.join(folder).join(unit).exists())
}

/// Looks at everything, and asks whoever runs. Nobody is started by it: a socket of a service that does not run would start
/// it, so only services that run are asked, by one look at the service manager for everything.
pub async fn gather(
    place: &Place,
    sockets: &Sockets,
    deep: bool,
) -> (Running, Result<Report, Failure>) {
    let root = Path::new("/");
    let mut running = Running {
        looked: true,
        system: place.is_system(),
        own_unit: !place.is_system() && service::has_unit(place),
        accounts: Accounts::read(&root.join("etc")),
        ..Running::default()
    };
    if let Mode::System { runtime } = &place.mode {
        running.runtime = runtime.clone();
        running.names(root);
    }
    let (ends, bpf) = match &place.mode {
        Mode::System { runtime } => (
            Some(tokio::spawn(ends::ask(manager::units(runtime), LONG))),
            Some(tokio::task::spawn_blocking(manager::has_bpf)),
        ),
        Mode::Single => (None, None),
    };
    let (report, seen) = status::look(sockets, LONG, PATIENCE).await;
    if let Some(seen) = seen {
        let policy = report.as_ref().is_ok_and(|report| report.policy.is_some());
        running.pending = status::pending(sockets, &seen, policy, PATIENCE).await;
        running.units = seen.facts();
        running.socket_units = seen.sockets.ok();
    }
    if report.is_ok() && running.may_ask_broker() {
        running.answers.vault = deep::vault(sockets).await;
    }
    if let Ok(report) = &report {
        running.answers.gateway = report.gateway.clone();
        running.version = report.processes.as_ref().map(|reply| reply.version.clone());
        let policy = report.policy.iter().flat_map(|policy| &policy.listeners);
        running.listeners = policy.filter_map(|text| text.parse().ok()).collect();
    }
    if let Some(ends) = ends {
        running.ends = ends.await.ok().flatten();
    }
    if let Some(bpf) = bpf {
        running.bpf = timeout(LONG, bpf).await.ok().and_then(Result::ok).flatten();
    }
    running.measure(root, place, report.as_ref().ok());
    if deep && report.is_ok() {
        let workers = running.processes.iter().map(|fact| fact.role.clone());
        let workers = workers.filter(|role| {
            // The guide asks nobody.
            let guide = role.strip_prefix("model-") == Some(clawdbot_config::BUILTIN);
            (role.starts_with("model-") || role.starts_with("channel-")) && !guide
        });
        running.answers.workers = deep::health(sockets, workers.collect()).await;
        for address in running.listeners.clone() {
            let answer = deep::door(address).await;
            running.answers.doors.push((address, answer));
        }
    }
    (running, report)
}

impl Running {
    /// What should be there, by the tables and by what is installed.
    fn names(&mut self, root: &Path) {
        let always = PROCESSES
            .iter()
            .filter(|process| process.starts == Starts::Always);
        self.always = always.map(|process| unit_of(process.role)).collect();
        self.planned = manager::planned(&self.runtime);
        let servers = system::roles().into_iter();
        let units = servers.flat_map(|server| {
            let clients = system::clients_of(&server).into_iter();
            clients
                .map(move |client| system::socket_unit(&server, &client))
                .collect::<Vec<_>>()
        });
        let each = system::per_connection().into_iter();
        let units = units
            .chain(each.map(|(server, client)| system::socket_unit(&server, &client)))
            .chain([system::LISTENER_UNIT.to_owned()]);
        self.wanted_sockets = units.filter(|unit| is_installed(root, unit)).collect();
    }

    /// Whether the broker runs, so that a question does not start it.
    fn may_ask_broker(&self) -> bool {
        let id = unit_of(Server::Broker.name());
        let mut units = self.units.iter().flatten();
        !self.system || units.any(|unit| unit.id == id && unit.runs())
    }

    /// Looks at everything that needs no answer.
    fn measure(&mut self, root: &Path, place: &Place, report: Option<&Report>) {
        let processes = match (&self.units, report) {
            (Some(units), _) => of_units(units),
            (None, Some(report)) => {
                let processes = report.processes().iter();
                let row = |process: &Process| {
                    (
                        process.role.clone(),
                        process.pid,
                        process.confinement.clone(),
                    )
                };
                processes.map(row).collect()
            }
            (None, None) => Vec::new(),
        };
        let proc = root.join("proc");
        self.processes = procfs::look(&proc, &processes);
        self.gateway_runs = self.processes.iter().any(|fact| fact.role == "gateway");
        let table = procfs::sockets(&proc.join("self/net")).into_values();
        let seen = proc.join("self/net/tcp").exists();
        self.listening = seen.then(|| table.filter(|socket| socket.listens).collect());
        if self.system {
            self.socket_files = sockets::look(&self.runtime);
            self.folders = folders::look(&place.state, Path::new(system::WORKSPACES));
            self.read_units(root);
            self.unlimited = limits::look(root, self);
        }
        let mut keep = vec![place.state.clone()];
        if self.system {
            keep.extend(["/var/log/journal", machine::IN_MEMORY.0].map(PathBuf::from));
        }
        let status = self.processes.iter().find_map(|fact| fact.status);
        let uid = status.map_or_else(
            || rustix::process::geteuid().as_raw(),
            |status| status.uids[0],
        );
        let ours = Ours::new(&self.accounts, self.system, uid);
        self.machine = machine::look(root, self.system, &ours, &keep);
        self.unseen = unseen(self);
    }

    fn read_units(&mut self, root: &Path) {
        self.overridden = overrides::look(root);
        let services = self.units.iter().flatten();
        let services = services.map(|unit| (&unit.id, Some(&unit.fragment), &unit.drop_ins));
        let others = self.overridden.iter();
        let others = others.map(|unit| (&unit.id, unit.replaced.as_ref(), &unit.drop_ins));
        let mut paths = Vec::new();
        for (id, file, drop_ins) in services.chain(others) {
            let shipped = self.shipped(id);
            let name = shipped.rsplit('/').next().unwrap_or_default();
            paths.extend(
                ["/usr/lib/systemd/system", "/lib/systemd/system"].map(|f| format!("{f}/{name}")),
            );
            paths.extend(file.cloned());
            paths.extend(drop_ins.iter().cloned());
        }
        paths.sort();
        paths.dedup();
        for path in paths {
            let found = root.join(path.trim_start_matches('/'));
            if let Some(text) = read_unit(&found) {
                self.unit_files.insert(path, text);
            }
        }
    }
}

fn read_unit(path: &Path) -> Option<String> {
    let file = std::fs::File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_UNIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Role, process and its words about its confinement, of each unit that runs. One that is being started has not confined
/// itself yet.
fn of_units(units: &[UnitFact]) -> Vec<(String, u32, String)> {
    let rows = units
        .iter()
        .filter(|unit| unit.pid != 0 && unit.active != "activating")
        .filter_map(|unit| {
            let name = unit
                .id
                .strip_prefix("clawdbot-")?
                .strip_suffix(".service")?;
            // What it measured stands behind the words for a person.
            let measured = unit.words.rsplit(" | ").next().unwrap_or_default();
            Some((name.replace('@', "-"), unit.pid, measured.to_owned()))
        });
    rows.collect()
}

/// What could not be seen of whom, each kind once.
fn unseen(running: &Running) -> Vec<String> {
    type Seen = (&'static str, fn(&ProcessFact) -> bool);
    let kinds: [Seen; 5] = [
        ("user and rights", |fact| fact.status.is_some()),
        ("program", |fact| fact.program.is_some()),
        ("namespaces", |fact| {
            fact.own_network.is_some() && fact.own_files.is_some()
        }),
        ("environment", |fact| fact.variables.is_some()),
        ("open sockets", |fact| fact.sockets.is_some()),
    ];
    let mut told: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for (kind, seen) in kinds {
        let hidden = running.processes.iter().filter(|fact| !seen(fact));
        let roles: Vec<&str> = hidden.map(|fact| fact.role.as_str()).collect();
        match told.iter_mut().find(|(_, known)| *known == roles) {
            _ if roles.is_empty() => {}
            Some((kinds, _)) => kinds.push(kind),
            None => told.push((vec![kind], roles)),
        }
    }
    let mut lines: Vec<String> = told
        .into_iter()
        .map(|(kinds, roles)| format!("{} of {}", kinds.join(", "), roles.join(", ")))
        .collect();
    if running.system && running.units.is_none() {
        lines.push("the units, since the service manager does not answer".to_owned());
    }
    if running.system && running.units.is_some() && running.socket_units.is_none() {
        lines.push("the sockets' units, since the service manager does not answer".to_owned());
    }
    if running.system && running.ends.is_none() {
        lines.push("how processes ended, since the journal cannot be read".to_owned());
    }
    lines
}
