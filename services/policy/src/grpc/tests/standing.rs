//! Who is put out loses what his earlier messages earned, at the next use of it; whoever stays keeps it, whatever else in
//! the file changes.

use clawdbot_proto::v1::admit_sender_reply::Outcome;
use clawdbot_proto::v1::offers_client::OffersClient;
use clawdbot_proto::v1::sessions_client::SessionsClient;
use clawdbot_proto::v1::spending_client::SpendingClient;
use clawdbot_proto::v1::tools_client::ToolsClient;
use clawdbot_service::testing::Link;

use super::channels::{approve_as, inbound, name, named, pairing, present};
use super::*;
use crate::bench::role;
use crate::credential::StartCredentials;
use crate::questions::Voice;
use crate::reload;

/// What every use of a handle says: nothing, or why not.
async fn uses(bench: &Bench, handle: &str, class: v1::Class) -> Vec<String> {
    let agent = match class {
        v1::Class::Main => "agent-main",
        _ => "agent-guest",
    };
    let refused = |status: tonic::Status| status.message().to_owned();
    let resolved = SessionsClient::new(bench.edge(agent))
        .resolve(v1::ResolveRequest {
            handle: handle.to_owned(),
        })
        .await;
    let offered = OffersClient::new(bench.edge("executor"))
        .list(v1::OfferRequest {
            handle: handle.to_owned(),
            caller_class: class.into(),
            tools: Vec::new(),
        })
        .await;
    let authorized = SpendingClient::new(bench.edge("model-builtin"))
        .authorize(v1::AuthorizeRequest {
            handle: handle.to_owned(),
            caller_class: class.into(),
            model: "builtin/guide".to_owned(),
            request_id: "r-1".to_owned(),
            ..v1::AuthorizeRequest::default()
        })
        .await;
    let authorized = match authorized.unwrap().into_inner().outcome.unwrap() {
        v1::authorize_reply::Outcome::Allowed(_) => String::new(),
        v1::authorize_reply::Outcome::Refusal(refusal) => refusal.rule,
    };
    let decided = match call(bench, handle, class, v1::Effect::Read).await.as_str() {
        "allow" => String::new(),
        rule => rule.to_owned(),
    };
    let presented = present(bench, handle, "channel-telegram").await.unwrap();
    let presented = match presented.starts_with("session.") {
        true => presented,
        false => String::new(),
    };
    vec![
        resolved.err().map(refused).unwrap_or_default(),
        offered.err().map(refused).unwrap_or_default(),
        authorized,
        decided,
        presented,
    ]
}

async fn call(bench: &Bench, handle: &str, class: v1::Class, effect: v1::Effect) -> String {
    let request = v1::DecideRequest {
        handle: handle.to_owned(),
        caller_class: class.into(),
        tool: "read".to_owned(),
        arguments_json: "{\"to\":\"eve@example.com\"}".to_owned(),
        call_id: "turn:1".to_owned(),
        facts: Some(v1::ToolFacts {
            effect: effect.into(),
            ..v1::ToolFacts::default()
        }),
    };
    let decided = ToolsClient::new(bench.edge("executor"))
        .decide(request)
        .await;
    match decided.unwrap().into_inner().outcome.unwrap() {
        v1::decide_reply::Outcome::Allowed(_) => "allow".to_owned(),
        v1::decide_reply::Outcome::Refusal(refusal) => refusal.rule,
    }
}

fn is_good(uses: &[String]) -> bool {
    uses.iter().all(String::is_empty)
}

fn is_revoked(uses: &[String]) -> bool {
    uses.iter().all(|one| one.starts_with("session.revoked"))
}

async fn admitted(bench: &Bench, request: v1::AdmitSenderRequest) -> v1::Admission {
    match name(bench, request).await.unwrap() {
        Outcome::Admission(admission) => admission,
        other => panic!("{other:?}"),
    }
}

async fn revoke(bench: &Bench, sender: &str) {
    let request = v1::RevokePairingRequest {
        channel: "telegram".to_owned(),
        account: "default".to_owned(),
        sender_id: sender.to_owned(),
    };
    PolicyOperatorClient::new(bench.edge("operator"))
        .revoke_pairing(request)
        .await
        .unwrap();
}

/// Has somebody let in, whatever that makes of him.
async fn paired(bench: &Bench, sender: &str) {
    assert_eq!(named(bench, inbound(sender)).await, "answer");
    let code = pairing(bench).await.pending[0].code.clone();
    approve_as(bench, &code, true).await;
}

fn in_group(sender: &str, thread: &str) -> v1::AdmitSenderRequest {
    v1::AdmitSenderRequest {
        conversation: Some(v1::Conversation {
            kind: v1::ConversationKind::Group.into(),
            id: "-1".to_owned(),
            thread: thread.to_owned(),
            ..v1::Conversation::default()
        }),
        mentioned: true,
        ..inbound(sender)
    }
}

fn file(more: &str, telegram: &str) -> String {
    format!("{{tools: {{profile: 'full'}}, {more} channels: {{telegram: {{{telegram}}}}}}}")
}

