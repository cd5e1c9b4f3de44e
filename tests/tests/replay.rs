//! What was said once and is said again, and session handles in the wrong hands: of another class, made for another channel,
//! forged in every byte. Whoever holds one process gains nothing by either.

use std::time::Duration;

use clawdbot_proto::v1::access_client::AccessClient;
use clawdbot_proto::v1::admit_operator_request::Way;
use clawdbot_proto::v1::agent_client::AgentClient;
use clawdbot_proto::v1::channel_desk_client::ChannelDeskClient;
use clawdbot_proto::v1::channels_client::ChannelsClient;
use clawdbot_proto::v1::chat_client::ChatClient;
use clawdbot_proto::v1::executor_client::ExecutorClient;
use clawdbot_proto::v1::model_client::ModelClient;
use clawdbot_proto::v1::policy_operator_client::PolicyOperatorClient;
use clawdbot_proto::v1::sessions_client::SessionsClient;
use clawdbot_proto::v1::{
    self, admit_reply, admit_sender_reply, chat_event, generate_event, model_message, run_event,
};
use clawdbot_proto::v1::{pairing_reply, verify_reply};
use clawdbot_tests::cell::Cell;
use clawdbot_tests::verdict::Verdicts;
use tonic::{Code, Status};

const CONFIGURATION: &str = r#"{ channels: { telegram: {
  botToken: "4711:replay-test-token-of-nobody-0123456789", dmPolicy: "pairing", allowFrom: ["77"],
} } }"#;

fn refused(status: &Status) -> String {
    format!("refused {}", status.code() as i32)
}

/// The operator's handle, of class main.
async fn of_operator(cell: &Cell) -> String {
    let request = v1::AdmitOperatorRequest {
        way: Some(Way::OperatorSocket(true)),
        session: "main".into(),
        message_id: "m1".into(),
        agent: String::new(),
        ..v1::AdmitOperatorRequest::default()
    };
    let mut access = AccessClient::new(cell.edge("gateway", "policy"));
    match access
        .admit_operator(request)
        .await
        .unwrap()
        .into_inner()
        .outcome
    {
        Some(admit_reply::Outcome::Admission(admission)) => admission.handle,
        other => panic!("{other:?}"),
    }
}

async fn admit(
    cell: &Cell,
    worker: &str,
    sender: &str,
    event: &str,
) -> admit_sender_reply::Outcome {
    let request = v1::AdmitSenderRequest {
        account: "default".into(),
        event_id: event.into(),
        conversation: Some(v1::Conversation {
            kind: v1::ConversationKind::Direct.into(),
            id: sender.into(),
            ..v1::Conversation::default()
        }),
        sender: Some(v1::Sender {
            id: sender.into(),
            username: String::new(),
            display: "Somebody".into(),
            is_bot: false,
            is_anonymous: false,
            ..v1::Sender::default()
        }),
        mentioned: false,
        replies_to_bot: false,
        backlog: false,
        ..v1::AdmitSenderRequest::default()
    };
    let mut channels = ChannelsClient::new(cell.edge(worker, "policy"));
    channels
        .admit(request)
        .await
        .unwrap()
        .into_inner()
        .outcome
        .unwrap()
}

/// Somebody else's handle, of class guest, made for the Telegram worker.
async fn of_guest(cell: &Cell) -> String {
    let outcome = admit(cell, "channel-telegram", "88", "u1").await;
    let admit_sender_reply::Outcome::Answer(text) = outcome else {
        panic!("{outcome:?}")
    };
    let mut operator = PolicyOperatorClient::new(cell.edge("operator", "policy"));
    let code = code_of(cell, "88").await;
    assert!(text.contains(&code), "{text}");
    let approved = operator
        .approve_pairing(code_named(&code))
        .await
        .unwrap()
        .into_inner();
    assert!(
        matches!(approved.outcome, Some(pairing_reply::Outcome::Done(_))),
        "{approved:?}"
    );
    match admit(cell, "channel-telegram", "88", "u2").await {
        admit_sender_reply::Outcome::Admission(admission) => {
            assert_eq!(admission.class, i32::from(v1::Class::Guest));
            admission.handle
        }
        other => panic!("{other:?}"),
    }
}

