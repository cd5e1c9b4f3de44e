//! One send from its first part to its end, and one version of an unfinished answer. The order of journal and network is
//! here and nowhere else: a connection first, then the record on disk, then the bytes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clawdbot_proto::v1::{self, Disposition};
use tracing::{info, warn};

use crate::lanes::Verdict;
use crate::outbound::{comes_again, now_ms};
use crate::outlet::Part as _;
use crate::{Journal, Limiter, Outcome, Outlet, PartState, Record, Rejected, Shown, random};

/// A part waits this long for its turn; longer, and the lane gives up its place meanwhile.
const SHORT: Duration = Duration::from_millis(300);
/// Changes of a conversation's name, or of a vanished message, within one part.
const TURNS: usize = 4;

/// Sends with an outlet and a journal.
pub(crate) struct Sender<O> {
    pub(crate) outlet: Arc<O>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) limiter: Mutex<Limiter>,
    /// Turns whose answer is with the platform at this moment, perhaps in the message that showed it.
    pub(crate) busy: Mutex<HashSet<String>>,
}

/// A turn in the set of busy ones, until it is dropped.
struct Busy<'a>(&'a Mutex<HashSet<String>>, &'a str);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        busy.remove(self.1);
    }
}

/// Parts that are with the platform, and perhaps are.
#[derive(Default, Clone, Copy)]
struct Count {
    done: u32,
    unknown: u32,
}

/// Why the parts after this one are not sent now.
enum Stop {
    Later(Instant),
    NotStarted {
        class: &'static str,
        message: String,
        after: Option<Duration>,
    },
    Rejected(Rejected),
}

impl<O: Outlet> Sender<O> {
    /// Sends the parts that have not begun.
    pub(crate) async fn send(&self, send: &v1::Send, tried: u32) -> Verdict {
        let parts = match self.outlet.parts(send) {
            Ok(parts) => parts,
            Err(outcome) => return self.stopped(send, tried, Count::default(), stop(outcome)),
        };
        let plan = parts.iter().fold(parts.len() as u64, |plan, part| {
            plan.rotate_left(7) ^ part.digest()
        });
        let begun = self.journal.ledger().begun(&send.outbox_id);
        if let Some((before, done, unknown)) = begun.filter(|(before, ..)| *before != plan) {
            warn!(id = %send.outbox_id, before, plan, "an answer that had begun is divided differently now");
            let count = Count {
                done,
                unknown: unknown.max(1),
            };
            return Verdict::Settled(end(
                send,
                count,
                "transient",
                "it had begun in another form",
            ));
        }
        let mut count = Count::default();
        let mut doubt = String::new();
        for (number, part) in parts.iter().enumerate() {
            match self.part(send, number as u32, part, plan).await {
                Ok(None) => count.done += 1,
                Ok(Some(why)) => {
                    count.unknown += 1;
                    doubt = why;
                }
                Err(stop) => return self.stopped(send, tried, count, stop),
            }
        }
        let class = if count.unknown > 0 { "transient" } else { "" };
        Verdict::Settled(end(send, count, class, &doubt))
    }

    fn stopped(&self, send: &v1::Send, tried: u32, count: Count, stop: Stop) -> Verdict {
        match stop {
            Stop::Later(at) => Verdict::Later(at),
            Stop::Rejected(rejected) => Verdict::Settled(rejection(send, count, &rejected)),
            Stop::NotStarted {
                class,
                message,
                after,
            } => self.again(send, tried, count, (class, message), after),
        }
    }

