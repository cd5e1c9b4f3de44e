//! What a worker says of itself: one problem at most for each account, told to policy when anything changes and again after
//! every start of policy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clawdbot_proto::v1::health_client::HealthClient;
use clawdbot_proto::v1::{HealthReport, Problem};
use clawdbot_service::Edge;
use tokio::sync::watch;

/// Pause after a failed try.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct State {
    lease_version: u64,
    /// By account: what is wrong, if something is, and whether the platform has been asked with this lease.
    accounts: BTreeMap<String, (Option<Problem>, bool)>,
}

/// A worker's health. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    state: Arc<Mutex<State>>,
    report: watch::Sender<HealthReport>,
}

impl Health {
    /// Reports on this edge from now on. Must be called inside the runtime.
    #[must_use]
    pub fn start(edge: Edge) -> Self {
        let report = watch::Sender::new(HealthReport::default());
        tokio::spawn(tell(edge, report.subscribe()));
        Self {
            state: Arc::default(),
            report,
        }
    }

    /// Another lease, or other accounts: nothing is known of them yet.
    pub fn begin(&self, lease_version: u64, accounts: impl IntoIterator<Item = String>) {
        self.change(|state| {
            let mut before = std::mem::take(&mut state.accounts);
            let same = state.lease_version == lease_version;
            state.lease_version = lease_version;
            state.accounts = accounts
                .into_iter()
                .map(|account| {
                    let (problem, checked) = before.remove(&account).unwrap_or_default();
                    // A problem stands until the new lease was tried.
                    (account, (problem, checked && same))
                })
                .collect();
        });
    }

    /// The platform accepted the account.
    pub fn works(&self, account: &str) {
        self.set(account, None);
    }

    /// The platform has been asked and this is wrong, in words with the remedy.
    pub fn problem(&self, account: &str, code: &str, message: &str) {
        self.set(
            account,
            Some(Problem {
                code: code.to_owned(),
                message: message.to_owned(),
                ..Problem::default()
            }),
        );
    }

    /// The problem of an account.
    #[must_use]
    pub fn code_of(&self, account: &str) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (problem, _) = state.accounts.get(account)?;
        problem.as_ref().map(|problem| problem.code.clone())
    }

    /// What policy is told.
    #[must_use]
    pub fn report(&self) -> watch::Receiver<HealthReport> {
        self.report.subscribe()
    }

    fn set(&self, account: &str, problem: Option<Problem>) {
        self.change(|state| {
            if let Some(entry) = state.accounts.get_mut(account) {
                *entry = (problem, true);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let report = HealthReport {
            problems: state
                .accounts
                .values()
                .filter_map(|(problem, _)| problem.clone())
                .collect(),
            lease_version: state.lease_version,
            checked: state.accounts.values().all(|(_, checked)| *checked)
                && !state.accounts.is_empty(),
        };
        self.report.send_if_modified(|known| {
            let changed = *known != report;
            *known = report;
            changed
        });
    }
}

async fn tell(edge: Edge, mut news: watch::Receiver<HealthReport>) {
    let mut client = HealthClient::new(edge.clone());
    let mut generation = edge.generation();
    loop {
        let report = news.borrow_and_update().clone();
        generation.borrow_and_update();
        while client.report(report.clone()).await.is_err() {
            if news.has_changed().is_err() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let ended = tokio::select! {
            changed = news.changed() => changed.is_err(),
            changed = generation.changed() => changed.is_err() && news.changed().await.is_err(),
        };
        if ended {
            return;
        }
    }
}
