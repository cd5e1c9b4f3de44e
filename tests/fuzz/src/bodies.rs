//! What clients send over HTTP and WebSocket, and what models write as arguments of tools. Whatever is refused is refused
//! with a well-formed answer of bounded size; whatever is taken holds its limits.

use clawdbot_gateway::fuzzing::{self, Asked, Refused};
use clawdbot_http::json_depth;
use serde_json::Value;

#[path = "../../../services/executor/src/arguments.rs"]
#[allow(dead_code)]
mod arguments_of_tools;

/// Longest question and longest system prompt, bytes.
const TEXT: usize = 256 << 10;

/// A body of `/v1/chat/completions` and of `/v1/responses`.
pub fn bodies(bytes: &[u8]) -> bool {
    asked(bytes, fuzzing::chat(bytes)) | asked(bytes, fuzzing::responses(bytes))
}

fn asked(bytes: &[u8], asked: Result<Asked, Refused>) -> bool {
    match asked {
        Ok(asked) => {
            assert!(!asked.text.trim().is_empty() && asked.text.len() <= TEXT);
            assert!(asked.system.len() <= TEXT);
            let model = asked.model.to_ascii_lowercase();
            assert!(
                model.starts_with("clawdbot") || model.starts_with("agent:"),
                "{model}"
            );
            let value: Value = serde_json::from_slice(bytes).expect("what is taken is JSON");
            assert!(levels(&value) <= 64);
            true
        }
        Err(Refused(status, body)) => {
            assert!(matches!(status, 400 | 404), "{status} {body}");
            let error = &body["error"];
            for member in ["message", "type"] {
                assert!(
                    error[member].as_str().is_some_and(|text| !text.is_empty()),
                    "{body}"
                );
            }
            assert!(body.to_string().len() <= 16 * bytes.len() + 2048);
            false
        }
    }
}

/// A frame of the WebSocket.
pub fn frame(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    match fuzzing::frame(text) {
        Ok((id, _)) => {
            assert!((1..=256).contains(&id.len()));
            let frame: Value = serde_json::from_str(text).expect("what is taken is JSON");
            assert_eq!((&frame["type"], &frame["id"]), (&"req".into(), &id.into()));
            let members = frame.as_object().map_or(0, serde_json::Map::len);
            assert!((3..=4).contains(&members));
            true
        }
        Err((id, answer)) => {
            assert!((1..=256).contains(&id.len()));
            let answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
            assert_eq!((&answer["id"], &answer["ok"]), (&id.into(), &false.into()));
            assert_eq!(answer["error"]["code"], "INVALID_REQUEST");
            false
        }
    }
}

/// JSON of any kind: its measure, and as arguments of a tool.
pub fn json(bytes: &[u8]) -> bool {
    depth(bytes) | arguments(bytes)
}

/// The measure of nesting agrees with the tree of what a parser reads, and keeps parsers away from limits of their own.
fn depth(bytes: &[u8]) -> bool {
    let measured = (0..=128).find(|max| json_depth(bytes, *max).is_ok());
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => {
            // Of two equal keys the value keeps the last, and both are measured.
            assert!(measured.is_some_and(|depth| depth >= levels(&value)));
            let text = value.to_string();
            let measured = (0..=128).find(|max| json_depth(text.as_bytes(), *max).is_ok());
            assert_eq!(measured, Some(levels(&value)));
            true
        }
        Err(error) => {
            let gave_up = error.to_string().starts_with("recursion limit exceeded");
            assert!(
                !gave_up || measured.is_none_or(|depth| depth >= 128),
                "{measured:?}"
            );
            false
        }
    }
}

fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

/// Arguments of a tool: equal ones have one spelling, which is taken again.
fn arguments(bytes: &[u8]) -> bool {
    use arguments_of_tools::Arguments;
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    match Arguments::parse(text) {
        Ok(arguments) => {
            assert!((1..=32).contains(&levels(&Value::Object(arguments.object.clone()))));
            assert_eq!(
                Arguments::parse(&arguments.canonical).as_ref(),
                Ok(&arguments)
            );
            true
        }
        Err(words) => {
            assert!((1..=1024).contains(&words.len()), "{words}");
            false
        }
    }
}
