//! A message's way from the operator's socket to its answer, with agents that die and gateways that start again.

use clawdbot_identity::Class;
use clawdbot_proto::v1;
use clawdbot_proto::v1::chat_event::Event;
use tonic::{Code, Status, Streaming};

use crate::desk::{Question, Sent, Visitor, Wanted};
use crate::queue::Outcome;
use crate::testing::{FakeAgent, World};

type Events = Streaming<v1::ChatEvent>;

fn message(id: &str, session: &str, text: &str) -> v1::SendRequest {
    v1::SendRequest {
        message_id: id.into(),
        session: session.into(),
        text: text.into(),
    }
}

async fn send(world: &World, id: &str, text: &str) -> Events {
    let request = message(id, "main", text);
    let answer = world.operator.clone().send(request).await.unwrap();
    answer.into_inner()
}

async fn next(events: &mut Events) -> Option<Event> {
    events.message().await.unwrap().map(|e| e.event.unwrap())
}

/// Reads to the end: whether it was known, the streamed text that counts, the last event.
async fn finish(mut events: Events) -> (Option<bool>, String, Event) {
    let (mut known, mut text) = (None, String::new());
    loop {
        match next(&mut events).await.unwrap() {
            Event::Accepted(accepted) => known = Some(accepted.known),
            Event::Delta(delta) => text.push_str(&delta.text),
            Event::Restarted(_) => text.clear(),
            end @ (Event::Answer(_) | Event::Failed(_)) => {
                assert!(next(&mut events).await.is_none());
                return (known, text, end);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn said(end: &Event) -> &str {
    match end {
        Event::Answer(answer) => &answer.text,
        Event::Failed(failed) => &failed.code,
        other => panic!("{other:?}"),
    }
}

async fn refused(world: &World, request: v1::SendRequest) -> Status {
    world.operator.clone().send(request).await.unwrap_err()
}

#[tokio::test]
async fn a_message_is_accepted_streamed_and_answered() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let (known, text, end) = finish(send(&world, "m1", "hello").await).await;
    assert_eq!(
        (known, text.as_str(), said(&end)),
        (Some(false), "hello", "hello")
    );
    let again = finish(send(&world, "m1", "hello").await).await;
    assert_eq!((again.0, said(&again.2)), (Some(true), "hello"));
    assert_eq!(*world.agent.worked.lock().unwrap(), ["hello"]);
    assert_eq!(world.front.status().pending, 0);
}

#[tokio::test]
async fn what_a_program_asks_for_reaches_the_agent_and_its_ids_are_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    finish(send(&world, "m1", "one").await).await;
    world.policy.keys.lock().unwrap().insert("key".into());
    let question = Question {
        text: "two".into(),
        extra_system: "Be brief.".into(),
        parameters: v1::Parameters {
            temperature: Some(0.5),
            ..Default::default()
        },
    };
    let visitor = Visitor::Api("key".into());
    let sent = || {
        let wanted = Wanted::named("openai-user-ann").unwrap();
        world
            .front
            .desk()
            .send(&visitor, wanted, "m1", question.clone())
    };
    let Ok(Sent::Running { log, known, .. }) = sent().await.unwrap() else {
        panic!("not accepted")
    };
    assert!(!known);
    log.ended().await.unwrap();
    let asked = world.agent.last.lock().unwrap().clone().unwrap();
    assert_eq!(
        (asked.source.as_str(), asked.extra_system.as_str()),
        ("api", "Be brief.")
    );
    assert_eq!(asked.parameters.unwrap().temperature, Some(0.5));
    assert!(matches!(
        sent().await.unwrap(),
        Ok(Sent::Settled(_, _, Outcome::Answered(_)))
    ));
    let other = Question {
        extra_system: String::new(),
        ..question.clone()
    };
    let wanted = Wanted::named("openai-user-ann").unwrap();
    let status = world
        .front
        .desk()
        .send(&visitor, wanted, "m1", other)
        .await
        .err();
    assert_eq!(status.unwrap().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn who_sends_the_same_message_again_joins_the_running_turn() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let first = send(&world, "m1", "hold").await;
    world.agent.asked_times(1).await;
    let second = send(&world, "m1", "hold").await;
    world.agent.released.send_replace(true);
    for (events, known) in [(first, false), (second, true)] {
        let (was_known, text, end) = finish(events).await;
        assert_eq!((was_known, text.as_str()), (Some(known), "half "));
        assert_eq!(said(&end), "half done");
    }
    assert_eq!(world.agent.asked.borrow().len(), 1);
}

#[tokio::test]
async fn a_request_that_breaks_a_rule_is_refused_and_not_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    finish(send(&world, "m1", "one").await).await;
    let big = "x".repeat(262_145);
    for (request, word) in [
        (message("", "main", "x"), "message id"),
        (message("a/b", "main", "x"), "message id"),
        (message("m2", "Main", "x"), "session name"),
        (message("m2", "", "x"), "session name"),
        (message("m2", "main", ""), "empty"),
        (message("m2", "main", &big), "262144"),
        (message("m2", "main", "a\0"), "NUL"),
        (message("m1", "main", "other"), "another message"),
        (message("m1", "notes", "one"), "another message"),
    ] {
        let status = refused(&world, request).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{word}");
        assert!(status.message().contains(word), "{status}");
    }
    assert_eq!(*world.agent.worked.lock().unwrap(), ["one"]);
}

#[tokio::test]
async fn what_policy_refuses_is_not_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let refuses = &world.policy.refuses_admission;
    refuses.store(true, std::sync::atomic::Ordering::Relaxed);
    let (known, _, end) = finish(send(&world, "m1", "one").await).await;
    assert_eq!((known, said(&end)), (None, "config.none"));
    refuses.store(false, std::sync::atomic::Ordering::Relaxed);
    let (known, _, end) = finish(send(&world, "m1", "one").await).await;
    assert_eq!((known, said(&end)), (Some(false), "one"));
}

#[tokio::test]
async fn an_agent_that_dies_is_asked_again_under_the_same_turn_id() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let mut events = send(&world, "m1", "hold").await;
    assert!(matches!(next(&mut events).await, Some(Event::Accepted(_))));
    assert!(matches!(next(&mut events).await, Some(Event::Delta(_))));
    world.link.reconnect(world.agent.router()).await.unwrap();
    world.agent.asked_times(2).await;
    world.agent.released.send_replace(true);
    let mut restarted = 0;
    let answer = loop {
        match next(&mut events).await.unwrap() {
            Event::Restarted(_) => restarted += 1,
            Event::Delta(_) => {}
            end => break end,
        }
    };
    assert_eq!((restarted, said(&answer)), (1, "half done"));
    let asked = world.agent.asked.borrow().clone();
    assert_eq!((asked.len(), &asked[0]), (2, &asked[1]));
    assert_eq!(*world.agent.worked.lock().unwrap(), ["hold"]);
}

