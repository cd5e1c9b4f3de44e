//! What is known of each session: the owner's words, what was shown, two flags that only rise. Bounded in number and bytes:
//! a session that is forgotten keeps its flags, so that forgetting makes questions and never permissions.

use std::collections::{BTreeMap, VecDeque};

use clawdbot_identity::{MessageId, SessionKey, ToolName};

use super::entries::Entries;
use super::ledger::Known;
use super::words::Words;
use crate::handle::Trace;

/// Sessions whose words and things are kept.
const MAX_SESSIONS: usize = 4096;
/// Memory for all of them, bytes.
const MAX_SIZE: usize = 32 << 20;
/// Allowed calls of a session that may still be reported.
const MAX_CALLS: usize = 256;
/// Messages that begin a new session and have not come to their turn.
const MAX_BEGINNINGS: usize = 16;

/// What a session has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// Something that others wrote.
    pub(super) tainted: bool,
    /// Something private that the owner did not point at, or something secret.
    pub(super) astray: bool,
}

impl Flags {
    pub(super) const BOTH: Self = Self {
        tainted: true,
        astray: true,
    };

    pub(super) fn with(self, other: Self) -> Self {
        Self {
            tainted: self.tainted || other.tainted,
            astray: self.astray || other.astray,
        }
    }
}

/// An allowed call.
pub(super) struct Call {
    /// Of the message that it comes of.
    pub(super) trace: Trace,
    pub(super) id: MessageId,
    pub(super) tool: ToolName,
    /// It acts in the session's own sandbox or only reads.
    pub(super) inward: bool,
    /// The owner named everything that it was given.
    pub(super) pointed: bool,
    pub(super) reported: bool,
}

#[derive(Default)]
pub(super) struct Trail {
    pub(super) words: Words,
    pub(super) entries: Entries,
    pub(super) flags: Flags,
    /// As they stand on disk.
    pub(super) stored: Flags,
    calls: VecDeque<Call>,
    beginnings: VecDeque<(Trace, String)>,
    /// How often it has begun anew.
    pub(super) epoch: u64,
    used: u64,
    /// Its size as it was counted last.
    counted: usize,
}

impl Trail {
    pub(super) fn call(
        &mut self,
        trace: Trace,
        id: &MessageId,
        tool: &ToolName,
    ) -> Option<&mut Call> {
        let mut calls = self.calls.iter_mut().rev();
        calls.find(|call| call.trace == trace && call.id == *id && call.tool == *tool)
    }

    /// Notes a call. One whose id was another's before, as after its agent was killed, may be the one that is reported, or
    /// the other: what is bad about either counts.
    pub(super) fn allowed(&mut self, mut call: Call) {
        if let Some(before) = self.call(call.trace, &call.id, &call.tool) {
            call.inward |= before.inward;
            call.pointed &= before.pointed;
        }
        let same = |known: &Call| {
            (known.trace, &known.id, &known.tool) == (call.trace, &call.id, &call.tool)
        };
        self.calls.retain(|known| !same(known));
        if self.calls.len() == MAX_CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    /// Notes a message with which the owner wants to begin anew.
    pub(super) fn may_begin(&mut self, trace: Trace, text: &str) {
        if self.beginnings.len() == MAX_BEGINNINGS {
            self.beginnings.pop_front();
        }
        self.beginnings.push_back((trace, text.to_owned()));
    }

    /// Whether this is the turn of such a message; then nothing is known but what it says.
    pub(super) fn begins(&mut self, trace: Trace) -> bool {
        let Some(at) = self.beginnings.iter().position(|row| row.0 == trace) else {
            return false;
        };
        let later = self.beginnings.split_off(at + 1);
        let text = self.beginnings.pop_back().map(|row| row.1);
        *self = Self {
            beginnings: later,
            epoch: self.epoch + 1,
            used: self.used,
            counted: self.counted,
            ..Self::default()
        };
        self.words.add(&text.unwrap_or_default());
        true
    }

    fn size(&self) -> usize {
        let beginnings: usize = self.beginnings.iter().map(|row| row.1.len()).sum();
        self.words.size() + self.entries.size() + beginnings + 1024
    }
}

/// All sessions.
pub(super) struct Trails {
    rows: BTreeMap<SessionKey, Trail>,
    pub(super) known: Known,
    clock: u64,
    size: usize,
}

impl Trails {
    pub(super) fn new(known: Known) -> Self {
        Self {
            rows: BTreeMap::new(),
            known,
            clock: 0,
            size: 0,
        }
    }

    /// One session's.
    pub(super) fn of(&mut self, session: &SessionKey) -> &mut Trail {
        self.clock += 1;
        let flags = self.known.of(session);
        let trail = self.rows.entry(session.clone()).or_insert_with(|| Trail {
            flags,
            stored: flags,
            ..Trail::default()
        });
        trail.used = self.clock;
        trail
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Counts a session that grew, and forgets what was not used for the longest time while there is too much.
    pub(super) fn bound(&mut self, session: &SessionKey) {
        if let Some(trail) = self.rows.get_mut(session) {
            let size = trail.size();
            self.size = self.size - trail.counted + size;
            trail.counted = size;
        }
        while self.rows.len() > MAX_SESSIONS || (self.size > MAX_SIZE && self.rows.len() > 1) {
            let oldest = self.rows.iter().min_by_key(|row| row.1.used);
            let Some(session) = oldest.map(|row| row.0.clone()) else {
                return;
            };
            self.size -= self.rows.remove(&session).map_or(0, |trail| trail.counted);
        }
    }
}
