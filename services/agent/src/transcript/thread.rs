//! What a transcript says now: the window of messages for the model, the settings, the counts, and which turns are
//! answered. It is built by reading a file line by line or by appending; both go through the same function.

use std::collections::VecDeque;
use std::ops::Range;

use clawdbot_identity::TurnId;
use clawdbot_proto::v1;

use super::entry::{Change, Entry, Item, Origin, Outcome};
use super::line::{self, Header};
use super::window::{OVERHEAD, Window};
use crate::tokens;

/// Answered turns that are remembered. The gateway runs one turn of a session at a time, so it asks again for the last.
const TURNS: usize = 1000;

/// Counts over the whole file, branches that were left included.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    pub messages: u32,
    pub compactions: u32,
    pub usage: v1::Usage,
}

/// What commands of the chat have set for this session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// provider/model.
    pub model: Option<String>,
    /// off, on or full.
    pub verbose: Option<String>,
    /// off, minimal, low, medium, high or xhigh.
    pub thinking: Option<String>,
    /// off, tokens or full.
    pub usage: Option<String>,
}

/// What is known of a turn id.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// It ended; its last entry stands in these bytes of the file.
    Ended(Range<u64>),
    /// Its question is the last one and has no answer that counts.
    Asked,
    Nothing,
}

/// How far a turn without an answer got, as far as it is on record.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    turn: TurnId,
    /// Id of the entry after which it goes on.
    tail: String,
    /// What the model said in each round.
    pub texts: Vec<String>,
    pub used: v1::Usage,
    /// Calls that have a result, and those that have none yet. The first of these may have been made.
    pub calls: u32,
    pub waiting: VecDeque<v1::ToolCall>,
    /// Ids of the messages that came in meanwhile.
    pub absorbed: Vec<String>,
}

impl Progress {
    fn new(turn: TurnId, question: &str) -> Self {
        Self {
            turn,
            tail: question.into(),
            texts: Vec::new(),
            used: v1::Usage::default(),
            calls: 0,
            waiting: VecDeque::new(),
            absorbed: Vec::new(),
        }
    }

    /// An entry between the question and the end.
    fn note(&mut self, entry: &Entry) {
        match &entry.item {
            Item::Assistant(said) => {
                self.texts.push(said.text.clone());
                self.used = tokens::sum(self.used, said.usage);
                self.waiting = said.calls.iter().cloned().collect();
            }
            Item::Tool(_) => {
                self.waiting.pop_front();
                self.calls += 1;
            }
            Item::User { message, .. } => self.absorbed.extend(message.clone()),
            Item::Compaction(compaction) => self.used = tokens::sum(self.used, compaction.usage),
            Item::Command { .. } | Item::Other => return,
        }
        self.tail.clone_from(&entry.id);
    }
}

/// One session's transcript in memory.
pub struct Thread {
    pub header: Header,
    /// Length of the file; zero while there is none.
    pub bytes: u64,
    /// Whether the file's name is known to be on disk, not only in memory.
    pub name_synced: bool,
    pub totals: Totals,
    pub settings: Settings,
    /// provider/model that wrote the last answer.
    pub answered_by: Option<String>,
    /// Milliseconds since 1970.
    pub updated_ms: u64,
    pub window: Window,
    ended: VecDeque<(TurnId, Range<u64>)>,
    progress: Option<Progress>,
}

impl Thread {
    /// A session of which nothing is on disk yet.
    pub fn new(header: Header) -> Self {
        Self {
            updated_ms: header.at_ms(),
            header,
            bytes: 0,
            name_synced: false,
            totals: Totals::default(),
            settings: Settings::default(),
            answered_by: None,
            window: Window::default(),
            ended: VecDeque::new(),
            progress: None,
        }
    }

    /// Takes an entry that stands in `at` of the file.
    pub fn apply(&mut self, entry: Entry, at: Range<u64>) {
        self.bytes = at.end;
        self.updated_ms = self.updated_ms.max(entry.at_ms);
        self.count(&entry.item);
        if let Item::Command { change, .. } = &entry.item {
            self.settings.apply(change);
        }
        match entry.outcome() {
            None => self.note(&entry),
            Some(Outcome::Failed(failure)) if !failure.is_final() => {}
            Some(outcome) => {
                if let (Outcome::Answered(answer), Item::Assistant(_)) = (outcome, &entry.item) {
                    self.answered_by = Some(answer.model);
                }
                self.end(entry.turn.clone(), at);
            }
        }
        self.window.grow(&entry);
    }

