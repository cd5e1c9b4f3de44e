//! What can stand in a transcript, in our own words. How it looks on disk is `line`'s business.
//! Each entry carries the origin of its text; an origin is told by policy and by the kind of entry, never by the text.

use std::collections::BTreeSet;
use std::fmt;

use clawdbot_identity::{SessionKey, TurnId};
use clawdbot_proto::v1;
use serde::{Deserialize, Serialize};

/// Where a span of text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The owner, in a direct conversation.
    Owner,
    /// An approved sender, in a direct conversation.
    Approved,
    /// Anybody else, in a direct conversation.
    Stranger,
    /// Anybody in a group, the owner included: groups are never owner context.
    Group,
    /// The output of a tool.
    Tool,
    /// Text that a tool fetched from outside.
    Web,
    /// The model, or the agent itself.
    Agent,
}

impl Origin {
    /// The origin of what somebody says in a session, from policy's word for the sender and the kind of session.
    pub fn of_sender(standing: &str, key: &SessionKey) -> Self {
        let mut parts = key.rest().split(':');
        if parts.any(|part| part == "group" || part == "channel") {
            return Self::Group;
        }
        match standing {
            "owner" => Self::Owner,
            "approved" => Self::Approved,
            _ => Self::Stranger,
        }
    }
}

/// Why a turn has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable name, for instance `turn.timeout`.
    pub code: String,
    /// In words for a person, with the remedy.
    pub message: String,
}

impl Failure {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }

    /// Whether asking again with the same turn id gives this failure again. Somebody ended such a turn on purpose; after
    /// every other failure the same id is a new try.
    pub fn is_final(&self) -> bool {
        self.code == Self::STOPPED
    }

    /// The turn was ended by whoever may.
    pub const STOPPED: &'static str = "turn.stopped";
    /// The turn took too long.
    pub const TIMEOUT: &'static str = "turn.timeout";
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Answered(v1::Answer),
    Failed(Failure),
}

/// How an assistant's message ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Stop,
    Length,
    ToolUse,
    Failed(Failure),
}

/// One message of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Assistant {
    pub text: String,
    pub calls: Vec<v1::ToolCall>,
    /// provider/model.
    pub model: String,
    pub usage: v1::Usage,
    pub end: End,
    /// The message as its provider wrote it, where text and calls do not say it all.
    pub replay: Option<v1::Replay>,
    /// On the last message of a turn: the answer to the whole turn. Of a failed one only what it used counts.
    pub answer: Option<v1::Answer>,
}

/// A summary that stands for the older part of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Compaction {
    pub summary: String,
    /// Id of the first entry that is still sent as it is: always a question.
    pub first_kept: String,
    pub tokens_before: u64,
    /// Where the text that was summarised came from, all of it, what earlier summaries stood for included.
    pub origins: BTreeSet<Origin>,
    /// What making the summary used.
    pub usage: v1::Usage,
}

/// What a command of the chat changed for the rest of the session. `None` leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// provider/model, or empty for the agent's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// off, on or full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbose: Option<String>,
    /// off, minimal, low, medium, high or xhigh, or empty for what the configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// off, tokens or full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
}

/// What an entry says.
// Most entries are messages of the model, which are the large ones.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    User {
        text: String,
        /// Id of a message that went into a turn while it ran; `None` on the turn's own question.
        message: Option<String>,
    },
    Assistant(Assistant),
    Tool(v1::ToolResult),
    Compaction(Compaction),
    /// A command that the agent answered itself. The model never sees it.
    Command {
        question: String,
        answer: String,
        change: Change,
    },
    /// Something that this program does not read; it keeps its place in the tree.
    Other,
}

/// One line of a transcript after the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub id: String,
    pub parent: Option<String>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub origin: Origin,
    /// On the question and on the last entry of a turn.
    pub turn: Option<TurnId>,
    pub item: Item,
}

impl Entry {
    /// How the turn ended, if this entry ends one.
    pub fn outcome(&self) -> Option<Outcome> {
        self.turn.as_ref()?;
        match &self.item {
            Item::Assistant(message) => {
                if let End::Failed(failure) = &message.end {
                    return Some(Outcome::Failed(failure.clone()));
                }
                message.answer.clone().map(Outcome::Answered)
            }
            Item::Command { answer, .. } => Some(Outcome::Answered(v1::Answer {
                text: answer.clone(),
                ..v1::Answer::default()
            })),
            _ => None,
        }
    }
}

impl Item {
    /// The entry as the model sees it. A failed message counts as what it said before it failed.
    pub fn for_model(&self) -> Option<v1::ModelMessage> {
        use v1::model_message::Message;
        let message = match self {
            Self::User { text, .. } => Message::User(v1::UserMessage { text: text.clone() }),
            Self::Assistant(said) if said.text.is_empty() && said.calls.is_empty() => return None,
            Self::Assistant(said) => Message::Assistant(v1::AssistantMessage {
                text: said.text.clone(),
                tool_calls: said.calls.clone(),
                replay: said.replay.clone(),
            }),
            Self::Tool(result) => Message::ToolResult(result.clone()),
            Self::Compaction(_) | Self::Command { .. } | Self::Other => return None,
        };
        Some(v1::ModelMessage {
            message: Some(message),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_never_owner_context() {
        for (standing, key, origin) in [
            ("owner", "agent:main:main", Origin::Owner),
            ("owner", "agent:main:telegram:group:-1", Origin::Group),
            ("owner", "agent:main:discord:channel:7", Origin::Group),
            ("approved", "agent:main:telegram:dm:4", Origin::Approved),
            ("stranger", "agent:main:telegram:dm:4", Origin::Stranger),
            ("", "agent:main:main", Origin::Stranger),
        ] {
            let key = SessionKey::parse(key).unwrap();
            assert_eq!(
                Origin::of_sender(standing, &key),
                origin,
                "{standing} {key}"
            );
        }
    }
}
