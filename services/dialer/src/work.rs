//! What this process has in hand, counted: dials under way and connections that it relays. Decides when
//! a new start takes nothing from anybody, and keeps one role from filling the process.

use std::collections::HashMap;
use std::sync::Arc;

use clawdbot_identity::Role;
use tokio::sync::watch;

/// Connections of one role that are relayed at a time: more than a worker uses. Two descriptors each: all roles together stay
/// below the profile's limit of 4096.
pub const RELAYS_PER_ROLE: usize = 160;

#[derive(Debug, Default)]
struct State {
    dials: usize,
    relays: HashMap<Role, usize>,
    /// A name was not found since the name servers became outdated.
    lost: bool,
}

/// The counts. Clones share them.
#[derive(Debug, Clone)]
pub struct Work(Arc<watch::Sender<State>>);

/// A dial under way, until it is dropped.
#[derive(Debug)]
pub struct Dialling(Work);

/// A relayed connection, until it is dropped.
#[derive(Debug)]
pub struct Relaying(Work, Role);

impl Work {
    /// Nothing in hand.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    /// Counts a dial.
    pub fn dialling(&self) -> Dialling {
        self.0.send_modify(|state| state.dials += 1);
        Dialling(self.clone())
    }

    /// Counts a relayed connection of a role; none when it has [`RELAYS_PER_ROLE`] already.
    pub fn relaying(&self, role: &Role) -> Option<Relaying> {
        let counted = self.0.send_if_modified(|state| {
            let count = state.relays.entry(role.clone()).or_default();
            let free = *count < RELAYS_PER_ROLE;
            *count += usize::from(free);
            free
        });
        counted.then(|| Relaying(self.clone(), role.clone()))
    }

    /// The outdated name servers did not find a name: a new start should not wait for relays any more.
    pub fn lost_a_name(&self) {
        self.0.send_modify(|state| state.lost = true);
    }

    /// Waits until `outdated` holds and a new start is due: nobody is dialling, and nothing is relayed
    /// or names are lost already. `outdated` is asked whenever a count changes.
    pub async fn due(&self, outdated: impl Fn() -> bool) {
        let mut state = self.0.subscribe();
        let due = |state: &State| {
            state.dials == 0 && (state.relays.is_empty() || state.lost) && outdated()
        };
        // Cannot fail: the sender lives in `self`.
        let _always = state.wait_for(due).await;
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.dials -= 1);
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| {
            if let Some(count) = state.relays.get_mut(&self.1) {
                *count -= 1;
                if *count == 0 {
                    state.relays.remove(&self.1);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn is_due(work: &Work, outdated: bool) -> bool {
        let due = pin!(work.due(|| outdated));
        matches!(
            due.poll(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(())
        )
    }

    fn role(text: &str) -> Role {
        Role::parse(text).unwrap()
    }

    #[test]
    fn a_new_start_waits_for_dials_and_for_relays_until_names_are_lost() {
        let work = Work::new();
        assert!(is_due(&work, true) && !is_due(&work, false));
        let dial = work.dialling();
        assert!(!is_due(&work, true));
        let relay = work.relaying(&role("model-x")).unwrap();
        drop(dial);
        assert!(!is_due(&work, true), "a connection is relayed");
        work.lost_a_name();
        assert!(is_due(&work, true) && !is_due(&work, false));
        let dial = work.dialling();
        assert!(!is_due(&work, true));
        drop((relay, dial));
        assert!(is_due(&work, true));
    }

    #[test]
    fn one_role_cannot_take_the_room_of_another() {
        let work = Work::new();
        let mut held: Vec<_> = (0..RELAYS_PER_ROLE)
            .map(|_| work.relaying(&role("model-x")).unwrap())
            .collect();
        assert!(work.relaying(&role("model-x")).is_none());
        assert!(work.relaying(&role("model-y")).is_some());
        held.pop();
        assert!(work.relaying(&role("model-x")).is_some());
    }
}
