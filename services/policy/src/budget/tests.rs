//! Budgets under many requests at once, clocks that jump, restarts and disks that fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clawdbot_identity::{Class, Role, SessionKey};

use super::book::{Amount, Book, Now, Payer, Stop};
use super::calendar::DAY_MS;
use super::*;
use crate::handle::{Grant, Standing, Trace};
use crate::keep::Keep;

/// A day in 2026.
const TODAY: u64 = 20_481 * DAY_MS + 1_000;
const RUN: Payer<'static> = Payer {
    agent: "main",
    run: "r",
    sender: None,
};

fn limit(kind: Kind, most: u64) -> Limit {
    Limit {
        kind,
        most,
        section: "agents.defaults.budget".to_owned(),
    }
}

fn tokens(tokens: u64) -> Amount {
    Amount {
        tokens,
        microusd: 0,
    }
}

fn at(seconds: u64) -> Now {
    Now {
        ms: TODAY + seconds * 1000,
        steady: Duration::from_secs(seconds),
    }
}

fn grant(standing: Standing, sender: &str, trace: u8) -> Grant {
    let (door, session) = match standing {
        Standing::Owner => ("operator", "agent:main:main".to_owned()),
        _ => (
            "channel-telegram",
            "agent:main:telegram:group:-1".to_owned(),
        ),
    };
    let session = SessionKey::parse(&session).unwrap();
    let class = if standing == Standing::Owner {
        Class::Main
    } else {
        Class::Guest
    };
    let door = Role::parse(door).unwrap();
    Grant::channel(door, class, session, standing, 0).of(Trace([trace; 8]), sender)
}

fn who(grant: &Grant, now_ms: u64) -> Who<'_> {
    Who {
        grant,
        now_ms,
        steady: Duration::from_secs(1),
    }
}

fn budgets(folder: &Path) -> Budgets {
    Budgets::open(Keep::new(folder.to_owned()))
}

/// The rule that refuses, or nothing.
async fn ask(
    budgets: &Budgets,
    limits: &[Limit],
    grant: &Grant,
    id: &str,
    tokens: u64,
) -> &'static str {
    match budgets
        .authorize(limits, who(grant, TODAY), id, tokens, 0)
        .await
    {
        Ok(()) => "",
        Err(stopped) => stopped.denied.rule,
    }
}

fn used(budgets: &Budgets, limits: &[Limit], grant: &Grant, now_ms: u64) -> Vec<u64> {
    let rows = budgets.means(limits, who(grant, now_ms));
    rows.iter().map(|row| row.used).collect()
}

#[tokio::test]
async fn many_requests_at_once_pass_a_limit_by_one_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let budgets = Arc::new(budgets(folder.path()));
    let asks = (0..64).map(|n| {
        let budgets = Arc::clone(&budgets);
        tokio::spawn(async move {
            let limits = [limit(Kind::DayTokens, 1_000)];
            let grant = grant(Standing::Owner, "", n);
            ask(&budgets, &limits, &grant, &n.to_string(), 90).await
        })
    });
    let mut allowed = 0;
    for asked in asks.collect::<Vec<_>>() {
        match asked.await.unwrap() {
            "" => allowed += 1,
            rule => assert_eq!(rule, "budget.day_tokens"),
        }
    }
    assert_eq!(
        allowed, 12,
        "eleven leave 10 of 1,000, and the twelfth passes the limit by 80"
    );
}

#[test]
fn what_was_used_takes_the_place_of_what_was_held_back_once() {
    let limits = [limit(Kind::DayTokens, 100), limit(Kind::RunTokens, 1_000)];
    let mut book = Book::default();
    assert!(
        book.hold(RUN, &limits, ("s", "1"), tokens(90), at(0))
            .is_ok()
    );
    assert!(
        book.hold(RUN, &limits, ("s", "2"), tokens(90), at(0))
            .is_ok()
    );
    assert!(
        book.hold(RUN, &limits, ("s", "3"), tokens(1), at(0))
            .is_err()
    );
    assert!(book.settle(("s", "1"), tokens(5)) && book.settle(("s", "2"), tokens(5)));
    for (session, id) in [("s", "1"), ("s", "2"), ("other", "1"), ("s", "9")] {
        assert!(!book.settle((session, id), tokens(50)), "{session} {id}");
    }
    assert_eq!(book.used(RUN, Kind::DayTokens, at(0), true).0, 10);
    assert_eq!(book.used(RUN, Kind::RunTokens, at(0), true).0, 10);
    // Asked again under the same id it is a request of its own.
    assert!(
        book.hold(RUN, &limits, ("s", "1"), tokens(90), at(0))
            .is_ok()
    );
    assert_eq!(book.used(RUN, Kind::DayTokens, at(0), true).0, 100);
    assert_eq!(book.used(RUN, Kind::DayTokens, at(0), false).0, 10);
}

