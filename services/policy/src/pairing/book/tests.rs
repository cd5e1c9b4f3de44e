//! The promises of pairing: cap, time limit, single use, isolation of accounts.

use super::*;

const NOW: u64 = 1_000_000_000;
const HOUR: u64 = 60 * 60 * 1000;

fn request(account: &str, sender: &str) -> Request {
    Request {
        channel: "telegram".to_owned(),
        account: account.to_owned(),
        sender: sender.to_owned(),
        hint: String::new(),
        name: None,
        event: "7".to_owned(),
    }
}

/// The same person's next message.
fn next(request: Request) -> Request {
    Request {
        event: "8".to_owned(),
        ..request
    }
}

/// A book with its own source of codes.
#[derive(Default)]
struct Desk {
    book: Book,
    drawn: u64,
}

impl Desk {
    fn ask(&mut self, account: &str, sender: &str, now: u64) -> Asked {
        self.ask_as(request(account, sender), now)
    }

    fn ask_as(&mut self, request: Request, now: u64) -> Asked {
        let drawn = &mut self.drawn;
        let random = || {
            *drawn += 1;
            Ok(drawn.to_be_bytes())
        };
        self.book.ask(request, now, random).unwrap()
    }

    fn code(&mut self, account: &str, sender: &str, now: u64) -> String {
        match self.ask(account, sender, now) {
            Asked::New(code) => code,
            other => panic!("{other:?}"),
        }
    }

    fn lets_in(&self, account: &str, sender: &str, now: u64, ttl: Option<u64>) -> bool {
        let ttl = ttl.map(Duration::from_millis);
        self.book
            .view("telegram", account, now, ttl)
            .is_approved(sender)
    }
}

fn rule<T>(result: Result<T, Denied>) -> &'static str {
    result.err().map_or("done", |denied| denied.rule)
}

#[test]
fn a_code_has_eight_characters_that_nobody_confuses() {
    assert_eq!(code([0, 1, 2, 3, 4, 5, 6, 7]), "ABCDEFGH");
    assert_eq!(code([8, 9, 23, 24, 31, 32, 255, 254]), "JKZ29A98");
    let distinct: std::collections::BTreeSet<_> = ALPHABET.iter().collect();
    assert_eq!(distinct.len(), 32);
    assert!(!ALPHABET.iter().any(|letter| b"IO01".contains(letter)));
}

#[test]
fn one_reply_for_each_new_request_and_three_that_wait_on_each_account() {
    let mut desk = Desk::default();
    for sender in ["1", "2", "3"] {
        desk.code("default", sender, NOW);
        assert_eq!(
            desk.ask_as(next(request("default", sender)), NOW + 1),
            Asked::Known
        );
    }
    assert_eq!(desk.ask("default", "4", NOW + 1), Asked::Full);
    assert_eq!(
        desk.book.known(&request("default", "4"), NOW + 1),
        Some(Asked::Full)
    );
    assert_eq!(
        desk.book.known(&next(request("default", "3")), NOW + 1),
        Some(Asked::Known)
    );
    assert_eq!(desk.book.known(&request("work", "4"), NOW + 1), None);
    desk.code("work", "4", NOW);
    // The first three are over, so there is room again.
    desk.code("default", "4", NOW + HOUR);
    assert_eq!(desk.book.pending(NOW + HOUR).len(), 1);
}

#[test]
fn a_message_that_is_brought_again_gets_the_same_code() {
    let mut desk = Desk::default();
    let code = desk.code("default", "1", NOW);
    assert_eq!(desk.code("default", "1", NOW + 1), code);
    assert_eq!(desk.book.pending(NOW).len(), 1);
}

#[test]
fn a_code_is_good_for_an_hour_to_the_second_and_once() {
    for (after, expected) in [
        (0, "done"),
        (3_599_000, "done"),
        (3_600_000, "pairing.no_request"),
        (3_601_000, "pairing.no_request"),
    ] {
        let mut desk = Desk::default();
        let code = desk.code("default", "1", NOW);
        assert_eq!(
            rule(desk.book.approve("telegram", &code, NOW + after, None)),
            expected,
            "{after}"
        );
        assert_eq!(
            rule(desk.book.approve("telegram", &code, NOW + after, None)),
            "pairing.no_request"
        );
        assert_eq!(
            desk.lets_in("default", "1", NOW + after, None),
            expected == "done"
        );
    }
}

