//! The service manager, asked and told through `systemctl`: arguments as a list, never a shell, and a known language and
//! form of the answer whatever the person has set. Asking starts nothing.

mod fact;
mod processes;
mod seen;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::{Command, Output, Stdio};

use clawdbot_identity::text::sanitize_line;
use serde_json::Value;

use crate::failure::Failure;
use crate::rights;

pub use fact::UnitFact;
use processes::started_by;
pub use processes::{Processes, role_of};
pub use seen::{Seen, planned, units};

/// The code of a failure that means: there is no service manager to ask.
pub const NO_MANAGER: &str = "manager.none";

/// What helps where there is no service manager.
pub const IN_FOREGROUND: &str = "clawdbot up starts everything here, in the foreground";

/// One of the service managers of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// The system's.
    System,
    /// This user's.
    User,
}

/// What `systemctl show` says about one unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit(BTreeMap<String, String>);

impl Unit {
    /// A property; empty where it is missing.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A property that is a number.
    pub fn number(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or_default()
    }
}

/// A socket unit, as `systemctl list-units` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketUnit {
    /// Its name.
    pub name: String,
    /// `loaded`, `masked`, `not-found`, …
    pub load: String,
    /// `active`, `inactive`, `failed`, …
    pub active: String,
    /// `listening`, `running`, `dead`, …
    pub sub: String,
}

/// A program of systemd, with output that does not depend on the person's settings.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command
        .env("LC_ALL", "C")
        .env("SYSTEMD_PAGER", "")
        .env("SYSTEMD_COLORS", "0")
        .env("SYSTEMD_URLIFY", "0")
        .stdin(Stdio::null());
    command
}

impl Manager {
    /// The properties of units; a name may be a pattern. Each unit comes once.
    ///
    /// # Errors
    /// When there is no manager or it does not answer.
    pub fn show(self, properties: &[&str], units: &[&str]) -> Result<Vec<Unit>, Failure> {
        let property = format!("--property={}", properties.join(","));
        let mut arguments = vec!["show", "--no-pager", property.as_str(), "--"];
        arguments.extend(units);
        let mut found = shown(&self.ask(&arguments)?);
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|unit| seen.insert(unit.get("Id").to_owned()));
        Ok(found)
    }

    /// The socket units of a name or pattern, loaded ones only.
    ///
    /// # Errors
    /// When there is no manager, or its answer is none.
    pub fn sockets(self, pattern: &str) -> Result<Vec<SocketUnit>, Failure> {
        let text = self.ask(&[
            "list-units",
            "--all",
            "--full",
            "--type=socket",
            "--output=json",
            "--no-pager",
            "--",
            pattern,
        ])?;
        listed(&text).ok_or_else(|| {
            Failure::new("manager", "systemctl list-units gave no list in JSON")
                .remedy("Clawdbot needs systemd 252 or newer: systemctl --version")
        })
    }

    /// Has it done.
    ///
    /// # Errors
    /// What systemctl says.
    pub fn act(self, arguments: &[&str]) -> Result<(), Failure> {
        self.ask(arguments).map(drop)
    }

    fn ask(self, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = program("systemctl");
        if self == Self::User {
            command.arg("--user");
        }
        command.arg("--no-ask-password").args(arguments);
        run(&mut command, &about(arguments))
    }
}

/// Whether systemd here has the programs for BPF that lines such as `SocketBindDeny=` need; nothing where it does not say.
pub fn has_bpf() -> Option<bool> {
    let said = run(program("systemctl").arg("--version"), "systemctl").ok()?;
    let has = |sign: &str| said.split_whitespace().any(|word| word == sign);
    match (has("+BPF_FRAMEWORK"), has("-BPF_FRAMEWORK")) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

/// What a call is about: the whole of it is a page of properties and units.
fn about(arguments: &[&str]) -> String {
    let verb = arguments.iter().find(|word| !word.starts_with('-'));
    format!("systemctl {}", verb.copied().unwrap_or_default())
}

/// Runs a program of systemd to its end; its standard output.
///
/// # Errors
/// When it is not there, or what it says on standard error.
pub fn run(command: &mut Command, shown: &str) -> Result<String, Failure> {
    let output = command.output().map_err(|error| missing(command, &error))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(failed(shown, &output, rights::is_root())),
    }
}

/// Why a program of systemd was not started.
pub fn missing(command: &Command, error: &std::io::Error) -> Failure {
    let name = command.get_program().to_string_lossy().into_owned();
    match error.kind() {
        ErrorKind::NotFound => Failure::new(
            NO_MANAGER,
            format!("there is no {name}: this machine has no systemd"),
        )
        .remedy(IN_FOREGROUND),
        _ => Failure::new(NO_MANAGER, format!("{name} cannot be started: {error}")),
    }
}

