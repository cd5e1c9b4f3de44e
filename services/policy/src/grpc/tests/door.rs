//! Tokens, passwords, login codes and visits, as the gateway and the command line meet them.

use super::*;
use crate::bench::secret;
use crate::credential::StartCredentials;

const PASSWORD: &str = "{gateway: {auth: {password: 'correct horse battery'}}}";

async fn shown(bench: &Bench) -> v1::Token {
    let reply = PolicyOperatorClient::new(bench.edge("operator"))
        .show_token(v1::ShowTokenRequest {})
        .await;
    reply.unwrap().into_inner()
}

async fn check(bench: &Bench, key: &str) -> String {
    let request = v1::CheckKeyRequest {
        key: key.to_owned(),
    };
    let reply = AccessClient::new(bench.edge("gateway"))
        .check_key(request)
        .await
        .unwrap()
        .into_inner();
    match reply.outcome.unwrap() {
        v1::verify_reply::Outcome::Visit(_) => "open".to_owned(),
        v1::verify_reply::Outcome::Refusal(refusal) => refusal.rule,
    }
}

async fn redeem(bench: &Bench, code: &str) -> String {
    let request = v1::RedeemRequest {
        code: code.to_owned(),
        source: "127.0.0.1".to_owned(),
    };
    let reply = AccessClient::new(bench.edge("gateway"))
        .redeem(request)
        .await
        .unwrap()
        .into_inner();
    match reply.outcome.unwrap() {
        v1::verify_reply::Outcome::Visit(visit) => check(bench, &visit.key).await,
        v1::verify_reply::Outcome::Refusal(refusal) => refusal.rule,
    }
}

#[tokio::test]
async fn the_generated_token_opens_a_visit_that_survives_a_restart_and_ends_with_a_rotation() {
    let bench = Bench::new("{}").await;
    let old = shown(&bench).await;
    assert_eq!((old.source.as_str(), old.token.len()), ("generated", 43));
    let visit = verify(&bench, token(&old.token)).await.unwrap();
    assert_eq!(visit.ttl_seconds, 12 * 60 * 60);
    let bench = bench.restarted().await;
    assert_eq!(shown(&bench).await.token, old.token);
    assert_eq!(check(&bench, &visit.key).await, "open");
    let rotated = PolicyOperatorClient::new(bench.edge("operator"))
        .rotate_token(v1::RotateTokenRequest {})
        .await;
    let new = rotated.unwrap().into_inner();
    assert_ne!(new.token, old.token);
    assert_eq!(check(&bench, &visit.key).await, "visit.key");
    assert_eq!(
        verify(&bench, token(&old.token)).await.err().unwrap().rule,
        "auth.token_mismatch"
    );
    assert!(verify(&bench, token(&new.token)).await.is_ok());
    let bench = bench.restarted().await;
    assert_eq!(shown(&bench).await.token, new.token);
    assert_eq!(check(&bench, &visit.key).await, "visit.key");
}

#[tokio::test]
async fn a_token_of_the_configuration_or_the_environment_is_shown_and_not_rotated() {
    let configured = "{gateway: {auth: {token: '5f8e1c0a9b7d4632f1e0c9d8a7b6e5f4'}}}";
    for (config, source, remedy) in [
        (configured, "config", "gateway.auth.token"),
        ("{}", "environment", "CLAWDBOT_GATEWAY_TOKEN"),
    ] {
        let start = StartCredentials {
            token: secret("fedcba9876543210fedcba9876543210"),
            password: None,
        };
        let bench = Bench::unloaded(start);
        bench.write(config);
        bench.load().await;
        assert_eq!(shown(&bench).await.source, source);
        let rotated = PolicyOperatorClient::new(bench.edge("operator"))
            .rotate_token(v1::RotateTokenRequest {})
            .await;
        let status = rotated.err().unwrap();
        assert!(
            status.code() == Code::FailedPrecondition && status.message().contains(remedy),
            "{}",
            status.message()
        );
        assert_eq!(bench.last_decision(), "token.configured");
    }
}

