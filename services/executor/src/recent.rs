//! Calls of a short while ago with what they gave, so that asking twice does not run twice: also while the first asking is
//! still at work. A call is the same when the caller, the handle, the id, the tool and the arguments are. Each caller's
//! calls are remembered apart, so that one caller cannot make another's forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use clawdbot_identity::Role;
use clawdbot_proto::v1::InvokeReply;
use tokio::sync::OnceCell;

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

type Slot = Arc<OnceCell<InvokeReply>>;

/// The last calls of each caller, newest last.
#[derive(Default)]
pub struct Recent(Mutex<HashMap<Role, VecDeque<(Call, Slot)>>>);

impl Recent {
    /// Where the call's output is or will be.
    pub fn slot(&self, caller: Role, call: Call) -> Slot {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = callers.entry(caller).or_default();
        if let Some((_, slot)) = calls.iter().rev().find(|(known, _)| *known == call) {
            return Arc::clone(slot);
        }
        if calls.len() == CALLS {
            calls.pop_front();
        }
        let slot = Slot::default();
        calls.push_back((call, Arc::clone(&slot)));
        slot
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
        let slot = recent.slot(agent(Class::Main), call(1));
        assert!(Arc::ptr_eq(
            &slot,
            &recent.slot(agent(Class::Main), call(1))
        ));
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
            assert!(!Arc::ptr_eq(&slot, &recent.slot(agent(class), other)));
        }
    }

    #[test]
    fn only_the_last_calls_are_remembered_and_of_each_caller_apart() {
        let recent = Recent::default();
        let main = |id| recent.slot(agent(Class::Main), call(id));
        let first = main(0);
        for id in 0..2 * CALLS {
            recent.slot(agent(Class::Guest), call(id));
        }
        for id in 1..CALLS {
            main(id);
        }
        assert!(Arc::ptr_eq(&first, &main(0)));
        main(CALLS);
        assert!(!Arc::ptr_eq(&first, &main(0)));
        let callers = recent.0.lock().unwrap();
        assert_eq!(callers.len(), 2);
        assert!(callers.values().all(|calls| calls.len() == CALLS));
    }
}
