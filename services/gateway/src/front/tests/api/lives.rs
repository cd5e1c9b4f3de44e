//! What becomes of a turn whose client is gone, slow or patient, and of a client whose turn fails.

use std::time::Duration;

use clawdbot_identity::SessionKey;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::super::Client;
use super::{
    CHAT, RESPONSES, chat, chat_stream, error, headers, post, stream, until_nothing_is_pending,
    world,
};
use crate::limits;

#[tokio::test]
async fn a_client_that_is_gone_stops_its_turn() {
    let (_dir, world) = world().await;
    for body in [chat("hold"), chat_stream("hold")] {
        let before = world.agent.asked.borrow().len();
        let mut client = Client::new(&world).await;
        client.send(CHAT, &headers(), &body).await;
        world.agent.asked_times(before + 1).await;
        drop(client);
        until_nothing_is_pending(&world).await;
    }
    // It is the same for one that waits behind another of its session.
    let body = |text: &str| chat(text).replace("\"clawdbot\"", "\"clawdbot\",\"user\":\"ann\"");
    let mut first = Client::new(&world).await;
    first.send(CHAT, &headers(), &body("hold")).await;
    world.agent.asked_times(3).await;
    let mut second = Client::new(&world).await;
    second.send(CHAT, &headers(), &body("never")).await;
    while world.front.status().pending < 2 {
        tokio::task::yield_now().await;
    }
    drop(second);
    while world.front.status().pending > 1 {
        tokio::task::yield_now().await;
    }
    world.agent.released.send_replace(true);
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(
        *world.agent.worked.lock().unwrap(),
        ["hold", "hold", "hold"]
    );
}

#[tokio::test]
async fn a_turn_that_fails_before_its_first_words_has_a_status_and_later_a_record() {
    let (_dir, world) = world().await;
    for body in [chat("refuse"), chat_stream("refuse")] {
        let answer = post(&world, CHAT, &body).await;
        assert_eq!(
            (answer.status, answer.header("x-should-retry")),
            (502, Some("false"))
        );
        let error = error(&answer);
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("server_error"), &json!("turn.refused"))
        );
    }

    let body = chat_stream("hold").replace("\"clawdbot\"", "\"clawdbot\",\"user\":\"ann\"");
    let (_, mut chat_client) = stream(&world, CHAT, &body).await;
    let body = json!({"input": "hold", "stream": true, "user": "ben"}).to_string();
    let (_, mut responses_client) = stream(&world, RESPONSES, &body).await;
    assert!(chat_client.chunk().await.unwrap().contains("half "));
    assert!(responses_client.chunk().await.unwrap().contains("half "));
    for user in ["ann", "ben"] {
        let key = SessionKey::parse(&format!("agent:main:openai-user-{user}")).unwrap();
        assert_eq!(world.front.desk().turns().stop(&key, None).await.len(), 1);
    }
    let last = chat_client.chunks().await;
    let record: Value = serde_json::from_str(last.trim().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(record["error"]["code"], "turn.stopped");
    let last = responses_client.chunks().await;
    assert!(last.starts_with("event: response.failed\n"), "{last}");
    let record: Value = serde_json::from_str(last.trim().split_once("data: ").unwrap().1).unwrap();
    assert_eq!(record["response"]["status"], "failed");
    assert_eq!(record["response"]["error"]["code"], "turn.stopped");
    assert_eq!(
        record["response"]["output"][0]["content"][0]["text"],
        "half "
    );
}

#[tokio::test]
async fn a_stream_whose_agent_is_lost_goes_on_without_saying_anything_twice() {
    let (_dir, world) = world().await;
    let (_, mut client) = stream(&world, CHAT, &chat_stream("hold")).await;
    assert!(client.chunk().await.unwrap().contains("half "));
    world.link.cut().await;
    world.link.reconnect(world.agent.router()).await.unwrap();
    world.agent.asked_times(2).await;
    world.agent.released.send_replace(true);
    let rest = client.chunks().await;
    assert!(rest.contains(r#""delta":{"content":"done"}"#), "{rest}");
    assert!(
        !rest.contains("half") && rest.ends_with("data: [DONE]\n\n"),
        "{rest}"
    );
}

#[tokio::test]
async fn a_silent_stream_gives_signs_of_life_and_is_not_closed() {
    let (_dir, world) = world().await;
    let (_, mut client) = stream(&world, CHAT, &chat_stream("hold")).await;
    assert!(client.chunk().await.unwrap().contains("half "));
    tokio::time::pause();
    for _ in 0..20 {
        assert_eq!(client.chunk().await.unwrap(), ": still working\n\n");
    }
    tokio::time::resume();
    world.agent.released.send_replace(true);
    assert!(client.chunks().await.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_whole_answer_may_take_longer_than_any_other() {
    let (_dir, world) = world().await;
    let mut client = Client::new(&world).await;
    client.send(CHAT, &headers(), &chat("hold")).await;
    world.agent.asked_times(1).await;
    tokio::time::pause();
    tokio::time::advance(10 * limits::REQUEST).await;
    tokio::time::resume();
    world.agent.released.send_replace(true);
    let answer = client.answer().await;
    assert!(answer.status == 200 && answer.body.contains("half done"));
}

#[tokio::test]
async fn a_client_that_reads_one_byte_a_second_gets_everything() {
    let (_dir, world) = world().await;
    let (_, mut client) = stream(&world, CHAT, &chat_stream("hello")).await;
    until_nothing_is_pending(&world).await;
    tokio::time::pause();
    let mut read = Vec::new();
    while !read.ends_with(b"[DONE]\n\n\r\n0\r\n\r\n") {
        tokio::time::advance(Duration::from_millis(100)).await;
        read.push(client.stream.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn a_client_that_sends_one_byte_a_second_is_told_and_closed() {
    let (_dir, world) = world().await;
    let mut client = Client::new(&world).await;
    let headers = format!("{}content-length: 1000\r\n", headers());
    client.send(CHAT, &headers, "").await;
    while *world.policy.judged.borrow() == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    for _ in 0..20 {
        client.write("{").await;
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (408, Some("close"))
    );
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_thousand_silent_connections_do_not_shut_out_a_program_that_is_known() {
    let (_dir, world) = world().await;
    let mut known = Client::new(&world).await;
    assert_eq!(known.ask(CHAT, &headers(), &chat("hi")).await.status, 200);
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(Client::new(&world).await);
    }
    // The last one is looked at after all others.
    assert_eq!(silent[999].answer().await.status, 503);
    assert_eq!(
        world.front.status().connections,
        limits::STRANGERS_OF_SOURCE + 1
    );
    assert_eq!(known.ask(CHAT, &headers(), &chat("hi")).await.status, 200);
}

#[tokio::test]
async fn a_stop_of_the_gateway_is_told_in_the_stream() {
    let (_dir, world) = world().await;
    let (_, mut client) = stream(&world, CHAT, &chat_stream("hold")).await;
    assert!(client.chunk().await.unwrap().contains("half "));
    let mut whole = Client::new(&world).await;
    whole.send(CHAT, &headers(), &chat("hold")).await;
    world.agent.asked_times(2).await;
    world.over.send_replace(true);
    assert!(client.chunks().await.contains("gateway.stopping"));
    assert!(client.is_closed().await);
    let answer = whole.answer().await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
}
