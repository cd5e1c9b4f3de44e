//! What the rows of a profile say about a call, for the tests: read off the table, without the compiler.

use crate::profile::{Condition, Mode, Row, Value};

pub(super) const MODES: [Mode; 2] = Mode::ALL;
/// Stands for "anything" in an argument: a bad descriptor, a bad pointer, no valid flag.
pub(super) const ANY: u64 = u64::MAX;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Errno(i32),
    Kill,
}

fn value(condition: &Condition) -> u64 {
    match condition.value {
        Value::Number(number) => number,
        Value::OwnPid => u64::from(std::process::id()),
    }
}

fn holds(condition: &Condition, args: &[u64; 6]) -> bool {
    let width = if condition.wide {
        u64::MAX
    } else {
        u64::from(u32::MAX)
    };
    let mask = condition.mask.unwrap_or(u64::MAX) & width;
    let equal = args[usize::from(condition.argument)] & mask == value(condition) & mask;
    equal == condition.equal
}

/// What the rows, given with their numbers, say about a call.
pub(super) fn verdict(rows: &[(&Row, i64)], number: i64, args: &[u64; 6]) -> Verdict {
    let matching = rows.iter().filter(|(row, own)| {
        let mut conditions = row.conditions.iter();
        *own == number && conditions.all(|condition| holds(condition, args))
    });
    let answers: Vec<Option<i32>> = matching.map(|(row, _)| row.errno).collect();
    match (answers.iter().flatten().next(), answers.is_empty()) {
        (Some(errno), _) => Verdict::Errno(*errno),
        (None, false) => Verdict::Allow,
        (None, true) => Verdict::Kill,
    }
}

/// Arguments that satisfy the row, and for each of its conditions some that break it.
pub(super) fn attempts(row: &Row) -> Vec<[u64; 6]> {
    let mut good = [ANY; 6];
    for condition in row.conditions {
        let slot = &mut good[usize::from(condition.argument)];
        *slot = match (condition.mask, condition.equal) {
            (Some(mask), _) if *slot == ANY => value(condition) & mask,
            (Some(mask), _) => (*slot & !mask) | value(condition),
            (None, true) => value(condition),
            // Different from everything that a profile names.
            (None, false) => 0x7ead_beef,
        };
    }
    let mut all = vec![good];
    for condition in row.conditions {
        let mut bad = good;
        let slot = &mut bad[usize::from(condition.argument)];
        *slot = match (condition.mask, condition.equal) {
            (Some(mask), _) => *slot ^ (mask & mask.wrapping_neg()),
            (None, true) => 0x7ead_beef,
            (None, false) => value(condition),
        };
        all.push(bad);
    }
    all
}
