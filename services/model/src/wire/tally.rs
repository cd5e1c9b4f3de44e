//! What every protocol's reader keeps while an answer comes in: what was used, the tool calls, and the events that close
//! the answer, in the one order that all protocols share: usage, replay, stop.

use std::collections::VecDeque;

use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::{Replay, Stop, StopReason, TextDelta, ThinkingDelta, ToolCall, Usage};

use crate::fault::{Fault, Kind};

/// Arguments of one tool call, bytes: what the executor takes.
const ARGUMENTS: usize = 1 << 20;
/// Tool calls of one answer.
const CALLS: usize = 128;
/// A message to be replayed, bytes. A larger one is rebuilt from its text and tool calls instead.
const REPLAY: usize = 1 << 20;
/// Bytes of text that an answer may have: no window of tokens is near.
const TEXT: usize = 16 << 20;

/// Bytes up to which pieces of text are joined; a record of the provider's may be larger by itself.
const JOINED: usize = 64 << 10;

pub type Events = VecDeque<Event>;

/// The part of a reader that is the same everywhere.
pub struct Tally {
    origin: String,
    /// Makes ids for calls that come without one.
    id_base: u64,
    pub usage: Usage,
    pub stop: Option<StopReason>,
    calls: usize,
    text: usize,
    done: bool,
}

impl Tally {
    pub fn new(origin: String, request_id: &str) -> Self {
        Self {
            origin,
            id_base: super::history::fnv(request_id.as_bytes()),
            usage: Usage::default(),
            stop: None,
            calls: 0,
            text: 0,
            done: false,
        }
    }

    /// Whether the answer is complete.
    pub fn is_done(&self) -> bool {
        self.done
    }

    pub fn text(&mut self, text: impl Into<String>, out: &mut Events) -> Result<(), Fault> {
        let text = text.into();
        self.count(text.len())?;
        match out.back_mut() {
            // What nobody has taken yet goes along in one event.
            Some(Event::Text(last)) if last.text.len() + text.len() <= JOINED => {
                last.text.push_str(&text);
            }
            _ if text.is_empty() => {}
            _ => out.push_back(Event::Text(TextDelta { text })),
        }
        Ok(())
    }

    /// What is thought. What the provider wants back of it is in the replay.
    pub fn thinking(&mut self, text: impl Into<String>, out: &mut Events) -> Result<(), Fault> {
        let text = text.into();
        self.count(text.len())?;
        match out.back_mut() {
            Some(Event::Thinking(last)) if last.text.len() + text.len() <= JOINED => {
                last.text.push_str(&text);
            }
            _ if text.is_empty() => {}
            _ => out.push_back(Event::Thinking(ThinkingDelta { text })),
        }
        Ok(())
    }

    /// A complete call. Arguments that are no JSON object go on as they are: the executor refuses them and the model sees
    /// why. None at all mean an empty object.
    pub fn call(
        &mut self,
        id: &str,
        name: String,
        arguments_json: String,
        out: &mut Events,
    ) -> Result<(), Fault> {
        bound(arguments_json.len())?;
        if self.calls == CALLS {
            return Err(Fault::new(
                Kind::TooLarge,
                format!("more than {CALLS} tool calls"),
            ));
        }
        let id = match id.is_empty() {
            true => format!("call_{:016x}_{}", self.id_base, self.calls),
            false => id.to_owned(),
        };
        self.calls += 1;
        let arguments_json = match arguments_json.trim_ascii().is_empty() {
            true => "{}".into(),
            false => arguments_json,
        };
        out.push_back(Event::ToolCall(ToolCall {
            id,
            name,
            arguments_json,
        }));
        Ok(())
    }

    /// Closes the answer.
    pub fn finish(&mut self, replay: Option<Vec<u8>>, out: &mut Events) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        out.push_back(Event::Usage(self.usage));
        if let Some(content) = replay.filter(|content| content.len() <= REPLAY) {
            out.push_back(Event::Replay(Replay {
                origin: std::mem::take(&mut self.origin),
                content,
            }));
        }
        let reason = match self.stop {
            // Some say "stop" after they called tools.
            Some(StopReason::End) | None if self.calls > 0 => StopReason::ToolCalls,
            Some(reason) => reason,
            None => StopReason::End,
        };
        out.push_back(Event::Stop(Stop {
            reason: reason.into(),
        }));
    }

    fn count(&mut self, bytes: usize) -> Result<(), Fault> {
        self.text += bytes;
        match self.text > TEXT {
            true => Err(Fault::new(
                Kind::TooLarge,
                format!("more than {} MiB of text", TEXT >> 20),
            )),
            false => Ok(()),
        }
    }
}

/// Refuses arguments that are longer than the executor takes, while they come in.
pub fn bound(arguments: usize) -> Result<(), Fault> {
    match arguments > ARGUMENTS {
        true => Err(Fault::new(
            Kind::TooLarge,
            format!("arguments of a tool call exceed {} MiB", ARGUMENTS >> 20),
        )),
        false => Ok(()),
    }
}
