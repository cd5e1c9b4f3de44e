//! The services over the real edge table: who gets what, and what is written down.

mod audit;
mod budgets;
mod calls;
mod channels;
mod commands;
mod door;
mod health;
mod sessions;
mod standing;

use clawdbot_proto::v1;
use clawdbot_proto::v1::access_client::AccessClient;
use clawdbot_proto::v1::config_client::ConfigClient;
use clawdbot_proto::v1::policy_operator_client::PolicyOperatorClient;
use clawdbot_proto::v1::snapshot::Slice;
use tonic::Code;

use crate::bench::{Bench, CANARY, captured};
use crate::policy::lock;

/// The rule of a refusal, or the empty text for a visit.
async fn verify(
    bench: &Bench,
    credential: v1::verify_request::Credential,
) -> Result<v1::Visit, v1::Refusal> {
    let request = v1::VerifyRequest {
        credential: Some(credential),
        source: "192.168.1.7".to_owned(),
    };
    let reply = AccessClient::new(bench.edge("gateway"))
        .verify(request)
        .await
        .unwrap()
        .into_inner();
    match reply.outcome.unwrap() {
        v1::verify_reply::Outcome::Visit(visit) => Ok(visit),
        v1::verify_reply::Outcome::Refusal(refusal) => Err(refusal),
    }
}

fn token(text: &str) -> v1::verify_request::Credential {
    v1::verify_request::Credential::Token(text.to_owned())
}

fn password(text: &str) -> v1::verify_request::Credential {
    v1::verify_request::Credential::Password(text.to_owned())
}

async fn admit(
    bench: &Bench,
    way: v1::admit_operator_request::Way,
    session: &str,
) -> Result<v1::Admission, v1::Refusal> {
    let request = v1::AdmitOperatorRequest {
        way: Some(way),
        session: session.to_owned(),
        message_id: "m-1".to_owned(),
        agent: String::new(),
        ..v1::AdmitOperatorRequest::default()
    };
    let reply = AccessClient::new(bench.edge("gateway"))
        .admit_operator(request)
        .await
        .unwrap()
        .into_inner();
    match reply.outcome.unwrap() {
        v1::admit_reply::Outcome::Admission(admission) => Ok(admission),
        v1::admit_reply::Outcome::Refusal(refusal) => Err(refusal),
        v1::admit_reply::Outcome::Answer(text) => panic!("{text}"),
    }
}

const SOCKET: v1::admit_operator_request::Way =
    v1::admit_operator_request::Way::OperatorSocket(true);

#[tokio::test]
async fn the_status_tells_what_is_in_force_and_what_is_wrong_with_the_file() {
    let bench =
        Bench::new("{gateway: {port: 4000}, agents: {defaults: {model: 'ollama/x'}}}").await;
    let status = async || {
        let reply = PolicyOperatorClient::new(bench.edge("operator"))
            .status(v1::PolicyStatusRequest {})
            .await;
        reply.unwrap().into_inner()
    };
    let good = status().await;
    assert_eq!(
        (
            good.revision,
            good.config_exists,
            good.config_error.as_str()
        ),
        (1, true, "")
    );
    assert_eq!(
        (good.listeners, good.auth_mode.as_str(), good.model.as_str()),
        (vec!["127.0.0.1:4000".to_owned()], "token", "ollama/x")
    );
    bench.write("{gateway: {prot: 1}}");
    bench.load().await;
    let bad = status().await;
    assert_eq!(
        (bad.revision, bad.listeners[0].as_str()),
        (1, "127.0.0.1:4000")
    );
    assert!(
        bad.config_error.contains("prot") && bad.config_error.contains('^'),
        "{}",
        bad.config_error
    );
}