#[test]
fn a_request_of_which_nobody_tells_counts_in_full_after_ten_minutes() {
    let limits = [limit(Kind::DayTokens, 1_000)];
    let mut book = Book::default();
    book.hold(RUN, &limits, ("s", "1"), tokens(90), at(0))
        .unwrap();
    // A calendar that jumps does not make it older.
    let jumped = Now {
        ms: TODAY + DAY_MS / 2,
        steady: Duration::from_secs(1),
    };
    book.hold(RUN, &limits, ("s", "2"), tokens(1), jumped)
        .unwrap();
    assert!(book.settle(("s", "2"), tokens(1)));
    book.hold(RUN, &limits, ("s", "3"), tokens(1), at(600))
        .unwrap();
    assert_eq!(book.used(RUN, Kind::DayTokens, at(600), false).0, 91);
    assert!(!book.settle(("s", "1"), tokens(5)), "too late");
    assert_eq!(book.used(RUN, Kind::DayTokens, at(600), false).0, 91);
}

#[test]
fn a_day_that_comes_again_goes_on_where_it_was() {
    let limits = [limit(Kind::DayTokens, 100), limit(Kind::MonthMoney, 1_000)];
    let mut book = Book::default();
    let mut use_on = |day: u64, id: u64| {
        let now = Now {
            ms: TODAY + day * DAY_MS,
            steady: Duration::from_secs(id),
        };
        let id = id.to_string();
        let held = book
            .hold(RUN, &limits, ("s", &id), tokens(60), now)
            .map_err(|reached| reached.limit.kind);
        book.settle(("s", &id), tokens(60));
        drop(book.promises(true));
        held.err()
    };
    let full = Some(Kind::DayTokens);
    assert_eq!(
        [use_on(0, 1), use_on(0, 2), use_on(0, 3)],
        [None, None, full]
    );
    // A year ahead by mistake, and back.
    assert_eq!([use_on(365, 4), use_on(0, 5)], [None, full]);
    // Back into yesterday, and forth.
    assert_eq!(
        [
            use_on(0, 6),
            use_on(1, 7),
            use_on(1, 8),
            use_on(1, 9),
            use_on(0, 10)
        ],
        [full, None, None, full, full]
    );
}

#[test]
fn counters_of_long_ago_are_forgotten() {
    let limits = [limit(Kind::DayTokens, 100), limit(Kind::MonthMoney, 100)];
    let mut book = Book::default();
    for day in 0..400 {
        let now = Now {
            ms: TODAY + day * DAY_MS,
            steady: Duration::from_secs(day),
        };
        let id = day.to_string();
        book.hold(RUN, &limits, ("s", &id), tokens(1), now).unwrap();
        book.settle(("s", &id), tokens(1));
    }
    assert_eq!(book.promises(true).len(), 8);
}

#[test]
fn a_flood_of_senders_shares_one_counter_in_the_end() {
    let limits = [limit(Kind::SenderTokens, 10)];
    let mut book = Book::default();
    let mut ask = |sender: &str| {
        let payer = Payer {
            sender: Some(sender),
            ..RUN
        };
        let held = book
            .hold(payer, &limits, ("s", sender), tokens(10), at(0))
            .is_ok();
        book.settle(("s", sender), tokens(10));
        held
    };
    for n in 0..super::book::ROWS {
        assert!(ask(&format!("telegram:{n}")));
    }
    assert!(!ask("telegram:0"), "his own is used up");
    assert!(ask("telegram:x"), "the first of the rest");
    assert!(
        !ask("telegram:y"),
        "who has no counter has the same as all of them"
    );
}

