//! Whoever asks too often is counted, nobody else is, and everything adds up.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn refused(source: &str) -> Decision<'_> {
    Decision {
        request: "verify",
        refused: Some("auth.rate_limited"),
        role: "gateway",
        source,
        ..Decision::default()
    }
}

fn resolved(session: &str) -> Decision<'_> {
    Decision {
        request: "resolve",
        role: "agent-main",
        session,
        ..Decision::default()
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Series {
    fn taken(&mut self, decision: &Decision<'_>, now: Duration) -> Fate {
        self.take(None, decision, now, true)
    }

    /// Uses up the room of one owner, and says how many lines that were.
    fn drain(&mut self, decision: &Decision<'_>, now: Duration) -> u64 {
        (0_u64..)
            .take_while(|_| self.taken(decision, now) == Fate::Write)
            .count() as u64
    }
}

fn told(counted: &[Counted]) -> Vec<(&str, u32)> {
    counted
        .iter()
        .map(|one| (one.source.as_str(), one.count))
        .collect()
}

#[test]
fn the_first_of_a_series_is_written_and_the_rest_counted_at_growing_intervals() {
    let mut series = Series::default();
    assert_eq!(series.taken(&refused("192.0.2.1"), at(100)), Fate::Write);
    for second in [100, 130, 159] {
        let fate = series.taken(&refused("192.0.2.1"), at(second));
        assert_eq!(fate, Fate::Count);
    }
    assert_eq!(series.taken(&refused("192.0.2.2"), at(130)), Fate::Write);
    assert_eq!(told(&series.due(at(159), true)), []);
    assert_eq!(told(&series.due(at(160), true)), [("192.0.2.1", 3)]);
    assert_eq!(series.taken(&refused("192.0.2.1"), at(161)), Fate::Count);
    assert_eq!(told(&series.due(at(279), true)), [], "two minutes");
    assert_eq!(told(&series.due(at(280), true)), [("192.0.2.1", 1)]);
    assert_eq!(told(&series.due(at(520), true)), [], "it did not go on");
    for source in ["192.0.2.1", "192.0.2.2"] {
        assert_eq!(series.taken(&refused(source), at(521)), Fate::Write);
    }
    assert_eq!(series.taken(&refused("192.0.2.2"), at(522)), Fate::Count);
    assert_eq!(told(&series.all()), [("192.0.2.2", 1)]);
    assert_eq!(told(&series.all()), []);
}

#[test]
fn a_series_that_goes_on_for_days_has_a_line_each_quarter_of_an_hour() {
    let mut series = Series::default();
    let mut lines = 0;
    let mut sum = 0;
    for second in (0..2 * 24 * 60 * 60).step_by(10) {
        lines += u32::from(series.taken(&refused("192.0.2.1"), at(second)) == Fate::Write);
        for one in series.due(at(second), true) {
            lines += 1;
            sum += one.count;
        }
    }
    let rest: u32 = series.all().iter().map(|one| one.count).sum();
    assert_eq!(sum + rest + 1, 2 * 24 * 60 * 6);
    assert!(lines < 2 * 24 * 4 + 10, "{lines}");
}

#[test]
fn a_series_has_one_request_one_rule_and_one_source() {
    let mut series = Series::default();
    let first = refused("2001:db8::1");
    for other in [
        first,
        Decision {
            request: "login",
            ..first
        },
        Decision {
            refused: Some("auth.token_mismatch"),
            ..first
        },
        refused("2001:db8:0:1::1"),
        refused(""),
        Decision {
            role: "channel-telegram",
            ..first
        },
    ] {
        assert_eq!(series.taken(&other, at(0)), Fate::Write, "{other:?}");
        assert_eq!(series.taken(&other, at(0)), Fate::Count, "{other:?}");
    }
    let same = refused("2001:db8::ffff:1");
    assert_eq!(series.taken(&same, at(0)), Fate::Count, "the same /64");
}

#[test]
fn a_process_has_room_for_ordinary_days_and_beyond_it_is_counted_by_what_it_asked_for() {
    let mut series = Series::default();
    let lines = series.drain(&resolved("agent:main:main"), at(0));
    assert!((1200..4000).contains(&lines), "{lines}");
    for _ in 0..5000 {
        let fate = series.taken(&resolved("agent:main:main"), at(1));
        assert_eq!(fate, Fate::Count);
    }
    assert_eq!(
        series.taken(&resolved("agent:main:other"), at(1)),
        Fate::Count
    );
    let due = series.due(at(61), true);
    let told: BTreeMap<_, _> = { due.iter() }
        .map(|one| (one.session.as_str(), one.count))
        .collect();
    assert_eq!(
        (told["agent:main:main"], told["agent:main:other"]),
        (5001, 1)
    );
    // Nobody else is touched.
    let other = Decision {
        role: "agent-guest",
        ..resolved("agent:main:main")
    };
    let denied = Decision {
        refused: Some("handle.invalid"),
        ..resolved("")
    };
    for decision in [other, denied] {
        assert_eq!(series.taken(&decision, at(61)), Fate::Write);
    }
    // It comes back, if there is room to give.
    let day = at(24 * 60 * 60);
    assert_eq!(told_after(&mut series, day, false), Fate::Count);
    assert_eq!(told_after(&mut series, day * 3, true), Fate::Write);
}

fn told_after(series: &mut Series, now: Duration, room: bool) -> Fate {
    // Whatever goes on ends first.
    for _ in 0..3 {
        series.due(now, room);
        series.looked = None;
        for pool in series.pools.values_mut() {
            pool.rows.clear();
        }
    }
    series.take(None, &resolved("agent:main:new"), now, room)
}

#[test]
fn what_the_owner_does_has_its_line_whatever_went_before() {
    let mut series = Series::default();
    let decision = |request, role, refused| Decision {
        request,
        role,
        refused,
        ..Decision::default()
    };
    for one in [
        decision("rotate-token", "operator", None),
        decision("rotate-token", "operator", Some("token.configured")),
        decision("audit-key-shown", "operator", None),
        decision("approve", "channel-telegram", None),
        decision("deny", "operator", None),
        decision(
            "pairing-request",
            "channel-telegram",
            Some("pairing.required"),
        ),
    ] {
        for _ in 0..3000 {
            assert_eq!(
                series.take(None, &one, at(0), false),
                Fate::Write,
                "{one:?}"
            );
        }
    }
    let by_word = decision("approve", "channel-telegram", Some("approval.no_question"));
    assert!(series.drain(&by_word, at(0)) < 5000, "a wrong word is none");
    let told = decision("credential-put", "operator", None);
    let lines =
        (0..5000).filter(|_| series.take(Some(Origin::Broker), &told, at(0), true) == Fate::Write);
    assert!(lines.count() < 4000, "the broker's word is not the owner's");
}

#[test]
fn a_question_that_cannot_be_written_is_not_asked() {
    let mut series = Series::default();
    let question = Decision {
        request: "question",
        role: "executor",
        id: "q",
        ..Decision::default()
    };
    assert!(series.drain(&question, at(0)) > 1000);
    assert_eq!(series.taken(&question, at(0)), Fate::Refuse);
    let refused = Decision {
        refused: Some("audit.crowded"),
        ..question
    };
    assert_eq!(series.taken(&refused, at(0)), Fate::Write);
}

#[test]
fn a_worker_that_dials_the_same_place_again_and_again_is_counted() {
    let mut series = Series::default();
    let dial = |subject, refused| Decision {
        request: "dial",
        refused,
        role: "model-a",
        subject,
        ..Decision::default()
    };
    let mut take = |decision| series.take(Some(Origin::Dialer), &decision, at(0), true);
    assert_eq!(take(dial("a.example:443", None)), Fate::Write);
    assert_eq!(take(dial("b.example:443", None)), Fate::Write);
    let denied = dial("a.example:443", Some("dial.not_listed"));
    assert_eq!(take(denied), Fate::Write);
    let several = Decision {
        count: 4,
        ..dial("a.example:443", None)
    };
    assert_eq!(take(several), Fate::Count);
    let over = series.due(at(60), true);
    let lines: Vec<_> = over.iter().map(Counted::decision).collect();
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].subject, lines[0].count), ("a.example:443", 5));
    assert_eq!(lines[0].refused, None);
}

