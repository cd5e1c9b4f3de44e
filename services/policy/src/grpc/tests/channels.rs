//! A channel worker over its real edge: admission, pairing from the first message to the revocation, and what a handle is
//! worth at other doors.

use std::sync::atomic::{AtomicU64, Ordering};

use clawdbot_proto::v1::admit_sender_reply::Outcome;
use clawdbot_proto::v1::channels_client::ChannelsClient;
use clawdbot_proto::v1::sessions_client::SessionsClient;
use clawdbot_service::testing::Link;

use super::*;
use crate::bench::role;
use crate::credential::StartCredentials;
use crate::reload;

/// Every message is another one.
static EVENTS: AtomicU64 = AtomicU64::new(0);

pub(super) fn inbound(sender: &str) -> v1::AdmitSenderRequest {
    v1::AdmitSenderRequest {
        account: "default".to_owned(),
        event_id: format!("m{}", EVENTS.fetch_add(1, Ordering::Relaxed)),
        conversation: Some(v1::Conversation {
            kind: v1::ConversationKind::Direct.into(),
            id: sender.to_owned(),
            ..v1::Conversation::default()
        }),
        sender: Some(v1::Sender {
            id: sender.to_owned(),
            username: "Somebody".to_owned(),
            display: "Some Body".to_owned(),
            ..v1::Sender::default()
        }),
        ..v1::AdmitSenderRequest::default()
    }
}

pub(super) async fn name(
    bench: &Bench,
    request: v1::AdmitSenderRequest,
) -> Result<Outcome, tonic::Status> {
    let reply = ChannelsClient::new(bench.edge("channel-telegram"))
        .admit(request)
        .await?;
    Ok(reply.into_inner().outcome.unwrap())
}

/// The session key, the rule, or `answer`.
pub(super) async fn named(bench: &Bench, request: v1::AdmitSenderRequest) -> String {
    match name(bench, request).await.unwrap() {
        Outcome::Admission(admission) => admission.session_key,
        Outcome::Ignored(refusal) => refusal.rule,
        Outcome::Answer(_) => "answer".to_owned(),
    }
}

