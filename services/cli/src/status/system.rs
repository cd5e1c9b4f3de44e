//! The report in system mode. The service manager is asked first, since a connection would start what does not run, and then
//! only those who live.

use std::path::Path;
use std::time::Duration;

use clawdbot_proto::v1::{GatewayStatus, PolicyStatus, ProcessesReply};
use tokio::time::timeout;

use super::{Report, of_gateway, of_policy};
use crate::apply::{self, Needs};
use crate::dial::Sockets;
use crate::failure::{EXIT_NOT_RUNNING, Failure, NOT_RUNNING};
use crate::manager::{IN_FOREGROUND, Processes, Seen};
use crate::place::Place;
use crate::remote;
use crate::rights::EXIT_RIGHTS;

/// Asks who lives, by the service manager's word.
///
/// # Errors
/// Exit status 69 when everything was stopped, 77 when the sockets are closed to this person.
pub async fn gather(
    sockets: &Sockets,
    runtime: &Path,
    seen: &Seen,
    patience: Duration,
) -> Result<Report, Failure> {
    gather_by(sockets, seen.processes(runtime), patience).await
}

/// Asks who lives, by the service manager's word; everybody where that has none.
async fn gather_by(
    sockets: &Sockets,
    seen: Result<Processes, Failure>,
    patience: Duration,
) -> Result<Report, Failure> {
    let lives = |role: &str| seen.as_ref().is_ok_and(|seen| seen.lives(role)) || seen.is_err();
    if seen.as_ref().is_ok_and(Processes::is_stopped) {
        return Err(
            Failure::new(NOT_RUNNING, "the assistant of this machine is stopped")
                .exit(EXIT_NOT_RUNNING)
                .remedy("sudo systemctl start clawdbot.target"),
        );
    }
    let (gateway, policy) = (lives("gateway"), lives("policy"));
    let gateway = async {
        match gateway {
            true => Some(of_gateway(sockets, patience).await),
            false => None,
        }
    };
    let policy = async {
        match policy {
            true => Some(of_policy(sockets, patience).await),
            false => None,
        }
    };
    let (gateway, policy) = tokio::join!(gateway, policy);
    assemble(sockets.place(), seen, gateway, policy)
}

/// One report out of what the service manager said, and two processes as far as they live.
fn assemble(
    place: &Place,
    seen: Result<Processes, Failure>,
    gateway: Option<Result<GatewayStatus, Failure>>,
    policy: Option<Result<PolicyStatus, Failure>>,
) -> Result<Report, Failure> {
    let mut report = Report {
        mode: place.mode.clone(),
        ..Report::default()
    };
    match seen {
        Ok(seen) => {
            report.absent = seen.problems;
            report.processes = Some(ProcessesReply {
                processes: seen.processes,
                uptime_ms: seen.uptime_ms,
                state_dir: place.state.display().to_string(),
                config_path: place.config.display().to_string(),
                ..ProcessesReply::default()
            });
        }
        Err(manager) => {
            let nobody = |failure: Option<&Failure>| {
                failure.is_some_and(|failure| failure.code == NOT_RUNNING)
            };
            let asked = gateway.as_ref().and_then(|asked| asked.as_ref().err());
            let other = policy.as_ref().and_then(|asked| asked.as_ref().err());
            if let Some(failure) = asked.filter(|_| nobody(asked) && nobody(other)) {
                return Err(nobody_there(failure, manager));
            }
            report.problems.push(manager.message);
        }
    }
    report.gateway = told(gateway, &mut report.problems)?;
    report.policy = told(policy, &mut report.problems)?;
    Ok(report)
}

/// Nobody has a socket, and the service manager tells nothing. What would start them helps only where there is one.
fn nobody_there(failure: &Failure, manager: Failure) -> Failure {
    let message = format!("{} ({})", failure.message, manager.message);
    let nobody = Failure::new(NOT_RUNNING, message).exit(EXIT_NOT_RUNNING);
    let foreground = manager.remedy.filter(|remedy| remedy == IN_FOREGROUND);
    match foreground.or_else(|| failure.remedy.clone()) {
        Some(remedy) => nobody.remedy(remedy),
        None => nobody,
    }
}

/// What one process said, if it was asked. Whoever may not ask learns that and nothing else.
fn told<T>(
    asked: Option<Result<T, Failure>>,
    problems: &mut Vec<String>,
) -> Result<Option<T>, Failure> {
    match asked.transpose() {
        Err(failure) if failure.exit != EXIT_RIGHTS => {
            problems.push(failure.message);
            Ok(None)
        }
        told => told,
    }
}

