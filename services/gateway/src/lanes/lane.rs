//! One session's lane: which messages make the next turn, when it may start, and what goes when too many wait.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::queue::RowId;
use crate::rule::{Mode, Overflow, Rule};

/// How often the quiet time may begin anew because one more message came.
const PATIENCE: u64 = 4;

/// A row that asks for its turn.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The row.
    pub row: RowId,
    /// What it does while a turn of its conversation runs.
    pub rule: Rule,
    /// When it came, milliseconds since 1970.
    pub arrived_ms: u64,
    /// Who spoke in which chat: what another one said never shares a turn with it, since a turn has the rights of one.
    /// `None` where nothing is ever left out or put together.
    pub speaker: Option<Arc<str>>,
    /// It has a turn for itself, such as a command.
    pub alone: bool,
}

impl Entry {
    /// A row that just follows what came before it.
    pub fn plain(row: RowId) -> Self {
        Self {
            row,
            rule: Rule::FOLLOWUP,
            arrived_ms: 0,
            speaker: None,
            alone: true,
        }
    }
}

/// What runs and waits in one session.
#[derive(Default)]
pub struct Lane {
    /// The turn that runs.
    pub running: Option<Running>,
    /// What waits, in the order of acceptance.
    pub waiting: VecDeque<Waiting>,
    /// Where the session is among the others.
    pub place: Place,
}

/// A turn that runs.
pub struct Running {
    /// Its lead.
    pub row: RowId,
    /// Whose it is.
    pub speaker: Option<Arc<str>>,
}

/// A row that waits.
pub struct Waiting {
    /// The row and its rule.
    pub entry: Entry,
    /// It came while a turn ran, or behind one that did.
    pub behind: bool,
    /// Too much waits: only a line of it goes into the next turn.
    pub short: bool,
}

/// Where a session is among the others.
#[derive(Default, Clone, Copy, PartialEq)]
pub enum Place {
    /// It runs a turn, or has none to run.
    #[default]
    Nowhere,
    /// It may run.
    Ready,
    /// It waits for quiet until then, milliseconds.
    Timed(u64),
}

/// The messages of the next turn.
pub struct Taken {
    /// The turn.
    pub running: Running,
    /// Its messages, oldest first.
    pub parts: Vec<Part>,
    /// How they are put together.
    pub join: Join,
}

/// How the texts of one turn are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// One sender wrote them in one breath: line after line.
    Lines,
    /// As a list of what came while a turn ran.
    List,
}

/// One message of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its row.
    pub row: RowId,
    /// Only a line of it is given.
    pub short: bool,
}

impl Lane {
    /// Where the next turn's first whole message is; those before it are short ones.
    fn head(&self) -> usize {
        let whole = self.waiting.iter().position(|w| !w.short);
        whole.unwrap_or(0)
    }

    /// Messages from `head` on that could share its turn.
    fn company(&self, head: usize) -> impl Iterator<Item = &Waiting> {
        let first = self.waiting.get(head);
        let whose = first.and_then(|w| w.entry.shares_with());
        let rest = self.waiting.iter().skip(head);
        rest.take_while(move |w| whose.is_some() && w.entry.shares_with() == whose)
    }

    /// How many of them were written in one breath.
    fn breath(&self, head: usize) -> usize {
        let mut last: Option<&Entry> = None;
        self.company(head)
            .take_while(|w| {
                let next = &w.entry;
                let gap = next.rule.inbound_debounce_ms;
                last.replace(next)
                    .is_none_or(|last| next.arrived_ms.saturating_sub(last.arrived_ms) < gap)
            })
            .count()
    }