pub(super) async fn answer(bench: &Bench, request: v1::AdmitSenderRequest) -> String {
    match name(bench, request).await.unwrap() {
        Outcome::Answer(text) => text,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn present(
    bench: &Bench,
    handle: &str,
    channel: &str,
) -> Result<String, tonic::Status> {
    let request = v1::PresentRequest {
        handle: handle.to_owned(),
        channel: channel.to_owned(),
    };
    let reply = AccessClient::new(bench.edge("gateway"))
        .present(request)
        .await?;
    Ok(match reply.into_inner().outcome.unwrap() {
        v1::admit_reply::Outcome::Admission(admission) => {
            format!("{:?} {}", admission.class(), admission.session_key)
        }
        v1::admit_reply::Outcome::Refusal(refusal) => refusal.rule,
        v1::admit_reply::Outcome::Answer(text) => text,
    })
}

pub(super) async fn pairing(bench: &Bench) -> v1::ListPairingReply {
    let reply = PolicyOperatorClient::new(bench.edge("operator"))
        .list_pairing(v1::ListPairingRequest {})
        .await;
    reply.unwrap().into_inner()
}

fn told(reply: tonic::Response<v1::PairingReply>) -> String {
    match reply.into_inner().outcome.unwrap() {
        v1::pairing_reply::Outcome::Done(row) => {
            format!("{}/{}/{}", row.channel, row.account, row.sender_id)
        }
        v1::pairing_reply::Outcome::Refusal(refusal) => refusal.rule,
    }
}

pub(super) async fn approve(bench: &Bench, code: &str) -> String {
    approve_as(bench, code, false).await
}

pub(super) async fn approve_as(bench: &Bench, code: &str, owner: bool) -> String {
    let request = v1::PairingCode {
        channel: "telegram".to_owned(),
        code: code.to_owned(),
        owner,
        ..v1::PairingCode::default()
    };
    told(
        PolicyOperatorClient::new(bench.edge("operator"))
            .approve_pairing(request)
            .await
            .unwrap(),
    )
}

#[tokio::test]
async fn a_handle_leads_through_gateway_and_agent_and_only_there() {
    let bench = Bench::new("{channels: {telegram: {allowFrom: [1]}}}").await;
    let Outcome::Admission(owner) = name(&bench, inbound("1")).await.unwrap() else {
        panic!()
    };
    assert_eq!(
        (owner.session_key.as_str(), owner.class()),
        ("agent:main:main", v1::Class::Main)
    );
    assert_eq!(
        present(&bench, &owner.handle, "channel-telegram")
            .await
            .unwrap(),
        "Main agent:main:main"
    );
    assert_eq!(
        present(&bench, &owner.handle, "channel-discord")
            .await
            .unwrap(),
        "session.door"
    );
    assert_eq!(bench.last_decision(), "session.door");
    let operators = admit(&bench, SOCKET, "main").await.unwrap().handle;
    assert_eq!(
        present(&bench, &operators, "channel-telegram")
            .await
            .unwrap(),
        "session.door"
    );
    for channel in ["gateway", "operator", "", "channel-"] {
        let status = present(&bench, &owner.handle, channel).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{channel}");
    }
    let resolve = async |agent| {
        let request = v1::ResolveRequest {
            handle: owner.handle.clone(),
        };
        let reply = SessionsClient::new(bench.edge(agent))
            .resolve(request)
            .await;
        reply.map(|reply| reply.into_inner().standing)
    };
    assert_eq!(resolve("agent-main").await.unwrap(), "owner");
    assert_eq!(
        resolve("agent-guest").await.unwrap_err().code(),
        Code::PermissionDenied
    );
}

#[tokio::test]
async fn a_mark_is_the_same_for_one_sender_in_one_conversation_and_tells_nothing() {
    let config = "{channels: {telegram: {allowFrom: [1], groupAllowFrom: ['*'], groups: {'*': {requireMention: false}}}},
        commands: {ownerAllowFrom: ['telegram:1', 'telegram:2']}}";
    let bench = Bench::new(config).await;
    let mark = async |bench: &Bench, request| {
        let Outcome::Admission(admission) = name(bench, request).await.unwrap() else {
            panic!()
        };
        assert_eq!(admission.mark, "", "a worker has no use for it");
        let request = v1::PresentRequest {
            handle: admission.handle,
            channel: "channel-telegram".to_owned(),
        };
        let reply = AccessClient::new(bench.edge("gateway"))
            .present(request)
            .await;
        match reply.unwrap().into_inner().outcome.unwrap() {
            v1::admit_reply::Outcome::Admission(admission) => admission.mark,
            other => panic!("{other:?}"),
        }
    };
    let group = |chat: &str, sender: &str| v1::AdmitSenderRequest {
        conversation: Some(v1::Conversation {
            kind: v1::ConversationKind::Group.into(),
            id: chat.to_owned(),
            ..v1::Conversation::default()
        }),
        ..inbound(sender)
    };
    let ann = mark(&bench, group("-100", "42")).await;
    assert_eq!(ann.len(), 43, "{ann}");
    assert_eq!(mark(&bench, group("-100", "42")).await, ann);
    let owner = mark(&bench, inbound("1")).await;
    assert_eq!(
        mark(&bench, inbound("2")).await,
        owner,
        "the owner is one person"
    );
    let mut all = vec![ann.clone(), owner];
    for (chat, sender) in [("-100", "43"), ("-100", "1"), ("-100", "2"), ("-200", "42")] {
        all.push(mark(&bench, group(chat, sender)).await);
    }
    let bench = bench.restarted().await;
    assert_eq!(mark(&bench, group("-100", "42")).await, ann);
    // With other rights he is no longer the same.
    bench.write(&config.replace("['*']", "[42, '*']"));
    bench.load().await;
    all.push(mark(&bench, group("-100", "42")).await);
    let other = Bench::new(config).await;
    all.push(mark(&other, group("-100", "42")).await);
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "{all:?}");
}

