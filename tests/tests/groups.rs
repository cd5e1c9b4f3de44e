//! Two people in one Telegram group, of whom one has tools and the other has none: what either of them says while a turn
//! runs is never given to the model with the tools of the other.

use std::time::Duration;

use clawdbot_fakes::provider::{Provider, Reply};
use clawdbot_fakes::telegram::Telegram;
use clawdbot_tests::kernel::eventually;
use clawdbot_tests::{Scratch, Start};
use serde_json::{Value, json};

const BOT: &str = "4714:groups-test-token-of-nobody-012345678";
const OWNER: i64 = 1001;
const GUEST: i64 = 2002;
const GROUP: i64 = -4004;
/// Far above what it takes; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A provider and a Telegram, served by a thread that goes on to the end.
fn fakes() -> (Provider, Telegram) {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let provider = Provider::start().await.unwrap();
            let telegram = Telegram::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
            send.send((provider, telegram)).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receive.recv().unwrap()
}

/// What the model was last told by somebody, and whether it was given tools.
fn question(body: &Value) -> (String, bool) {
    let messages = body["messages"].as_array().unwrap();
    let last = messages.iter().rfind(|message| message["role"] == "user");
    let tools = body["tools"]
        .as_array()
        .is_some_and(|tools| !tools.is_empty());
    (last.unwrap()["content"].to_string(), tools)
}

fn nobody_uses_the_tools_of_another(mode: &str) {
    let (provider, telegram) = fakes();
    telegram.bot(BOT, |_| ());
    let scratch = Scratch::new();
    let configuration = json!({
        "agents": { "defaults": { "model": "echo/m" } },
        "models": { "providers": { "echo": {
            "baseUrl": format!("http://{}/v1", provider.address()), "api": "openai-completions",
        } } },
        "messages": { "queue": { "mode": mode, "debounceMs": 0 }, "inbound": { "debounceMs": 0 } },
        "channels": { "telegram": {
            "apiRoot": format!("http://{}", telegram.address()), "allowFrom": [OWNER],
            "groupAllowFrom": [OWNER, GUEST],
            "groups": { GROUP.to_string(): {
                "requireMention": false, "toolsBySender": { GUEST.to_string(): { "deny": ["*"] } },
            } },
        } },
    });
    scratch.configure(&configuration.to_string());
    let product = Start::new()
        .variable("TELEGRAM_BOT_TOKEN", BOT)
        .up(&scratch);
    // Both call themselves the same.
    let write = |who: i64, text: &str| {
        let from = json!({ "id": who, "is_bot": false, "first_name": "Ann" });
        telegram.bot(BOT, |bot| {
            bot.write(
                "message",
                json!({ "chat": GROUP, "from": from, "text": text }),
            )
        });
    };
    let questions = || -> Vec<(String, bool)> {
        let asked = provider.asked();
        asked.iter().map(|seen| question(&seen.body)).collect()
    };
    let was_asked = |text: &str| questions().iter().any(|(said, _)| said.contains(text));
    let rounds = [[GUEST, OWNER], [OWNER, GUEST]];
    for (round, order) in rounds.into_iter().enumerate() {
        for holder in [OWNER, GUEST] {
            provider.hold(true);
            if holder == OWNER {
                provider.reply(Reply::call("call_1", "session_status", "{}"));
            }
            let name = format!("{round} while {holder}");
            write(holder, &format!("from {holder}: begin {name}."));
            assert!(
                eventually(PATIENCE, || was_asked(&format!("begin {name}."))),
                "{name}: {:?}\n{}",
                questions(),
                product.log()
            );
            for who in order {
                write(who, &format!("from {who}: more {name}."));
            }
            // What is confirmed is on the gateway's disk.
            let fetched = || telegram.bot(BOT, |bot| bot.pending()) == 0;
            assert!(eventually(PATIENCE, fetched), "{name}");
            provider.hold(false);
            for who in order {
                let text = format!("from {who}: more {name}.");
                assert!(
                    eventually(PATIENCE, || was_asked(&text)),
                    "{name}, {who}: {:?}",
                    questions()
                );
            }
        }
    }
    for (said, tools) in questions() {
        let owners = said.contains(&format!("from {OWNER}"));
        let guests = said.contains(&format!("from {GUEST}"));
        assert!(owners != guests, "{mode}: one person's words: {said}");
        assert_eq!(tools, owners, "{mode}: with that person's tools: {said}");
    }
    product.stop();
}

#[test]
fn what_is_collected_has_the_rights_of_who_said_it() {
    nobody_uses_the_tools_of_another("collect");
}

#[test]
fn what_is_put_into_a_running_turn_has_the_rights_of_who_said_it() {
    nobody_uses_the_tools_of_another("steer");
}
