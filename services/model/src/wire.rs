//! The providers' protocols as plain functions: a neutral request becomes a body, and the bytes of an answer become neutral
//! events. Nothing here waits, dials or knows a key. Whatever a provider sends is bounded, unknown events are passed over,
//! and an answer without its protocol's own end is an error, never a short answer.

mod anthropic;
mod chat;
mod decoder;
mod history;
pub mod json;
mod ollama;
pub mod records;
mod responses;
pub mod tally;
#[cfg(test)]
mod tests;

use clawdbot_proto::v1::{GenerateRequest, ModelFacts};

pub use decoder::Decoder;

use crate::fault::Fault;

/// A wire protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    Anthropic,
    Chat,
    Responses,
    Ollama,
}

/// A protocol: its name in the configuration, the path of a request, and a cheap question that needs the key.
pub const APIS: [(Api, &str, &str, &str); 4] = [
    (
        Api::Anthropic,
        "anthropic-messages",
        "/v1/messages",
        "/v1/models?limit=1",
    ),
    (
        Api::Chat,
        "openai-completions",
        "/chat/completions",
        "/models",
    ),
    (Api::Responses, "openai-responses", "/responses", "/models"),
    (Api::Ollama, "ollama", "/api/chat", "/api/tags"),
];

impl Api {
    /// The protocol of a name in the configuration.
    pub fn parse(name: &str) -> Option<Self> {
        let row = APIS.iter().find(|(_, known, ..)| *known == name);
        row.map(|(api, ..)| *api)
    }

    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Path of a request, after the base address's own.
    pub fn path(self) -> &'static str {
        self.row().2
    }

    /// Path of the question whether the server answers and the key is good.
    pub fn check(self) -> &'static str {
        self.row().3
    }

    /// The end of a base address that belongs to this protocol's paths or to its neighbour's: people write either.
    pub fn base_suffix(self) -> &'static str {
        match self {
            Self::Anthropic | Self::Ollama => "/v1",
            Self::Chat | Self::Responses => "",
        }
    }

    fn row(self) -> &'static (Self, &'static str, &'static str, &'static str) {
        // The rows stand in the order of the variants; a test holds that.
        &APIS[self as usize]
    }
}

/// Whose server it is, as far as it differs from those that speak the same protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// OpenAI's own, which takes and refuses more than those that copy it.
    OpenAi,
    /// OpenAI's models, served by Microsoft: they refuse the same.
    Azure,
    /// Takes ids of tool calls in one form only.
    Mistral,
    Other,
}

impl Server {
    /// Tells a server by its name, or by the provider's id where something stands in between.
    pub fn of(provider: &str, host: &str) -> Self {
        match host {
            "api.openai.com" => Self::OpenAi,
            host if host.ends_with(".openai.azure.com") => Self::Azure,
            "api.mistral.ai" => Self::Mistral,
            _ if provider == "mistral" => Self::Mistral,
            _ => Self::Other,
        }
    }
}

/// What of a request depends on who serves it.
pub struct Target<'a> {
    pub api: Api,
    /// Provider id.
    pub provider: &'a str,
    /// Value of `anthropic-version`.
    pub version: &'a str,
    pub server: Server,
    pub facts: Option<&'a ModelFacts>,
}

impl Target<'_> {
    fn reasons(&self) -> bool {
        self.facts.is_some_and(|facts| facts.reasoning)
    }

    /// How [`Replay`](clawdbot_proto::v1::Replay) names who wrote a message.
    pub fn origin(&self, model: &str) -> String {
        format!("{}/{model} {}", self.provider, self.api.name())
    }
}

/// The body of a request.
///
/// # Errors
/// When the conversation is empty or certainly too long, or holds JSON that is none.
pub fn encode(target: &Target<'_>, request: &GenerateRequest) -> Result<Vec<u8>, Fault> {
    if request.messages.is_empty() {
        return Err(Fault::new(
            crate::fault::Kind::Invalid,
            "the conversation is empty",
        ));
    }
    match target.api {
        Api::Anthropic => anthropic::encode(target, request),
        Api::Chat => chat::encode(target, request),
        Api::Responses => responses::encode(target, request),
        Api::Ollama => ollama::encode(target, request),
    }
}

/// What reads the answer to a request.
pub fn decoder(target: &Target<'_>, request: &GenerateRequest) -> Decoder {
    Decoder::new(
        target.api,
        target.origin(&request.model),
        &request.request_id,
    )
}