fn code_named(code: &str) -> v1::PairingCode {
    v1::PairingCode {
        channel: "telegram".into(),
        code: code.into(),
        ..v1::PairingCode::default()
    }
}

async fn code_of(cell: &Cell, sender: &str) -> String {
    let mut operator = PolicyOperatorClient::new(cell.edge("operator", "policy"));
    let list = operator
        .list_pairing(v1::ListPairingRequest {})
        .await
        .unwrap()
        .into_inner();
    let row = list.pending.iter().find(|row| row.sender_id == sender);
    row.unwrap_or_else(|| panic!("{list:?}")).code.clone()
}

async fn resolve(cell: &Cell, agent: &str, handle: &str) -> String {
    let mut sessions = SessionsClient::new(cell.edge(agent, "policy"));
    let request = v1::ResolveRequest {
        handle: handle.into(),
    };
    match sessions.resolve(request).await {
        Ok(_) => "worked".into(),
        Err(status) => refused(&status),
    }
}

/// The last event of a turn.
async fn run(
    cell: &Cell,
    agent: &str,
    handle: &str,
    turn: &str,
    text: &str,
) -> Result<run_event::Event, Status> {
    let request = v1::RunRequest {
        turn_id: turn.into(),
        handle: handle.into(),
        text: text.into(),
        source: "operator".into(),
        ..v1::RunRequest::default()
    };
    let mut client = AgentClient::new(cell.edge("gateway", agent));
    let mut stream = client.run(request).await?.into_inner();
    let mut last = None;
    while let Some(event) = stream.message().await? {
        last = event.event.or(last);
    }
    last.ok_or_else(|| Status::internal("no event"))
}

async fn ran(cell: &Cell, agent: &str, handle: &str, turn: &str) -> String {
    match run(cell, agent, handle, turn, "hello").await {
        Ok(run_event::Event::Answer(_)) => "worked".into(),
        Ok(run_event::Event::Failed(failed)) => failed.code,
        Ok(other) => panic!("{other:?}"),
        Err(status) => refused(&status),
    }
}

async fn invoke(
    cell: &Cell,
    agent: &str,
    handle: &str,
    call: &str,
) -> Result<v1::InvokeReply, Status> {
    let request = v1::InvokeRequest {
        call_id: call.into(),
        handle: handle.into(),
        tool: "session_status".into(),
        arguments_json: "{}".into(),
        facts: None,
    };
    let mut executor = ExecutorClient::new(cell.edge(agent, "executor"));
    executor
        .invoke(request)
        .await
        .map(tonic::Response::into_inner)
}

async fn invoked(cell: &Cell, agent: &str, handle: &str, call: &str) -> String {
    match invoke(cell, agent, handle, call).await {
        Ok(reply) if reply.refused_rule.is_empty() => "worked".into(),
        Ok(reply) => reply.refused_rule,
        Err(status) => refused(&status),
    }
}

async fn generated(cell: &Cell, agent: &str, handle: &str) -> String {
    let user = model_message::Message::User(v1::UserMessage { text: "hi".into() });
    let request = v1::GenerateRequest {
        request_id: "r1".into(),
        handle: handle.into(),
        model: "guide".into(),
        messages: vec![v1::ModelMessage {
            message: Some(user),
        }],
        ..v1::GenerateRequest::default()
    };
    let mut model = ModelClient::new(cell.edge(agent, "model-builtin"));
    let answer = async {
        let mut stream = model.generate(request).await?.into_inner();
        let mut last = None;
        while let Some(event) = stream.message().await? {
            last = event.event.or(last);
        }
        Ok::<_, Status>(last)
    };
    match answer.await {
        Ok(Some(generate_event::Event::Error(error))) => {
            format!("{:?}", error.class()).to_lowercase()
        }
        Ok(_) => "worked".into(),
        Err(status) => refused(&status),
    }
}

async fn delivered(cell: &Cell, worker: &str, handle: &str, event: &str) -> String {
    let request = v1::DeliverRequest {
        messages: vec![v1::Inbound {
            account: "default".into(),
            event_id: event.into(),
            handle: handle.into(),
            text: "hello".into(),
            address: b"88".to_vec(),
            lane: "88".into(),
            at_ms: 1,
            sender_name: String::new(),
        }],
    };
    let mut desk = ChannelDeskClient::new(cell.edge(worker, "gateway"));
    match desk.deliver(request).await {
        Ok(reply) => match reply.into_inner().receipts[0].state() {
            v1::ReceiptState::Accepted => "worked".into(),
            v1::ReceiptState::Known => "known".into(),
            v1::ReceiptState::Refused => "refused".into(),
            other => format!("{other:?}"),
        },
        Err(status) => refused(&status),
    }
}

