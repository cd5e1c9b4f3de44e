//! What the running processes say of themselves: how well they are confined, what their workers miss, and whether the file
//! on disk is the one in force. Without processes there is nothing to say but that.

use clawdbot_config::Severity::{self, Critical, Info, Warn};
use clawdbot_confine::measure::Confinement;
use clawdbot_identity::text::sanitize_block;
use clawdbot_proto::v1::Process;
use clawdbot_service::gaps;

use super::check::{Check, Found, Hit, elsewhere};
use crate::failure::Failure;
use crate::rights::EXIT_RIGHTS;
use crate::status::{Report, is_notice};

pub const CHECKS: &[Check] = &[NONE, SILENT, NOT_IN_FORCE, REPORTED, UNKNOWN, GAP];

const NONE: Check = Check {
    id: "running.none",
    severity: Info,
    title: "nothing is running here",
    why: "What only running processes can tell was not checked.",
    help: "start it and look again",
    command: "clawdbot up",
    fixes: false,
    look: elsewhere,
};

const SILENT: Check = Check {
    id: "running.silent",
    severity: Warn,
    title: "a process does not answer",
    why: "What it does and how it is confined cannot be told.",
    help: "the log may say why",
    command: "clawdbot logs --level warn",
    fixes: false,
    look: elsewhere,
};

const NOT_IN_FORCE: Check = Check {
    id: "config.not_in_force",
    severity: Critical,
    title: "the running assistant refused the configuration file",
    why: "What was valid last stays in force, or everything is refused if nothing ever was.",
    help: "correct the file, or restart with the environment that it needs",
    command: "clawdbot config validate",
    fixes: false,
    look: elsewhere,
};

const REPORTED: Check = Check {
    id: "<what a process reports>",
    severity: Warn,
    title: "a process reports a problem",
    why: "Until it is solved the process does a part of its work only.",
    help: "",
    command: "clawdbot status",
    fixes: false,
    look: elsewhere,
};

const UNKNOWN: Check = Check {
    id: "confinement.unknown",
    severity: Warn,
    title: "a process does not say how it is confined",
    why: "Whether a mistake in it stays inside cannot be told.",
    help: "see what it says",
    command: "clawdbot status -v",
    fixes: false,
    look: elsewhere,
};

const GAP: Check = Check {
    id: "confinement.<what>",
    severity: Warn,
    title: "a wall around a process is missing",
    why: "A mistake in the process reaches further than it should.",
    help: "",
    command: "clawdbot status -v",
    fixes: false,
    look: elsewhere,
};

/// What is found, and whether anything runs. `broken`: the file as it stands does not load. `start`: what starts everything.
/// `units`: the processes that the system's service manager knows, where it starts them.
pub fn look(
    report: Result<Report, Failure>,
    broken: bool,
    start: &str,
    units: &[Process],
) -> (Vec<Found>, bool) {
    let report = match report {
        Ok(report) => report,
        Err(failure) => {
            // What runs is known all the same.
            let mut found = confinement(units);
            let mut silent = titled(
                if units.is_empty() { &NONE } else { &SILENT },
                failure.message,
            );
            if units.is_empty() {
                silent.command = start.to_owned();
            }
            // Who may not ask is told how he may.
            if let Some(remedy) = failure.remedy.filter(|_| failure.exit == EXIT_RIGHTS) {
                (silent.help, silent.command) = (remedy, String::new());
            }
            found.push(silent);
            return (found, !units.is_empty());
        }
    };
    let mut found = Vec::new();
    // What does not run by the service manager's word is a finding about its unit.
    for problem in &report.problems {
        found.push(titled(&SILENT, problem.as_str()));
    }
    let refused = report.policy.as_ref();
    let refused = refused.map_or("", |policy| policy.config_error.trim_end());
    if !refused.is_empty() && !broken {
        found.push(Found {
            excerpt: Some(sanitize_block(refused).into_owned()),
            ..NOT_IN_FORCE.found(Hit::default())
        });
    }
    for problem in report.reported() {
        let severity = is_notice(problem).then_some(Info);
        // The message ends with what to do.
        found.push(Found {
            id: problem.code.clone(),
            title: format!("{}: {}", problem.role, problem.message),
            ..REPORTED.found(Hit {
                severity,
                ..Hit::default()
            })
        });
    }
    found.extend(confinement(match report.processes() {
        [] => units,
        processes => processes,
    }));
    (found, true)
}

fn titled(check: &Check, title: impl Into<String>) -> Found {
    Found {
        title: title.into(),
        ..check.found(Hit::default())
    }
}

