//! What was measured of each process, as a table for a person and as JSON for a script.

use std::path::Path;

use clawdbot_confine::measure::Confinement;
use clawdbot_service::{confinement_json, version};
use serde_json::{Value, json};

use super::Running;
use super::procfs::ProcessFact;
use crate::out::{Style, table};

/// Shown for what could not be seen.
const UNSEEN: &str = "?";

impl Running {
    /// One row for each process; empty where none runs.
    pub fn table(&self, style: Style) -> String {
        if self.processes.is_empty() {
            return String::new();
        }
        let rows: Vec<[String; 10]> = self.processes.iter().map(|fact| self.row(fact)).collect();
        let heading = [
            "PROCESS", "PID", "USER", "RIGHTS", "FILTERS", "MEMORY", "NETWORK", "SOCKETS",
            "LANDLOCK", "CONFINED",
        ];
        table(style, heading, &rows) + "\n"
    }

    fn row(&self, fact: &ProcessFact) -> [String; 10] {
        let unseen = || UNSEEN.to_owned();
        let either = |seen: Option<bool>, yes: &str, no: &str| match seen {
            Some(true) => yes.to_owned(),
            Some(false) => no.to_owned(),
            None => unseen(),
        };
        let status = fact.status.as_ref();
        let user = status.map(|status| {
            let name = self.accounts.user(status.uids[0]).map(str::to_owned);
            name.unwrap_or_else(|| status.uids[0].to_string())
        });
        let rights = status.map(
            |status| match (status.capabilities(), status.no_new_privs) {
                (0, true) => "none".to_owned(),
                (0, false) => "can gain".to_owned(),
                (held, _) => format!("{held:#x}"),
            },
        );
        let filters = status.map(|status| match status.seccomp {
            2 => status.filters.to_string(),
            _ => "none".to_owned(),
        });
        let says = Confinement::parse_line(&fact.says);
        [
            fact.role.clone(),
            fact.pid.to_string(),
            user.unwrap_or_else(unseen),
            rights.unwrap_or_else(unseen),
            filters.unwrap_or_else(unseen),
            either(fact.dumpable, "readable", "closed"),
            either(fact.own_network, "own", "host"),
            fact.sockets
                .as_ref()
                .map_or_else(unseen, |all| all.len().to_string()),
            says.as_ref()
                .map_or_else(unseen, |says| says.landlock_abi.to_string()),
            says.as_ref()
                .map_or_else(unseen, |says| says.level.as_str().to_owned()),
        ]
    }

    /// What is known of the machine and of what waits, for a script; null for what is not known. `state` is where the state
    /// is.
    pub fn machine_json(&self, state: &Path) -> Value {
        let machine = &self.machine;
        let free = machine.free.iter().find(|(place, _)| place == state);
        let vault = self.answers.vault.as_ref();
        let source = vault.map(|vault| vault.key_source.as_str());
        let seal = { machine.vault_key.as_ref() }.and_then(|key| key.seal);
        json!({
            "kernel": Some(&machine.kernel).filter(|kernel| !kernel.is_empty()),
            "landlock": machine.landlock,
            "freeBytes": free.map(|(_, bytes)| bytes),
            "memoryBytes": machine.memory,
            "clockSynchronised": machine.synchronised,
            "messagesWaiting": self.answers.gateway.as_ref().map(|status| status.pending),
            "vaultKeySource": source.filter(|source| !source.is_empty()),
            "vaultKeySeal": seal.map(|seal| seal.name),
        })
    }

    /// The processes for a script; null for what could not be seen.
    pub fn json(&self) -> Vec<Value> {
        let one = |fact: &ProcessFact| {
            let status = fact.status.as_ref();
            let program = fact.program.as_ref();
            let sockets = fact.sockets.as_ref();
            let sockets =
                sockets.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
            json!({
                "role": fact.role,
                "pid": fact.pid,
                "uid": status.map(|status| status.uids[0]),
                "gid": status.map(|status| status.gids[0]),
                "capabilities": status.map(|status| format!("{:#x}", status.capabilities())),
                "noNewPrivs": status.map(|status| status.no_new_privs),
                "seccomp": status.map(|status| status.seccomp),
                "filters": status.map(|status| status.filters),
                "dumpable": fact.dumpable,
                "ownNetwork": fact.own_network,
                "ownFiles": fact.own_files,
                "program": program.map(|program| program.path.display().to_string()),
                "replaced": program.map(|program| program.replaced),
                "variables": fact.variables,
                "sockets": sockets,
                "version": version(&fact.says),
                "confinement": confinement_json(&fact.says),
            })
        };
        self.processes.iter().map(one).collect()
    }
}

/// The properties of the machine, for the schema.
pub fn machine_schema() -> Value {
    let maybe = |kind: &str| json!({ "type": [kind, "null"] });
    let described = |mut schema: Value, text: &str| {
        schema["description"] = text.into();
        schema
    };
    json!({
        "kernel": maybe("string"),
        "landlock": described(json!({ "type": "integer", "minimum": 0 }), "The ABI that the kernel has; 0 for none."),
        "freeBytes": described(maybe("integer"), "Room where the state is."),
        "memoryBytes": described(maybe("integer"), "Memory that programs could still get."),
        "clockSynchronised": maybe("boolean"),
        "messagesWaiting": maybe("integer"),
        "vaultKeySource": described(maybe("string"), "keyring, file or credential, which is the service manager."),
        "vaultKeySeal": described(maybe("string"), "How the service manager's file is encrypted: host, tpm2, host+tpm2 or null, which is not at all; only root can see it."),
    })
}

/// The properties of one of them, for the schema: name and type.
pub fn schema() -> Value {
    let maybe = |kind: &str| json!({ "type": [kind, "null"] });
    json!({
        "role": { "type": "string" },
        "pid": { "type": "integer", "minimum": 1 },
        "uid": maybe("integer"),
        "gid": maybe("integer"),
        "capabilities": maybe("string"),
        "noNewPrivs": maybe("boolean"),
        "seccomp": maybe("integer"),
        "filters": maybe("integer"),
        "dumpable": maybe("boolean"),
        "ownNetwork": maybe("boolean"),
        "ownFiles": maybe("boolean"),
        "program": maybe("string"),
        "replaced": maybe("boolean"),
        "variables": maybe("integer"),
        "sockets": { "type": ["array", "null"], "items": { "type": "string" } },
        "version": maybe("string"),
        "confinement": { "type": ["object", "null"], "description": "What the process measured itself." },
    })
}
