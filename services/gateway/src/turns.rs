//! Runs what was accepted: one task for each running turn, in the order that the lanes give. A turn ends only with an
//! answer or a failure that is on the disk; when the agent is lost, the same turn id is asked for again.

mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdbot_identity::{Class, MessageId, SessionKey};
use clawdbot_proto::v1;
use clawdbot_service::Edge;
use tokio::sync::broadcast;

use crate::lanes::Lanes;
use crate::queue::{Acceptance, Message, Outcome, Queue, QueueError, RowId, Waiting};
use crate::turn_log::TurnLog;
use crate::{clock, limits};

/// The edges to the two agents.
#[derive(Clone)]
pub struct Agents {
    /// For the owner's sessions.
    pub main: Edge,
    /// For everybody else's.
    pub guest: Edge,
}

impl Agents {
    /// The agent of a class.
    pub fn of(&self, class: Class) -> Edge {
        match class {
            Class::Main => self.main.clone(),
            Class::Guest => self.guest.clone(),
        }
    }
}

/// What became of a message that was handed in.
pub enum Taken {
    /// It is on the disk, and will run or runs.
    Running {
        /// Its turn.
        log: Arc<TurnLog>,
        /// Whether it had been accepted before.
        known: bool,
        /// Rows of its session that come first.
        ahead: usize,
    },
    /// It ended before; this is how.
    Settled(RowId, Outcome),
    /// Its id belongs to another message.
    Conflict,
    /// Too much waits already.
    Backlog {
        /// Whether it is this session that is full.
        session: bool,
    },
}

/// All turns. Clones share them.
#[derive(Clone)]
pub struct Turns(Arc<Inner>);

struct Inner {
    queue: Queue,
    agents: Agents,
    board: Mutex<Board>,
    news: broadcast::Sender<Arc<TurnLog>>,
}

struct Board {
    lanes: Lanes,
    logs: HashMap<RowId, Arc<TurnLog>>,
}

impl Turns {
    /// Nothing runs yet.
    pub fn new(queue: Queue, agents: Agents) -> Self {
        Self(Arc::new(Inner {
            queue,
            agents,
            board: Mutex::new(Board {
                lanes: Lanes::new(limits::MAX_CONCURRENT),
                logs: HashMap::new(),
            }),
            news: broadcast::Sender::new(2 * limits::FOLLOWED),
        }))
    }

