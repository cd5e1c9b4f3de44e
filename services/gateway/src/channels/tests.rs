//! A chat's way through the gateway: a worker that delivers, attaches and reports, agents that answer, and gateways that
//! end at any moment. A crash is a copy of the queue's files as they lie.

mod group;
mod kill;

use std::path::Path;
use std::sync::Arc;

use clawdbot_identity::Class;
use clawdbot_proto::v1;
use clawdbot_proto::v1::ReceiptState::{Accepted, Full, Known, Refused};
use clawdbot_proto::v1::channel_order::Order;
use clawdbot_proto::v1::{Disposition, ReceiptState};
use tonic::{Code, Streaming};

use crate::limits;
use crate::testing::{FakeAgent, World};

fn rules(mode: &str, prefix: &str) -> v1::GatewaySlice {
    v1::GatewaySlice {
        queue: vec![v1::QueueRule {
            channel: "telegram".into(),
            mode: mode.into(),
            cap: 20,
            drop: "summarize".into(),
            ..Default::default()
        }],
        response_prefix: prefix.into(),
        ..Default::default()
    }
}

async fn world(dir: &Path, mode: &str) -> World {
    World::with_rules(dir, FakeAgent::new(Class::Main), rules(mode, "")).await
}

fn inbound(event: &str, handle: &str, text: &str) -> v1::Inbound {
    v1::Inbound {
        account: "default".into(),
        event_id: event.into(),
        handle: handle.into(),
        text: text.into(),
        address: format!("at {event}").into_bytes(),
        lane: handle.replace("handle-", "lane-"),
        at_ms: 1,
        sender_name: String::new(),
    }
}

async fn deliver(world: &World, messages: Vec<v1::Inbound>) -> (Vec<ReceiptState>, u32) {
    let request = v1::DeliverRequest { messages };
    let reply = world.worker.clone().deliver(request).await.unwrap();
    let reply = reply.into_inner();
    let states = reply.receipts.iter().map(v1::Receipt::state).collect();
    (states, reply.credit)
}

async fn say(world: &World, event: &str, handle: &str, text: &str) {
    let (states, _) = deliver(world, vec![inbound(event, handle, text)]).await;
    assert_eq!(states, [Accepted]);
}

type Orders = Streaming<v1::ChannelOrder>;

async fn attach(world: &World) -> Orders {
    let accounts = vec!["default".into()];
    let request = v1::AttachRequest { accounts };
    let orders = world.worker.clone().attach(request).await.unwrap();
    orders.into_inner()
}

async fn next(orders: &mut Orders) -> Option<Order> {
    orders.message().await.unwrap().map(|o| o.order.unwrap())
}

/// The next answer; what may be lost is passed over.
async fn next_send(orders: &mut Orders) -> v1::Send {
    loop {
        if let Order::Send(send) = next(orders).await.unwrap() {
            return send;
        }
    }
}

async fn report(world: &World, outbox_id: &str, disposition: Disposition) {
    let report = v1::SendReport {
        outbox_id: outbox_id.into(),
        disposition: disposition.into(),
        ..Default::default()
    };
    world.worker.clone().report(report).await.unwrap();
}

async fn sent(world: &World, orders: &mut Orders) -> String {
    let send = next_send(orders).await;
    report(world, &send.outbox_id, Disposition::Done).await;
    send.text
}