#[tokio::test]
async fn what_the_file_takes_away_is_gone_for_earlier_messages_and_what_it_leaves_stays() {
    let people = "allowFrom: [1, 2]";
    let owner = "commands: {ownerAllowFrom: ['telegram:1']},";
    let linked = "commands: {ownerAllowFrom: []}, session: {identityLinks: {ann: ['telegram:2', 'signal:+15555550100']}},";
    let group = "allowFrom: [1, 2], groups: {'-1': {topics: {'7': {}}}, '-2': {}}";
    let direct = |sender| inbound(sender);
    // Who writes where under which file; the file after that; whether what he wrote counts then.
    let rows = [
        (
            direct("2"),
            file("", people),
            file("", "allowFrom: [1, 3]"),
            false,
        ),
        (
            direct("2"),
            file("", people),
            file("", "allowFrom: [1, 2, 3]"),
            true,
        ),
        (
            direct("2"),
            file("", people),
            file("", "dmPolicy: 'disabled', allowFrom: [1, 2]"),
            false,
        ),
        (
            direct("2"),
            file("", people),
            file("", "enabled: false, allowFrom: [1, 2]"),
            false,
        ),
        (
            direct("2"),
            file("", people),
            file("logging: {level: 'debug'},", people),
            true,
        ),
        (
            direct("1"),
            file(owner, people),
            file("commands: {ownerAllowFrom: []},", people),
            false,
        ),
        (
            direct("1"),
            file(owner, people),
            file("commands: {ownerAllowFrom: ['telegram:2']},", people),
            false,
        ),
        (
            direct("1"),
            file(owner, people),
            file(
                "commands: {ownerAllowFrom: ['telegram:2', 'telegram:1']},",
                people,
            ),
            true,
        ),
        // Who becomes the owner goes on as what he was.
        (
            direct("2"),
            file(owner, people),
            file("commands: {ownerAllowFrom: ['telegram:2']},", people),
            true,
        ),
        (
            direct("2"),
            file(linked, people),
            file("commands: {ownerAllowFrom: []},", people),
            false,
        ),
        (
            direct("2"),
            file(linked, people),
            file(linked, "allowFrom: [1, 2, 3]"),
            true,
        ),
        (
            in_group("2", ""),
            file("", group),
            file("", "allowFrom: [1, 2], groups: {'-2': {}}"),
            false,
        ),
        (
            in_group("2", ""),
            file("", group),
            file(
                "",
                "allowFrom: [1, 2], groupPolicy: 'disabled', groups: {'-1': {}}",
            ),
            false,
        ),
        (
            in_group("2", ""),
            file("", group),
            file("", "allowFrom: [1, 2], groups: {'-1': {allowFrom: []}}"),
            false,
        ),
        (
            in_group("2", ""),
            file("", group),
            file(
                "",
                "allowFrom: [1, 2], groups: {'-1': {requireMention: false}}",
            ),
            true,
        ),
        (
            in_group("2", "7"),
            file("", group),
            file(
                "",
                "allowFrom: [1, 2], groups: {'-1': {topics: {'7': {enabled: false}}}}",
            ),
            false,
        ),
        (
            in_group("2", "7"),
            file("", group),
            file(
                "",
                "allowFrom: [1, 2], groups: {'-1': {topics: {'8': {enabled: false}}}}",
            ),
            true,
        ),
        (
            direct("2"),
            file("", "trustNames: true, allowFrom: [1, '@somebody']"),
            file("", "allowFrom: [1, '@somebody']"),
            false,
        ),
        (
            direct("2"),
            file("", "trustNames: true, allowFrom: [1, '@somebody']"),
            file("", "trustNames: true, allowFrom: [3, '@somebody']"),
            true,
        ),
        (
            direct("2"),
            file("", "dmPolicy: 'open', allowFrom: ['*']"),
            file("", "allowFrom: [1, 3]"),
            false,
        ),
    ];
    for (request, before, after, stays) in rows {
        let bench = Bench::new(&before).await;
        let admission = admitted(&bench, request).await;
        let (handle, class) = (admission.handle.as_str(), admission.class());
        let all = uses(&bench, handle, class).await;
        assert!(is_good(&all), "{before}: {all:?}");
        bench.write(&after);
        bench.load().await;
        assert_eq!(bench.policy.trouble(), None, "{after}");
        let all = uses(&bench, handle, class).await;
        match stays {
            true => assert!(is_good(&all), "{before} {after}: {all:?}"),
            false => {
                let off = |one: &String| one.starts_with("channel.off");
                assert!(
                    is_revoked(&all) || all[..4].iter().all(off),
                    "{after}: {all:?}"
                );
                // Put back, it counts again: nothing is kept of that.
                bench.write(&before);
                bench.load().await;
                assert!(is_good(&uses(&bench, handle, class).await), "{before}");
            }
        }
    }
}

