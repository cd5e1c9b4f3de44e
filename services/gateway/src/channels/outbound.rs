//! What one channel still has to send: in order within a conversation, conversations side by side, each answer at one
//! place at a time. No I/O and no clock; the time is passed in.

use std::collections::{HashMap, VecDeque};

use clawdbot_identity::TurnId;

use crate::limits;
use crate::queue::Outgoing;

/// Account and conversation.
type Lane = (String, String);

/// The answers of one channel that are not settled.
#[derive(Default)]
pub struct Outbound {
    lanes: HashMap<Lane, VecDeque<Item>>,
    homes: HashMap<TurnId, Lane>,
    /// What the worker has been given, by the lane that waits for it.
    given: HashMap<Lane, TurnId>,
    /// The accounts of the worker that is attached.
    accounts: Option<Vec<String>>,
}

struct Item {
    number: i64,
    outbox_id: TurnId,
    next_try_ms: u64,
}

impl Outbound {
    /// Puts an answer behind those of its conversation.
    pub fn add(&mut self, row: Outgoing) {
        let lane = (row.account, row.lane);
        self.homes.insert(row.outbox_id.clone(), lane.clone());
        let items = self.lanes.entry(lane).or_default();
        let at = items.partition_point(|item| item.number < row.number);
        let item = Item {
            number: row.number,
            outbox_id: row.outbox_id,
            next_try_ms: row.next_try_ms,
        };
        items.insert(at, item);
    }

    /// A worker has come: whatever is not settled may be given to it, at once. It knows what it has sent already.
    pub fn attach(&mut self, accounts: Vec<String>) {
        self.given.clear();
        self.accounts = Some(accounts);
        for item in self.lanes.values_mut().flatten() {
            item.next_try_ms = 0;
        }
    }

    /// The worker has gone.
    pub fn detach(&mut self) {
        self.given.clear();
        self.accounts = None;
    }

    /// Whether a worker is there.
    pub fn is_attached(&self) -> bool {
        self.accounts.is_some()
    }

    /// The next answer to give to the worker at `now_ms`, milliseconds since 1970: its number and id.
    pub fn offer(&mut self, now_ms: u64) -> Option<(i64, TurnId)> {
        if self.given.len() >= limits::SENDS {
            return None;
        }
        let (lane, item) = self
            .heads()
            .filter(|(_, item)| is_due(item.next_try_ms, now_ms))
            .min_by_key(|(_, item)| item.number)?;
        let (lane, number, outbox_id) = (lane.clone(), item.number, item.outbox_id.clone());
        self.given.insert(lane, outbox_id.clone());
        Some((number, outbox_id))
    }

    /// The first answers of all conversations that could go now.
    fn heads(&self) -> impl Iterator<Item = (&Lane, &Item)> {
        let served = |lane: &Lane| {
            let accounts = self.accounts.as_ref();
            accounts.is_some_and(|all| all.contains(&lane.0)) && !self.given.contains_key(lane)
        };
        self.lanes
            .iter()
            .filter(move |(lane, _)| served(lane))
            .filter_map(|(lane, items)| Some((lane, items.front()?)))
    }

    /// When there will be something to offer although nothing else changes, milliseconds since 1970.
    pub fn wake_at(&self) -> Option<u64> {
        match self.given.len() >= limits::SENDS {
            true => None,
            false => self.heads().map(|(_, item)| item.next_try_ms).min(),
        }
    }

    /// An answer is settled.
    pub fn ended(&mut self, outbox_id: &TurnId) {
        let Some(lane) = self.homes.remove(outbox_id) else {
            return;
        };
        if let Some(items) = self.lanes.get_mut(&lane) {
            items.retain(|item| item.outbox_id != *outbox_id);
            if items.is_empty() {
                self.lanes.remove(&lane);
            }
        }
        self.given.retain(|_, given| given != outbox_id);
    }

    /// An answer was not sent; it comes again, not before `at_ms`.
    pub fn again(&mut self, outbox_id: &TurnId, at_ms: u64) {
        let lane = self.homes.get(outbox_id);
        let items = lane.and_then(|lane| self.lanes.get_mut(lane));
        for item in items.into_iter().flatten() {
            if item.outbox_id == *outbox_id {
                item.next_try_ms = at_ms;
            }
        }
        self.given.retain(|_, given| given != outbox_id);
    }