/// What a machine that lost power now would find.
fn crash(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

#[tokio::test]
async fn a_message_of_a_chat_is_answered_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let agent = FakeAgent::new(Class::Main);
    let world = World::with_rules(dir.path(), agent, rules("followup", "[bot]")).await;
    let mut orders = attach(&world).await;
    assert_eq!(next(&mut orders).await, Some(Order::Credit(64)));
    let message = inbound("e1", "handle-owner", "hello");
    let (states, credit) = deliver(&world, vec![message.clone(), message.clone()]).await;
    assert_eq!((states, credit), (vec![Accepted, Known], 64));
    let send = next_send(&mut orders).await;
    assert_eq!(
        (send.text.as_str(), send.address.as_slice()),
        ("[bot] hello", &b"at e1"[..])
    );
    assert_eq!(
        (send.lane.as_str(), send.reply_to.as_str()),
        ("lane-owner", "")
    );
    assert_eq!(world.front.status().undelivered, 1);
    report(&world, &send.outbox_id, Disposition::Done).await;
    report(&world, &send.outbox_id, Disposition::Done).await;
    assert_eq!(deliver(&world, vec![message]).await.0, [Known]);
    let asked = world.agent.last.lock().unwrap().clone().unwrap();
    assert_eq!(
        (asked.source.as_str(), asked.turn_id),
        ("telegram", send.turn_id)
    );
    let status = world.front.status();
    assert_eq!(
        (status.undelivered, status.unknown, status.pending),
        (0, 0, 0)
    );
    assert_eq!(*world.agent.worked.lock().unwrap(), ["hello"]);
}

#[tokio::test]
async fn class_and_session_are_policys_word_and_a_refusal_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), "followup").await;
    let mut orders = attach(&world).await;
    say(&world, "e1", "handle-7", "from a guest").await;
    assert_eq!(sent(&world, &mut orders).await, "from a guest");
    assert_eq!(*world.guest.worked.lock().unwrap(), ["from a guest"]);
    assert!(world.agent.worked.lock().unwrap().is_empty());
    let stale = inbound("e2", "stale-7", "x");
    assert_eq!(deliver(&world, vec![stale]).await.0, [Refused]);
    let late = inbound("e2", "handle-7", "x");
    assert_eq!(deliver(&world, vec![late]).await.0, [Refused]);
    let presented = &world.policy.presented;
    let before = presented.load(std::sync::atomic::Ordering::Relaxed);
    let many = (0..50).map(|n| inbound(&format!("m{n}"), "handle-8", "silent"));
    deliver(&world, many.collect()).await;
    let after = presented.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(after - before, 1, "each handle is asked about once");
}

#[tokio::test]
async fn a_message_that_breaks_a_rule_is_refused_and_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), "followup").await;
    let good = || inbound("good", "handle-7", "silent");
    let bad = |change: fn(&mut v1::Inbound)| {
        let mut message = inbound("bad", "handle-7", "x");
        change(&mut message);
        message
    };
    let messages = vec![
        bad(|m| m.text.clear()),
        bad(|m| m.text = "x".repeat(limits::TEXT_BYTES + 1)),
        bad(|m| m.event_id = "a b".into()),
        bad(|m| m.lane.clear()),
        bad(|m| m.account = "é".into()),
        bad(|m| m.handle = "no handle".into()),
        bad(|m| m.address = vec![0; limits::ADDRESS_BYTES + 1]),
        good(),
    ];
    let mut states = vec![Refused; 7];
    states.push(Accepted);
    assert_eq!(deliver(&world, messages).await.0, states);
    let messages = (0..101).map(|_| good()).collect();
    let request = v1::DeliverRequest { messages };
    let status = world.worker.clone().deliver(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn while_policy_is_away_nothing_is_accepted_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), "followup").await;
    let away = &world.policy.faulty;
    away.store(true, std::sync::atomic::Ordering::Relaxed);
    let request = v1::DeliverRequest {
        messages: vec![inbound("e1", "handle-7", "x")],
    };
    let status = world.worker.clone().deliver(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    away.store(false, std::sync::atomic::Ordering::Relaxed);
    say(&world, "e1", "handle-7", "x").await;
}

