//! One channel's worker as the gateway sees it: what to tell it next. Credit and answers first; typing and the growing
//! answer only when nothing else waits, and never twice for one change. Nothing is queued: what is told is made when the
//! worker's stream has room for it.

use std::sync::Arc;

use clawdbot_proto::v1;
use clawdbot_proto::v1::channel_order::Order;
use tokio::time::Instant;

use super::outbound::Outbound;
use crate::limits;
use crate::queue::Place;
use crate::turn_log::TurnLog;

/// A channel's outlet.
#[derive(Default)]
pub struct Outlet {
    /// The answers that it has to send.
    pub outbound: Outbound,
    /// Which attachment is in force; the streams of those before it end.
    pub generation: u64,
    /// The credit that the worker was told last.
    pub told: u32,
    shows: Vec<Show>,
    endings: Vec<Place>,
}

/// A turn that a chat can watch.
struct Show {
    log: Arc<TurnLog>,
    prefix: String,
    typing_at: Instant,
    progress_at: Instant,
    /// What was shown: which beginning of the answer, and how many bytes of it.
    shown: (u32, usize),
}

/// What to tell the worker next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// This.
    Tell(Order),
    /// The answer with this number.
    Send(i64),
    /// Nothing before this time, or before something changes.
    Wait(Option<Instant>),
}

impl Outlet {
    /// A turn began.
    pub fn show(&mut self, log: &Arc<TurnLog>, prefix: &str, now: Instant) {
        self.shows.push(Show {
            log: Arc::clone(log),
            prefix: prefix.to_owned(),
            typing_at: now,
            progress_at: now + limits::PROGRESS.0,
            shown: (0, 0),
        });
    }

    /// A turn ended.
    pub fn hide(&mut self, log: &TurnLog) {
        let row = log.turn.row;
        self.shows.retain(|show| show.log.turn.row != row);
        if let Some(place) = &log.turn.place
            && self.outbound.is_attached()
            && self.endings.len() < limits::WAITING_FROM_CHANNELS
        {
            self.endings.push(place.clone());
        }
    }

    /// A worker has come.
    pub fn attach(&mut self, accounts: Vec<String>, now: Instant) -> u64 {
        self.outbound.attach(accounts);
        self.generation += 1;
        // The first thing that it hears is its credit, whatever that is.
        self.told = u32::MAX;
        self.endings.clear();
        for show in &mut self.shows {
            show.typing_at = now;
            show.shown = (0, 0);
        }
        self.generation
    }

    /// What to tell next, where `room` messages would be taken now.
    pub fn next(&mut self, room: u32, now: Instant, now_ms: u64) -> Next {
        let stale = self.told > room || (room > self.told && self.told < invitation());
        if stale {
            self.told = room;
            return Next::Tell(Order::Credit(room));
        }
        if let Some((number, _)) = self.outbound.offer(now_ms) {
            return Next::Send(number);
        }
        if let Some(place) = self.endings.pop() {
            return Next::Tell(typing(place, 0));
        }
        for show in &mut self.shows {
            if let Some(order) = show.next(now) {
                return Next::Tell(order);
            }
        }
        let shows = self.shows.iter().map(Show::wake_at).min();
        let sends = self.outbound.wake_at().map(|at| {
            let wait = std::time::Duration::from_millis(at.saturating_sub(now_ms));
            now + wait.min(limits::SEND_AGAIN.1)
        });
        Next::Wait([shows, sends].into_iter().flatten().min())
    }
}

/// Credit below which more is worth telling.
fn invitation() -> u32 {
    u32::try_from(limits::CREDIT / 2).unwrap_or(u32::MAX)
}