#[test]
fn sources_beyond_the_most_share_a_series_of_their_process_and_make_nobody_else_anonymous() {
    let mut series = Series::default();
    let sources: Vec<_> = (0..1000_u32)
        .map(|n| std::net::Ipv4Addr::from_bits(n).to_string())
        .collect();
    let lines = sources
        .iter()
        .filter(|source| series.taken(&refused(source), at(0)) == Fate::Write);
    assert_eq!(lines.count(), MAX_WHO + 1);
    let rest = 1000 - MAX_WHO as u32 - 1;
    assert_eq!(told(&series.due(at(60), true)), [("", rest)]);
    let dial = Decision {
        request: "dial",
        role: "model-a",
        subject: "a.example:443",
        ..Decision::default()
    };
    for _ in 0..2 {
        series.take(Some(Origin::Dialer), &dial, at(60), true);
    }
    let all = series.all();
    assert_eq!(all[0].subject, "a.example:443");
}

#[test]
fn what_broker_and_dialer_make_up_is_bounded() {
    let mut series = Series::default();
    let texts: Vec<_> = (0..300).map(|n| format!("x{n}")).collect();
    let mut sum = 0_u64;
    for role in &texts {
        for rule in texts.iter().step_by(7) {
            let decision = Decision {
                request: "dial",
                role,
                refused: Some(rule),
                subject: role,
                ..Decision::default()
            };
            let fate = series.take(Some(Origin::Dialer), &decision, at(0), true);
            sum += u64::from(fate == Fate::Write);
        }
    }
    assert!(series.pools.len() <= MAX_TOLD + 1);
    let most = MAX_WHO + MAX_RULES + 1;
    assert!(series.pools.values().all(|pool| pool.rows.len() <= most));
    sum += series
        .all()
        .iter()
        .map(|one| u64::from(one.count))
        .sum::<u64>();
    assert_eq!(sum, 300 * 43);
}

