//! Keys, profiles, and what policy hears of them.

use std::sync::Arc;

use clawdbot_fakes::provider::{Fault, Provider, Reply};
use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::{GenerateRequest, HealthReport, ModelErrorClass};

use super::requests::APIS;
use super::rig::{Rig, request};
use crate::exchange::Exchange;

fn codes(report: &HealthReport) -> Vec<&str> {
    report.problems.iter().map(|p| p.code.as_str()).collect()
}

#[tokio::test]
async fn a_wrong_key_is_told_with_the_remedy_and_the_next_key_works_at_once() {
    for api in APIS {
        let rig = Rig::new(api).await;
        rig.provider.require_key("key-number-two");
        let (class, error, _) = rig.error().await;
        assert_eq!(class, ModelErrorClass::Auth, "{api}");
        assert!(
            error.message.contains("clawdbot login --provider p"),
            "{}",
            error.message
        );
        let report = rig.reported(|report| !report.problems.is_empty()).await;
        assert_eq!(codes(&report), ["model.auth"]);

        let rig = rig.live();
        rig.lend(&[("default", "key-number-two")]).await;
        let report = rig
            .reported(|report| report.lease_version == 2 && report.checked)
            .await;
        assert!(report.problems.is_empty(), "{report:?}");
        assert_eq!(rig.text().await, "You said: hello there");
    }
}

