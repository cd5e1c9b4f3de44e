//! Commands at policy's edges: who may, where, and that nobody else is told anything; what the owner is told in his own
//! chat; and a flood of strangers.

use clawdbot_identity::{AgentId, Class, MessageId, SessionKey, ToolName};
use clawdbot_proto::v1::notices_client::NoticesClient;

use super::channels::{answer, approve, inbound, named, pairing};
use super::*;
use crate::handle::{Grant, Standing, Trace};
use crate::questions::Question;

const CONFIG: &str = "{channels: {telegram: {allowFrom: [1], groupAllowFrom: [1, 42], groups: {'*': {requireMention: false}}}}}";

fn says(sender: &str, text: &str) -> v1::AdmitSenderRequest {
    v1::AdmitSenderRequest {
        text: text.to_owned(),
        ..inbound(sender)
    }
}

fn in_group(sender: &str, text: &str) -> v1::AdmitSenderRequest {
    v1::AdmitSenderRequest {
        conversation: Some(v1::Conversation {
            kind: v1::ConversationKind::Group.into(),
            id: "-100".to_owned(),
            ..v1::Conversation::default()
        }),
        ..says(sender, text)
    }
}

/// A call of this session that waits, and its id.
async fn asked(
    bench: &Bench,
    grant: Grant,
) -> (
    String,
    tokio::task::JoinHandle<Result<(), crate::denied::Denied>>,
) {
    let policy = bench.policy.clone();
    let before = policy.questions.list(0).len();
    let waits = tokio::spawn(async move {
        let question = Question {
            grant: &grant,
            call: &MessageId::parse("c1").unwrap(),
            tool: &ToolName::parse("exec").unwrap(),
            arguments: "{}",
            reasons: Vec::new(),
        };
        policy.questions.ask(&policy, question).await
    });
    loop {
        if let Some(row) = bench.policy.questions.list(0).get(before) {
            return (row.id.clone(), waits);
        }
        tokio::task::yield_now().await;
    }
}

fn grant(session: &str, class: Class, standing: Standing, sender: &str) -> Grant {
    let key = SessionKey::parse(session).unwrap();
    let door = crate::bench::role("channel-telegram");
    Grant::channel(door, class, key, standing, 0).of(Trace::default(), sender)
}

fn operator() -> Grant {
    Grant::operator(SessionKey::main(&AgentId::main()), 0)
}

#[tokio::test]
async fn only_the_owner_approves_and_only_in_a_conversation_of_his_own() {
    let bench = Bench::new(CONFIG).await;
    let request = answer(&bench, inbound("42")).await;
    assert!(request.contains("pairing approve"));
    let code = pairing(&bench).await.pending[0].code.clone();
    assert_eq!(approve(&bench, &code).await, "telegram/default/42");
    let guests = grant(
        "agent:main:telegram:dm:42",
        Class::Guest,
        Standing::Approved,
        "42",
    );
    let owners = grant("agent:main:main", Class::Main, Standing::Owner, "1");
    for session in [guests, owners] {
        let (id, waits) = asked(&bench, session).await;
        let text = format!("/approve {id}");
        // Who asked, whoever else may write, and the owner where others read along.
        for request in [
            says("42", &text),
            in_group("42", &text),
            in_group("1", &text),
        ] {
            assert_eq!(named(&bench, request).await, "command.not_yours");
        }
        let strangers = named(&bench, says("9", &text)).await;
        assert!(["answer", "pairing.pending"].contains(&strangers.as_str()));
        let gateway = admit_answer(&bench, &text).await;
        assert!(
            gateway.contains(&format!("clawdbot approvals approve {id}")),
            "{gateway}"
        );
        assert!(!waits.is_finished());
        assert_eq!(
            answer(&bench, says("1", &text)).await,
            "Allowed, once: exec."
        );
        assert!(waits.await.unwrap().is_ok());
        let again = answer(&bench, says("1", &text)).await;
        assert!(again.starts_with("Nothing was changed"), "{again}");
    }
}

