//! Who may run now: one turn at a time in each session, in the order of acceptance, and so many over all sessions.
//! Messages of one person in one chat may wait for quiet, share a turn, or be left out, as their rule says. No I/O and no
//! clock: the time is passed in. A session that waits is served before one that was served after it.

mod lane;

use std::collections::{BTreeSet, HashMap, VecDeque};

use clawdbot_identity::SessionKey;

use crate::queue::RowId;
use crate::rule::Mode;
pub use lane::{Entry, Join, Part};
use lane::{Lane, Place, Taken, Waiting};

/// The lanes of all sessions. A lane exists as long as something runs or waits in it.
pub struct Lanes {
    max: usize,
    running: usize,
    waiting: usize,
    lanes: HashMap<SessionKey, Lane>,
    /// Sessions that have something to run and run nothing, the one that has waited longest first.
    ready: VecDeque<SessionKey>,
    /// Sessions that wait for quiet, with the time at which they are ready, milliseconds since 1970.
    timed: BTreeSet<(u64, SessionKey)>,
}

/// What a new row changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Rows that come before it.
    pub ahead: usize,
    /// Rows that will never run, since too many wait; it may be one of them.
    pub dropped: Vec<RowId>,
    /// The running turn into which its text should be put. It waits all the same.
    pub steer: Option<RowId>,
    /// The running turn that should end.
    pub interrupt: Option<RowId>,
}

/// A turn that starts. It runs until [`Lanes::finish`] with its lead.
#[derive(Debug, PartialEq, Eq)]
pub struct Started {
    /// The session.
    pub key: SessionKey,
    /// The row whose turn it is.
    pub lead: RowId,
    /// All messages of the turn, the lead included, oldest first.
    pub parts: Vec<Part>,
    /// How they are put together, when they are more than one.
    pub join: Join,
}

/// What a stop found in a session.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// The turn that runs; it holds its lane until `finish`.
    pub running: Option<RowId>,
    /// What waited and will never run.
    pub dropped: Vec<RowId>,
}

