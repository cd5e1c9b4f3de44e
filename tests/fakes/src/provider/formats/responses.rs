//! OpenAI Responses.

use serde_json::{Value, json};

use super::{fragments, named};
use crate::provider::{End, Part, Reply};

pub fn records(reply: &Reply, model: &str) -> Vec<String> {
    let mut records = Records(Vec::new());
    let begun = whole(&Reply::default(), model, "in_progress");
    for event in ["response.created", "response.in_progress"] {
        records.push(event, json!({"response": begun}));
    }
    for (index, part) in reply.parts.iter().enumerate() {
        let done = item(index, part);
        let at = |mut value: Value| {
            value["output_index"] = index.into();
            value["item_id"] = done["id"].clone();
            value
        };
        let mut added = done.clone();
        added["status"] = "in_progress".into();
        for emptied in ["content", "summary"] {
            if !added[emptied].is_null() {
                added[emptied] = json!([]);
            }
        }
        if !added["arguments"].is_null() {
            added["arguments"] = "".into();
        }
        records.push(
            "response.output_item.added",
            json!({"output_index": index, "item": added}),
        );
        match part {
            Part::Text(pieces) => {
                let whole =
                    json!({"type": "output_text", "text": pieces.concat(), "annotations": []});
                let empty = json!({"type": "output_text", "text": "", "annotations": []});
                records.push(
                    "response.content_part.added",
                    at(json!({"content_index": 0, "part": empty})),
                );
                for piece in pieces {
                    let delta = json!({"content_index": 0, "delta": piece, "logprobs": []});
                    records.push("response.output_text.delta", at(delta));
                }
                let text = json!({"content_index": 0, "text": pieces.concat(), "logprobs": []});
                records.push("response.output_text.done", at(text));
                records.push(
                    "response.content_part.done",
                    at(json!({"content_index": 0, "part": whole})),
                );
            }
            Part::Thinking { pieces, .. } => {
                let part = |text: &str| json!({"summary_index": 0, "part": {"type": "summary_text", "text": text}});
                records.push("response.reasoning_summary_part.added", at(part("")));
                for piece in pieces {
                    let delta = json!({"summary_index": 0, "delta": piece});
                    records.push("response.reasoning_summary_text.delta", at(delta));
                }
                let text = json!({"summary_index": 0, "text": pieces.concat()});
                records.push("response.reasoning_summary_text.done", at(text));
                records.push(
                    "response.reasoning_summary_part.done",
                    at(part(&pieces.concat())),
                );
            }
            Part::Call(call) => {
                for piece in fragments(&call.arguments) {
                    records.push(
                        "response.function_call_arguments.delta",
                        at(json!({"delta": piece})),
                    );
                }
                let whole = json!({"arguments": call.arguments, "name": call.name});
                records.push("response.function_call_arguments.done", at(whole));
            }
        }
        records.push(
            "response.output_item.done",
            json!({"output_index": index, "item": done}),
        );
    }
    let (event, status) = match reply.end {
        End::Complete => ("response.completed", "completed"),
        End::Length | End::Refusal => ("response.incomplete", "incomplete"),
    };
    records.push(event, json!({"response": whole(reply, model, status)}));
    records.0
}

/// Records, numbered as they come.
struct Records(Vec<String>);

impl Records {
    fn push(&mut self, event: &str, mut value: Value) {
        value["type"] = event.into();
        value["sequence_number"] = self.0.len().into();
        self.0.push(named(event, &value));
    }
}

fn item(index: usize, part: &Part) -> Value {
    match part {
        Part::Text(pieces) => json!({
            "id": format!("msg_{index}"), "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": pieces.concat(), "annotations": [], "logprobs": []}],
        }),
        Part::Thinking { pieces, seal } => json!({
            "id": format!("rs_{index}"), "type": "reasoning",
            "summary": [{"type": "summary_text", "text": pieces.concat()}],
            "encrypted_content": seal,
        }),
        Part::Call(call) => json!({
            "id": format!("fc_{index}"), "type": "function_call", "status": "completed",
            "call_id": call.id, "name": call.name, "arguments": call.arguments,
        }),
    }
}

pub fn whole(reply: &Reply, model: &str, status: &str) -> Value {
    let parts = reply.parts.iter().enumerate();
    let output: Vec<Value> = parts.map(|(index, part)| item(index, part)).collect();
    let incomplete = match reply.end {
        End::Complete => Value::Null,
        End::Length => json!({"reason": "max_output_tokens"}),
        End::Refusal => json!({"reason": "content_filter"}),
    };
    json!({
        "id": "resp_fake", "object": "response", "created_at": 1, "model": model, "status": status,
        "output": output, "error": null, "incomplete_details": incomplete, "instructions": null,
        "metadata": {}, "parallel_tool_calls": true, "temperature": 1.0, "top_p": 1.0,
        "tool_choice": "auto", "tools": [],
        "usage": {
            "input_tokens": reply.input_tokens,
            "input_tokens_details": {"cached_tokens": reply.cached_tokens},
            "output_tokens": reply.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": reply.input_tokens + reply.output_tokens,
        },
    })
}