#[tokio::test]
async fn words_of_somebody_else_are_never_a_command_whoever_sends_them_on() {
    let bench = Bench::new(CONFIG).await;
    let owners = grant("agent:main:main", Class::Main, Standing::Owner, "1");
    let (id, waits) = asked(&bench, owners).await;
    let forwarded = |text: &str| v1::AdmitSenderRequest {
        forwarded: true,
        ..says("1", text)
    };
    for text in [format!("/approve {id}"), format!("/deny {id}")] {
        assert_eq!(named(&bench, forwarded(&text)).await, "agent:main:main");
        assert!(!waits.is_finished());
    }
    // Not even one that is dropped where somebody else gives it.
    let bench_of_guests = Bench::new(
        "{channels: {telegram: {allowFrom: [1, 42]}}, commands: {ownerAllowFrom: ['telegram:1']}}",
    )
    .await;
    for (forwarded, expected) in [
        (false, "command.not_yours"),
        (true, "agent:main:telegram:dm:42"),
    ] {
        let request = v1::AdmitSenderRequest {
            forwarded,
            ..says("42", "/model x")
        };
        assert_eq!(named(&bench_of_guests, request).await, expected);
    }
    // It calls nobody in a group either.
    bench.write("{channels: {telegram: {allowFrom: [1], groupAllowFrom: [1], groups: {'*': {}}}}}");
    bench.load().await;
    for (forwarded, expected) in [
        (false, "agent:main:telegram:group:-100"),
        (true, "group.no_mention"),
    ] {
        let request = v1::AdmitSenderRequest {
            forwarded,
            marks_mentions: true,
            ..in_group("1", "/status")
        };
        assert_eq!(named(&bench, request).await, expected);
    }
    // The words beside a quotation are the owner's own.
    let request = v1::AdmitSenderRequest {
        quoted: true,
        ..says("1", &format!("/approve {id}"))
    };
    assert_eq!(answer(&bench, request).await, "Allowed, once: exec.");
    assert!(waits.await.unwrap().is_ok());
}

/// What policy answers to a text at the gateway's edge.
async fn admit_answer(bench: &Bench, text: &str) -> String {
    let request = v1::AdmitOperatorRequest {
        way: Some(SOCKET),
        session: "main".to_owned(),
        message_id: "m-1".to_owned(),
        text: text.to_owned(),
        ..v1::AdmitOperatorRequest::default()
    };
    let reply = AccessClient::new(bench.edge("gateway"))
        .admit_operator(request)
        .await
        .unwrap()
        .into_inner();
    match reply.outcome.unwrap() {
        v1::admit_reply::Outcome::Answer(text) => text,
        v1::admit_reply::Outcome::Admission(_) => "admitted".to_owned(),
        v1::admit_reply::Outcome::Refusal(refusal) => refusal.rule,
    }
}

#[tokio::test]
async fn a_command_of_somebody_who_may_not_is_dropped_and_one_before_words_is_words() {
    let bench = Bench::new(
        "{channels: {telegram: {allowFrom: [1, 42, '*'], dmPolicy: 'open'}}, commands: {ownerAllowFrom: ['telegram:1']}}",
    )
    .await;
    let guests = "agent:main:telegram:dm:42";
    let strangers = "agent:main:telegram:dm:9";
    for (sender, text, expected) in [
        ("1", "/model x", "agent:main:main"),
        ("1", "/queue", "agent:main:main"),
        ("42", "/model x", "command.not_yours"),
        ("42", "/model x what is this", guests),
        ("42", "/queue collect", "command.not_yours"),
        ("42", "/deny ABCD2345", "command.not_yours"),
        ("42", "/new", guests),
        ("42", "/status", guests),
        ("9", "/new", "command.not_yours"),
        ("9", "/stop", "command.not_yours"),
        ("9", "/status", strangers),
        ("9", "/nonsense", strangers),
        ("9", "hello", strangers),
    ] {
        assert_eq!(
            named(&bench, says(sender, text)).await,
            expected,
            "{sender} {text}"
        );
    }
    assert_eq!(admit_answer(&bench, "/status").await, "admitted");
    bench.write("{channels: {telegram: {allowFrom: [1, 42], dmPolicy: 'allowlist'}}, commands: {text: false}}");
    bench.load().await;
    assert_eq!(named(&bench, says("42", "/model x")).await, guests);
    assert_eq!(admit_answer(&bench, "/approve ABCD2345").await, "admitted");
}

