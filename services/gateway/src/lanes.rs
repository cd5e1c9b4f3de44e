//! Who may run now: one turn at a time in each session, in the order of acceptance, and so many over all sessions.
//! No I/O and no clock; a session that waits is served before one that was served after it.

use std::collections::{HashMap, VecDeque};

use clawdbot_identity::SessionKey;

use crate::queue::RowId;

/// The lanes of all sessions. A lane exists as long as something runs or waits in it.
pub struct Lanes {
    max: usize,
    running: usize,
    waiting: usize,
    lanes: HashMap<SessionKey, Lane>,
    /// Sessions that have something to run and run nothing, the one that has waited longest first.
    ready: VecDeque<SessionKey>,
}

#[derive(Default)]
struct Lane {
    running: Option<RowId>,
    waiting: VecDeque<RowId>,
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
        }
    }

    /// Changes the limit. Turns that run are not ended.
    pub fn set_max(&mut self, max: usize) {
        self.max = max.max(1);
    }

    /// Puts a row in its session's lane, behind all rows that were accepted before it. Returns how many are ahead.
    pub fn push(&mut self, key: &SessionKey, row: RowId) -> usize {
        let lane = self.lanes.entry(key.clone()).or_default();
        // Two acceptances may be heard of in another order than that of their rows.
        let at = lane.waiting.partition_point(|other| *other < row);
        lane.waiting.insert(at, row);
        self.waiting += 1;
        if lane.running.is_none() && lane.waiting.len() == 1 {
            self.ready.push_back(key.clone());
        }
        at + usize::from(lane.running.is_some())
    }

    /// The next turn that may start now, if any. It runs until `finish`.
    pub fn start_next(&mut self) -> Option<(SessionKey, RowId)> {
        if self.running >= self.max {
            return None;
        }
        let key = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        let row = lane.waiting.pop_front()?;
        lane.running = Some(row);
        self.waiting -= 1;
        self.running += 1;
        Some((key, row))
    }

    /// Says that a turn has ended. A row that does not run is ignored.
    pub fn finish(&mut self, key: &SessionKey, row: RowId) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        if lane.running != Some(row) {
            return;
        }
        lane.running = None;
        self.running -= 1;
        match lane.waiting.is_empty() {
            true => drop(self.lanes.remove(key)),
            false => self.ready.push_back(key.clone()),
        }
    }

    /// Empties a session: what waits is taken out, what runs is named.
    pub fn stop(&mut self, key: &SessionKey) -> Stopped {
        let Some(lane) = self.lanes.get_mut(key) else {
            return Stopped::default();
        };
        let stopped = Stopped {
            running: lane.running,
            dropped: lane.waiting.drain(..).collect(),
        };
        self.waiting -= stopped.dropped.len();
        if stopped.running.is_none() {
            self.lanes.remove(key);
            self.ready.retain(|other| other != key);
        }
        stopped
    }

    /// Takes one row out of a session; the answer names it as running or dropped, or neither.
    pub fn stop_one(&mut self, key: &SessionKey, row: RowId) -> Stopped {
        let Some(lane) = self.lanes.get_mut(key) else {
            return Stopped::default();
        };
        if lane.running == Some(row) {
            return Stopped {
                running: Some(row),
                dropped: Vec::new(),
            };
        }
        let Some(at) = lane.waiting.iter().position(|other| *other == row) else {
            return Stopped::default();
        };
        lane.waiting.remove(at);
        self.waiting -= 1;
        if lane.waiting.is_empty() && lane.running.is_none() {
            self.lanes.remove(key);
            self.ready.retain(|other| other != key);
        }
        Stopped {
            running: None,
            dropped: vec![row],
        }
    }

    /// How many rows of the session come before `row`.
    pub fn ahead(&self, key: &SessionKey, row: RowId) -> usize {
        self.lanes.get(key).map_or(0, |lane| {
            let waiting = lane.waiting.iter().filter(|other| **other < row).count();
            waiting + usize::from(lane.running.is_some_and(|running| running != row))
        })
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
mod tests {
    use super::*;

    fn key(name: &str) -> SessionKey {
        SessionKey::parse(&format!("agent:main:{name}")).unwrap()
    }

    fn all_that_may_start(lanes: &mut Lanes) -> Vec<(String, i64)> {
        std::iter::from_fn(|| lanes.start_next())
            .map(|(key, row)| (key.rest().to_owned(), row.0))
            .collect()
    }

    #[test]
    fn a_session_runs_one_turn_at_a_time_in_order() {
        let mut lanes = Lanes::new(4);
        let a = key("a");
        assert_eq!(lanes.push(&a, RowId(1)), 0);
        assert_eq!(lanes.push(&a, RowId(2)), 1);
        assert_eq!(all_that_may_start(&mut lanes), [("a".into(), 1)]);
        assert_eq!(lanes.push(&a, RowId(3)), 2);
        lanes.finish(&a, RowId(1));
        assert_eq!(all_that_may_start(&mut lanes), [("a".into(), 2)]);
        lanes.finish(&a, RowId(2));
        assert_eq!(all_that_may_start(&mut lanes), [("a".into(), 3)]);
        lanes.finish(&a, RowId(3));
        assert_eq!((lanes.running(), lanes.waiting()), (0, 0));
        assert!(lanes.lanes.is_empty());
    }

    #[test]
    fn rows_heard_of_out_of_order_still_run_in_order() {
        let mut lanes = Lanes::new(1);
        let a = key("a");
        lanes.push(&a, RowId(2));
        assert_eq!(lanes.push(&a, RowId(1)), 0);
        assert_eq!(lanes.ahead(&a, RowId(2)), 1);
        assert_eq!(all_that_may_start(&mut lanes), [("a".into(), 1)]);
    }

    #[test]
    fn the_limit_holds_over_all_sessions_and_can_be_changed() {
        let mut lanes = Lanes::new(2);
        for (row, name) in ["a", "b", "c", "d"].iter().enumerate() {
            lanes.push(&key(name), RowId(row as i64));
        }
        assert_eq!(all_that_may_start(&mut lanes).len(), 2);
        lanes.set_max(3);
        assert_eq!(all_that_may_start(&mut lanes), [("c".into(), 2)]);
        lanes.set_max(0);
        for (row, name) in ["a", "b"].iter().enumerate() {
            lanes.finish(&key(name), RowId(row as i64));
            assert_eq!(all_that_may_start(&mut lanes), []);
        }
        lanes.finish(&key("c"), RowId(2));
        assert_eq!(all_that_may_start(&mut lanes), [("d".into(), 3)]);
    }

    #[test]
    fn a_busy_session_does_not_starve_the_others() {
        let mut lanes = Lanes::new(1);
        for row in 0..5 {
            lanes.push(&key("busy"), RowId(row));
        }
        lanes.push(&key("quiet"), RowId(5));
        assert_eq!(all_that_may_start(&mut lanes), [("busy".into(), 0)]);
        lanes.finish(&key("busy"), RowId(0));
        assert_eq!(all_that_may_start(&mut lanes), [("quiet".into(), 5)]);
    }

    #[test]
    fn a_stop_drops_what_waits_and_names_what_runs() {
        let mut lanes = Lanes::new(1);
        let (a, b) = (key("a"), key("b"));
        for row in 0..3 {
            lanes.push(&a, RowId(row));
        }
        lanes.push(&b, RowId(3));
        lanes.start_next();
        let stopped = lanes.stop(&a);
        assert_eq!(stopped.running, Some(RowId(0)));
        assert_eq!(stopped.dropped, [RowId(1), RowId(2)]);
        assert_eq!(
            lanes.stop(&b),
            Stopped {
                running: None,
                dropped: vec![RowId(3)]
            }
        );
        assert_eq!(lanes.stop(&key("none")), Stopped::default());
        lanes.finish(&a, RowId(0));
        assert!(lanes.lanes.is_empty() && lanes.ready.is_empty());
        lanes.push(&b, RowId(4));
        assert_eq!(all_that_may_start(&mut lanes), [("b".into(), 4)]);
    }

    #[test]
    fn one_row_can_be_stopped_and_the_others_stay() {
        let mut lanes = Lanes::new(1);
        let a = key("a");
        for row in 0..3 {
            lanes.push(&a, RowId(row));
        }
        lanes.start_next();
        assert_eq!(lanes.stop_one(&a, RowId(0)).running, Some(RowId(0)));
        assert_eq!(lanes.stop_one(&a, RowId(1)).dropped, [RowId(1)]);
        assert_eq!(lanes.stop_one(&a, RowId(9)), Stopped::default());
        lanes.finish(&a, RowId(0));
        assert_eq!(all_that_may_start(&mut lanes), [("a".into(), 2)]);
    }

    /// Whatever is done in whatever order: each row runs once or is dropped, in order, within both limits.
    #[test]
    fn no_order_of_events_breaks_the_promises() {
        // xorshift: the same walks every time.
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        for walk in 0..200 {
            let mut max = 1 + random(4);
            let mut lanes = Lanes::new(max);
            let keys: Vec<_> = (0..5).map(|n| key(&format!("s{n}"))).collect();
            let mut running: Vec<(SessionKey, RowId)> = Vec::new();
            let mut last: HashMap<SessionKey, RowId> = HashMap::new();
            let (mut pushed, mut ran, mut dropped) = (0, 0, 0);
            for _ in 0..300 {
                match random(10) {
                    0..=4 => {
                        lanes.push(&keys[random(5)], RowId(pushed));
                        pushed += 1;
                    }
                    5..=7 if !running.is_empty() => {
                        let (key, row) = running.swap_remove(random(running.len()));
                        lanes.finish(&key, row);
                        lanes.finish(&key, row);
                    }
                    8 if random(5) == 0 => dropped += lanes.stop(&keys[random(5)]).dropped.len(),
                    9 if random(5) == 0 => {
                        max = 1 + random(4);
                        lanes.set_max(max);
                    }
                    _ => {}
                }
                while let Some((key, row)) = lanes.start_next() {
                    assert!(
                        running.iter().all(|(other, _)| *other != key),
                        "walk {walk}"
                    );
                    assert!(
                        last.insert(key.clone(), row)
                            .is_none_or(|before| before < row),
                        "walk {walk}"
                    );
                    running.push((key, row));
                    ran += 1;
                    assert!(running.len() <= max, "walk {walk}");
                }
                assert_eq!(lanes.running(), running.len());
                assert_eq!(lanes.waiting(), pushed as usize - ran - dropped);
            }
            while let Some((key, row)) = running.pop() {
                lanes.finish(&key, row);
                while let Some(next) = lanes.start_next() {
                    running.push(next);
                    ran += 1;
                }
            }
            assert_eq!(ran + dropped, pushed as usize, "walk {walk}");
            assert!(
                lanes.lanes.is_empty() && lanes.ready.is_empty(),
                "walk {walk}"
            );
        }
    }
}
