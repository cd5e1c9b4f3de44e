//! What the provider says next.

use super::Fault;

/// The answer to one request.
#[derive(Debug, Clone)]
pub enum Step {
    /// A good answer.
    Reply(Reply),
    /// Something else.
    Fault(Fault),
}

/// A good answer, in no protocol yet.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// What it consists of, in order.
    pub parts: Vec<Part>,
    /// Why it ends.
    pub end: End,
    /// Tokens of the question, those from a cache included.
    pub input_tokens: u64,
    /// Tokens of the question that came from a cache.
    pub cached_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    /// It is complete; with calls in it, it waits for their results.
    #[default]
    Complete,
    /// The limit of tokens.
    Length,
    /// The provider declines.
    Refusal,
}

/// A part of an answer.
#[derive(Debug, Clone)]
pub enum Part {
    /// Text, one piece for each record of the stream.
    Text(Vec<String>),
    /// Thinking, with what the provider wants back unchanged.
    Thinking {
        /// One piece for each record.
        pieces: Vec<String>,
        /// Signature or encrypted content.
        seal: String,
    },
    /// A tool call.
    Call(Call),
}

/// A tool call.
#[derive(Debug, Clone)]
pub struct Call {
    /// The provider's id; Ollama's protocol has none.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// Arguments, sent as they are, right or wrong.
    pub arguments: String,
}

impl Reply {
    /// Text alone, a piece for every word.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let pieces: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
        Self {
            input_tokens: 10,
            output_tokens: pieces.len() as u64,
            parts: vec![Part::Text(pieces)],
            ..Self::default()
        }
    }

    /// One tool call.
    #[must_use]
    pub fn call(id: &str, name: &str, arguments: &str) -> Self {
        Self {
            parts: vec![Part::Call(Call {
                id: id.into(),
                name: name.into(),
                arguments: arguments.into(),
            })],
            input_tokens: 10,
            output_tokens: 5,
            ..Self::default()
        }
    }

    /// Whether it asks for tools.
    #[must_use]
    pub fn calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Call(_)))
    }

    /// All its text in one piece.
    #[must_use]
    pub fn whole_text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text(pieces) => Some(pieces.concat()),
            _ => None,
        });
        texts.collect()
    }
}