#[tokio::test]
async fn whenever_the_gateway_dies_each_message_has_one_answer_under_one_outbox_id() {
    let dir = tempfile::tempdir().unwrap();
    let agent = FakeAgent::new(Class::Main);
    let mut copies = Vec::new();
    let first;
    {
        let world = World::with_rules(dir.path(), Arc::clone(&agent), rules("followup", "")).await;
        say(&world, "e1", "handle-owner", "hold").await;
        copies.push(("accepted", crash(dir.path()), true));
        agent.asked_times(1).await;
        copies.push(("asked", crash(dir.path()), true));
        agent.released.send_replace(true);
        let mut orders = attach(&world).await;
        copies.push(("attached", crash(dir.path()), true));
        first = next_send(&mut orders).await;
        copies.push(("settled", crash(dir.path()), true));
        report(&world, &first.outbox_id, Disposition::Done).await;
        copies.push(("reported", crash(dir.path()), false));
    }
    for (when, copy, open) in copies {
        let world = World::with_rules(copy.path(), Arc::clone(&agent), rules("followup", "")).await;
        let again = inbound("e1", "handle-owner", "hold");
        assert_eq!(deliver(&world, vec![again]).await.0, [Known], "{when}");
        let mut orders = attach(&world).await;
        if open {
            let send = next_send(&mut orders).await;
            assert_eq!(send, first, "{when}");
            report(&world, &send.outbox_id, Disposition::Done).await;
        }
        say(&world, "e2", "handle-owner", "after").await;
        assert_eq!(sent(&world, &mut orders).await, "after", "{when}");
        assert_eq!(world.front.status().undelivered, 0, "{when}");
    }
    let worked = agent.worked.lock().unwrap().clone();
    assert_eq!(worked.iter().filter(|text| *text == "hold").count(), 1);
}

#[tokio::test]
async fn a_conversation_keeps_its_order_until_an_answer_is_settled_and_others_go_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), "followup").await;
    let mut orders = attach(&world).await;
    for (event, handle, text) in [
        ("e1", "handle-7", "one"),
        ("e2", "handle-7", "two"),
        ("e3", "handle-8", "three"),
    ] {
        say(&world, event, handle, text).await;
    }
    let mut open = [next_send(&mut orders).await, next_send(&mut orders).await];
    open.sort_by_key(|send| send.lane.clone());
    let texts: Vec<_> = open.iter().map(|send| send.text.as_str()).collect();
    assert_eq!(texts, ["one", "three"]);
    // Nothing was sent: the same answer comes again after the next attach, still before the second one.
    report(&world, &open[0].outbox_id, Disposition::NotStarted).await;
    report(&world, &open[1].outbox_id, Disposition::Done).await;
    let mut again = attach(&world).await;
    let send = next_send(&mut again).await;
    assert_eq!(
        (&send.text, &send.outbox_id),
        (&open[0].text, &open[0].outbox_id)
    );
    report(&world, &send.outbox_id, Disposition::Done).await;
    assert_eq!(sent(&world, &mut again).await, "two");
}

#[tokio::test]
async fn what_is_unsure_or_refused_is_counted_and_never_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let fates = [Disposition::Unknown, Disposition::Rejected];
    {
        let world = world(dir.path(), "followup").await;
        let mut orders = attach(&world).await;
        for (n, fate) in (0..).zip(fates) {
            say(&world, &format!("e{n}"), "handle-7", "x").await;
            let send = next_send(&mut orders).await;
            report(&world, &send.outbox_id, fate).await;
            // Whoever is late changes nothing.
            report(&world, &send.outbox_id, Disposition::NotStarted).await;
        }
        let status = world.front.status();
        let counts = (status.undelivered, status.unknown, status.rejected);
        assert_eq!(counts, (0, 1, 1));
    }
    let copy = crash(dir.path());
    let world = world(copy.path(), "followup").await;
    let status = world.front.status();
    let counts = (status.undelivered, status.unknown, status.rejected);
    assert_eq!(counts, (0, 1, 1));
    let mut orders = attach(&world).await;
    say(&world, "next", "handle-7", "next").await;
    assert_eq!(sent(&world, &mut orders).await, "next");
}

