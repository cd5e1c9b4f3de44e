//! The promises of the lanes, one by one and on random walks.

use std::sync::Arc;

use super::*;
use crate::rule::{Overflow, Rule};

fn key(name: &str) -> SessionKey {
    SessionKey::parse(&format!("agent:main:{name}")).unwrap()
}

fn push(lanes: &mut Lanes, key: &SessionKey, row: i64) -> usize {
    lanes.push(key, Entry::plain(RowId(row))).ahead
}

fn all_that_may_start(lanes: &mut Lanes) -> Vec<(String, i64)> {
    std::iter::from_fn(|| lanes.start_next(0))
        .map(|turn| (turn.key.rest().to_owned(), turn.lead.0))
        .collect()
}

const CHAT: Rule = Rule {
    mode: Mode::Collect,
    debounce_ms: 1000,
    inbound_debounce_ms: 0,
    cap: 3,
    drop: Overflow::Summarize,
};

fn from_chat(row: i64, at: u64, rule: Rule) -> Entry {
    Entry {
        row: RowId(row),
        rule,
        arrived_ms: at,
        speaker: Some("ann in the chat".into()),
        alone: false,
    }
}

fn of_another(row: i64, at: u64, rule: Rule) -> Entry {
    Entry {
        speaker: Some("bob in the chat".into()),
        ..from_chat(row, at, rule)
    }
}

/// The rows of a turn, those of which only a line is given with a minus.
fn rows(started: Option<Started>) -> Vec<i64> {
    let parts = started.map(|turn| turn.parts).unwrap_or_default();
    let row = |part: Part| if part.short { -part.row.0 } else { part.row.0 };
    parts.into_iter().map(row).collect()
}

#[test]
fn a_session_runs_one_turn_at_a_time_in_order() {
    let mut lanes = Lanes::new(4);
    let a = key("a");
    assert_eq!(push(&mut lanes, &a, 1), 0);
    assert_eq!(push(&mut lanes, &a, 2), 1);
    assert_eq!(all_that_may_start(&mut lanes), [("a".into(), 1)]);
    assert_eq!(push(&mut lanes, &a, 3), 2);
    lanes.finish(&a, RowId(1), &[]);
    assert_eq!(all_that_may_start(&mut lanes), [("a".into(), 2)]);
    lanes.finish(&a, RowId(2), &[]);
    assert_eq!(all_that_may_start(&mut lanes), [("a".into(), 3)]);
    lanes.finish(&a, RowId(3), &[]);
    assert_eq!((lanes.running(), lanes.waiting()), (0, 0));
    assert!(lanes.lanes.is_empty());
}

#[test]
fn rows_heard_of_out_of_order_still_run_in_order() {
    let mut lanes = Lanes::new(1);
    let a = key("a");
    push(&mut lanes, &a, 2);
    assert_eq!(push(&mut lanes, &a, 1), 0);
    assert_eq!(lanes.ahead(&a, RowId(2)), 1);
    assert_eq!(all_that_may_start(&mut lanes), [("a".into(), 1)]);
}

#[test]
fn the_limit_holds_over_all_sessions_and_can_be_changed() {
    let mut lanes = Lanes::new(2);
    for (row, name) in ["a", "b", "c", "d"].iter().enumerate() {
        push(&mut lanes, &key(name), row as i64);
    }
    assert_eq!(all_that_may_start(&mut lanes).len(), 2);
    lanes.set_max(3);
    assert_eq!(all_that_may_start(&mut lanes), [("c".into(), 2)]);
    lanes.set_max(0);
    for (row, name) in ["a", "b"].iter().enumerate() {
        lanes.finish(&key(name), RowId(row as i64), &[]);
        assert_eq!(all_that_may_start(&mut lanes), []);
    }
    lanes.finish(&key("c"), RowId(2), &[]);
    assert_eq!(all_that_may_start(&mut lanes), [("d".into(), 3)]);
}