    /// Answers that are not settled.
    pub fn len(&self) -> usize {
        self.homes.len()
    }
}

/// A time that lies further ahead than any pause was written before the clock was set back.
fn is_due(at_ms: u64, now_ms: u64) -> bool {
    let longest = u64::try_from(limits::SEND_AGAIN.1.as_millis()).unwrap_or(u64::MAX);
    at_ms <= now_ms || at_ms > now_ms.saturating_add(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: i64) -> TurnId {
        TurnId::parse(&format!("o{number}")).unwrap()
    }

    fn row(number: i64, lane: &str) -> Outgoing {
        Outgoing {
            number,
            outbox_id: id(number),
            channel: "channel-telegram".into(),
            account: "default".into(),
            lane: lane.into(),
            attempts: 0,
            next_try_ms: 0,
        }
    }

    fn offers(outbound: &mut Outbound, now: u64) -> Vec<i64> {
        std::iter::from_fn(|| outbound.offer(now))
            .map(|(number, _)| number)
            .collect()
    }

    fn attached(rows: &[(i64, &str)]) -> Outbound {
        let mut outbound = Outbound::default();
        for (number, lane) in rows {
            outbound.add(row(*number, lane));
        }
        outbound.attach(vec!["default".into()]);
        outbound
    }

    #[test]
    fn a_conversation_keeps_its_order_and_others_go_beside_it() {
        let mut outbound = attached(&[(2, "a"), (1, "a"), (3, "b"), (4, "a")]);
        assert_eq!(offers(&mut outbound, 0), [1, 3]);
        outbound.ended(&id(1));
        assert_eq!(offers(&mut outbound, 0), [2]);
        outbound.ended(&id(3));
        outbound.ended(&id(2));
        outbound.ended(&id(2));
        assert_eq!(offers(&mut outbound, 0), [4]);
        outbound.ended(&id(4));
        assert_eq!((outbound.len(), outbound.lanes.len()), (0, 0));
        assert!(outbound.given.is_empty());
    }

    #[test]
    fn nothing_is_given_to_nobody_or_for_an_account_that_is_not_served() {
        let mut outbound = Outbound::default();
        outbound.add(row(1, "a"));
        assert!(offers(&mut outbound, 0).is_empty());
        outbound.attach(vec!["other".into()]);
        assert_eq!(
            (offers(&mut outbound, 0), outbound.wake_at()),
            (vec![], None)
        );
        outbound.attach(vec!["other".into(), "default".into()]);
        assert_eq!(offers(&mut outbound, 0), [1]);
        outbound.detach();
        assert!(offers(&mut outbound, 0).is_empty());
    }

    #[test]
    fn what_was_given_is_given_again_after_a_new_attach_and_not_before() {
        let mut outbound = attached(&[(1, "a")]);
        assert_eq!(offers(&mut outbound, 0), [1]);
        assert!(offers(&mut outbound, 0).is_empty());
        outbound.attach(vec!["default".into()]);
        assert_eq!(offers(&mut outbound, 0), [1]);
    }

    #[test]
    fn what_was_not_sent_comes_again_after_a_pause_and_holds_its_conversation() {
        let mut outbound = attached(&[(1, "a"), (2, "a")]);
        offers(&mut outbound, 0);
        outbound.again(&id(1), 5000);
        assert!(offers(&mut outbound, 4999).is_empty());
        assert_eq!(outbound.wake_at(), Some(5000));
        assert_eq!(offers(&mut outbound, 5000), [1]);
        outbound.again(&id(1), 9_000_000);
        assert_eq!(offers(&mut outbound, 0), [1], "the clock was set back");
        outbound.again(&id(1), 9000);
        outbound.attach(vec!["default".into()]);
        assert_eq!(offers(&mut outbound, 0), [1]);
    }

    #[test]
    fn only_so_many_are_at_the_worker() {
        let mut outbound = Outbound::default();
        for n in 0..40 {
            outbound.add(row(n, &format!("lane{n}")));
        }
        outbound.attach(vec!["default".into()]);
        assert_eq!(offers(&mut outbound, 0), (0..32).collect::<Vec<_>>());
        assert_eq!(outbound.wake_at(), None);
        outbound.ended(&id(7));
        assert_eq!(offers(&mut outbound, 0), [32]);
    }
}
