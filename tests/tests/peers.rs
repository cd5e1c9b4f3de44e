//! Programs of others on both sides: official clients ask us, servers that are not ours are asked by us, and a real model on
//! this machine answers. They are installed by `cargo xtask test --full`; without them each test says that it is skipped.

use clawdbot_fakes::provider::Provider;
use clawdbot_fakes::telegram::{Telegram, serve_control};
use clawdbot_proto::v1::chat_event::Event;
use clawdbot_tests::peers::{Peers, Server, passes, script, workshop};
use clawdbot_tests::{Product, Scratch, Start, free_port};
use serde_json::{Value, json};

/// Both interfaces for programs, and these models.
fn configure(scratch: &Scratch, model: &str, providers: &Value, parameters: &Value) {
    let configuration = json!({
        "gateway": { "http": { "endpoints": {
            "chatCompletions": { "enabled": true }, "responses": { "enabled": true },
        } } },
        "agents": { "defaults": { "model": model, "models": parameters } },
        "models": { "providers": providers },
    });
    scratch.configure(&configuration.to_string());
}

fn token(scratch: &Scratch) -> String {
    scratch.clawdbot(&["token"]).ok().stdout.trim().to_owned()
}

/// All events of a message.
async fn ask(product: &Product, id: &str, session: &str, text: &str) -> Vec<Event> {
    product.talk().send(id, session, text).await.unwrap()
}