#[test]
fn a_busy_session_does_not_starve_the_others() {
    let mut lanes = Lanes::new(1);
    for row in 0..5 {
        push(&mut lanes, &key("busy"), row);
    }
    push(&mut lanes, &key("quiet"), 5);
    assert_eq!(all_that_may_start(&mut lanes), [("busy".into(), 0)]);
    lanes.finish(&key("busy"), RowId(0), &[]);
    assert_eq!(all_that_may_start(&mut lanes), [("quiet".into(), 5)]);
}

#[test]
fn a_stop_drops_what_waits_and_names_what_runs() {
    let mut lanes = Lanes::new(1);
    let (a, b) = (key("a"), key("b"));
    for row in 0..3 {
        push(&mut lanes, &a, row);
    }
    push(&mut lanes, &b, 3);
    lanes.start_next(0);
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
    lanes.finish(&a, RowId(0), &[]);
    assert!(lanes.lanes.is_empty() && lanes.ready.is_empty());
    push(&mut lanes, &b, 4);
    assert_eq!(all_that_may_start(&mut lanes), [("b".into(), 4)]);
}

#[test]
fn one_row_can_be_stopped_and_the_others_stay() {
    let mut lanes = Lanes::new(1);
    let a = key("a");
    for row in 0..3 {
        push(&mut lanes, &a, row);
    }
    lanes.start_next(0);
    assert_eq!(lanes.stop_one(&a, RowId(0)).running, Some(RowId(0)));
    assert_eq!(lanes.stop_one(&a, RowId(1)).dropped, [RowId(1)]);
    assert_eq!(lanes.stop_one(&a, RowId(9)), Stopped::default());
    lanes.finish(&a, RowId(0), &[]);
    assert_eq!(all_that_may_start(&mut lanes), [("a".into(), 2)]);
}

#[test]
fn collect_takes_what_waits_together_after_the_quiet_time_and_not_before() {
    let mut lanes = Lanes::new(4);
    let a = key("a");
    lanes.push(&a, from_chat(1, 100, CHAT));
    assert_eq!(rows(lanes.start_next(100)), [1], "the first runs at once");
    lanes.push(&a, from_chat(2, 200, CHAT));
    lanes.push(&a, from_chat(3, 900, CHAT));
    assert_eq!(lanes.wake_at(), None, "nothing is due while a turn runs");
    lanes.finish(&a, RowId(1), &[]);
    assert_eq!(lanes.wake_at(), Some(1900));
    assert!(rows(lanes.start_next(1899)).is_empty());
    lanes.push(&a, from_chat(4, 1899, CHAT));
    assert!(rows(lanes.start_next(2898)).is_empty());
    let turn = lanes.start_next(2899).unwrap();
    assert_eq!((turn.lead, turn.join), (RowId(2), Join::List));
    assert_eq!(rows(Some(turn)), [2, 3, 4]);
    assert_eq!((lanes.waiting(), lanes.running()), (0, 1));
}

#[test]
fn a_chatterer_cannot_put_off_the_turn_for_ever() {
    let mut lanes = Lanes::new(4);
    let a = key("a");
    let rule = Rule { cap: 100, ..CHAT };
    lanes.push(&a, from_chat(0, 0, rule));
    lanes.start_next(0);
    lanes.push(&a, from_chat(1, 1, rule));
    lanes.finish(&a, RowId(0), &[]);
    for n in 2..50 {
        lanes.push(&a, from_chat(n, n as u64 * 500, rule));
    }
    assert_eq!(lanes.wake_at(), Some(4001));
}

