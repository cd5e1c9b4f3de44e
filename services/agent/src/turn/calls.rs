//! The tool calls of a round: made one after the other, each exactly once as far as anybody can know, and each with a result.

use clawdbot_proto::v1;
use clawdbot_proto::v1::run_event::Event;

use super::{Next, Turn};
use crate::text::shortened;
use crate::transcript::{End, Failure, Item};

/// The same tool with the same arguments: this often is a loop.
const REPEATS: u32 = 3;
/// Tool calls in one answer of the model.
const CALLS: usize = 32;
/// Bytes of the arguments of one call, and of a tool's output that are kept.
const ARGUMENT_BYTES: usize = 256 << 10;
const OUTPUT_BYTES: usize = 64 << 10;
/// Characters of arguments and outputs that are shown to people while the turn runs.
const SUMMARY_CHARS: usize = 200;
/// The result of a call that was not made.
const SKIPPED: &str = "skipped: a new message came in";

impl Turn {
    pub(super) fn note_call(&mut self, mut call: v1::ToolCall) -> Next {
        if self.calls.len() == CALLS {
            return self.flooded("more than 32 tool calls at once");
        }
        if call.arguments_json.len() > ARGUMENT_BYTES
            || call.name.len() > 128
            || call.id.len() > 128
        {
            return self.flooded("a tool call of more than 256 KiB");
        }
        if call.id.is_empty() || self.calls.iter().any(|other| other.id == call.id) {
            call.id = format!("call_{}_{}", self.round, self.calls.len() + 1);
            self.renamed = true;
        }
        self.calls.push(call);
        Next::Listen
    }

    pub(super) fn begin_calls(&mut self) -> Next {
        self.waiting = self.calls.iter().cloned().collect();
        let (item, _) = self.close_round(End::ToolUse);
        self.items.push(Item::Assistant(item));
        self.next_call()
    }

    pub(super) fn next_call(&mut self) -> Next {
        let Some(call) = self.waiting.front() else {
            return self.next_round();
        };
        let arguments = canonical(&call.arguments_json);
        let seen = self
            .repeats
            .entry((call.name.clone(), arguments.clone()))
            .or_default();
        *seen += 1;
        if *seen == REPEATS {
            let message = format!(
                "The model called {} for the {REPEATS}rd time with the same arguments, so the turn was ended. \
                 Say what you want differently.",
                shortened(&call.name, 64)
            );
            return self.fail(Failure::new("turn.loop", message));
        }
        self.calls_made += 1;
        self.invoking = true;
        self.events.push(Event::ToolStarted(v1::ToolStarted {
            call_id: self.call_id(),
            tool: call.name.clone(),
            summary: shortened(&arguments, SUMMARY_CHARS),
        }));
        Next::Invoke {
            call_id: self.call_id(),
            call: call.clone(),
        }
    }

    pub(super) fn call_id(&self) -> String {
        format!("{}:{}", self.id, self.calls_made)
    }

    pub(super) fn called(&mut self, mut output: String, is_error: bool) -> Next {
        let Some(call) = self.waiting.front() else {
            return Next::Listen;
        };
        if output.len() > OUTPUT_BYTES {
            output.truncate(output.floor_char_boundary(OUTPUT_BYTES));
            output.push_str("\n[cut: the output was longer than 64 KiB]");
        }
        self.events.push(Event::ToolFinished(v1::ToolFinished {
            call_id: self.call_id(),
            tool: call.name.clone(),
            is_error,
            summary: shortened(&output, SUMMARY_CHARS),
        }));
        self.resolve_call(output, is_error);
        if !self.steered.is_empty() {
            while !self.waiting.is_empty() {
                self.resolve_call(SKIPPED.into(), true);
            }
        }
        self.next_call()
    }

    /// The result of the first call that waits.
    pub(super) fn resolve_call(&mut self, output: String, is_error: bool) {
        self.invoking = false;
        if let Some(call) = self.waiting.pop_front() {
            self.items.push(Item::Tool(v1::ToolResult {
                call_id: call.id,
                name: call.name,
                output,
                is_error,
            }));
        }
    }
}

/// One spelling for equal arguments; what is no JSON stands for itself.
fn canonical(arguments: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(arguments) {
        Ok(value) => value.to_string(),
        Err(_) => arguments.into(),
    }
}
