//! Long sessions: summaries, what they keep and what a crash leaves.

use clawdbot_proto::v1::{Compaction, ModelErrorClass, ModelFacts, Pruning, StopReason};

use super::rig::{Asked, Rig, Running, all, answer, failure};

const WINDOW: u32 = 4000;

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.configure(small);
    rig
}

fn small(slice: &mut clawdbot_proto::v1::AgentSlice) {
    slice.models = ["builtin/guide", "backup/two"]
        .map(|model| ModelFacts {
            model: model.into(),
            context_window: WINDOW,
            ..ModelFacts::default()
        })
        .into();
}

/// An exchange of about 500 tokens each way, by a provider that does not count.
async fn exchange(rig: &mut Rig, agent: &Running, name: &str) {
    let text = format!("{name} {}", "x".repeat(2000));
    let stream = agent.run(name, "main_main", &text).await;
    let asked = rig.asked().await;
    asked.text(&text);
    finish(asked);
    answer(stream).await;
}

fn finish(asked: Asked) {
    asked.used(0, 0);
    asked.event(clawdbot_proto::v1::generate_event::Event::Stop(
        clawdbot_proto::v1::Stop {
            reason: StopReason::End.into(),
        },
    ));
}

/// Answers the requests for a summary, a piece of the conversation each, and returns the next other request and how many
/// there were.
async fn summarised(rig: &mut Rig, first: Asked, text: &str) -> (Asked, u32) {
    let (mut asked, mut pieces) = (first, 0);
    while is_summary(&asked) {
        let id = asked.request.request_id.clone();
        assert!(id.ends_with(&format!(".c.{pieces}")), "{id}");
        pieces += 1;
        asked.answer(text);
        asked = rig.asked().await;
    }
    (asked, pieces)
}

fn is_summary(asked: &Asked) -> bool {
    asked.request.tools.is_empty() && asked.texts()[0].contains("<record>")
}

#[tokio::test]
async fn a_session_that_nears_the_end_of_the_window_goes_on_with_a_summary() {
    let mut rig = rig().await;
    let agent = rig.start().await;
    for name in ["one", "two", "three"] {
        exchange(&mut rig, &agent, name).await;
    }
    let before = rig.lines(".jsonl").len();
    let stream = agent.run("t4", "main_main", "four").await;
    let summary = rig.asked().await;
    assert!(is_summary(&summary));
    let record = summary.texts()[0];
    assert!(record.contains("User: one") && !record.contains("User: four"));
    assert_eq!(
        rig.lines(".jsonl").len(),
        before + 1,
        "only the question is on record yet"
    );
    let (asked, pieces) = summarised(&mut rig, summary, "they said one").await;
    assert_eq!(asked.request.request_id, "t4:1.1");
    let texts = asked.texts();
    assert!(texts[0].ends_with("they said one"), "{texts:?}");
    assert_eq!(texts.last(), Some(&"four"));
    assert!(!texts.concat().contains("one xxx"));
    asked.answer("4");
    let end = answer(stream).await;
    let used = end.usage.unwrap().input_tokens;
    assert_eq!((end.text.as_str(), used), ("4", 2 * u64::from(pieces + 1)));
    let line = rig
        .lines(".jsonl")
        .into_iter()
        .find(|line| line["type"] == "compaction")
        .unwrap();
    assert_eq!(line["origins"], serde_json::json!(["owner", "agent"]));
    assert_eq!(line["summary"], "they said one");

    let agent = rig.start().await;
    let stream = agent.run("t5", "main_main", "five").await;
    let asked = rig.asked().await;
    assert!(
        asked.texts()[0].ends_with("they said one"),
        "also after a restart"
    );
    assert_eq!(
        asked.texts()[asked.texts().len() - 3..],
        ["four", "4", "five"]
    );
    asked.answer("5");
    answer(stream).await;
    assert!(
        agent
            .command("t6", "/status")
            .await
            .contains("summarised 1 times")
    );
}

#[tokio::test]
async fn a_crash_while_a_summary_is_made_leaves_everything_as_it_was() {
    let mut rig = rig().await;
    let agent = rig.start().await;
    for name in ["one", "two", "three"] {
        exchange(&mut rig, &agent, name).await;
    }
    let lost = agent.run("t4", "main_main", "four").await;
    let summary = rig.asked().await;
    summary.text("half a summ");
    let agent = rig.start().await;
    let stream = agent.run("t4", "main_main", "four").await;
    let again = rig.asked().await;
    assert_eq!(
        again.texts(),
        summary.texts(),
        "it is made anew from the same record"
    );
    let (asked, _) = summarised(&mut rig, again, "all of it").await;
    assert_eq!(
        asked.texts().iter().filter(|text| **text == "four").count(),
        1
    );
    asked.answer("4");
    answer(stream).await;
    drop(lost);
}

#[tokio::test]
async fn a_provider_that_finds_it_too_long_is_asked_once_more_with_a_summary() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    for name in ["one", "two"] {
        exchange(&mut rig, &agent, name).await;
    }
    let stream = agent.run("t3", "main_main", "three").await;
    rig.asked()
        .await
        .fail(ModelErrorClass::ContextOverflow, "too long");
    assert_eq!(
        failure(stream).await.code,
        "model.context_overflow",
        "nothing older than what always stays"
    );

    rig.configure(|slice| {
        slice.compaction = Some(Compaction {
            enabled: true,
            reserve_tokens: 100,
            keep_tokens: 100,
        });
    });
    let stream = agent.run("t4", "main_main", "four").await;
    rig.asked()
        .await
        .fail(ModelErrorClass::ContextOverflow, "too long");
    let summary = rig.asked().await;
    assert!(is_summary(&summary));
    summary.answer("short");
    let asked = rig.asked().await;
    assert!(asked.texts()[0].ends_with("short"));
    asked.fail(ModelErrorClass::ContextOverflow, "still too long");
    let failed = failure(stream).await;
    assert_eq!(
        (failed.code.as_str(), failed.message.as_str()),
        ("model.context_overflow", "still too long")
    );
}