#[tokio::test]
async fn each_new_lease_is_checked_before_anybody_asks() {
    for api in APIS {
        let rig = Rig::new(api).await;
        rig.provider.require_key("key-number-two");
        let rig = rig.live();
        let report = rig.reported(|report| report.checked).await;
        assert_eq!(
            (codes(&report), report.lease_version),
            (vec!["model.auth"], 1),
            "{api}"
        );
        assert!(
            report.problems[0]
                .message
                .contains("clawdbot login --provider p")
        );
        assert!(rig.provider.asked().is_empty());
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_reported_and_so_is_its_return() {
    let rig = Rig::new("ollama").await;
    let fault = crate::fault::Fault::new(crate::fault::Kind::Unreachable, "connection refused");
    *rig.unreachable.lock().unwrap() = Some(fault);
    let rig = rig.live();
    let report = rig.reported(|report| report.checked).await;
    assert_eq!(codes(&report), ["model.unavailable"]);
    *rig.unreachable.lock().unwrap() = None;
    rig.text().await;
    rig.reported(|report| report.problems.is_empty()).await;
}

#[tokio::test]
async fn no_error_repeats_a_key_or_a_configured_header() {
    let rig = Rig::new("openai-completions").await;
    rig.provider.fault(
        Fault::status(400).saying("bad: Bearer key-number-one, X-Team: blue-team-secret, ok"),
    );
    let (_, error, _) = rig.error().await;
    assert!(
        error
            .message
            .contains("bad: Bearer [secret], X-Team: [secret], ok"),
        "{}",
        error.message
    );
    let fault = Fault::status(401).saying("Incorrect API key provided: key-number-one");
    rig.provider.fault(fault);
    let (_, error, _) = rig.error().await;
    assert!(!error.message.contains("key-number-one") && error.message.contains("[secret]"));
    let report = rig.reported(|report| codes(report) == ["model.auth"]).await;
    assert!(!report.problems[0].message.contains("key-number-one"));
}

#[tokio::test]
async fn without_a_key_nobody_is_asked_and_the_broker_s_remedy_is_shown() {
    let rig = Rig::new("anthropic-messages").await;
    // An address of a company: there a key is needed.
    rig.configure(|slice| slice.base_url = "https://api.example.com".into());
    rig.lend(&[]).await;
    let rig = rig.live();
    let (class, error, _) = rig.error().await;
    assert_eq!(class, ModelErrorClass::Auth);
    assert!(
        error.message.contains("clawdbot login --provider p"),
        "{}",
        error.message
    );
    assert_eq!(rig.dialled(), 0);
    let report = rig.reported(|report| !report.problems.is_empty()).await;
    assert_eq!(
        (codes(&report), report.lease_version),
        (vec!["model.no_key"], 0)
    );
    // One's own server needs none.
    rig.configure(|_| {});
    assert_eq!(rig.text().await, "You said: hello there");
    let seen = rig.provider.asked().pop().unwrap();
    assert!(!seen.headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn keys_are_shown_only_at_the_address_that_they_are_meant_for() {
    let rig = Rig::new("openai-completions").await.live();
    rig.change_lease(|lent| lent.audience = "a".into()).await;
    rig.configure(|slice| slice.audience = "a".into());
    assert_eq!(rig.text().await, "You said: hello there");
    let dialled = rig.dialled();

    // The configuration is there first.
    let other = Provider::start().await.unwrap();
    let mut settings = rig.shared.settings.clone();
    settings.mark_unchanged();
    rig.configure(|slice| {
        slice.base_url = format!("http://{}/v1", other.address());
        slice.audience = "b".into();
    });
    settings.changed().await.unwrap();
    let mut waiting = Exchange::new(Arc::clone(&rig.shared), request());
    tokio::select! {
        biased;
        event = waiting.next() => panic!("it does not wait for its keys: {event:?}"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(rig.dialled(), dialled);
    rig.change_lease(|lent| {
        lent.keys[0].1 = "key-number-two".into();
        lent.audience = "b".into();
    })
    .await;
    assert_eq!(rig.text().await, "You said: hello there");
    for seen in other.asked() {
        assert_eq!(seen.headers["authorization"], "Bearer key-number-two");
    }

    // The keys are there first.
    rig.change_lease(|lent| lent.audience = "c".into()).await;
    let before = other.asked().len();
    tokio::time::pause();
    let mut waiting = Exchange::new(Arc::clone(&rig.shared), request());
    let Some(Event::Error(error)) = waiting.next().await else {
        panic!("nothing fits")
    };
    assert!(
        error.message.contains("meant for another address"),
        "{}",
        error.message
    );
    let report = rig.reported(|report| !report.problems.is_empty()).await;
    assert_eq!(codes(&report), ["model.unavailable"]);
    assert_eq!(other.asked().len(), before);
}

#[tokio::test]
async fn a_late_verdict_on_an_old_key_is_nobody_s_problem() {
    let rig = Rig::new("openai-completions").await;
    let mut requests = rig.provider.requests();
    rig.provider.fault(Fault::status(401));
    let mut late = Exchange::new(Arc::clone(&rig.shared), request());
    let mut event = Box::pin(late.next());
    tokio::select! {
        biased;
        _ = requests.wait_for(|count| *count == 1) => {}
        event = &mut event => panic!("it does not wait for the answer: {event:?}"),
    }
    // Keys are exchanged while the provider judges.
    rig.lend(&[("default", "key-number-two")]).await;
    let Some(Event::Error(error)) = event.await else {
        panic!("the provider refused")
    };
    assert_eq!(error.class(), ModelErrorClass::Auth);
    assert_eq!(rig.shared.health.line(), None);
    assert_eq!(rig.text().await, "You said: hello there");
    // The same about the key in use counts.
    rig.provider.fault(Fault::status(401));
    rig.error().await;
    assert!(rig.shared.health.line().is_some());
    assert_eq!(rig.error().await.0, ModelErrorClass::Auth);
    assert_eq!(rig.provider.asked().len(), 3);
}

#[tokio::test]
async fn configured_headers_go_along_where_there_is_no_key() {
    let rig = Rig::new("openai-completions").await;
    rig.change_lease(|lent| {
        lent.keys.clear();
        lent.header_alone = true;
    })
    .await;
    assert_eq!(rig.text().await, "You said: hello there");
    let seen = rig.provider.asked().pop().unwrap();
    assert_eq!(seen.headers["x-team"], "blue-team-secret");
    assert!(!seen.headers.contains_key("authorization"));
}

#[tokio::test]
async fn another_profile_takes_over_unseen_and_the_session_stays_with_it() {
    let rig = Rig::new("openai-completions").await;
    rig.lend(&[("work", "key-of-work"), ("home", "key-of-home")])
        .await;
    rig.configure(|slice| slice.profile_order = vec!["work".into()]);
    let session = || GenerateRequest {
        cache_key: "s".into(),
        ..request()
    };
    rig.provider.require_key("key-of-home");
    assert!(rig.ask(session()).await.len() > 2);
    let report = rig.reported(|report| !report.problems.is_empty()).await;
    assert!(
        report.problems[0].message.contains("profile work"),
        "{report:?}"
    );
    rig.provider.reply(Reply::text("again"));
    rig.ask(session()).await;
    let asked = rig.provider.asked();
    let keys: Vec<&str> = asked
        .iter()
        .map(|seen| seen.headers["authorization"].to_str().unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "Bearer key-of-work",
            "Bearer key-of-home",
            "Bearer key-of-home"
        ]
    );
}

#[tokio::test]
async fn when_all_profiles_fail_the_last_reason_is_told_and_then_all_rest() {
    let rig = Rig::new("anthropic-messages").await;
    rig.lend(&[("work", "key-of-work"), ("home", "key-of-home")])
        .await;
    for _ in 0..2 {
        rig.provider.fault(Fault::status(402));
    }
    let (class, error, _) = rig.error().await;
    assert_eq!(class, ModelErrorClass::Billing);
    assert!(error.message.contains("cannot pay"), "{}", error.message);
    let (class, error, _) = rig.error().await;
    assert_eq!(class, ModelErrorClass::Billing);
    assert!(
        (17_000..=18_000).contains(&error.retry_after_seconds),
        "{}",
        error.retry_after_seconds
    );
    assert_eq!(rig.provider.asked().len(), 2);
}

#[tokio::test]
async fn three_failures_in_a_row_are_reported_and_a_success_ends_it() {
    let rig = Rig::new("ollama").await;
    for _ in 0..3 {
        let fault = Fault::status(500).with_header("x-should-retry", "false");
        rig.provider.fault(fault);
        rig.error().await;
    }
    let report = rig.reported(|report| !report.problems.is_empty()).await;
    assert_eq!(codes(&report), ["model.unavailable"]);
    rig.text().await;
    rig.reported(|report| report.problems.is_empty()).await;
}

#[tokio::test]
async fn an_unknown_model_is_a_problem_that_names_it() {
    let rig = Rig::new("ollama").await;
    rig.provider
        .fault(Fault::status(404).saying("model 'm' not found"));
    let (class, error, _) = rig.error().await;
    assert_eq!(class, ModelErrorClass::UnknownModel);
    assert!(error.message.contains("ollama pull m"), "{}", error.message);
    let report = rig.reported(|report| !report.problems.is_empty()).await;
    assert_eq!(codes(&report), ["model.unknown"]);
}
