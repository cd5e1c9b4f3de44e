//! Good answers in the four protocols: the records of a stream, or one JSON text.

mod anthropic;
mod chat;
mod ollama;
mod responses;

use serde_json::{Value, json};

use super::{End, Reply};

/// A wire protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `POST /v1/messages`.
    Anthropic,
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/responses`.
    Responses,
    /// `POST /api/chat`.
    Ollama,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Anthropic, Self::Chat, Self::Responses, Self::Ollama];

    /// The protocol of a path, with or without the version before it.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        Some(match path.strip_prefix("/v1").unwrap_or(path) {
            "/messages" => Self::Anthropic,
            "/chat/completions" => Self::Chat,
            "/responses" => Self::Responses,
            "/api/chat" => Self::Ollama,
            _ => return None,
        })
    }

    /// Content type of a stream.
    pub(super) fn stream_type(self) -> &'static str {
        match self {
            Self::Ollama => "application/x-ndjson",
            _ => "text/event-stream; charset=utf-8",
        }
    }

    /// The records of a good answer, as they go over the wire.
    #[must_use]
    pub fn records(self, reply: &Reply, model: &str) -> Vec<String> {
        match self {
            Self::Anthropic => anthropic::records(reply, model),
            Self::Chat => chat::records(reply, model),
            Self::Responses => responses::records(reply, model),
            Self::Ollama => ollama::records(reply, model),
        }
    }

    /// A good answer in one JSON text.
    #[must_use]
    pub fn whole(self, reply: &Reply, model: &str) -> Value {
        match self {
            Self::Anthropic => anthropic::whole(reply, model),
            Self::Chat => chat::whole(reply, model),
            Self::Responses => responses::whole(reply, model, "completed"),
            Self::Ollama => ollama::whole(reply, model),
        }
    }

    /// An error as a record of a stream.
    pub(super) fn error_record(self) -> String {
        let error = super::faults::body(self, 529, "overloaded_error", "Overloaded");
        match self {
            Self::Anthropic => named("error", &error),
            Self::Chat => data(&error),
            Self::Responses => named(
                "error",
                &json!({"type": "error", "code": "server_error", "message": "Overloaded", "sequence_number": 1}),
            ),
            Self::Ollama => line(&error),
        }
    }

    /// Records that no client knows, and what a stream may have between records.
    pub(super) fn unknown_records(self) -> Vec<String> {
        match self {
            Self::Anthropic => vec![
                named("ping", &json!({"type": "ping"})),
                named(
                    "moon_phase",
                    &json!({"type": "moon_phase", "delta": 7, "index": "x"}),
                ),
            ],
            Self::Chat => vec![
                ": OPENROUTER PROCESSING\n\n".into(),
                data(&json!({"object": "moon.phase", "obfuscation": "xyz", "choices": []})),
            ],
            Self::Responses => vec![named(
                "response.moon_phase",
                &json!({"type": "response.moon_phase", "delta": {"x": 1}}),
            )],
            Self::Ollama => vec!["\n".into(), line(&json!({"moon_phase": 3, "done": false}))],
        }
    }
}

fn named(event: &str, value: &Value) -> String {
    format!("event: {event}\ndata: {value}\n\n")
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

/// Arguments as the protocols stream them: in two fragments.
fn fragments(arguments: &str) -> [&str; 2] {
    let middle = (0..=arguments.len() / 2)
        .rev()
        .find(|at| arguments.is_char_boundary(*at));
    let (first, second) = arguments.split_at(middle.unwrap_or(0));
    [first, second]
}

/// The reason to end, in the order complete, calls, length, refusal.
fn reason(reply: &Reply, words: [&'static str; 4]) -> &'static str {
    match reply.end {
        End::Complete if reply.calls() => words[1],
        End::Complete => words[0],
        End::Length => words[2],
        End::Refusal => words[3],
    }
}