impl Lanes {
    /// Lanes that run at most `max` turns at the same time; zero counts as one.
    pub fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            running: 0,
            waiting: 0,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            timed: BTreeSet::new(),
        }
    }

    /// Changes the limit. Turns that run are not ended.
    pub fn set_max(&mut self, max: usize) {
        self.max = max.max(1);
    }

    /// Puts a row in its session's lane, behind all rows that were accepted before it.
    pub fn push(&mut self, key: &SessionKey, entry: Entry) -> Pushed {
        let lane = self.lanes.entry(key.clone()).or_default();
        // Two acceptances may be heard of in another order than that of their rows.
        let row = entry.row;
        let at = lane.waiting.partition_point(|other| other.entry.row < row);
        let before = at.checked_sub(1).and_then(|i| lane.waiting.get(i));
        let behind = lane.running.is_some() || before.is_some_and(|w| w.behind);
        let ahead = at + usize::from(lane.running.is_some());
        let mine = lane
            .running
            .as_ref()
            .filter(|running| {
                let whose = entry.shares_with();
                whose.is_some() && running.speaker.as_ref() == whose
            })
            .map(|running| running.row);
        let rule = entry.rule;
        let waiting = Waiting {
            entry,
            behind,
            short: false,
        };
        lane.waiting.insert(at, waiting);
        self.waiting += 1;
        let dropped: Vec<_> = lane.trim(row, rule).into_iter().collect();
        self.waiting -= dropped.len();
        let mine = mine.filter(|_| !dropped.contains(&row));
        self.place(key);
        Pushed {
            ahead,
            dropped,
            steer: mine.filter(|_| rule.mode.steers()),
            interrupt: mine.filter(|_| rule.mode == Mode::Interrupt),
        }
    }

    /// The next turn that may start at `now_ms`, if any.
    pub fn start_next(&mut self, now_ms: u64) -> Option<Started> {
        while let Some((due, _)) = self.timed.first()
            && *due <= now_ms
            && let Some((_, key)) = self.timed.pop_first()
        {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.place = Place::Ready;
            }
            self.ready.push_back(key);
        }
        if self.running >= self.max {
            return None;
        }
        let key = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        lane.place = Place::Nowhere;
        let Taken {
            running,
            parts,
            join,
        } = lane.take()?;
        let lead = running.row;
        lane.running = Some(running);
        self.waiting -= parts.len();
        self.running += 1;
        Some(Started {
            key,
            lead,
            parts,
            join,
        })
    }

    /// When a session will be ready that now waits for quiet, milliseconds since 1970.
    pub fn wake_at(&self) -> Option<u64> {
        self.timed.first().map(|(due, _)| *due)
    }

    /// Says that a turn has ended, and with it the rows that it took in while it ran. A row that does not run is
    /// ignored.
    pub fn finish(&mut self, key: &SessionKey, row: RowId, absorbed: &[RowId]) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        if lane
            .running
            .as_ref()
            .is_none_or(|running| running.row != row)
        {
            return;
        }
        lane.running = None;
        self.running -= 1;
        let waiting = lane.waiting.len();
        lane.waiting.retain(|w| !absorbed.contains(&w.entry.row));
        self.waiting -= waiting - lane.waiting.len();
        self.place(key);
    }

    /// Empties a session: what waits is taken out, what runs is named.
    pub fn stop(&mut self, key: &SessionKey) -> Stopped {
        self.stop_those(key, |_| true)
    }

    /// Takes one row out of a session; the answer names it as running or dropped, or neither.
    pub fn stop_one(&mut self, key: &SessionKey, row: RowId) -> Stopped {
        self.stop_those(key, |other| other == row)
    }

    fn stop_those(&mut self, key: &SessionKey, meant: impl Fn(RowId) -> bool) -> Stopped {
        let Some(lane) = self.lanes.get_mut(key) else {
            return Stopped::default();
        };
        let running = lane.running.as_ref().map(|running| running.row);
        let mut dropped = Vec::new();
        lane.waiting.retain(|w| {
            let row = w.entry.row;
            let meant = meant(row);
            if meant {
                dropped.push(row);
            }
            !meant
        });
        self.waiting -= dropped.len();
        self.place(key);
        Stopped {
            running: running.filter(|row| meant(*row)),
            dropped,
        }
    }

    /// Puts a session where it belongs: among the ready, among those that wait for quiet, or nowhere. One that was
    /// ready stays so while it has anything to run.
    fn place(&mut self, key: &SessionKey) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        let next = match (&lane.running, lane.waiting.is_empty()) {
            (Some(_), _) | (None, true) => Place::Nowhere,
            (None, false) if lane.place == Place::Ready => Place::Ready,
            (None, false) => match lane.due() {
                0 => Place::Ready,
                due => Place::Timed(due),
            },
        };
        let before = std::mem::replace(&mut lane.place, next);
        let empty = lane.running.is_none() && lane.waiting.is_empty();
        if before != next {
            match before {
                Place::Nowhere => {}
                Place::Ready => self.ready.retain(|other| other != key),
                Place::Timed(due) => drop(self.timed.remove(&(due, key.clone()))),
            }
            match next {
                Place::Nowhere => {}
                Place::Ready => self.ready.push_back(key.clone()),
                Place::Timed(due) => drop(self.timed.insert((due, key.clone()))),
            }
        }
        if empty {
            self.lanes.remove(key);
        }
    }

    /// How many rows of the session come before `row`.
    pub fn ahead(&self, key: &SessionKey, row: RowId) -> usize {
        self.lanes.get(key).map_or(0, |lane| {
            let before = |w: &&Waiting| w.entry.row < row;
            let waiting = lane.waiting.iter().filter(before).count();
            let running = lane.running.as_ref();
            waiting + usize::from(running.is_some_and(|running| running.row != row))
        })
    }

    /// Whether this row's turn runs.
    pub fn is_running(&self, key: &SessionKey, row: RowId) -> bool {
        let lane = self.lanes.get(key).and_then(|lane| lane.running.as_ref());
        lane.is_some_and(|running| running.row == row)
    }

    /// Turns that run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Rows that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests;
