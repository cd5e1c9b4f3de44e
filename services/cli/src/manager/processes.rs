//! The processes of system mode as the service manager sees them, in the words of single-user mode.

use std::path::Path;

use clawdbot_identity::Role;
use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::edges::{PROCESSES, Starts};
use clawdbot_proto::v1::Process;
use clawdbot_service::split_status;
use clawdbot_service::system::{TARGET, is_per_connection, per_connection, plan_flag};
use rustix::time::{ClockId, clock_gettime};

use super::{Seen, Unit, units};
use crate::failure::Failure;

/// Exit statuses of a start that goes no better by itself: the process's own refusal, and the service manager's when it
/// cannot give the user, the folders or the credentials.
const HOPELESS: [&str; 4] = ["78", "217", "226", "243"];

/// What the service manager says about the assistant.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    /// In the order of the process table, then by name.
    pub processes: Vec<Process>,
    /// Milliseconds since the target was reached; zero when it is not.
    pub uptime_ms: u64,
    /// What keeps an always-running process from running, one sentence each.
    pub problems: Vec<String>,
}

impl Processes {
    /// Asks the system's manager.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(runtime: &Path) -> Result<Self, Failure> {
        Seen::look(&units(runtime)).processes(runtime)
    }

    /// What these units say, with the plan of policy in this runtime folder.
    pub fn here(units: &[Unit], runtime: &Path) -> Self {
        let planned = |role: &Role| plan_flag(runtime, role).exists();
        Self::of(units, now_us(), planned)
    }

    fn of(units: &[Unit], now_us: u64, planned: impl Fn(&Role) -> bool) -> Self {
        let mut found = Self::default();
        let always = always();
        let mut rows: Vec<(usize, Process)> = Vec::new();
        for unit in units {
            let name = unit.get("Id");
            if name == TARGET && unit.get("ActiveState") == "active" {
                found.uptime_ms = since(unit, now_us);
            }
            if let Some(role) = started_by(name)
                && unit.get("ActiveState") == "failed"
            {
                found.problems.push(not_started(&role, unit));
            }
            let Some(role) = role_of(name) else { continue };
            if is_per_connection(&role) {
                continue;
            }
            let expected = always.contains(&role) || planned(&role);
            let process = process(&role, unit, now_us);
            let idle = matches!(unit.get("ActiveState"), "inactive" | "");
            if idle && !expected {
                continue;
            }
            if expected && (idle || process.state == "failed" || refuses(unit)) {
                found.problems.push(absent(&role, unit));
            }
            let at = PROCESSES
                .iter()
                .position(|kind| role.matches(&kind.role.replace("NAME", "*")));
            rows.push((at.unwrap_or(PROCESSES.len()), process));
        }
        rows.sort_by(|(a, one), (b, two)| a.cmp(b).then_with(|| one.role.cmp(&two.role)));
        found.processes = rows.into_iter().map(|(_, process)| process).collect();
        found
    }

    /// Whether nothing runs, wants to or has failed: it was stopped, or never started.
    pub fn is_stopped(&self) -> bool {
        self.processes
            .iter()
            .all(|process| process.state == "stopped")
    }

    /// Whether the process of this role lives or is about to.
    pub fn lives(&self, role: &str) -> bool {
        self.processes.iter().any(|process| {
            process.role == role && matches!(process.state.as_str(), "ready" | "starting")
        })
    }
}

/// The roles that run whatever the configuration says.
fn always() -> Vec<Role> {
    PROCESSES
        .iter()
        .filter(|process| matches!(process.starts, Starts::Always))
        .filter_map(|process| Role::parse(process.role).ok())
        .collect()
}

/// The role that a service unit runs: `clawdbot-agent@main.service`, also an instance for a connection.
pub fn role_of(unit: &str) -> Option<Role> {
    let name = unit.strip_prefix("clawdbot-")?.strip_suffix(".service")?;
    let each = |name: &str| {
        per_connection()
            .iter()
            .any(|(role, _)| role.as_str() == name)
    };
    let role = match name.split_once('@') {
        Some((name, _)) if each(name) => name.to_owned(),
        Some((family, instance)) => format!("{family}-{instance}"),
        None => name.to_owned(),
    };
    Role::parse(&role).ok()
}

/// The role that a path unit starts: `clawdbot-channel@telegram.path`.
pub fn started_by(unit: &str) -> Option<Role> {
    let role = role_of(&format!("{}.service", unit.strip_suffix(".path")?))?;
    (role.family() == "channel").then_some(role)
}

/// Whether it waits for a start that will most likely end as the last one did.
fn refuses(unit: &Unit) -> bool {
    unit.get("SubState") == "auto-restart" && HOPELESS.contains(&unit.get("ExecMainStatus"))
}