#[tokio::test]
async fn a_model_that_cannot_summarise_costs_no_answer_and_one_that_is_down_makes_room() {
    let mut rig = rig().await;
    let agent = rig.start().await;
    for name in ["one", "two", "three"] {
        exchange(&mut rig, &agent, name).await;
    }
    let stream = agent.run("t4", "main_main", "four").await;
    rig.asked()
        .await
        .fail(ModelErrorClass::InvalidRequest, "no");
    let asked = rig.asked().await;
    assert!(
        !is_summary(&asked) && asked.texts().len() == 7,
        "it still fits"
    );
    finish(asked);
    failure(stream).await;

    rig.configure(|slice| {
        small(slice);
        slice.agents[0].fallbacks = vec!["backup/two".into()];
    });
    let stream = agent.run("t5", "main_main", "five").await;
    rig.asked().await.fail(ModelErrorClass::Unavailable, "down");
    let summary = rig.asked().await;
    assert!(is_summary(&summary) && summary.provider == "backup");
    let (asked, _) = summarised(&mut rig, summary, "short").await;
    assert_eq!(asked.provider, "backup");
    asked.answer("5");
    assert_eq!(answer(stream).await.model, "backup/two");
}

#[tokio::test]
async fn a_question_longer_than_the_window_is_refused_with_the_remedy_and_nothing_is_asked() {
    let mut rig = rig().await;
    let agent = rig.start().await;
    let long = "x".repeat(5 * WINDOW as usize);
    for (handle, remedy) in [("main_main", "/model"), ("approved_b", "smaller parts")] {
        let failed = failure(agent.run("t1", handle, &long).await).await;
        assert_eq!(failed.code, "model.context_overflow");
        assert!(failed.message.contains(remedy), "{}", failed.message);
    }
    assert!(rig.nothing_asked());
}

#[tokio::test]
async fn the_owner_may_have_the_session_summarised_and_say_what_matters() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    assert!(
        agent
            .command("t0", "/compact")
            .await
            .contains("nothing to summarise")
    );
    for name in ["one", "two", "three"] {
        exchange(&mut rig, &agent, name).await;
    }
    let stream = agent.run("t4", "main_main", "/compact the names").await;
    let summary = rig.asked().await;
    assert!(
        is_summary(&summary) && summary.texts()[0].ends_with("The user asks for this: the names")
    );
    summary.answer("short");
    let told = answer(stream).await;
    assert!(told.text.contains("now a summary"), "{}", told.text);
    let stream = agent.run("t5", "main_main", "five").await;
    let asked = rig.asked().await;
    assert!(asked.texts()[0].ends_with("short") && asked.texts().len() < 7);
    asked.answer("5");
    answer(stream).await;
    assert!(rig.nothing_asked());
}

#[tokio::test]
async fn a_summary_that_is_refused_or_cut_is_not_taken_for_the_conversation() {
    let mut rig = Rig::new().await;
    rig.configure(|slice| {
        slice.models = vec![ModelFacts {
            model: "builtin/guide".into(),
            reasoning: true,
            ..ModelFacts::default()
        }];
    });
    let agent = rig.start().await;
    for name in ["one", "two", "three"] {
        exchange(&mut rig, &agent, name).await;
    }
    for (reason, taken) in [
        (StopReason::Refused, false),
        (StopReason::Length, false),
        (StopReason::End, true),
    ] {
        let turn = format!("t-{}", reason.as_str_name());
        let stream = agent.run(&turn, "main_main", "/compact").await;
        let summary = rig.asked().await;
        assert!(is_summary(&summary));
        let limit = summary.request.parameters.as_ref().unwrap();
        let limit = limit.max_output_tokens;
        assert!(limit > 8000, "room for thoughts: {limit}");
        summary.text("I can't help with that.");
        summary.stop(reason);
        all(stream).await;
        let compacted = |line: &serde_json::Value| line["type"] == "compaction";
        assert_eq!(
            rig.lines(".jsonl").iter().any(compacted),
            taken,
            "{reason:?}"
        );
    }
}

#[tokio::test]
async fn old_results_are_shortened_in_requests_and_never_on_disk() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    rig.output(&"y".repeat(10_000));
    for (n, pruned) in [(1, false), (2, false), (3, true)] {
        if pruned {
            rig.configure(|slice| {
                slice.pruning = Some(Pruning {
                    enabled: true,
                    ttl_seconds: 0,
                    keep_assistants: 2,
                });
            });
        }
        let stream = agent.run(&format!("t{n}"), "main_main", "q").await;
        let asked = rig.asked().await;
        let long = asked
            .texts()
            .iter()
            .filter(|text| text.len() == 10_000)
            .count();
        assert_eq!(long, if pruned { 1 } else { n - 1 });
        asked.call("c", &format!("[{n}]"));
        asked.stop(StopReason::ToolCalls);
        rig.asked().await.answer("a");
        answer(stream).await;
    }
    let whole = rig
        .lines(".jsonl")
        .into_iter()
        .filter(|line| line.to_string().len() > 10_000);
    assert_eq!(whole.count(), 3);
}
