//! Calls of a short while ago with what they gave, so that asking twice does not run twice: also while the first asking is
//! still at work. A call is the same when the caller, the handle, the id, the tool and the arguments are. Each caller's
//! calls are remembered apart, so that one caller cannot make another's forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use clawdbot_identity::Role;
use clawdbot_proto::v1::InvokeReply;
use tokio::sync::{OnceCell, watch};

/// Calls that are remembered of each caller; there is one of each class.
const CALLS: usize = 256;

/// Which call. The handle is part of it, since an id alone proves nothing about who asks.
#[derive(PartialEq, Eq)]
pub struct Call {
    pub handle: String,
    pub id: String,
    pub tool: &'static str,
    pub arguments: String,
}

/// What a call that runs will have given; `None` until then.
pub type Given = watch::Receiver<Option<InvokeReply>>;
/// Set from the moment on from which a call runs.
pub type Slot = Arc<OnceCell<Given>>;

/// The last calls of each caller, newest last.
#[derive(Default)]
pub struct Recent(Mutex<HashMap<Role, VecDeque<(Call, Slot)>>>);

impl Recent {
    /// Where it is known whether the call has begun, and what it gave. `None` when all that may be remembered is under way:
    /// one that is forgotten before its end could run twice on one permission.
    pub fn slot(&self, caller: Role, call: Call) -> Option<Slot> {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = callers.entry(caller).or_default();
        if let Some((_, slot)) = calls.iter().rev().find(|(known, _)| *known == call) {
            return Some(Arc::clone(slot));
        }
        if calls.len() == CALLS {
            let over = |slot: &Slot| {
                let runs = slot.get().is_some_and(|given| given.borrow().is_none());
                !runs && Arc::strong_count(slot) == 1
            };
            let oldest = calls.iter().position(|(_, slot)| over(slot))?;
            calls.remove(oldest);
        }
        let slot = Slot::default();
        calls.push_back((call, Arc::clone(&slot)));
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_identity::Class;

    use super::*;

    fn call(id: usize) -> Call {
        Call {
            handle: "h".into(),
            id: id.to_string(),
            tool: "t",
            arguments: "{}".into(),
        }
    }

    fn agent(class: Class) -> Role {
        Role::agent(class)
    }

    #[test]
    fn a_call_is_the_same_only_in_every_part() {
        let recent = Recent::default();
        let slot = recent.slot(agent(Class::Main), call(1)).unwrap();
        let again = recent.slot(agent(Class::Main), call(1)).unwrap();
        assert!(Arc::ptr_eq(&slot, &again));
        for (class, other) in [
            (Class::Guest, call(1)),
            (
                Class::Main,
                Call {
                    handle: "i".into(),
                    ..call(1)
                },
            ),
            (
                Class::Main,
                Call {
                    tool: "u",
                    ..call(1)
                },
            ),
            (
                Class::Main,
                Call {
                    arguments: "{\"a\":1}".into(),
                    ..call(1)
                },
            ),
            (Class::Main, call(2)),
        ] {
            let other = recent.slot(agent(class), other).unwrap();
            assert!(!Arc::ptr_eq(&slot, &other));
        }
    }

    #[test]
    fn only_the_last_calls_are_remembered_and_of_each_caller_apart() {
        let recent = Recent::default();
        let main = |id| recent.slot(agent(Class::Main), call(id));
        let first = Arc::downgrade(&main(0).unwrap());
        for id in 0..2 * CALLS {
            recent.slot(agent(Class::Guest), call(id));
        }
        for id in 1..CALLS {
            main(id);
        }
        assert!(first.upgrade().is_some());
        main(CALLS);
        assert!(first.upgrade().is_none());
        let callers = recent.0.lock().unwrap();
        assert_eq!(callers.len(), 2);
        assert!(callers.values().all(|calls| calls.len() == CALLS));
    }

    #[test]
    fn what_is_under_way_is_not_forgotten_and_nothing_more_begins_where_all_is() {
        let recent = Recent::default();
        let main = |id| recent.slot(agent(Class::Main), call(id));
        // Nobody waits for this one any more, but it runs.
        let (give, given) = watch::channel(None);
        main(0).unwrap().set(given).unwrap();
        // These wait for a decision.
        let waiting: Vec<_> = (1..CALLS).map(|id| main(id).unwrap()).collect();
        assert!(main(CALLS).is_none());
        assert!(Arc::ptr_eq(&main(1).unwrap(), &waiting[0]));
        assert!(recent.slot(agent(Class::Guest), call(CALLS)).is_some());
        give.send_replace(Some(InvokeReply::default()));
        assert!(main(CALLS).is_some());
        assert!(Arc::ptr_eq(&main(1).unwrap(), &waiting[0]));
    }
}