#[tokio::test]
async fn a_second_worker_ends_the_first_ones_stream_and_a_stop_ends_all() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), "followup").await;
    let mut first = attach(&world).await;
    let mut second = attach(&world).await;
    while next(&mut first).await.is_some() {}
    say(&world, "e1", "handle-7", "x").await;
    assert_eq!(sent(&world, &mut second).await, "x");
    world.front.desk().turns().channels().stop();
    while next(&mut second).await.is_some() {}
    let request = v1::DeliverRequest {
        messages: vec![inbound("e2", "handle-7", "x")],
    };
    let status = world.worker.clone().deliver(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn silence_sends_nothing_a_quotation_names_its_message_and_failures_are_told_as_fits() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), "followup").await;
    let mut orders = attach(&world).await;
    say(&world, "e1", "handle-7", "silent").await;
    say(&world, "e2", "handle-7", "quote").await;
    let send = next_send(&mut orders).await;
    assert_eq!(
        (send.text.as_str(), send.reply_to.as_str()),
        ("quoted", "e2")
    );
    report(&world, &send.outbox_id, Disposition::Done).await;
    say(&world, "e3", "handle-7", "refuse").await;
    let guest = sent(&world, &mut orders).await;
    assert!(guest.starts_with("Something went wrong"), "{guest}");
    say(&world, "e4", "handle-owner", "refuse").await;
    assert_eq!(sent(&world, &mut orders).await, "the handle has expired");
}

#[tokio::test]
async fn stop_in_a_chat_ends_what_came_before_and_says_so_once() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), "followup").await;
    let mut orders = attach(&world).await;
    say(&world, "e1", "handle-7", "hold").await;
    world.guest.asked_times(1).await;
    let messages = vec![
        inbound("e2", "handle-7", "never"),
        inbound("e3", "handle-7", " /Stop"),
        inbound("e4", "handle-7", "after"),
    ];
    deliver(&world, messages).await;
    let mut texts = [
        sent(&world, &mut orders).await,
        sent(&world, &mut orders).await,
    ];
    texts.sort();
    assert_eq!(texts, ["Stopped.", "after"]);
    say(&world, "e5", "handle-7", "/stop").await;
    assert_eq!(sent(&world, &mut orders).await, "Nothing was running.");
    assert!(!world.guest.worked.lock().unwrap().contains(&"never".into()));
    assert_eq!(world.front.status().pending, 0);
}

#[tokio::test]
async fn queue_in_a_chat_changes_how_its_session_waits_also_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let agent = FakeAgent::new(Class::Main);
    let copy;
    {
        let world = World::with_rules(dir.path(), Arc::clone(&agent), rules("followup", "")).await;
        let mut orders = attach(&world).await;
        say(&world, "q0", "handle-owner", "/queue nonsense").await;
        assert!(
            sent(&world, &mut orders)
                .await
                .contains("\"nonsense\" is not understood")
        );
        say(&world, "q1", "handle-owner", "/Queue Collect debounce:0").await;
        let told = sent(&world, &mut orders).await;
        assert!(
            told.contains("collect debounce:0ms cap:20 drop:summarize"),
            "{told}"
        );
        copy = crash(dir.path());
    }
    let world = World::with_rules(copy.path(), Arc::clone(&agent), rules("followup", "")).await;
    let mut orders = attach(&world).await;
    say(&world, "e0", "handle-owner", "hold").await;
    agent.asked_times(1).await;
    for (event, text) in [("e1", "one"), ("e2", "two")] {
        say(&world, event, "handle-owner", text).await;
    }
    agent.released.send_replace(true);
    assert_eq!(sent(&world, &mut orders).await, "half done");
    let joined = sent(&world, &mut orders).await;
    assert!(joined.contains("one") && joined.contains("two"), "{joined}");
    say(&world, "q2", "handle-owner", "/queue default").await;
    let told = sent(&world, &mut orders).await;
    assert!(
        told.contains("followup") && told.contains("as configured"),
        "{told}"
    );
    let worked = agent.worked.lock().unwrap();
    assert!(worked.iter().all(|text| !text.contains("queue")));
}