    fn count(&mut self, item: &Item) {
        let used = match item {
            Item::Assistant(said) => said.usage,
            Item::Compaction(compaction) => {
                self.totals.compactions = self.totals.compactions.saturating_add(1);
                compaction.usage
            }
            Item::User { .. } | Item::Tool(_) => v1::Usage::default(),
            Item::Command { .. } | Item::Other => return,
        };
        self.totals.usage = tokens::sum(self.totals.usage, used);
        if !matches!(item, Item::Compaction(_)) {
            self.totals.messages = self.totals.messages.saturating_add(1);
        }
    }

    fn note(&mut self, entry: &Entry) {
        if matches!(entry.item, Item::User { message: None, .. }) {
            let turn = entry.turn.clone();
            self.progress = turn.map(|turn| Progress::new(turn, &entry.id));
        } else if let Some(progress) = &mut self.progress {
            progress.note(entry);
        }
    }

    fn end(&mut self, turn: Option<TurnId>, at: Range<u64>) {
        let Some(turn) = turn else { return };
        if self.progress.as_ref().is_some_and(|open| open.turn == turn) {
            self.progress = None;
        }
        self.ended.push_back((turn, at));
        if self.ended.len() > TURNS {
            self.ended.pop_front();
        }
    }

    /// What is known of a turn id.
    pub fn known(&self, turn: &TurnId) -> Known {
        if let Some((_, at)) = self.ended.iter().rev().find(|(id, _)| id == turn) {
            return Known::Ended(at.clone());
        }
        match &self.progress {
            Some(progress) if progress.turn == *turn => Known::Asked,
            _ => Known::Nothing,
        }
    }

    /// Goes back to the last entry of the turn that has no answer, leaving what a failed try said last.
    pub fn resume(&mut self) -> Option<Progress> {
        let progress = self.progress.clone()?;
        self.window.rewind(&progress.tail);
        Some(progress)
    }

    /// Id of the entry that the next one follows.
    pub fn leaf(&self) -> Option<&str> {
        self.window.leaf()
    }

    /// Bytes of memory that this session takes, roughly.
    pub fn weight(&self) -> usize {
        self.window.bytes() + self.ended.len() * OVERHEAD
    }
}

impl Settings {
    fn apply(&mut self, change: &Change) {
        let rows = [
            (&mut self.model, &change.model),
            (&mut self.verbose, &change.verbose),
            (&mut self.thinking, &change.thinking),
            (&mut self.usage, &change.usage),
        ];
        for (setting, change) in rows {
            if let Some(value) = change {
                *setting = Some(value.clone()).filter(|value| !value.is_empty());
            }
        }
    }
}

/// Entries on their way to the file, each the child of the one before.
pub struct Batch {
    pub bytes: Vec<u8>,
    /// Where in the file the batch begins.
    pub at: u64,
    end: u64,
    entries: Vec<(Entry, Range<u64>)>,
    leaf: Option<String>,
}

impl Batch {
    /// Begins after the leaf. The header goes first when there is no file yet.
    pub fn new(thread: &Thread) -> Self {
        let bytes = match thread.bytes {
            0 => thread.header.to_line(),
            _ => Vec::new(),
        };
        Self {
            end: thread.bytes + bytes.len() as u64,
            bytes,
            at: thread.bytes,
            entries: Vec::new(),
            leaf: thread.leaf().map(Into::into),
        }
    }

    /// Adds an entry of the moment `at_ms` under the name `id`.
    pub fn push(
        &mut self,
        id: String,
        at_ms: u64,
        origin: Origin,
        turn: Option<TurnId>,
        item: Item,
    ) {
        let entry = Entry {
            parent: self.leaf.replace(id.clone()),
            id,
            at_ms,
            origin,
            turn,
            item,
        };
        let start = self.end;
        self.bytes.extend(line::write(&entry));
        self.end = self.at + self.bytes.len() as u64;
        self.entries.push((entry, start..self.end));
    }

    /// The batch is in the file: the thread takes its entries.
    pub fn commit(self, thread: &mut Thread) {
        thread.bytes = self.end;
        for (entry, at) in self.entries {
            thread.apply(entry, at);
        }
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
pub mod tests;