#[tokio::test]
async fn a_stranger_is_paired_by_the_owner_and_put_out_again() {
    let bench = Bench::new("{channels: {telegram: {allowFrom: [1]}}}").await;
    let first = inbound("42");
    let text = answer(&bench, first.clone()).await;
    // A worker that was killed before it told its platform brings the message again.
    assert_eq!(answer(&bench, first).await, text);
    let waiting = pairing(&bench).await.pending;
    assert_eq!(waiting.len(), 1);
    let row = &waiting[0];
    assert_eq!(
        (
            row.sender_id.as_str(),
            row.sender_hint.as_str(),
            row.expires_ms - row.created_ms
        ),
        ("42", "Some Body (@somebody)", 3_600_000)
    );
    assert!(
        text.contains("42")
            && text.contains(&format!("clawdbot pairing approve telegram {}", row.code)),
        "{text}"
    );
    assert_eq!(
        named(&bench, inbound("42")).await,
        "pairing.pending",
        "one reply only"
    );
    let problems = bench.policy.problems().borrow().clone();
    assert_eq!(problems[0].code, "pairing.requested");
    assert!(problems[0].message.contains(&row.code) && problems[0].role == "channel-telegram");
    // Kill and restart: the code is as good as before.
    let bench = bench.restarted().await;
    assert_eq!(bench.policy.problems().borrow().len(), 1);
    assert_eq!(approve(&bench, "ABCDEFGH").await, "pairing.no_request");
    assert_eq!(
        approve(&bench, &row.code.to_lowercase()).await,
        "telegram/default/42"
    );
    assert_eq!(approve(&bench, &row.code).await, "pairing.no_request");
    assert!(bench.policy.problems().borrow().is_empty());
    assert_eq!(
        named(&bench, inbound("42")).await,
        "agent:main:telegram:dm:42"
    );
    assert_eq!(pairing(&bench).await.approved[0].expires_ms, 0);
    let revoke = async |account: &str| {
        let request = v1::RevokePairingRequest {
            channel: "telegram".to_owned(),
            account: account.to_owned(),
            sender_id: "42".to_owned(),
        };
        told(
            PolicyOperatorClient::new(bench.edge("operator"))
                .revoke_pairing(request)
                .await
                .unwrap(),
        )
    };
    assert_eq!(revoke("work").await, "pairing.not_approved");
    assert_eq!(revoke("default").await, "telegram/default/42");
    assert_eq!(named(&bench, inbound("42")).await, "answer");
    let requests: Vec<_> = bench
        .decisions()
        .iter()
        .map(|line| {
            format!(
                "{} {}",
                line["request"].as_str().unwrap(),
                line["subject"].as_str().unwrap_or("-")
            )
        })
        .collect();
    for wanted in [
        "pairing-request telegram/default/42",
        "pairing-approve telegram/default/42",
        "pairing-revoke telegram/default/42",
        "pairing-approve -",
    ] {
        assert!(
            requests.iter().any(|line| line == wanted),
            "{wanted}: {requests:?}"
        );
    }
    let log = captured().lock().unwrap().clone();
    assert!(
        !log.contains(&row.code) && !format!("{:?}", bench.decisions()).contains(&row.code),
        "a code is for two pairs of eyes"
    );
}

#[tokio::test]
async fn a_rejected_request_lets_nobody_in_and_an_approval_has_its_time() {
    let bench = Bench::new("{channels: {telegram: {}}, pairing: {approvalTtl: '1h'}}").await;
    answer(&bench, inbound("42")).await;
    let code = pairing(&bench).await.pending[0].code.clone();
    let request = v1::PairingCode {
        channel: "telegram".to_owned(),
        code,
        ..v1::PairingCode::default()
    };
    let reply = PolicyOperatorClient::new(bench.edge("operator"))
        .reject_pairing(request)
        .await;
    assert_eq!(told(reply.unwrap()), "telegram/default/42");
    answer(&bench, inbound("42")).await;
    let code = pairing(&bench).await.pending[0].code.clone();
    approve(&bench, &code).await;
    let row = pairing(&bench).await.approved[0].clone();
    assert_eq!(row.expires_ms - row.approved_ms, 3_600_000);
    assert_eq!(
        named(&bench, inbound("42")).await,
        "agent:main:telegram:dm:42"
    );
    bench.write("{channels: {telegram: {}}, pairing: {approvalTtl: '0m'}}");
    bench.load().await;
    assert_eq!(
        named(&bench, inbound("42")).await,
        "answer",
        "the limit of now counts"
    );
}

#[tokio::test]
async fn fifty_first_messages_at_once_get_one_answer_and_the_fourth_stranger_none() {
    let bench = Bench::new("{channels: {telegram: {}}}").await;
    let all = (0..50).map(|_| named(&bench, inbound("42")));
    let answers = futures_util::future::join_all(all).await;
    assert_eq!(answers.iter().filter(|told| *told == "answer").count(), 1);
    assert!(
        answers
            .iter()
            .all(|told| told == "answer" || told == "pairing.pending")
    );
    for (sender, expected) in [
        ("43", "answer"),
        ("44", "answer"),
        ("45", "pairing.full"),
        ("42", "pairing.pending"),
    ] {
        assert_eq!(named(&bench, inbound(sender)).await, expected, "{sender}");
    }
    let old = v1::AdmitSenderRequest {
        backlog: true,
        ..inbound("46")
    };
    assert_eq!(named(&bench, old).await, "pairing.backlog");
}