    /// One part: with the platform, or perhaps and why.
    async fn part(
        &self,
        send: &v1::Send,
        number: u32,
        part: &O::Part,
        plan: u64,
    ) -> Result<Option<String>, Stop> {
        let (id, turn) = (&send.outbox_id, &send.turn_id);
        let state = self.journal.ledger().part(id, number);
        match state {
            Some(PartState::Done) => return Ok(None),
            Some(PartState::Started { again: false }) => {
                return Ok(Some("the worker ended before the answer came".into()));
            }
            Some(PartState::Started { again: true }) | None => {}
        }
        let _busy = self.busy(turn);
        for _ in 0..TURNS {
            self.pace(&send.account, &send.lane).await?;
            let link = match self.outlet.connect(&send.account).await {
                Ok(link) => link,
                Err(outcome) => return Err(stop(outcome)),
            };
            let shown = self.journal.ledger().shown(turn).map(str::to_owned);
            let shown = shown.filter(|_| number == 0);
            let again = shown.is_some();
            let started = Record::Started {
                id: id.clone(),
                part: number,
                plan,
                again,
            };
            let undone = Record::Undone {
                id: id.clone(),
                part: number,
            };
            if let Err(error) = self.journal.write(&started).await {
                self.journal.note(&undone);
                return Err(Stop::NotStarted {
                    class: "transient",
                    message: error.to_string(),
                    after: None,
                });
            }
            match self.outlet.send(link, send, part, shown.as_deref()).await {
                Outcome::Done(_) => {
                    self.journal.note(&Record::Done {
                        id: id.clone(),
                        part: number,
                    });
                    return Ok(None);
                }
                // The same once more does no harm, so it is not left in doubt.
                Outcome::Unknown(message) if again => {
                    return Err(Stop::NotStarted {
                        class: "transient",
                        message,
                        after: None,
                    });
                }
                Outcome::Unknown(message) => return Ok(Some(message)),
                Outcome::Gone => {
                    self.journal.note(&undone);
                    self.journal.note(&Record::Hidden { turn: turn.clone() });
                }
                Outcome::Moved { from, to } => {
                    self.journal.note(&undone);
                    // What was shown stayed behind.
                    if again {
                        self.journal.note(&Record::Hidden { turn: turn.clone() });
                    }
                    self.moved(&send.account, from, to);
                }
                outcome => {
                    self.journal.note(&undone);
                    return Err(stop(outcome));
                }
            }
        }
        Err(stop(Outcome::Rejected(Rejected {
            class: "not_found",
            message: "the conversation keeps moving".into(),
        })))
    }

    /// Shows one version of an unfinished answer; when the next may follow.
    pub(crate) async fn show(&self, progress: &v1::Progress) -> Instant {
        let (account, lane, turn) = (&progress.account, &progress.lane, &progress.turn_id);
        let every = self.outlet.show_every(account, lane);
        let now = Instant::now();
        if let Some(until) = self.limiter().paused_until(account, lane, now) {
            return until;
        }
        let (known, shown) = {
            let ledger = self.journal.ledger();
            (
                ledger.is_showing(turn),
                ledger.shown(turn).map(str::to_owned),
            )
        };
        let again = shown.is_some();
        let outcome = match (self.outlet.shows(progress), known, shown) {
            (Shown::Never, ..) => return now + every,
            (Shown::Fleeting, ..) => self.outlet.show(progress, None).await,
            (Shown::Message, _, Some(message)) => self.outlet.show(progress, Some(&message)).await,
            // A first message whose answer was lost: a second one would be a double.
            (Shown::Message, true, None) => return now + every,
            (Shown::Message, false, None) => {
                if let Err(at) = self.take(account, lane, now) {
                    return at;
                }
                self.first(progress).await
            }
        };
        let now = Instant::now();
        match outcome {
            Outcome::NotStarted {
                after: Some(after), ..
            } => {
                self.limiter().pause(account, Some(lane), now + after);
                now + after
            }
            Outcome::Moved { from, to } => {
                if again {
                    self.journal.note(&Record::Hidden { turn: turn.clone() });
                }
                self.moved(account, from, to);
                now
            }
            _ => now + every,
        }
    }

    /// The first version, as a message that is found again.
    async fn first(&self, progress: &v1::Progress) -> Outcome {
        let turn = progress.turn_id.clone();
        let showing = Record::Showing {
            turn: turn.clone(),
            at_ms: now_ms(),
        };
        let outcome = match self.journal.write(&showing).await {
            Ok(()) => self.outlet.show(progress, None).await,
            Err(error) => Outcome::Rejected(Rejected {
                class: "transient",
                message: error.to_string(),
            }),
        };
        match &outcome {
            Outcome::Done(message) => self.journal.note(&Record::Shown {
                turn,
                message: message.clone(),
            }),
            Outcome::Unknown(_) => {}
            _ => self.journal.note(&Record::Hidden { turn }),
        }
        outcome
    }

