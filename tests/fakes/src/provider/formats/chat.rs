//! OpenAI chat completions.

use serde_json::{Value, json};

use super::{data, fragments, reason};
use crate::provider::{Part, Reply};

const REASONS: [&str; 4] = ["stop", "tool_calls", "length", "content_filter"];

fn usage(reply: &Reply) -> Value {
    json!({
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    })
}

fn chunk(model: &str, choices: Value, usage: Value) -> String {
    data(&json!({
        "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1, "model": model,
        "choices": choices, "usage": usage,
    }))
}

pub fn records(reply: &Reply, model: &str) -> Vec<String> {
    let delta = |delta: Value| {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": null}]);
        chunk(model, choices, Value::Null)
    };
    let mut records = vec![delta(json!({"role": "assistant", "content": ""}))];
    let mut calls = 0;
    for part in &reply.parts {
        match part {
            Part::Text(pieces) => {
                records.extend(pieces.iter().map(|piece| delta(json!({"content": piece}))));
            }
            Part::Thinking { pieces, .. } => records.extend(
                pieces
                    .iter()
                    .map(|piece| delta(json!({"reasoning_content": piece}))),
            ),
            Part::Call(call) => {
                records.push(delta(json!({"tool_calls": [{
                    "index": calls, "id": call.id, "type": "function",
                    "function": {"name": call.name, "arguments": ""},
                }]})));
                records.extend(fragments(&call.arguments).map(|piece| {
                    delta(
                        json!({"tool_calls": [{"index": calls, "function": {"arguments": piece}}]}),
                    )
                }));
                calls += 1;
            }
        }
    }
    let end = json!([{"index": 0, "delta": {}, "finish_reason": reason(reply, REASONS)}]);
    records.push(chunk(model, end, Value::Null));
    records.push(chunk(model, json!([]), usage(reply)));
    records.push("data: [DONE]\n\n".into());
    records
}

pub fn whole(reply: &Reply, model: &str) -> Value {
    let calls: Vec<Value> = reply
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Call(call) => Some(json!({
                "id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })),
            _ => None,
        })
        .collect();
    let mut message = json!({"role": "assistant", "content": reply.whole_text(), "refusal": null});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    json!({
        "id": "chatcmpl-fake", "object": "chat.completion", "created": 1, "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason(reply, REASONS), "logprobs": null}],
        "usage": usage(reply),
    })
}
