//! Where arguments come from, over the real edge table: what the owner says counts, what others say is asked about, and a
//! forwarded message is not the owner's.

use clawdbot_proto::v1::approvals_operator_client::ApprovalsOperatorClient;
use clawdbot_proto::v1::calls_client::CallsClient;
use clawdbot_proto::v1::channels_client::ChannelsClient;
use clawdbot_proto::v1::sessions_client::SessionsClient;
use clawdbot_proto::v1::tools_client::ToolsClient;

use super::channels::inbound;
use super::*;

const OWNER: &str = "{tools: {profile: 'full'}, approvals: {exec: {enabled: false}}, \
                     channels: {telegram: {enabled: true, botToken: 'x:y', allowFrom: ['7']}}}";

/// Whether a call that sends something to `to` is allowed, or the rule.
async fn send(bench: &Bench, handle: &str, to: &str) -> String {
    let request = v1::DecideRequest {
        handle: handle.to_owned(),
        caller_class: v1::Class::Main.into(),
        tool: "send".to_owned(),
        arguments_json: format!("{{\"to\":\"{to}\"}}"),
        // Another call for each, and the same one again for the same.
        call_id: format!("turn:{}", to.replace('@', "-")),
        facts: Some(v1::ToolFacts {
            effect: v1::Effect::Egress.into(),
            ..v1::ToolFacts::default()
        }),
    };
    decide(bench, request).await
}

async fn decide(bench: &Bench, request: v1::DecideRequest) -> String {
    let reply = ToolsClient::new(bench.edge("executor"))
        .decide(request)
        .await;
    match reply.unwrap().into_inner().outcome.unwrap() {
        v1::decide_reply::Outcome::Allowed(_) => "allow".to_owned(),
        v1::decide_reply::Outcome::Refusal(refusal) => refusal.rule,
    }
}

fn page(handle: &str) -> v1::CallReport {
    v1::CallReport {
        handle: handle.to_owned(),
        caller_class: v1::Class::Main.into(),
        call_id: "turn:page".to_owned(),
        tool: "page".to_owned(),
        ran: true,
        label: v1::Label::Public.into(),
        text: true,
        ..v1::CallReport::default()
    }
}

