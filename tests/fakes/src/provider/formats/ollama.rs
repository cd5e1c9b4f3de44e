//! Ollama's own protocol.

use serde_json::{Value, json};

use super::{line, reason};
use crate::provider::{Part, Reply};

/// The protocol knows no refusal.
const REASONS: [&str; 4] = ["stop", "stop", "length", "stop"];

fn object(model: &str, message: Value) -> Value {
    json!({"model": model, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": false})
}

fn finish(mut value: Value, reply: &Reply) -> Value {
    let ending = json!({
        "done": true, "done_reason": reason(reply, REASONS), "total_duration": 1, "load_duration": 1,
        "prompt_eval_count": reply.input_tokens, "prompt_eval_duration": 1,
        "eval_count": reply.output_tokens, "eval_duration": 1,
    });
    if let (Value::Object(value), Value::Object(ending)) = (&mut value, ending) {
        value.extend(ending);
    }
    value
}

fn call(arguments: &str, name: &str) -> Value {
    // Here arguments are an object; broken ones can only be something else.
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_else(|_| arguments.into());
    json!({"function": {"name": name, "arguments": arguments}})
}

pub fn records(reply: &Reply, model: &str) -> Vec<String> {
    let say = |message: Value| line(&object(model, message));
    let mut records = Vec::new();
    for part in &reply.parts {
        match part {
            Part::Text(pieces) => records.extend(
                pieces
                    .iter()
                    .map(|piece| say(json!({"role": "assistant", "content": piece}))),
            ),
            Part::Thinking { pieces, .. } => {
                records.extend(pieces.iter().map(|piece| {
                    say(json!({"role": "assistant", "content": "", "thinking": piece}))
                }));
            }
            Part::Call(one) => records.push(say(json!({
                "role": "assistant", "content": "", "tool_calls": [call(&one.arguments, &one.name)],
            }))),
        }
    }
    let last = object(model, json!({"role": "assistant", "content": ""}));
    records.push(line(&finish(last, reply)));
    records
}

pub fn whole(reply: &Reply, model: &str) -> Value {
    let calls = reply.parts.iter().filter_map(|part| match part {
        Part::Call(one) => Some(call(&one.arguments, &one.name)),
        _ => None,
    });
    let calls: Vec<Value> = calls.collect();
    let mut message = json!({"role": "assistant", "content": reply.whole_text()});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    finish(object(model, message), reply)
}