fn process(role: &Role, unit: &Unit, now_us: u64) -> Process {
    let (status, confinement) = split_status(unit.get("StatusText"));
    let state = match (unit.get("ActiveState"), unit.get("SubState")) {
        ("active" | "reloading", _) => "ready",
        ("activating", "auto-restart") => "waiting",
        ("activating", _) => "starting",
        ("deactivating", _) => "stopping",
        ("failed", _) => "failed",
        _ => "stopped",
    };
    let status = match state {
        "failed" | "stopped" => why(unit),
        _ => status.to_owned(),
    };
    Process {
        role: role.to_string(),
        pid: u32::try_from(unit.number("MainPID")).unwrap_or_default(),
        state: state.to_owned(),
        confinement: confinement.unwrap_or_default().to_owned(),
        status,
        restarts: u32::try_from(unit.number("NRestarts")).unwrap_or(u32::MAX),
        uptime_ms: since(unit, now_us),
    }
}

/// How the last run ended, or why there is none; empty after a good end.
fn why(unit: &Unit) -> String {
    match (
        unit.get("LoadState"),
        unit.get("UnitFileState"),
        unit.get("Result"),
    ) {
        ("masked", ..) | (_, "masked" | "masked-runtime", _) => "masked".to_owned(),
        ("not-found", ..) => "not installed".to_owned(),
        (.., "signal") if unit.get("ExecMainStatus") == "31" => {
            "killed by its own filter: it made a system call that it never makes".to_owned()
        }
        (.., "exit-code") => format!("ended with status {}", unit.get("ExecMainStatus")),
        (.., "signal") => format!("killed by signal {}", unit.get("ExecMainStatus")),
        (.., "success" | "") => String::new(),
        (.., other) => other.to_owned(),
    }
}

fn absent(role: &Role, unit: &Unit) -> String {
    let name = unit.get("Id");
    let why = why(unit);
    let (said, _) = split_status(unit.get("StatusText"));
    let mut text = format!("{role} does not run");
    for part in [why.as_str(), said] {
        if !part.is_empty() {
            text.push_str(&format!(", {}", sanitize_line(part)));
        }
    }
    format!("{text}: systemctl status {name}")
}

/// Of what starts a channel.
fn not_started(role: &Role, unit: &Unit) -> String {
    let (name, why) = (unit.get("Id"), sanitize_line(unit.get("Result")));
    format!(
        "{role} is not started when it is wanted, {name} failed ({why}): sudo clawdbot service start"
    )
}

fn since(unit: &Unit, now_us: u64) -> u64 {
    match unit.number("StateChangeTimestampMonotonic") {
        0 => 0,
        then => now_us.saturating_sub(then) / 1000,
    }
}

/// The clock of the manager's timestamps.
fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds * 1_000_000 + nanos / 1000
}

#[cfg(test)]
mod tests {
    use clawdbot_service::system::service_unit;

    use super::*;
    use crate::manager::shown;

    /// As systemd 252 and 257 print it; only the order of the lines differs between them.
    const HALF_UP: &str = "\
MainPID=0\nNRestarts=0\nResult=success\nExecMainStatus=0\nStatusText=\nId=clawdbot.target\nLoadState=loaded\nActiveState=active\nSubState=active\nUnitFileState=enabled\nStateChangeTimestampMonotonic=1000000

MainPID=71\nNRestarts=2\nResult=success\nExecMainStatus=0\nStatusText=Serving 2 edges | level=full landlock=7 seccomp=on\nId=clawdbot-gateway.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=static\nStateChangeTimestampMonotonic=3000000

MainPID=0\nNRestarts=0\nResult=exit-code\nExecMainStatus=78\nStatusText=clawdbot.json:3:5: unknown key\nId=clawdbot-policy.service\nLoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=static\nStateChangeTimestampMonotonic=3000000

MainPID=0\nNRestarts=0\nResult=success\nExecMainStatus=0\nStatusText=\nId=clawdbot-broker.service\nLoadState=masked\nActiveState=inactive\nSubState=dead\nUnitFileState=masked\nStateChangeTimestampMonotonic=0

MainPID=72\nNRestarts=0\nResult=success\nExecMainStatus=0\nStatusText=\nId=clawdbot-agent@main.service\nLoadState=loaded\nActiveState=activating\nSubState=start\nUnitFileState=indirect\nStateChangeTimestampMonotonic=4000000

MainPID=0\nNRestarts=9\nResult=signal\nExecMainStatus=31\nStatusText=\nId=clawdbot-dialer.service\nLoadState=loaded\nActiveState=activating\nSubState=auto-restart\nUnitFileState=static\nStateChangeTimestampMonotonic=4500000

MainPID=0\nNRestarts=0\nResult=success\nExecMainStatus=0\nStatusText=\nId=clawdbot-model@openai.service\nLoadState=loaded\nActiveState=inactive\nSubState=dead\nUnitFileState=static\nStateChangeTimestampMonotonic=0

MainPID=0\nNRestarts=0\nResult=success\nExecMainStatus=0\nStatusText=\nId=clawdbot-channel@telegram.service\nLoadState=loaded\nActiveState=inactive\nSubState=dead\nUnitFileState=static\nStateChangeTimestampMonotonic=0

MainPID=99\nNRestarts=0\nResult=success\nExecMainStatus=0\nStatusText=\nId=clawdbot-sandbox-main@3-71-995.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=static\nStateChangeTimestampMonotonic=4500000
";

