//! Model providers through all processes: good answers in every protocol, and whatever a provider can do wrong. It ends in
//! one sentence that says what to do, and the next message is answered.

use std::time::Duration;

use clawdbot_fakes::provider::{Provider, Reply};
use clawdbot_proto::v1::chat_event::Event;
use clawdbot_tests::{Product, Scratch, Start};

/// Every protocol, and the base address that belongs to it.
const PROTOCOLS: [(&str, &str); 4] = [
    ("openai-completions", "/v1"),
    ("openai-responses", "/v1"),
    ("anthropic-messages", ""),
    ("ollama", ""),
];

fn configuration(provider: &Provider, model: &str) -> String {
    let address = provider.address();
    let one = |(api, path): &(&str, &str)| {
        format!(r#""{api}": {{ baseUrl: "http://{address}{path}", api: "{api}" }}"#)
    };
    let providers: Vec<String> = PROTOCOLS.iter().map(one).collect();
    format!(
        r#"{{
  agents: {{ defaults: {{ model: {model} }} }},
  models: {{ providers: {{ {} }} }},
}}"#,
        providers.join(", ")
    )
}

async fn ask(product: &Product, id: &str, session: &str, text: &str) -> Result<String, String> {
    let mut talk = product.talk();
    let events = talk.send(id, session, text).await.unwrap();
    match events.into_iter().last() {
        Some(Event::Answer(answer)) => Ok(answer.text),
        Some(Event::Failed(failed)) => Err(failed.message),
        other => panic!("{id}: {other:?}"),
    }
}