impl Show {
    fn next(&mut self, now: Instant) -> Option<Order> {
        let place = self.log.turn.place.as_ref()?;
        if self.typing_at <= now {
            self.typing_at = now + limits::TYPING.1;
            let ttl = u32::try_from(limits::TYPING.0.as_secs()).unwrap_or(u32::MAX);
            return Some(typing(place.clone(), ttl));
        }
        if self.progress_at > now {
            return None;
        }
        self.progress_at = now + limits::PROGRESS.0;
        let (beginning, text) = self.log.so_far(limits::PROGRESS.1)?;
        let shown = (beginning, text.len());
        if text.trim().is_empty() || std::mem::replace(&mut self.shown, shown) == shown {
            return None;
        }
        Some(Order::Progress(v1::Progress {
            turn_id: self.log.turn.turn_id.to_string(),
            account: place.account.clone(),
            address: place.address.clone(),
            lane: place.lane.clone(),
            text: match self.prefix.as_str() {
                "" => text,
                prefix => format!("{prefix} {text}"),
            },
        }))
    }

    fn wake_at(&self) -> Instant {
        self.typing_at.min(self.progress_at)
    }
}

fn typing(place: Place, ttl_seconds: u32) -> Order {
    Order::Typing(v1::Typing {
        account: place.account,
        address: place.address,
        lane: place.lane,
        ttl_seconds,
    })
}

#[cfg(test)]
mod tests {
    use clawdbot_identity::TurnId;

    use super::*;
    use crate::queue::Outgoing;
    use crate::turn_log::tests::log_of_chat;

    fn told(next: Next) -> String {
        match next {
            Next::Tell(Order::Credit(n)) => format!("credit {n}"),
            Next::Tell(Order::Typing(typing)) => format!("typing {}", typing.ttl_seconds),
            Next::Tell(Order::Progress(progress)) => format!("progress {}", progress.text),
            Next::Tell(Order::Send(_)) => unreachable!("answers are read from the outbox"),
            Next::Send(number) => format!("send {number}"),
            Next::Wait(_) => "wait".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_hears_its_credit_then_answers_then_what_chats_can_watch() {
        let now = Instant::now();
        let mut outlet = Outlet::default();
        let log = Arc::new(log_of_chat());
        outlet.show(&log, "[c]", now);
        outlet.outbound.add(Outgoing {
            number: 5,
            outbox_id: TurnId::parse("o5").unwrap(),
            channel: "channel-telegram".into(),
            account: "default".into(),
            lane: "a".into(),
            attempts: 0,
            next_try_ms: 0,
        });
        outlet.attach(vec!["default".into()], now);
        let at = |outlet: &mut Outlet, ms| {
            told(outlet.next(64, now + std::time::Duration::from_millis(ms), 0))
        };
        assert_eq!(at(&mut outlet, 0), "credit 64");
        assert_eq!(at(&mut outlet, 0), "send 5");
        assert_eq!(at(&mut outlet, 0), "typing 30");
        log.text("Hel");
        assert_eq!(at(&mut outlet, 999), "wait");
        log.text("lo");
        assert_eq!(at(&mut outlet, 1000), "progress [c] Hello");
        assert_eq!(at(&mut outlet, 5000), "wait", "nothing new");
        log.restart();
        log.text("again");
        assert_eq!(at(&mut outlet, 6000), "progress [c] again");
        assert_eq!(at(&mut outlet, 20_000), "typing 30");
        outlet.hide(&log);
        assert_eq!(at(&mut outlet, 20_000), "typing 0");
        assert_eq!(at(&mut outlet, 90_000), "wait");
    }

    #[tokio::test(start_paused = true)]
    async fn credit_is_told_when_it_falls_and_when_the_worker_is_short_of_it() {
        let now = Instant::now();
        let mut outlet = Outlet::default();
        outlet.attach(vec![], now);
        for (room, expected) in [
            (0, "credit 0"),
            (0, "wait"),
            (20, "credit 20"),
            (40, "credit 40"),
            (64, "wait"),
            (30, "credit 30"),
            (64, "credit 64"),
        ] {
            assert_eq!(told(outlet.next(room, now, 0)), expected, "{room}");
        }
    }
}