#[tokio::test]
async fn each_role_is_sent_its_slice_at_once_and_again_only_when_it_changed() {
    let bench = Bench::new("{gateway: {port: 4000}}").await;
    let mut gateway = ConfigClient::new(bench.edge("gateway"))
        .watch(v1::WatchRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut executor = ConfigClient::new(bench.edge("executor"))
        .watch(v1::WatchRequest {})
        .await
        .unwrap()
        .into_inner();
    let first = gateway.message().await.unwrap().unwrap();
    assert!(
        matches!(&first.slice, Some(Slice::Gateway(slice)) if slice.listeners == ["127.0.0.1:4000"])
    );
    assert!(matches!(
        executor.message().await.unwrap().unwrap().slice,
        Some(Slice::Executor(_))
    ));
    for (revision, config) in [
        (
            2,
            "{agents: {defaults: {workspace: '~/other'}}, gateway: {port: 4000}}",
        ),
        (3, "{gateway: {port: 5000}}"),
    ] {
        bench.write(config);
        bench.load().await;
        assert_eq!(bench.policy.current().ok().unwrap().revision, revision);
    }
    // Revision 2 changed nothing for the gateway, so the next that it sees is 3.
    let next = gateway.message().await.unwrap().unwrap();
    assert!(
        matches!(&next.slice, Some(Slice::Gateway(slice)) if slice.listeners == ["127.0.0.1:5000"])
    );
    assert_eq!((first.revision, next.revision), (1, 3));
    bench.write("{agents: {defaults: {sandbox: {mode: 'all'}}}}");
    bench.load().await;
    assert_eq!(executor.message().await.unwrap().unwrap().revision, 4);
    assert_eq!(gateway.message().await.unwrap().unwrap().revision, 4);
    // What counts for every process is told to every one.
    for (revision, level, require, config) in [
        (
            5,
            "debug",
            "available",
            "{logging: {level: 'debug'}, agents: {defaults: {sandbox: {mode: 'all'}}}}",
        ),
        (
            6,
            "info",
            "full",
            "{sandbox: {require: 'full'}, agents: {defaults: {sandbox: {mode: 'all'}}}}",
        ),
    ] {
        bench.write(config);
        bench.load().await;
        for reader in [&mut gateway, &mut executor] {
            let next = reader.message().await.unwrap().unwrap();
            let told = (
                next.revision,
                next.log_level.as_str(),
                next.sandbox_require.as_str(),
            );
            assert_eq!(told, (revision, level, require));
        }
    }
}

#[tokio::test]
async fn without_a_valid_configuration_everything_is_denied_and_says_why() {
    let bench = Bench::new("{gateway: {prot: 1}}").await;
    let refused = verify(&bench, token("x")).await.err().unwrap();
    assert_eq!(refused.rule, "config.none");
    assert!(
        refused.message.contains("clawdbot.json:1:"),
        "{}",
        refused.message
    );
    assert_eq!(
        admit(&bench, SOCKET, "main").await.unwrap_err().rule,
        "config.none"
    );
    let mut operator = PolicyOperatorClient::new(bench.edge("operator"));
    for status in [
        operator
            .mint_login(v1::MintLoginRequest {})
            .await
            .map(drop)
            .unwrap_err(),
        operator
            .show_token(v1::ShowTokenRequest {})
            .await
            .map(drop)
            .unwrap_err(),
        operator
            .rotate_token(v1::RotateTokenRequest {})
            .await
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::FailedPrecondition);
    }
    bench.write("{}");
    bench.load().await;
    assert!(admit(&bench, SOCKET, "main").await.is_ok());
}

#[tokio::test]
async fn no_credential_reaches_a_log_line_a_record_or_an_error() {
    let bench = Bench::new(&format!("{{gateway: {{auth: {{token: '{CANARY}'}}}}}}")).await;
    let visit = verify(&bench, token(CANARY)).await.unwrap();
    verify(&bench, token(&format!("x{CANARY}")))
        .await
        .err()
        .unwrap();
    let key = v1::admit_operator_request::Way::Key(visit.key.clone());
    let admission = admit(&bench, key, "main").await.unwrap();
    bench.write(&format!(
        "{{gateway: {{auth: {{token: '{CANARY}', oops: 1}}}}}}"
    ));
    bench.load().await;
    let trouble = bench.policy.trouble().unwrap();
    let record = format!("{:?}", bench.decisions());
    let log = captured().lock().unwrap().clone();
    assert!(
        log.contains("the last good one stays in force") && record.contains("auth.token_mismatch"),
        "positive control"
    );
    for secret in [CANARY, &visit.key, &admission.handle] {
        for text in [&log, &record, &trouble.first, &trouble.rendered] {
            assert!(!text.contains(secret));
        }
    }
}

#[tokio::test]
async fn a_flood_of_refusals_leaves_the_record_to_everything_else() {
    let bench = Bench::new("{}").await;
    let lines = || bench.decisions().len();
    for _ in 0..50 {
        verify(&bench, token("wrong")).await.err().unwrap();
    }
    assert_eq!(lines(), 2, "one mismatch, one lockout");
    for expected in [3, 4] {
        assert!(admit(&bench, SOCKET, "main").await.is_ok());
        assert_eq!(lines(), expected);
    }
    bench.policy.end_record();
    let counts = bench.decisions()[4..]
        .iter()
        .map(|line| line["count"].as_u64().unwrap())
        .sum::<u64>();
    assert_eq!((lines(), counts), (6, 48));
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_permitted() {
    let bench = Bench::new("{}").await;
    assert!(admit(&bench, SOCKET, "main").await.is_ok());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let file = lock(&bench.policy.audit).exchange(full.unwrap().into());
    assert_eq!(
        admit(&bench, SOCKET, "main").await.unwrap_err().rule,
        "audit.unavailable"
    );
    assert_eq!(
        verify(&bench, token("wrong")).await.err().unwrap().rule,
        "auth.token_mismatch"
    );
    assert!(bench.policy.audit_trouble().is_some());
    let unsafe_yet = bench.policy.synced().await.unwrap_err();
    assert_eq!(unsafe_yet.rule, "audit.unavailable");
    lock(&bench.policy.audit).exchange(file);
    bench.policy.synced().await.unwrap();
    assert!(admit(&bench, SOCKET, "main").await.is_ok());
}
