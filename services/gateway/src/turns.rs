//! Runs what was accepted: one task for each running turn, in the order that the lanes give. A turn ends only with an
//! answer or a failure that is on the disk; when the agent is lost, the same turn id is asked for again.

mod chat;
mod queue;
mod run;
mod stop;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdbot_identity::{Class, Handle, SessionKey};
use clawdbot_proto::v1;
use clawdbot_service::Edge;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Duration, Instant, sleep};

use crate::channels::Channels;
use crate::lanes::{Entry, Lanes, Started};
use crate::queue::{
    Acceptance, End, Message, Outcome, Question, Queue, QueueError, RowId, Waiting,
};
use crate::rule::{Manners, Mode, Rule, Wish};
use crate::turn_log::TurnLog;
use crate::{clock, limits, wording};

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
    channels: Channels,
    board: Mutex<Board>,
    news: broadcast::Sender<Arc<TurnLog>>,
    /// The lanes may be due at another time than before.
    timing: Notify,
    started: Instant,
}

struct Board {
    lanes: Lanes,
    logs: HashMap<RowId, Arc<TurnLog>>,
    manners: Manners,
    /// What `/queue` changed.
    wishes: HashMap<SessionKey, Wish>,
    /// Rows of channels from before the start, and which of them need a turn of their own, as long as no rule is known.
    unruled: Option<Vec<(Waiting, bool)>>,
    /// Rows of channels that are not settled.
    from_channels: usize,
}

impl Board {
    /// How messages of a turn's chat and session wait.
    fn rule(&self, turn: &Waiting) -> Rule {
        let wish = self.wishes.get(&turn.session_key).copied();
        let rule = self.manners.rule(turn.source.name());
        wish.unwrap_or_default().over(rule)
    }
}

impl Turns {
    /// Nothing runs yet.
    pub fn new(queue: Queue, agents: Agents, channels: Channels) -> Self {
        Self(Arc::new(Inner {
            queue,
            agents,
            channels,
            board: Mutex::new(Board {
                lanes: Lanes::new(limits::MAX_CONCURRENT),
                logs: HashMap::new(),
                manners: Manners::default(),
                wishes: HashMap::new(),
                unruled: Some(Vec::new()),
                from_channels: 0,
            }),
            news: broadcast::Sender::new(2 * limits::FOLLOWED),
            timing: Notify::new(),
            started: Instant::now(),
        }))
    }

    /// The channels that answers go to.
    pub fn channels(&self) -> &Channels {
        &self.0.channels
    }

    /// Changes how messages of channels are treated. Those that wait keep the rule under which they came.
    pub fn set_manners(&self, manners: Manners) {
        let waited = {
            let mut board = self.board();
            board.manners = manners;
            board.unruled.take()
        };
        for (row, alone) in waited.into_iter().flatten() {
            self.enroll_from_chat(row, None, alone);
        }
        self.pump();
    }

    /// Whether it is known how messages of channels are treated.
    pub fn is_ruled(&self) -> bool {
        self.board().unruled.is_none()
    }

    /// Starts what has waited long enough. Never returns.
    pub async fn keep_time(&self) {
        loop {
            let due = self.board().lanes.wake_at();
            let wait = due.map(|due| Duration::from_millis(due.saturating_sub(self.now())));
            tokio::select! {
                () = self.0.timing.notified() => {}
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => self.start_due(),
            }
        }
    }

