//! The stream of chat completions: pieces without names, tool calls told apart by their index.

use std::borrow::Cow;

use clawdbot_proto::v1::StopReason;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::{self, Fault};
use crate::wire::json;
use crate::wire::tally::{self, Events, Tally};

/// Tool calls that may be open at once.
const OPEN: usize = 128;

/// Reads the records of one answer.
pub struct Reader {
    pub tally: Tally,
    calls: Vec<Call>,
}

#[derive(Default)]
struct Call {
    index: Option<u32>,
    id: String,
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<Used>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
    /// Thinking, as DeepSeek, llama.cpp and others name it.
    #[serde(borrow, default)]
    reasoning_content: Option<Cow<'a, str>>,
    /// Thinking, as OpenRouter and Groq name it.
    #[serde(borrow, default)]
    reasoning: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<CallDelta<'a>>>,
}

#[derive(Deserialize)]
struct CallDelta<'a> {
    index: Option<u32>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    function: Option<FunctionDelta<'a>>,
}

#[derive(Deserialize)]
struct FunctionDelta<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    arguments: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Used {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

impl Reader {
    pub fn new(tally: Tally) -> Self {
        Self {
            tally,
            calls: Vec::new(),
        }
    }

    pub fn record(&mut self, data: &[u8], out: &mut Events) -> Result<(), Fault> {
        let data = data.trim_ascii();
        if self.tally.is_done() || data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.end(out);
            return Ok(());
        }
        let chunk: Chunk<'_> = json::parse(data)?;
        if chunk.error.is_some_and(|error| error.get() != "null") {
            return Err(fault::of_event(data));
        }
        if let Some(used) = chunk.usage {
            let details = used.prompt_tokens_details;
            let usage = &mut self.tally.usage;
            usage.input_tokens = used.prompt_tokens;
            usage.output_tokens = used.completion_tokens;
            if let Some(details) = details {
                usage.cache_read_tokens = details.cached_tokens.unwrap_or(0);
                usage.cache_write_tokens = details.cache_write_tokens.unwrap_or(0);
            }
        }
        // One answer was asked for.
        let Some(choice) = chunk.choices.unwrap_or_default().into_iter().next() else {
            return Ok(());
        };
        if let Some(delta) = choice.delta {
            self.delta(delta, out)?;
        }
        if let Some(reason) = choice.finish_reason {
            let stop = match &*reason {
                "" => return Ok(()),
                "error" => return Err(fault::of_event(data)),
                "length" => StopReason::Length,
                "tool_calls" | "function_call" => StopReason::ToolCalls,
                "content_filter" => StopReason::Refused,
                _ => StopReason::End,
            };
            // A refusal in words ends like any answer.
            self.tally.stop = match self.tally.stop {
                Some(StopReason::Refused) => Some(StopReason::Refused),
                _ => Some(stop),
            };
            self.close_calls(out)?;
        }
        Ok(())
    }

    /// The end of the stream, said or not. Complete is what gave its reason to stop.
    pub fn end(&mut self, out: &mut Events) {
        if self.tally.stop.is_some() && self.calls.is_empty() {
            self.tally.finish(None, out);
        }
    }

    fn delta(&mut self, delta: Delta<'_>, out: &mut Events) -> Result<(), Fault> {
        if let Some(thought) = delta.reasoning_content.or(delta.reasoning) {
            self.tally.thinking(thought, out)?;
        }
        if let Some(text) = delta.content {
            self.tally.text(text, out)?;
        }
        if let Some(text) = delta.refusal.filter(|text| !text.is_empty()) {
            self.tally.stop = Some(StopReason::Refused);
            self.tally.text(text, out)?;
        }
        for part in delta.tool_calls.unwrap_or_default() {
            self.part(part)?;
        }
        Ok(())
    }

    fn part(&mut self, part: CallDelta<'_>) -> Result<(), Fault> {
        let id = part.id.as_deref().unwrap_or_default();
        let known = match part.index {
            // Some number all calls zero: then a name under another id begins a new one.
            Some(index) => {
                let begins = names(&part) && !id.is_empty();
                let fits = |call: &Call| {
                    call.index == Some(index) && !(begins && !call.id.is_empty() && call.id != id)
                };
                self.calls.iter().rposition(fits)
            }
            // Without an index a new id, or a name, begins a new call.
            None if id.is_empty() && names(&part) => None,
            None if id.is_empty() => self.calls.len().checked_sub(1),
            None => self.calls.iter().position(|call| call.id == id),
        };
        let place = match known {
            Some(place) => place,
            None if self.calls.len() == OPEN => {
                return Err(Fault::new(
                    fault::Kind::TooLarge,
                    format!("more than {OPEN} tool calls"),
                ));
            }
            None => {
                self.calls.push(Call {
                    index: part.index,
                    ..Call::default()
                });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[place];
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        if let Some(function) = part.function {
            if let Some(name) = function.name.filter(|_| call.name.is_empty()) {
                call.name = name.into_owned();
            }
            if let Some(arguments) = function.arguments {
                call.arguments.push_str(&arguments);
                tally::bound(call.arguments.len())?;
            }
        }
        Ok(())
    }

    fn close_calls(&mut self, out: &mut Events) -> Result<(), Fault> {
        for call in std::mem::take(&mut self.calls) {
            self.tally.call(&call.id, call.name, call.arguments, out)?;
        }
        Ok(())
    }
}

fn names(part: &CallDelta<'_>) -> bool {
    let name = part.function.as_ref().and_then(|f| f.name.as_deref());
    name.is_some_and(|name| !name.is_empty())
}
