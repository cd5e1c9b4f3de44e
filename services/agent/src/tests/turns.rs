//! A turn from the question to the answer, and the ways in which it may end otherwise.

use std::os::unix::fs::PermissionsExt;

use clawdbot_proto::v1::run_event::Event;
use clawdbot_proto::v1::{Restarted, RunRequest, StopReason, TextDelta, Usage};
use tonic::Code;

use super::rig::{Rig, all, answer, failure, next, slice, snapshot};

fn say(text: &str) -> Event {
    Event::Delta(TextDelta { text: text.into() })
}

#[tokio::test]
async fn a_question_is_streamed_answered_and_recorded() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "hello").await;
    let asked = rig.asked().await;
    assert_eq!(asked.texts(), ["hello"]);
    assert_eq!(
        (asked.request.model.as_str(), asked.request.handle.as_str()),
        ("guide", "main_main")
    );
    assert_eq!(
        (asked.request.request_id.as_str(), asked.request.tools.len()),
        ("t1:1", 2)
    );
    let question_on_disk = rig.lines(".jsonl");
    assert_eq!(
        question_on_disk.len(),
        2,
        "the question is recorded before the model is asked"
    );
    asked.text("Hi ");
    asked.answer("there");
    let events = all(stream).await;
    assert_eq!(events[..2], [say("Hi "), say("there")]);
    let Event::Answer(answer) = &events[2] else {
        panic!()
    };
    assert_eq!(
        (answer.text.as_str(), answer.model.as_str()),
        ("Hi there", "builtin/guide")
    );
    assert_eq!(
        answer.usage,
        Some(Usage {
            input_tokens: 2,
            output_tokens: 3,
            ..Usage::default()
        })
    );

    let lines = rig.lines(".jsonl");
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (lines[0]["type"].as_str(), lines[0]["version"].as_u64()),
        (Some("session"), Some(3))
    );
    for (line, origin) in [(&lines[1], "owner"), (&lines[2], "agent")] {
        assert_eq!(
            (line["turnId"].as_str(), line["origin"].as_str()),
            (Some("t1"), Some(origin))
        );
    }
    assert_eq!(lines[2]["parentId"], lines[1]["id"]);
    let mode = std::fs::metadata(rig.transcript())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let stream = agent.run("t2", "main_main", "again").await;
    let asked = rig.asked().await;
    assert_eq!(
        asked.texts(),
        ["hello", "Hi there", "again"],
        "the model knows what was said"
    );
    asked.answer("ok");
    assert_eq!(super::rig::answer(stream).await.text, "ok");
}

#[tokio::test]
async fn tools_are_called_through_the_executor_with_what_the_agent_knows() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "status?").await;
    let asked = rig.asked().await;
    asked.text("looking");
    asked.call("c1", "{}");
    asked.stop(StopReason::ToolCalls);
    let asked = rig.asked().await;
    assert_eq!(asked.texts(), ["status?", "looking", "ran t1:1"]);
    assert_eq!(asked.request.request_id, "t1:2");
    asked.answer("fine");
    let events = all(stream).await;
    assert!(matches!(&events[1], Event::ToolStarted(started) if started.call_id == "t1:1"));
    assert!(
        matches!(&events[2], Event::ToolFinished(done) if !done.is_error && done.summary == "ran t1:1")
    );
    assert!(
        matches!(events.last(), Some(Event::Answer(answer)) if answer.text == "looking\n\nfine")
    );
    let invoked = rig.invoked();
    assert_eq!(
        (invoked.len(), invoked[0].handle.as_str()),
        (1, "main_main")
    );
    let facts = invoked[0].facts.clone().unwrap();
    assert_eq!(
        (facts.model.as_str(), facts.input_tokens, facts.messages),
        ("builtin/guide", 2, 2)
    );
    let origins: Vec<_> = rig.lines(".jsonl")[1..]
        .iter()
        .map(|line| line["origin"].clone())
        .collect();
    assert_eq!(origins, ["owner", "agent", "tool", "agent"]);
    assert_eq!(
        answer(agent.run("t1", "main_main", "status?").await)
            .await
            .text,
        "looking\n\nfine"
    );
}