/// `root`: whether it was root who asked, who needs no bus for it.
fn failed(shown: &str, output: &Output, root: bool) -> Failure {
    let said = String::from_utf8_lossy(&output.stderr);
    let mut said = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = said.next().unwrap_or("it gave no reason");
    let failure = Failure::new("manager", format!("{shown}: {}", sanitize_line(first)));
    let absent = first.contains("not been booted");
    // `bus`, or by name and way from systemd 254 on: `system scope bus via local transport`.
    let unreached = first.contains("Failed to connect to") && first.contains(" bus");
    if !absent && !unreached {
        return failure.remedy("systemctl status 'clawdbot-*' and clawdbot logs show more");
    }
    let failure = Failure {
        code: NO_MANAGER.to_owned(),
        ..failure
    };
    match absent || root {
        true => failure.remedy(IN_FOREGROUND),
        false => failure.remedy(format!(
            "without D-Bus only root may ask the service manager: sudo {}",
            rights::typed()
        )),
    }
}

/// Reads `systemctl show`: one paragraph for each unit.
pub fn shown(text: &str) -> Vec<Unit> {
    let unit = |block: &str| {
        let mut unit = Unit::default();
        for (name, value) in block.lines().filter_map(|line| line.split_once('=')) {
            // What a unit may have several of has a line for each.
            let known = unit.0.entry(name.to_owned()).or_default();
            if !known.is_empty() {
                known.push('\n');
            }
            known.push_str(value);
        }
        unit
    };
    text.split("\n\n")
        .map(|block| unit(block.trim_start_matches('\n')))
        .filter(|unit| !unit.0.is_empty())
        .collect()
}

/// Reads `systemctl list-units --output=json`.
pub fn listed(text: &str) -> Option<Vec<SocketUnit>> {
    let rows: Vec<Value> = serde_json::from_str(text).ok()?;
    rows.iter()
        .map(|row| {
            Some(SocketUnit {
                name: row["unit"].as_str()?.to_owned(),
                load: row["load"].as_str()?.to_owned(),
                active: row["active"].as_str()?.to_owned(),
                sub: row["sub"].as_str()?.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn blocks_of_properties_are_units() {
        let units = shown("Id=a.service\nStatusText=x=y | level=full\n\nId=b.service\nMainPID=7\n");
        assert_eq!(units.len(), 2);
        assert_eq!(units[0].get("StatusText"), "x=y | level=full");
        assert_eq!((units[1].number("MainPID"), units[1].get("None")), (7, ""));
        let listens = shown("Listen=a (Stream)\nListen=b (Stream)\n");
        assert_eq!(listens[0].get("Listen"), "a (Stream)\nb (Stream)");
        assert!(shown("").is_empty());
    }

    #[test]
    fn a_list_in_json_has_names_and_states_and_nothing_else_is_one() {
        let text = r#"[{"unit":"clawdbot-gateway.socket","load":"loaded","active":"failed","sub":"failed","description":"x"}]"#;
        let expected = SocketUnit {
            name: "clawdbot-gateway.socket".into(),
            load: "loaded".into(),
            active: "failed".into(),
            sub: "failed".into(),
        };
        assert_eq!(listed(text), Some(vec![expected]));
        assert_eq!(listed("[]"), Some(Vec::new()));
        for odd in ["", "no", "{}", r#"[{"unit":1}]"#] {
            assert_eq!(listed(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_call_that_failed_is_named_by_its_verb() {
        for (arguments, named) in [
            (
                &["show", "--no-pager", "--property=Id", "--", "a.service"][..],
                "systemctl show",
            ),
            (&["--quiet", "stop", "--", "a.socket"], "systemctl stop"),
        ] {
            assert_eq!(about(arguments), named);
        }
    }

    #[test]
    fn what_systemctl_says_is_told_in_one_line_that_moves_no_cursor() {
        let output = |said: &str| Output {
            status: ExitStatus::from_raw(256),
            stdout: Vec::new(),
            stderr: said.into(),
        };
        let failure = failed(
            "systemctl start x",
            &output("\nJob \u{1b}[2Jfailed.\nSee more\n"),
            false,
        );
        assert_eq!(failure.message, "systemctl start x: Job \\u{1b}[2Jfailed.");
        assert_eq!(failure.code, "manager");
        let absent = "System has not been booted with systemd as init system (PID 1). Can't operate.\nFailed to connect to bus: Host is down\n";
        for (said, root, remedy) in [
            (
                "Failed to connect to bus: No such file or directory\n",
                false,
                "sudo ",
            ),
            // systemd 257.
            (
                "Failed to connect to system scope bus via local transport: No such file or directory\n",
                false,
                "sudo ",
            ),
            (
                "Failed to connect to bus: No such file or directory\n",
                true,
                "clawdbot up ",
            ),
            (absent, false, "clawdbot up "),
            (absent, true, "clawdbot up "),
        ] {
            let failure = failed("systemctl show", &output(said), root);
            assert_eq!(failure.code, NO_MANAGER, "{said}");
            let told = failure.remedy.unwrap();
            assert!(told.contains(remedy), "{said}: {told}");
            assert_eq!(told.contains("sudo"), remedy == "sudo ", "{said}: {told}");
        }
    }
}