#[test]
fn a_code_is_taken_in_lower_case_and_belongs_to_its_channel_and_account() {
    let mut desk = Desk::default();
    let code = desk.code("work", "1", NOW);
    assert_eq!(
        rule(desk.book.approve("discord", &code, NOW, None)),
        "pairing.no_request"
    );
    assert_eq!(
        rule(desk.book.approve("telegram", "AAAA", NOW, None)),
        "pairing.no_request"
    );
    let row = desk
        .book
        .approve("telegram", &code.to_lowercase(), NOW, None)
        .unwrap();
    assert_eq!((row.account.as_str(), row.sender.as_str()), ("work", "1"));
    assert!(desk.lets_in("work", "1", NOW, None));
    for (account, sender) in [("default", "1"), ("work", "2")] {
        assert!(
            !desk.lets_in(account, sender, NOW, None),
            "{account} {sender}"
        );
    }
    assert!(
        !desk
            .book
            .view("discord", "work", NOW, None)
            .is_approved("1")
    );
}

#[test]
fn a_refused_person_may_ask_again_and_a_revoked_one_is_out() {
    let mut desk = Desk::default();
    let code = desk.code("default", "1", NOW);
    assert_eq!(rule(desk.book.reject("telegram", &code, NOW)), "done");
    assert!(!desk.lets_in("default", "1", NOW, None));
    let again = desk.code("default", "1", NOW + 1);
    assert_ne!(again, code);
    desk.book
        .approve("telegram", &again, NOW + 1, None)
        .unwrap();
    assert_eq!(
        rule(desk.book.revoke("telegram", "work", "1")),
        "pairing.not_approved"
    );
    assert_eq!(rule(desk.book.revoke("telegram", "default", "1")), "done");
    assert_eq!(
        rule(desk.book.revoke("telegram", "default", "1")),
        "pairing.not_approved"
    );
    assert!(!desk.lets_in("default", "1", NOW, None));
}

#[test]
fn an_approval_ends_with_its_time_limit_whenever_that_was_set() {
    let mut desk = Desk::default();
    let code = desk.code("default", "1", NOW);
    desk.book.approve("telegram", &code, NOW, None).unwrap();
    assert!(desk.lets_in("default", "1", NOW + 999, Some(1000)));
    assert!(!desk.lets_in("default", "1", NOW + 1000, Some(1000)));
    assert!(desk.lets_in("default", "1", u64::MAX, None));
    assert_eq!(
        desk.book
            .approved(NOW + 1000, Some(Duration::from_secs(1)))
            .len(),
        0
    );
    let rows = desk.book.approved(NOW, Some(Duration::from_secs(1)));
    assert_eq!(
        rows[0].what.expires_ms(Some(Duration::from_secs(1))),
        NOW + 1000
    );
    // Who was in may ask again.
    desk.code("default", "1", NOW + 1000);
}

#[test]
fn a_name_is_pinned_by_the_approval_and_stays_with_the_first() {
    let mut desk = Desk::default();
    let named = |sender| Request {
        name: Some("@ann".to_owned()),
        ..request("default", sender)
    };
    let Asked::New(first) = desk.ask_as(named("1"), NOW) else {
        panic!()
    };
    let Asked::New(second) = desk.ask_as(named("2"), NOW) else {
        panic!()
    };
    let pinned = |book: &Book| {
        book.view("telegram", "default", NOW, None)
            .pinned("@ann")
            .map(str::to_owned)
    };
    assert_eq!(pinned(&desk.book), None);
    desk.book.approve("telegram", &second, NOW, None).unwrap();
    assert_eq!(pinned(&desk.book).as_deref(), Some("2"));
    desk.book.approve("telegram", &first, NOW, None).unwrap();
    assert_eq!(pinned(&desk.book).as_deref(), Some("2"));
    assert_eq!(
        desk.book.view("telegram", "work", NOW, None).pinned("@ann"),
        None
    );
    desk.book.revoke("telegram", "default", "2").unwrap();
    assert_eq!(pinned(&desk.book), None);
}

#[test]
fn a_clock_that_jumps_makes_no_code_longer_than_it_was_meant_to_be() {
    let mut desk = Desk::default();
    let slack_ms = crate::clock::SLACK.as_secs() * 1000;
    let code = desk.code("default", "1", NOW);
    // A small step back is normal; a large one would give the code a second life.
    assert_eq!(desk.book.pending(NOW - slack_ms).len(), 1);
    assert_eq!(desk.book.pending(NOW - slack_ms - 1).len(), 0);
    assert_eq!(
        rule(desk.book.approve("telegram", &code, NOW - 2 * HOUR, None)),
        "pairing.no_request"
    );
}

