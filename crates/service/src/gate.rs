//! What one client may ask of this process, over all its connections together: a peer that was taken over opens as many as
//! it likes. Connections and calls beyond the limits are refused; long requests wait for each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_proto::edges::{self, Edge, Method};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::rate::Rates;

/// Connections of one client at the same time. One process needs one, and for a moment a second; of the operator's command
/// line many may run.
const CONNECTIONS: usize = 64;
/// Largest messages of which a client's unfinished requests may hold the bytes.
const LARGEST: usize = 3;

/// What one client has left.
pub(crate) struct Gate {
    pub(crate) client: Role,
    pub(crate) server: Role,
    /// `None` where the table has no edge: nothing is permitted.
    edge: Option<&'static Edge>,
    rates: Mutex<Rates>,
    /// When a refusal was logged last.
    logged: Mutex<Option<Instant>>,
    connections: Arc<Semaphore>,
    /// Calls that may be open.
    pub(crate) calls: Arc<Semaphore>,
    /// Bytes of requests that are still coming in.
    pub(crate) bytes: Semaphore,
}

impl Gate {
    fn new(client: Role, server: Role, calls: usize) -> Self {
        let edge = edges::edge(client.as_str(), server.as_str());
        let rows = edge.iter().flat_map(|edge| edge.methods);
        let largest = rows.map(|row| row.max as usize).max().unwrap_or_default();
        Self {
            client,
            server,
            edge,
            rates: Mutex::default(),
            logged: Mutex::default(),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            calls: Arc::new(Semaphore::new(calls)),
            bytes: Semaphore::new(LARGEST * largest),
        }
    }

    /// The row of a method.
    pub(crate) fn row(&self, path: &str) -> Option<&'static Method> {
        self.edge?.methods.iter().find(|row| row.path == path)
    }

    /// Takes a call off the method's rate; `false` when there is none left.
    pub(crate) fn spend(&self, row: &'static Method) -> bool {
        let rates = self.rates.lock();
        let mut rates = rates.unwrap_or_else(PoisonError::into_inner);
        rates.spend(row, Instant::now())
    }

    /// Waits until the method's rate has a call left, and takes it.
    pub(crate) async fn wait(&self, row: &'static Method) {
        while !self.spend(row) {
            tokio::time::sleep(Duration::from_secs(1) / row.rate).await;
        }
    }

    /// Whether a refusal is worth a line: one a second, else the client could have this process write its log full.
    pub(crate) fn is_news(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let news = logged.is_none_or(|last| now >= last + Duration::from_secs(1));
        if news {
            *logged = Some(now);
        }
        news
    }

    /// A place for a connection, for as long as it lasts; `None` when the client has as many as it may.
    pub(crate) fn connect(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }
}

/// By client and server.
type Known = BTreeMap<(Role, Role), Arc<Gate>>;

/// The gates of a process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gates {
    known: Arc<Mutex<Known>>,
    calls: usize,
}

impl Gates {
    /// With so many calls for each client.
    pub(crate) fn new(calls: usize) -> Self {
        Self {
            known: Arc::default(),
            calls,
        }
    }

    /// The one gate of a client.
    pub(crate) fn of(&self, client: &Role, server: &Role) -> Arc<Gate> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (client.clone(), server.clone());
        let made = || Arc::new(Gate::new(client.clone(), server.clone(), self.calls));
        Arc::clone(known.entry(key).or_insert_with(made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_client_has_left_does_not_depend_on_its_connections() {
        let gates = Gates::new(2);
        let gate = || gates.of(&Role::gateway(), &Role::policy());
        let row = gate().row("/clawdbot.v1.Access/Verify").unwrap();
        let spent = (0..1000).filter(|_| gate().spend(row)).count();
        assert_eq!(spent, row.rate as usize);
        let held: Vec<_> = (0..1000).filter_map(|_| gate().connect()).collect();
        assert_eq!(held.len(), CONNECTIONS);
        let other = gates.of(&Role::supervisor(), &Role::policy());
        assert!(other.connect().is_some(), "another client has its own");
        drop(held);
        assert!(gate().connect().is_some());
    }

    #[test]
    fn a_client_cannot_have_the_log_of_a_server_written_full() {
        let gate = Gates::new(1).of(&Role::gateway(), &Role::policy());
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let lines = (0..3000).filter(|millis| gate.is_news(at(*millis)));
        assert_eq!(lines.count(), 3);
    }
}
