//! A transcript on disk: JSON lines, a header and then a tree of entries, in the shape that the original writes and reads.
//! Our additions are `sessionKey` in the header and `origin`, `turnId`, `messageId`, `outcome`, `replay` and `origins` in
//! entries. Members and kinds of
//! entries that are not known are read over, so that a file of the original or of a later version is never refused.

use std::time::{Duration, SystemTime};

use clawdbot_identity::{SessionKey, TurnId};
use clawdbot_proto::v1;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entry::{Assistant, Compaction, End, Entry, Failure, Item, Origin};
use super::shape::{Block, CommandData, Content, Line, Message, OutcomeLine, ReplayLine};

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

/// The entry as one line with its line break.
pub fn write(entry: &Entry) -> Vec<u8> {
    let mut line = Line {
        r#type: "message".into(),
        id: entry.id.clone(),
        parent_id: entry.parent.clone(),
        timestamp: timestamp(entry.at_ms),
        origin: Some(entry.origin),
        turn_id: entry.turn.as_ref().map(|turn| turn.as_str().into()),
        ..Line::default()
    };
    let timestamp = entry.at_ms;
    match &entry.item {
        Item::User { text, message } => {
            line.message_id.clone_from(message);
            line.message = Some(Message::User {
                content: Content::Blocks(text_blocks(text)),
                timestamp,
            });
        }
        Item::Assistant(said) => {
            line.outcome = outcome_line(said).filter(|_| entry.turn.is_some());
            line.replay = said.replay.as_ref().and_then(replay_line);
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
        Item::Compaction(compaction) => {
            line.r#type = "compaction".into();
            line.summary = Some(compaction.summary.clone());
            line.first_kept_entry_id = Some(compaction.first_kept.clone());
            line.tokens_before = Some(compaction.tokens_before);
            line.origins = Some(compaction.origins.clone());
            line.usage = Some(compaction.usage.into());
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
    let item = match line.r#type.as_str() {
        "message" => match line.message {
            Some(message) => message_item(message, line.outcome, line.replay, line.message_id),
            None => Item::Other,
        },
        "compaction" => match (line.summary, line.first_kept_entry_id) {
            (Some(summary), Some(first_kept)) => Item::Compaction(Compaction {
                summary,
                first_kept,
                tokens_before: line.tokens_before.unwrap_or_default(),
                // A summary without labels may be anybody's word.
                origins: line.origins.unwrap_or_else(|| [Origin::Web].into()),
                usage: line.usage.unwrap_or_default().into(),
            }),
            _ => Item::Other,
        },
        "custom" if line.custom_type.as_deref() == Some(COMMAND) => {
            let data: CommandData = serde_json::from_value(line.data?).ok()?;
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
        usage: said.usage.into(),
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
    let answer = said.answer.clone().unwrap_or_default();
    Some(OutcomeLine {
        answer: (said.answer.is_some() && answer.text != said.text).then_some(answer.text),
        code,
        usage: answer.usage.unwrap_or_default().into(),
        silent: answer.silent,
        absorbed: answer.absorbed,
        reply_to: answer.reply_to,
    })
}

fn replay_line(replay: &v1::Replay) -> Option<ReplayLine> {
    Some(ReplayLine {
        origin: replay.origin.clone(),
        content: String::from_utf8(replay.content.clone()).ok()?,
    })
}

fn message_item(
    message: Message,
    outcome: Option<OutcomeLine>,
    replay: Option<ReplayLine>,
    message_id: Option<String>,
) -> Item {
    match message {
        Message::User { content, .. } => Item::User {
            text: match content {
                Content::Text(text) => text,
                Content::Blocks(blocks) => joined(blocks).0,
            },
            message: message_id,
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
            let model = format!("{provider}/{model}");
            let answer = outcome.map(|outcome| v1::Answer {
                text: outcome.answer.unwrap_or_else(|| text.clone()),
                model: model.clone(),
                usage: Some(outcome.usage.into()),
                silent: outcome.silent,
                absorbed: outcome.absorbed,
                reply_to: outcome.reply_to,
                cut: end == End::Length,
            });
            Item::Assistant(Assistant {
                text,
                calls,
                model,
                usage: usage.into(),
                end,
                replay: replay.map(|replay| v1::Replay {
                    origin: replay.origin,
                    content: replay.content.into_bytes(),
                }),
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
