//! The programs that lie beside this one, or in the folder that whoever starts it names. They are opened before anything
//! else: root's folders may be closed to the user that everything runs as. One that is missing is a refusal only if it
//! always runs.

use std::io::ErrorKind;
use std::path::Path;

use clawdbot_confine::spawn::Program;
use clawdbot_identity::Role;
use clawdbot_proto::edges::{PROCESSES, Process, Starts};

use crate::home::Refusal;

/// A row of the process table and its program.
pub(crate) struct Installed {
    process: &'static Process,
    pub(crate) file: Program,
}

impl Installed {
    /// The argument list of a role: the program's name, and the instance where one program serves many.
    pub(crate) fn arguments<'a>(&self, role: &'a Role) -> Vec<&'a str> {
        arguments(self.process.binary, role)
    }
}

/// All programs that can be started from here.
pub(crate) struct Programs(Vec<Installed>);

impl Programs {
    /// Opens those in `folder`, or else beside this program.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self, Refusal> {
        let own = std::env::current_exe()
            .map_err(|e| Refusal::io("this program's own path", &e, "mount /proc"))?;
        let beside = own.parent().unwrap_or(Path::new("/"));
        let directory = folder.unwrap_or(beside);
        let mut programs = Vec::new();
        for process in PROCESSES {
            let optional = match process.starts {
                Starts::Always => false,
                Starts::Plan | Starts::Demand => true,
                Starts::Itself | Starts::Person => continue,
            };
            let path = directory.join(process.binary);
            match Program::open(&path) {
                Ok(file) => programs.push(Installed { process, file }),
                Err(error) if optional && error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    let remedy = "install all programs in one directory";
                    return Err(Refusal::io(&path.display().to_string(), &error, remedy));
                }
            }
        }
        Ok(Self(programs))
    }

    /// The program of a role, if it is installed.
    pub(crate) fn of(&self, role: &Role) -> Option<&Installed> {
        self.0.iter().find(|one| describes(one.process, role))
    }
}

/// Whether the plan may name this role.
pub(crate) fn is_planned(role: &Role) -> bool {
    let row = PROCESSES.iter().find(|process| describes(process, role));
    row.is_some_and(|process| process.starts == Starts::Plan)
}

fn describes(process: &Process, role: &Role) -> bool {
    match process.role.strip_suffix("NAME") {
        Some(family) => role.as_str().starts_with(family),
        None => process.role == role.as_str(),
    }
}

fn arguments<'a>(binary: &'static str, role: &'a Role) -> Vec<&'a str> {
    let program = binary.trim_start_matches("clawdbot-");
    let instance = role.as_str().strip_prefix(program);
    let instance = instance.and_then(|rest| rest.strip_prefix('-'));
    std::iter::once(binary).chain(instance).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> Role {
        Role::parse(name).unwrap()
    }

    #[test]
    fn each_role_has_one_program_and_its_instance_as_argument() {
        for (name, expected) in [
            ("gateway", &["clawdbot-gateway"][..]),
            ("agent-main", &["clawdbot-agent", "main"]),
            ("model-my-llm", &["clawdbot-model", "my-llm"]),
            ("channel-telegram", &["clawdbot-channel-telegram"]),
            ("keyring", &["clawdbot-keyring"]),
        ] {
            let role = role(name);
            let rows: Vec<_> = { PROCESSES.iter() }
                .filter(|process| describes(process, &role))
                .collect();
            assert_eq!(rows.len(), 1, "{name}");
            assert_eq!(arguments(rows[0].binary, &role), expected);
        }
    }

    #[test]
    fn a_plan_starts_workers_and_nobody_else() {
        for name in ["model-ollama", "channel-telegram"] {
            assert!(is_planned(&role(name)), "{name}");
        }
        for name in [
            "channel-signal",
            "keyring",
            "gateway",
            "agent-main",
            "operator",
            "supervisor",
        ] {
            assert!(!is_planned(&role(name)), "{name}");
        }
    }
}
