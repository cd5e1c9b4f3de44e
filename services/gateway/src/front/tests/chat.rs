//! Chatting over the gateway protocol: what is sent and asked for, and the events of turns and problems.

use clawdbot_proto::v1;
use serde_json::{Value, json};

use super::websocket::{Socket, connect, world};
use crate::testing::TOKEN;

#[tokio::test]
async fn a_message_is_answered_with_events_and_again_from_memory() {
    let (_dir, world) = world().await;
    let mut socket = Socket::connected(&world).await;
    let answer = socket.send_chat("run-1", "hello").await;
    let turn = answer["payload"]["turnId"].clone();
    assert_eq!(
        answer["payload"],
        json!({ "runId": "run-1", "status": "started", "turnId": turn })
    );
    let mut states = Vec::new();
    let last = loop {
        let event = socket.event("chat").await;
        assert_eq!(
            (&event["runId"], &event["sessionKey"]),
            (&json!("run-1"), &json!("agent:main:main"))
        );
        assert_eq!(event["turnId"], turn);
        assert_eq!(event["message"]["content"][0]["text"], "hello");
        states.push(event["state"].as_str().unwrap().to_owned());
        if event["state"] == "final" {
            break event;
        }
    };
    assert_eq!(states, ["delta", "final"]);
    assert_eq!(last["usage"]["totalTokens"], 3);
    let answer = socket.send_chat("run-1", "hello").await;
    assert_eq!(answer["payload"]["status"], "ok");
    assert_eq!(socket.event("chat").await["state"], "final");
    let answer = socket.send_chat("run-1", "other").await;
    assert_eq!(answer["error"]["code"], "INVALID_REQUEST");
    assert_eq!(*world.agent.worked.lock().unwrap(), ["hello"]);
}