    /// Removes the beginnings of answers that are shown since before `before_ms` and never came. From the record on, no
    /// answer is written into such a message; one that is being written there right now is left to the next time.
    pub(crate) async fn unshow(&self, before_ms: u64) {
        let stale = self.journal.ledger().stale(before_ms);
        for (turn, message) in stale {
            let is_busy = self
                .busy
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&turn);
            // Meanwhile it may have become its answer.
            if is_busy || !self.journal.ledger().is_showing(&turn) {
                continue;
            }
            self.journal.note(&Record::Hidden { turn });
            if let Some(message) = message {
                self.outlet.unshow(&message).await;
            }
        }
    }

    /// The gateway has heard. A send that comes again keeps what it has done.
    pub(crate) fn forget(&self, report: &v1::SendReport, turn: &str) {
        if comes_again(report) {
            return;
        }
        let id = report.outbox_id.clone();
        let (begun, showing) = {
            let ledger = self.journal.ledger();
            (ledger.begun(&id).is_some(), ledger.is_showing(turn))
        };
        if begun {
            self.journal.note(&Record::Forgotten { id });
        }
        if showing {
            self.journal.note(&Record::Hidden { turn: turn.into() });
        }
    }

    fn again(
        &self,
        send: &v1::Send,
        tried: u32,
        count: Count,
        (class, message): (&'static str, String),
        after: Option<Duration>,
    ) -> Verdict {
        let now = Instant::now();
        if let Some(after) = after {
            let lane = Some(send.lane.as_str());
            self.limiter().pause(&send.account, lane, now + after);
        }
        let pauses = self.outlet.pauses(&send.account);
        match pauses.after(tried + 1, random()) {
            Some(pause) if after.is_none_or(|after| after <= pauses.max) => {
                Verdict::Again(now + pause.max(after.unwrap_or_default()))
            }
            _ => {
                let mut report = report(send, Disposition::NotStarted, count);
                report.error_class = class.into();
                report.message = message;
                Verdict::Settled(report)
            }
        }
    }

    fn busy<'a>(&'a self, turn: &'a str) -> Busy<'a> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(turn.to_owned());
        Busy(&self.busy, turn)
    }

    async fn pace(&self, account: &str, lane: &str) -> Result<(), Stop> {
        loop {
            let now = Instant::now();
            match self.take(account, lane, now) {
                Ok(()) => return Ok(()),
                Err(at) if at > now + SHORT => return Err(Stop::Later(at)),
                Err(at) => tokio::time::sleep_until(at.into()).await,
            }
        }
    }

    fn take(&self, account: &str, lane: &str, now: Instant) -> Result<(), Instant> {
        let quotas = self.outlet.quotas(lane);
        self.limiter().take(account, lane, quotas, now)
    }

    fn limiter(&self) -> MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self, account: &str, from: String, to: String) {
        info!(account, from, to, "a conversation has another name now");
        self.journal.note(&Record::Moved {
            account: account.to_owned(),
            from,
            to,
        });
    }
}

fn stop(outcome: Outcome) -> Stop {
    match outcome {
        Outcome::NotStarted {
            class,
            message,
            after,
        } => Stop::NotStarted {
            class,
            message,
            after,
        },
        Outcome::Rejected(rejected) => Stop::Rejected(rejected),
        // What is certain has been dealt with; of the rest nothing has started.
        Outcome::Done(message) | Outcome::Unknown(message) => Stop::NotStarted {
            class: "transient",
            message,
            after: None,
        },
        Outcome::Gone | Outcome::Moved { .. } => Stop::NotStarted {
            class: "transient",
            message: "the conversation changed".into(),
            after: None,
        },
    }
}

fn report(send: &v1::Send, disposition: Disposition, count: Count) -> v1::SendReport {
    v1::SendReport {
        outbox_id: send.outbox_id.clone(),
        disposition: disposition.into(),
        parts_done: count.done,
        parts_unknown: count.unknown,
        ..v1::SendReport::default()
    }
}

fn end(send: &v1::Send, count: Count, class: &str, message: &str) -> v1::SendReport {
    let disposition = match count.unknown {
        0 => Disposition::Done,
        _ => Disposition::Unknown,
    };
    let mut report = report(send, disposition, count);
    report.error_class = class.into();
    report.message = message.into();
    report
}

fn rejection(send: &v1::Send, count: Count, rejected: &Rejected) -> v1::SendReport {
    let disposition = match count.unknown {
        0 => Disposition::Rejected,
        _ => Disposition::Unknown,
    };
    let mut report = report(send, disposition, count);
    report.error_class = rejected.class.into();
    report.message = rejected.message.clone();
    report
}
