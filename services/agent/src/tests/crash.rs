//! Killed at any moment: what is on disk decides, and every turn id is answered exactly once. A crash is an agent that is
//! given up with everything it had in memory; the next one starts on the same folder.

use std::fs::OpenOptions;
use std::io::Write;

use clawdbot_proto::v1::run_event::Event;
use clawdbot_proto::v1::{ModelErrorClass, StopReason};

use super::rig::{Rig, answer, failure, next};

#[tokio::test]
async fn an_answered_turn_gives_the_same_answer_after_a_crash_without_asking_the_model() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "q").await;
    rig.asked().await.answer("a");
    let first = answer(stream).await;
    let before = rig.lines(".jsonl");
    for agent in [agent, rig.start().await] {
        assert_eq!(answer(agent.run("t1", "main_main", "q").await).await, first);
    }
    assert!(rig.nothing_asked());
    assert_eq!(rig.lines(".jsonl"), before, "nothing was recorded twice");
}

#[tokio::test]
async fn a_recorded_question_without_an_answer_runs_again_and_is_not_recorded_twice() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let lost = agent.run("t1", "main_main", "q").await;
    let asked = rig.asked().await;
    asked.text("half an ans");
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "q").await;
    let again = rig.asked().await;
    assert_eq!(again.texts(), ["q"]);
    again.answer("a");
    assert_eq!(answer(stream).await.text, "a");
    assert_eq!(rig.lines(".jsonl").len(), 3, "header, question, answer");
    drop((lost, asked));
}

#[tokio::test]
async fn what_tools_returned_before_the_crash_is_kept_and_a_call_of_unknown_outcome_is_not_repeated()
 {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let lost = agent.run("t1", "main_main", "q").await;
    let asked = rig.asked().await;
    asked.text("first");
    asked.call("c1", "{}");
    asked.stop(StopReason::ToolCalls);
    let asked = rig.asked().await;
    rig.invoking().await;
    rig.held.send_replace("t1:2");
    asked.call("c2", "[2]");
    asked.call("c3", "[3]");
    asked.stop(StopReason::ToolCalls);
    rig.invoking().await;
    let agent = rig.start().await;
    let mut stream = agent.run("t1", "main_main", "q").await;
    let shown = next(&mut stream).await;
    assert!(
        matches!(shown, Event::Delta(delta) if delta.text == "first"),
        "what was said is shown again"
    );
    let asked = rig.asked().await;
    let texts = asked.texts();
    assert_eq!(texts[..4], ["q", "first", "ran t1:1", ""]);
    assert!(texts[4].starts_with("interrupted: the outcome is not known"));
    assert_eq!(
        texts[5..],
        ["ran t1:3"],
        "the call that cannot have been made is made"
    );
    assert_eq!(asked.request.request_id, "t1:3");
    asked.answer("done");
    let end = answer(stream).await;
    assert_eq!(
        (end.text.as_str(), end.usage.unwrap().input_tokens),
        ("first\n\ndone", 6)
    );
    let calls: Vec<_> = rig.invoked().into_iter().map(|call| call.call_id).collect();
    assert_eq!(calls, ["t1:1", "t1:2", "t1:3"], "each once");
    drop(lost);
}

#[tokio::test]
async fn a_turn_that_failed_half_way_goes_on_after_its_last_result_when_it_is_asked_again() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "q").await;
    let asked = rig.asked().await;
    asked.call("c1", "{}");
    asked.stop(StopReason::ToolCalls);
    let asked = rig.asked().await;
    asked.text("half");
    asked.fail(ModelErrorClass::Unavailable, "down");
    failure(stream).await;
    for agent in [agent, rig.start().await] {
        let stream = agent.run("t1", "main_main", "q").await;
        let asked = rig.asked().await;
        assert_eq!(asked.texts(), ["q", "", "ran t1:1"]);
        asked.fail(ModelErrorClass::Unavailable, "down");
        failure(stream).await;
    }
    assert_eq!(rig.invoked().len(), 1);
}

