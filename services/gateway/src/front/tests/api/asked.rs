//! What is taken and what is refused by name.

use serde_json::{Value, json};

use super::super::websocket::Socket;
use super::super::{Client, ask, bearer};
use super::{CHAT, RESPONSES, chat, error, headers, post, world};
use crate::limits;
use clawdbot_proto::v1;

#[tokio::test]
async fn what_is_asked_reaches_the_agent() {
    let (_dir, world) = world().await;
    let asked = || world.agent.last.lock().unwrap().take().unwrap();
    let body = json!({
        "model": "clawdbot:home",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": null, "tool_calls": []},
            {"role": "assistant", "content": "two"},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "three"}]},
        ],
        "temperature": 0.5, "top_p": 0.25, "max_tokens": 7, "max_completion_tokens": 9, "reasoning_effort": "none",
        "n": 1, "seed": 3, "tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "store": false,
        "presence_penalty": 0, "logprobs": false, "stop": null, "metadata": {"x": "y"},
    });
    assert_eq!(post(&world, CHAT, &body.to_string()).await.status, 200);
    let request = asked();
    assert_eq!(request.source, "api");
    assert_eq!(request.extra_system, "Be brief.\n\nBe kind.");
    assert_eq!(
        request.text,
        "[Earlier in this conversation, as context]\nUser: one\nAssistant: two\n\n\
         [The message to answer now]\nUser: three"
    );
    let parameters = v1::Parameters {
        temperature: Some(0.5),
        top_p: Some(0.25),
        max_output_tokens: 9,
        thinking: "off".into(),
    };
    assert_eq!(request.parameters, Some(parameters));

    let body = json!({
        "input": [
            {"role": "system", "content": "Be kind."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one"}]},
            {"type": "reasoning", "summary": [], "content": [{"no": "part"}]},
            {"type": "message", "role": "assistant", "id": "x", "status": "completed",
                "content": [{"type": "output_text", "text": "two", "annotations": []}]},
            {"role": "user", "content": "three"},
        ],
        "instructions": "Be brief.", "max_output_tokens": 9, "reasoning": {"effort": "high", "summary": "auto"},
        "tools": [], "text": {"format": {"type": "text"}, "verbosity": "low"}, "previous_response_id": null,
        "background": false, "include": ["reasoning.encrypted_content"], "store": false, "truncation": "auto",
    });
    let answer = post(&world, RESPONSES, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let request = asked();
    assert_eq!(request.extra_system, "Be brief.\n\nBe kind.");
    assert!(
        request
            .text
            .ends_with("Assistant: two\n\n[The message to answer now]\nUser: three")
    );
    assert_eq!(request.parameters.unwrap().thinking, "high");
}

#[tokio::test]
async fn a_user_has_one_session_and_without_a_name_each_request_has_its_own() {
    let (_dir, world) = world().await;
    let session = async |more: Value, extra: &str| {
        let mut body: Value = serde_json::from_str(&chat("hi")).unwrap();
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let headers = format!("{}{extra}", headers());
        let answer = ask(&world, CHAT, &headers, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        world.agent.last.lock().unwrap().take().unwrap().handle
    };
    let fresh = session(json!({}), "").await;
    assert!(fresh.starts_with("handle-openai-once-"));
    assert_ne!(session(json!({"user": ""}), "").await, fresh);
    assert_eq!(
        session(json!({"user": "ann"}), "").await,
        "handle-openai-user-ann"
    );
    let odd = session(json!({"user": "Ann"}), "").await;
    assert_eq!(session(json!({"user": "Ann"}), "").await, odd);
    let named = "x-clawdbot-session-key: notes\r\n";
    assert_eq!(session(json!({"user": "ann"}), named).await, "handle-notes");
    let named = "x-clawdbot-session-key: agent:home:notes\r\n";
    assert_eq!(session(json!({}), named).await, "handle-notes");
    let agent = "x-clawdbot-agent-id: home\r\n";
    session(json!({"model": "whatever"}), agent).await;

    for (model, headers_more, status) in [
        ("gpt-4o", "", 404),
        ("clawdbot:none", "", 404),
        ("clawdbot", "x-clawdbot-agent-id: none\r\n", 404),
        ("clawdbot", "x-clawdbot-session-key: a b\r\n", 400),
        (
            "clawdbot",
            "x-clawdbot-session-key: agent:none:main\r\n",
            404,
        ),
    ] {
        let body = chat("hi").replace("clawdbot", model);
        let answer = ask(&world, CHAT, &format!("{}{headers_more}", headers()), &body).await;
        assert_eq!(answer.status, status, "{model} {headers_more}");
        error(&answer);
    }
}

#[tokio::test]
async fn what_is_not_there_is_refused_by_name() {
    let (_dir, world) = world().await;
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]);
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    for (line, param, more) in [
        (CHAT, "tools", json!({"tools": tool})),
        (CHAT, "functions", json!({"functions": [{"name": "f"}]})),
        (CHAT, "tool_choice", json!({"tool_choice": "required"})),
        (CHAT, "n", json!({"n": 2})),
        (CHAT, "logprobs", json!({"logprobs": true})),
        (CHAT, "stop", json!({"stop": ["\n"]})),
        (CHAT, "logit_bias", json!({"logit_bias": {"1": 5}})),
        (CHAT, "presence_penalty", json!({"presence_penalty": 0.5})),
        (
            CHAT,
            "response_format",
            json!({"response_format": {"type": "json_object"}}),
        ),
        (CHAT, "modalities", json!({"modalities": ["text", "audio"]})),
        (CHAT, "messages[0].content[0]", json!({"messages": image})),
        (
            CHAT,
            "messages[0].role",
            json!({"messages": [{"role": "robot", "content": "x"}]}),
        ),
        (CHAT, "messages", json!({"messages": []})),
        (CHAT, "messages", json!({"messages": "hi"})),
        (
            CHAT,
            "messages",
            json!({"messages": [{"role": "user", "content": 7}]}),
        ),
        (
            CHAT,
            "messages",
            json!({"messages": [{"role": "assistant", "content": "x"}]}),
        ),
        (CHAT, "temperature", json!({"temperature": 3})),
        (CHAT, "temperature", json!({"temperature": "hot"})),
        (CHAT, "top_p", json!({"top_p": -1})),
        (CHAT, "max_tokens", json!({"max_tokens": 0})),
        (
            CHAT,
            "max_completion_tokens",
            json!({"max_completion_tokens": -1}),
        ),
        (
            CHAT,
            "reasoning_effort",
            json!({"reasoning_effort": "harder"}),
        ),
        (CHAT, "stream", json!({"stream": "yes"})),
        (CHAT, "user", json!({"user": 7})),
        (CHAT, "model", json!({"model": ["clawdbot"]})),
        (
            RESPONSES,
            "previous_response_id",
            json!({"previous_response_id": "resp_1"}),
        ),
        (
            RESPONSES,
            "conversation",
            json!({"conversation": {"id": "conv_1"}}),
        ),
        (RESPONSES, "background", json!({"background": true})),
        (
            RESPONSES,
            "tools",
            json!({"tools": [{"type": "web_search"}]}),
        ),
        (
            RESPONSES,
            "text.format",
            json!({"text": {"format": {"type": "json_schema", "name": "x"}}}),
        ),
        (RESPONSES, "prompt", json!({"prompt": {"id": "p"}})),
        (
            RESPONSES,
            "reasoning.effort",
            json!({"reasoning": {"effort": "harder"}}),
        ),
        (RESPONSES, "input", json!({"input": 7})),
        (RESPONSES, "input", json!({"input": null})),
        (RESPONSES, "input", json!({"input": " "})),
        (
            RESPONSES,
            "input[0]",
            json!({"input": [{"type": "item_reference", "id": "x"}]}),
        ),
        (
            RESPONSES,
            "input[0]",
            json!({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}),
        ),
        (
            RESPONSES,
            "input[0].role",
            json!({"input": [{"content": "x"}]}),
        ),
        (
            RESPONSES,
            "input[0].content",
            json!({"input": [{"role": "user", "content": 7}]}),
        ),
        (
            RESPONSES,
            "input[0].content[1]",
            json!({"input": [{"role": "user", "content":
                [{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": "x"}]}]}),
        ),
    ] {
        let mut body = json!({"messages": [{"role": "user", "content": "hi"}], "input": "hi"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = post(&world, line, &body.to_string()).await;
        assert_eq!(answer.status, 400, "{line} {more}");
        let error = error(&answer);
        assert_eq!(
            (&error["param"], &error["type"]),
            (&json!(param), &json!("invalid_request_error")),
            "{more}"
        );
    }
    assert!(world.agent.asked.borrow().is_empty());
    // Nothing of it closed the door.
    assert_eq!(post(&world, CHAT, &chat("hi")).await.status, 200);
}

#[tokio::test]
async fn bodies_are_bounded_and_their_faults_are_told() {
    let (_dir, world) = world().await;
    let nested = format!("{{\"metadata\": {}{}}}", "[".repeat(100), "]".repeat(100));
    for body in [
        "{",
        "[]",
        "7",
        "\"x\"",
        nested.as_str(),
        "{\"messages\": [}",
        "\u{feff}{}",
    ] {
        let answer = post(&world, CHAT, body).await;
        assert_eq!(answer.status, 400, "{body}");
        error(&answer);
    }
    let long = chat(&"x".repeat(limits::TEXT_BYTES + 1));
    let answer = post(&world, CHAT, &long).await;
    assert_eq!(
        (answer.status, &error(&answer)["param"]),
        (400, &json!("messages"))
    );
    let headers = format!(
        "{}content-length: {}\r\n",
        headers(),
        limits::BODY_BYTES + 1
    );
    let answer = ask(&world, CHAT, &headers, "").await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (413, Some("close"))
    );
    error(&answer);
    let mut client = Client::new(&world).await;
    let chunked = format!(
        "{}content-type: application/json\r\ntransfer-encoding: chunked\r\n",
        bearer()
    );
    client.send(CHAT, &chunked, "").await;
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    client.write(chunk.repeat(17)).await;
    assert_eq!(client.answer().await.status, 413);
}

#[tokio::test]
async fn a_chat_that_is_open_sees_the_turns_of_named_sessions_only() {
    let (_dir, world) = world().await;
    let mut watcher = Socket::connected(&world).await;
    assert_eq!(post(&world, CHAT, &chat("hi")).await.status, 200);
    let mut body: Value = serde_json::from_str(&chat("hi")).unwrap();
    body["user"] = "ann".into();
    assert_eq!(post(&world, CHAT, &body.to_string()).await.status, 200);
    let first = watcher.event("agent").await;
    assert_eq!(first["sessionKey"], "agent:main:openai-user-ann");
}