#[tokio::test]
async fn a_password_is_checked_and_a_change_of_it_ends_the_visits() {
    let bench = Bench::new(PASSWORD).await;
    let visit = verify(&bench, password("correct horse battery"))
        .await
        .unwrap();
    assert_eq!(
        verify(&bench, password("correct horse"))
            .await
            .err()
            .unwrap()
            .rule,
        "auth.password_mismatch"
    );
    assert_eq!(
        verify(&bench, token("correct horse battery"))
            .await
            .err()
            .unwrap()
            .rule,
        "auth.password_required"
    );
    let status = PolicyOperatorClient::new(bench.edge("operator"))
        .show_token(v1::ShowTokenRequest {})
        .await
        .err()
        .unwrap();
    assert!(
        status.message().contains("gateway.auth.mode"),
        "{}",
        status.message()
    );
    for (config, expected) in [
        (
            "{gateway: {port: 9, auth: {password: 'correct horse battery'}}}",
            "open",
        ),
        ("{}", "visit.key"),
    ] {
        bench.write(config);
        bench.load().await;
        assert_eq!(check(&bench, &visit.key).await, expected);
    }
}

#[tokio::test]
async fn wrong_tries_lock_the_source_out_and_the_operator_never() {
    let bench = Bench::new("{gateway: {auth: {rateLimit: {maxAttempts: 3}}}}").await;
    let right = shown(&bench).await.token;
    for _ in 0..3 {
        assert_eq!(
            verify(&bench, token("wrong")).await.err().unwrap().rule,
            "auth.token_mismatch"
        );
    }
    let refused = verify(&bench, token(&right)).await.err().unwrap();
    assert_eq!(refused.rule, "auth.rate_limited");
    // Five minutes less what has passed; the tries are counted for one.
    assert!(
        (61..=300).contains(&refused.retry_after_seconds),
        "{}",
        refused.retry_after_seconds
    );
    assert_eq!(bench.last_decision(), "auth.rate_limited");
    assert!(admit(&bench, SOCKET, "main").await.is_ok());
    assert_eq!(redeem(&bench, "another source").await, "login.code");
}

#[tokio::test]
async fn tries_at_a_password_at_the_same_time_cannot_outrun_the_limit() {
    let bench = Bench::new(
        "{gateway: {auth: {password: 'correct horse battery', rateLimit: {maxAttempts: 2}}}}",
    )
    .await;
    let outcomes = futures_util::future::join_all(
        (0..8).map(|_| verify(&bench, password("wrong wrong wrong"))),
    )
    .await;
    let rules: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| outcome.err().unwrap().rule)
        .collect();
    let count = |rule: &str| rules.iter().filter(|known| *known == rule).count();
    assert_eq!(
        (count("auth.password_mismatch"), count("auth.rate_limited")),
        (2, 6),
        "{rules:?}"
    );
}

#[tokio::test]
async fn a_login_code_opens_one_visit_once() {
    let bench = Bench::new("{}").await;
    let minted = PolicyOperatorClient::new(bench.edge("operator"))
        .mint_login(v1::MintLoginRequest {})
        .await;
    let minted = minted.unwrap().into_inner();
    assert_eq!(minted.ttl_seconds, 60);
    assert_eq!(redeem(&bench, &minted.code).await, "open");
    assert_eq!(redeem(&bench, &minted.code).await, "login.code");
}

#[tokio::test]
async fn what_is_no_address_or_no_credential_is_an_invalid_argument() {
    let bench = Bench::new("{}").await;
    let mut gateway = AccessClient::new(bench.edge("gateway"));
    for (credential, source) in [
        (None, "127.0.0.1"),
        (Some(token("x")), "localhost"),
        (Some(token("x")), "127.0.0.1:80"),
    ] {
        let request = v1::VerifyRequest {
            credential,
            source: source.to_owned(),
        };
        assert_eq!(
            gateway.verify(request).await.err().unwrap().code(),
            Code::InvalidArgument,
            "{source}"
        );
    }
}
