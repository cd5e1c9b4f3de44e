//! What a question promises: for one call, answered once, by the owner alone, and never for ever.

use std::sync::Arc;

use clawdbot_identity::Class;
use clawdbot_proto::v1::approvals_operator_client::ApprovalsOperatorClient;
use clawdbot_proto::v1::notices_client::NoticesClient;
use tokio::task::JoinHandle;

use super::*;
use crate::bench::{Bench, role};
use crate::distil::tests::settings_of;
use crate::handle::Standing;
use crate::policy::{Policy, unix_ms};

const CONFIG: &str = "{channels: {telegram: {allowFrom: [1]}}}";

fn key(text: &str) -> SessionKey {
    SessionKey::parse(text).unwrap()
}

fn guest() -> Grant {
    let session = key("agent:main:telegram:dm:42");
    let door = role("channel-telegram");
    Grant::channel(door, Class::Guest, session, Standing::Approved, 0).of(Trace([7; 8]), "42")
}

fn operator() -> Grant {
    Grant::operator(key("agent:main:main"), 0)
}

/// Asks in a task of its own.
fn ask(
    policy: &Arc<Policy>,
    grant: Grant,
    call: &str,
    arguments: &str,
) -> JoinHandle<Result<(), Denied>> {
    let (policy, call) = (Arc::clone(policy), MessageId::parse(call).unwrap());
    let (tool, arguments) = (ToolName::parse("exec").unwrap(), arguments.to_owned());
    tokio::spawn(async move {
        let question = Question {
            grant: &grant,
            call: &call,
            tool: &tool,
            arguments: &arguments,
            reasons: vec!["the path comes from a web page".to_owned()],
        };
        policy.questions.ask(&policy, question).await
    })
}

fn rule(outcome: Result<(), Denied>) -> &'static str {
    outcome.err().map_or("allowed", |denied| denied.rule)
}

