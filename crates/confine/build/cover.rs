//! Which row says what another one says already.

use super::row::{Condition, Row, Value};

impl Condition {
    /// The bits of the argument that are compared.
    pub(super) fn bits(&self) -> u64 {
        let width = if self.wide { u64::MAX } else { 0xffff_ffff };
        self.mask.unwrap_or(u64::MAX) & width
    }

    /// Whether the other one holds whenever this one does. A no may be one for lack of insight.
    fn implies(&self, other: &Condition) -> bool {
        if self.argument != other.argument {
            return false;
        }
        if self == other {
            return true;
        }
        let (Value::Number(mine), Value::Number(theirs)) = (self.value, other.value) else {
            return false;
        };
        let common = self.bits() & other.bits();
        match (self.equal, other.equal) {
            (true, true) => common == other.bits() && mine & common == theirs & common,
            (true, false) => mine & common != theirs & common,
            (false, _) => false,
        }
    }

    /// Whether both cannot hold at once.
    pub(super) fn contradicts(&self, other: &Condition) -> bool {
        let opposite = Condition {
            equal: !other.equal,
            ..*other
        };
        self.implies(&opposite)
    }
}

impl Row {
    /// Whether this row matches whenever the other one does.
    pub(super) fn covers(&self, other: &Row) -> bool {
        self.call == other.call
            && (self.mode.is_none() || self.mode == other.mode)
            && self.conditions.iter().all(|mine| {
                let mut theirs = other.conditions.iter();
                theirs.any(|theirs| theirs.implies(mine))
            })
    }

    /// Whether the other row changes nothing where this one is: it is covered, and does not turn what
    /// is let through into a refusal, which is the stricter answer and wins.
    pub(super) fn silences(&self, other: &Row) -> bool {
        self.covers(other) && (self.errno.is_some() || other.errno.is_none())
    }
}
