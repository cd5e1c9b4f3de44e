//! Which interface is there, and for whom.

use std::sync::atomic::Ordering;

use clawdbot_proto::v1;
use serde_json::json;

use super::super::{ask, bearer};
use super::{CHAT, RESPONSES, chat, endpoints, error, headers, post, world};
use crate::testing::{PASSWORD, TOKEN, snapshot};

#[tokio::test]
async fn each_interface_is_there_when_it_is_turned_on_and_models_with_either() {
    let (_dir, world) = world().await;
    for (chat_on, responses_on) in [(false, false), (true, false), (false, true), (true, true)] {
        world.config.send_replace(endpoints(chat_on, responses_on));
        for (line, body, on) in [
            (CHAT, chat("hi"), chat_on),
            (RESPONSES, json!({"input": "hi"}).to_string(), responses_on),
            ("GET /v1/models", String::new(), chat_on || responses_on),
            (
                "GET /v1/models/clawdbot",
                String::new(),
                chat_on || responses_on,
            ),
        ] {
            let answer = post(&world, line, &body).await;
            assert_eq!(
                answer.status,
                if on { 200 } else { 404 },
                "{line} {}",
                answer.body
            );
            if !on {
                let error = error(&answer);
                assert_eq!(error["code"], "unknown_url");
                let message = error["message"].as_str().unwrap();
                assert!(message.contains("gateway.http.endpoints."), "{message}");
            }
        }
    }
    world.config.send_replace(None);
    let answer = post(&world, CHAT, &chat("hi")).await;
    assert_eq!(
        (answer.status, &error(&answer)["code"]),
        (503, &json!("config.none"))
    );
}

#[tokio::test]
async fn paths_methods_and_kinds_that_are_not_taken_are_told_in_the_shape_of_the_sdk() {
    let (_dir, world) = world().await;
    for (line, status) in [
        ("GET /v1/", 404),
        ("GET /v1/files", 404),
        ("POST /v1/chat", 404),
        ("GET /v1/chat/completions", 405),
        ("OPTIONS /v1/responses", 405),
        ("POST /v1/models", 405),
        ("GET /v1/models/gpt-4o", 404),
        ("GET /v1/models?api_key=x&token=x", 400),
        ("GET /v1/models", 200),
        ("GET /v1/models/clawdbot%3Ahome", 200),
    ] {
        let answer = post(&world, line, "").await;
        assert_eq!(answer.status, status, "{line}");
        assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
        assert_eq!(answer.header("allow").is_some(), status == 405);
        if status != 200 {
            error(&answer);
        }
    }
    let body = chat("hi");
    for (kind, status) in [
        ("content-type: application/json\r\n", 200),
        ("content-type: Application/JSON; charset=utf-8\r\n", 200),
        ("content-type: text/plain\r\n", 415),
        ("", 415),
    ] {
        let answer = ask(&world, CHAT, &format!("{}{kind}", bearer()), &body).await;
        assert_eq!(answer.status, status, "{kind}");
    }
    for (origin, status) in [
        ("https://evil.example", 403),
        ("https://chat.example.org", 200),
    ] {
        let headers = format!("{}origin: {origin}\r\n", headers());
        assert_eq!(ask(&world, CHAT, &headers, &body).await.status, status);
    }
}

#[tokio::test]
async fn a_right_bearer_is_verified_once_and_its_key_judged_each_time() {
    let (_dir, world) = world().await;
    for wrong in [
        "",
        "authorization: Basic abc\r\n",
        "authorization: Bearer wrong\r\n",
    ] {
        let headers = format!("content-type: application/json\r\n{wrong}");
        for (line, body) in [(CHAT, chat("hi")), ("GET /v1/models", String::new())] {
            let answer = ask(&world, line, &headers, &body).await;
            assert_eq!(answer.status, 401, "{wrong}");
            assert_eq!(error(&answer)["code"], "invalid_api_key");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    let before = *world.policy.judged.borrow();
    for _ in 0..3 {
        assert_eq!(post(&world, CHAT, &chat("hi")).await.status, 200);
        assert_eq!(post(&world, "GET /v1/models", "").await.status, 200);
    }
    assert_eq!(*world.policy.judged.borrow(), before + 1);

    // What policy ends is over; a bearer that is still right opens the next visit.
    for line in [CHAT, "GET /v1/models"] {
        world.policy.keys.lock().unwrap().clear();
        let before = *world.policy.judged.borrow();
        let body = if line == CHAT {
            chat("hi")
        } else {
            String::new()
        };
        assert_eq!(post(&world, line, &body).await.status, 200);
        assert_eq!(*world.policy.judged.borrow(), before + 1, "{line}");
    }

    // A source that has to wait waits with the right one, too.
    world.policy.limited.store(true, Ordering::Relaxed);
    let headers_of_guess = "content-type: application/json\r\nauthorization: Bearer guess\r\n";
    assert_eq!(
        ask(&world, CHAT, headers_of_guess, &chat("hi"))
            .await
            .status,
        429
    );
    let answer = post(&world, CHAT, &chat("hi")).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("300"))
    );
    assert_eq!(error(&answer)["type"], "rate_limit_error");
}

#[tokio::test]
async fn in_password_mode_the_password_is_the_key() {
    let (_dir, world) = world().await;
    assert_eq!(post(&world, "GET /v1/models", "").await.status, 200);
    world.config.send_replace(snapshot(|slice| {
        slice.auth_mode = "password".into();
        slice.endpoints = Some(v1::Endpoints {
            chat_completions: true,
            responses: true,
        });
    }));
    assert_eq!(post(&world, "GET /v1/models", "").await.status, 401);
    let headers = format!("authorization: Bearer {PASSWORD}\r\n");
    assert_eq!(
        ask(&world, "GET /v1/models", &headers, "").await.status,
        200
    );
}

#[tokio::test]
async fn many_that_come_at_once_with_a_new_bearer_cost_one_check() {
    let (_dir, world) = world().await;
    let body = chat("hi");
    let all = (0..64).map(|_| post(&world, CHAT, &body));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer.status, 200);
    }
    assert_eq!(*world.policy.judged.borrow(), 1);
    assert_eq!(world.front.status().pending, 0);
}

#[tokio::test]
async fn no_answer_holds_the_key() {
    let (_dir, world) = world().await;
    for body in ["{", &chat("refuse"), &chat("hi")] {
        let answer = post(&world, CHAT, body).await;
        assert!(!answer.head.contains(TOKEN) && !answer.body.contains(TOKEN));
    }
}

#[tokio::test]
async fn what_is_refused_for_another_reason_than_the_visit_costs_no_verification() {
    let (_dir, world) = world().await;
    assert_eq!(post(&world, CHAT, &chat("hi")).await.status, 200);
    let before = *world.policy.judged.borrow();
    let ghost = format!("{}x-clawdbot-session-key: agent:ghost:main\r\n", headers());
    for _ in 0..2 {
        assert_ne!(ask(&world, CHAT, &ghost, &chat("hi")).await.status, 200);
    }
    assert_eq!(*world.policy.judged.borrow(), before);
    world.policy.keys.lock().unwrap().clear();
    assert_eq!(post(&world, CHAT, &chat("hi")).await.status, 200);
    assert_eq!(
        *world.policy.judged.borrow(),
        before + 1,
        "a visit that ended is renewed"
    );
}
