//! One turn as a state machine: the model speaks, tools are called, the model speaks again, until there is an answer or
//! a reason why there is none. It does no I/O and knows no time: it is told what happened and says what comes next.
//! It refuses endless rounds, the same call over and over, and a model that floods.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use clawdbot_identity::TurnId;
use clawdbot_proto::v1::run_event::Event;
use clawdbot_proto::v1::{self, ModelErrorClass, StopReason};

use crate::text::shortened;
use crate::transcript::{Assistant, End, Failure, Item};

/// Requests to the model in one turn.
const ROUNDS: u32 = 50;
/// The same tool with the same arguments: this often is a loop.
const REPEATS: u32 = 3;
/// Tool calls in one answer of the model.
const CALLS: usize = 32;
/// Bytes of text in one turn, and of the arguments of one call.
const TEXT_BYTES: usize = 1 << 20;
const ARGUMENT_BYTES: usize = 256 << 10;
/// Bytes of a tool's output that are kept.
const OUTPUT_BYTES: usize = 64 << 10;
/// Characters of arguments and outputs that are shown to people while the turn runs.
const SUMMARY_CHARS: usize = 200;
/// Waits before a lost request is made again; when they are used up, the model counts as unavailable.
const WAITS_MS: [u64; 5] = [50, 200, 800, 2000, 2000];

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The model worker sent something.
    Model(v1::generate_event::Event),
    /// The stream ended without a last event, or the worker could not be reached.
    Lost,
    /// The worker refused the request itself.
    Rejected(String),
    /// The call that was asked for is done.
    Called { output: String, is_error: bool },
    /// Somebody who may ended the turn.
    Stopped,
    /// The time is over.
    TimedOut,
}

/// What comes next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Ask the model, after a wait. The same id again means that the same request is repeated.
    Ask { request_id: String, wait: Duration },
    /// Wait for more of the running request.
    Listen,
    /// Have a tool run.
    Invoke { call_id: String, call: v1::ToolCall },
    /// The turn is over.
    End(Result<v1::Answer, Failure>),
}

/// A running turn.
pub struct Turn {
    id: TurnId,
    /// provider/model.
    model: String,
    round: u32,
    losses: usize,
    calls_made: u32,
    /// What the rounds before this one said, and used.
    said: String,
    used: v1::Usage,
    /// What this round has said so far.
    text: String,
    calls: Vec<v1::ToolCall>,
    usage: v1::Usage,
    waiting: VecDeque<v1::ToolCall>,
    repeats: HashMap<(String, String), u32>,
    items: Vec<Item>,
    events: Vec<Event>,
}