#[tokio::test]
async fn approvers_narrow_the_owners() {
    let bench = Bench::new(
        "{channels: {telegram: {}}, commands: {ownerAllowFrom: ['telegram:1', 'telegram:2']}, approvals: {exec: {approvers: ['telegram:2']}}}",
    )
    .await;
    let guests = grant(
        "agent:main:telegram:dm:42",
        Class::Guest,
        Standing::Approved,
        "42",
    );
    let (id, waits) = asked(&bench, guests).await;
    let refused = answer(&bench, says("1", &format!("/approve {id}"))).await;
    assert!(refused.contains("approvals.exec.approvers"), "{refused}");
    assert_eq!(
        answer(&bench, says("2", &format!("/approve {id} deny"))).await,
        "Refused: exec."
    );
    assert_eq!(waits.await.unwrap().unwrap_err().rule, "approval.denied");
}

#[tokio::test]
async fn the_owner_is_told_of_a_request_once_even_over_a_restart() {
    let bench = Bench::new(CONFIG).await;
    let watch = async |bench: &Bench| {
        let mut client = NoticesClient::new(bench.edge("channel-telegram"));
        client
            .watch(v1::WatchNoticesRequest {})
            .await
            .unwrap()
            .into_inner()
    };
    answer(&bench, inbound("42")).await;
    // Not settled: it comes again, with the next stream and after a restart.
    for _ in 0..2 {
        let notice = watch(&bench).await.message().await.unwrap().unwrap();
        assert_eq!(notice.person, "1");
        assert!(notice.text.contains("42") && notice.text.contains("pairing approve telegram"));
    }
    let bench = bench.restarted().await;
    let mut stream = watch(&bench).await;
    let notice = stream.message().await.unwrap().unwrap();
    let settle = v1::SettleNoticeRequest {
        id: notice.id,
        sent: true,
    };
    NoticesClient::new(bench.edge("channel-telegram"))
        .settle(settle)
        .await
        .unwrap();
    let bench = bench.restarted().await;
    let mut stream = watch(&bench).await;
    // Something else that is told shows that the request is not.
    let (_id, waits) = asked(&bench, operator()).await;
    let notice = stream.message().await.unwrap().unwrap();
    assert!(notice.text.contains("exec"), "{}", notice.text);
    waits.abort();
}

#[tokio::test]
async fn who_was_let_in_is_told_when_the_owner_wants_it() {
    let bench = Bench::new("{channels: {telegram: {}}}").await;
    let mut stream = NoticesClient::new(bench.edge("channel-telegram"))
        .watch(v1::WatchNoticesRequest {})
        .await
        .unwrap()
        .into_inner();
    for (sender, notify) in [("41", false), ("42", true)] {
        answer(&bench, inbound(sender)).await;
        let request = v1::PairingCode {
            channel: "telegram".to_owned(),
            code: pairing(&bench).await.pending[0].code.clone(),
            notify,
            ..v1::PairingCode::default()
        };
        let mut operator = PolicyOperatorClient::new(bench.edge("operator"));
        operator.approve_pairing(request).await.unwrap();
    }
    let notice = stream.message().await.unwrap().unwrap();
    assert_eq!(
        (notice.person.as_str(), notice.account.as_str()),
        ("42", "default")
    );
}

#[tokio::test]
async fn a_thousand_strangers_make_three_requests_one_message_and_few_lines() {
    let bench = Bench::new(CONFIG).await;
    let mut told = Vec::new();
    for sender in 1_000..2_000 {
        told.push(named(&bench, inbound(&sender.to_string())).await);
    }
    let count = |what: &str| told.iter().filter(|one| *one == what).count();
    assert_eq!((count("answer"), count("pairing.full")), (3, 997));
    assert_eq!(pairing(&bench).await.pending.len(), 3);
    assert!(bench.decisions().len() < 50, "{}", bench.decisions().len());
    // The owner still gets through, and nobody else does.
    assert_eq!(named(&bench, inbound("1")).await, "agent:main:main");
    let mut stream = NoticesClient::new(bench.edge("channel-telegram"))
        .watch(v1::WatchNoticesRequest {})
        .await
        .unwrap()
        .into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert!(first.text.contains("1000"), "{}", first.text);
    // What comes next is about something else.
    let (id, waits) = asked(&bench, operator()).await;
    let next = stream.message().await.unwrap().unwrap();
    assert!(next.text.contains(&id), "{}", next.text);
    waits.abort();
}
