//! Calls of a short while ago with what they gave, so that asking twice does not run twice: also while the first asking is
//! still at work. A call is the same when the caller, the handle, the id, the tool and the arguments are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use clawdbot_identity::Role;
use clawdbot_proto::v1::InvokeReply;
use tokio::sync::OnceCell;

/// Calls that are remembered.
const CALLS: usize = 256;

/// Which call. The handle is part of it, since an id alone proves nothing about who asks.
#[derive(PartialEq, Eq)]
pub struct Call {
    pub caller: Role,
    pub handle: String,
    pub id: String,
    pub tool: &'static str,
    pub arguments: String,
}

type Slot = Arc<OnceCell<InvokeReply>>;

/// The last calls, newest last.
#[derive(Default)]
pub struct Recent(Mutex<VecDeque<(Call, Slot)>>);

impl Recent {
    /// Where the call's output is or will be.
    pub fn slot(&self, call: Call) -> Slot {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
            caller: Role::agent(Class::Main),
            handle: "h".into(),
            id: id.to_string(),
            tool: "t",
            arguments: "{}".into(),
        }
    }

    #[test]
    fn a_call_is_the_same_only_in_every_part() {
        let recent = Recent::default();
        let slot = recent.slot(call(1));
        assert!(Arc::ptr_eq(&slot, &recent.slot(call(1))));
        for other in [
            Call {
                caller: Role::agent(Class::Guest),
                ..call(1)
            },
            Call {
                handle: "i".into(),
                ..call(1)
            },
            Call {
                tool: "u",
                ..call(1)
            },
            Call {
                arguments: "{\"a\":1}".into(),
                ..call(1)
            },
            call(2),
        ] {
            assert!(!Arc::ptr_eq(&slot, &recent.slot(other)));
        }
    }

    #[test]
    fn only_the_last_calls_are_remembered() {
        let recent = Recent::default();
        let first = recent.slot(call(0));
        for id in 1..CALLS {
            recent.slot(call(id));
        }
        assert!(Arc::ptr_eq(&first, &recent.slot(call(0))));
        recent.slot(call(CALLS));
        assert!(!Arc::ptr_eq(&first, &recent.slot(call(0))));
        assert_eq!(recent.0.lock().unwrap().len(), CALLS);
    }
}