#[test]
fn one_message_has_limits_of_its_own() {
    let limits = [
        limit(Kind::RunTokens, 100),
        limit(Kind::RunCalls, 2),
        limit(Kind::RunSeconds, 60),
    ];
    let mut book = Book::default();
    let other = Payer {
        run: "other",
        ..RUN
    };
    let refused = |result: Result<(), super::book::Reached<'_>>| {
        result.err().map(|reached| reached.limit.kind)
    };
    let stopped = |result: Result<(), Stop<'_>>| match result {
        Ok(()) => None,
        Err(Stop::Reached(reached)) => Some(reached.limit.kind),
        Err(Stop::Changed) => panic!("the call is the same"),
    };
    for (id, expected) in [
        ("1", None),
        ("1", None),
        ("2", None),
        ("2", None),
        ("3", Some(Kind::RunCalls)),
    ] {
        assert_eq!(
            stopped(book.call(RUN, &limits, id, [0; 32], at(0))),
            expected,
            "{id}"
        );
    }
    assert_eq!(
        stopped(book.call(other, &limits, "3", [0; 32], at(30))),
        None
    );
    assert_eq!(
        refused(
            book.hold(RUN, &limits, ("s", "1"), tokens(100), at(59))
                .map(drop)
        ),
        None
    );
    assert_eq!(
        refused(
            book.hold(RUN, &limits, ("s", "2"), tokens(1), at(59))
                .map(drop)
        ),
        Some(Kind::RunTokens)
    );
    assert_eq!(
        refused(
            book.hold(other, &limits, ("s", "2"), tokens(1), at(59))
                .map(drop)
        ),
        None
    );
    assert_eq!(
        stopped(book.call(RUN, &limits, "2", [0; 32], at(60))),
        Some(Kind::RunSeconds)
    );
    assert_eq!(
        stopped(book.call(other, &limits, "4", [0; 32], at(60))),
        None
    );
}

#[test]
fn an_id_is_one_calls_only_until_the_run_begins_again_and_each_call_counts() {
    let limits = [limit(Kind::RunCalls, 4)];
    let mut book = Book::default();
    let call = |book: &mut Book, id: &str, what: u8| {
        let called = book.call(RUN, &limits, id, [what; 32], at(0)).err();
        (called, book.used(RUN, Kind::RunCalls, at(0), true).0)
    };
    assert_eq!(call(&mut book, "1", 1), (None, 1));
    assert_eq!(call(&mut book, "1", 2), (Some(Stop::Changed), 1));
    assert_eq!(call(&mut book, "1", 1), (None, 1), "the same call again");
    assert_eq!(call(&mut book, "2", 2), (None, 2));
    // Its agent was killed: it may call something else now.
    book.begun(RUN.run);
    assert_eq!(call(&mut book, "1", 3), (None, 3));
    assert_eq!(call(&mut book, "2", 2), (None, 4));
    book.begun(RUN.run);
    let (stop, used) = call(&mut book, "1", 3);
    assert!(matches!(stop, Some(Stop::Reached(_))) && used == 4);
}

#[test]
fn while_the_file_cannot_be_read_no_call_that_is_limited_is_permitted() {
    let folder = tempfile::tempdir().unwrap();
    let owner = grant(Standing::Owner, "", 1);
    let call = |budgets: &Budgets, kind| {
        let limits = [limit(kind, 9)];
        let taken = budgets.take_call(&limits, who(&owner, TODAY), "1", "read", "{}");
        taken.map_err(|denied| (denied.rule, denied.message))
    };
    for kind in [Kind::RunCalls, Kind::RunSeconds, Kind::DayTokens] {
        assert_eq!(call(&budgets(folder.path()), kind), Ok(()));
    }
    fs::write(folder.path().join("budgets.json"), "{").unwrap();
    fs::set_permissions(
        folder.path().join("budgets.json"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let broken = budgets(folder.path());
    for kind in [Kind::RunCalls, Kind::RunSeconds] {
        let (rule, message) = call(&broken, kind).unwrap_err();
        assert_eq!(rule, "budget.unavailable");
        assert!(
            message.contains("budgets.json") && message.contains("move it away"),
            "{message}"
        );
    }
    assert_eq!(call(&broken, Kind::DayTokens), Ok(()), "no limit of calls");
    let newer = "{\"version\":2,\"counters\":[]}";
    fs::write(folder.path().join("budgets.json"), newer).unwrap();
    let (rule, message) = call(&budgets(folder.path()), Kind::RunCalls).unwrap_err();
    assert_eq!(rule, "budget.unavailable");
    let said = "budgets.json has format 2, and this version of Clawdbot reads formats up to 1";
    assert!(message.contains(said), "{message}");
}

#[tokio::test]
async fn each_sender_has_his_own_and_the_owner_none() {
    let folder = tempfile::tempdir().unwrap();
    let budgets = budgets(folder.path());
    let limits = [limit(Kind::SenderTokens, 10)];
    let (ann, bob) = (
        grant(Standing::Approved, "1", 1),
        grant(Standing::Stranger, "2", 2),
    );
    let owner = grant(Standing::Owner, "3", 3);
    for (grant, expected) in [
        (&ann, ""),
        (&ann, "budget.sender_tokens"),
        (&bob, ""),
        (&bob, "budget.sender_tokens"),
        (&owner, ""),
        (&owner, ""),
    ] {
        assert_eq!(
            ask(&budgets, &limits, grant, "1", 10).await,
            expected,
            "{}",
            grant.sender
        );
    }
    let all = Limits {
        defaults: limits.to_vec(),
        ..Limits::default()
    };
    budgets.settle(ann.session.as_str(), "1", 10, 0);
    let agents = [clawdbot_identity::AgentId::main()];
    let rows = budgets.all(&all, agents.iter(), TODAY);
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.agent.as_str(), row.sender.as_str(), row.used))
        .collect();
    assert_eq!(
        rows,
        [("main", "telegram:1", 10)],
        "who is at the limit is named"
    );
}

