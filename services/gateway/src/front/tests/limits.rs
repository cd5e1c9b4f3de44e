//! What a stranger can make the front door do, which is little and bounded. Clocks are stopped once the state under
//! test is reached, so that waiting costs nothing.

use std::sync::atomic::Ordering;

use super::{Client, ask, bearer};
use crate::limits;
use crate::testing::World;

#[tokio::test]
async fn a_silent_or_slow_stranger_is_told_and_closed() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let host = world.address;
    for sent in [
        String::new(),
        "GET / HT".into(),
        format!("GET / HTTP/1.1\r\nhost: {host}\r\nx: "),
        format!(
            "POST /login HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: 100\r\n\r\ncode="
        ),
    ] {
        let mut client = Client::new(&world).await;
        client.write(&sent).await;
        tokio::time::pause();
        let answer = client.answer().await;
        assert_eq!(answer.status, 408, "{sent}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(client.is_closed().await);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_stranger_that_keeps_asking_is_closed_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let mut client = Client::new(&world).await;
    assert_eq!(client.ask("GET /healthz", "", "").await.status, 200);
    tokio::time::pause();
    // The rest is for a busy machine.
    tokio::time::advance(limits::AUTHENTICATE / 4).await;
    tokio::time::resume();
    assert_eq!(client.ask("GET /healthz", "", "").await.status, 200);
    tokio::time::pause();
    assert_eq!(client.answer().await.status, 408);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_acquaintance_may_be_silent_for_longer() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let mut client = Client::new(&world).await;
    assert_eq!(client.ask("GET /", &bearer(), "").await.status, 200);
    tokio::time::pause();
    // The rest is for a busy machine.
    tokio::time::advance(limits::KEEP_ALIVE / 2).await;
    tokio::time::resume();
    assert_eq!(client.ask("GET /healthz", "", "").await.status, 200);
    tokio::time::pause();
    client.answer().await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn heads_are_bounded_in_bytes_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let many = |n: usize| (0..n).map(|i| format!("x-{i}: 1\r\n")).collect::<String>();
    let long = |n: usize| format!("x: {}\r\n", "a".repeat(n));
    for (headers, status) in [
        (many(limits::HEADERS - 1), 200),
        (many(limits::HEADERS), 431),
        (long(limits::HEAD_BYTES - 200), 200),
        (long(limits::HEAD_BYTES), 431),
        (long(1024 * 1024), 431),
    ] {
        let answer = ask(&world, "GET /healthz", &headers, "").await;
        assert_eq!(answer.status, status, "{} bytes", headers.len());
    }
    let line = format!("GET /{}", "a".repeat(64 * 1024));
    assert_eq!(ask(&world, &line, "", "").await.status, 431);
}

#[tokio::test]
async fn what_is_no_http_is_answered_and_closed() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let host = world.address;
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"hello\r\n\r\n".to_vec(),
        format!("GET / HTTP/1.1\r\nhost: {host}\r\nx\u{ff} y: 1\r\n\r\n").into_bytes(),
        format!("GET / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n")
            .into_bytes(),
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
    ] {
        let mut client = Client::new(&world).await;
        client.write(&bytes).await;
        assert_eq!(client.answer().await.status, 400, "{bytes:?}");
        assert!(client.is_closed().await);
    }
    // Who speaks HTTP/2 would not understand an answer in HTTP/1.1.
    let mut client = Client::new(&world).await;
    client.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(client.is_closed().await);
    assert_eq!(ask(&world, "GET /healthz", "", "").await.status, 200);
}

#[tokio::test]
async fn bodies_are_bounded_whether_they_say_their_length_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for (line, headers, length) in [
        ("GET /healthz", "", limits::BODY_BYTES + 1),
        ("POST /logout", "", 1 << 40),
        ("POST /login", form, limits::FORM_BYTES + 1),
    ] {
        let headers = format!("{headers}content-length: {length}\r\n");
        let answer = ask(&world, line, &headers, "").await;
        assert_eq!(answer.status, 413, "{line}");
        assert_eq!(answer.header("connection"), Some("close"));
    }
    let mut client = Client::new(&world).await;
    let headers = format!("{form}transfer-encoding: chunked\r\n");
    client.send("POST /login", &headers, "").await;
    let chunk = format!("800\r\n{}\r\n", "a".repeat(0x800));
    client.write(chunk.repeat(3)).await;
    assert_eq!(client.answer().await.status, 413);

    let body = format!("code={}", "a".repeat(100));
    let answer = ask(&world, "POST /login", form, &body).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn a_large_body_that_is_on_its_way_does_not_hide_the_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let mut client = Client::new(&world).await;
    let body = "a".repeat(2 * 1024 * 1024);
    client.send("POST /login", "", &body).await;
    assert_eq!(client.answer().await.status, 413);
}

#[tokio::test]
async fn strangers_above_the_cap_are_turned_away_and_room_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let mut known = Client::new(&world).await;
    assert_eq!(known.ask("GET /", &bearer(), "").await.status, 200);
    let mut strangers = Vec::new();
    for _ in 0..limits::STRANGERS_OF_SOURCE {
        let mut client = Client::new(&world).await;
        assert_eq!(client.ask("GET /healthz", "", "").await.status, 200);
        strangers.push(client);
    }
    let mut late = Client::new(&world).await;
    let answer = late.answer().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (503, Some("close"))
    );
    assert!(late.is_closed().await);
    assert_eq!(known.ask("GET /healthz", "", "").await.status, 200);
    assert_eq!(
        world.front.status().connections,
        limits::STRANGERS_OF_SOURCE + 1
    );

    drop(strangers);
    while world.front.status().connections > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&world, "GET /healthz", "", "").await.status, 200);
}

#[tokio::test]
async fn a_stop_says_goodbye_to_open_connections() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let mut client = Client::new(&world).await;
    assert_eq!(client.ask("GET /healthz", "", "").await.status, 200);
    world.over.send_replace(true);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn junk_cookies_are_refused_here_after_a_while_and_right_ones_used_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    world.policy.keys.lock().unwrap().insert("right".into());
    let cookie = |key: &str| format!("cookie: clawdbot_session={key}\r\n");
    for _ in 0..2 * limits::KEY_TRIES.0 {
        assert_eq!(ask(&world, "GET /", &cookie("right"), "").await.status, 200);
    }
    for _ in 0..limits::KEY_TRIES.0 {
        assert_eq!(ask(&world, "GET /", &cookie("junk"), "").await.status, 401);
    }
    let asked = world.policy.key_checks.load(Ordering::Relaxed);
    let answer = ask(&world, "GET /", &cookie("junk"), "").await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(world.policy.key_checks.load(Ordering::Relaxed), asked);
    assert_eq!(ask(&world, "GET /", &bearer(), "").await.status, 200);
}

#[tokio::test]
async fn policy_answers_to_the_end_although_the_client_has_hung_up() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    world.policy.held.send_replace(true);
    let mut judged = world.policy.judged.subscribe();
    let mut client = Client::new(&world).await;
    client.send("GET /", &bearer(), "").await;
    while world.policy.sources.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(client);
    // The front door has let go of the connection, and of its question with it.
    while world.front.status().connections > 0 {
        tokio::task::yield_now().await;
    }
    world.policy.held.send_replace(false);
    judged.wait_for(|times| *times == 1).await.unwrap();
}
