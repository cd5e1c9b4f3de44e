//! Anthropic Messages.

use serde_json::{Value, json};

use super::{fragments, named, reason};
use crate::provider::{Part, Reply};

const REASONS: [&str; 4] = ["end_turn", "tool_use", "max_tokens", "refusal"];

fn usage(reply: &Reply) -> Value {
    json!({
        "input_tokens": reply.input_tokens - reply.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": reply.cached_tokens,
        "output_tokens": reply.output_tokens,
    })
}

fn message(reply: &Reply, model: &str, content: &[Value], end: Option<&str>) -> Value {
    json!({
        "id": "msg_fake", "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": end, "stop_sequence": null, "usage": usage(reply),
    })
}

pub fn records(reply: &Reply, model: &str) -> Vec<String> {
    let start = json!({"type": "message_start", "message": message(reply, model, &[], None)});
    let mut records = vec![named("message_start", &start)];
    for (index, part) in reply.parts.iter().enumerate() {
        let (block, deltas) = block(part);
        let start = json!({"type": "content_block_start", "index": index, "content_block": block});
        records.push(named("content_block_start", &start));
        records.extend(deltas.into_iter().map(|delta| {
            let value = json!({"type": "content_block_delta", "index": index, "delta": delta});
            named("content_block_delta", &value)
        }));
        let stop = json!({"type": "content_block_stop", "index": index});
        records.push(named("content_block_stop", &stop));
    }
    let end = json!({
        "type": "message_delta",
        "delta": {"stop_reason": reason(reply, REASONS), "stop_sequence": null},
        "usage": {"output_tokens": reply.output_tokens},
    });
    records.push(named("message_delta", &end));
    records.push(named("message_stop", &json!({"type": "message_stop"})));
    records
}

/// A block's beginning, and what is added to it.
fn block(part: &Part) -> (Value, Vec<Value>) {
    match part {
        Part::Text(pieces) => {
            let piece = |text| json!({"type": "text_delta", "text": text});
            (
                json!({"type": "text", "text": ""}),
                pieces.iter().map(piece).collect(),
            )
        }
        Part::Thinking { pieces, seal } => {
            let piece = |text| json!({"type": "thinking_delta", "thinking": text});
            let seal = json!({"type": "signature_delta", "signature": seal});
            let block = json!({"type": "thinking", "thinking": "", "signature": ""});
            (block, pieces.iter().map(piece).chain([seal]).collect())
        }
        Part::Call(call) => {
            let piece = |text| json!({"type": "input_json_delta", "partial_json": text});
            let block = json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
            (block, fragments(&call.arguments).map(piece).into())
        }
    }
}

pub fn whole(reply: &Reply, model: &str) -> Value {
    let parts = reply.parts.iter().map(|part| match part {
        Part::Text(pieces) => json!({"type": "text", "text": pieces.concat()}),
        Part::Thinking { pieces, seal } => {
            json!({"type": "thinking", "thinking": pieces.concat(), "signature": seal})
        }
        Part::Call(call) => {
            let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
        }
    });
    let content: Vec<Value> = parts.collect();
    message(reply, model, &content, Some(reason(reply, REASONS)))
}