#[tokio::test]
async fn an_approval_that_is_taken_back_or_over_ends_what_came_of_it_at_once() {
    let bench = Bench::new(&file("", "allowFrom: [1]")).await;
    paired(&bench, "42").await;
    paired(&bench, "43").await;
    let (gone, stays) = (
        admitted(&bench, inbound("42")).await,
        admitted(&bench, inbound("43")).await,
    );
    revoke(&bench, "42").await;
    let after = async |bench: &Bench| {
        let all = uses(bench, &gone.handle, v1::Class::Guest).await;
        assert!(is_revoked(&all), "{all:?}");
        let all = uses(bench, &stays.handle, v1::Class::Guest).await;
        assert!(is_good(&all), "{all:?}");
    };
    after(&bench).await;
    let bench = bench.restarted().await;
    after(&bench).await;
    bench.write(&file("pairing: {approvalTtl: '0m'},", "allowFrom: [1]"));
    bench.load().await;
    assert!(is_revoked(
        &uses(&bench, &stays.handle, v1::Class::Guest).await
    ));

    // Whom an approval has made the owner.
    let bench = Bench::new(&file("", "allowFrom: ['@somebody']")).await;
    paired(&bench, "42").await;
    let owner = admitted(&bench, inbound("42")).await;
    assert_eq!(owner.class(), v1::Class::Main);
    assert!(is_good(&uses(&bench, &owner.handle, v1::Class::Main).await));
    revoke(&bench, "42").await;
    assert!(is_revoked(
        &uses(&bench, &owner.handle, v1::Class::Main).await
    ));
}

#[tokio::test]
async fn who_was_put_out_while_the_owner_was_asked_gets_nothing_of_the_answer() {
    for (put_out, expected) in [(false, "allow"), (true, "session.revoked")] {
        let bench = std::sync::Arc::new(Bench::new(&file("", "allowFrom: [1]")).await);
        paired(&bench, "42").await;
        let guest = admitted(&bench, inbound("42")).await;
        let asking = {
            let bench = std::sync::Arc::clone(&bench);
            tokio::spawn(async move {
                call(&bench, &guest.handle, v1::Class::Guest, v1::Effect::Egress).await
            })
        };
        let questions = &bench.policy.questions;
        let id = loop {
            if let Some(row) = questions.list(0).pop() {
                break row.id;
            }
            assert!(!asking.is_finished(), "{:?}", asking.await);
            tokio::task::yield_now().await;
        };
        if put_out {
            revoke(&bench, "42").await;
        }
        let word = questions.answer(&bench.policy, &Voice::Operator, &id, true);
        assert!(word.is_ok());
        assert_eq!(asking.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn with_the_token_ends_what_it_let_in_and_not_what_came_by_the_socket() {
    let bench = Bench::new(&format!(
        "{{tools: {{profile: 'full'}}, gateway: {{auth: {{token: '{CANARY}'}}}}}}"
    ))
    .await;
    let visit = verify(&bench, token(CANARY)).await.unwrap();
    let key = v1::admit_operator_request::Way::Key(visit.key);
    let by_key = admit(&bench, key, "main").await.unwrap().handle;
    let by_socket = admit(&bench, SOCKET, "main").await.unwrap().handle;
    let resolve = async |handle: &str| {
        let request = v1::ResolveRequest {
            handle: handle.to_owned(),
        };
        let resolved = SessionsClient::new(bench.edge("agent-main"))
            .resolve(request)
            .await;
        resolved.map_err(|status| status.message().to_owned())
    };
    assert!(resolve(&by_key).await.is_ok());
    bench.write("{tools: {profile: 'full'}, gateway: {auth: {token: 'another-token-of-nobody-0123456789'}}}");
    bench.load().await;
    let refused = resolve(&by_key).await.unwrap_err();
    assert!(refused.starts_with("session.revoked"), "{refused}");
    assert!(resolve(&by_socket).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_put_out_because_a_restart_does_not_know_yet_which_accounts_run() {
    let bench = Bench::unloaded(StartCredentials::default());
    bench.write(&file("", "allowFrom: [1, 2], accounts: {work: {}}"));
    *bench.broker.set.lock().unwrap() = vec!["TELEGRAM_BOT_TOKEN".to_owned()];
    bench.load().await;
    let guest = admitted(&bench, inbound("2")).await;
    let bench = bench.restarted_unloaded();
    let away = Link::new(&role("policy"), &role("broker"));
    reload::load(&bench.policy, &away.edge()).await;
    let resolve = async || {
        let request = v1::ResolveRequest {
            handle: guest.handle.clone(),
        };
        SessionsClient::new(bench.edge("agent-guest"))
            .resolve(request)
            .await
    };
    let waits = resolve().await.unwrap_err();
    assert_eq!(waits.code(), Code::Unavailable, "{}", waits.message());
    let presented = present(&bench, &guest.handle, "channel-telegram").await;
    assert_eq!(presented.unwrap_err().code(), Code::Unavailable);
    bench.load().await;
    assert!(resolve().await.is_ok());
    bench.broker.set.lock().unwrap().clear();
    bench.load().await;
    let refused = resolve().await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}