#[tokio::test]
async fn what_waits_becomes_one_turn_with_one_answer_also_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let agent = FakeAgent::new(Class::Main);
    let joined = "[Messages that came while you were busy, oldest first]\n\n--- Message 1 ---\none\n\n\
                  --- Message 2 ---\ntwo\n\n--- Message 3 ---\nhold";
    let copy;
    {
        let world = World::with_rules(dir.path(), Arc::clone(&agent), rules("collect", "")).await;
        let mut orders = attach(&world).await;
        say(&world, "e0", "handle-owner", "hold").await;
        agent.asked_times(1).await;
        for (event, text) in [("e1", "one"), ("e2", "two"), ("e3", "hold")] {
            say(&world, event, "handle-owner", text).await;
        }
        agent.released.send_replace(true);
        assert_eq!(sent(&world, &mut orders).await, "half done");
        agent.asked_times(2).await;
        copy = crash(dir.path());
        let send = next_send(&mut orders).await;
        assert_eq!(
            (send.text.as_str(), send.address.as_slice()),
            (joined, &b"at e3"[..])
        );
    }
    let world = World::with_rules(copy.path(), Arc::clone(&agent), rules("collect", "")).await;
    let mut orders = attach(&world).await;
    let members = ["e1", "e2", "e3"].map(|event| inbound(event, "handle-owner", "x"));
    assert_eq!(deliver(&world, members.to_vec()).await.0, [Known; 3]);
    assert_eq!(sent(&world, &mut orders).await, joined);
    assert_eq!(*agent.worked.lock().unwrap(), ["hold", joined]);
    assert_eq!(world.front.status().pending, 0);
}

#[tokio::test]
async fn what_an_agent_may_have_seen_is_never_joined_with_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let agent = FakeAgent::new(Class::Main);
    {
        let world = World::with_rules(dir.path(), Arc::clone(&agent), rules("collect", "")).await;
        say(&world, "e0", "handle-owner", "hold").await;
        agent.asked_times(1).await;
        say(&world, "e1", "handle-owner", "one").await;
    }
    let copy = crash(dir.path());
    let world = World::with_rules(copy.path(), Arc::clone(&agent), rules("collect", "")).await;
    agent.asked_times(2).await;
    agent.released.send_replace(true);
    let mut orders = attach(&world).await;
    assert_eq!(sent(&world, &mut orders).await, "half done");
    assert_eq!(sent(&world, &mut orders).await, "one");
}

#[tokio::test]
async fn a_steered_message_ends_with_the_turn_that_read_it_or_has_its_own() {
    let dir = tempfile::tempdir().unwrap();
    for (mode, answers) in [
        ("steer", &["half done", "late"][..]),
        ("steer-backlog", &["half done", "in time", "late"]),
    ] {
        let dir = dir.path().join(mode);
        std::fs::create_dir(&dir).unwrap();
        let world = world(&dir, mode).await;
        let mut orders = attach(&world).await;
        say(&world, "e0", "handle-7", "hold").await;
        world.guest.asked_times(1).await;
        say(&world, "e1", "handle-7", "in time").await;
        say(&world, "e2", "handle-7", "late").await;
        let mut steered = world.guest.steered.subscribe();
        let all = steered
            .wait_for(|all| all.len() == 2)
            .await
            .unwrap()
            .clone();
        assert_eq!((all[0].1.as_str(), all[1].1.as_str()), ("in time", "late"));
        world.guest.released.send_replace(true);
        for answer in answers {
            assert_eq!(sent(&world, &mut orders).await, *answer, "{mode}");
        }
        assert_eq!(world.front.status().pending, 0);
        let known = inbound("e1", "handle-7", "in time");
        assert_eq!(deliver(&world, vec![known]).await.0, [Known]);
    }
}

#[tokio::test]
async fn an_interruption_ends_the_turn_without_a_word_and_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), "interrupt").await;
    let mut orders = attach(&world).await;
    say(&world, "e0", "handle-7", "hold").await;
    world.guest.asked_times(1).await;
    say(&world, "e1", "handle-7", "instead").await;
    assert_eq!(sent(&world, &mut orders).await, "instead");
    assert_eq!(world.front.status().pending, 0);
}

