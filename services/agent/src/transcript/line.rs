//! A transcript on disk: JSON lines, a header and then a tree of entries, in the shape that the original writes and reads.
//! Our additions are `sessionKey` in the header and `origin`, `turnId` and `outcome` in entries. Members and kinds of
//! entries that are not known are read over, so that a file of the original or of a later version is never refused.

use std::time::{Duration, SystemTime};

use clawdbot_identity::{SessionKey, TurnId};
use clawdbot_proto::v1;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entry::{Assistant, Change, End, Entry, Failure, Item, Origin};

/// The format that the original calls version 3.
const VERSION: u32 = 3;
/// Our kind of `custom` entry.
const COMMAND: &str = "clawdbot.command";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    r#type: String,
    #[serde(default)]
    version: u32,
    /// A UUID; the file is named after it.
    pub id: String,
    timestamp: String,
    /// The workspace folder.
    #[serde(default)]
    cwd: String,
    session_key: String,
}

impl Header {
    pub fn new(id: String, key: &SessionKey, cwd: String, at_ms: u64) -> Self {
        Self {
            r#type: "session".into(),
            version: VERSION,
            id,
            timestamp: timestamp(at_ms),
            cwd,
            session_key: key.as_str().into(),
        }
    }

    /// Reads a first line; `None` when it is not one, or names no session of ours.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let header: Self = serde_json::from_slice(line).ok()?;
        (header.r#type == "session" && header.key().is_some()).then_some(header)
    }

    pub fn key(&self) -> Option<SessionKey> {
        SessionKey::parse(&self.session_key).ok()
    }

    /// When the session began, milliseconds since 1970.
    pub fn at_ms(&self) -> u64 {
        milliseconds(&self.timestamp)
    }

