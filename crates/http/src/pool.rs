//! Connections that wait for their next request. A request is sent only over one that leads to its own server, also when
//! that server's address changes while connections are in use. A waiting one that the server closes meanwhile is no failure
//! of the server: the request goes once more over a fresh one, and nobody else hears of it.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::time::{Instant, sleep_until};

use crate::{BaseUrl, Body, Connection, HttpError, Limits};

/// How long a connection waits before it is closed. Short of what servers commonly grant.
const PATIENCE: Duration = Duration::from_secs(30);

/// The waiting connections. Cheap to clone; all clones share them.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    /// The one that was used last at the end: it is the likeliest to be alive.
    connections: Vec<(Connection, Instant)>,
    swept: bool,
}

impl Pool {
    /// How many connections wait at most; one too many is closed.
    pub const MOST: usize = 32;

    /// No connection yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a request to `server` over a waiting connection if there is one that leads there, else over the one that
    /// `fresh` makes. Those that lead elsewhere are closed.
    ///
    /// # Errors
    /// What `fresh` fails with, and every [`HttpError`] up to the body but [`HttpError::Stale`].
    pub async fn send<E, F>(
        &self,
        server: &BaseUrl,
        request: Request<Bytes>,
        limits: &Limits,
        fresh: impl FnOnce() -> F,
    ) -> Result<Response<Body>, E>
    where
        E: From<HttpError>,
        F: Future<Output = Result<Connection, E>>,
    {
        if let Some(kept) = self.take(server) {
            match kept.send(request.clone(), limits).await {
                Err(HttpError::Stale) => {}
                answer => return Ok(answer?),
            }
        }
        Ok(fresh().await?.send(request, limits).await?)
    }

    /// Gives a connection back. Must be called inside the runtime.
    pub fn give(&self, connection: Connection) {
        let mut waiting = self.lock();
        if waiting.connections.len() >= Self::MOST || !connection.is_open() {
            return;
        }
        waiting
            .connections
            .push((connection, Instant::now() + PATIENCE));
        if !std::mem::replace(&mut waiting.swept, true) {
            tokio::spawn(sweep(Arc::clone(&self.0)));
        }
    }

    /// Closes all that wait, for example because the server's address has changed.
    pub fn clear(&self) {
        self.lock().connections.clear();
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().connections.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&self, server: &BaseUrl) -> Option<Connection> {
        let mut waiting = self.lock();
        while let Some((connection, until)) = waiting.connections.pop() {
            if connection.leads_to(server) && connection.is_open() && Instant::now() < until {
                return Some(connection);
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.0)
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes connections when their time is over, as long as there are any.
async fn sweep(shared: Arc<Mutex<Waiting>>) {
    loop {
        let next = {
            let mut waiting = lock(&shared);
            let now = Instant::now();
            waiting
                .connections
                .retain(|(connection, until)| now < *until && connection.is_open());
            match waiting.connections.iter().map(|(_, until)| *until).min() {
                Some(next) => next,
                None => {
                    waiting.swept = false;
                    return;
                }
            }
        };
        sleep_until(next).await;
    }
}