#[tokio::test]
async fn every_protocol_answers_with_text_tools_and_usage() {
    let provider = Provider::start().await.unwrap();
    let scratch = Scratch::new();
    scratch.configure(&configuration(&provider, r#""ollama/m""#));
    let product = Start::new().up(&scratch);
    for (api, _) in PROTOCOLS {
        let session = format!("of-{api}");
        let switched = ask(
            &product,
            &format!("{api}-0"),
            &session,
            &format!("/model {api}/m"),
        )
        .await;
        assert!(switched.unwrap().contains(api));
        provider.reply(Reply::call("call_1", "session_status", "{}"));
        provider.reply(Reply::text("it is fine, naïve 🦀 included"));
        let answer = ask(
            &product,
            &format!("{api}-1"),
            &session,
            "how is the session?",
        )
        .await;
        assert_eq!(answer.unwrap(), "it is fine, naïve 🦀 included", "{api}");
        let asked = provider.asked();
        let last = asked.last().unwrap().body.to_string();
        assert!(
            last.contains("session_status") && last.contains(api),
            "{api}: {last}"
        );
        let status = ask(&product, &format!("{api}-2"), &session, "/status")
            .await
            .unwrap();
        assert!(status.contains(&format!("{api}/m")), "{status}");
    }
    assert_eq!(product.stop(), Some(0));
}

/// What the provider does, and a part of what the person reads.
const MISDEEDS: [(&str, &str); 15] = [
    ("html", "web page"),
    ("cut", "broke off"),
    ("short", "broke off"),
    ("hang-up", "cannot be reached"),
    ("huge-line", "too large"),
    ("head-bomb", "too large"),
    ("gzip", "compressed"),
    ("bad-record", "not JSON"),
    ("redirect", "not followed"),
    ("error-in-stream", "overloaded"),
    ("401", "clawdbot login"),
    ("402", "Add credit"),
    ("404", "no model"),
    ("529", "overloaded"),
    ("500", "failed by itself"),
];

#[tokio::test]
async fn a_provider_that_misbehaves_is_explained_and_the_next_message_is_answered() {
    let provider = Provider::start().await.unwrap();
    let scratch = Scratch::new();
    scratch.configure(&configuration(&provider, r#""openai-completions/m""#));
    let product = Start::new().up(&scratch);
    let before = product.processes();
    for (misdeed, said) in MISDEEDS {
        // A session each: what went wrong in one is no part of the next.
        let session = format!("s-{misdeed}");
        let question = format!("please fault:{misdeed}");
        let answer = ask(&product, &format!("{misdeed}-1"), &session, &question).await;
        let why = answer.expect_err(misdeed);
        assert!(why.contains(said), "{misdeed}: {why}");
        let next = ask(&product, &format!("{misdeed}-2"), &session, "and now?").await;
        assert!(next.unwrap().contains("and now?"), "{misdeed}");
    }
    for (role, seen) in before {
        assert!(seen.lives(), "{role} kept running");
    }
    assert_eq!(product.stop(), Some(0));
}

#[tokio::test]
async fn a_tool_call_that_is_broken_goes_back_to_the_model() {
    let provider = Provider::start().await.unwrap();
    let scratch = Scratch::new();
    scratch.configure(&configuration(&provider, r#""openai-completions/m""#));
    let product = Start::new().up(&scratch);
    provider.reply(Reply::call("call_1", "session_status", "{\"broken\": "));
    provider.reply(Reply::text("so I answer without it"));
    let answer = ask(&product, "m1", "main", "look at the session").await;
    assert_eq!(answer.unwrap(), "so I answer without it");
    let last = provider.asked().last().unwrap().body.to_string();
    assert!(last.contains("call_1"), "{last}");
    assert_eq!(product.stop(), Some(0));
}

#[tokio::test]
async fn a_model_that_cannot_be_used_is_followed_by_the_next_one() {
    let provider = Provider::start().await.unwrap();
    let scratch = Scratch::new();
    let model = r#"{ primary: "openai-completions/m", fallbacks: ["anthropic-messages/second"] }"#;
    scratch.configure(&configuration(&provider, model));
    let product = Start::new().up(&scratch);
    provider.fault(clawdbot_fakes::provider::Fault::status(401));
    provider.reply(Reply::text("the second one speaks"));
    let mut talk = product.talk();
    let events = talk.send("m1", "main", "hello").await.unwrap();
    let Some(Event::Answer(answer)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(answer.text, "the second one speaks");
    assert_eq!(answer.model, "anthropic-messages/second");
    assert_eq!(product.stop(), Some(0));
}

#[tokio::test]
async fn a_stop_ends_the_provider_s_connection() {
    let provider = Provider::start().await.unwrap();
    let scratch = Scratch::new();
    scratch.configure(&configuration(&provider, r#""openai-completions/m""#));
    let product = Start::new().up(&scratch);
    let mut open = provider.open();
    let mut talk = product.talk();
    let asking = tokio::spawn(async move { talk.send("m1", "main", "x fault:stall").await });
    let mut requests = provider.requests();
    while !provider
        .asked()
        .iter()
        .any(|seen| seen.body.to_string().contains("fault:stall"))
    {
        requests.changed().await.unwrap();
    }
    let before = *open.borrow();
    let request = clawdbot_proto::v1::StopRequest {
        session: "main".into(),
    };
    let mut second = product.talk();
    let stopped = second.client().stop(request).await.unwrap().into_inner();
    assert_eq!(stopped.stopped, 1);
    let events = asking.await.unwrap().unwrap();
    assert!(
        matches!(events.last(), Some(Event::Failed(failed)) if failed.code == "turn.stopped"),
        "{events:?}"
    );
    // Idle connections are kept for longer than this waits, so it is the stalled one that goes.
    let closed = tokio::time::timeout(
        Duration::from_secs(20),
        open.wait_for(|open| *open < before),
    );
    closed.await.unwrap().unwrap();
    assert_eq!(product.stop(), Some(0));
}

/// With a model on this machine nothing else is ever dialled, and the record that says so is the dialer's own.
#[tokio::test]
async fn with_a_local_model_nothing_else_is_dialled() {
    let provider = Provider::start().await.unwrap();
    let scratch = Scratch::new();
    scratch.configure(&format!(
        r#"{{ agents: {{ defaults: {{ model: "ollama/m" }} }},
             models: {{ providers: {{ ollama: {{ baseUrl: "http://{}" }} }} }} }}"#,
        provider.address()
    ));
    let mut product = Start::new().up(&scratch);
    for number in 0..5 {
        let answer = ask(&product, &format!("m{number}"), "main", "are we alone?").await;
        assert!(answer.unwrap().contains("are we alone?"));
    }
    let dialled = product.all_dialled();
    let wanted = provider.address().to_string();
    assert!(
        !dialled.is_empty() && dialled.iter().all(|peer| *peer == wanted),
        "{dialled:?}"
    );
}