#[test]
fn followup_takes_one_after_another_and_one_breath_together() {
    let rule = Rule {
        mode: Mode::Followup,
        debounce_ms: 0,
        inbound_debounce_ms: 50,
        ..CHAT
    };
    let mut lanes = Lanes::new(4);
    let a = key("a");
    lanes.push(&a, from_chat(1, 100, rule));
    assert!(rows(lanes.start_next(149)).is_empty());
    lanes.push(&a, from_chat(2, 149, rule));
    lanes.push(&a, of_another(3, 160, rule));
    assert_eq!(lanes.wake_at(), Some(199));
    let turn = lanes.start_next(199).unwrap();
    assert_eq!(turn.join, Join::Lines);
    assert_eq!(rows(Some(turn)), [1, 2]);
    lanes.finish(&a, RowId(1), &[]);
    assert_eq!(rows(lanes.start_next(210)), [3]);
}

#[test]
fn what_came_from_somebody_else_or_stands_alone_shares_no_turn() {
    let mut lanes = Lanes::new(4);
    let a = key("a");
    push(&mut lanes, &a, 1);
    lanes.start_next(0);
    let rule = Rule {
        debounce_ms: 0,
        cap: 9,
        ..CHAT
    };
    lanes.push(&a, from_chat(2, 0, rule));
    lanes.push(&a, of_another(3, 0, rule));
    push(&mut lanes, &a, 4);
    lanes.push(&a, from_chat(5, 0, rule));
    lanes.push(&a, from_chat(6, 0, rule));
    let command = Entry {
        alone: true,
        ..from_chat(7, 0, rule)
    };
    lanes.push(&a, command);
    lanes.push(&a, from_chat(8, 0, rule));
    let mut before = 1;
    for expected in [&[2][..], &[3], &[4], &[5, 6], &[7], &[8]] {
        lanes.finish(&a, RowId(before), &[]);
        assert_eq!(rows(lanes.start_next(0)), expected);
        before = expected[0];
    }
}

#[test]
fn too_many_are_left_out_as_the_rule_says() {
    let run = |drop: Overflow| {
        let rule = Rule {
            drop,
            debounce_ms: 0,
            ..CHAT
        };
        let mut lanes = Lanes::new(1);
        let a = key("a");
        lanes.push(&a, from_chat(0, 0, rule));
        lanes.start_next(0);
        let mut gone = Vec::new();
        for n in 1..=8 {
            gone.extend(lanes.push(&a, from_chat(n, 0, rule)).dropped);
        }
        lanes.finish(&a, RowId(0), &[]);
        let gone: Vec<_> = gone.into_iter().map(|row| row.0).collect();
        (gone, rows(lanes.start_next(0)))
    };
    assert_eq!(run(Overflow::New), (vec![4, 5, 6, 7, 8], vec![1, 2, 3]));
    assert_eq!(run(Overflow::Old), (vec![1, 2, 3, 4, 5], vec![6, 7, 8]));
    assert_eq!(
        run(Overflow::Summarize),
        (vec![1, 2], vec![-3, -4, -5, 6, 7, 8])
    );
}

#[test]
fn a_message_is_steered_into_a_turn_of_its_own_sender_only_and_runs_if_that_did_not_take_it() {
    let steer = Rule {
        mode: Mode::Steer,
        debounce_ms: 0,
        ..CHAT
    };
    let mut lanes = Lanes::new(4);
    let a = key("a");
    assert_eq!(lanes.push(&a, from_chat(1, 0, steer)).steer, None);
    lanes.start_next(0);
    for row in [2, 3] {
        assert_eq!(
            lanes.push(&a, from_chat(row, 0, steer)).steer,
            Some(RowId(1))
        );
    }
    assert_eq!(lanes.push(&a, of_another(4, 0, steer)).steer, None);
    lanes.finish(&a, RowId(1), &[RowId(2)]);
    assert_eq!(rows(lanes.start_next(0)), [3]);
    assert_eq!(lanes.waiting(), 1);
}