#[test]
fn a_clock_that_jumps_makes_no_approval_longer_than_it_was_meant_to_be() {
    let mut desk = Desk::default();
    let code = desk.code("default", "1", NOW);
    let ttl = Some(Duration::from_secs(2 * 3600));
    desk.book.approve("telegram", &code, NOW, ttl).unwrap();
    let slack_ms = crate::clock::SLACK.as_secs() * 1000;
    let holds = |now, ttl| {
        let view = desk.book.view("telegram", "default", now, ttl);
        view.is_approved("1")
    };
    for (now, expected) in [
        (NOW - HOUR, false),
        (NOW - slack_ms - 1, false),
        (NOW - slack_ms, true),
        (NOW + 2 * HOUR - 1, true),
        (NOW + 2 * HOUR, false),
        (NOW + 1000 * HOUR, false),
    ] {
        assert_eq!(holds(now, ttl), expected, "{now}");
        assert!(holds(now, None), "without an end the time does not matter");
    }
}

#[test]
fn a_code_that_waits_is_not_given_again() {
    let mut book = Book::default();
    let mut draws = vec![[2; 8], [1; 8], [1; 8]];
    let mut random = || Ok(draws.pop().unwrap());
    for (account, expected) in [("default", "BBBBBBBB"), ("work", "CCCCCCCC")] {
        let asked = book.ask(request(account, "1"), NOW, &mut random).unwrap();
        assert_eq!(asked, Asked::New(expected.to_owned()));
    }
}

#[test]
fn whatever_happens_cap_time_and_isolation_hold() {
    // A walk through thousands of steps, the same in every run.
    let mut state = 42_u64;
    let mut next = |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut desk = Desk::default();
    let mut now = NOW;
    let mut approved: std::collections::BTreeSet<(String, String)> = Default::default();
    let mut codes: Vec<String> = Vec::new();
    let mut approvals = 0;
    for _ in 0..20_000 {
        let account = ["default", "work"][next(2) as usize];
        let sender = next(8).to_string();
        match next(8) {
            0..=3 => {
                if let Asked::New(code) = desk.ask(account, &sender, now) {
                    codes.push(code);
                }
            }
            4 => now += next(HOUR / 2),
            5 => {
                if let Some(code) = codes.get(next(codes.len() as u64 + 1) as usize)
                    && let Ok(row) = desk.book.approve("telegram", code, now, None)
                {
                    approved.insert((row.account, row.sender));
                    approvals += 1;
                }
            }
            6 => {
                if let Some(code) = codes.get(next(codes.len() as u64 + 1) as usize) {
                    let _ = desk.book.reject("telegram", code, now);
                }
            }
            _ => {
                let revoked = desk.book.revoke("telegram", account, &sender).is_ok();
                assert_eq!(
                    revoked,
                    approved.remove(&(account.to_owned(), sender.clone()))
                );
            }
        }
        for account in ["default", "work"] {
            let pending = desk.book.pending(now);
            let waiting: Vec<_> = pending
                .iter()
                .filter(|row| row.account == account)
                .collect();
            assert!(waiting.len() <= MAX_PENDING);
            assert!(waiting.iter().all(|row| now < row.what.created_ms + HOUR));
            for sender in 0..8 {
                let sender = sender.to_string();
                let known = approved.contains(&(account.to_owned(), sender.clone()));
                assert_eq!(desk.lets_in(account, &sender, now, None), known);
            }
        }
    }
    assert!(approvals > 50, "positive control: {approvals}");
}

#[test]
fn a_listed_name_lasts_as_long_as_the_approval_that_gave_it() {
    let day = Duration::from_secs(24 * 3600);
    let ttl = Some(day);
    let later = NOW + 24 * HOUR;
    let mut desk = Desk::default();
    let mut approve = |sender: &str, now| {
        let named = Request {
            name: Some("@ann".to_owned()),
            ..request("default", sender)
        };
        let Asked::New(code) = desk.ask_as(named, now) else {
            panic!()
        };
        desk.book.approve("telegram", &code, now, ttl).unwrap();
        desk.book.clone()
    };
    let means = |book: &Book, now, ttl| {
        let view = book.view("telegram", "default", now, ttl);
        view.pinned("@ann").map(str::to_owned)
    };
    let first = approve("1", NOW);
    assert_eq!(means(&first, later - 1, ttl).as_deref(), Some("1"));
    assert_eq!(means(&first, later, ttl), None);
    assert_eq!(means(&first, later, None).as_deref(), Some("1"));
    // While it holds nobody else gets the name; afterwards the next one does.
    assert_eq!(
        means(&approve("2", NOW + 1), NOW + 1, ttl).as_deref(),
        Some("1")
    );
    assert_eq!(
        means(&approve("3", later), later, ttl).as_deref(),
        Some("3")
    );
}