impl Turn {
    /// A turn that asks `model` (provider/model).
    pub fn new(id: TurnId, model: String) -> Self {
        Self {
            id,
            model,
            round: 1,
            losses: 0,
            calls_made: 0,
            said: String::new(),
            used: v1::Usage::default(),
            text: String::new(),
            calls: Vec::new(),
            usage: v1::Usage::default(),
            waiting: VecDeque::new(),
            repeats: HashMap::new(),
            items: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The first thing to do.
    pub fn begin(&self) -> Next {
        self.ask(Duration::ZERO)
    }

    /// Entries for the transcript so far. After the end the last one carries the outcome.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The same, for keeping.
    pub fn into_items(self) -> Vec<Item> {
        self.items
    }

    /// What those who watch have to be told since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Tokens used so far.
    pub fn used(&self) -> v1::Usage {
        sum(self.used, self.usage)
    }

    /// Takes what happened and says what comes next.
    pub fn step(&mut self, input: Input) -> Next {
        use v1::generate_event::Event as Said;
        match input {
            Input::Model(Said::Text(delta)) => self.hear(&delta.text),
            Input::Model(Said::Thinking(_)) => Next::Listen,
            Input::Model(Said::ToolCall(call)) => self.note_call(call),
            Input::Model(Said::Usage(usage)) => {
                self.usage = usage;
                Next::Listen
            }
            Input::Model(Said::Stop(stop)) => self.model_stopped(stop.reason()),
            Input::Model(Said::Error(error)) => {
                let code = error_code(error.class());
                self.fail(Failure::new(code, error.message))
            }
            Input::Lost => self.lost(),
            Input::Rejected(message) => self.fail(Failure::new("model.failed", message)),
            Input::Called { output, is_error } => self.called(output, is_error),
            Input::Stopped => self.fail(Failure::new(Failure::STOPPED, "The turn was stopped.")),
            Input::TimedOut => self.fail(Failure::new(
                Failure::TIMEOUT,
                "The turn took longer than agents.defaults.timeoutSeconds allows. Ask again, or for less at once.",
            )),
        }
    }

    fn ask(&self, wait: Duration) -> Next {
        Next::Ask {
            request_id: format!("{}:{}", self.id, self.round),
            wait,
        }
    }

    fn hear(&mut self, text: &str) -> Next {
        if text.is_empty() {
            return Next::Listen;
        }
        if self.said.len() + self.text.len() + text.len() > TEXT_BYTES {
            return self.flooded("more than 1 MiB of text");
        }
        if self.text.is_empty() && !self.said.is_empty() {
            self.tell_text(SEPARATOR);
        }
        self.text.push_str(text);
        self.tell_text(text);
        Next::Listen
    }

    fn tell_text(&mut self, text: &str) {
        self.events
            .push(Event::Delta(v1::TextDelta { text: text.into() }));
    }

    fn note_call(&mut self, mut call: v1::ToolCall) -> Next {
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
        }
        self.calls.push(call);
        Next::Listen
    }

    fn flooded(&mut self, what: &str) -> Next {
        let message =
            format!("The model sent {what}. Ask again, or choose another model with /model.");
        self.fail(Failure::new("model.oversize", message))
    }

    fn model_stopped(&mut self, reason: StopReason) -> Next {
        match reason {
            StopReason::End | StopReason::ToolCalls if !self.calls.is_empty() => self.begin_calls(),
            StopReason::End | StopReason::ToolCalls => self.answer(End::Stop),
            // The last call may be cut off in its arguments, so none is made.
            StopReason::Length => {
                self.calls.clear();
                self.answer(End::Length)
            }
            StopReason::Refused => {
                self.calls.clear();
                match self.text.is_empty() {
                    true => self.fail(Failure::new(
                        "model.refused",
                        "The model declined to answer. Put the question differently.",
                    )),
                    false => self.answer(End::Stop),
                }
            }
            StopReason::Unspecified => self.fail(Failure::new(
                "model.failed",
                "The model worker ended its answer for a reason that this version does not know.",
            )),
        }
    }

    fn answer(&mut self, end: End) -> Next {
        if self.text.is_empty() && self.said.is_empty() {
            return self.fail(Failure::new(
                "model.empty",
                "The model gave an empty answer. Ask again, or choose another model with /model.",
            ));
        }
        let text = self.all_text();
        let usage = self.used();
        self.record(end, Some((text.clone(), usage)));
        Next::End(Ok(v1::Answer {
            text,
            model: self.model.clone(),
            usage: Some(usage),
        }))
    }

    fn all_text(&self) -> String {
        match (self.said.is_empty(), self.text.is_empty()) {
            (false, false) => format!("{}{SEPARATOR}{}", self.said, self.text),
            _ => format!("{}{}", self.said, self.text),
        }
    }

    /// Keeps this round's message and makes room for the next.
    fn record(&mut self, end: End, answer: Option<(String, v1::Usage)>) {
        let said = self.all_text();
        self.items.push(Item::Assistant(Assistant {
            text: std::mem::take(&mut self.text),
            calls: std::mem::take(&mut self.calls),
            model: self.model.clone(),
            usage: self.usage,
            end,
            answer,
        }));
        self.said = said;
        self.used = sum(self.used, std::mem::take(&mut self.usage));
    }

    fn begin_calls(&mut self) -> Next {
        self.waiting = self.calls.iter().cloned().collect();
        self.record(End::ToolUse, None);
        self.next_call()
    }

    fn next_call(&mut self) -> Next {
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

    fn call_id(&self) -> String {
        format!("{}:{}", self.id, self.calls_made)
    }

    fn called(&mut self, mut output: String, is_error: bool) -> Next {
        let Some(call) = self.waiting.pop_front() else {
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
        self.items.push(result_of(call, output, is_error));
        self.next_call()
    }

    fn next_round(&mut self) -> Next {
        if self.round == ROUNDS {
            let message = format!(
                "The model used its tools for {ROUNDS} rounds without an answer, so the turn was ended. \
                 Ask for a smaller step."
            );
            return self.fail(Failure::new("turn.rounds", message));
        }
        self.round += 1;
        self.losses = 0;
        self.ask(Duration::ZERO)
    }

    /// What this round said so far does not count, and the request is made again.
    fn lost(&mut self) -> Next {
        self.calls.clear();
        self.usage = v1::Usage::default();
        if !std::mem::take(&mut self.text).is_empty() {
            self.events.push(Event::Restarted(v1::Restarted {}));
            if !self.said.is_empty() {
                let said = self.said.clone();
                self.tell_text(&said);
            }
        }
        let Some(wait) = WAITS_MS.get(self.losses) else {
            return self.fail(Failure::new(
                "model.unavailable",
                format!(
                    "The worker for {} does not answer. Ask again; if it stays so, see `clawdbot status`.",
                    self.model
                ),
            ));
        };
        self.losses += 1;
        self.ask(Duration::from_millis(*wait))
    }

    /// Ends the turn without an answer. Calls that were announced get a result, since no provider takes a call without one.
    pub fn fail(&mut self, failure: Failure) -> Next {
        self.calls.clear();
        for call in std::mem::take(&mut self.waiting) {
            let why = format!("not run: the turn ended ({})", failure.code);
            self.items.push(result_of(call, why, true));
        }
        let usage = self.used();
        self.record(End::Failed(failure.clone()), Some((String::new(), usage)));
        Next::End(Err(failure))
    }
}

/// Between the texts of two rounds.
const SEPARATOR: &str = "\n\n";

fn sum(a: v1::Usage, b: v1::Usage) -> v1::Usage {
    v1::Usage {
        input_tokens: a.input_tokens.saturating_add(b.input_tokens),
        output_tokens: a.output_tokens.saturating_add(b.output_tokens),
    }
}

fn result_of(call: v1::ToolCall, output: String, is_error: bool) -> Item {
    Item::Tool(v1::ToolResult {
        call_id: call.id,
        name: call.name,
        output,
        is_error,
    })
}

/// One spelling for equal arguments; what is no JSON stands for itself.
fn canonical(arguments: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(arguments) {
        Ok(value) => value.to_string(),
        Err(_) => arguments.into(),
    }
}

fn error_code(class: ModelErrorClass) -> &'static str {
    match class {
        ModelErrorClass::Auth => "model.auth",
        ModelErrorClass::Billing => "model.billing",
        ModelErrorClass::RateLimit => "model.rate_limited",
        ModelErrorClass::Unavailable => "model.unavailable",
        ModelErrorClass::InvalidRequest => "model.invalid_request",
        ModelErrorClass::UnknownModel => "model.unknown",
        ModelErrorClass::ContextOverflow => "model.context_overflow",
        ModelErrorClass::Denied => "model.denied",
        ModelErrorClass::Unspecified => "model.failed",
    }
}

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;
