//! The members of a line as they are spelled on disk. Nothing here decides anything; `line` translates.

use std::collections::BTreeSet;

use clawdbot_proto::v1;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{Change, Origin};

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub r#type: String,
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub parent_id: Option<String>,
    #[serde(default)]
    pub timestamp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_kept_entry_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_before: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origins: Option<BTreeSet<Origin>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeLine {
    /// Only when it is more than the message's own text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Of the whole turn.
    #[serde(default)]
    pub usage: UsageLine,
    #[serde(default, skip_serializing_if = "is_false")]
    pub silent: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absorbed: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reply_to: String,
}

fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Serialize, Deserialize)]
pub struct ReplayLine {
    pub origin: String,
    /// As text and not as JSON, since it must come back byte for byte.
    pub content: String,
}

#[derive(Serialize, Deserialize)]
#[serde(
    tag = "role",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Message {
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
pub enum Content {
    Blocks(Vec<Block>),
    Text(String),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Block {
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

/// As the original has it: `input` is what did not come from a cache and was not written to one.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UsageLine {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_microusd: Option<u64>,
}

impl From<v1::Usage> for UsageLine {
    fn from(usage: v1::Usage) -> Self {
        let cached = usage
            .cache_read_tokens
            .saturating_add(usage.cache_write_tokens);
        Self {
            input: usage.input_tokens.saturating_sub(cached),
            output: usage.output_tokens,
            cache_read: usage.cache_read_tokens,
            cache_write: usage.cache_write_tokens,
            total_tokens: usage.input_tokens.saturating_add(usage.output_tokens),
            cost_microusd: usage.cost_microusd,
        }
    }
}

impl From<UsageLine> for v1::Usage {
    fn from(line: UsageLine) -> Self {
        Self {
            input_tokens: line
                .input
                .saturating_add(line.cache_read)
                .saturating_add(line.cache_write),
            output_tokens: line.output,
            cache_read_tokens: line.cache_read,
            cache_write_tokens: line.cache_write,
            cost_microusd: line.cost_microusd,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub struct CommandData {
    pub question: String,
    pub answer: String,
    #[serde(default)]
    pub change: Change,
}