#[tokio::test]
async fn a_listed_name_belongs_to_whom_the_owner_approved_of() {
    for (owners, list, expected) in [
        (
            "",
            "['@somebody']",
            Some("@somebody is in allowFrom, where nobody else is"),
        ),
        (
            "commands: {ownerAllowFrom: ['telegram:@somebody']},",
            "['@somebody', 7]",
            Some("@somebody is in commands.ownerAllowFrom"),
        ),
        (
            "commands: {ownerAllowFrom: ['telegram:7']},",
            "['@somebody', 7]",
            None,
        ),
    ] {
        let bench = Bench::new(&format!(
            "{{{owners} channels: {{telegram: {{dmPolicy: 'allowlist', allowFrom: {list}}}}}}}"
        ))
        .await;
        assert_eq!(named(&bench, inbound("42")).await, "answer");
        let told = bench.policy.problems().borrow()[0].message.clone();
        let row = pairing(&bench).await.pending.remove(0);
        assert_eq!(row.name, "@somebody");
        // Nobody is made the owner without being told so before.
        let first = approve(&bench, &row.code).await;
        match expected {
            Some(expected) => {
                let command = format!("clawdbot pairing approve telegram {} --owner", row.code);
                assert!(told.contains(expected) && told.contains(&command), "{told}");
                assert_eq!(first, "pairing.makes_owner");
                assert_eq!(bench.last_decision(), "pairing.makes_owner");
                assert_eq!(named(&bench, inbound("42")).await, "pairing.pending");
                let second = approve_as(&bench, &row.code, true).await;
                assert_eq!(second, "telegram/default/42");
            }
            None => {
                assert!(!told.contains("--owner"), "{told}");
                assert_eq!(first, "telegram/default/42");
            }
        }
        let bench = bench.restarted().await;
        // The name is pinned now; another bearer of it is nobody.
        let session = match expected {
            Some(_) => "agent:main:main",
            None => "agent:main:telegram:dm:42",
        };
        assert_eq!(named(&bench, inbound("42")).await, session);
        assert_eq!(named(&bench, inbound("43")).await, "dm.not_listed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_while_nobody_knows_whether_its_account_runs() {
    let bench = Bench::unloaded(StartCredentials::default());
    let away = Link::new(&role("policy"), &role("broker"));
    reload::load(&bench.policy, &away.edge()).await;
    let status = name(&bench, inbound("42")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().starts_with("channel.unsettled: "),
        "{}",
        status.message()
    );
    bench.load().await;
    assert_eq!(named(&bench, inbound("42")).await, "channel.off");
    *bench.broker.set.lock().unwrap() = vec!["TELEGRAM_BOT_TOKEN".to_owned()];
    bench.load().await;
    assert_eq!(named(&bench, inbound("42")).await, "answer");
}

#[tokio::test]
async fn nothing_is_decided_without_a_configuration_and_a_channel_that_does_not_run_has_nobody() {
    let bench = Bench::new("{channels: {telegram: {}}").await;
    let status = name(&bench, inbound("42")).await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::Unavailable,
        "the worker keeps the message"
    );
    assert!(
        status.message().starts_with("config.none: "),
        "{}",
        status.message()
    );
    assert_eq!(
        present(&bench, "abc", "channel-telegram")
            .await
            .unwrap_err()
            .code(),
        Code::Unavailable
    );
    bench.write("{}");
    bench.load().await;
    assert_eq!(named(&bench, inbound("42")).await, "channel.off");
}

#[tokio::test]
async fn ids_of_another_form_are_invalid_arguments() {
    let bench = Bench::new("{channels: {telegram: {}}}").await;
    let changed = |change: fn(&mut v1::AdmitSenderRequest)| {
        let mut request = inbound("42");
        change(&mut request);
        request
    };
    assert!(name(&bench, changed(|_| ())).await.is_ok());
    for bad in [
        changed(|r| r.event_id = String::new()),
        changed(|r| r.account = "Work".to_owned()),
        changed(|r| r.account = String::new()),
        changed(|r| r.sender = None),
        changed(|r| r.sender.as_mut().unwrap().id = "@ann".to_owned()),
        changed(|r| r.sender.as_mut().unwrap().id = "1:2".to_owned()),
        changed(|r| r.sender.as_mut().unwrap().id = String::new()),
        changed(|r| r.conversation = None),
        changed(|r| r.conversation.as_mut().unwrap().kind = 0),
        changed(|r| r.conversation.as_mut().unwrap().kind = 9),
        changed(|r| r.conversation.as_mut().unwrap().id = "x".to_owned()),
        changed(|r| r.conversation.as_mut().unwrap().thread = "-1".to_owned()),
        changed(|r| r.conversation.as_mut().unwrap().also = vec!["x".to_owned()]),
        changed(|r| r.sender.as_mut().unwrap().also = vec!["@ann".to_owned()]),
        changed(|r| r.sender.as_mut().unwrap().also = vec!["7".to_owned(); 5]),
    ] {
        assert_eq!(
            name(&bench, bad.clone()).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{bad:?}"
        );
    }
    let other = ChannelsClient::new(bench.edge("channel-matrix"))
        .admit(inbound("42"))
        .await;
    assert_eq!(other.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn the_owner_meets_himself_in_the_main_session_whatever_it_is_called() {
    let bench =
        Bench::new("{session: {mainKey: 'home'}, channels: {telegram: {allowFrom: [1]}}}").await;
    assert_eq!(named(&bench, inbound("1")).await, "agent:main:home");
    for (name, key) in [("main", "agent:main:home"), ("notes", "agent:main:notes")] {
        let admission = admit(&bench, SOCKET, name).await.unwrap();
        assert_eq!(admission.session_key, key);
    }
}

#[tokio::test]
async fn a_channel_that_marks_no_mentions_and_knows_people_by_two_ids_is_judged_like_any_other() {
    let bench = Bench::new(
        "{channels: {signal: {allowFrom: ['+1 555 555 0101', '+15555550102'], groups: {'group:AbCdEfGh12345678': {}}}},
          agents: {list: [{id: 'main', identity: {name: 'Clawd'}}]}}",
    )
    .await;
    let uuid = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";
    let said = |kind: v1::ConversationKind, place: &str, number: &str, text: &str| {
        v1::AdmitSenderRequest {
            conversation: Some(v1::Conversation {
                kind: kind.into(),
                id: place.to_owned(),
                ..v1::Conversation::default()
            }),
            sender: Some(v1::Sender {
                id: uuid.to_owned(),
                also: vec![number.to_owned()],
                ..v1::Sender::default()
            }),
            text: text.to_owned(),
            ..inbound("42")
        }
    };
    let (direct, group) = (v1::ConversationKind::Direct, v1::ConversationKind::Group);
    let listed = "signal:+1-555-555-0101";
    for (request, expected) in [
        (
            said(direct, uuid, listed, ""),
            "agent:main:signal:dm:uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
        (
            said(group, "AbCdEfGh12345678", listed, "hey cla\u{200b}wd"),
            "agent:main:signal:group:abcdefgh12345678",
        ),
        (
            said(group, "AbCdEfGh12345678", listed, "hey"),
            "group.no_mention",
        ),
        (
            said(group, "ZbCdEfGh12345678", listed, "hey clawd"),
            "group.not_listed",
        ),
        (
            said(group, "AbCdEfGh12345678", "+15555550109", "hey clawd"),
            "group.sender",
        ),
    ] {
        let mut client = ChannelsClient::new(bench.edge("channel-signal"));
        let reply = client.admit(request).await.unwrap().into_inner();
        let told = match reply.outcome.unwrap() {
            Outcome::Admission(admission) => admission.session_key,
            Outcome::Ignored(refusal) => refusal.rule,
            Outcome::Answer(text) => text,
        };
        assert_eq!(told, expected);
    }
    // It is judged, and nothing is started for it.
    let current = bench.policy.current().ok().unwrap();
    assert!(!crate::slices::is_planned(
        &current.settings,
        "channel-signal"
    ));
    // Nothing of what was written is in the record.
    assert!(!format!("{:?}", bench.decisions()).contains("hey"));
}

#[tokio::test]
async fn a_flood_of_strangers_leaves_the_record_to_everything_else() {
    let bench = Bench::new("{channels: {telegram: {dmPolicy: 'allowlist'}}}").await;
    for n in 0..50 {
        assert_eq!(
            named(&bench, inbound(&n.to_string())).await,
            "dm.not_listed"
        );
    }
    assert_eq!(bench.decisions().len(), 1);
}
