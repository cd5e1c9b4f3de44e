//! Channel workers: what they bring goes through policy into the inbox, what they have to send comes from the outbox.
//! A worker is believed in nothing but what its own chat said; class and session are policy's word.

mod desk;
mod outbound;
mod outlet;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdbot_proto::v1;
use clawdbot_proto::v1::channel_order::Order;
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tracing::{debug, error, info, warn};

pub use desk::Desk;

use crate::queue::{Fate, Outgoing, Queue, QueueError, Report, Tally};
use crate::turn_log::TurnLog;
use crate::{clock, limits};
use outlet::{Next, Outlet};

/// All channels' outlets. Clones share them.
#[derive(Clone)]
pub struct Channels(Arc<Inner>);

struct Inner {
    queue: Queue,
    state: Mutex<State>,
    /// Something changed that a worker could have to hear of.
    news: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    outlets: HashMap<String, Outlet>,
    /// Messages of channels that are accepted and not settled.
    waiting: usize,
    tally: Tally,
    over: bool,
}

impl Channels {
    /// Nothing to send yet.
    pub fn new(queue: Queue) -> Self {
        Self(Arc::new(Inner {
            queue,
            state: Mutex::default(),
            news: watch::Sender::default(),
        }))
    }

    /// Takes up what an earlier gateway did not get sent. Returns how many answers that is.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn resume(&self) -> Result<usize, QueueError> {
        let rows = self.0.queue.outgoing().await?;
        let count = rows.len();
        for row in rows {
            self.add(row);
        }
        self.count().await?;
        Ok(count)
    }

    /// Counts anew what did not certainly arrive.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn count(&self) -> Result<(), QueueError> {
        let tally = self.0.queue.tally(clock::now_ms()).await?;
        self.state().tally = tally;
        Ok(())
    }

    /// Answers on their way, and those of the last days that did not certainly arrive.
    pub fn tally(&self) -> (usize, Tally) {
        let state = self.state();
        let open = state.outlets.values().map(|o| o.outbound.len()).sum();
        (open, state.tally)
    }

    /// An answer has to be sent; it is on the disk.
    pub fn add(&self, row: Outgoing) {
        let channel = row.channel.clone();
        self.change(&channel, |outlet| outlet.outbound.add(row));
    }

    /// A turn of a chat began.
    pub fn show(&self, log: &Arc<TurnLog>, prefix: &str) {
        if log.turn.place.is_some() {
            let now = Instant::now();
            let channel = log.turn.source.word();
            self.change(&channel, |outlet| outlet.show(log, prefix, now));
        }
    }

    /// A turn ended.
    pub fn hide(&self, log: &TurnLog) {
        if log.turn.place.is_some() {
            self.change(&log.turn.source.word(), |outlet| outlet.hide(log));
        }
    }

    /// So many messages of channels wait now.
    pub fn set_waiting(&self, waiting: usize) {
        let before = std::mem::replace(&mut self.state().waiting, waiting);
        if before != waiting {
            self.0.news.send_replace(());
        }
    }

    /// Ends all streams; nothing more is taken.
    pub fn stop(&self) {
        self.state().over = true;
        self.0.news.send_replace(());
    }

    fn is_over(&self) -> bool {
        self.state().over
    }

    /// Messages that would be taken from a channel now.
    fn room(&self, channel: &str) -> usize {
        self.state().room(channel)
    }

    /// The credit of a channel, which is about to hear of it.
    fn credit(&self, channel: &str) -> u32 {
        let mut state = self.state();
        let credit = credit(state.room(channel));
        state.outlets.entry(channel.to_owned()).or_default().told = credit;
        credit
    }

    fn change(&self, channel: &str, change: impl FnOnce(&mut Outlet)) {
        let mut state = self.state();
        change(state.outlets.entry(channel.to_owned()).or_default());
        drop(state);
        self.0.news.send_replace(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what a worker says of a send; when this returns, the worker may forget it.
    async fn report(&self, report: Report) -> Result<(), QueueError> {
        let (channel, fate) = (report.channel.clone(), report.fate);
        let (id, said) = (report.outbox_id.clone(), report.error.clone());
        let Some(row) = self.0.queue.report(report, clock::now_ms()).await? else {
            // Told before, or of another queue: there is nothing to know any more.
            debug!(%channel, outbox = %id, "a report of a send that is settled");
            self.change(&channel, |outlet| outlet.outbound.ended(&id));
            return Ok(());
        };
        let first = row.attempts <= 1;
        match fate {
            Fate::Done => {}
            Fate::Unknown => warn!(
                %channel, outbox = %id, reason = %said,
                "an answer may have arrived or not, and is not sent again: look into the chat"
            ),
            Fate::Rejected => warn!(
                %channel, outbox = %id, reason = %said,
                "an answer was refused for good; it is in the session's history"
            ),
            Fate::Again if first => warn!(
                %channel, outbox = %id, reason = %said,
                "an answer could not be sent and is tried again; `clawdbot status` shows what the channel lacks"
            ),
            Fate::Again => debug!(%channel, outbox = %id, tries = row.attempts, "not sent again"),
        }
        self.change(&channel, |outlet| match fate {
            Fate::Again => outlet.outbound.again(&id, row.next_try_ms),
            _ => outlet.outbound.ended(&id),
        });
        match fate {
            Fate::Unknown | Fate::Rejected => self.count().await,
            Fate::Done | Fate::Again => Ok(()),
        }
    }

    /// Attaches a worker: what it has to do, until another one attaches, it goes away, or the process ends.
    fn attach(
        &self,
        channel: &str,
        accounts: Vec<String>,
    ) -> impl Stream<Item = Result<v1::ChannelOrder, Status>> + Send + 'static {
        let mut generation = 0;
        self.change(channel, |outlet| {
            generation = outlet.attach(accounts, Instant::now());
        });
        info!(%channel, "a channel's worker has come");
        let attached = Attached {
            channels: self.clone(),
            channel: channel.to_owned(),
            generation,
            news: self.0.news.subscribe(),
        };
        stream::unfold(attached, |mut attached| async move {
            let order = attached.next().await?;
            let order = v1::ChannelOrder { order: Some(order) };
            Some((Ok(order), attached))
        })
    }
}

