//! Reads the configuration at the start and after each change. A good file goes into force as a whole; a bad one changes
//! nothing but the status. Without a good one everything stays denied, and the process stays up to see the repair.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use clawdbot_proto::v1::HasNamesRequest;
use clawdbot_proto::v1::credentials_client::CredentialsClient;
use clawdbot_service::Edge;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use crate::config_file::Stamp;
use crate::distil::{self, Reading, TELEGRAM_TOKEN};
use crate::file_watch::Running;
use crate::policy::Policy;
use crate::trouble::Trouble;

/// How long a start waits for the broker to tell which variables are set.
const BROKER_PATIENCE: Duration = Duration::from_secs(2);
/// Pause before a broker that did not answer is asked again, unless it is known to have been started.
const BROKER_PAUSE: Duration = Duration::from_secs(2);
/// The quiet time while no configuration says another.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// After so many quiet times that were not quiet the file is read all the same.
const RESTLESS: usize = 20;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was judged, one way or the other.
    Judged,
    /// The broker could not be asked about its variables.
    BrokerMissing,
    /// It was good, and the audit log could not be written.
    Unrecorded,
}

/// Reads the file and puts it into force, or notes why not.
pub(crate) async fn load(policy: &Policy, broker: &Edge) -> Outcome {
    let opened = policy.config.open().await;
    let mut reading = match distil::read(policy.config.path(), opened) {
        Ok(reading) => reading,
        Err(trouble) => {
            policy.reject(trouble);
            return Outcome::Judged;
        }
    };
    let asked = set(&reading, broker).await;
    // What nothing in the file depends on does not keep it from being in force.
    let missing = asked.is_err() && reading.names().next().is_none();
    let asked = if missing { Ok(Vec::new()) } else { asked };
    let (trouble, outcome) = match asked.map(|set| (unset(&reading, &set), set)) {
        Ok((unset, set)) if unset.is_empty() => {
            let is_set = (!missing).then(|| set.iter().any(|name| name == TELEGRAM_TOKEN));
            let before = policy.current().ok();
            reading.settle(is_set, before.as_ref().map(|before| &before.settings));
            let outcome = match missing {
                true => Outcome::BrokerMissing,
                false => Outcome::Judged,
            };
            let Err(trouble) = policy.accept(reading) else {
                // In force is in force; that its record is not safe yet is in the log.
                let _ = policy.synced().await;
                return outcome;
            };
            let outcome = match trouble.rule {
                Some(_) => Outcome::Unrecorded,
                None => outcome,
            };
            (trouble, outcome)
        }
        Ok((unset, _)) => (lines(unset.iter().map(|(path, name)| {
            format!("{path} is \"${{{name}}}\", but {name} is not set in the environment that started Clawdbot")
        })), Outcome::Judged),
        Err(Unreachable) => (lines(reading.names().map(|(path, name)| {
            format!("{path} is \"${{{name}}}\", and the broker, which knows whether {name} is set, does not answer; it is asked again as soon as it is there")
        })), Outcome::BrokerMissing),
    };
    let place = policy.config.path().display();
    policy.reject(Trouble {
        first: format!("{place}: {}", trouble.first),
        ..trouble
    });
    outcome
}

fn lines(all: impl Iterator<Item = String>) -> Trouble {
    let all: Vec<_> = all.collect();
    Trouble {
        rendered: all.join("\n"),
        ..Trouble::line(all.first().cloned().unwrap_or_default())
    }
}

struct Unreachable;

/// The settings whose variable is not set, with its name.
fn unset<'a>(reading: &'a Reading, set: &[String]) -> Vec<(&'a str, &'a str)> {
    reading
        .names()
        .filter(|(_, name)| !set.iter().any(|known| known == name))
        .collect()
}

/// The variables that count and are set.
async fn set(reading: &Reading, broker: &Edge) -> Result<Vec<String>, Unreachable> {
    let mut names: Vec<_> = reading.names().map(|(_, name)| name.to_owned()).collect();
    if reading.depends_on_environment() {
        names.push(TELEGRAM_TOKEN.to_owned());
    }
    match names.is_empty() {
        true => Ok(Vec::new()),
        false => set_of(broker, names).await,
    }
}

/// Those of the names that are set.
async fn set_of(broker: &Edge, names: Vec<String>) -> Result<Vec<String>, Unreachable> {
    let mut client = CredentialsClient::new(broker.clone());
    let asked = timeout(BROKER_PATIENCE, client.has_names(HasNamesRequest { names }));
    let reply = asked.await.map_err(|_| Unreachable)?;
    Ok(reply.map_err(|_| Unreachable)?.into_inner().set)
}

/// What was known before a load, so that nothing that happens during the load is missed.
pub(crate) struct Before {
    stamp: Stamp,
    broker_started: watch::Receiver<u64>,
}

impl Before {
    pub(crate) fn now(policy: &Policy, broker: &Edge) -> Self {
        let mut broker_started = broker.generation();
        broker_started.mark_unchanged();
        Self {
            stamp: Stamp::of(policy.config.path()),
            broker_started,
        }
    }
}

/// Follows the file for ever. `before` and `outcome` belong to the first load, `said` is called after each other one.
pub(crate) async fn follow(
    policy: &Policy,
    broker: &Edge,
    mut file: Option<Running>,
    before: Before,
    mut outcome: Outcome,
    said: impl Fn(),
) -> Infallible {
    let Before {
        stamp: mut seen,
        mut broker_started,
    } = before;
    loop {
        tokio::select! {
            () = changed(&mut file) => {
                settle(policy, &mut file).await;
                let now = Stamp::of(policy.config.path());
                if now == seen {
                    continue;
                }
                seen = now;
                if policy.current().is_ok_and(|current| !current.settings.reload.live) {
                    info!("the configuration has changed; gateway.reload.mode says that it takes effect with the next start");
                    continue;
                }
            }
            Ok(()) = broker_started.changed(), if outcome == Outcome::BrokerMissing => {}
            () = sleep(BROKER_PAUSE), if outcome == Outcome::Unrecorded => {}
            () = sleep(BROKER_PAUSE), if outcome == Outcome::BrokerMissing => {
                // Without its answer nothing would come out that is not known already.
                if set_of(broker, Vec::new()).await.is_err() {
                    continue;
                }
            }
        }
        outcome = load(policy, broker).await;
        said();
    }
}

/// Waits until nothing has changed for the quiet time.
async fn settle(policy: &Policy, file: &mut Option<Running>) {
    let quiet = policy
        .current()
        .map_or(DEBOUNCE, |current| current.settings.reload.debounce);
    for _ in 0..RESTLESS {
        if timeout(quiet, changed(file)).await.is_err() {
            return;
        }
    }
}

/// Waits for news of the file; for ever when it is not watched.
async fn changed(file: &mut Option<Running>) {
    let result = match file {
        Some(running) => running.changed().await,
        None => std::future::pending().await,
    };
    if let Err(error) = result {
        stop(file, &error).await;
    }
}

async fn stop(file: &mut Option<Running>, error: &io::Error) {
    error!(%error, "the configuration file is no longer watched; changes take effect with the next start");
    *file = None;
    std::future::pending().await
}

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod tests;
