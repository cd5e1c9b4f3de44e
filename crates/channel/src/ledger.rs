//! What is known of sends in flight: which parts have begun, which the platform has, which message shows an answer that is
//! not finished. Pure; the records come from the journal, and replaying them gives the same ledger.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Record {
    /// A part is about to be written to the network. `plan` identifies the division into parts; `again` says that doing
    /// it twice is the same as once.
    Started {
        /// Outbox id.
        id: String,
        /// Number of the part, from 0.
        part: u32,
        /// Digest of all parts.
        plan: u64,
        /// Whether it may be repeated.
        again: bool,
    },
    /// The platform has the part.
    Done {
        /// Outbox id.
        id: String,
        /// Number of the part.
        part: u32,
    },
    /// The part was certainly not taken.
    Undone {
        /// Outbox id.
        id: String,
        /// Number of the part.
        part: u32,
    },
    /// The gateway knows how the send ended.
    Forgotten {
        /// Outbox id.
        id: String,
    },
    /// A message that shows the beginning of an answer is about to be sent.
    Showing {
        /// The turn.
        turn: String,
        /// Milliseconds since 1970.
        at_ms: u64,
    },
    /// It was sent; `message` is how the worker finds it again.
    Shown {
        /// The turn.
        turn: String,
        /// Known to the worker alone.
        message: String,
    },
    /// It became the answer, or was removed.
    Hidden {
        /// The turn.
        turn: String,
    },
    /// A conversation has a new name.
    Moved {
        /// The account.
        account: String,
        /// Its name before.
        from: String,
        /// Its name now.
        to: String,
    },
}

/// How far a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartState {
    /// Written, perhaps.
    Started {
        /// Whether it may be repeated.
        again: bool,
    },
    /// The platform has it.
    Done,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    plan: u64,
    parts: BTreeMap<u32, PartState>,
}

/// A message that shows an unfinished answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Preview {
    at_ms: u64,
    message: Option<String>,
}

/// Everything that is in flight.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    sends: BTreeMap<String, Entry>,
    previews: BTreeMap<String, Preview>,
    moved: HashMap<(String, String), String>,
}

