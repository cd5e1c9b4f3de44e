//! Whether a stored secret works: the worker that it belongs to asks its provider or platform, tells policy, and policy is
//! asked here until its word is about this secret. Nothing is concluded from silence.

use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_identity::text::{sanitize_block, sanitize_line};
use clawdbot_proto::v1::policy_operator_client::PolicyOperatorClient;
use clawdbot_proto::v1::{HealthRequest, HealthStatus, Problem};
use clawdbot_service::system::service_unit;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;

use crate::dial::{Server, Sockets};
use crate::manager::Manager;
use crate::out::Style;

/// How long a worker may take to try it.
const PATIENCE: Duration = Duration::from_secs(15);
/// Time between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// What is known about a secret after it was stored.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// It was tried, and it works.
    Works,
    /// It was tried, and these are in the way.
    Fails(Vec<Problem>),
    /// Nobody could try it.
    Unchecked {
        /// Stable name.
        code: &'static str,
        /// Why.
        why: String,
        /// What to do.
        remedy: Option<String>,
    },
    /// Nobody was to try it.
    Skipped,
}

impl Verdict {
    pub(super) fn unchecked(code: &'static str, why: String, remedy: Option<String>) -> Self {
        Self::Unchecked { code, why, remedy }
    }

    pub(super) fn text(&self, style: Style) -> String {
        match self {
            Self::Works => format!("{}\n", style.green("it works")),
            Self::Skipped => "it was not tried\n".to_owned(),
            Self::Fails(problems) => {
                let lines = problems
                    .iter()
                    .map(|problem| sanitize_block(&problem.message));
                let lines: Vec<_> = lines
                    .map(|line| format!("{} {line}\n", style.red("it does not work:")))
                    .collect();
                lines.concat()
            }
            Self::Unchecked { why, remedy, .. } => {
                let mut text = format!(
                    "{} {}\n",
                    style.yellow("it could not be tried:"),
                    sanitize_block(why)
                );
                if let Some(remedy) = remedy {
                    text.push_str(&format!(
                        "{} {}\n",
                        style.bold("help:"),
                        sanitize_line(remedy)
                    ));
                }
                text
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        match self {
            Self::Works => json!({ "state": "works" }),
            Self::Skipped => json!({ "state": "skipped" }),
            Self::Fails(problems) => {
                let problems: Vec<_> = problems
                    .iter()
                    .map(|problem| json!({ "code": problem.code, "message": problem.message }))
                    .collect();
                json!({ "state": "fails", "problems": problems })
            }
            Self::Unchecked { code, why, remedy } => {
                json!({ "state": "unchecked", "code": code, "message": why, "remedy": remedy })
            }
        }
    }
}

/// Waits for the worker's word on the lease of this version.
pub(super) async fn wait(sockets: &Sockets, role: &str, version: u64) -> Verdict {
    let deadline = Instant::now() + PATIENCE;
    let line = match sockets.open(Server::Policy).await {
        Ok(line) => line,
        Err(failure) => return Verdict::unchecked("no_policy", failure.message, failure.remedy),
    };
    let mut policy = PolicyOperatorClient::new(line.edge.clone());
    let mut last = None;
    let mut may_sleep = sockets.place().is_system();
    loop {
        let request = HealthRequest {
            role: role.to_owned(),
        };
        match timeout_at(deadline, policy.health(request)).await {
            Ok(Ok(status)) => {
                let status = status.into_inner();
                if let Some(verdict) = conclude(&status, role, version) {
                    return verdict;
                }
                if std::mem::take(&mut may_sleep) && sleeps(role).await {
                    return asleep(role);
                }
                last = Some(Ok(status));
            }
            Ok(Err(status)) => last = Some(Err(status)),
            Err(_) => return give_up(role, last.as_ref(), version),
        }
        if Instant::now() + PAUSE >= deadline {
            return give_up(role, last.as_ref(), version);
        }
        sleep(PAUSE).await;
    }
}

/// Whether the worker is one that the service manager starts for who asks it, and nobody has. Unknown counts as no.
async fn sleeps(role: &str) -> bool {
    let Some(role) = Role::parse(role)
        .ok()
        .filter(|role| role.family() == "model")
    else {
        return false;
    };
    let unit = service_unit(&role);
    let look = move || Manager::System.show(&["Id", "ActiveState"], &[&unit]);
    let units = spawn_blocking(look).await.ok().and_then(Result::ok);
    let units = units.unwrap_or_default();
    units
        .first()
        .is_some_and(|unit| unit.get("ActiveState") == "inactive")
}

fn asleep(role: &str) -> Verdict {
    Verdict::unchecked(
        "asleep",
        format!("{role}, which tries it, does not run until somebody asks it for an answer"),
        Some(
            "`clawdbot chat --message hello` asks; `clawdbot status` tells if the key is wrong"
                .to_owned(),
        ),
    )
}

/// The word on this version, if it has been given or will never be.
fn conclude(status: &HealthStatus, role: &str, version: u64) -> Option<Verdict> {
    if !status.planned {
        return Some(Verdict::unchecked(
            "not_in_use",
            format!(
                "the configuration does not use {}",
                role.split_once('-').map_or(role, |(_, name)| name)
            ),
            Some(in_use(role)),
        ));
    }
    let report = status.report.as_ref()?;
    if !report.checked || report.lease_version != version {
        return None;
    }
    Some(match report.problems.as_slice() {
        [] => Verdict::Works,
        problems => Verdict::Fails(problems.to_vec()),
    })
}

/// What to say when the time is over.
fn give_up(role: &str, last: Option<&Result<HealthStatus, Status>>, version: u64) -> Verdict {
    let status = match last {
        Some(Ok(status)) => status,
        Some(Err(status)) => {
            let why = format!("policy did not answer: {}", status.message());
            return Verdict::unchecked("no_policy", why, None);
        }
        None => {
            let why = "policy did not answer".to_owned();
            return Verdict::unchecked("no_policy", why, None);
        }
    };
    let report = status.report.as_ref();
    let report = report.filter(|report| report.lease_version == version);
    if let Some(problem) = report.and_then(|report| report.problems.first()) {
        return Verdict::unchecked("problem", problem.message.clone(), None);
    }
    Verdict::unchecked(
        "no_answer",
        format!(
            "{role} said nothing about it within {} seconds",
            PATIENCE.as_secs()
        ),
        Some("`clawdbot status` shows it as soon as it is known".to_owned()),
    )
}

/// How a worker comes to be used.
fn in_use(role: &str) -> String {
    match role.split_once('-') {
        Some(("model", provider)) => format!(
            "choose one of its models, for example in agents.defaults.model.primary: \"{provider}/MODEL\""
        ),
        Some(("channel", channel)) => {
            format!("set channels.{channel}.enabled to true in the configuration")
        }
        _ => "name it in the configuration".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::HealthReport;

    use super::*;

    fn health(version: u64, checked: bool, problems: &[&str]) -> HealthStatus {
        let problem = |message: &&str| Problem {
            code: "model.auth".into(),
            message: (*message).into(),
            ..Problem::default()
        };
        HealthStatus {
            reported: true,
            planned: true,
            report: Some(HealthReport {
                problems: problems.iter().map(problem).collect(),
                lease_version: version,
                checked,
            }),
        }
    }

    #[test]
    fn only_a_tried_lease_of_this_version_decides() {
        let conclude = |status: &HealthStatus| conclude(status, "model-openai", 7);
        assert_eq!(conclude(&health(7, true, &[])), Some(Verdict::Works));
        let fails = conclude(&health(7, true, &["wrong key"]));
        assert!(matches!(fails, Some(Verdict::Fails(problems)) if problems.len() == 1));
        for undecided in [
            health(6, true, &[]),
            health(6, true, &["the old key is wrong"]),
            health(7, false, &[]),
        ] {
            assert_eq!(conclude(&undecided), None);
        }
        let unused = conclude(&HealthStatus::default());
        assert!(matches!(
            unused,
            Some(Verdict::Unchecked {
                code: "not_in_use",
                ..
            })
        ));
    }

    #[test]
    fn silence_is_told_apart_by_its_reason() {
        let code = |last: Option<Result<HealthStatus, Status>>| match give_up(
            "model-openai",
            last.as_ref(),
            7,
        ) {
            Verdict::Unchecked { code, why, .. } => (code, why),
            other => panic!("{other:?}"),
        };
        assert_eq!(code(None).0, "no_policy");
        assert_eq!(code(Some(Err(Status::unavailable("gone")))).0, "no_policy");
        assert_eq!(code(Some(Ok(health(6, true, &["old"])))).0, "no_answer");
        let down = code(Some(Ok(health(7, false, &["the provider is down"]))));
        assert_eq!(down, ("problem", "the provider is down".to_owned()));
    }

    #[test]
    fn a_worker_that_nothing_uses_comes_with_the_setting_that_does() {
        for (role, part) in [
            ("model-openai", "openai/MODEL"),
            ("channel-telegram", "channels.telegram.enabled"),
        ] {
            assert!(in_use(role).contains(part));
        }
    }
}
