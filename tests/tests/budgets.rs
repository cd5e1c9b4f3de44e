//! Budgets and lists of tools through all processes: what is used up is refused before a provider hears anything, a kill
//! forgets nothing, and a model is not told of tools that its conversation may not use.

use std::time::{Duration, Instant};

use clawdbot_fakes::provider::{Provider, Reply};
use clawdbot_proto::v1::chat_event::Event;
use clawdbot_tests::kernel::eventually;
use clawdbot_tests::{Product, Scratch, Start};

/// Far above what it takes; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two messages: the edge takes two hundred a second.
const PACE: Duration = Duration::from_millis(20);

fn configuration(provider: &Provider, rest: &str) -> String {
    format!(
        r#"{{
  agents: {{ defaults: {{ model: "box/m", {rest} }} }},
  models: {{ providers: {{ box: {{ baseUrl: "http://{}", api: "ollama" }} }} }},
"#,
        provider.address()
    )
}

async fn ask(product: &Product, id: &str, text: &str) -> Result<String, String> {
    let mut talk = product.talk();
    let events = talk.send(id, "main", text).await.unwrap();
    match events.into_iter().last() {
        Some(Event::Answer(answer)) => Ok(answer.text),
        Some(Event::Failed(failed)) => Err(failed.message),
        other => panic!("{id}: {other:?}"),
    }
}

#[tokio::test]
async fn a_used_up_budget_is_refused_before_the_provider_hears_of_it_also_after_a_kill() {
    let provider = Provider::start().await.unwrap();
    let scratch = Scratch::new();
    let budget = configuration(&provider, "budget: { dailyTokens: 1 }") + "}";
    scratch.configure(&budget);
    let mut product = Start::new().up(&scratch);
    provider.reply(Reply::text("one"));
    assert_eq!(ask(&product, "b-1", "hello").await.unwrap(), "one");
    let asked = provider.asked().len();
    let refused = ask(&product, "b-2", "again").await.unwrap_err();
    assert!(
        refused.contains(" of 1 tokens") && refused.contains("agents.defaults.budget.dailyTokens"),
        "{refused}"
    );
    let status = ask(&product, "b-3", "/status").await.unwrap();
    assert!(status.contains(" of 1 tokens today"), "{status}");
    // Policy has a moment to answer, and is asked again when that was too short.
    let is_told = || {
        let report = scratch.clawdbot(&["status", "--json"]).json();
        report["policy"]["budgets"][0]["used"].as_u64() > Some(0)
    };
    assert!(eventually(PATIENCE, is_told));

    let victim = product.process("policy");
    let product = tokio::task::spawn_blocking(move || {
        product.kill("policy", victim);
        product
    });
    let product = product.await.unwrap();
    assert!(ask(&product, "b-4", "and now?").await.is_err());
    assert_eq!(
        provider.asked().len(),
        asked,
        "the provider heard of nothing"
    );

    // A raised limit goes on at once.
    scratch.configure(&budget.replace("dailyTokens: 1 ", "dailyTokens: 100000 "));
    provider.reply(Reply::text("on it goes"));
    let deadline = Instant::now() + PATIENCE;
    let mut answer = Err(String::new());
    for n in 0.. {
        answer = ask(&product, &format!("b-raised-{n}"), "and now?").await;
        if answer.is_ok() || Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(PACE).await;
    }
    assert_eq!(answer.as_deref(), Ok("on it goes"));
    assert_eq!(product.stop(), Some(0));
}

#[tokio::test]
async fn a_model_sees_the_tools_that_its_conversation_may_use() {
    let provider = Provider::start().await.unwrap();
    for (deny, sees) in [("", true), ("deny: [\"session_status\"]", false)] {
        let scratch = Scratch::new();
        let text = configuration(&provider, "") + &format!("  tools: {{ {deny} }},\n}}");
        scratch.configure(&text);
        let product = Start::new().up(&scratch);
        provider.reply(Reply::text("hello"));
        assert_eq!(ask(&product, "s-1", "hello").await.unwrap(), "hello");
        let body = provider.asked().last().unwrap().body.to_string();
        assert_eq!(body.contains("session_status"), sees, "{body}");

        let explained = scratch
            .clawdbot(&["sandbox", "explain", "--json"])
            .ok()
            .json();
        assert_eq!(explained["session"], "agent:main:main");
        let tools = explained["tools"].as_array().unwrap();
        let own = tools
            .iter()
            .find(|line| line["tool"] == "session_status")
            .unwrap();
        let source = if sees {
            "tools.profile (coding)"
        } else {
            "tools.deny"
        };
        assert_eq!(
            (
                own["allowed"].as_bool(),
                own["source"].as_str(),
                own["offered"].as_bool()
            ),
            (Some(sees), Some(source), Some(true))
        );
        // Called all the same, it is refused with the list that says so.
        provider.reply(Reply::call("call_1", "session_status", "{}"));
        provider.reply(Reply::text("well"));
        assert_eq!(ask(&product, "s-2", "try").await.unwrap(), "well");
        let body = provider.asked().last().unwrap().body.to_string();
        assert_eq!(body.contains("because of tools.deny"), !sees, "{body}");
        assert_eq!(product.stop(), Some(0));
    }
}