/// Each gap once, with the processes that have it, what it means and what would close it.
fn confinement(processes: &[Process]) -> Vec<Found> {
    let ready = || processes.iter().filter(|process| process.state == "ready");
    let dumb = ready().filter(|process| Confinement::parse_line(&process.confinement).is_none());
    let mut found: Vec<Found> = dumb
        .map(|process| {
            titled(
                &UNKNOWN,
                format!("{} does not say how it is confined", process.role),
            )
        })
        .collect();
    for gap in gaps(ready().map(|process| (process.role.as_str(), process.confinement.as_str()))) {
        let what = gap.missing.what;
        let severity = if gap.missing.floor {
            Severity::Warn
        } else {
            Severity::Info
        };
        found.push(Found {
            id: GAP.id.replace("<what>", what),
            title: format!(
                "{what} is missing from the confinement of {}",
                gap.roles.join(", ")
            ),
            detail: gap.missing.meaning.to_owned(),
            help: gap.missing.remedy.to_owned(),
            ..GAP.found(Hit {
                severity: Some(severity),
                ..Hit::default()
            })
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::{PolicyStatus, Problem, ProcessesReply};

    use super::*;

    const UP: &str = "clawdbot up";
    const START: &str = "sudo systemctl start clawdbot.target";

    fn running(role: &str, confinement: &str, config_error: &str) -> Report {
        let process = Process {
            role: role.into(),
            state: "ready".into(),
            confinement: confinement.into(),
            ..Process::default()
        };
        Report {
            processes: Some(ProcessesReply {
                processes: vec![process],
                ..ProcessesReply::default()
            }),
            policy: Some(PolicyStatus {
                config_error: config_error.into(),
                ..PolicyStatus::default()
            }),
            ..Report::default()
        }
    }

    fn findings(report: Report) -> Vec<Found> {
        let (found, running) = look(Ok(report), false, UP, &[]);
        assert!(running);
        found
    }

    fn ids(report: Report) -> Vec<String> {
        findings(report).into_iter().map(|found| found.id).collect()
    }

    const FULL: &str = "level=full landlock=6 seccomp=on filters=5 nnp=on caps=off dumpable=off core=0 env=0 strays=0 net=own memory=none";

    #[test]
    fn gaps_of_the_confinement_and_a_refused_file_of_what_runs_are_found() {
        let limits = FULL.replace(
            "level=full landlock=6 seccomp=on",
            "level=limits landlock=0 seccomp=off",
        );
        let partial = FULL.replace("level=full landlock=6", "level=partial landlock=0");
        let partial = format!("{partial} missing=landlock");
        assert_eq!(ids(running("gateway", FULL, "")), [""; 0]);
        assert_eq!(ids(running("supervisor", &limits, "")), [""; 0]);
        assert_eq!(
            ids(running("gateway", &partial, "")),
            ["confinement.landlock"]
        );
        assert_eq!(ids(running("gateway", "", "")), ["confinement.unknown"]);
        assert_eq!(
            ids(running("gateway", FULL, "c.json:1:1: no")),
            ["config.not_in_force"]
        );
        // A file that does not load says so itself.
        let (found, _) = look(
            Ok(running("gateway", FULL, "c.json:1:1: no")),
            true,
            UP,
            &[],
        );
        assert!(found.is_empty());
    }

    #[test]
    fn what_workers_report_is_a_finding_and_a_request_a_note() {
        let problem = |code: &str| Problem {
            code: code.into(),
            message: "do something".into(),
            role: "model-x".into(),
            since_ms: 0,
        };
        let mut report = running("gateway", FULL, "");
        report.policy.as_mut().unwrap().problems =
            vec![problem("model.no_key"), problem("pairing.requested")];
        let found = findings(report);
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.id.as_str(), found.severity))
            .collect();
        assert_eq!(found, [("model.no_key", Warn), ("pairing.requested", Info)]);
    }

    #[test]
    fn a_gap_is_a_warning_if_safety_rests_on_it_and_a_note_otherwise() {
        let gap = |missing: &str| {
            let report = running("gateway", &format!("{FULL} missing={missing}"), "");
            findings(report).remove(0)
        };
        let warning = gap("seccomp");
        assert_eq!(warning.severity, Warn);
        assert!(warning.help.contains("CONFIG_SECCOMP_FILTER"));
        let namespace = gap("network-namespace");
        assert_eq!(namespace.severity, Info);
        assert!(namespace.help.contains("sysctl"));
        let note = gap("landlock-scope");
        assert_eq!(note.severity, Info);
        assert!(note.title.ends_with("the confinement of gateway") && !note.detail.is_empty());
    }

    #[test]
    fn without_processes_the_only_finding_is_a_note() {
        let nothing = || Err(Failure::new("not_running", "nothing is running"));
        let (found, runs) = look(nothing(), false, UP, &[]);
        assert!(!runs && found.len() == 1 && found[0].severity == Info);
        assert_eq!(found[0].command, "clawdbot up");
        let (found, _) = look(nothing(), false, START, &[]);
        assert_eq!(found[0].command, START);
    }

    #[test]
    fn a_unit_that_does_not_run_is_left_to_the_findings_about_units() {
        let mut report = running("gateway", FULL, "");
        report.absent = vec!["policy does not run: systemctl status x".into()];
        report.problems = vec!["the broker does not answer".into()];
        let (found, _) = look(Ok(report), false, START, &[]);
        let titles: Vec<_> = found.iter().map(|found| found.title.as_str()).collect();
        assert_eq!(titles, ["the broker does not answer"]);
    }

    #[test]
    fn what_units_say_counts_where_there_is_no_supervisor_even_if_nobody_answers() {
        let units = |confinement: &str| {
            let processes = running("policy", confinement, "").processes.unwrap();
            processes.processes
        };
        let gap = units(&format!("{FULL} missing=seccomp"));
        let report = Report::default();
        let (found, runs) = look(Ok(report), false, START, &gap);
        assert!(runs && found.len() == 1 && found[0].id == "confinement.seccomp");
        let refused = Failure::new("not_yours", "this is for members of clawdbot");
        let refused = Err(refused.exit(EXIT_RIGHTS).remedy("join them"));
        let (found, runs) = look(refused, false, START, &gap);
        let ids: Vec<_> = found.iter().map(|found| found.id.as_str()).collect();
        assert!(runs);
        assert_eq!(ids, ["confinement.seccomp", "running.silent"]);
        assert!(found[1].title.contains("members") && found[1].help == "join them");
    }
}