    fn half_up(telegram: bool) -> Processes {
        Processes::of(&shown(HALF_UP), 5_000_000, |role| {
            telegram && role.as_str() == "channel-telegram"
        })
    }

    #[test]
    fn states_are_told_in_the_words_of_single_user_mode() {
        let found = half_up(false);
        let rows: Vec<String> = found
            .processes
            .iter()
            .map(|p| {
                format!(
                    "{} {} {} {} {} {}",
                    p.role, p.pid, p.state, p.restarts, p.uptime_ms, p.status
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                "gateway 71 ready 2 2000 Serving 2 edges",
                "policy 0 failed 0 2000 ended with status 78",
                "broker 0 stopped 0 0 masked",
                "dialer 0 waiting 9 500 ",
                "agent-main 72 starting 0 1000 ",
            ]
        );
        assert_eq!(
            found.processes[0].confinement,
            "level=full landlock=7 seccomp=on"
        );
        assert_eq!(found.uptime_ms, 4000);
        assert!(!found.is_stopped());
        assert!(found.lives("gateway") && found.lives("agent-main"));
        assert!(!found.lives("policy") && !found.lives("dialer") && !found.lives("executor"));
    }

    #[test]
    fn what_should_run_and_does_not_is_named_with_its_reason() {
        let found = half_up(true);
        assert_eq!(
            found.problems,
            [
                "policy does not run, ended with status 78, clawdbot.json:3:5: unknown key: systemctl status clawdbot-policy.service",
                "broker does not run, masked: systemctl status clawdbot-broker.service",
                "channel-telegram does not run: systemctl status clawdbot-channel@telegram.service",
            ]
        );
        assert_eq!(half_up(false).problems.len(), 2);
    }

    #[test]
    fn a_channel_that_refuses_to_start_or_that_nobody_starts_is_named() {
        let refusing = "\
MainPID=0\nNRestarts=9\nResult=exit-code\nExecMainStatus=78\nStatusText=channels/telegram is somebody else's\nId=clawdbot-channel@telegram.service\nLoadState=loaded\nActiveState=activating\nSubState=auto-restart\n
Id=clawdbot-channel@telegram.path\nLoadState=loaded\nActiveState=failed\nSubState=failed\nResult=trigger-limit-hit\n";
        let found = |text: &str| Processes::of(&shown(text), 0, |_| true).problems;
        assert_eq!(
            found(refusing),
            [
                "channel-telegram does not run, ended with status 78, channels/telegram is somebody else's: systemctl status clawdbot-channel@telegram.service",
                "channel-telegram is not started when it is wanted, clawdbot-channel@telegram.path failed (trigger-limit-hit): sudo clawdbot service start",
            ]
        );
        // One that was killed is back in a moment, and a path unit that waits is as it should be.
        let well = refusing
            .replace("exit-code\nExecMainStatus=78", "signal\nExecMainStatus=9")
            .replace("=failed", "=active");
        assert!(found(&well).is_empty());
    }

    #[test]
    fn stopped_is_not_failed() {
        let text = HALF_UP
            .replace("ActiveState=failed", "ActiveState=inactive")
            .replace("ActiveState=activating", "ActiveState=inactive")
            .replace("ActiveState=active", "ActiveState=inactive");
        let found = Processes::of(&shown(&text), 5_000_000, |_| false);
        assert!(found.is_stopped());
        assert_eq!(found.uptime_ms, 0);
        assert!(Processes::default().is_stopped());
    }

    #[test]
    fn a_unit_is_of_one_role() {
        for (unit, role) in [
            ("clawdbot-gateway.service", Some("gateway")),
            ("clawdbot-agent@guest.service", Some("agent-guest")),
            ("clawdbot-model@my-llm.service", Some("model-my-llm")),
            (
                "clawdbot-sandbox-guest@1-2-3.service",
                Some("sandbox-guest"),
            ),
            ("clawdbot-journal@1-2-3.service", Some("journal")),
            ("clawdbot-gateway.socket", None),
            ("clawdbot-other.service", None),
            ("gateway.service", None),
        ] {
            assert_eq!(
                role_of(unit).map(|role| role.to_string()).as_deref(),
                role,
                "{unit}"
            );
        }
        for role in clawdbot_service::system::roles() {
            assert_eq!(role_of(&service_unit(&role)), Some(role));
        }
        assert!(always().len() >= 7);
    }
}