    /// When the next turn may start, if nothing runs; zero for at once.
    pub fn due(&self) -> u64 {
        let at = self.head();
        let Some(head) = self.waiting.get(at) else {
            return 0;
        };
        let Some(last) = self.company(at).last() else {
            return 0;
        };
        let rule = head.entry.rule;
        let quiet = match head.behind && rule.mode != Mode::Interrupt {
            true => rule.debounce_ms,
            false => 0,
        };
        let breath = match rule.inbound_debounce_ms {
            0 => 0,
            gap => self
                .company(at)
                .nth(self.breath(at).saturating_sub(1))
                .map_or(0, |w| w.entry.arrived_ms + gap),
        };
        let quiet_at = match quiet {
            0 => 0,
            quiet => last.entry.arrived_ms + quiet,
        };
        let longest = PATIENCE * quiet.max(rule.inbound_debounce_ms);
        breath.max(quiet_at).min(head.entry.arrived_ms + longest)
    }

    /// Takes the next turn's messages out.
    pub fn take(&mut self) -> Option<Taken> {
        let at = self.head();
        let head = &self.waiting.get(at)?.entry;
        let (lead, speaker) = (head.row, head.speaker.clone());
        let whose = head.shares_with();
        let breath = self.breath(at);
        let count = match (whose.is_some(), head.rule.mode.joins()) {
            (false, _) => 1,
            (true, true) => self.company(at).count(),
            (true, false) => breath,
        };
        let shorts = |i: &usize| {
            let short = self.waiting.get(*i);
            whose.is_some() && short.is_some_and(|w| w.entry.shares_with() == whose)
        };
        let picked: Vec<usize> = (0..at).filter(shorts).chain(at..at + count).collect();
        let join = match picked.len() == breath {
            true => Join::Lines,
            false => Join::List,
        };
        let mut parts: Vec<Part> = picked
            .into_iter()
            .rev()
            .filter_map(|i| self.waiting.remove(i))
            .map(|w| Part {
                row: w.entry.row,
                short: w.short,
            })
            .collect();
        parts.reverse();
        Some(Taken {
            running: Running { row: lead, speaker },
            parts,
            join,
        })
    }

    /// Who has the most whole messages here, of several the one whose oldest came first.
    fn loudest(&self) -> Option<Arc<str>> {
        let mut all: Vec<(&Arc<str>, usize)> = Vec::new();
        let whole = self.waiting.iter().filter(|w| !w.short);
        for whose in whole.filter_map(|w| w.entry.shares_with()) {
            match all.iter_mut().find(|(known, _)| *known == whose) {
                Some((_, count)) => *count += 1,
                None => all.push((whose, 1)),
            }
        }
        let most = all.into_iter().rev().max_by_key(|(_, count)| *count);
        most.map(|(whose, _)| Arc::clone(whose))
    }

    /// Leaves out what is too much; a short one counts no more, but of them, too, there are only so many. What is old goes
    /// from who has the most, so that nobody shortens what another one says by writing many.
    pub fn trim(&mut self, pushed: RowId, rule: Rule) -> Option<RowId> {
        let counts = |w: &&Waiting| !w.short && w.entry.speaker.is_some();
        if self.waiting.iter().filter(counts).count() <= rule.cap {
            return None;
        }
        let whose = self.loudest();
        let oldest = self
            .waiting
            .iter_mut()
            .find(|w| !w.short && whose.is_some() && w.entry.shares_with() == whose.as_ref());
        let victim = match (rule.drop, oldest) {
            (Overflow::New, _) | (_, None) => pushed,
            (Overflow::Old, Some(oldest)) => oldest.entry.row,
            (Overflow::Summarize, Some(oldest)) => {
                oldest.short = true;
                let mut shorts = self.waiting.iter().filter(|w| w.short);
                let first = shorts.next()?.entry.row;
                match shorts.count() < rule.cap {
                    true => return None,
                    false => first,
                }
            }
        };
        self.waiting.retain(|w| w.entry.row != victim);
        Some(victim)
    }
}

impl Entry {
    /// Whose messages may be in one turn with it.
    pub fn shares_with(&self) -> Option<&Arc<str>> {
        self.speaker.as_ref().filter(|_| !self.alone)
    }
}