#[tokio::test]
async fn a_clean_end_keeps_what_was_used_and_a_crash_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let limits = [limit(Kind::DayTokens, 100_000)];
    let owner = grant(Standing::Owner, "", 1);
    let session = owner.session.as_str();
    let first = budgets(folder.path());
    for id in ["1", "2", "3"] {
        assert_eq!(ask(&first, &limits, &owner, id, 9_000).await, "");
        first.settle(session, id, 100, 7);
    }
    first.end();
    let second = budgets(folder.path());
    assert_eq!(used(&second, &limits, &owner, TODAY), [300]);
    assert_eq!(used(&second, &limits, &owner, TODAY + DAY_MS), [0]);
    assert_eq!(ask(&second, &limits, &owner, "4", 16_000).await, "");
    drop(second);
    // Killed before anybody said what that used: it counts in full, and a sixteenth more.
    let third = budgets(folder.path());
    assert_eq!(used(&third, &limits, &owner, TODAY), [16_300 + 16_300 / 16]);
    assert_eq!(ask(&third, &limits, &owner, "5", 16_000).await, "");
    third.settle(session, "5", 10, 0);
    third.save().await;
    drop(third);
    let fourth = budgets(folder.path());
    let now = used(&fourth, &limits, &owner, TODAY)[0];
    assert!((17_328..=17_328 + 17_328 / 16).contains(&now), "{now}");
    let mode = fs::metadata(folder.path().join("budgets.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[tokio::test]
async fn without_a_limit_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let budgets = budgets(folder.path());
    let owner = grant(Standing::Owner, "", 1);
    assert_eq!(ask(&budgets, &[], &owner, "1", 9_000).await, "");
    budgets.save().await;
    budgets.end();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_that_is_not_whole_permits_nothing_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let limits = [limit(Kind::DayTokens, 100)];
    let owner = grant(Standing::Owner, "", 1);
    let good = budgets(folder.path());
    assert_eq!(ask(&good, &limits, &owner, "1", 9).await, "");
    let path = folder.path().join("budgets.json");
    let text = fs::read_to_string(&path).unwrap();
    for cut in 0..text.trim_end().len() {
        fs::write(&path, &text[..cut]).unwrap();
        let broken = budgets(folder.path());
        assert!(broken.problem().unwrap().contains("budgets.json"));
        assert_eq!(
            ask(&broken, &limits, &owner, "1", 9).await,
            "budget.unavailable"
        );
        broken.save().await;
        broken.end();
        assert_eq!(fs::read_to_string(&path).unwrap(), text[..cut]);
    }
    fs::write(&path, &text).unwrap();
    assert_eq!(
        ask(&budgets(folder.path()), &limits, &owner, "1", 9).await,
        ""
    );
}

#[tokio::test]
async fn what_cannot_be_promised_is_not_permitted() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("pairing");
    fs::create_dir(&inner).unwrap();
    let limits = [limit(Kind::DayTokens, 100)];
    let owner = grant(Standing::Owner, "", 1);
    let budgets = budgets(&inner);
    assert_eq!(ask(&budgets, &limits, &owner, "1", 16).await, "");
    fs::rename(&inner, folder.path().join("gone")).unwrap();
    for id in ["2", "3", "4", "5"] {
        assert_eq!(
            ask(&budgets, &limits, &owner, id, 80).await,
            "budget.unavailable"
        );
    }
    fs::rename(folder.path().join("gone"), &inner).unwrap();
    assert_eq!(
        ask(&budgets, &limits, &owner, "6", 80).await,
        "",
        "nothing is held back for the others"
    );
    assert_eq!(ask(&budgets, &limits, &owner, "7", 80).await, "");
    assert_eq!(
        ask(&budgets, &limits, &owner, "8", 1).await,
        "budget.day_tokens"
    );
}