async fn presented(cell: &Cell, handle: &str, channel: &str) -> String {
    let request = v1::PresentRequest {
        handle: handle.into(),
        channel: channel.into(),
    };
    let mut access = AccessClient::new(cell.edge("gateway", "policy"));
    match access.present(request).await {
        Ok(reply) => match reply.into_inner().outcome.unwrap() {
            admit_reply::Outcome::Admission(_) => "worked".into(),
            admit_reply::Outcome::Refusal(refusal) => refusal.rule,
            admit_reply::Outcome::Answer(text) => text,
        },
        Err(status) => refused(&status),
    }
}

/// The same text with one letter changed.
fn forged(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_handle_in_the_wrong_hands_opens_nothing() {
    let cell = Cell::start(CONFIGURATION);
    let mut verdicts = Verdicts::default();
    let (main, guest) = (of_operator(&cell).await, of_guest(&cell).await);
    for (attempt, agent, handle) in [
        ("own-class", "agent-main", &main),
        ("own-class-guest", "agent-guest", &guest),
        ("guest-s-at-main", "agent-main", &guest),
        ("main-s-at-guest", "agent-guest", &main),
        ("forged", "agent-main", &forged(&main, 60)),
        ("cut", "agent-main", &main[..main.len() - 4].to_owned()),
    ] {
        verdicts.note(attempt, "policy", resolve(&cell, agent, handle).await);
        verdicts.note(attempt, "agent", ran(&cell, agent, handle, attempt).await);
        verdicts.note(
            attempt,
            "executor",
            invoked(&cell, agent, handle, attempt).await,
        );
        verdicts.note(attempt, "model", generated(&cell, agent, handle).await);
    }
    for (attempt, worker, handle) in [
        ("own-channel", "channel-telegram", &guest),
        ("another-channel", "channel-other", &guest),
        ("the-operator-s", "channel-telegram", &main),
        (
            "forged-by-a-channel",
            "channel-telegram",
            &forged(&guest, 60),
        ),
    ] {
        verdicts.note(attempt, "policy", presented(&cell, handle, worker).await);
        verdicts.note(
            attempt,
            "gateway",
            delivered(&cell, worker, handle, attempt).await,
        );
    }
    // Every letter of both, changed: none of them is a handle.
    for (agent, handle) in [("agent-main", &main), ("agent-guest", &guest)] {
        let mut sessions = SessionsClient::new(cell.edge(agent, "policy"));
        for at in 0..handle.len() {
            let request = v1::ResolveRequest {
                handle: forged(handle, at),
            };
            let status = sessions.resolve(request).await.unwrap_err();
            assert_eq!(
                status.code(),
                Code::PermissionDenied,
                "letter {at}: {status:?}"
            );
        }
    }
    verdicts.agree("handles");
}

#[tokio::test]
async fn what_was_done_once_is_not_done_again() {
    let cell = Cell::start(CONFIGURATION);
    let mut verdicts = Verdicts::default();
    let (main, guest) = (of_operator(&cell).await, of_guest(&cell).await);

    // A turn: the answer of the first time, and the question stands once.
    let first = run(&cell, "agent-main", &main, "turn-1", "say it once")
        .await
        .unwrap();
    let second = run(&cell, "agent-main", &main, "turn-1", "say it once")
        .await
        .unwrap();
    assert_eq!(first, second);
    let mut agent = AgentClient::new(cell.edge("gateway", "agent-main"));
    let request = v1::AgentHistoryRequest {
        handle: main.clone(),
        limit: 100,
    };
    let history = agent.history(request).await.unwrap().into_inner().entries;
    let questions = history
        .iter()
        .filter(|entry| entry.text.contains("say it once") && entry.role == "user");
    verdicts.note("turn-id", "agent", format!("done {}", questions.count()));

    // A tool call: one decision of policy, one output.
    let first = invoke(&cell, "agent-main", &main, "call-1").await.unwrap();
    let second = invoke(&cell, "agent-main", &main, "call-1").await.unwrap();
    assert_eq!(first, second);
    assert!(!first.is_error, "{first:?}");
    let record = cell.scratch.state().join("audit/decisions.jsonl");
    let decided = || {
        let text = std::fs::read_to_string(&record).unwrap();
        text.lines().filter(|line| line.contains("call-1")).count()
    };
    assert!(clawdbot_tests::kernel::eventually(
        Duration::from_secs(60),
        || decided() > 0
    ));
    verdicts.note("call-id", "executor", format!("done {}", decided()));
    // By the other class it is another call, and policy refuses it.
    verdicts.note(
        "call-id-of-another-class",
        "executor",
        invoked(&cell, "agent-guest", &main, "call-1").await,
    );

    // A message of the command line, and one of a channel.
    let mut known = Vec::new();
    for _ in 0..2 {
        let mut chat = ChatClient::new(cell.edge("operator", "gateway"));
        let request = v1::SendRequest {
            message_id: "message-1".into(),
            session: "main".into(),
            text: "hello".into(),
        };
        let mut stream = chat.send(request).await.unwrap().into_inner();
        while let Some(event) = stream.message().await.unwrap() {
            if let Some(chat_event::Event::Accepted(accepted)) = event.event {
                known.push(accepted.known);
            }
        }
    }
    verdicts.note(
        "message-id",
        "gateway",
        if known == [false, true] {
            "known"
        } else {
            "twice"
        },
    );
    assert_eq!(
        delivered(&cell, "channel-telegram", &guest, "event-1").await,
        "worked"
    );
    verdicts.note(
        "event-id",
        "gateway",
        delivered(&cell, "channel-telegram", &guest, "event-1").await,
    );

    // A login code is good once; the key that it gave is good again, and ends with the token.
    let mut operator = PolicyOperatorClient::new(cell.edge("operator", "policy"));
    let code = operator
        .mint_login(v1::MintLoginRequest {})
        .await
        .unwrap()
        .into_inner()
        .code;
    let mut access = AccessClient::new(cell.edge("gateway", "policy"));
    let redeem = v1::RedeemRequest {
        code,
        source: "127.0.0.1".into(),
    };
    let first = access.redeem(redeem.clone()).await.unwrap().into_inner();
    let Some(verify_reply::Outcome::Visit(visit)) = first.outcome else {
        panic!("a login code is good once")
    };
    let said = |reply: v1::VerifyReply| match reply.outcome.unwrap() {
        verify_reply::Outcome::Visit(_) => "worked".to_owned(),
        verify_reply::Outcome::Refusal(refusal) => refusal.rule,
    };
    verdicts.note(
        "login-code",
        "policy",
        said(access.redeem(redeem).await.unwrap().into_inner()),
    );
    let key = |key: &str| v1::CheckKeyRequest { key: key.into() };
    for name in ["visit-key", "visit-key-again"] {
        let again = access
            .check_key(key(&visit.key))
            .await
            .unwrap()
            .into_inner();
        verdicts.note(name, "policy", said(again));
    }
    for at in 0..visit.key.len() {
        let reply = access
            .check_key(key(&forged(&visit.key, at)))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(said(reply), "visit.key", "letter {at}");
    }
    operator
        .rotate_token(v1::RotateTokenRequest {})
        .await
        .unwrap();
    let after = access
        .check_key(key(&visit.key))
        .await
        .unwrap()
        .into_inner();
    verdicts.note("visit-key-of-the-old-token", "policy", said(after));

    // A pairing code approves once.
    assert!(matches!(
        admit(&cell, "channel-telegram", "99", "u9").await,
        admit_sender_reply::Outcome::Answer(_)
    ));
    let code = code_named(&code_of(&cell, "99").await);
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let reply = operator
            .approve_pairing(code.clone())
            .await
            .unwrap()
            .into_inner();
        outcomes.push(match reply.outcome.unwrap() {
            pairing_reply::Outcome::Done(_) => "worked".to_owned(),
            pairing_reply::Outcome::Refusal(refusal) => refusal.rule,
        });
    }
    assert_eq!(outcomes[0], "worked");
    verdicts.note("pairing-code", "policy", outcomes.remove(1));
    verdicts.agree("replays");
}