/// The answer and how many pieces it came in.
#[track_caller]
fn answer(events: &[Event]) -> (String, usize) {
    let pieces = events
        .iter()
        .filter(|event| matches!(event, Event::Delta(_)))
        .count();
    match events.last() {
        Some(Event::Answer(answer)) => (answer.text.clone(), pieces),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_official_python_sdk_is_served() {
    let Some(peers) = Peers::find("the_official_python_sdk_is_served") else {
        return;
    };
    let provider = Provider::start().await.unwrap();
    let scratch = Scratch::new();
    let url = format!("http://{}/v1", provider.address());
    let providers = json!({ "echo": { "baseUrl": url, "api": "openai-completions" } });
    configure(&scratch, "echo/m", &providers, &json!({}));
    let product = Start::new().up(&scratch);
    let mut command = peers.python(&scratch);
    command
        .arg(script("web/openai_sdk.py"))
        .env("CLAWDBOT_URL", format!("http://127.0.0.1:{}", product.port))
        .env("CLAWDBOT_TOKEN", token(&scratch))
        .env("CLAWDBOT_ECHO", "1");
    // The fake provider lives in this runtime.
    let checked = tokio::task::spawn_blocking(move || passes(&mut command));
    checked.await.unwrap();
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn the_web_chat_works_in_a_browser() {
    let Some(peers) = Peers::find("the_web_chat_works_in_a_browser") else {
        return;
    };
    let scratch = Scratch::new();
    let place = workshop(&peers, &scratch, "web");
    let programs = clawdbot_tests::binary("clawdbot");
    let mut command = peers.node(&scratch);
    command
        .args(["--test", "parts.mjs", "webchat.mjs"])
        .current_dir(place)
        .env("CLAWDBOT_BIN_DIR", programs.parent().unwrap())
        .env("CLAWDBOT_WEB", script("../services/gateway/web"));
    passes(&mut command);
}

#[test]
fn a_real_model_answers_in_the_web_chat() {
    let Some(peers) = Peers::find("a_real_model_answers_in_the_web_chat") else {
        return;
    };
    let scratch = Scratch::new();
    let server = real_model(&peers, &scratch);
    let place = workshop(&peers, &scratch, "web");
    let programs = clawdbot_tests::binary("clawdbot");
    let mut command = peers.node(&scratch);
    command
        .args(["--test", "real_model.mjs"])
        .current_dir(place)
        .env("CLAWDBOT_BIN_DIR", programs.parent().unwrap())
        .env("MODEL_URL", format!("{}/v1", server.url()));
    passes(&mut command);
}

/// Its prompt has to be short and its answers too: it thinks on one processor.
#[tokio::test]
async fn a_real_model_on_this_machine_answers_in_two_protocols() {
    let Some(peers) = Peers::find("a_real_model_on_this_machine_answers_in_two_protocols") else {
        return;
    };
    let scratch = Scratch::new();
    let server = real_model(&peers, &scratch);
    configure(
        &scratch,
        "chat/smol",
        &real_providers(&server),
        &json!({ "chat/smol": { "params": { "maxTokens": 24 } }, "messages/smol": { "params": { "maxTokens": 24 } } }),
    );
    let mut product = Start::new().up(&scratch);
    for (number, provider) in ["chat", "messages"].into_iter().enumerate() {
        let session = format!("with-{provider}");
        let switch = format!("/model {provider}/smol");
        answer(&ask(&product, &format!("s{number}"), &session, &switch).await);
        let events = ask(&product, &format!("q{number}"), &session, "Say hello.").await;
        let (text, pieces) = answer(&events);
        assert!(
            !text.is_empty() && pieces > 3,
            "{provider}: {text:?} in {pieces}"
        );
        let Some(Event::Answer(last)) = events.last() else {
            panic!("{events:?}")
        };
        let usage = last.usage.unwrap();
        assert!(
            usage.input_tokens > 20 && (4..=24).contains(&usage.output_tokens),
            "{usage:?}"
        );
    }
    let wanted = format!("127.0.0.1:{}", server.port);
    let dialled = product.all_dialled();
    assert!(
        !dialled.is_empty() && dialled.iter().all(|peer| *peer == wanted),
        "{dialled:?}"
    );
}

fn real_model(peers: &Peers, scratch: &Scratch) -> Server {
    let port = free_port();
    let mut command = peers.python(scratch);
    command
        .arg(script("peers/model_server.py"))
        .arg(port.to_string())
        .arg(peers.weights());
    Server::start(&mut command, port).healthy("/health")
}

fn real_providers(server: &Server) -> Value {
    let models = json!([{ "id": "smol", "contextWindow": 4096, "maxTokens": 64 }]);
    json!({
        "chat": { "baseUrl": format!("{}/v1", server.url()), "api": "openai-completions", "models": models },
        "messages": { "baseUrl": server.url(), "api": "anthropic-messages", "models": models },
    })
}

/// A server whose business is to misbehave, and then to judge how its client took it.
#[tokio::test]
async fn a_server_that_breaks_on_purpose_finds_nothing_wrong_with_us() {
    let Some(peers) = Peers::find("a_server_that_breaks_on_purpose_finds_nothing_wrong_with_us")
    else {
        return;
    };
    let scratch = Scratch::new();
    let port = free_port();
    let mut command = peers.python_program("llmock", &scratch);
    command.args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()]);
    let server = Server::start(&mut command, port);
    let providers = json!({
        "chat": { "baseUrl": format!("{}/v1", server.url()), "api": "openai-completions", "apiKey": "sk-test-0123456789" },
        "replies": { "baseUrl": format!("{}/v1", server.url()), "api": "openai-responses", "apiKey": "sk-test-0123456789" },
        "messages": { "baseUrl": format!("{}/anthropic", server.url()), "api": "anthropic-messages", "apiKey": "sk-ant-0123456789" },
    });
    configure(&scratch, "chat/gpt-4o", &providers, &json!({}));
    let product = Start::new().up(&scratch);
    let faults = [
        json!({ "type": "fail", "status": 429, "retry_after": 1 }),
        json!({ "type": "fail", "status": 529 }),
        json!({ "type": "fail", "status": 503 }),
        json!({ "type": "stream_fault", "kind": "truncate", "after_chunks": 2 }),
        json!({ "type": "stream_fault", "kind": "disconnect", "after_chunks": 2 }),
        json!({ "type": "stream_fault", "kind": "malformed", "after_chunks": 2 }),
        json!({ "type": "tool_fault", "kind": "malformed_arguments" }),
        json!({ "type": "tool_fault", "kind": "unknown_tool" }),
        json!({ "type": "fail", "status": 401 }),
    ];
    for (provider, model) in [
        ("chat", "gpt-4o"),
        ("replies", "gpt-4o"),
        ("messages", "claude-sonnet-4-5"),
    ] {
        for (number, fault) in faults.iter().enumerate() {
            let session = format!("{provider}-{number}");
            let switch = format!("/model {provider}/{model}");
            answer(&ask(&product, &format!("{session}-s"), &session, &switch).await);
            let body = json!({ "behaviors": [fault] }).to_string();
            server.request("POST", "/_llmock/scenario", &body);
            let events = ask(
                &product,
                &format!("{session}-q"),
                &session,
                "What is the state?",
            )
            .await;
            let ended = matches!(events.last(), Some(Event::Answer(_) | Event::Failed(_)));
            assert!(ended, "{session}: {fault}: {events:?}");
            server.request("DELETE", "/_llmock/scenario", "");
        }
    }
    let verdict: Value =
        serde_json::from_str(&server.request("GET", "/_llmock/verdict", "")).unwrap();
    assert_eq!(verdict["passed"], true, "{verdict:#}");
    let text = server.request("GET", "/_llmock/verdict?format=text", "");
    println!("{text}");
    assert_eq!(product.stop(), Some(0));
}

/// A deterministic server of others that speaks all four protocols, Ollama's own among them.
#[tokio::test]
async fn a_server_that_speaks_all_protocols_is_understood() {
    let Some(peers) = Peers::find("a_server_that_speaks_all_protocols_is_understood") else {
        return;
    };
    let scratch = Scratch::new();
    let fixtures = json!({ "fixtures": [
        { "match": { "userMessage": "weather", "hasToolResult": false },
          "response": { "toolCalls": [{ "name": "session_status", "arguments": "{}" }] } },
        { "match": { "userMessage": "weather" }, "response": { "content": "Nobody knows the weather, ünd that is fine." } },
        { "match": { "userMessage": "hello" }, "response": { "content": "Good morning from the server of others." } },
    ] });
    let file = scratch.path().join("fixtures.json");
    std::fs::write(&file, fixtures.to_string()).unwrap();
    let port = free_port();
    let mut command = peers.node(&scratch);
    command
        .arg(peers.modules().join("@copilotkit/aimock/dist/cli.js"))
        .args([
            "--port",
            &port.to_string(),
            "--host",
            "127.0.0.1",
            "--log-level",
            "warn",
            "--strict",
            "-f",
        ])
        .arg(file);
    let server = Server::start(&mut command, port);
    let url = server.url();
    let protocols = [
        ("chat", "openai-completions", format!("{url}/v1")),
        ("replies", "openai-responses", format!("{url}/v1")),
        ("messages", "anthropic-messages", url.clone()),
        ("llama", "ollama", url.clone()),
    ];
    let providers: serde_json::Map<String, Value> = protocols
        .iter()
        .map(|(name, api, url)| {
            let provider = json!({ "baseUrl": url, "api": api, "apiKey": "sk-test-0123456789" });
            ((*name).to_owned(), provider)
        })
        .collect();
    configure(&scratch, "chat/m", &Value::Object(providers), &json!({}));
    let product = Start::new().up(&scratch);
    for (name, ..) in &protocols {
        let switch = format!("/model {name}/m");
        answer(&ask(&product, &format!("{name}-s"), name, &switch).await);
        let (text, _) = answer(&ask(&product, &format!("{name}-1"), name, "hello").await);
        assert_eq!(text, "Good morning from the server of others.", "{name}");
        let session = format!("{name}-tools");
        answer(&ask(&product, &format!("{name}-s2"), &session, &switch).await);
        let events = ask(
            &product,
            &format!("{name}-2"),
            &session,
            "the weather, please",
        )
        .await;
        assert!(
            events
                .iter()
                .any(|event| matches!(event, Event::ToolFinished(_))),
            "{name}: {events:?}"
        );
        let (text, _) = answer(&events);
        assert!(
            text.ends_with("Nobody knows the weather, ünd that is fine."),
            "{name}: {text}"
        );
    }
    assert_eq!(product.stop(), Some(0));
}

const BOT: &str = "4242:AAE-test_token";

/// A Telegram bot that everybody may write to, with this model.
fn configure_telegram(
    scratch: &Scratch,
    root: &str,
    model: &str,
    providers: &Value,
    parameters: &Value,
) {
    let configuration = json!({
        "agents": { "defaults": { "model": model, "models": parameters } },
        "models": { "providers": providers },
        "channels": { "telegram": { "apiRoot": root, "dmPolicy": "open", "allowFrom": ["*"] } },
    });
    scratch.configure(&configuration.to_string());
}

/// What a real bot relies on, said by the two libraries that most bots are made with.
#[tokio::test]
async fn the_telegram_of_our_tests_satisfies_clients_of_others() {
    let Some(peers) = Peers::find("the_telegram_of_our_tests_satisfies_clients_of_others") else {
        return;
    };
    let telegram = Telegram::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let port = free_port();
    tokio::spawn(serve_control(
        ([127, 0, 0, 1], port).into(),
        telegram.clone(),
    ));
    let api = format!("http://{}", telegram.address());
    let control = format!("http://127.0.0.1:{port}");
    let scratch = Scratch::new();
    let place = workshop(&peers, &scratch, "fakes/foreign");
    let mut python = peers.python(&scratch);
    python.arg(place.join("ptb.py")).args([&api, &control]);
    let mut node = peers.node(&scratch);
    node.arg("grammy.mjs")
        .args([&api, &control])
        .current_dir(&place);
    // The server lives in this runtime.
    let checked = tokio::task::spawn_blocking(move || {
        for command in [&mut python, &mut node] {
            let said = passes(command).stdout;
            assert!(said.contains("as expected"), "{said}");
        }
    });
    checked.await.unwrap();
}

#[tokio::test]
async fn a_telegram_of_others_is_understood() {
    let Some(peers) = Peers::find("a_telegram_of_others_is_understood") else {
        return;
    };
    let provider = Provider::start().await.unwrap();
    let scratch = Scratch::new();
    let place = workshop(&peers, &scratch, "fakes/foreign");
    let port = free_port();
    let mut node = peers.node(&scratch);
    node.arg("test_api.mjs")
        .args([&port.to_string(), "You said: question"])
        .current_dir(&place);
    let providers = json!({ "echo": {
        "baseUrl": format!("http://{}/v1", provider.address()), "api": "openai-completions",
    } });
    let root = format!("http://127.0.0.1:{port}");
    configure_telegram(&scratch, &root, "echo/m", &providers, &json!({}));
    let product = Start::new()
        .variable("TELEGRAM_BOT_TOKEN", BOT)
        .up(&scratch);
    let said = tokio::task::spawn_blocking(move || passes(&mut node).stdout);
    let said = said.await.unwrap();
    assert!(said.contains("answer as expected"), "{said}");
    assert_eq!(product.stop(), Some(0));
}

#[tokio::test]
async fn a_real_model_answers_over_telegram() {
    let Some(peers) = Peers::find("a_real_model_answers_over_telegram") else {
        return;
    };
    let scratch = Scratch::new();
    let server = real_model(&peers, &scratch);
    let telegram = Telegram::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    telegram.bot(BOT, |_| ());
    let root = format!("http://{}", telegram.address());
    let few = json!({ "params": { "maxTokens": 24 } });
    configure_telegram(
        &scratch,
        &root,
        "messages/smol",
        &real_providers(&server),
        &json!({ "messages/smol": few }),
    );
    let product = Start::new()
        .variable("TELEGRAM_BOT_TOKEN", BOT)
        .up(&scratch);
    telegram.bot(BOT, |bot| {
        bot.write("message", json!({ "chat": 77, "text": "Say hello." }))
    });
    let answered = telegram.until(BOT, |bot| !bot.sent.is_empty());
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(120), answered).await;
    assert!(in_time.is_ok(), "{}", product.log());
    telegram.bot(BOT, |bot| {
        assert_eq!(
            (bot.sent.len(), bot.sent[0].chat),
            (1, 77),
            "{:?}",
            bot.sent
        );
        assert!(bot.sent[0].text.len() > 3, "{:?}", bot.sent);
        assert!(bot.actions.iter().any(|(_, _, action)| action == "typing"));
    });
    assert_eq!(product.stop(), Some(0));
}
