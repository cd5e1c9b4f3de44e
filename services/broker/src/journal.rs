//! What was leased, kept, removed and refused, for policy, which writes the audit log. Only the newest events are known:
//! this process keeps nothing on disk but the vault, and policy is hardly ever away.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use clawdbot_proto::v1::JournalEvent;
use tokio::sync::watch;

/// Events that are known at the same time.
const KNOWN: usize = 1024;

/// The newest events, and news of others.
pub(crate) struct Journal {
    events: Mutex<VecDeque<JournalEvent>>,
    newest: watch::Sender<u64>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            events: Mutex::default(),
            newest: watch::Sender::new(0),
        }
    }

    /// Takes an event down. `refused` is the rule, empty for what was granted; `subject` a name, never a value.
    pub(crate) fn note(&self, what: &str, role: &str, subject: &str, refused: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut events = self.lock();
        let number = events.back().map_or(0, |event| event.number) + 1;
        if events.len() == KNOWN {
            events.pop_front();
        }
        events.push_back(JournalEvent {
            number,
            at_ms: u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
            what: what.to_owned(),
            role: role.to_owned(),
            subject: subject.to_owned(),
            refused: refused.to_owned(),
        });
        self.newest.send_replace(number);
    }

    /// Where to go on behind a number. One that is not reached yet is another start's, so that everything is new.
    pub(crate) fn place(&self, after: u64) -> u64 {
        match after > *self.newest.borrow() {
            true => 0,
            false => after,
        }
    }

    /// The next event behind a number, as soon as there is one.
    pub(crate) async fn next(&self, after: u64) -> Option<JournalEvent> {
        let mut newest = self.newest.subscribe();
        newest.wait_for(|newest| *newest > after).await.ok()?;
        let events = self.lock();
        events.iter().find(|event| event.number > after).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<JournalEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_come_in_their_order_and_lost_ones_leave_a_hole() {
        let journal = Journal::new();
        journal.note("lease", "model-a", "default", "");
        journal.note("put", "operator", "model-a/default", "credential.invalid");
        let first = journal.next(0).await.unwrap();
        assert_eq!((first.number, first.what.as_str()), (1, "lease"));
        let second = journal.next(1).await.unwrap();
        assert_eq!(
            (second.number, second.refused.as_str()),
            (2, "credential.invalid")
        );
        for _ in 0..KNOWN {
            journal.note("lease", "model-b", "default", "");
        }
        assert_eq!(journal.next(2).await.unwrap().number, 3);
        assert_eq!(journal.next(0).await.unwrap().number, 3);
        assert_eq!(journal.lock().len(), KNOWN);
    }

    #[tokio::test]
    async fn whoever_waits_is_told_and_a_number_of_another_start_means_everything() {
        let journal = Journal::new();
        assert_eq!(journal.place(17), 0);
        let (event, ()) = tokio::join!(journal.next(0), async {
            journal.note("unlock", "", "vault", "");
        });
        assert_eq!(event.unwrap().what, "unlock");
        assert_eq!((journal.place(1), journal.place(2)), (1, 0));
    }
}