#[tokio::test]
async fn too_many_of_one_chat_are_left_out_as_the_rule_says_and_stay_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut slice = rules("followup", "");
    slice.queue[0].cap = 2;
    slice.queue[0].drop = "old".into();
    let world = World::with_rules(dir.path(), FakeAgent::new(Class::Main), slice).await;
    let mut orders = attach(&world).await;
    say(&world, "e0", "handle-7", "hold").await;
    world.guest.asked_times(1).await;
    for n in 1..=4 {
        say(&world, &format!("e{n}"), "handle-7", &format!("text {n}")).await;
    }
    world.guest.released.send_replace(true);
    for answer in ["half done", "text 3", "text 4"] {
        assert_eq!(sent(&world, &mut orders).await, answer);
    }
    let left_out = inbound("e1", "handle-7", "text 1");
    assert_eq!(deliver(&world, vec![left_out]).await.0, [Known]);
    assert_eq!(world.front.status().pending, 0);
}

#[tokio::test]
async fn a_full_inbox_is_said_and_credit_comes_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), "followup").await;
    let mut orders = attach(&world).await;
    assert_eq!(next(&mut orders).await, Some(Order::Credit(64)));
    // One chat each, all of which wait for a turn: the agents are held.
    let mut taken = 0;
    let mut event = 0;
    let full = loop {
        let messages: Vec<_> = (0..50)
            .map(|n| {
                inbound(
                    &format!("e{}", event + n),
                    &format!("handle-c{}", event + n),
                    "hold",
                )
            })
            .collect();
        event += 50;
        let (states, credit) = deliver(&world, messages).await;
        taken += states.iter().filter(|state| **state == Accepted).count();
        if states.contains(&Full) || credit == 0 {
            break credit;
        }
    };
    assert_eq!((taken, full), (limits::WAITING_FROM_CHANNELS, 0));
    let more = || vec![inbound("more", "handle-more", "hold")];
    assert_eq!(deliver(&world, more()).await, (vec![Full], 0));
    world.guest.released.send_replace(true);
    let mut none = false;
    loop {
        match next(&mut orders).await.unwrap() {
            Order::Credit(0) => none = true,
            Order::Credit(_) if none => break,
            Order::Send(send) => report(&world, &send.outbox_id, Disposition::Done).await,
            _ => {}
        }
    }
    assert_eq!(deliver(&world, more()).await.0, [Accepted]);
}

#[tokio::test]
async fn a_running_turn_shows_that_somebody_types() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), "followup").await;
    let mut orders = attach(&world).await;
    say(&world, "e0", "handle-7", "hold").await;
    let typing = |order: &Order| match order {
        Order::Typing(typing) => Some((typing.address.clone(), typing.ttl_seconds > 0)),
        _ => None,
    };
    let begun = loop {
        if let Some(typing) = typing(&next(&mut orders).await.unwrap()) {
            break typing;
        }
    };
    assert_eq!(begun, (b"at e0".to_vec(), true));
    world.guest.released.send_replace(true);
    let ended = loop {
        if let Some(typing) = typing(&next(&mut orders).await.unwrap()) {
            break typing;
        }
    };
    assert_eq!(ended, (b"at e0".to_vec(), false));
}

#[tokio::test]
async fn a_name_is_given_where_several_people_talk() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), "followup").await;
    let mut orders = attach(&world).await;
    let message = v1::Inbound {
        sender_name: "Ann\nB".into(),
        ..inbound("e0", "handle-7", "hello")
    };
    deliver(&world, vec![message]).await;
    assert_eq!(sent(&world, &mut orders).await, "Ann B: hello");
}

#[tokio::test]
async fn the_operators_problems_are_known_at_the_desk_as_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), "followup").await;
    let mut problems = world.front.desk().problems();
    world.policy.problems.send_replace(vec![v1::Problem {
        code: "model.auth".into(),
        ..Default::default()
    }]);
    let list = problems.wait_for(|list| !list.is_empty()).await.unwrap();
    assert_eq!(list[0].code, "model.auth");
}