impl Ledger {
    /// Takes one record in.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Started {
                id,
                part,
                plan,
                again,
            } => {
                let entry = self.sends.entry(id.clone()).or_default();
                entry.plan = *plan;
                entry
                    .parts
                    .insert(*part, PartState::Started { again: *again });
            }
            Record::Done { id, part } => {
                if let Some(entry) = self.sends.get_mut(id) {
                    entry.parts.insert(*part, PartState::Done);
                }
            }
            Record::Undone { id, part } => {
                if let Some(entry) = self.sends.get_mut(id) {
                    entry.parts.remove(part);
                    if entry.parts.is_empty() {
                        self.sends.remove(id);
                    }
                }
            }
            Record::Forgotten { id } => {
                self.sends.remove(id);
            }
            Record::Showing { turn, at_ms } => {
                self.previews.entry(turn.clone()).or_insert(Preview {
                    at_ms: *at_ms,
                    message: None,
                });
            }
            Record::Shown { turn, message } => {
                if let Some(preview) = self.previews.get_mut(turn) {
                    preview.message = Some(message.clone());
                }
            }
            Record::Hidden { turn } => {
                self.previews.remove(turn);
            }
            Record::Moved { account, from, to } => {
                for target in self.moved.iter_mut() {
                    if target.0.0 == *account && target.1 == from {
                        *target.1 = to.clone();
                    }
                }
                self.moved
                    .insert((account.clone(), from.clone()), to.clone());
            }
        }
    }

    /// How far a part of a send is; `None` when it has not begun.
    #[must_use]
    pub fn part(&self, id: &str, part: u32) -> Option<PartState> {
        self.sends.get(id)?.parts.get(&part).copied()
    }

    /// The division under which a send has begun, and how many parts are done and begun.
    #[must_use]
    pub fn begun(&self, id: &str) -> Option<(u64, u32, u32)> {
        let entry = self.sends.get(id)?;
        let count = |done: bool| {
            let states = entry.parts.values();
            states
                .filter(|state| (**state == PartState::Done) == done)
                .count() as u32
        };
        Some((entry.plan, count(true), count(false)))
    }

    /// The message that shows a turn's unfinished answer.
    #[must_use]
    pub fn shown(&self, turn: &str) -> Option<&str> {
        self.previews.get(turn)?.message.as_deref()
    }

    /// Whether a turn's answer is shown, or was about to be.
    #[must_use]
    pub fn is_showing(&self, turn: &str) -> bool {
        self.previews.contains_key(turn)
    }

    /// Turns whose answers have been shown since before `before_ms` and never came, with the message if it is known.
    #[must_use]
    pub fn stale(&self, before_ms: u64) -> Vec<(String, Option<String>)> {
        let old = self
            .previews
            .iter()
            .filter(|(_, preview)| preview.at_ms < before_ms);
        old.map(|(turn, preview)| (turn.clone(), preview.message.clone()))
            .collect()
    }

    /// The present name of a conversation.
    #[must_use]
    pub fn moved<'a>(&'a self, account: &str, name: &'a str) -> &'a str {
        // Chains are shortened when they are made, so one step is enough.
        self.moved
            .get(&(account.to_owned(), name.to_owned()))
            .map_or(name, String::as_str)
    }

    /// The fewest records that give this ledger.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (id, entry) in &self.sends {
            for (&part, state) in &entry.parts {
                records.push(Record::Started {
                    id: id.clone(),
                    part,
                    plan: entry.plan,
                    again: *state == PartState::Started { again: true },
                });
                if *state == PartState::Done {
                    records.push(Record::Done {
                        id: id.clone(),
                        part,
                    });
                }
            }
        }
        for (turn, preview) in &self.previews {
            records.push(Record::Showing {
                turn: turn.clone(),
                at_ms: preview.at_ms,
            });
            records.extend(preview.message.iter().map(|message| Record::Shown {
                turn: turn.clone(),
                message: message.clone(),
            }));
        }
        for ((account, from), to) in &self.moved {
            records.push(Record::Moved {
                account: account.clone(),
                from: from.clone(),
                to: to.clone(),
            });
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(id: &str, part: u32) -> Record {
        Record::Started {
            id: id.into(),
            part,
            plan: 7,
            again: false,
        }
    }

    fn replayed(records: &[Record]) -> Ledger {
        let mut ledger = Ledger::default();
        records.iter().for_each(|record| ledger.apply(record));
        ledger
    }

    #[test]
    fn a_part_is_started_done_or_not_begun() {
        let mut ledger = replayed(&[started("a", 0), started("a", 1), started("a", 2)]);
        ledger.apply(&Record::Done {
            id: "a".into(),
            part: 0,
        });
        ledger.apply(&Record::Undone {
            id: "a".into(),
            part: 2,
        });
        assert_eq!(ledger.part("a", 0), Some(PartState::Done));
        assert_eq!(
            ledger.part("a", 1),
            Some(PartState::Started { again: false })
        );
        assert_eq!(ledger.part("a", 2), None);
        assert_eq!(ledger.begun("a"), Some((7, 1, 1)));
        assert_eq!(ledger.begun("b"), None);
        ledger.apply(&Record::Forgotten { id: "a".into() });
        assert_eq!(ledger, Ledger::default());
    }

    #[test]
    fn a_preview_is_found_again_and_grows_stale() {
        let turn = || "t".to_owned();
        let mut ledger = replayed(&[Record::Showing {
            turn: turn(),
            at_ms: 5,
        }]);
        assert_eq!((ledger.shown("t"), ledger.is_showing("t")), (None, true));
        ledger.apply(&Record::Shown {
            turn: turn(),
            message: "m".into(),
        });
        assert_eq!(ledger.shown("t"), Some("m"));
        assert!(ledger.stale(5).is_empty());
        assert_eq!(ledger.stale(6), [(turn(), Some("m".to_owned()))]);
        ledger.apply(&Record::Hidden { turn: turn() });
        assert!(!ledger.is_showing("t"));
    }

    #[test]
    fn a_conversation_that_moves_twice_is_found_at_its_last_place() {
        let moved = |from: &str, to: &str| Record::Moved {
            account: "a".into(),
            from: from.into(),
            to: to.into(),
        };
        let ledger = replayed(&[moved("1", "2"), moved("2", "3")]);
        assert_eq!(ledger.moved("a", "1"), "3");
        assert_eq!(ledger.moved("a", "2"), "3");
        assert_eq!(ledger.moved("b", "1"), "1");
    }

    #[test]
    fn the_fewest_records_give_the_same_ledger() {
        let ledger = replayed(&[
            started("a", 0),
            Record::Done {
                id: "a".into(),
                part: 0,
            },
            started("b", 0),
            Record::Showing {
                turn: "t".into(),
                at_ms: 1,
            },
            Record::Shown {
                turn: "t".into(),
                message: "m".into(),
            },
            Record::Moved {
                account: "a".into(),
                from: "1".into(),
                to: "2".into(),
            },
        ]);
        assert_eq!(replayed(&ledger.records()), ledger);
    }
}