#[tokio::test]
async fn what_policy_answers_is_shown_in_the_web_chat() {
    let (_dir, world) = world().await;
    let mut socket = Socket::connected(&world).await;
    let answer = socket.send_chat("run-1", "/approve ABCD2345").await;
    assert_eq!(answer["payload"]["status"], "ok");
    let event = socket.event("chat").await;
    assert_eq!(
        (&event["runId"], &event["state"]),
        (&json!("run-1"), &json!("final"))
    );
    assert_eq!(event["sessionKey"], "agent:main:main");
    assert_eq!(event["message"]["content"][0]["text"], "elsewhere");
    assert!(world.agent.worked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn every_operator_sees_the_turns_of_the_others() {
    let (_dir, world) = world().await;
    let mut watcher = Socket::connected(&world).await;
    let mut read_only = Socket::open(&world).await;
    let mut params = connect(json!({ "token": TOKEN }));
    params["scopes"] = json!(["operator.pairing"]);
    assert_eq!(read_only.ask("connect", params).await["ok"], true);
    let mut socket = Socket::connected(&world).await;
    socket.send_chat("run-1", "hello").await;
    while socket.event("chat").await["state"] != "final" {}
    while watcher.event("chat").await["state"] != "final" {}
    // Without the scope to read there is nothing to see, and nothing to ask.
    let answer = read_only.ask("health", json!({})).await;
    assert_eq!(answer["error"]["message"], "missing scope: operator.read");
    let answer = read_only.send_chat("run-2", "hello").await;
    assert_eq!(answer["error"]["message"], "missing scope: operator.write");
}

#[tokio::test]
async fn who_comes_back_is_told_of_the_turns_that_still_run() {
    let (_dir, world) = world().await;
    let mut socket = Socket::connected(&world).await;
    socket.send_chat("run-1", "hold").await;
    socket.event("chat").await;
    drop(socket);
    let mut back = Socket::connected(&world).await;
    assert_eq!(back.event("agent").await["data"]["phase"], "start");
    let event = back.event("chat").await;
    assert_eq!(
        (&event["runId"], &event["state"]),
        (&json!("run-1"), &json!("delta"))
    );
    // Asking again changes nothing: each event comes once.
    let answer = back.send_chat("run-1", "hold").await;
    assert_eq!(answer["payload"]["status"], "in_flight");
    assert_eq!(answer["payload"]["turnId"], event["turnId"]);
    world.agent.released.send_replace(true);
    let last = back.event("chat").await;
    assert_eq!((&last["state"], &last["seq"]), (&json!("final"), &json!(3)));
}

#[tokio::test]
async fn tool_calls_are_told_between_the_texts() {
    let (_dir, world) = world().await;
    let mut socket = Socket::connected(&world).await;
    socket.send_chat("run-1", "tool").await;
    let there = socket.event("agent").await;
    assert_eq!(
        (&there["stream"], &there["seq"]),
        (&json!("lifecycle"), &json!(1))
    );
    assert_eq!(socket.event("chat").await["state"], "delta");
    let began = socket.event("agent").await;
    assert_eq!(
        (&began["runId"], &began["stream"]),
        (&json!("run-1"), &json!("tool"))
    );
    assert_eq!(
        began["data"],
        json!({ "phase": "start", "toolCallId": "call-1", "name": "exec", "meta": "ls" })
    );
    let ended = socket.event("agent").await;
    assert_eq!(ended["data"]["phase"], "result");
    assert_eq!(ended["data"]["isError"], true);
    assert_eq!(ended["data"]["meta"], "no such place");
    assert_eq!(socket.event("chat").await["state"], "final");
}

#[tokio::test]
async fn problems_are_told_to_those_who_may_read() {
    let (_dir, world) = world().await;
    let problem = |code: &str| v1::Problem {
        code: code.into(),
        message: "what to do".into(),
        role: "model-x".into(),
        since_ms: 5,
    };
    let shown = |code: &str| json!([{ "code": code, "message": "what to do", "role": "model-x", "since": 5 }]);
    let mut early = Socket::connected(&world).await;
    world
        .policy
        .problems
        .send_replace(vec![problem("model.auth")]);
    let health = early.event("health").await;
    assert_eq!(
        (&health["ok"], &health["problems"]),
        (&json!(false), &shown("model.auth"))
    );

    let mut late = Socket::open(&world).await;
    let hello = late
        .ask("connect", connect(json!({ "token": TOKEN })))
        .await;
    assert_eq!(
        hello["payload"]["snapshot"]["health"]["problems"],
        shown("model.auth")
    );
    let mut blind = Socket::open(&world).await;
    let mut params = connect(json!({ "token": TOKEN }));
    params["scopes"] = json!(["operator.pairing"]);
    let hello = blind.ask("connect", params).await;
    assert_eq!(hello["payload"]["snapshot"]["health"], json!({}));

    world.policy.problems.send_replace(vec![]);
    let health = early.event("health").await;
    assert_eq!(
        (&health["ok"], &health["problems"]),
        (&json!(true), &json!([]))
    );
}

#[tokio::test]
async fn a_run_can_be_aborted_by_its_id_or_with_its_session() {
    let (_dir, world) = world().await;
    let mut socket = Socket::connected(&world).await;
    socket.send_chat("run-1", "hold").await;
    world.agent.asked_times(1).await;
    socket.send_chat("run-2", "never").await;
    let abort = |id: Value| json!({ "sessionKey": "agent:main:main", "runId": id });
    let answer = socket.ask("chat.abort", abort("other".into())).await;
    assert_eq!(
        answer["payload"],
        json!({ "ok": true, "aborted": false, "runIds": [] })
    );
    let answer = socket.ask("chat.abort", abort("run-2".into())).await;
    assert_eq!(answer["payload"]["runIds"], json!(["run-2"]));
    let answer = socket
        .ask("chat.abort", json!({ "sessionKey": "main" }))
        .await;
    assert_eq!(answer["payload"]["runIds"], json!(["run-1"]));
    let answer = socket.send_chat("run-1", "hold").await;
    assert_eq!(answer["payload"]["status"], "ok");
    while socket.event("chat").await["state"] != "aborted" {}
}

#[tokio::test]
async fn state_history_and_sessions_can_be_asked_for() {
    let (_dir, world) = world().await;
    let mut socket = Socket::connected(&world).await;
    let status = socket.ask("status", json!({ "probe": true })).await;
    assert_eq!(status["payload"]["connections"], 1);
    let history = socket
        .ask("chat.history", json!({ "sessionKey": "notes" }))
        .await;
    assert_eq!(
        history["payload"]["messages"][0]["content"][0]["text"],
        "handle-notes"
    );
    let list = socket
        .ask("sessions.list", json!({ "limit": 1, "search": "MAIN" }))
        .await;
    assert_eq!(list["payload"]["count"], 1);
    let list = socket
        .ask("sessions.list", json!({ "activeMinutes": 5 }))
        .await;
    assert_eq!(list["payload"]["count"], 0);
}
