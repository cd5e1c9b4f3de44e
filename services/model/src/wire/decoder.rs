//! From the bytes of an answer to neutral events: the framing, then the protocol.

use super::records::{Ndjson, Sse};
use super::tally::Events;
use super::{Api, anthropic, chat, ollama, responses};
use crate::fault::{Fault, Kind};

/// Reads one answer.
pub enum Decoder {
    Anthropic(Sse, anthropic::Reader),
    Chat(Sse, chat::Reader),
    Responses(Sse, responses::Reader),
    Ollama(Ndjson, ollama::Reader),
}

impl Decoder {
    /// `origin` marks what only this provider, model and protocol understands; `request_id` makes ids for nameless calls.
    pub fn new(api: Api, origin: String, request_id: &str) -> Self {
        let tally = super::tally::Tally::new(origin, request_id);
        match api {
            Api::Anthropic => Self::Anthropic(Sse::default(), anthropic::Reader::new(tally)),
            Api::Chat => Self::Chat(Sse::default(), chat::Reader::new(tally)),
            Api::Responses => Self::Responses(Sse::default(), responses::Reader::new(tally)),
            Api::Ollama => Self::Ollama(Ndjson::default(), ollama::Reader::new(tally)),
        }
    }

    /// Takes the next bytes. What they complete is added to `out`, also when an error follows it.
    ///
    /// # Errors
    /// When the provider reports an error, or sends what its protocol does not have. Nothing more can be read then.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Events) -> Result<(), Fault> {
        match self {
            Self::Anthropic(sse, reader) => {
                sse.feed(bytes, |event, data| reader.record(event, data, out))
            }
            Self::Chat(sse, reader) => sse.feed(bytes, |_, data| reader.record(data, out)),
            Self::Responses(sse, reader) => {
                sse.feed(bytes, |event, data| reader.record(event, data, out))
            }
            Self::Ollama(lines, reader) => lines.feed(bytes, |line| reader.record(line, out)),
        }
    }

    /// The bytes have ended.
    ///
    /// # Errors
    /// When the answer has not.
    pub fn end(&mut self, out: &mut Events) -> Result<(), Fault> {
        match self {
            Self::Ollama(lines, reader) => lines.end(|line| reader.record(line, out))?,
            Self::Chat(_, reader) => reader.end(out),
            Self::Anthropic(..) | Self::Responses(..) => {}
        }
        match self.is_done() {
            true => Ok(()),
            false => Err(Fault::passing(
                Kind::Truncated,
                "it ended without its last event",
            )),
        }
    }

    /// Whether the answer is complete; whatever follows it is of no interest.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Anthropic(_, reader) => reader.tally.is_done(),
            Self::Chat(_, reader) => reader.tally.is_done(),
            Self::Responses(_, reader) => reader.tally.is_done(),
            Self::Ollama(_, reader) => reader.tally.is_done(),
        }
    }
}
