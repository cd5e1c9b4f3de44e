//! Which model is asked, with what, and what its answer cost.

use clawdbot_proto::v1::run_event::Event;
use clawdbot_proto::v1::{ModelErrorClass, ModelFacts, Parameters, Price, RunRequest, StopReason};

use super::rig::{Rig, all, answer, failure};

fn facts(model: &str) -> ModelFacts {
    ModelFacts {
        model: model.into(),
        ..ModelFacts::default()
    }
}

#[tokio::test]
async fn a_model_that_cannot_be_used_makes_room_for_the_next_and_what_it_said_is_taken_back() {
    let mut rig = Rig::new().await;
    rig.configure(|slice| slice.agents[0].fallbacks = vec!["backup/two".into()]);
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "q").await;
    let asked = rig.asked().await;
    assert_eq!(
        (asked.provider, asked.request.model.as_str()),
        ("builtin", "guide")
    );
    asked.text("half");
    asked.fail(ModelErrorClass::RateLimit, "slow down");
    let asked = rig.asked().await;
    assert_eq!(
        (asked.provider, asked.request.model.as_str()),
        ("backup", "two")
    );
    assert_eq!(asked.texts(), ["q"]);
    asked.answer("whole");
    let events = all(stream).await;
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Restarted(_)))
    );
    let Some(Event::Answer(last)) = events.last() else {
        panic!()
    };
    assert_eq!(
        (last.text.as_str(), last.model.as_str()),
        ("whole", "backup/two")
    );

    let status = agent.command("t2", "/status").await;
    assert!(
        status.contains("the last answer is from backup/two"),
        "{status}"
    );
    let stream = agent.run("t3", "main_main", "r").await;
    let asked = rig.asked().await;
    assert_eq!(
        asked.provider, "builtin",
        "the next turn begins with the first one again"
    );
    asked.answer("ok");
    answer(stream).await;
    assert!(
        !agent
            .command("t4", "/status")
            .await
            .contains("the last answer")
    );
}

#[tokio::test]
async fn the_owner_hears_the_remedy_and_others_a_sentence_that_gives_nothing_away() {
    let mut rig = Rig::new().await;
    rig.configure(|slice| slice.agents[0].fallbacks = vec!["backup/two".into()]);
    let agent = rig.start().await;
    for (turn, handle) in [("t1", "main_a"), ("t2", "approved_b")] {
        let stream = agent.run(turn, handle, "q").await;
        rig.asked()
            .await
            .fail(ModelErrorClass::Auth, "run clawdbot login");
        rig.asked().await.fail(ModelErrorClass::Billing, "pay");
        let failed = failure(stream).await;
        assert_eq!(failed.code, "model.auth");
        let whole = failed.message.contains("clawdbot login") && failed.message.contains("pay");
        assert_eq!(whole, handle == "main_a", "{}", failed.message);
        assert_eq!(failed.message.contains("builtin"), handle == "main_a");
    }
}

#[tokio::test]
async fn a_request_carries_what_is_known_of_the_model_and_what_the_caller_wants() {
    let mut rig = Rig::new().await;
    rig.configure(|slice| {
        slice.models = vec![ModelFacts {
            context_window: 50_000,
            max_output_tokens: 2000,
            parameters: Some(Parameters {
                temperature: Some(0.5),
                thinking: "low".into(),
                ..Parameters::default()
            }),
            ..facts("builtin/guide")
        }];
    });
    let agent = rig.start().await;
    let request = RunRequest {
        turn_id: "t1".into(),
        handle: "main_main".into(),
        text: "q".into(),
        extra_system: "Speak like a pirate.".into(),
        source: "api".into(),
        parameters: Some(Parameters {
            temperature: Some(0.1),
            max_output_tokens: 77,
            ..Parameters::default()
        }),
    };
    let stream = agent.request(request).await.unwrap();
    let asked = rig.asked().await;
    let parameters = asked.request.parameters.clone().unwrap();
    assert_eq!(
        (parameters.temperature, parameters.max_output_tokens),
        (Some(0.1), 77)
    );
    assert_eq!(
        (parameters.thinking.as_str(), asked.request.context_tokens),
        ("low", 50_000)
    );
    assert!(asked.request.system.ends_with("\nSpeak like a pirate.\n"));
    let session = asked.request.cache_key.clone();
    assert_eq!(session, rig.lines(".jsonl")[0]["id"]);
    let names: Vec<_> = asked
        .request
        .tools
        .iter()
        .map(|tool| tool.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["clock", "session_status"],
        "in an order that never changes"
    );
    let system = asked.request.system.clone();
    asked.answer("arr");
    answer(stream).await;

    agent.command("t2", "/think high").await;
    for (turn, text, thinking) in [
        ("t3", "q", "high"),
        ("t4", "/think off q", "off"),
        ("t5", "q", "high"),
    ] {
        let stream = agent.run(turn, "main_main", text).await;
        let asked = rig.asked().await;
        let parameters = asked.request.parameters.clone().unwrap();
        assert_eq!(
            (parameters.thinking.as_str(), parameters.max_output_tokens),
            (thinking, 2000)
        );
        assert_eq!(
            asked.texts().last(),
            Some(&"q"),
            "the model never sees a setting"
        );
        assert_eq!(asked.request.cache_key, session);
        assert!(
            system.starts_with(&asked.request.system),
            "what was added was for one turn"
        );
        asked.answer("ok");
        answer(stream).await;
    }
    assert_eq!(rig.lists(), 1, "the tools are asked for once");
    rig.configure(|_| {});
    let stream = agent.run("t6", "main_main", "q").await;
    rig.asked().await.answer("ok");
    answer(stream).await;
    assert_eq!(rig.lists(), 2, "and again under another configuration");
}