#[tokio::test]
async fn the_owner_is_told_once_of_each_budget_also_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let limits = [limit(Kind::DayTokens, 10), limit(Kind::RunTokens, 1_000)];
    let owner = grant(Standing::Owner, "", 1);
    let told = async |budgets: &Budgets, now_ms, id: &str| {
        let asked = budgets
            .authorize(&limits, who(&owner, now_ms), id, 10, 0)
            .await;
        asked.err().and_then(|stopped| stopped.notice)
    };
    let first = budgets(folder.path());
    assert!(told(&first, TODAY, "1").await.is_none());
    let notice = told(&first, TODAY, "2").await.unwrap();
    for part in [
        "agent main",
        "10 of 10 tokens",
        "agents.defaults.budget.dailyTokens",
        "00:00 UTC",
    ] {
        assert!(notice.text.contains(part), "{part}: {}", notice.text);
    }
    assert_eq!(notice.expires_ms, 20_482 * DAY_MS);
    assert!(
        told(&first, TODAY, "3").await.is_some(),
        "nobody could be reached"
    );
    first.told(&notice);
    assert!(told(&first, TODAY, "4").await.is_none());
    first.end();
    let second = budgets(folder.path());
    assert!(told(&second, TODAY, "5").await.is_none());
    assert!(told(&second, TODAY + DAY_MS, "6").await.is_none());
    assert!(
        told(&second, TODAY + DAY_MS, "7").await.is_some(),
        "another day"
    );
}

#[tokio::test]
async fn others_than_the_owner_see_what_is_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let budgets = budgets(folder.path());
    let limits: Vec<_> = Kind::all().map(|kind| limit(kind, 1_000_000)).collect();
    let of = |grant: &Grant| {
        let rows = budgets.means(&limits, who(grant, TODAY));
        rows.iter()
            .map(|row| format!("{} {}", row.of, row.what))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let runs = "run tokens, run calls, run seconds";
    assert_eq!(
        of(&grant(Standing::Owner, "", 1)),
        format!("{runs}, day tokens, day microusd, month microusd")
    );
    assert_eq!(
        of(&grant(Standing::Approved, "1", 1)),
        format!("{runs}, sender tokens, sender microusd")
    );
}

#[tokio::test]
async fn a_refusal_says_what_is_used_up_until_when_and_where_it_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let owner = grant(Standing::Owner, "", 1);
    let guest = grant(Standing::Approved, "1", 2);
    for (kind, most, grant, parts, wait) in [
        (
            Kind::DayMoney,
            1_500_000,
            &owner,
            ["for today", "$1.50 of $1.50", "dailyUsd", "00:00 UTC"],
            86_399,
        ),
        (
            Kind::MonthMoney,
            20_000,
            &owner,
            ["this month", "$0.02 of $0.02", "monthlyUsd", "next month"],
            345_599,
        ),
        (
            Kind::SenderTokens,
            7,
            &guest,
            [
                "this sender",
                "7 of 7 tokens",
                "perSender.dailyTokens",
                "00:00 UTC",
            ],
            86_399,
        ),
        (
            Kind::RunTokens,
            7,
            &guest,
            [
                "one message",
                "7 of 7 tokens",
                "agents.defaults.budget.runTokens",
                "raise",
            ],
            0,
        ),
    ] {
        let budgets = budgets(&folder.path().join("absent"));
        fs::create_dir_all(folder.path().join("absent")).unwrap();
        let limits = [limit(kind, most)];
        let asked = async |id| {
            let who = Who {
                steady: Duration::from_secs(1),
                ..who(grant, TODAY)
            };
            budgets.authorize(&limits, who, id, most.min(7), most).await
        };
        assert!(asked("1").await.is_ok());
        let denied = asked("2").await.err().unwrap().denied;
        assert_eq!(
            (denied.rule, denied.retry_after.as_secs()),
            (kind.row().rule, wait)
        );
        for part in parts {
            assert!(denied.message.contains(part), "{part}: {}", denied.message);
        }
        fs::remove_dir_all(folder.path().join("absent")).unwrap();
    }
}
