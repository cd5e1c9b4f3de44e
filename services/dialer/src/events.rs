//! What was dialled and refused, for policy, which writes the audit log. Only the newest events are known, and what
//! repeats itself before it was fetched is one event: no worker pushes the others' out by dialling again and again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clawdbot_identity::Role;
use clawdbot_proto::v1::{DialEvent, Events as Told};
use tokio::sync::watch;
use tokio::time::timeout;

/// Events that are known at the same time.
const KNOWN: usize = 1024;
/// Events of one answer, which has to fit into a frame.
const AT_ONCE: usize = 64;
/// How long an answer waits for an event.
const PATIENCE: Duration = Duration::from_secs(30);

/// The newest events, and news of others.
#[derive(Debug)]
pub struct Events {
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<DialEvent>,
    /// Number of the last one that was fetched.
    fetched: u64,
}

impl Events {
    /// None yet.
    pub fn new() -> Self {
        Self {
            ring: Mutex::default(),
            newest: watch::Sender::new(0),
        }
    }

    /// Takes an event down. `refused` is the rule or the class of failure, empty for a connection.
    pub fn note(&self, role: &Role, host: &str, port: u32, refused: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut ring = self.lock();
        let fetched = ring.fetched;
        let same = |event: &&mut DialEvent| {
            event.number > fetched
                && event.role == role.as_str()
                && event.host == host
                && event.port == port
                && event.refused == refused
        };
        if let Some(last) = ring.events.back_mut().filter(same) {
            last.count = last.count.saturating_add(1);
            return;
        }
        let number = ring.events.back().map_or(0, |event| event.number) + 1;
        if ring.events.len() == KNOWN {
            ring.events.pop_front();
        }
        ring.events.push_back(DialEvent {
            number,
            at_ms: u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
            role: role.to_string(),
            host: host.to_owned(),
            port,
            refused: refused.to_owned(),
            count: 1,
        });
        self.newest.send_replace(number);
    }

    /// What is known behind a number, as soon as there is something. A number that is not reached yet is another
    /// start's, so that everything is new.
    pub async fn after(&self, number: u64) -> Told {
        let after = match number > *self.newest.borrow() {
            true => 0,
            false => number,
        };
        let mut newest = self.newest.subscribe();
        // Nothing for so long is an answer, too.
        let _none = timeout(PATIENCE, newest.wait_for(|newest| *newest > after)).await;
        let mut ring = self.lock();
        let events = ring.events.iter().filter(|event| event.number > after);
        let events: Vec<_> = events.take(AT_ONCE).cloned().collect();
        let last = events.last().map_or(0, |event| event.number);
        ring.fetched = ring.fetched.max(last);
        Told { events }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(text: &str) -> Role {
        Role::parse(text).unwrap()
    }

    fn told(events: &Told) -> Vec<(u64, &str, u32)> {
        let rows = events.events.iter();
        rows.map(|event| (event.number, event.host.as_str(), event.count))
            .collect()
    }

    #[tokio::test]
    async fn events_come_in_their_order_and_repetitions_are_counted_until_they_are_fetched() {
        let events = Events::new();
        for _ in 0..3 {
            events.note(&role("model-x"), "a", 443, "");
        }
        events.note(&role("model-x"), "b", 443, "dial.not_listed");
        assert_eq!(told(&events.after(0).await), [(1, "a", 3), (2, "b", 1)]);
        events.note(&role("model-x"), "b", 443, "dial.not_listed");
        assert_eq!(
            told(&events.after(2).await),
            [(3, "b", 1)],
            "not lost in one that was told"
        );
        assert_eq!(told(&events.after(99).await).len(), 3, "of another start");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_for_news_and_says_at_last_that_there_is_none() {
        let events = Events::new();
        assert_eq!(told(&events.after(0).await), []);
        let (news, ()) = tokio::join!(events.after(0), async {
            events.note(&role("model-x"), "a", 443, "");
        });
        assert_eq!(told(&news), [(1, "a", 1)]);
    }

    #[tokio::test]
    async fn the_newest_are_known_and_an_answer_fits_into_a_frame() {
        let events = Events::new();
        for port in 0..2000 {
            events.note(&role("model-x"), &"h".repeat(253), port, "dial.not_listed");
        }
        let answer = events.after(0).await;
        assert_eq!(answer.events.len(), AT_ONCE);
        assert_eq!(answer.events[0].number, 2000 - KNOWN as u64 + 1);
        assert!(prost::Message::encoded_len(&answer) < 60_000);
    }
}