#[tokio::test]
async fn whoever_may_ends_a_turn_and_it_stays_ended() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    assert!(!agent.cancel("t1").await, "nothing runs");
    let mut stream = agent.run("t1", "main_main", "tell me a story").await;
    let asked = rig.asked().await;
    asked.text("Once");
    assert_eq!(next(&mut stream).await, say("Once"));
    assert!(agent.cancel("t1").await);
    assert_eq!(failure(stream).await.code, "turn.stopped");
    let again = failure(agent.run("t1", "main_main", "tell me a story").await).await;
    assert_eq!(again.code, "turn.stopped");
    assert!(
        rig.nothing_asked(),
        "a stopped turn does not come back by itself"
    );
    let last = rig.lines(".jsonl").pop().unwrap();
    assert_eq!(last["message"]["stopReason"], "aborted");
    assert_eq!(last["message"]["content"][0]["text"], "Once");

    let stream = agent.run("t2", "main_main", "next").await;
    rig.asked().await.answer("yes");
    assert_eq!(answer(stream).await.text, "yes");
}

#[tokio::test]
async fn the_time_limit_ends_a_turn_and_the_same_id_is_a_new_try() {
    let mut rig = Rig::new().await;
    rig.config
        .send_replace(snapshot(clawdbot_proto::v1::AgentSlice {
            timeout_seconds: 1,
            ..slice()
        }));
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "q").await;
    assert_eq!(failure(stream).await.code, "turn.timeout");
    rig.config.send_replace(snapshot(slice()));
    let mut end = std::pin::pin!(answer(agent.run("t1", "main_main", "q").await));
    let end = loop {
        tokio::select! {
            // Perhaps also the request that was left without an answer.
            asked = rig.asked() => {
                assert_eq!(asked.texts(), ["q"], "the question counts once");
                asked.answer("now");
            }
            end = &mut end => break end,
        }
    };
    assert_eq!(end.text, "now");
}

#[tokio::test]
async fn a_model_worker_that_dies_is_asked_again_and_the_answer_begins_again() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let mut stream = agent.run("t1", "main_main", "q").await;
    let asked = rig.asked().await;
    asked.text("hal");
    assert_eq!(next(&mut stream).await, say("hal"));
    rig.restart_model().await;
    let again = rig.asked().await;
    assert_eq!(
        again.request, asked.request,
        "the same request under the same id"
    );
    again.answer("whole");
    let events = all(stream).await;
    assert_eq!(events[..2], [Event::Restarted(Restarted {}), say("whole")]);
    assert!(matches!(&events[2], Event::Answer(answer) if answer.text == "whole"));
}

#[tokio::test]
async fn what_policy_refuses_never_reaches_the_model_or_the_disk() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    for (handle, code) in [
        ("denied", "session.expired"),
        ("guest_main", "session.class"),
    ] {
        let failed = failure(agent.run("t1", handle, "q").await).await;
        assert_eq!(failed.code, code);
    }
    assert!(rig.nothing_asked() && rig.lines(".jsonl").is_empty());
    let status = agent.try_run("t1", "undecided", "q").await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::Unavailable,
        "nobody decided, so the gateway asks again"
    );
    let long = "x".repeat((256 << 10) + 1);
    let long_id = "t".repeat(121);
    for (turn, handle, text) in [
        ("", "main_a", "q"),
        (&long_id, "main_a", "q"),
        ("a/b", "main_a", "q"),
        ("t", "a.b", "q"),
        ("t", "main_a", ""),
        ("t", "main_a", long.as_str()),
    ] {
        let status = agent.try_run(turn, handle, text).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{turn} {handle}");
    }
    let stream = agent.run("t1", "main_main", &long[1..]).await;
    rig.asked().await.answer("the longest message is taken");
    answer(stream).await;
}