impl State {
    fn room(&self, channel: &str) -> usize {
        let open = self.outlets.get(channel).map_or(0, |o| o.outbound.len());
        match open >= limits::UNDELIVERED {
            true => 0,
            false => limits::WAITING_FROM_CHANNELS.saturating_sub(self.waiting),
        }
    }
}

/// What a worker is told where there is so much room.
fn credit(room: usize) -> u32 {
    match room {
        room if room < limits::CREDIT_STEP => 0,
        room => u32::try_from(room.min(limits::CREDIT)).unwrap_or(0),
    }
}

/// A worker that is attached.
struct Attached {
    channels: Channels,
    channel: String,
    generation: u64,
    news: watch::Receiver<()>,
}

impl Attached {
    async fn next(&mut self) -> Option<Order> {
        loop {
            self.news.mark_unchanged();
            let next = {
                let mut state = self.channels.state();
                let over = state.over;
                let room = credit(state.room(&self.channel));
                let outlet = state.outlets.get_mut(&self.channel)?;
                if over || outlet.generation != self.generation {
                    return None;
                }
                outlet.next(room, Instant::now(), clock::now_ms())
            };
            match next {
                Next::Tell(order) => return Some(order),
                Next::Send(number) => match self.channels.0.queue.order(number).await {
                    Ok(Some(send)) => {
                        self.channels.0.queue.sent(number);
                        return Some(Order::Send(send));
                    }
                    // Settled in the meantime: the report says so to the outlet.
                    Ok(None) => {}
                    Err(error) => {
                        error!(%error, "an answer cannot be read; its channel attaches again");
                        return None;
                    }
                },
                Next::Wait(until) => tokio::select! {
                    changed = self.news.changed() => changed.ok()?,
                    () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
                },
            }
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let generation = self.generation;
        self.channels.change(&self.channel, |outlet| {
            if outlet.generation == generation {
                outlet.outbound.detach();
            }
        });
    }
}