async fn said(bench: &Bench, text: &str) -> String {
    let request = v1::AdmitOperatorRequest {
        way: Some(SOCKET),
        session: "main".to_owned(),
        message_id: "m-1".to_owned(),
        text: text.to_owned(),
        ..v1::AdmitOperatorRequest::default()
    };
    let reply = AccessClient::new(bench.edge("gateway"))
        .admit_operator(request)
        .await;
    match reply.unwrap().into_inner().outcome.unwrap() {
        v1::admit_reply::Outcome::Admission(admission) => admission.handle,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_report_taints_and_the_owners_words_still_pass() {
    let bench = Bench::new(OWNER).await;
    let handle = said(&bench, "tell ann@example.com").await;
    assert_eq!(send(&bench, &handle, "eve@example.com").await, "allow");
    let mut calls = CallsClient::new(bench.edge("executor"));
    calls.report(page(&handle)).await.unwrap();
    assert_eq!(send(&bench, &handle, "ann@example.com").await, "allow");
    assert_eq!(
        send(&bench, &handle, "eve@example.com").await,
        "approval.off"
    );
    let raised = bench
        .decisions()
        .into_iter()
        .find(|line| line["request"] == "taint");
    assert_eq!(
        raised.unwrap()["subject"],
        "tainted+astray",
        "no call was decided"
    );
    // After a restart, too; the words are gone then.
    let bench = bench.restarted().await;
    assert_eq!(
        send(&bench, &handle, "ann@example.com").await,
        "approval.off"
    );
    let handle = said(&bench, "tell ann@example.com, I said").await;
    assert_eq!(send(&bench, &handle, "ann@example.com").await, "allow");
}

#[tokio::test]
async fn an_id_of_a_call_is_no_other_calls_until_its_turn_begins_again() {
    let bench = Bench::new(OWNER).await;
    let handle = said(&bench, "hi").await;
    let call = async |handle: &str, tool: &str, arguments: &str| {
        let request = v1::DecideRequest {
            handle: handle.to_owned(),
            caller_class: v1::Class::Main.into(),
            tool: tool.to_owned(),
            arguments_json: arguments.to_owned(),
            call_id: "turn:1".to_owned(),
            ..v1::DecideRequest::default()
        };
        decide(&bench, request).await
    };
    for (tool, arguments, expected) in [
        ("read", "{}", "allow"),
        ("read", "{}", "allow"),
        ("read", "{\"a\":1}", "call.changed"),
        ("send", "{}", "call.changed"),
        ("read", "{}", "allow"),
    ] {
        let decided = call(&handle, tool, arguments).await;
        assert_eq!(decided, expected, "{tool} {arguments}");
    }
    assert_eq!(
        bench
            .decisions()
            .iter()
            .filter(|line| line["rule"] == "call.changed")
            .count(),
        2
    );
    let other = said(&bench, "and now?").await;
    assert_eq!(call(&other, "send", "{}").await, "allow", "another message");
    let request = v1::ResolveRequest {
        handle: handle.clone(),
    };
    let mut agent = SessionsClient::new(bench.edge("agent-main"));
    agent.resolve(request).await.unwrap();
    assert_eq!(
        call(&handle, "send", "{}").await,
        "allow",
        "its agent was killed"
    );
}

#[tokio::test]
async fn a_report_needs_a_handle_of_its_class_and_has_bounds() {
    let bench = Bench::new(OWNER).await;
    let handle = said(&bench, "hi").await;
    let mut calls = CallsClient::new(bench.edge("executor"));
    let many = v1::CallReport {
        members: vec![String::new(); 513],
        ..page(&handle)
    };
    let guests = v1::CallReport {
        caller_class: v1::Class::Guest.into(),
        ..page(&handle)
    };
    for (report, code) in [
        (many, Code::InvalidArgument),
        (page("nonsense"), Code::PermissionDenied),
        (guests, Code::PermissionDenied),
    ] {
        assert_eq!(calls.report(report).await.unwrap_err().code(), code);
    }
    assert_eq!(send(&bench, &handle, "eve@example.com").await, "allow");
}

#[tokio::test]
async fn what_the_owner_forwards_or_quotes_is_not_his_word_and_taints_and_what_he_says_beside_it_is_his()
 {
    let bench = Bench::new(OWNER).await;
    let admitted = async |text: &str, forwarded, quoted| {
        let request = v1::AdmitSenderRequest {
            text: text.to_owned(),
            forwarded,
            quoted,
            ..inbound("7")
        };
        let reply = ChannelsClient::new(bench.edge("channel-telegram"))
            .admit(request)
            .await;
        match reply.unwrap().into_inner().outcome.unwrap() {
            v1::admit_sender_reply::Outcome::Admission(admission) => admission.handle,
            other => panic!("{other:?}"),
        }
    };
    let handle = admitted("hi", false, false).await;
    assert_eq!(send(&bench, &handle, "bob@example.com").await, "allow");
    let handle = admitted("tell ann@example.com", false, true).await;
    for (whom, expected) in [
        ("ann@example.com", "allow"),
        ("bob@example.com", "approval.off"),
    ] {
        assert_eq!(send(&bench, &handle, whom).await, expected);
    }
    let handle = admitted("tell eve@example.com", true, false).await;
    assert_eq!(
        send(&bench, &handle, "eve@example.com").await,
        "approval.off"
    );
    let handle = admitted("tell eve@example.com", false, false).await;
    assert_eq!(send(&bench, &handle, "eve@example.com").await, "allow");
}

/// Allows the one call that waits, as soon as it does.
async fn approve(bench: &Bench) {
    let mut operator = ApprovalsOperatorClient::new(bench.edge("operator"));
    let id = loop {
        let waiting = operator.list(v1::ListQuestionsRequest {}).await.unwrap();
        if let Some(question) = waiting.into_inner().questions.pop() {
            break question.id;
        }
    };
    let answer = v1::AnswerRequest { id, allow: true };
    operator.answer(answer).await.unwrap();
}

#[tokio::test]
async fn the_owners_word_opens_nothing_that_was_forbidden_meanwhile() {
    let asks = OWNER.replace("enabled: false", "enabled: true");
    for (forbidden, expected) in [(false, "allow"), (true, "tool.denied")] {
        let bench = Bench::new(&asks).await;
        let handle = said(&bench, "hi").await;
        let mut calls = CallsClient::new(bench.edge("executor"));
        calls.report(page(&handle)).await.unwrap();
        let word = async {
            if forbidden {
                let mut operator = ApprovalsOperatorClient::new(bench.edge("operator"));
                let waits = v1::ListQuestionsRequest {};
                while operator
                    .list(waits)
                    .await
                    .unwrap()
                    .into_inner()
                    .questions
                    .is_empty()
                {}
                bench.write(&asks.replace("profile: 'full'", "profile: 'full', deny: ['*']"));
                bench.load().await;
            }
            approve(&bench).await;
        };
        let (outcome, ()) = tokio::join!(send(&bench, &handle, "eve@example.com"), word);
        assert_eq!(outcome, expected);
    }
}