#[tokio::test]
async fn a_gateway_that_starts_again_answers_what_was_accepted_in_order_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let agent = FakeAgent::new(Class::Main);
    let crashed = tempfile::tempdir().unwrap();
    {
        let world = World::with_agent(dir.path(), agent.clone()).await;
        let _first = send(&world, "m1", "hold").await;
        agent.asked_times(1).await;
        for n in 2..6 {
            let mut events = send(&world, &format!("m{n}"), &format!("text {n}")).await;
            let Some(Event::Accepted(accepted)) = next(&mut events).await else {
                panic!("not accepted")
            };
            assert_eq!(accepted.ahead, n - 1);
        }
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), crashed.path().join(entry.file_name())).unwrap();
        }
    }
    let world = World::with_agent(crashed.path(), agent.clone()).await;
    agent.asked_times(2).await;
    agent.released.send_replace(true);
    for n in 2..6 {
        let (known, _, end) =
            finish(send(&world, &format!("m{n}"), &format!("text {n}")).await).await;
        assert_eq!(
            (known, said(&end)),
            (Some(true), format!("text {n}").as_str())
        );
    }
    let worked = agent.worked.lock().unwrap().clone();
    assert_eq!(worked, ["hold", "text 2", "text 3", "text 4", "text 5"]);
}

#[tokio::test]
async fn a_stop_ends_the_running_turn_and_drops_what_waits_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let running = send(&world, "m1", "hold").await;
    world.agent.asked_times(1).await;
    let waiting = send(&world, "m2", "never").await;
    let elsewhere = message("m3", "notes", "hold");
    let elsewhere = world.operator.clone().send(elsewhere).await.unwrap();
    world.agent.asked_times(2).await;
    let stop = v1::StopRequest {
        session: "main".into(),
    };
    let reply = world.operator.clone().stop(stop.clone()).await.unwrap();
    assert_eq!(reply.into_inner().stopped, 2);
    for events in [running, waiting] {
        assert_eq!(said(&finish(events).await.2), "turn.stopped");
    }
    assert_eq!(
        said(&finish(send(&world, "m2", "never").await).await.2),
        "turn.stopped"
    );
    let reply = world.operator.clone().stop(stop).await.unwrap();
    assert_eq!(reply.into_inner().stopped, 0);
    world.agent.released.send_replace(true);
    assert_eq!(said(&finish(elsewhere.into_inner()).await.2), "half done");
    assert_eq!(
        said(&finish(send(&world, "m4", "next").await).await.2),
        "next"
    );
    assert!(!world.agent.worked.lock().unwrap().contains(&"never".into()));
}

