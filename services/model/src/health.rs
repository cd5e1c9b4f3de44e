//! What this worker tells policy about itself: every problem with its remedy, gone again as soon as something shows that it
//! is over. A report is the whole truth, so that losing one costs nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use clawdbot_proto::v1::health_client::HealthClient;
use clawdbot_proto::v1::{HealthReport, Problem};
use clawdbot_service::Edge;
use tokio::sync::watch;
use tracing::debug;

use crate::fault::Kind;

/// Failures in a row after which a provider counts as not available: one may be a hiccup.
const DOWN: u32 = 3;
/// Pause after each report, which keeps a flickering provider below the edge's rate.
const PAUSE: Duration = Duration::from_millis(100);

/// The present state. Cheap to clone.
#[derive(Clone)]
pub struct Health(watch::Sender<State>);

#[derive(Default, Clone, PartialEq, Eq)]
struct State {
    /// By code and whom it is about: a log-in profile, a model, or nobody in particular.
    problems: BTreeMap<(&'static str, String), String>,
    failures: u32,
    lease_version: u64,
    checked: bool,
}

/// The problem's code, and whether it is about the profile or the model; nothing for what a request alone is to blame for.
fn code(kind: Kind) -> Option<(&'static str, About)> {
    Some(match kind {
        Kind::NoKey => ("model.no_key", About::Provider),
        Kind::Auth => ("model.auth", About::Profile),
        Kind::Billing => ("model.billing", About::Profile),
        Kind::RateLimit => ("model.rate_limited", About::Profile),
        Kind::UnknownModel => ("model.unknown", About::Model),
        Kind::Invalid | Kind::Overflow => return None,
        _ => (UNAVAILABLE, About::Provider),
    })
}

const UNAVAILABLE: &str = "model.unavailable";

enum About {
    Provider,
    Profile,
    Model,
}

impl Health {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// Another lease, or none (version zero), is in use; what was known of the keys before it is over.
    pub fn leased(&self, version: u64) {
        self.change(|state| {
            state
                .problems
                .retain(|(code, _), _| *code == UNAVAILABLE || *code == "model.unknown");
            state.lease_version = version;
            state.checked = false;
        });
    }

    /// The provider was asked with the lease in use. Whether that went well is told before.
    pub fn checked(&self) {
        self.change(|state| state.checked = true);
    }

    /// A request failed for good. `certain`: one failure is enough to say that the provider is not available.
    pub fn failed(&self, kind: Kind, profile: &str, model: &str, message: &str, certain: bool) {
        let Some((code, about)) = code(kind) else {
            return;
        };
        let about = match about {
            About::Provider => "",
            About::Profile => profile,
            About::Model => model,
        };
        self.change(|state| {
            if code == UNAVAILABLE {
                state.failures += 1;
                if state.failures < DOWN && !certain {
                    return;
                }
            }
            state
                .problems
                .insert((code, about.to_owned()), message.to_owned());
        });
    }

    /// A profile was served with a model, or, without one, answered a question.
    pub fn succeeded(&self, profile: &str, model: Option<&str>) {
        {
            let state = self.0.borrow();
            if state.problems.is_empty() && state.failures == 0 {
                return;
            }
        }
        self.change(|state| {
            state.failures = 0;
            state.problems.retain(|(code, about), _| match *code {
                "model.unknown" => model != Some(about),
                // A list of models is shown to those who cannot pay, too.
                "model.billing" | "model.rate_limited" => model.is_none() || about != profile,
                "model.auth" => about != profile,
                _ => false,
            });
        });
    }

    /// One line for the process's status.
    pub fn line(&self) -> Option<String> {
        self.0.borrow().problems.values().next().cloned()
    }

    /// Brings every change to policy, and everything to a policy that was started anew. Must be spawned.
    pub async fn report(self, policy: Edge, told: impl Fn(Option<String>)) {
        let mut generation = policy.generation();
        let mut client = HealthClient::new(policy);
        let mut news = self.0.subscribe();
        loop {
            let report = news.borrow_and_update().report();
            told(self.line());
            match client.report(report).await {
                Ok(_) => tokio::time::sleep(PAUSE).await,
                Err(status) => {
                    debug!(code = ?status.code(), "policy took no report");
                    tokio::time::sleep(PAUSE * 10).await;
                    continue;
                }
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                changed = generation.changed() => if changed.is_err() { return },
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
    }

    /// The report as it would be sent now.
    #[cfg(test)]
    pub fn now(&self) -> HealthReport {
        self.0.borrow().report()
    }
}

impl State {
    fn report(&self) -> HealthReport {
        let problem = |((code, _), message): (&(&'static str, String), &String)| Problem {
            code: (*code).to_owned(),
            message: message.clone(),
            ..Default::default()
        };
        HealthReport {
            problems: self.problems.iter().map(problem).collect(),
            lease_version: self.lease_version,
            checked: self.checked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(health: &Health) -> Vec<String> {
        let report = health.now();
        report.problems.into_iter().map(|p| p.code).collect()
    }

    #[test]
    fn a_problem_stays_until_its_own_kind_of_success() {
        let health = Health::new();
        health.failed(Kind::Auth, "work", "m", "bad key", false);
        health.failed(Kind::UnknownModel, "home", "m", "no such model", false);
        health.succeeded("home", Some("other"));
        assert_eq!(codes(&health), ["model.auth", "model.unknown"]);
        health.succeeded("home", Some("m"));
        assert_eq!(codes(&health), ["model.auth"]);
        health.succeeded("work", None);
        assert!(codes(&health).is_empty());
        health.failed(Kind::Billing, "work", "m", "no credit", false);
        health.succeeded("work", None);
        assert_eq!(
            codes(&health),
            ["model.billing"],
            "a list of models costs nothing"
        );
        health.succeeded("work", Some("m"));
        assert!(codes(&health).is_empty());
    }

    #[test]
    fn only_the_third_failure_in_a_row_makes_a_provider_unavailable() {
        let health = Health::new();
        for kind in [Kind::Server, Kind::Timeout] {
            health.failed(kind, "p", "m", "down", false);
        }
        health.succeeded("p", Some("m"));
        for expected in [0, 0, 1, 1] {
            health.failed(Kind::Unreachable, "p", "m", "down", false);
            assert_eq!(codes(&health).len(), expected);
        }
        health.succeeded("p", Some("m"));
        health.failed(Kind::Unreachable, "p", "m", "down", true);
        assert_eq!(codes(&health), ["model.unavailable"]);
    }

    #[test]
    fn what_only_the_request_is_to_blame_for_is_no_problem_of_the_worker() {
        let health = Health::new();
        for kind in [Kind::Invalid, Kind::Overflow] {
            health.failed(kind, "p", "m", "no", true);
        }
        assert!(codes(&health).is_empty());
    }

    #[test]
    fn a_new_key_clears_what_was_said_of_the_old_one() {
        let health = Health::new();
        health.failed(Kind::Auth, "p", "m", "bad", false);
        health.failed(Kind::Unreachable, "p", "m", "down", true);
        health.checked();
        health.leased(7);
        let report = health.now();
        assert_eq!((report.lease_version, report.checked), (7, false));
        assert_eq!(codes(&health), ["model.unavailable"]);
    }
}