#[test]
fn interrupt_names_the_turn_to_end_and_takes_what_waits_at_once() {
    let rule = Rule {
        mode: Mode::Interrupt,
        ..CHAT
    };
    let mut lanes = Lanes::new(4);
    let a = key("a");
    assert_eq!(lanes.push(&a, from_chat(1, 0, rule)).interrupt, None);
    lanes.start_next(0);
    for row in [2, 3] {
        assert_eq!(
            lanes.push(&a, from_chat(row, 5, rule)).interrupt,
            Some(RowId(1))
        );
    }
    let other = lanes.push(&a, of_another(4, 5, rule));
    assert_eq!(other.interrupt, None, "nobody ends what another one asked");
    lanes.finish(&a, RowId(1), &[]);
    assert_eq!(rows(lanes.start_next(5)), [2, 3]);
}

#[test]
fn what_is_left_of_too_many_goes_with_its_own_senders_next_message_only() {
    let rule = Rule {
        debounce_ms: 0,
        ..CHAT
    };
    let mut lanes = Lanes::new(1);
    let a = key("a");
    lanes.push(&a, from_chat(0, 0, rule));
    lanes.start_next(0);
    let mut gone = Vec::new();
    for row in 1..5 {
        gone.extend(lanes.push(&a, of_another(row, 0, rule)).dropped);
    }
    for row in 5..8 {
        gone.extend(lanes.push(&a, from_chat(row, 0, rule)).dropped);
    }
    assert_eq!(gone, [RowId(1)]);
    for (before, expected) in [(0, [-2, -3, 4]), (4, [-5, 6, 7])] {
        lanes.finish(&a, RowId(before), &[]);
        assert_eq!(rows(lanes.start_next(0)), expected);
    }
}

#[test]
fn nobody_shortens_what_another_one_says_by_writing_many() {
    for drop in [Overflow::Summarize, Overflow::Old] {
        let rule = Rule {
            drop,
            debounce_ms: 0,
            ..CHAT
        };
        let mut lanes = Lanes::new(1);
        let a = key("a");
        lanes.push(&a, from_chat(0, 0, rule));
        lanes.start_next(0);
        lanes.push(&a, from_chat(1, 0, rule));
        let mut gone = 0;
        for row in 2..20 {
            gone += lanes.push(&a, of_another(row, 0, rule)).dropped.len();
        }
        assert!(gone > 10);
        lanes.finish(&a, RowId(0), &[]);
        assert_eq!(rows(lanes.start_next(0)), [1]);
    }
}

/// xorshift: the same walks every time.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    fn rule(&mut self) -> Rule {
        let modes = [
            Mode::Collect,
            Mode::Followup,
            Mode::Steer,
            Mode::SteerBacklog,
            Mode::Interrupt,
        ];
        Rule {
            mode: modes[self.below(5)],
            debounce_ms: self.below(3) as u64 * 10,
            inbound_debounce_ms: self.below(3) as u64 * 5,
            cap: 1 + self.below(5),
            drop: [Overflow::Summarize, Overflow::Old, Overflow::New][self.below(3)],
        }
    }
}