#[tokio::test]
async fn a_line_that_was_cut_by_the_crash_is_taken_away_and_its_turn_runs_again() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "q1").await;
    rig.asked().await.answer("a1");
    answer(stream).await;
    let mut file = OpenOptions::new()
        .append(true)
        .open(rig.transcript())
        .unwrap();
    file.write_all(
        b"{\"type\":\"message\",\"id\":\"x\",\"turnId\":\"t2\",\"message\":{\"role\":\"us",
    )
    .unwrap();

    let agent = rig.start().await;
    let stream = agent.run("t2", "main_main", "q2").await;
    let asked = rig.asked().await;
    assert_eq!(asked.texts(), ["q1", "a1", "q2"]);
    asked.answer("a2");
    assert_eq!(answer(stream).await.text, "a2");
    assert_eq!(rig.lines(".jsonl").len(), 5);
}

#[tokio::test]
async fn a_damaged_beginning_costs_the_session_but_not_the_agent() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "q1").await;
    rig.asked().await.answer("a1");
    answer(stream).await;
    agent.agent.sessions.finish().await;
    let path = rig.transcript();
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::write(&path, vec![0; usize::try_from(length).unwrap()]).unwrap();

    let agent = rig.start().await;
    let stream = agent.run("t2", "main_main", "q2").await;
    let asked = rig.asked().await;
    assert_eq!(asked.texts(), ["q2"]);
    asked.answer("a2");
    answer(stream).await;
    assert_eq!(
        std::fs::metadata(&path).unwrap().len(),
        length,
        "the damaged file is left for a person to look at"
    );
}

#[tokio::test]
async fn a_new_session_is_begun_once_even_if_the_crash_comes_in_between() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "old").await;
    rig.asked().await.answer("a");
    answer(stream).await;
    let lost = agent.run("t2", "main_main", "/new fresh").await;
    let asked = rig.asked().await;
    assert_eq!(asked.texts(), ["fresh"]);
    let begun = rig.transcript();

    let agent = rig.start().await;
    let stream = agent.run("t2", "main_main", "/new fresh").await;
    let again = rig.asked().await;
    assert_eq!(again.texts(), ["fresh"]);
    again.answer("hello");
    assert_eq!(answer(stream).await.text, "hello");
    assert_eq!(rig.transcript(), begun);
    drop((lost, asked));

    let one = agent.command("t3", "/new").await;
    let begun = rig.transcript();
    let agent = rig.start().await;
    assert_eq!(agent.command("t3", "/new").await, one);
    assert_eq!(rig.transcript(), begun);
}

#[tokio::test]
async fn a_stopped_turn_stays_stopped_after_a_crash() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "q").await;
    let _asked = rig.asked().await;
    agent.cancel("t1").await;
    failure(stream).await;
    let agent = rig.start().await;
    assert_eq!(
        failure(agent.run("t1", "main_main", "q").await).await.code,
        "turn.stopped"
    );
    assert!(rig.nothing_asked());
}

#[tokio::test]
async fn the_list_of_sessions_is_right_whether_the_agent_ended_in_order_or_not() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    for (turn, handle) in [("t1", "main_a"), ("t2", "main_b"), ("t3", "main_a")] {
        let stream = agent.run(turn, handle, "q").await;
        rig.asked().await.answer("a");
        answer(stream).await;
    }
    let list = |agent: super::rig::Running| async move {
        let reply = agent
            .client
            .clone()
            .list_sessions(clawdbot_proto::v1::ListSessionsRequest {})
            .await;
        let sessions = reply.unwrap().into_inner().sessions;
        let all = sessions.into_iter().map(|s| {
            (
                s.session_key,
                s.class,
                s.input_tokens,
                s.output_tokens,
                s.model,
            )
        });
        (agent, all.collect::<Vec<_>>())
    };
    let (agent, before) = list(agent).await;
    let model = || "builtin/guide".to_owned();
    assert_eq!(before.len(), 2);
    assert!(before.contains(&("agent:main:a".into(), "main".into(), 4, 6, model())));
    assert!(before.contains(&("agent:main:b".into(), "main".into(), 2, 3, model())));

    let mut killed = list(rig.start().await).await.1;
    agent.agent.sessions.finish().await;
    let mut ended = list(rig.start().await).await.1;
    let mut before = before;
    for all in [&mut before, &mut killed, &mut ended] {
        all.sort();
    }
    assert_eq!(killed, before);
    assert_eq!(ended, before);
}