/// The ids of what waits, once there are so many.
async fn waiting(policy: &Policy, count: usize) -> Vec<String> {
    loop {
        let all = policy.questions.list(unix_ms());
        if all.len() == count {
            return all.into_iter().map(|row| row.id).collect();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_call_waits_for_one_word_and_an_id_is_good_once() {
    let bench = Bench::new(CONFIG).await;
    for (allow, expected) in [(true, "allowed"), (false, "approval.denied")] {
        let asked = ask(&bench.policy, operator(), "c1", "{}");
        let id = waiting(&bench.policy, 1).await.remove(0);
        let mut client = ApprovalsOperatorClient::new(bench.edge("operator"));
        let listed = client
            .list(v1::ListQuestionsRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(listed.questions[0].id, id);
        let answer = |id: String| {
            let mut client = client.clone();
            async move {
                let request = v1::AnswerRequest { id, allow };
                client
                    .answer(request)
                    .await
                    .unwrap()
                    .into_inner()
                    .outcome
                    .unwrap()
            }
        };
        use v1::answer_reply::Outcome;
        let Outcome::Done(row) = answer(id.to_ascii_lowercase()).await else {
            panic!("no answer was taken")
        };
        assert_eq!(
            (row.tool.as_str(), row.session_key.as_str()),
            ("exec", "agent:main:main")
        );
        assert_eq!(rule(asked.await.unwrap()), expected);
        let Outcome::Refusal(refused) = answer(id).await else {
            panic!("an id was good twice")
        };
        assert_eq!(refused.rule, "approval.no_question");
    }
    let requests: Vec<_> = bench
        .decisions()
        .iter()
        .map(|line| line["request"].clone())
        .collect();
    for request in ["question", "approve", "deny"] {
        assert!(requests.contains(&request.into()), "{request}");
    }
}

#[tokio::test]
async fn nobody_who_could_be_asked_is_a_refusal_at_once() {
    for (config, grant, expected) in [
        (
            "{channels: {telegram: {allowFrom: [1, 2]}}}",
            guest(),
            "approval.nobody",
        ),
        (
            "{channels: {telegram: {allowFrom: [1], dmPolicy: 'disabled'}}}",
            guest(),
            "approval.nobody",
        ),
        (
            "{channels: {telegram: {allowFrom: [1]}}, approvals: {exec: {agentFilter: ['other']}}, agents: {list: [{id: 'main'}, {id: 'other'}]}}",
            guest(),
            "approval.nobody",
        ),
        (
            "{approvals: {exec: {enabled: false}}}",
            operator(),
            "approval.off",
        ),
    ] {
        let bench = Bench::new(config).await;
        let refused = ask(&bench.policy, grant, "c1", "{}").await.unwrap();
        assert_eq!(rule(refused), expected, "{config}");
        assert!(bench.policy.questions.list(0).is_empty());
    }
}

#[tokio::test]
async fn without_an_answer_a_call_is_refused_when_its_time_is_over() {
    let bench = Bench::new("{channels: {telegram: {allowFrom: [1]}}}").await;
    tokio::time::pause();
    let asked = ask(&bench.policy, guest(), "c1", "{}");
    let id = waiting(&bench.policy, 1).await.remove(0);
    let row = bench.policy.questions.list(unix_ms()).remove(0);
    assert_eq!(row.expires_ms - row.asked_ms, 120_000);
    tokio::time::advance(Duration::from_secs(119)).await;
    assert!(!asked.is_finished());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(rule(asked.await.unwrap()), "approval.timeout");
    let late = bench
        .policy
        .questions
        .answer(&bench.policy, &Voice::Operator, &id, true);
    assert_eq!(late.unwrap_err().rule, "approval.no_question");
    // By the wall clock, too, which goes on while the machine sleeps.
    let questions = Questions::default();
    let seat = sit(&questions, "c2", 1_000).unwrap();
    let answer = |now_ms| questions.settle(&seat.row.id, true, now_ms, |_, _| Ok(()));
    assert!(answer(121_000).is_err());
    assert!(answer(120_999).is_ok());
}

#[tokio::test]
async fn who_asked_and_goes_away_withdraws_the_question() {
    let bench = Bench::new(CONFIG).await;
    let (first, second) = (
        ask(&bench.policy, guest(), "c1", "{}"),
        ask(&bench.policy, guest(), "c1", "{}"),
    );
    let ids = waiting(&bench.policy, 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    // The same call was asked about again: it is one question, and it stays for the other one.
    assert_eq!(waiting(&bench.policy, 1).await, ids);
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    assert!(bench.policy.questions.list(0).is_empty());
    assert!(bench.policy.problems().borrow().is_empty());
}

#[tokio::test]
async fn a_question_is_for_these_arguments_and_only_so_many_wait() {
    let bench = Bench::new(CONFIG).await;
    let first = ask(&bench.policy, guest(), "c0", r#"{"a":1}"#);
    waiting(&bench.policy, 1).await;
    let changed = ask(&bench.policy, guest(), "c0", r#"{"a":2}"#)
        .await
        .unwrap();
    assert_eq!(rule(changed), "approval.changed");
    let mut others = vec![first];
    for number in 1..MAX_OF_ONE {
        others.push(ask(&bench.policy, guest(), &format!("c{number}"), "{}"));
    }
    waiting(&bench.policy, MAX_OF_ONE).await;
    let elsewhere = Grant {
        session: key("agent:main:telegram:group:-1"),
        ..guest()
    };
    for grant in [guest(), elsewhere] {
        let more = ask(&bench.policy, grant, "c99", "{}").await.unwrap();
        assert_eq!(
            rule(more),
            "approval.too_many",
            "a person has no more than these"
        );
    }
    for one in others {
        one.abort();
    }
}

#[tokio::test]
async fn nobody_takes_the_last_seats_of_those_above_him() {
    let bench = Bench::new(CONFIG).await;
    let grant = |standing: Standing, number: usize| {
        let name = format!("{standing}{number}");
        let grant = match standing {
            Standing::Owner => Grant {
                session: key(&format!("agent:main:{name}")),
                ..operator()
            },
            _ => Grant {
                session: key(&format!("agent:main:telegram:dm:{name}")),
                ..guest()
            },
        };
        Grant { standing, ..grant }.of(Trace::default(), &name)
    };
    let (mut taken, mut all) = (0, Vec::new());
    for (standing, most) in SEATS {
        for number in taken..most {
            all.push(ask(&bench.policy, grant(standing, number), "c", "{}"));
        }
        waiting(&bench.policy, most).await;
        taken = most;
        // Whoever is at the end of his own seats finds none of another's.
        for (lower, _) in SEATS.iter().filter(|(lower, _)| *lower >= standing) {
            let more = ask(&bench.policy, grant(*lower, 99), "c", "{}");
            assert_eq!(rule(more.await.unwrap()), "approval.too_many", "{lower}");
        }
    }
    for one in all {
        one.abort();
    }
}

/// A question of a guest, directly.
fn sit(questions: &Questions, call: &str, now_ms: u64) -> Result<Seat, Denied> {
    let grant = guest();
    let question = Question {
        grant: &grant,
        call: &MessageId::parse(call).unwrap(),
        tool: &ToolName::parse("exec").unwrap(),
        arguments: "{}",
        reasons: Vec::new(),
    };
    let random = || Ok(u64::to_be_bytes(now_ms + call.len() as u64));
    questions.sit(&question, Duration::from_secs(120), now_ms, random)
}

#[test]
fn seats_of_those_who_left_and_of_questions_that_are_over_are_free() {
    let questions = Questions::default();
    let (first, second) = (
        sit(&questions, "c1", 0).unwrap(),
        sit(&questions, "c1", 0).unwrap(),
    );
    assert_eq!((first.fresh, second.fresh), (true, false));
    // Both are still there while both leave: who looks at the other one sees him.
    questions.leave(&first.row.id);
    assert!(questions.waits(&first.row.id));
    questions.leave(&second.row.id);
    assert!(!questions.waits(&second.row.id));
    drop((first, second));
    for number in 0..MAX_OF_ONE {
        sit(&questions, &"c".repeat(number + 1), 1_000).unwrap();
    }
    assert!(sit(&questions, "c9", 1_000).is_err());
    assert!(sit(&questions, "c9", 120_999).is_err());
    assert!(sit(&questions, "c9", 121_000).is_ok());
    assert_eq!(questions.list(121_000).len(), 1);
    assert_eq!(questions.open().len(), 1);
}

#[test]
fn a_word_is_written_down_when_it_counts_and_counts_when_it_is_written_down() {
    let questions = Questions::default();
    let seat = sit(&questions, "c1", 0).unwrap();
    let id = seat.row.id.clone();
    let full = || Err(Denied::new("audit.unavailable", "full"));
    let refused = questions.settle(&id, true, 0, |_, _| full());
    assert_eq!(refused.unwrap_err().rule, "audit.unavailable");
    assert_eq!(*seat.word.borrow(), None);
    let mut records = 0;
    questions
        .settle(&id, true, 0, |_, _| {
            records += 1;
            assert_eq!(*seat.word.borrow(), None);
            Ok(())
        })
        .unwrap();
    assert_eq!((*seat.word.borrow(), records), (Some(true), 1));
    // Who has left before the word is not spoken of as having got it.
    let seat = sit(&questions, "c1", 0).unwrap();
    questions.leave(&seat.row.id);
    let late = questions.settle(&seat.row.id, true, 0, |_, _| panic!("nothing happens"));
    assert_eq!(late.unwrap_err().rule, "approval.no_question");
}

#[tokio::test]
async fn one_of_two_at_a_question_gets_the_word_although_the_other_one_left() {
    let bench = Bench::new(CONFIG).await;
    let (first, second) = (
        ask(&bench.policy, guest(), "c1", "{}"),
        ask(&bench.policy, guest(), "c1", "{}"),
    );
    let id = waiting(&bench.policy, 1).await.remove(0);
    while bench.policy.questions.open()[0].seats < 2 {
        tokio::task::yield_now().await;
    }
    first.abort();
    let _ = first.await;
    let word = bench
        .policy
        .questions
        .answer(&bench.policy, &Voice::Operator, &id, true);
    assert!(word.is_ok());
    assert_eq!(rule(second.await.unwrap()), "allowed");
}

#[tokio::test]
async fn the_owner_is_told_once_where_he_can_answer() {
    let bench = Bench::new(CONFIG).await;
    let mut notices = NoticesClient::new(bench.edge("channel-telegram"))
        .watch(v1::WatchNoticesRequest {})
        .await
        .unwrap()
        .into_inner();
    let asked = ask(&bench.policy, guest(), "c1", r#"{"command":"ls"}"#);
    let notice = notices.message().await.unwrap().unwrap();
    let id = waiting(&bench.policy, 1).await.remove(0);
    assert_eq!(
        (notice.person.as_str(), notice.account.as_str()),
        ("1", "default")
    );
    for part in [
        "exec",
        "command: ls",
        "a web page",
        &format!("/approve {id}"),
        &format!("/deny {id}"),
    ] {
        assert!(notice.text.contains(part), "{part}: {}", notice.text);
    }
    let problem = bench.policy.problems().borrow()[0].clone();
    assert_eq!(problem.code, "approval.waiting");
    assert!(
        problem
            .message
            .contains(&format!("clawdbot approvals approve {id}"))
    );
    asked.abort();
    let _ = asked.await;
    assert!(bench.policy.problems().borrow().is_empty());
}

#[test]
fn a_question_goes_where_the_configuration_says_and_never_to_who_may_not_answer() {
    let recipients = |exec: &str, grant: &Grant| {
        let text = format!(
            "{{channels: {{telegram: {{allowFrom: [1]}}}}, approvals: {{exec: {{{exec}}}}}}}"
        );
        let settings = settings_of(&text);
        let owners = crate::people::owners(&settings, &crate::pairing::Book::default(), 0);
        let to = settings.approvals.recipients(grant, owners);
        let shown = to
            .iter()
            .map(|one| format!("{}/{}{}", one.channel, one.person, one.thread));
        shown.collect::<Vec<_>>().join(" ")
    };
    let owners_own = Grant {
        session: key("agent:main:main"),
        ..guest()
    }
    .of(Trace::default(), "1");
    let targets = "targets: [{channel: 'telegram', to: '5', threadId: '3'}]";
    for (exec, from_guest, from_owner) in [
        ("", "telegram/1", "telegram/1"),
        ("mode: 'session'", "telegram/1", "telegram/1"),
        (targets, "telegram/53", "telegram/53"),
        (
            &format!("mode: 'session', {targets}"),
            "telegram/1",
            "telegram/1",
        ),
        (
            &format!("mode: 'both', {targets}"),
            "telegram/53",
            "telegram/53 telegram/1",
        ),
        ("mode: 'both'", "telegram/1", "telegram/1"),
        ("sessionFilter: ['dm:42']", "telegram/1", ""),
    ] {
        assert_eq!(recipients(exec, &guest()), from_guest, "{exec}");
        assert_eq!(recipients(exec, &owners_own), from_owner, "{exec}");
    }
}
