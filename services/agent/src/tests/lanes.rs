//! Many at once: sessions side by side, one turn at a time in each, and any number of readers of one turn.

use clawdbot_identity::SessionKey;
use clawdbot_proto::v1::run_event::Event;
use clawdbot_proto::v1::{Restarted, TextDelta};
use tonic::Code;

use super::rig::{Rig, all, answer, next, slice, snapshot};

#[tokio::test]
async fn sessions_run_side_by_side_and_each_one_turn_at_a_time() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let first = agent.run("t1", "main_a", "a1").await;
    let asked_a1 = rig.asked().await;
    let second = agent.run("t2", "main_a", "a2").await;
    let third = agent.run("t3", "main_b", "b1").await;
    let asked_b1 = rig.asked().await;
    assert_eq!(asked_b1.texts(), ["b1"], "the other session does not wait");
    asked_b1.answer("B1");
    answer(third).await;
    assert!(rig.nothing_asked(), "the same session does");
    asked_a1.answer("A1");
    answer(first).await;
    let asked_a2 = rig.asked().await;
    assert_eq!(asked_a2.texts(), ["a1", "A1", "a2"]);
    asked_a2.answer("A2");
    answer(second).await;
}

#[tokio::test]
async fn asking_for_a_running_turn_joins_it_and_leaving_does_not_end_it() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let mut first = agent.run("t1", "main_main", "q").await;
    let asked = rig.asked().await;
    asked.text("so ");
    asked.text("far");
    for _ in 0..2 {
        next(&mut first).await;
    }
    let joined = agent.run("t1", "main_main", "q").await;
    drop(first);
    let status = agent.try_run("t1", "main_other", "q").await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::InvalidArgument,
        "the id is another session's"
    );
    asked.answer(" and on");
    let events = all(joined).await;
    assert_eq!(events[0], Event::Restarted(Restarted {}));
    assert_eq!(
        events[1],
        Event::Delta(TextDelta {
            text: "so far".into()
        })
    );
    assert!(matches!(events.last(), Some(Event::Answer(answer)) if answer.text == "so far and on"));
    assert!(rig.nothing_asked());
}

#[tokio::test]
async fn a_turn_waits_for_the_first_configuration() {
    let mut rig = Rig::new().await;
    rig.config.send_replace(None);
    let agent = rig.start().await;
    let client = agent.client.clone();
    let waiting = tokio::spawn(async move {
        let running = super::rig::Running {
            disk: agent.disk.clone(),
            agent: agent.agent,
            client,
        };
        answer(running.run("t1", "main_main", "q").await).await
    });
    tokio::task::yield_now().await;
    assert!(rig.nothing_asked());
    rig.config.send_replace(snapshot(slice()));
    rig.asked().await.answer("a");
    assert_eq!(waiting.await.unwrap().text, "a");
}

#[tokio::test]
async fn more_sessions_than_are_kept_open_forget_nothing() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    for round in ["q", "r"] {
        for n in 0..80 {
            let stream = agent
                .run(&format!("{round}{n}"), &format!("main_s{n}"), round)
                .await;
            let asked = rig.asked().await;
            let known = if round == "q" {
                vec!["q"]
            } else {
                vec!["q", "a", "r"]
            };
            assert_eq!(asked.texts(), known);
            asked.answer("a");
            answer(stream).await;
        }
    }
    assert_eq!(agent.agent.sessions.len(), 80);
}

#[tokio::test]
async fn a_turn_costs_the_same_however_long_the_session_is() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let mut written = Vec::new();
    for n in 0..500 {
        let before = std::fs::metadata(rig.folder())
            .map(|_| rig.size())
            .unwrap_or(0);
        let stream = agent
            .run(&format!("t{n:03}"), "main_main", "question")
            .await;
        let asked = rig.asked().await;
        assert_eq!(asked.texts().len(), 2 * n + 1);
        asked.answer("an answer");
        answer(stream).await;
        written.push(rig.size() - before);
        if n == 5 {
            // Nobody who looked into the file from here on could tell what was said.
            rig.blank();
        }
    }
    assert_eq!(written[10], written[499], "bytes written in a turn");
}

#[tokio::test]
async fn sessions_can_be_looked_at_while_turns_wait_for_the_disk() {
    let rig = Rig::new().await;
    let agent = rig.start().await;
    agent.command("t1", "/status").await;
    let key = SessionKey::parse("agent:main:main").unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    agent.disk.start_job(move || {
        let _released = held.recv();
    });
    let sessions = &agent.agent.sessions;
    let seen = sessions.history(&key, 10).await.unwrap();
    assert_eq!(seen.len(), 2, "question and answer");
    assert_eq!(sessions.list(|_| String::new()).await.len(), 1);
    drop(release);
    agent.command("t2", "/status").await;
    assert_eq!(sessions.history(&key, 10).await.unwrap().len(), 4);
}
