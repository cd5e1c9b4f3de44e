//! Good answers, tries, cancelling, connections.

use std::sync::atomic::Ordering;

use clawdbot_fakes::provider::{Fault, Reply};
use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::{self, GenerateRequest, ModelErrorClass, StopReason};

use super::rig::{Rig, request, said};
use crate::fault::{Fault as Trouble, Kind};

pub const APIS: [&str; 4] = [
    "anthropic-messages",
    "openai-completions",
    "openai-responses",
    "ollama",
];

#[tokio::test]
async fn every_protocol_answers_with_the_key_and_over_one_kept_connection() {
    for api in APIS {
        let rig = Rig::new(api).await;
        for _ in 0..3 {
            rig.provider.reply(Reply::call("c1", "status", "{\"a\":1}"));
            let events = rig.ask(request()).await;
            let [
                Event::ToolCall(call),
                Event::Usage(usage),
                Event::Stop(stop),
            ] = &events[..]
            else {
                panic!("{api}: {events:?}")
            };
            assert_eq!(
                (call.name.as_str(), call.arguments_json.as_str()),
                ("status", "{\"a\":1}")
            );
            assert_eq!((usage.input_tokens, usage.output_tokens), (10, 5));
            assert_eq!(stop.reason(), StopReason::ToolCalls);
            assert_eq!(rig.text().await, "You said: hello there");
        }
        let asked = rig.provider.asked();
        assert_eq!(asked.len(), 6);
        for seen in &asked {
            let header = |name: &str| seen.headers.get(name).map(|v| v.to_str().unwrap());
            match api {
                "anthropic-messages" => {
                    assert_eq!(header("x-api-key"), Some("key-number-one"));
                    assert_eq!(header("authorization"), None);
                    assert_eq!(header("anthropic-version"), Some("2023-06-01"));
                }
                _ => assert_eq!(header("authorization"), Some("Bearer key-number-one")),
            }
            assert_eq!(header("x-team"), Some("blue-team-secret"));
            assert_eq!(header("accept-encoding"), Some("identity"));
        }
        assert!(rig.dialled() < 4, "{api}: {} connections", rig.dialled());
    }
}

