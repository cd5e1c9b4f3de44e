//! Any process may be killed at any instant: whatever was accepted is answered exactly once, and the
//! others keep running.

use std::collections::BTreeMap;
use std::time::Duration;

use clawdbot_proto::v1::chat_event::Event;
use clawdbot_tests::kernel::Seen;
use clawdbot_tests::{Scratch, Start};
use rustix::process::Signal;

/// Far above what the end of a process takes; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages of one stream.
const MESSAGES: usize = 24;
/// Messages after which the process is killed, each time anew.
const KILLS: [usize; 3] = [4, 11, 17];

/// Sends a stream of messages over two sessions, kills the process three times on the way, and counts
/// what the transcript holds afterwards.
async fn survives_the_death_of(role: &str) {
    let scratch = Scratch::new();
    let mut product = Start::new().up(&scratch);
    let before: BTreeMap<String, Seen> = product.processes().into_iter().collect();
    let mut victim = before[role];
    let mut streams = Vec::new();
    let (tick, mut ticks) = tokio::sync::mpsc::unbounded_channel();
    for session in ["main", "second"] {
        let mut talk = product.talk();
        let tick = tick.clone();
        streams.push(tokio::spawn(async move {
            for number in 0..MESSAGES {
                let text = if number % 3 == 0 {
                    "run session_status {}".to_owned()
                } else {
                    format!("question {number} of {session}")
                };
                let id = format!("{session}-{number}");
                let answer = talk.answer(&id, session, &text).await;
                assert!(!answer.is_empty());
                let _over = tick.send(());
            }
        }));
    }
    drop(tick);
    let mut answered = 0;
    while ticks.recv().await.is_some() {
        answered += 1;
        if KILLS.contains(&answered) {
            let role = role.to_owned();
            // Beside the streams, which go on meanwhile.
            let killed = tokio::task::spawn_blocking(move || {
                let next = product.kill(&role, victim);
                (product, next)
            });
            (product, victim) = killed.await.unwrap();
        }
    }
    for stream in streams {
        stream.await.unwrap();
    }
    assert_eq!(answered, 2 * MESSAGES);

    for (name, seen) in &before {
        if name != role {
            assert!(seen.lives(), "{name} kept running");
        }
    }
    for session in ["main", "second"] {
        let questions = product.talk().questions(session).await;
        assert_eq!(
            questions.len(),
            MESSAGES,
            "each question stands once in {session}"
        );
        for number in (0..MESSAGES).filter(|number| number % 3 != 0) {
            let text = format!("question {number} of {session}");
            let times = questions.iter().filter(|asked| asked.contains(&text));
            assert_eq!(times.count(), 1, "{text}");
        }
    }
    assert_eq!(product.stop(), Some(0));
}

#[tokio::test]
async fn the_gateway_may_die() {
    survives_the_death_of("gateway").await;
}

#[tokio::test]
async fn policy_may_die() {
    survives_the_death_of("policy").await;
}

#[tokio::test]
async fn the_broker_may_die() {
    survives_the_death_of("broker").await;
}

#[tokio::test]
async fn the_dialer_may_die() {
    survives_the_death_of("dialer").await;
}

#[tokio::test]
async fn the_agent_may_die() {
    survives_the_death_of("agent-main").await;
}

#[tokio::test]
async fn the_other_agent_may_die() {
    survives_the_death_of("agent-guest").await;
}

#[tokio::test]
async fn the_model_may_die() {
    survives_the_death_of("model-builtin").await;
}

#[tokio::test]
async fn the_executor_may_die() {
    survives_the_death_of("executor").await;
}

/// What was accepted when the supervisor was killed is answered by the next start, once.
#[tokio::test]
async fn what_was_accepted_before_the_supervisor_died_is_answered_by_the_next_start() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let mut talk = product.talk();
    talk.answer("first", "main", "question zero").await;
    // Accepted and not waited for: the call is dropped as soon as the message is on disk.
    let mut accepted = Vec::new();
    for number in 0..8 {
        let id = format!("late-{number}");
        let request = clawdbot_proto::v1::SendRequest {
            message_id: id.clone(),
            session: "main".into(),
            text: format!("late question {number}"),
        };
        let mut stream = talk.client().send(request).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap().event;
        assert!(matches!(first, Some(Event::Accepted(_))), "{first:?}");
        accepted.push(id);
    }
    product.supervisor().signal(Signal::KILL);
    for (role, seen) in product.processes() {
        assert!(role == "supervisor" || seen.ends_within(PATIENCE), "{role}");
    }
    drop(product);

    let product = Start::new().up(&scratch);
    let mut talk = product.talk();
    for (number, id) in accepted.iter().enumerate() {
        let answer = talk
            .answer(id, "main", &format!("late question {number}"))
            .await;
        assert!(!answer.is_empty());
    }
    let questions = talk.questions("main").await;
    for number in 0..8 {
        let text = format!("late question {number}");
        let times = questions.iter().filter(|asked| asked.contains(&text));
        assert_eq!(times.count(), 1, "{text}");
    }
    assert_eq!(questions.len(), 9);
    assert_eq!(product.stop(), Some(0));
}

/// A process that cannot start for a while is tried again, and everything that belongs to it is still
/// there when it can.
#[tokio::test]
async fn policy_that_cannot_start_for_a_while_finds_its_socket_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new();
    let mut product = Start::new().up(&scratch);
    let record = scratch.state().join("audit/decisions.jsonl");
    let mode = |mode| std::fs::set_permissions(&record, std::fs::Permissions::from_mode(mode));
    mode(0o000).unwrap();
    product.process("policy").signal(Signal::KILL);
    for _ in 0..3 {
        product.event_where("process", |e| {
            e["role"] == "policy" && e["state"] == "ended"
        });
    }
    mode(0o600).unwrap();
    product.event_where("process", |e| {
        e["role"] == "policy" && e["state"] == "ready"
    });
    scratch.clawdbot(&["token"]).ok();
    scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    assert_eq!(product.stop(), Some(0));
}
