//! Ends turns before their time: all of a session, one message, or what was left out.

use std::sync::Arc;

use clawdbot_identity::{MessageId, SessionKey};
use tokio::task::JoinHandle;

use super::Turns;
use super::run::stopped;
use crate::lanes::Stopped;
use crate::queue::{Outcome, RowId};
use crate::turn_log::TurnLog;

/// What a stop has found.
pub(super) struct Stopping {
    running: Option<Arc<TurnLog>>,
    dropped: Vec<Arc<TurnLog>>,
}

impl Turns {
    /// Ends what runs in a session and drops what waits there; with `only`, just that message. Returns the ids of the
    /// messages that were stopped, once that is on the disk.
    pub async fn stop(&self, key: &SessionKey, only: Option<&MessageId>) -> Vec<MessageId> {
        let stopping = self.begin_stop(key, only);
        self.finish_stop(stopping).await
    }

    /// From here on nothing of it starts.
    pub(super) fn begin_stop(&self, key: &SessionKey, only: Option<&MessageId>) -> Stopping {
        let mut board = self.board();
        let found = match only {
            None => board.lanes.stop(key),
            Some(id) => {
                let row = board
                    .logs
                    .values()
                    .find(|log| log.turn.message_id == *id && log.turn.session_key == *key);
                match row.map(|log| log.turn.row) {
                    Some(row) => board.lanes.stop_one(key, row),
                    None => Stopped::default(),
                }
            }
        };
        let log = |row: &RowId| board.logs.get(row).map(Arc::clone);
        let stopping = Stopping {
            running: found.running.as_ref().and_then(log),
            dropped: found.dropped.iter().filter_map(log).collect(),
        };
        if let Some(log) = &stopping.running {
            log.stop();
        }
        stopping
    }

    /// Waits for the end of all of it; names what was really stopped.
    pub(super) async fn finish_stop(&self, stopping: Stopping) -> Vec<MessageId> {
        let dropped = self.end_all(stopping.dropped, &stopped());
        let mut ids = Vec::new();
        if let Some(log) = stopping.running
            && log.ended().await.is_some_and(|end| end.was_stopped())
        {
            ids.push(log.turn.message_id.clone());
        }
        for task in dropped {
            ids.extend(task.await.ok().flatten());
        }
        ids
    }

    /// Ends rows that are in no lane any more. Tasks of their own, so that it happens whoever asked; together, so that
    /// they share a commit.
    pub(super) fn end_all(
        &self,
        logs: Vec<Arc<TurnLog>>,
        outcome: &Outcome,
    ) -> Vec<JoinHandle<Option<MessageId>>> {
        let end = |log: Arc<TurnLog>| {
            let (this, outcome) = (self.clone(), outcome.clone());
            tokio::spawn(async move {
                let stored = this.conclude(&log, outcome, &[]).await;
                stored.map(|_| log.turn.message_id.clone())
            })
        };
        logs.into_iter().map(end).collect()
    }
}