    pub fn to_line(&self) -> Vec<u8> {
        line_of(self)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    r#type: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    parent_id: Option<String>,
    #[serde(default)]
    timestamp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    turn_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<OutcomeLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custom_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutcomeLine {
    /// Only when it is more than the message's own text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(
    tag = "role",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Message {
    User {
        content: Content,
        #[serde(default)]
        timestamp: u64,
    },
    Assistant {
        #[serde(default)]
        content: Vec<Block>,
        #[serde(default)]
        provider: String,
        #[serde(default)]
        model: String,
        #[serde(default)]
        usage: UsageLine,
        #[serde(default)]
        stop_reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error_message: Option<String>,
        #[serde(default)]
        timestamp: u64,
    },
    ToolResult {
        tool_call_id: String,
        #[serde(default)]
        tool_name: String,
        #[serde(default)]
        content: Vec<Block>,
        #[serde(default)]
        is_error: bool,
        #[serde(default)]
        timestamp: u64,
    },
    #[serde(other)]
    Other,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Content {
    Blocks(Vec<Block>),
    Text(String),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Block {
    Text {
        text: String,
    },
    ToolCall {
        id: String,
        name: String,
        #[serde(default)]
        arguments: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UsageLine {
    input: u64,
    output: u64,
    total_tokens: u64,
}

#[derive(Serialize, Deserialize)]
struct CommandData {
    question: String,
    answer: String,
    #[serde(default)]
    change: Change,
}

/// The entry as one line with its line break.
pub fn write(entry: &Entry) -> Vec<u8> {
    let mut line = Line {
        r#type: "message".into(),
        id: entry.id.clone(),
        parent_id: entry.parent.clone(),
        timestamp: timestamp(entry.at_ms),
        origin: Some(entry.origin),
        turn_id: entry.turn.as_ref().map(|turn| turn.as_str().into()),
        outcome: None,
        custom_type: None,
        data: None,
        message: None,
    };
    let timestamp = entry.at_ms;
    match &entry.item {
        Item::User { text } => {
            line.message = Some(Message::User {
                content: Content::Blocks(text_blocks(text)),
                timestamp,
            });
        }
        Item::Assistant(said) => {
            line.outcome = outcome_line(said).filter(|_| entry.turn.is_some());
            line.message = Some(assistant_message(said, timestamp));
        }
        Item::Tool(result) => {
            line.message = Some(Message::ToolResult {
                tool_call_id: result.call_id.clone(),
                tool_name: result.name.clone(),
                content: text_blocks(&result.output),
                is_error: result.is_error,
                timestamp,
            });
        }
        Item::Command {
            question,
            answer,
            change,
        } => {
            line.r#type = "custom".into();
            line.custom_type = Some(COMMAND.into());
            line.data = serde_json::to_value(CommandData {
                question: question.clone(),
                answer: answer.clone(),
                change: change.clone(),
            })
            .ok();
        }
        Item::Other => {}
    }
    line_of(&line)
}

/// Reads one line after the first; `None` when it is no JSON object of a known shape.
pub fn read(line: &[u8]) -> Option<Entry> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let item = match (line.r#type.as_str(), line.message, line.data) {
        ("message", Some(message), _) => message_item(message, line.outcome),
        ("custom", _, Some(data)) if line.custom_type.as_deref() == Some(COMMAND) => {
            let data: CommandData = serde_json::from_value(data).ok()?;
            Item::Command {
                question: data.question,
                answer: data.answer,
                change: data.change,
            }
        }
        _ => Item::Other,
    };
    Some(Entry {
        id: line.id,
        parent: line.parent_id,
        at_ms: milliseconds(&line.timestamp),
        // A line without a label is nobody's word: the least trusted kind.
        origin: line.origin.unwrap_or(Origin::Web),
        turn: line.turn_id.and_then(|turn| TurnId::parse(&turn).ok()),
        item,
    })
}

fn text_blocks(text: &str) -> Vec<Block> {
    vec![Block::Text { text: text.into() }]
}

fn assistant_message(said: &Assistant, timestamp: u64) -> Message {
    let (provider, model) = said.model.split_once('/').unwrap_or(("", &said.model));
    let (stop_reason, error_message) = match &said.end {
        End::Stop => ("stop", None),
        End::Length => ("length", None),
        End::ToolUse => ("toolUse", None),
        End::Failed(failure) if failure.is_final() => ("aborted", Some(failure.message.clone())),
        End::Failed(failure) => ("error", Some(failure.message.clone())),
    };
    let mut content = match said.text.is_empty() {
        true => Vec::new(),
        false => text_blocks(&said.text),
    };
    content.extend(said.calls.iter().map(|call| Block::ToolCall {
        id: call.id.clone(),
        name: call.name.clone(),
        arguments: arguments_value(&call.arguments_json),
    }));
    Message::Assistant {
        content,
        provider: provider.into(),
        model: model.into(),
        usage: UsageLine {
            input: said.usage.input_tokens,
            output: said.usage.output_tokens,
            total_tokens: said.usage.input_tokens + said.usage.output_tokens,
        },
        stop_reason: stop_reason.into(),
        error_message,
        timestamp,
    }
}

fn outcome_line(said: &Assistant) -> Option<OutcomeLine> {
    let code = match &said.end {
        End::Failed(failure) => Some(failure.code.clone()),
        _ => None,
    };
    let (answer, usage) = match &said.answer {
        Some((text, usage)) => (Some(text).filter(|text| **text != said.text), *usage),
        None => (None, v1::Usage::default()),
    };
    Some(OutcomeLine {
        answer: answer.cloned(),
        code,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
    })
}

fn message_item(message: Message, outcome: Option<OutcomeLine>) -> Item {
    match message {
        Message::User { content, .. } => Item::User {
            text: match content {
                Content::Text(text) => text,
                Content::Blocks(blocks) => joined(blocks).0,
            },
        },
        Message::Assistant {
            content,
            provider,
            model,
            usage,
            stop_reason,
            error_message,
            ..
        } => {
            let (text, calls) = joined(content);
            let failure = |code: &str| {
                let code = outcome
                    .as_ref()
                    .and_then(|o| o.code.as_deref())
                    .unwrap_or(code);
                End::Failed(Failure::new(
                    code,
                    error_message.clone().unwrap_or_default(),
                ))
            };
            let end = match stop_reason.as_str() {
                "length" => End::Length,
                "toolUse" => End::ToolUse,
                "aborted" => failure(Failure::STOPPED),
                "error" => failure("model.failed"),
                _ => End::Stop,
            };
            let answer = outcome.as_ref().map(|outcome| {
                let usage = v1::Usage {
                    input_tokens: outcome.input_tokens,
                    output_tokens: outcome.output_tokens,
                };
                (
                    outcome.answer.clone().unwrap_or_else(|| text.clone()),
                    usage,
                )
            });
            Item::Assistant(Assistant {
                text,
                calls,
                model: format!("{provider}/{model}"),
                usage: v1::Usage {
                    input_tokens: usage.input,
                    output_tokens: usage.output,
                },
                end,
                answer,
            })
        }
        Message::ToolResult {
            tool_call_id,
            tool_name,
            content,
            is_error,
            ..
        } => Item::Tool(v1::ToolResult {
            call_id: tool_call_id,
            name: tool_name,
            output: joined(content).0,
            is_error,
        }),
        Message::Other => Item::Other,
    }
}

fn joined(blocks: Vec<Block>) -> (String, Vec<v1::ToolCall>) {
    let mut text = String::new();
    let mut calls = Vec::new();
    for block in blocks {
        match block {
            Block::Text { text: part } => text.push_str(&part),
            Block::ToolCall {
                id,
                name,
                arguments,
            } => calls.push(v1::ToolCall {
                id,
                name,
                arguments_json: arguments.to_string(),
            }),
            Block::Other => {}
        }
    }
    (text, calls)
}

/// The arguments as the object that every provider expects on replay; what is no object is kept as text inside one.
fn arguments_value(json: &str) -> Value {
    match serde_json::from_str(json) {
        Ok(object @ Value::Object(_)) => object,
        _ => Value::Object(Map::from_iter([(
            "invalid".into(),
            Value::String(json.into()),
        )])),
    }
}

fn line_of(value: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and maps with string keys cannot fail to become JSON.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Milliseconds since 1970 as `2026-01-27T10:00:00.000Z`.
fn timestamp(at_ms: u64) -> String {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms.min(LAST_MS));
    humantime::format_rfc3339_millis(at).to_string()
}

/// The end of the year 9999, where the notation ends.
const LAST_MS: u64 = 253_402_300_799_999;

fn milliseconds(timestamp: &str) -> u64 {
    let at = humantime::parse_rfc3339_weak(timestamp).unwrap_or(SystemTime::UNIX_EPOCH);
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