/// What root has to bring in line with the configuration; nothing where that cannot be known, which others tell. Policy is
/// asked for what this person may not read, if it answered (`policy`).
pub async fn pending(
    sockets: &Sockets,
    seen: &Seen,
    policy: bool,
    patience: Duration,
) -> Vec<String> {
    let place = sockets.place();
    let needs = match remote::is_closed(place) {
        true if policy => {
            let asked = timeout(patience, remote::needs(sockets)).await;
            asked.ok().and_then(Result::ok)
        }
        true => None,
        false => {
            { clawdbot_config::load(&place.config).ok() }.map(|loaded| Needs::of(&loaded.config))
        }
    };
    needs.map_or_else(Vec::new, |needs| apply::pending(&needs, seen))
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::Process;
    use serde_json::{Value, json};

    use super::*;
    use crate::out::Style;
    use crate::place::Mode;

    fn process(role: &str, state: &str) -> Process {
        Process {
            role: role.into(),
            state: state.into(),
            ..Process::default()
        }
    }

    #[test]
    fn in_system_mode_the_service_managers_word_comes_first() {
        let place = Place {
            state: "/s".into(),
            config: "/c.json".into(),
            mode: Mode::System {
                runtime: "/r".into(),
            },
            ..Place::default()
        };
        let seen = || Processes {
            processes: vec![process("gateway", "ready"), process("policy", "failed")],
            uptime_ms: 61_000,
            problems: vec!["policy does not run: systemctl status x".into()],
        };
        let gone = || Failure::new(NOT_RUNNING, "it does not run").exit(EXIT_NOT_RUNNING);
        let report =
            assemble(&place, Ok(seen()), Some(Ok(GatewayStatus::default())), None).unwrap();
        assert_eq!(report.absent, ["policy does not run: systemctl status x"]);
        assert!(report.problems.is_empty());
        assert!(!report.is_well() && report.policy.is_none());
        let json = report.json();
        assert_eq!(json["problems"], json!(report.absent));
        assert_eq!(
            (
                &json["mode"],
                &json["stateDir"],
                &json["configPath"],
                &json["version"]
            ),
            (
                &json!("system"),
                &json!("/s"),
                &json!("/c.json"),
                &Value::Null
            )
        );
        let text = report.text(Style::PLAIN, false, 0);
        assert!(
            text.starts_with("running   for 1 min, as services of this machine, in /s\n"),
            "{text}"
        );
        assert!(
            text.ends_with("problem: policy does not run: systemctl status x\n"),
            "{text}"
        );
        let unseen = Failure::new("manager", "no bus");
        let report = assemble(
            &place,
            Err(unseen),
            Some(Err(gone())),
            Some(Ok(PolicyStatus::default())),
        )
        .unwrap();
        assert_eq!(report.problems, ["no bus", "it does not run"]);
        let outsider = Failure::new("rights.group", "not in the group").exit(EXIT_RIGHTS);
        let refused = assemble(
            &place,
            Ok(seen()),
            Some(Ok(GatewayStatus::default())),
            Some(Err(outsider)),
        );
        assert_eq!(refused.unwrap_err().exit, 77);
    }

    #[test]
    fn where_neither_the_service_manager_nor_anybody_else_answers_nothing_runs() {
        let place = Place::default();
        let unseen = || Err::<Processes, _>(Failure::new("manager.none", "no systemd"));
        let gone = || {
            Failure::new(NOT_RUNNING, "it does not run")
                .exit(EXIT_NOT_RUNNING)
                .remedy("start it")
        };
        let failure = assemble(&place, unseen(), Some(Err(gone())), Some(Err(gone()))).unwrap_err();
        assert_eq!((failure.exit, failure.code.as_str()), (69, NOT_RUNNING));
        assert!(failure.message.contains("it does not run"));
        assert!(
            failure.message.contains("no systemd"),
            "{}",
            failure.message
        );
        assert_eq!(failure.remedy.as_deref(), Some("start it"));
        let nowhere = unseen().map_err(|failure| failure.remedy(IN_FOREGROUND));
        let failure = assemble(&place, nowhere, Some(Err(gone())), Some(Err(gone()))).unwrap_err();
        assert_eq!(failure.remedy.as_deref(), Some(IN_FOREGROUND));
        // Who is silent is there, and who lives by the service manager's word, too.
        let silent = Failure::new("unavailable", "it does not answer");
        let report = assemble(&place, unseen(), Some(Err(gone())), Some(Err(silent))).unwrap();
        assert_eq!(report.problems.len(), 3);
        let seen = Ok(Processes::default());
        assert!(assemble(&place, seen, Some(Err(gone())), Some(Err(gone()))).is_ok());
    }

    #[test]
    fn who_was_stopped_is_not_woken_by_the_question() {
        let place = Place {
            mode: Mode::System {
                runtime: "/nonexistent".into(),
            },
            ..Place::default()
        };
        let mut stopped = Processes::default();
        stopped.processes.push(process("gateway", "stopped"));
        let gathered = crate::run::block_on(async {
            gather_by(&Sockets::of(&place), Ok(stopped), Duration::ZERO).await
        });
        let failure = gathered.unwrap_err();
        assert_eq!((failure.exit, failure.code.as_str()), (69, NOT_RUNNING));
        assert!(
            failure
                .remedy
                .unwrap()
                .contains("systemctl start clawdbot.target")
        );
    }
}
