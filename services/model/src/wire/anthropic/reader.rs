//! The stream of an Anthropic answer. Thinking is kept with its signature, byte for byte, for the requests that follow.

use std::borrow::Cow;

use clawdbot_proto::v1::StopReason;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::fault::{self, Fault};
use crate::wire::tally::{self, Events, Tally};
use crate::wire::{history, json};

/// Reads the records of one answer.
pub struct Reader {
    pub tally: Tally,
    input: Input,
    open: Option<Open>,
    blocks: Vec<Block>,
    /// Whether a block came that text and tool calls do not hold.
    thought: bool,
}

/// What was read, in its three parts.
#[derive(Default)]
struct Input {
    fresh: u64,
    cache_write: u64,
    cache_read: u64,
}

struct Open {
    index: u32,
    block: Block,
}

/// A block as it goes back to the provider.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    Thinking {
        thinking: String,
        signature: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(serialize_with = "raw")]
        input: String,
    },
    /// Of a kind that we never asked for.
    #[serde(skip)]
    Unknown,
    #[serde(untagged)]
    Raw(Box<RawValue>),
}

fn raw<S: serde::Serializer>(arguments: &str, serializer: S) -> Result<S::Ok, S::Error> {
    history::arguments(arguments).serialize(serializer)
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Started {
    message: StartedMessage,
}

#[derive(Deserialize)]
struct StartedMessage {
    #[serde(default)]
    usage: Used,
}

#[derive(Deserialize)]
struct BlockStarted<'a> {
    index: u32,
    #[serde(borrow)]
    content_block: &'a RawValue,
}

#[derive(Deserialize)]
struct NewBlock<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    thinking: String,
    #[serde(default)]
    signature: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct BlockDelta<'a> {
    index: u32,
    #[serde(borrow)]
    delta: Delta<'a>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
    #[serde(borrow, default)]
    partial_json: Cow<'a, str>,
    #[serde(borrow, default)]
    thinking: Cow<'a, str>,
    #[serde(borrow, default)]
    signature: Cow<'a, str>,
}

#[derive(Deserialize)]
struct MessageDelta<'a> {
    #[serde(borrow)]
    delta: Ending<'a>,
    #[serde(default)]
    usage: Option<Used>,
}

#[derive(Deserialize)]
struct Ending<'a> {
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
}

/// Numbers so far; those that are missing have not changed.
#[derive(Deserialize, Default)]
struct Used {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Reader {
    pub fn new(tally: Tally) -> Self {
        Self {
            tally,
            input: Input::default(),
            open: None,
            blocks: Vec::new(),
            thought: false,
        }
    }

    pub fn record(&mut self, event: &[u8], data: &[u8], out: &mut Events) -> Result<(), Fault> {
        if self.tally.is_done() || data.trim_ascii().is_empty() {
            return Ok(());
        }
        let kind: Kind<'_> = json::parse(data)?;
        let kind = match kind.kind.is_empty() {
            true => event,
            false => kind.kind.as_bytes(),
        };
        match kind {
            b"message_start" => self.used(&json::parse::<Started>(data)?.message.usage),
            b"content_block_start" => self.begin(&json::parse(data)?, out)?,
            b"content_block_delta" => self.go_on(json::parse(data)?, out)?,
            b"content_block_stop" => self.close(out)?,
            b"message_delta" => {
                let MessageDelta { delta, usage } = json::parse(data)?;
                if let Some(usage) = usage {
                    self.used(&usage);
                }
                if let Some(reason) = delta.stop_reason {
                    self.tally.stop = Some(stop(&reason));
                }
            }
            b"message_stop" => {
                self.close(out)?;
                let replay = match self.thought {
                    true => serde_json::to_vec(&self.blocks).ok(),
                    false => None,
                };
                self.tally.finish(replay, out);
            }
            b"error" => return Err(fault::of_event(data)),
            // `ping`, and what is announced to come some day.
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, started: &BlockStarted<'_>, out: &mut Events) -> Result<(), Fault> {
        self.close(out)?;
        let raw = started.content_block;
        let new: NewBlock<'_> = json::parse(raw.get().as_bytes())?;
        let block = match &*new.kind {
            "text" => {
                self.tally.text(new.text.as_str(), out)?;
                Block::Text { text: new.text }
            }
            "thinking" => {
                self.thought = true;
                self.tally.thinking(new.thinking.as_str(), out)?;
                Block::Thinking {
                    thinking: new.thinking,
                    signature: new.signature,
                }
            }
            "redacted_thinking" => {
                self.thought = true;
                Block::Raw(raw.to_owned())
            }
            "tool_use" => Block::ToolUse {
                id: new.id,
                name: new.name,
                // Those who stream the arguments begin with an empty object; others give all at once.
                input: match new.input.map(RawValue::get) {
                    Some("{}") | None => String::new(),
                    Some(input) => input.to_owned(),
                },
            },
            _ => Block::Unknown,
        };
        self.open = Some(Open {
            index: started.index,
            block,
        });
        Ok(())
    }

    fn go_on(&mut self, next: BlockDelta<'_>, out: &mut Events) -> Result<(), Fault> {
        let open = self.open.as_mut().filter(|open| open.index == next.index);
        let Some(open) = open else { return Ok(()) };
        let delta = next.delta;
        match (&*delta.kind, &mut open.block) {
            ("text_delta", Block::Text { text }) => {
                text.push_str(&delta.text);
                self.tally.text(delta.text, out)
            }
            ("thinking_delta", Block::Thinking { thinking, .. }) => {
                thinking.push_str(&delta.thinking);
                self.tally.thinking(delta.thinking, out)
            }
            ("signature_delta", Block::Thinking { signature, .. }) => {
                signature.push_str(&delta.signature);
                tally::bound(signature.len())
            }
            ("input_json_delta", Block::ToolUse { input, .. }) => {
                input.push_str(&delta.partial_json);
                tally::bound(input.len())
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self, out: &mut Events) -> Result<(), Fault> {
        let Some(Open { block, .. }) = self.open.take() else {
            return Ok(());
        };
        match &block {
            Block::ToolUse { id, name, input } => {
                self.tally.call(id, name.clone(), input.clone(), out)?;
            }
            // The provider refuses blocks without text.
            Block::Text { text } if text.trim_ascii().is_empty() => return Ok(()),
            Block::Unknown => return Ok(()),
            _ => {}
        }
        self.blocks.push(block);
        Ok(())
    }

    fn used(&mut self, used: &Used) {
        let keep = |new: Option<u64>, old: &mut u64| *old = new.unwrap_or(*old);
        keep(used.input_tokens, &mut self.input.fresh);
        keep(
            used.cache_creation_input_tokens,
            &mut self.input.cache_write,
        );
        keep(used.cache_read_input_tokens, &mut self.input.cache_read);
        let usage = &mut self.tally.usage;
        keep(used.output_tokens, &mut usage.output_tokens);
        usage.cache_read_tokens = self.input.cache_read;
        usage.cache_write_tokens = self.input.cache_write;
        usage.input_tokens = self
            .input
            .fresh
            .saturating_add(self.input.cache_write)
            .saturating_add(self.input.cache_read);
    }
}

fn stop(reason: &str) -> StopReason {
    match reason {
        "tool_use" => StopReason::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
        "refusal" => StopReason::Refused,
        // end_turn, stop_sequence, pause_turn.
        _ => StopReason::End,
    }
}
