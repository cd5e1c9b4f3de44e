//! Messages of chats: taken in many at once, put into a running turn, joined to one, left out, as the channel's rule
//! says. Everything that an answer depends on is on the disk before the agent hears of it.

use std::sync::Arc;

use clawdbot_identity::Handle;
use clawdbot_proto::v1;
use clawdbot_proto::v1::agent_client::AgentClient;
use tracing::{error, info, warn};

use super::{Turns, at_hand, failed, run};
use crate::lanes::{Entry, Started};
use crate::queue::{
    DROPPED, Delivered, Delivery, Kind, Outcome, Place, Question, QueueError, Waiting,
};
use crate::turn_log::TurnLog;
use crate::{clock, wording};

impl Turns {
    /// Takes what a channel's worker brings, at most `room` new messages, and sees to it that they run. Tells what
    /// became of each; what is told is on the disk.
    ///
    /// # Errors
    /// When nothing could be stored; nothing is then accepted.
    pub async fn deliver(
        &self,
        deliveries: Vec<Delivery>,
        room: usize,
    ) -> Result<Vec<Delivered>, QueueError> {
        let this = self.clone();
        let fresh: Vec<_> = deliveries
            .iter()
            .map(|delivery| match delivery {
                Delivery::Message(message) => at_hand(message),
                Delivery::Refused { .. } => None,
            })
            .collect();
        // A task of its own: what is on the disk must run even if the worker goes away at this moment.
        let taken = tokio::spawn(async move {
            let queue = &this.0.queue;
            let all = queue.deliver(deliveries, room, clock::now_ms()).await?;
            for (delivered, fresh) in all.iter().zip(fresh) {
                if let Delivered::New(row) = delivered {
                    this.enroll_from_chat((**row).clone(), fresh, false);
                }
            }
            this.pump();
            Ok(all)
        });
        taken.await.map_err(|_| QueueError::Stopped)?
    }

    /// Puts a chat's row where it belongs. With `alone` it has a turn for itself.
    pub(super) fn enroll_from_chat(
        &self,
        row: Waiting,
        fresh: Option<(Handle, Question)>,
        alone: bool,
    ) {
        let log = Arc::new(TurnLog::with_question(row, fresh));
        let Some(place) = &log.turn.place else {
            return;
        };
        let key = &log.turn.session_key;
        let mut board = self.board();
        board.from_channels += 1;
        self.0.channels.set_waiting(board.from_channels);
        let commands = !board.manners.commands_off;
        match log.turn.kind {
            Kind::Stop if commands => {
                drop(board);
                self.stop_from_chat(log);
                return;
            }
            Kind::Queue if commands => {
                drop(board);
                self.wish_from_chat(log);
                return;
            }
            _ => {}
        }
        let entry = Entry {
            row: log.turn.row,
            rule: board.rule(&log.turn),
            arrived_ms: self.now(),
            speaker: Some(speaker(&log.turn, place)),
            alone: alone
                || log.turn.joined
                || place.mark.is_empty()
                || (commands && log.turn.kind == Kind::Command),
        };
        board.logs.insert(log.turn.row, Arc::clone(&log));
        let change = board.lanes.push(key, entry);
        let find = |row| board.logs.get(row).map(Arc::clone);
        let dropped: Vec<_> = change.dropped.iter().filter_map(find).collect();
        let steer = change.steer.as_ref().and_then(find);
        let interrupt = change.interrupt.as_ref().and_then(find);
        drop(board);
        if !dropped.is_empty() {
            info!(session = %key, messages = dropped.len(), "left out, since more wait than messages.queue.cap allows");
            let end = failed(
                DROPPED,
                "Too many messages waited, so this one was left out.",
            );
            drop(self.end_all(dropped, &end));
        }
        if let Some(running) = interrupt {
            running.stop();
        }
        if let Some(running) = steer {
            let this = self.clone();
            tokio::spawn(async move { this.steer(&running, &log).await });
        }
    }

    /// `/stop` in a chat: what came before it ends, and the chat is told.
    fn stop_from_chat(&self, log: Arc<TurnLog>) {
        let stopping = self.begin_stop(&log.turn.session_key, None);
        let this = self.clone();
        tokio::spawn(async move {
            let stopped = this.finish_stop(stopping).await;
            let answer = v1::Answer {
                text: wording::stopped(stopped.len()),
                ..Default::default()
            };
            this.conclude(&log, Outcome::Answered(answer), &[]).await;
        });
    }

    /// Puts a message into the turn that runs. Whether that read it, its answer says.
    async fn steer(&self, running: &TurnLog, log: &TurnLog) {
        let _in_order = running.steering.lock().await;
        let asked = self.0.queue.question(log.turn.row).await;
        let Ok(Some((_, question))) = asked else {
            return;
        };
        let request = v1::SteerRequest {
            turn_id: running.turn.turn_id.to_string(),
            message_id: log.turn.turn_id.to_string(),
            text: question.text,
        };
        let agent = self.0.agents.of(log.turn.class);
        if let Err(status) = AgentClient::new(agent).steer(request).await {
            warn!(turn = %running.turn.turn_id, %status, "a message was not put into the running turn; it follows");
        }
    }

    /// Makes one turn of several rows, on the disk first. Returns its log and those of the rows that end with it; `None`
    /// when there is nothing to run.
    pub(super) async fn join(
        &self,
        lead: Arc<TurnLog>,
        started: Started,
    ) -> Option<(Arc<TurnLog>, Vec<Arc<TurnLog>>)> {
        let turn_id = loop {
            match clock::turn_id() {
                Ok(id) => break id,
                Err(error) => error!(%error, "no turn id; asked again"),
            }
            tokio::time::sleep(crate::limits::BACK_OFF.1).await;
        };
        let Started {
            key,
            lead: row,
            parts,
            join,
        } = started;
        let queue = &self.0.queue;
        let joined = run::insist(|| queue.join(row, parts.clone(), join, turn_id.clone()));
        let Some(turn) = joined.await? else {
            // Settled already: its lane is free again.
            self.board().lanes.finish(&key, row, &[]);
            self.pump();
            return None;
        };
        let log = Arc::new(TurnLog::new(turn));
        let others = {
            let mut board = self.board();
            let members = parts.iter().filter(|part| part.row != row);
            let logs = members.filter_map(|part| board.logs.remove(&part.row));
            let mut others: Vec<_> = logs.collect();
            board.logs.insert(row, Arc::clone(&log));
            others.push(Arc::clone(&lead));
            others
        };
        // Somebody may have stopped it while it was being joined.
        if lead.is_stopped() {
            log.stop();
        }
        Some((log, others))
    }
}

/// Account, conversation and sender as one word. The parts hold no NUL.
fn speaker(turn: &Waiting, place: &Place) -> Arc<str> {
    let Place {
        account,
        lane,
        mark,
        ..
    } = place;
    format!("{}\0{account}\0{lane}\0{mark}", turn.source.name()).into()
}
