//! How answers are worded, whole and streamed.

use serde_json::{Value, json};

use super::{CHAT, RESPONSES, chat, chat_stream, masked, post, stream, world};

#[tokio::test]
async fn a_chat_completion_is_whole() {
    let (_dir, world) = world().await;
    let answer = post(&world, CHAT, &chat("say \"é\"\n")).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(
        masked(&answer.body),
        r#"{"id":"chatcmpl-ID","object":"chat.completion","created":TIME,"model":"clawdbot","choices":[{"index":0,"message":{"role":"assistant","content":"say \"é\"\n","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}}"#
    );
    serde_json::from_str::<Value>(&answer.body).unwrap();
}

#[tokio::test]
async fn a_chat_completion_is_streamed() {
    let (_dir, world) = world().await;
    let (head, mut client) = stream(&world, CHAT, &chat_stream("tool")).await;
    assert_eq!(head.status, 200);
    assert_eq!(
        head.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    let chunk = |choices: &str, usage: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-ID\",\"object\":\"chat.completion.chunk\",\"created\":TIME,\
             \"model\":\"clawdbot\",\"choices\":[{choices}]{usage}}}\n\n"
        )
    };
    let choice = |delta: &str, reason: &str| {
        format!(r#"{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}"#)
    };
    let role = choice(r#"{"role":"assistant","content":""}"#, "null");
    let words = choice(r#"{"content":"tool"}"#, "null");
    let end = choice("{}", r#""stop""#);
    let expected = |usage: &str, last: &str| {
        let chunks = [&role, &words, &end].map(|choices| chunk(choices, usage));
        format!("{}{last}data: [DONE]\n\n", chunks.concat())
    };
    assert_eq!(masked(&client.chunks().await), expected("", ""));
    // The connection is as good as before.
    assert_eq!(client.ask("GET /healthz", "", "").await.status, 200);

    let mut body: Value = serde_json::from_str(&chat_stream("tool")).unwrap();
    body["stream_options"] = json!({ "include_usage": true });
    let (_, mut client) = stream(&world, CHAT, &body.to_string()).await;
    let usage = r#","usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}"#;
    assert_eq!(
        masked(&client.chunks().await),
        expected(r#","usage":null"#, &chunk("", usage))
    );
}

#[tokio::test]
async fn a_response_is_whole() {
    let (_dir, world) = world().await;
    let body =
        json!({"input": "hi", "instructions": "Be brief.", "user": "ann", "metadata": {"a": "b"}});
    let answer = post(&world, RESPONSES, &body.to_string()).await;
    let found: Value = serde_json::from_str(&answer.body).unwrap();
    let mut masked: Value =
        serde_json::from_str(&masked(&answer.body).replace("TIME", "0")).unwrap();
    assert!(found["created_at"].as_u64().unwrap() > 1_700_000_000);
    masked["created_at"] = Value::Null;
    assert_eq!(
        masked,
        json!({
            "id": "resp_ID", "object": "response", "created_at": null, "status": "completed", "background": false,
            "conversation": null, "error": null, "incomplete_details": null, "instructions": "Be brief.",
            "max_output_tokens": null, "max_tool_calls": null, "metadata": {"a": "b"}, "model": "clawdbot",
            "output": [{
                "id": "msg_ID", "type": "message", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}],
            }],
            "parallel_tool_calls": true, "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null}, "service_tier": "default", "store": false,
            "temperature": null, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
            "top_logprobs": 0, "top_p": null, "truncation": "disabled",
            "usage": {
                "input_tokens": 1, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 2,
                "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 3,
            },
            "user": "ann",
        })
    );
}

#[tokio::test]
async fn a_response_is_streamed_in_order() {
    let (_dir, world) = world().await;
    let body = json!({"input": "hi", "stream": true}).to_string();
    let (head, mut client) = stream(&world, RESPONSES, &body).await;
    assert_eq!(head.status, 200);
    let text = masked(&client.chunks().await);
    let mut kinds = Vec::new();
    let mut events = Vec::new();
    for (number, record) in text.split_terminator("\n\n").enumerate() {
        let (event, data) = record.split_once('\n').unwrap();
        let data = data.strip_prefix("data: ").unwrap().replace("TIME", "0");
        let data: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(event.strip_prefix("event: ").unwrap(), data["type"]);
        assert_eq!(data["sequence_number"], number);
        kinds.push(data["type"].as_str().unwrap().to_owned());
        events.push(data);
    }
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(kinds, expected);
    let part = json!({"type": "output_text", "text": "hi", "annotations": [], "logprobs": []});
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[0]["response"]["output"], json!([]));
    assert_eq!(events[2]["item"]["content"], json!([]));
    assert_eq!(
        events[4],
        json!({"type": "response.output_text.delta", "sequence_number": 4, "item_id": "msg_ID", "output_index": 0,
            "content_index": 0, "delta": "hi", "logprobs": []})
    );
    assert_eq!(events[5]["text"], "hi");
    assert_eq!(events[6]["part"], part);
    assert_eq!(events[7]["item"]["content"], json!([part]));
    assert_eq!(events[8]["response"]["output"], json!([events[7]["item"]]));
    assert_eq!(events[8]["response"]["usage"]["total_tokens"], 3);
}

#[tokio::test]
async fn the_models_are_the_agents() {
    let (_dir, world) = world().await;
    let answer = post(&world, "GET /v1/models", "").await;
    let model =
        |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "clawdbot"});
    assert_eq!(
        serde_json::from_str::<Value>(&answer.body).unwrap(),
        json!({"object": "list", "data":
            [model("clawdbot"), model("clawdbot:main"), model("clawdbot:home")]})
    );
    let answer = post(&world, "GET /v1/models/clawdbot:home", "").await;
    assert_eq!(
        serde_json::from_str::<Value>(&answer.body).unwrap(),
        model("clawdbot:home")
    );
}