    /// Takes up what an earlier gateway accepted and did not settle. Returns how many that is.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn resume(&self) -> Result<usize, QueueError> {
        let rows = self.0.queue.pending().await?;
        let count = rows.len();
        for row in rows {
            self.enroll(row);
        }
        Ok(count)
    }

    /// Changes how many turns may run at the same time.
    pub fn set_max(&self, max: usize) {
        self.board().lanes.set_max(max);
        self.pump();
    }

    /// Accepts a message and sees to it that it runs, or tells what is known of it.
    ///
    /// # Errors
    /// When it could not be stored; it is then not accepted.
    pub async fn take(&self, message: Message) -> Result<Taken, QueueError> {
        let this = self.clone();
        // A task of its own: what is on the disk must run even if the caller goes away at this moment.
        let taken = tokio::spawn(async move {
            let accepted = this.0.queue.accept(message, clock::now_ms()).await?;
            Ok(match accepted {
                Acceptance::New(row) => this.running(row, false),
                Acceptance::Known(row) => this.running(row, true),
                Acceptance::Settled(row, outcome) => Taken::Settled(row, outcome),
                Acceptance::Conflict => Taken::Conflict,
                Acceptance::Backlog { session } => Taken::Backlog { session },
            })
        });
        taken.await.map_err(|_| QueueError::Stopped)?
    }

    fn running(&self, row: Waiting, known: bool) -> Taken {
        let (key, id) = (row.session_key.clone(), row.row);
        let log = self.enroll(row);
        let ahead = self.board().lanes.ahead(&key, id);
        Taken::Running { log, known, ahead }
    }

    /// The log of a row, which is put in its lane if it is not there. A row that was settled a moment ago may run once
    /// more; the agent knows its turn id, and what was stored first stays in force.
    fn enroll(&self, row: Waiting) -> Arc<TurnLog> {
        let id = row.row;
        let log = {
            let mut board = self.board();
            if let Some(log) = board.logs.get(&id) {
                return Arc::clone(log);
            }
            let log = Arc::new(TurnLog::new(row));
            board.logs.insert(id, Arc::clone(&log));
            board.lanes.push(&log.turn.session_key, id);
            log
        };
        // Nobody listening is fine.
        let _ = self.0.news.send(Arc::clone(&log));
        self.pump();
        log
    }

    /// Ends what runs in a session and drops what waits there; with `only`, just that message. Returns the ids of the
    /// messages that were stopped, once that is on the disk.
    pub async fn stop(&self, key: &SessionKey, only: Option<&MessageId>) -> Vec<MessageId> {
        let (running, dropped) = {
            let mut board = self.board();
            let stopped = match only {
                None => board.lanes.stop(key),
                Some(id) => {
                    let row = board
                        .logs
                        .values()
                        .find(|log| log.turn.message_id == *id && log.turn.session_key == *key);
                    match row.map(|log| log.turn.row) {
                        Some(row) => board.lanes.stop_one(key, row),
                        None => return Vec::new(),
                    }
                }
            };
            let log = |row: &RowId| board.logs.get(row).map(Arc::clone);
            (
                stopped.running.as_ref().and_then(log),
                stopped.dropped.iter().filter_map(log).collect::<Vec<_>>(),
            )
        };
        if let Some(log) = &running {
            log.stop();
        }
        // Tasks of their own, since these rows are in no lane any more; together, so that they share a commit.
        let dropped: Vec<_> = dropped
            .into_iter()
            .map(|log| {
                let this = self.clone();
                tokio::spawn(async move {
                    let stored = this.conclude(&log, run::stopped()).await;
                    stored.then(|| log.turn.message_id.clone())
                })
            })
            .collect();
        let mut ids = Vec::new();
        if let Some(log) = running
            && log.ended().await.is_some_and(|end| end.was_stopped())
        {
            ids.push(log.turn.message_id.clone());
        }
        for task in dropped {
            ids.extend(task.await.ok().flatten());
        }
        ids
    }

    /// Rows that are not settled, and how many of them run.
    pub fn counts(&self) -> (usize, usize) {
        let board = self.board();
        let running = board.lanes.running();
        (board.lanes.waiting() + running, running)
    }

    /// Every turn from now on, as it is accepted.
    pub fn news(&self) -> broadcast::Receiver<Arc<TurnLog>> {
        self.0.news.subscribe()
    }

    /// Every turn that is not settled, the oldest first.
    pub fn open(&self) -> Vec<Arc<TurnLog>> {
        let mut logs: Vec<_> = self.board().logs.values().map(Arc::clone).collect();
        logs.sort_by_key(|log| log.turn.row);
        logs
    }

    /// Notes that a client has the end of a row.
    pub fn delivered(&self, row: RowId) {
        self.0.queue.delivered(row);
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts whatever may start.
    fn pump(&self) {
        loop {
            let log = {
                let mut board = self.board();
                let Some((_, row)) = board.lanes.start_next() else {
                    return;
                };
                board.logs.get(&row).map(Arc::clone)
            };
            if let Some(log) = log {
                let this = self.clone();
                tokio::spawn(async move { this.run(log).await });
            }
        }
    }

    async fn run(&self, log: Arc<TurnLog>) {
        let Some(outcome) = self.obtain(&log).await else {
            return;
        };
        if self.conclude(&log, outcome).await {
            self.board()
                .lanes
                .finish(&log.turn.session_key, log.turn.row);
            self.pump();
        }
    }

    /// Puts the end of a turn on the disk, then tells its readers. False when the queue has stopped: the row stays as
    /// it is and runs again after the restart.
    async fn conclude(&self, log: &TurnLog, outcome: Outcome) -> bool {
        let row = log.turn.row;
        let stored = run::insist(|| self.0.queue.settle(row, outcome.clone(), clock::now_ms()));
        let Some(stored) = stored.await else {
            return false;
        };
        log.finish(stored);
        self.board().logs.remove(&row);
        true
    }
}

/// A failure of the gateway's own making.
pub fn failed(code: &str, message: &str) -> Outcome {
    Outcome::Failed(v1::Failed {
        code: code.into(),
        message: message.into(),
    })
}

#[cfg(test)]
mod tests;