/// Whatever is done in whatever order: each row runs once, is absorbed or is dropped, in order, within both limits, and
/// nothing that waits for quiet is forgotten.
#[test]
fn no_order_of_events_breaks_the_promises() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for walk in 0..300 {
        let mut max = 1 + random.below(4);
        let mut lanes = Lanes::new(max);
        let keys: Vec<_> = (0..5).map(|n| key(&format!("s{n}"))).collect();
        let rules: Vec<_> = (0..5).map(|_| random.rule()).collect();
        let mut running: Vec<(SessionKey, RowId)> = Vec::new();
        let mut waiting: HashMap<SessionKey, BTreeSet<RowId>> = HashMap::new();
        let mut last: HashMap<SessionKey, RowId> = HashMap::new();
        let mut speakers: Vec<Option<Arc<str>>> = Vec::new();
        let (mut pushed, mut ended, mut now) = (0_i64, 0_usize, 0_u64);
        for step in 0..400 {
            let of = random.below(5);
            match random.below(10) {
                // At the end all that is left runs out.
                0..=4 if step < 300 => {
                    let row = RowId(pushed);
                    let entry = match random.below(4) {
                        0 => Entry::plain(row),
                        n => Entry {
                            speaker: Some(["ann", "bob", "cyd"][random.below(3)].into()),
                            alone: n == 1 && random.below(3) == 0,
                            ..from_chat(row.0, now, rules[of])
                        },
                    };
                    let plain = entry.speaker.is_none();
                    speakers.push(entry.speaker.clone());
                    let change = lanes.push(&keys[of], entry);
                    let here = waiting.entry(keys[of].clone()).or_default();
                    here.insert(row);
                    pushed += 1;
                    for gone in &change.dropped {
                        assert!(here.remove(gone), "walk {walk}");
                        ended += 1;
                    }
                    assert!(!plain || change.dropped.is_empty(), "walk {walk}");
                    for turn in [change.steer, change.interrupt].into_iter().flatten() {
                        let whose = |row: RowId| &speakers[row.0 as usize];
                        assert_eq!(whose(turn), whose(row), "walk {walk}");
                        assert!(running.contains(&(keys[of].clone(), turn)), "walk {walk}");
                    }
                }
                5..=7 if !running.is_empty() => {
                    let (key, row) = running.swap_remove(random.below(running.len()));
                    let here = waiting.entry(key.clone()).or_default();
                    let absorbed: Vec<_> = match random.below(4) {
                        0 => here.pop_first().into_iter().collect(),
                        _ => Vec::new(),
                    };
                    ended += absorbed.len();
                    lanes.finish(&key, row, &absorbed);
                    lanes.finish(&key, row, &[]);
                }
                8 if random.below(5) == 0 => {
                    let gone = lanes.stop(&keys[of]).dropped;
                    let here = waiting.entry(keys[of].clone()).or_default();
                    assert_eq!(here.len(), gone.len(), "walk {walk}");
                    here.clear();
                    ended += gone.len();
                }
                9 if random.below(5) == 0 => {
                    max = 1 + random.below(4);
                    lanes.set_max(max);
                }
                _ => now += random.below(8) as u64,
            }
            if let Some(at) = lanes.wake_at().filter(|_| step >= 300) {
                now = now.max(at);
            }
            while let Some(turn) = lanes.start_next(now) {
                assert!(
                    running.iter().all(|(other, _)| *other != turn.key),
                    "walk {walk}"
                );
                let here = waiting.entry(turn.key.clone()).or_default();
                for part in &turn.parts {
                    let whose = |row: RowId| &speakers[row.0 as usize];
                    assert_eq!(whose(part.row), whose(turn.lead), "walk {walk}");
                    assert!(here.remove(&part.row), "walk {walk}");
                    ended += 1;
                }
                assert!(turn.parts.is_sorted_by_key(|part| part.row), "walk {walk}");
                // One that was left out as too much may come late, when all after it are gone.
                if turn.parts.iter().any(|part| !part.short) {
                    let first = last.insert(turn.key.clone(), turn.lead);
                    assert!(first.is_none_or(|before| before < turn.lead), "walk {walk}");
                }
                running.push((turn.key, turn.lead));
                assert!(running.len() <= max, "walk {walk}");
            }
            assert_eq!(lanes.running(), running.len());
            let waits: usize = waiting.values().map(BTreeSet::len).sum();
            assert_eq!(lanes.waiting(), waits, "walk {walk}");
            assert_eq!(ended + waits, pushed as usize, "walk {walk}");
        }
        while let Some((key, row)) = running.pop() {
            lanes.finish(&key, row, &[]);
            while let Some(turn) = lanes.start_next(u64::MAX) {
                ended += turn.parts.len();
                running.push((turn.key, turn.lead));
            }
        }
        assert_eq!(ended, pushed as usize, "walk {walk}");
        assert!(
            lanes.lanes.is_empty() && lanes.ready.is_empty() && lanes.timed.is_empty(),
            "walk {walk}"
        );
    }
}