/// A generator of numbers that repeats itself, from a paper by Marsaglia (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Who asks, allowed or not, and what must come out.
#[test]
fn any_mix_of_floods_keeps_each_line_of_the_owner_and_the_sums_right() {
    for seed in 1..13 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ seed);
        let mut series = Series::default();
        let (mut made, mut kept) = (BTreeMap::new(), BTreeMap::new());
        let (mut owners, mut bytes, mut now) = (0_u64, 0_u64, Duration::ZERO);
        let mut write = |decision: &Decision<'_>| {
            let of = (
                decision.role.to_owned(),
                decision.request,
                decision.refused.map(str::to_owned),
            );
            *kept.entry(of).or_insert(0) += u64::from(decision.count) + 1;
            bytes += decision.fields().len() as u64 + AROUND;
        };
        for _ in 0..100 {
            let request = [
                "admit", "resolve", "model", "tool", "verify", "inbound", "dial",
            ][dice.below(7) as usize];
            let role = ["gateway", "agent-main", "executor"][dice.below(3) as usize];
            let from = (request == "dial").then_some(Origin::Dialer);
            let refused = [None, None, Some("a.rule"), Some("b.rule")][dice.below(4) as usize];
            let burst = dice.below(300);
            let room = dice.below(4) > 0;
            for _ in 0..burst {
                let text = format!("x{}", dice.below(200));
                let source = std::net::Ipv4Addr::from_bits(dice.below(200) as u32).to_string();
                let decision = Decision {
                    request,
                    refused,
                    role,
                    source: &source,
                    session: &text,
                    subject: &text,
                    count: dice.below(2) as u32,
                    ..Decision::default()
                };
                let of = (role.to_owned(), request, refused.map(str::to_owned));
                *made.entry(of).or_insert(0) += u64::from(decision.count) + 1;
                if series.take(from, &decision, now, room) == Fate::Write {
                    write(&decision);
                }
            }
            let own = Decision {
                request: "rotate-token",
                role: "operator",
                ..Decision::default()
            };
            assert_eq!(series.take(None, &own, now, room), Fate::Write);
            owners += 1;
            now += at(dice.below(100));
            for counted in series.due(now, room) {
                write(&Decision {
                    count: counted.count - 1,
                    ..counted.decision()
                });
            }
        }
        for counted in series.all() {
            write(&Decision {
                count: counted.count - 1,
                ..counted.decision()
            });
        }
        assert_eq!((made, owners), (kept, 100), "seed {seed}");
        let pools: BTreeSet<_> = series.pools.keys().collect();
        let most = pools.len() as u64 * (ROOM + ROOM_A_DAY) + (2 << 20);
        assert!(bytes < most, "seed {seed}: {bytes} of {most}");
    }
}