#[tokio::test]
async fn a_model_that_nobody_serves_is_named_with_what_to_do() {
    let mut rig = Rig::new().await;
    let mut other = slice();
    other.agents[0].model = "ollama/llama3".into();
    rig.config.send_replace(snapshot(other));
    let agent = rig.start().await;
    let failed = failure(agent.run("t1", "main_main", "q").await).await;
    assert_eq!(failed.code, "model.not_running");
    assert!(
        failed.message.contains("ollama") && failed.message.contains("/model"),
        "{}",
        failed.message
    );
    assert!(
        agent
            .command("t2", "/model builtin/guide")
            .await
            .contains("builtin/guide")
    );
    let stream = agent.run("t3", "main_main", "q2").await;
    rig.asked().await.answer("ok");
    answer(stream).await;
}

#[tokio::test]
async fn the_workspace_files_reach_the_model_and_an_edit_counts_at_once() {
    let mut rig = Rig::new().await;
    let folder = rig.home.path().join("clawd");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("SOUL.md"), "You are a lobster.").unwrap();
    let agent = rig.start().await;
    for (turn, file) in [("t1", "SOUL.md"), ("t2", "AGENTS.md")] {
        std::fs::write(folder.join(file), format!("text of {file}")).unwrap();
        let stream = agent.run(turn, "main_main", "q").await;
        let asked = rig.asked().await;
        assert!(
            asked.request.system.contains(&format!("text of {file}")),
            "{}",
            asked.request.system
        );
        asked.answer("ok");
        answer(stream).await;
    }
}

#[tokio::test]
async fn a_transcript_that_cannot_be_written_is_said_and_nothing_is_asked() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    std::fs::remove_dir(rig.folder()).unwrap();
    let failed = failure(agent.run("t1", "main_main", "q").await).await;
    assert_eq!(failed.code, "store.failed");
    assert!(rig.nothing_asked());
    std::fs::create_dir(rig.folder()).unwrap();
    let stream = agent.run("t1", "main_main", "q").await;
    rig.asked().await.answer("a");
    assert_eq!(
        answer(stream).await.text,
        "a",
        "mended, the same turn id is answered"
    );
}

#[tokio::test]
async fn a_request_of_a_program_that_names_no_session_leaves_nothing() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let ask = |turn: &str, handle: &str, source: &str, text: &str| RunRequest {
        turn_id: turn.into(),
        handle: handle.into(),
        text: text.into(),
        source: source.into(),
        ..RunRequest::default()
    };
    let folder = rig.folder();
    let files = || std::fs::read_dir(&folder).unwrap().count();
    for (turn, text) in [("t1", "q"), ("t2", "/new q"), ("t1", "q")] {
        let request = ask(turn, "main_openai-once-1", "api", text);
        let stream = agent.request(request).await.unwrap();
        let asked = rig.asked().await;
        assert_eq!(asked.texts(), ["q"], "nothing is there from before");
        asked.call("c", "{}");
        asked.stop(StopReason::End);
        let asked = rig.asked().await;
        assert_eq!(asked.texts().len(), 3, "question, call and result");
        asked.answer("a");
        assert_eq!(answer(stream).await.text, "a");
        assert_eq!((files(), agent.agent.sessions.len()), (0, 0));
    }
    assert!(
        agent
            .agent
            .sessions
            .list(|_| String::new())
            .await
            .is_empty()
    );
    for (turn, handle, source) in [
        ("t3", "main_openai-once-1", "web"),
        ("t4", "main_openai-user-ann", "api"),
    ] {
        let stream = agent.request(ask(turn, handle, source, "q")).await.unwrap();
        rig.asked().await.answer("a");
        answer(stream).await;
    }
    assert_eq!((files(), agent.agent.sessions.len()), (2, 2), "others stay");
}