#[tokio::test]
async fn all_that_a_turn_used_is_counted_and_priced() {
    let mut rig = Rig::new().await;
    rig.configure(|slice| {
        slice.models = vec![ModelFacts {
            price: Some(Price {
                input: 1_000_000,
                output: 10_000_000,
                ..Price::default()
            }),
            ..facts("builtin/guide")
        }];
    });
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "q").await;
    let asked = rig.asked().await;
    asked.call("c1", "{}");
    asked.stop(StopReason::ToolCalls);
    rig.asked().await.answer("a");
    let usage = answer(stream).await.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (4, 6));
    assert_eq!(usage.cost_microusd, Some(2 * (2 + 30)));
    for agent in [agent, rig.start().await] {
        let turn = format!("s{}", rig.lines(".jsonl").len());
        let status = agent.command(&turn, "/status").await;
        assert!(status.contains("4 in, 6 out, $0.0001"), "{status}");
        agent.agent.sessions.finish().await;
    }
    let index = std::fs::read(rig.folder().join("sessions.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["agent:main:main"]["costMicrousd"], 64);
}

#[tokio::test]
async fn usage_is_shown_below_answers_where_that_is_wanted_and_never_to_programs() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    agent.command("t1", "/usage tokens").await;
    for (turn, source, text) in [
        ("t2", "telegram", "a\n\nUsage: 2 in / 3 out"),
        ("t3", "api", "a"),
    ] {
        let request = RunRequest {
            turn_id: turn.into(),
            handle: "main_main".into(),
            text: "q".into(),
            source: source.into(),
            ..RunRequest::default()
        };
        let stream = agent.request(request).await.unwrap();
        let asked = rig.asked().await;
        assert!(
            !asked.texts().concat().contains("Usage"),
            "the model never sees it"
        );
        asked.answer("a");
        assert_eq!(answer(stream).await.text, text);
    }
}

#[tokio::test]
async fn a_small_model_gets_a_short_prompt() {
    let mut rig = Rig::new().await;
    let folder = rig.home.path().join("clawd");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("AGENTS.md"), "x".repeat(15_000)).unwrap();
    for small in [true, false] {
        rig.configure(|slice| {
            slice.models = vec![ModelFacts {
                small_prompt: small,
                ..facts("builtin/guide")
            }];
        });
        let agent = rig.start().await;
        let stream = agent.run(&format!("t{small}"), "main_main", "q").await;
        let asked = rig.asked().await;
        assert_eq!(asked.request.system.len() < 6000, small);
        asked.answer("ok");
        answer(stream).await;
    }
}

#[tokio::test]
async fn nothing_is_said_when_the_model_wants_to_say_nothing() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "q").await;
    let asked = rig.asked().await;
    asked.text("NO_RE");
    asked.answer("PLY");
    let events = all(stream).await;
    let [Event::Answer(silent)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(silent.silent && silent.text.is_empty());
    let agent = rig.start().await;
    let again = answer(agent.run("t1", "main_main", "q").await).await;
    assert_eq!(again, *silent, "also after a restart");
}