#[tokio::test]
async fn the_newer_anthropic_version_gets_its_key_as_bearer() {
    let rig = Rig::new("anthropic-messages").await;
    rig.configure(|slice| slice.api_version = "2026-10-21".into());
    rig.text().await;
    let seen = rig.provider.asked().pop().unwrap();
    assert_eq!(seen.headers["authorization"], "Bearer key-number-one");
    assert_eq!(seen.headers["anthropic-version"], "2026-10-21");
    assert!(!seen.headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn a_subscription_s_token_comes_with_the_header_that_makes_it_valid_and_a_key_does_not() {
    for (api, key, expected) in [
        (
            "anthropic-messages",
            "sk-ant-oat01-x",
            Some("oauth-2025-04-20"),
        ),
        ("anthropic-messages", "sk-ant-api03-x", None),
        ("openai-completions", "sk-ant-oat01-x", None),
    ] {
        let rig = Rig::new(api).await;
        rig.lend(&[("default", key)]).await;
        rig.text().await;
        let seen = rig.provider.asked().pop().unwrap();
        let header = |name: &str| seen.headers.get(name).map(|v| v.to_str().unwrap());
        assert_eq!(header("anthropic-beta"), expected, "{api} {key}");
        let shown = match key.contains("oat") {
            true => ("authorization", format!("Bearer {key}")),
            false => ("x-api-key", key.to_owned()),
        };
        assert_eq!(header(shown.0), Some(shown.1.as_str()), "{api} {key}");
    }
}

#[tokio::test]
async fn what_may_help_is_tried_again_unseen_and_only_until_the_first_event() {
    let rig = Rig::new("anthropic-messages").await;
    for status in [429, 529] {
        let fault = Fault::status(status).with_header("retry-after-ms", "1");
        rig.provider.fault(fault);
    }
    assert_eq!(rig.text().await, "You said: hello there");
    assert_eq!(rig.provider.asked().len(), 3);

    rig.provider.fault(Fault::Cut);
    let (class, error, before) = rig.error().await;
    assert_eq!(class, ModelErrorClass::Unavailable);
    assert!(before > 0);
    assert_eq!(rig.provider.asked().len(), 4, "nothing is said twice");
    assert!(error.again, "who can take back what was said may ask again");

    for _ in 0..3 {
        let fault = Fault::status(529).with_header("retry-after-ms", "1");
        rig.provider.fault(fault);
    }
    let (_, error, before) = rig.error().await;
    assert_eq!((before, error.again), (0, false), "it was tried enough");
}

#[tokio::test]
async fn what_does_not_help_is_not_tried_again() {
    let rig = Rig::new("openai-completions").await;
    for (fault, class) in [
        (Fault::status(400), ModelErrorClass::InvalidRequest),
        (Fault::status(404), ModelErrorClass::UnknownModel),
        (Fault::overflow(), ModelErrorClass::ContextOverflow),
        (
            Fault::status(500).with_header("x-should-retry", "false"),
            ModelErrorClass::Unavailable,
        ),
    ] {
        let before = rig.provider.asked().len();
        rig.provider.fault(fault);
        assert_eq!(rig.error().await.0, class);
        assert_eq!(rig.provider.asked().len(), before + 1, "{class:?}");
    }
}

#[tokio::test]
async fn a_third_failure_is_final() {
    let rig = Rig::new("openai-responses").await;
    for _ in 0..3 {
        rig.provider
            .fault(Fault::status(503).with_header("retry-after-ms", "1"));
    }
    let (class, error, _) = rig.error().await;
    assert_eq!(class, ModelErrorClass::Unavailable);
    assert!(
        error.message.contains("p failed by itself"),
        "{}",
        error.message
    );
    assert_eq!(rig.provider.asked().len(), 3);
}

#[tokio::test]
async fn a_long_pause_is_the_agent_s_to_judge_and_the_profile_rests_without_network() {
    let rig = Rig::new("anthropic-messages").await;
    rig.provider
        .fault(Fault::status(429).with_header("retry-after", "90"));
    let (class, error, _) = rig.error().await;
    assert_eq!(
        (class, error.retry_after_seconds),
        (ModelErrorClass::RateLimit, 90)
    );
    let (class, error, _) = rig.error().await;
    assert_eq!(class, ModelErrorClass::RateLimit);
    assert!((1..=90).contains(&error.retry_after_seconds));
    assert_eq!(rig.provider.asked().len(), 1);

    // A shorter pause is told as long as the rest that follows from it.
    rig.shared.profiles().forget();
    for _ in 0..3 {
        rig.provider
            .fault(Fault::status(429).with_header("retry-after", "0"));
    }
    assert_eq!(rig.error().await.1.retry_after_seconds, 60);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_ends_costs_the_agent_nothing() {
    let rig = Rig::new("openai-completions").await;
    assert_eq!(rig.text().await, "You said: hello there");
    let mut pool = rig.provider.open();
    pool.wait_for(|open| *open == 1).await.unwrap();
    while rig.shared.transport.pool().is_empty() {
        tokio::task::yield_now().await;
    }
    // Read on the kept connection, which ends without a byte; the same request then gets a fresh one.
    rig.provider.fault(Fault::HangUp);
    rig.provider.reply(Reply::text("still there"));
    assert_eq!(rig.text().await, "still there");
    let asked = rig.provider.asked();
    let connections: Vec<u64> = asked.iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [1, 1, 2]);
}

#[tokio::test]
async fn an_agent_that_hangs_up_ends_the_connection_to_the_provider() {
    for api in APIS {
        let rig = Rig::new(api).await;
        let permits = rig.shared.permits.available_permits();
        let mut open = rig.provider.open();
        rig.provider.fault(Fault::Stall);
        let mut stream = rig.open(request()).await;
        let first = stream.message().await.unwrap();
        assert!(first.is_some());
        assert_eq!(*open.borrow(), 1);
        drop(stream);
        open.wait_for(|open| *open == 0).await.unwrap();

        // Also while nothing has come yet.
        let mut requests = rig.provider.requests();
        rig.provider.fault(Fault::Silence);
        let stream = rig.open(request()).await;
        requests.wait_for(|count| *count == 2).await.unwrap();
        drop(stream);
        open.wait_for(|open| *open == 0).await.unwrap();
        assert_eq!(rig.shared.permits.available_permits(), permits);
    }
}

/// What policy has been told of requests, as tokens read and written.
async fn settled(rig: &Rig, count: usize) -> Vec<(u64, u64)> {
    let mut settled = rig.policy.settled.subscribe();
    let settled = settled.wait_for(|settled| settled.len() == count).await;
    let settled = settled.unwrap();
    for one in settled.iter() {
        assert_eq!(
            (one.request_id.as_str(), one.handle.as_str()),
            (request().request_id.as_str(), request().handle.as_str())
        );
        assert!(one.model.starts_with("p/"), "{}", one.model);
    }
    let used = |one: &v1::SettleSpendingRequest| {
        one.usage
            .map(|usage| (usage.input_tokens, usage.output_tokens))
    };
    settled.iter().filter_map(used).collect()
}

#[tokio::test]
async fn policy_hears_what_a_request_used_before_the_agent_hears_the_end() {
    for api in APIS {
        let rig = Rig::new(api).await;
        rig.text().await;
        assert!(
            rig.policy.settled.borrow().is_empty(),
            "nobody wants to know"
        );
        rig.policy.counts.store(true, Ordering::Relaxed);
        rig.provider.reply(Reply::call("c1", "status", "{}"));
        rig.ask(request()).await;
        assert_eq!(rig.policy.settled.borrow().len(), 1, "{api}");
        assert_eq!(settled(&rig, 1).await, [(10, 5)], "{api}");
        // Nothing was bought.
        rig.provider.fault(Fault::status(400));
        rig.error().await;
        assert_eq!(settled(&rig, 2).await[1], (0, 0), "{api}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_to_its_end_is_estimated() {
    let rig = Rig::new("openai-completions").await;
    rig.policy.counts.store(true, Ordering::Relaxed);
    rig.provider.fault(Fault::Stall);
    let mut stream = rig.open(request()).await;
    assert!(stream.message().await.unwrap().is_some());
    drop(stream);
    let used = settled(&rig, 1).await[0];
    assert!(used.0 > 0 && used.1 > 0, "{used:?}");
    rig.provider.fault(Fault::Cut);
    rig.error().await;
    let used = settled(&rig, 2).await[1];
    assert!(used.0 > 0 && used.1 > 0, "{used:?}");
    // While it is asked nobody knows whether the provider counts it.
    let mut requests = rig.provider.requests();
    rig.provider.fault(Fault::Silence);
    let stream = rig.open(request()).await;
    requests.wait_for(|count| *count == 3).await.unwrap();
    drop(stream);
    let used = settled(&rig, 3).await[2];
    assert!(used.0 > 0 && used.1 == 0, "{used:?}");
}

#[tokio::test]
async fn many_requests_reach_the_provider_at_the_same_time() {
    let rig = Rig::new("ollama").await;
    let mut requests = rig.provider.requests();
    let mut streams = Vec::new();
    for _ in 0..64 {
        rig.provider.fault(Fault::Silence);
        streams.push(rig.open(request()).await);
    }
    requests.wait_for(|count| *count == 64).await.unwrap();
    drop(streams);
    let mut open = rig.provider.open();
    open.wait_for(|open| *open == 0).await.unwrap();
}

#[tokio::test]
async fn policy_is_asked_first_and_its_no_is_final() {
    let rig = Rig::new("ollama").await;
    rig.policy.refuses.store(true, Ordering::Relaxed);
    let (class, error, _) = rig.error().await;
    assert_eq!(
        (class, error.retry_after_seconds),
        (ModelErrorClass::Denied, 9)
    );
    assert_eq!(
        (rig.dialled(), rig.policy.asked.load(Ordering::Relaxed)),
        (0, 1)
    );
    rig.policy.refuses.store(false, Ordering::Relaxed);
    assert_eq!(rig.text().await, "You said: hello there");
}

#[tokio::test]
async fn a_dialer_s_no_is_told_in_its_words_and_not_asked_twice() {
    let rig = Rig::new("ollama").await;
    let refused = "127.0.0.1:1 is not on the list of model-p (dial.not_listed)";
    *rig.unreachable.lock().unwrap() = Some(Trouble::new(Kind::Unreachable, refused));
    let (class, error, _) = rig.error().await;
    assert_eq!(class, ModelErrorClass::Unavailable);
    assert!(error.message.contains(refused), "{}", error.message);
    assert!(error.message.contains("ollama serve"), "{}", error.message);
    assert_eq!(rig.dialled(), 1);
    *rig.unreachable.lock().unwrap() = None;
    assert_eq!(rig.text().await, "You said: hello there");
}

#[tokio::test]
async fn an_answer_follows_a_changed_configuration_at_once() {
    let rig = Rig::new("openai-completions").await;
    rig.text().await;
    let other = clawdbot_fakes::provider::Provider::start().await.unwrap();
    let mut settings = rig.shared.settings.clone();
    settings.mark_unchanged();
    rig.configure(|slice| {
        slice.api = "ollama".into();
        slice.base_url = format!("http://{}", other.address());
    });
    settings.changed().await.unwrap();
    assert_eq!(rig.text().await, "You said: hello there");
    assert_eq!(other.asked()[0].path, "/api/chat");
    assert_eq!(rig.provider.asked().len(), 1);
    rig.configure(|slice| slice.base_url = "nonsense".into());
    settings.changed().await.unwrap();
    let (class, error, _) = rig.error().await;
    assert_eq!(class, ModelErrorClass::Unavailable);
    assert!(
        error.message.contains("models.providers.p.baseUrl"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_worker_that_the_configuration_does_not_name_says_so_and_asks_nobody() {
    let rig = Rig::new("openai-completions").await;
    let mut settings = rig.shared.settings.clone();
    settings.mark_unchanged();
    rig.configure(|slice| {
        slice.api = String::new();
        slice.base_url = String::new();
    });
    settings.changed().await.unwrap();
    let (class, error, _) = rig.error().await;
    assert_eq!(class, ModelErrorClass::Unavailable);
    let said = "the configuration has no provider p";
    assert!(error.message.contains(said), "{}", error.message);
    assert_eq!(rig.dialled(), 0);
}

#[tokio::test]
async fn an_empty_conversation_is_refused_without_network() {
    let rig = Rig::new("anthropic-messages").await;
    let events = rig
        .ask(GenerateRequest {
            messages: vec![],
            ..request()
        })
        .await;
    assert!(
        matches!(&events[..], [Event::Error(e)] if e.class() == ModelErrorClass::InvalidRequest)
    );
    assert_eq!((rig.dialled(), said(&events)), (0, String::new()));
}