    /// The lanes' clock: milliseconds that no change of the wall clock touches.
    fn now(&self) -> u64 {
        let since = self.0.started.elapsed().as_millis();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Takes up what an earlier gateway accepted and did not settle. Returns how many that is.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn resume(&self) -> Result<usize, QueueError> {
        self.recall().await?;
        let rows = self.0.queue.pending().await?;
        let count = rows.len();
        let mut sessions = HashSet::new();
        for row in rows {
            // An agent may know the first one of a session already; under its turn id nothing else must be asked.
            let first = sessions.insert(row.session_key.clone());
            let waits = match (&row.place, &mut self.board().unruled) {
                (Some(_), Some(unruled)) => {
                    unruled.push((row, first));
                    continue;
                }
                _ => row,
            };
            match waits.place {
                Some(_) => self.enroll_from_chat(waits, None, first),
                None => drop(self.enroll(waits, None)),
            }
        }
        self.pump();
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
        let fresh = at_hand(&message);
        // A task of its own: what is on the disk must run even if the caller goes away at this moment.
        let taken = tokio::spawn(async move {
            let accepted = this.0.queue.accept(message, clock::now_ms()).await?;
            Ok(match accepted {
                Acceptance::New(row) => this.running(row, fresh, false),
                Acceptance::Known(row) => this.running(row, None, true),
                Acceptance::Settled(row, outcome) => Taken::Settled(row, outcome),
                Acceptance::Conflict => Taken::Conflict,
                Acceptance::Backlog { session } => Taken::Backlog { session },
            })
        });
        taken.await.map_err(|_| QueueError::Stopped)?
    }

    fn running(&self, row: Waiting, fresh: Option<(Handle, Question)>, known: bool) -> Taken {
        let (key, id) = (row.session_key.clone(), row.row);
        let log = self.enroll(row, fresh);
        self.pump();
        let ahead = self.board().lanes.ahead(&key, id);
        Taken::Running { log, known, ahead }
    }

    /// The log of a row, which is put in its lane if it is not there. A row that was settled a moment ago may run once
    /// more; the agent knows its turn id, and what was stored first stays in force.
    fn enroll(&self, row: Waiting, fresh: Option<(Handle, Question)>) -> Arc<TurnLog> {
        let id = row.row;
        let log = {
            let mut board = self.board();
            if let Some(log) = board.logs.get(&id) {
                return Arc::clone(log);
            }
            let log = Arc::new(TurnLog::with_question(row, fresh));
            board.logs.insert(id, Arc::clone(&log));
            board.lanes.push(&log.turn.session_key, Entry::plain(id));
            log
        };
        self.announce(&log);
        log
    }

    fn announce(&self, log: &Arc<TurnLog>) {
        // Nobody listening is fine.
        let _ = self.0.news.send(Arc::clone(log));
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

    /// Every turn that is not settled, the oldest first. What waits in a chat may yet become part of another turn.
    pub fn open(&self) -> Vec<Arc<TurnLog>> {
        let board = self.board();
        let is_turn = |log: &&Arc<TurnLog>| {
            let Waiting {
                row, session_key, ..
            } = &log.turn;
            log.turn.place.is_none() || board.lanes.is_running(session_key, *row)
        };
        let mut logs: Vec<_> = board
            .logs
            .values()
            .filter(is_turn)
            .map(Arc::clone)
            .collect();
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

    /// Starts whatever may start, and sees to it that the rest starts in time.
    fn pump(&self) {
        self.start_due();
        if self.board().lanes.wake_at().is_some() {
            self.0.timing.notify_one();
        }
    }

    fn start_due(&self) {
        let now = self.now();
        loop {
            let (started, log) = {
                let mut board = self.board();
                let Some(started) = board.lanes.start_next(now) else {
                    return;
                };
                let log = board.logs.get(&started.lead).map(Arc::clone);
                (started, log)
            };
            if let Some(log) = log {
                let this = self.clone();
                tokio::spawn(async move { this.run(log, started).await });
            }
        }
    }

    /// Runs a turn. When the queue has stopped it is left as it is, and runs again after the restart.
    async fn run(&self, log: Arc<TurnLog>, started: Started) {
        let (key, lead) = (started.key.clone(), started.lead);
        let (log, others) = match started.parts.len() {
            1 => (log, Vec::new()),
            _ => match self.join(log, started).await {
                Some(joined) => joined,
                None => return,
            },
        };
        if log.turn.place.is_some() {
            self.announce(&log);
            let prefix = self.board().manners.prefix.clone();
            self.0.channels.show(&log, &prefix);
        }
        let Some(outcome) = self.obtain(&log).await else {
            return;
        };
        if let Some(absorbed) = self.conclude(&log, outcome, &others).await {
            self.board().lanes.finish(&key, lead, &absorbed);
            self.pump();
        }
    }

    /// Puts the end of a turn on the disk together with what has to be sent, then tells its readers. Returns the rows
    /// that ended with it although they waited; `None` when the queue has stopped: the row stays as it is.
    async fn conclude(
        &self,
        log: &TurnLog,
        outcome: Outcome,
        others: &[Arc<TurnLog>],
    ) -> Option<Vec<RowId>> {
        let row = log.turn.row;
        let end = self.end(log, outcome);
        let settled =
            run::insist(|| self.0.queue.settle(row, end.clone(), clock::now_ms())).await?;
        self.0.channels.hide(log);
        if let Some(send) = settled.send {
            self.0.channels.add(send);
        }
        let absorbed = {
            let mut board = self.board();
            board.logs.remove(&row);
            // One that another turn took in meanwhile was counted with that.
            let counted = log.has_ended();
            let rows = settled.absorbed.iter();
            let absorbed: Vec<_> = rows.filter_map(|row| board.logs.remove(row)).collect();
            if log.turn.place.is_some() && !counted {
                // The lead's first log is among the others.
                let ended = others.len().max(1) + absorbed.len();
                board.from_channels = board.from_channels.saturating_sub(ended);
                self.0.channels.set_waiting(board.from_channels);
            }
            absorbed
        };
        for log in others.iter().chain(&absorbed) {
            log.finish(settled.outcome.clone());
        }
        log.finish(settled.outcome);
        Some(settled.absorbed)
    }

    /// An outcome with what it means for a chat.
    fn end(&self, log: &TurnLog, outcome: Outcome) -> End {
        if log.turn.place.is_none() {
            return outcome.into();
        }
        let board = self.board();
        let mode = board.rule(&log.turn).mode;
        let absorbed = match &outcome {
            Outcome::Answered(answer) if mode != Mode::SteerBacklog => answer.absorbed.clone(),
            _ => Vec::new(),
        };
        End {
            reply: wording::reply(log.turn.class, &outcome, &board.manners.prefix),
            outcome,
            absorbed,
        }
    }
}

/// What is kept in memory of a message, so that its turn need not read it again.
fn at_hand(message: &Message) -> Option<(Handle, Question)> {
    let Question {
        text, extra_system, ..
    } = &message.question;
    if text.len() + extra_system.len() > limits::FRESH_BYTES {
        return None;
    }
    let mut question = message.question.clone();
    if let Some(place) = &message.place {
        question.text = wording::spoken(&place.sender, text).into_owned();
    }
    Some((message.handle.clone(), question))
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
