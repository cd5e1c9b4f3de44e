//! One look at everything that the system's manager has of ours: one question about the services and what starts channels,
//! and one about the sockets, at the same time, since each costs a start of its program. Whoever wants to know something of it takes it from
//! the same look.

use std::path::Path;
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_service::system::{
    self, LISTENER_UNIT, TARGET, is_per_connection, per_connection, service_unit,
};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Manager, Processes, SocketUnit, Unit, UnitFact, role_of, started_by};
use crate::failure::Failure;

/// All sockets of ours.
pub const SOCKETS: &str = "clawdbot-*";
/// Some have an instance for each connection: what all of them have in common is asked of one that there never is.
const NOBODY: &str = "@doctor.";

/// What is asked of each unit.
const PROPERTIES: [&str; 15] = [
    "Id",
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "Result",
    "ExecMainStatus",
    "MainPID",
    "NRestarts",
    "StatusText",
    "StateChangeTimestampMonotonic",
    "FragmentPath",
    "DropInPaths",
    "NeedDaemonReload",
    // Of the front door's socket.
    "Listen",
];

/// What it said.
#[derive(Debug, Clone)]
pub struct Seen {
    pub units: Result<Vec<Unit>, Failure>,
    pub sockets: Result<Vec<SocketUnit>, Failure>,
}

impl Seen {
    /// Asks about these units and all sockets. It starts nothing.
    pub fn look(units: &[String]) -> Self {
        let units: Vec<&str> = units.iter().map(String::as_str).collect();
        std::thread::scope(|scope| {
            let sockets = scope.spawn(|| Manager::System.sockets(SOCKETS));
            Self {
                units: Manager::System.show(&PROPERTIES, &units),
                sockets: sockets.join().unwrap_or_else(|_| Err(silent())),
            }
        })
    }

    /// The same about everything in this runtime folder, for as long as the patience lasts.
    pub async fn ask(runtime: &Path, patience: Duration) -> Self {
        let units = units(runtime);
        let asked = timeout(patience, spawn_blocking(move || Self::look(&units)));
        match asked.await {
            Ok(Ok(seen)) => seen,
            _ => Self {
                units: Err(silent()),
                sockets: Err(silent()),
            },
        }
    }

    /// The processes, as far as it knows them.
    ///
    /// # Errors
    /// Why it said nothing.
    pub fn processes(&self, runtime: &Path) -> Result<Processes, Failure> {
        let units = self.units.as_ref().map_err(Clone::clone)?;
        Ok(Processes::here(units, runtime))
    }

    /// The services of ours, what starts channels, and the target; one of those that each connection has.
    pub fn facts(&self) -> Option<Vec<UnitFact>> {
        self.units.as_ref().ok().map(|units| facts(units))
    }
}

fn facts(units: &[Unit]) -> Vec<UnitFact> {
    let ours = |unit: &&Unit| {
        let id = unit.get("Id");
        let role = role_of(id);
        id == TARGET
            || started_by(id).is_some()
            || role.is_some_and(|role| !is_per_connection(&role) || id.contains(NOBODY))
    };
    units.iter().filter(ours).map(UnitFact::of).collect()
}

fn silent() -> Failure {
    Failure::new("manager", "the service manager does not answer")
}

/// The channels of policy's plan, as roles.
pub fn planned(runtime: &Path) -> Vec<String> {
    roles_in(&system::plan_folder(runtime), "channel-")
}

/// The units that are asked about, by their names where these are known: a pattern finds only what is loaded. Instances
/// that the configuration added are those of the plan, and those that have sockets.
pub fn units(runtime: &Path) -> Vec<String> {
    let roles = system::roles().into_iter();
    let added = planned(runtime).into_iter();
    let added = added.chain(roles_in(runtime, "model-"));
    let added = added.filter_map(|role| Role::parse(&role).ok());
    let each = per_connection().into_iter();
    let each = each.map(|(server, _)| service_unit(&server).replace("@.", NOBODY));
    let mut units = vec![TARGET.to_owned(), LISTENER_UNIT.to_owned()];
    for unit in roles
        .chain(added)
        .map(|role| service_unit(&role))
        .chain(each)
    {
        if !units.contains(&unit) {
            units.push(unit);
        }
    }
    let channels = system::roles().into_iter();
    let channels = channels.filter(|role| role.family() == "channel");
    units.extend(channels.filter_map(|role| Some(system::path_unit(&role.name()?))));
    units.push("clawdbot-*.service".to_owned());
    units
}

fn roles_in(folder: &Path, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::shown;

    #[test]
    fn instances_of_the_plan_and_with_sockets_are_asked_about_once_each() {
        let runtime = tempfile::tempdir().unwrap();
        for folder in ["plan", "model-mine", "model-ollama", "model-", "gateway"] {
            std::fs::create_dir(runtime.path().join(folder)).unwrap();
        }
        std::fs::write(runtime.path().join("plan/channel-telegram"), "").unwrap();
        std::fs::write(runtime.path().join("plan/settings"), "").unwrap();
        assert_eq!(planned(runtime.path()), ["channel-telegram"]);
        let units = units(runtime.path());
        for unit in [
            TARGET,
            LISTENER_UNIT,
            "clawdbot-gateway.service",
            "clawdbot-model@mine.service",
            "clawdbot-model@ollama.service",
            "clawdbot-channel@telegram.service",
            "clawdbot-channel@telegram.path",
            "clawdbot-sandbox-guest@doctor.service",
        ] {
            assert_eq!(
                units.iter().filter(|known| *known == unit).count(),
                1,
                "{unit}"
            );
        }
        assert!(!units.iter().any(|unit| unit.contains("settings")));
        assert_eq!(units.last().unwrap(), "clawdbot-*.service");
    }

    #[test]
    fn facts_are_of_our_services_and_of_no_single_call() {
        let text = [
            TARGET,
            LISTENER_UNIT,
            "clawdbot-agent@main.service",
            "clawdbot-channel@telegram.path",
            "clawdbot-backup.path",
            "clawdbot-sandbox-main@doctor.service",
            "clawdbot-sandbox-main@3-71-995.service",
            "clawdbot-backup-of-mine.service",
        ]
        .map(|id| format!("Id={id}\nMainPID=7\nDropInPaths=/a /b\nNeedDaemonReload=yes\n"));
        let facts = facts(&shown(&text.join("\n")));
        let ids: Vec<_> = facts.iter().map(|unit| unit.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                TARGET,
                "clawdbot-agent@main.service",
                "clawdbot-channel@telegram.path",
                "clawdbot-sandbox-main@doctor.service"
            ]
        );
        assert_eq!((facts[0].pid, facts[0].stale), (7, true));
        assert_eq!(facts[0].drop_ins, ["/a", "/b"]);
    }
}