#[tokio::test]
async fn the_word_stop_stops_and_is_no_message() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let running = send(&world, "m1", "hold").await;
    world.agent.asked_times(1).await;
    let (known, _, end) = finish(send(&world, "m2", "/stop").await).await;
    assert_eq!((known, said(&end)), (None, "Stopped 1 message."));
    assert_eq!(said(&finish(running).await.2), "turn.stopped");
}

#[tokio::test]
async fn what_policy_answers_and_what_the_gateway_answers_reaches_no_agent() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let (known, _, end) = finish(send(&world, "m1", "/approve ABCD2345").await).await;
    assert_eq!((known, said(&end)), (None, "elsewhere"));
    let (known, _, end) = finish(send(&world, "m2", "/queue steer").await).await;
    assert!(known.is_none() && said(&end).contains("steer debounce:"));
    assert!(world.agent.worked.lock().unwrap().is_empty());
    // Without commands they are messages.
    let off = v1::GatewaySlice {
        commands_off: true,
        ..Default::default()
    };
    world
        .front
        .desk()
        .turns()
        .set_manners(crate::rule::Manners::of(&off));
    for (id, text) in [("m3", "/queue"), ("m4", "/stop")] {
        assert_eq!(said(&finish(send(&world, id, text).await).await.2), text);
    }
}

#[tokio::test]
async fn a_stop_works_while_the_agent_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let running = send(&world, "m1", "hold").await;
    world.agent.asked_times(1).await;
    world.link.cut().await;
    let stop = tokio::spawn({
        let mut operator = world.operator.clone();
        async move {
            let session = "main".into();
            operator.stop(v1::StopRequest { session }).await
        }
    });
    // In real time: the queue's thread does not wait for a stopped clock, which would run past the patience of the edge.
    assert_eq!(stop.await.unwrap().unwrap().into_inner().stopped, 1);
    assert_eq!(said(&finish(running).await.2), "turn.stopped");
}

#[tokio::test]
async fn an_agents_refusal_ends_the_turn_and_a_fault_is_tried_again_a_few_times() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let (_, _, end) = finish(send(&world, "m1", "refuse").await).await;
    assert_eq!(said(&end), "turn.refused");
    assert_eq!(world.agent.asked.borrow().len(), 1);
    let events = send(&world, "m2", "fault").await;
    world.agent.asked_times(2).await;
    tokio::time::pause();
    let (_, _, end) = finish(events).await;
    assert_eq!(said(&end), "turn.error");
    assert_eq!(world.agent.asked.borrow().len(), 6);
}

#[tokio::test]
async fn a_reader_that_sleeps_holds_nobody_up_and_still_gets_all() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let sleeper = send(&world, "m1", &"long ".repeat(20_000)).await;
    for n in 2..20 {
        finish(send(&world, &format!("m{n}"), "x").await).await;
    }
    let (_, text, end) = finish(sleeper).await;
    assert_eq!((text.len(), said(&end).len()), (100_000, 100_000));
}

#[tokio::test]
async fn history_and_sessions_come_from_the_agents_and_limits_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let mut operator = world.operator.clone();
    let history = |limit| v1::HistoryRequest {
        session: "notes".into(),
        limit,
    };
    let reply = operator.history(history(1)).await.unwrap().into_inner();
    assert_eq!(reply.entries[0].text, "handle-notes");
    for limit in [0, 1001] {
        let status = operator.history(history(limit)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("1000"), "{status}");
    }
    let sessions = operator.list_sessions(v1::ListSessionsRequest {}).await;
    let sessions = sessions.unwrap().into_inner().sessions;
    let classes: Vec<_> = sessions.iter().map(|s| s.class.as_str()).collect();
    assert_eq!(classes, ["guest", "main"]);
    let status = operator
        .status(v1::GatewayStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.urls, [format!("http://{}", world.address)]);
}
