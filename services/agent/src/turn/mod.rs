//! One turn as a state machine: the model speaks, tools are called, the model speaks again, until there is an answer or
//! a reason why there is none. It does no I/O and knows no time: it is told what happened and says what comes next.
//! It refuses endless rounds, the same call over and over, and a model that floods. A model that cannot be used makes room
//! for the next one; the worker itself remembers for how long to leave it alone.

mod calls;
mod speech;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use clawdbot_identity::TurnId;
use clawdbot_proto::v1::run_event::Event;
use clawdbot_proto::v1::{self, ModelErrorClass, StopReason};

use crate::context::Size;
use crate::failure;
use crate::live::Steered;
use crate::reply::Voice;
use crate::tokens;
use crate::transcript::{Assistant, End, Failure, Item, Progress};

/// Requests to the model in one turn, repeated ones not counted.
const ROUNDS: usize = 50;
/// Bytes of text in one turn, and of a message as its provider wrote it.
const TEXT_BYTES: usize = 1 << 20;
const REPLAY_BYTES: usize = 1 << 20;
/// Waits before a lost request is made again; when they are used up, the model counts as unavailable.
const WAITS_MS: [u64; 5] = [50, 200, 800, 2000, 2000];
/// How often an answer that broke off is asked for again.
const BREAKS: usize = 2;
/// The result of a call of which nobody knows more.
const INTERRUPTED: &str = "interrupted: the outcome is not known, because the assistant was restarted meanwhile. Check before you repeat it.";

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

/// What is added to an answer about what it used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Footer {
    #[default]
    None,
    Tokens,
    Full,
}

/// A running turn.
pub struct Turn {
    id: TurnId,
    /// provider/model, in the order in which they are tried, and which of them it is now.
    models: Vec<String>,
    model: usize,
    /// Why those before cannot be used.
    unusable: Vec<Failure>,
    footer: Footer,
    round: usize,
    /// Requests of this round that differ from each other.
    variant: u32,
    size: Size,
    /// The provider has said once in this round that it is too much.
    overflowed: bool,
    losses: usize,
    calls_made: u32,
    /// What the rounds before this one showed, and used.
    said: String,
    used: v1::Usage,
    reply_to: Option<String>,
    /// What this round has said so far: all of it, and what of it is for people.
    text: String,
    voice: Voice,
    calls: Vec<v1::ToolCall>,
    usage: v1::Usage,
    replay: Option<v1::Replay>,
    /// A call has another id than its provider wrote, so the message cannot be given back as it was written.
    renamed: bool,
    waiting: VecDeque<v1::ToolCall>,
    /// Whether the first of those that wait may have been made.
    invoking: bool,
    repeats: HashMap<(String, String), u32>,
    /// Messages that came in, and the ids of those that have reached a request.
    steered: Vec<Steered>,
    absorbed: Vec<String>,
    items: Vec<Item>,
    events: Vec<Event>,
}

impl Turn {
    /// A turn that asks the first of `models` (provider/model), and the next one when that cannot be used.
    pub fn new(id: TurnId, models: Vec<String>, footer: Footer) -> Self {
        Self {
            id,
            models,
            model: 0,
            unusable: Vec::new(),
            footer,
            round: 1,
            variant: 0,
            size: Size::default(),
            overflowed: false,
            losses: 0,
            calls_made: 0,
            said: String::new(),
            used: v1::Usage::default(),
            reply_to: None,
            text: String::new(),
            voice: Voice::default(),
            calls: Vec::new(),
            usage: v1::Usage::default(),
            replay: None,
            renamed: false,
            waiting: VecDeque::new(),
            invoking: false,
            repeats: HashMap::new(),
            steered: Vec::new(),
            absorbed: Vec::new(),
            items: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The same turn after what is on record of it.
    pub fn after(mut self, progress: Progress) -> Self {
        // Calls without a result belong to the round that asked for them.
        self.round = progress.texts.len() + usize::from(progress.waiting.is_empty());
        for text in progress.texts {
            self.voice.hear(&text);
            self.voice.end();
            self.close_voice();
        }
        self.used = progress.used;
        self.calls_made = progress.calls;
        self.absorbed = progress.absorbed;
        self.invoking = !progress.waiting.is_empty();
        self.waiting = progress.waiting;
        self
    }

    /// The first thing to do.
    pub fn begin(&mut self) -> Next {
        if !self.said.is_empty() {
            let said = self.said.clone();
            self.tell_text(said);
        }
        if !self.invoking {
            self.absorb();
            return match self.round > ROUNDS {
                true => self.too_many_rounds(),
                false => self.ask(Duration::ZERO),
            };
        }
        // It may have been made, and nothing says that making it twice does no harm.
        self.calls_made += 1;
        self.resolve_call(INTERRUPTED.into(), true);
        self.next_call()
    }

    /// Entries for the transcript since the last call. After the end the last one carries the outcome.
    pub fn take_items(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.items)
    }

    /// What those who watch have to be told since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Which of the models it asks now.
    pub fn model(&self) -> usize {
        self.model
    }

    /// What has happened about the size of the request.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Takes messages that came in while it runs; they reach the model with the next round, if there is one.
    pub fn steer(&mut self, messages: Vec<Steered>) {
        for message in messages {
            let known = self.absorbed.contains(&message.id)
                || self.steered.iter().any(|other| other.id == message.id);
            if !known {
                self.steered.push(message);
            }
        }
    }

    /// The session was summarised, which used something; or that was tried in vain.
    pub fn compacted(&mut self, used: Option<v1::Usage>) -> Next {
        self.used = tokens::sum(self.used, used.unwrap_or_default());
        self.size = Size {
            // What was refused is another request than this one, unless nothing has changed.
            refused: self.size.refused && used.is_none(),
            settled: true,
        };
        self.variant += u32::from(used.is_some());
        self.ask(Duration::ZERO)
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
            Input::Model(Said::Replay(replay)) => {
                self.replay = Some(replay).filter(|replay| replay.content.len() <= REPLAY_BYTES);
                Next::Listen
            }
            Input::Model(Said::Error(error)) => self.model_failed(error),
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
        let variant = match self.variant {
            0 => String::new(),
            variant => format!(".{variant}"),
        };
        Next::Ask {
            request_id: format!("{}:{}{variant}", self.id, self.round),
            wait,
        }
    }

    fn flooded(&mut self, what: &str) -> Next {
        let message =
            format!("The model sent {what}. Ask again, or choose another model with /model.");
        self.fail(Failure::new("model.oversize", message))
    }

    fn model_stopped(&mut self, reason: StopReason) -> Next {
        self.end_voice();
        match reason {
            StopReason::End | StopReason::ToolCalls if !self.calls.is_empty() => self.begin_calls(),
            StopReason::End | StopReason::ToolCalls => self.answer(End::Stop),
            // The last call may be cut off in its arguments, so none is made.
            StopReason::Length => {
                self.drop_calls();
                self.answer(End::Length)
            }
            StopReason::Refused => {
                self.drop_calls();
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

    fn next_round(&mut self) -> Next {
        self.round += 1;
        if self.round > ROUNDS {
            return self.too_many_rounds();
        }
        self.losses = 0;
        self.variant = 0;
        self.size = Size::default();
        self.overflowed = false;
        self.absorb();
        self.ask(Duration::ZERO)
    }

    fn too_many_rounds(&mut self) -> Next {
        let message = format!(
            "The model asked for tools {ROUNDS} times without coming to an answer. Ask for a smaller step."
        );
        self.fail(Failure::new("turn.rounds", message))
    }

    /// The messages that came in become part of what the model is asked.
    fn absorb(&mut self) {
        for Steered { id, text } in std::mem::take(&mut self.steered) {
            self.absorbed.push(id.clone());
            self.items.push(Item::User {
                text,
                message: Some(id),
            });
        }
    }

    fn model_failed(&mut self, error: v1::ModelError) -> Next {
        if error.again && self.losses < BREAKS {
            return self.lost();
        }
        let class = error.class();
        let failure = Failure::new(failure::of_model(class), error.message);
        match class {
            class if failure::passes_on(class) => self.next_model(failure),
            ModelErrorClass::ContextOverflow if !std::mem::replace(&mut self.overflowed, true) => {
                self.take_back();
                self.size = Size {
                    refused: true,
                    settled: false,
                };
                self.variant += 1;
                self.ask(Duration::ZERO)
            }
            _ => self.fail(failure),
        }
    }

    /// The model cannot be used: on to the next one.
    fn next_model(&mut self, failure: Failure) -> Next {
        self.unusable.push(failure);
        if self.unusable.len() == self.models.len() {
            let failure = self.no_model();
            return self.fail(failure);
        }
        self.take_back();
        self.model += 1;
        self.variant += 1;
        self.losses = 0;
        self.size = Size::default();
        self.overflowed = false;
        self.ask(Duration::ZERO)
    }

    /// None of the models can be used. The first one is what the owner wants to have mended.
    fn no_model(&self) -> Failure {
        let first = &self.unusable[0];
        if self.unusable.len() == 1 {
            return first.clone();
        }
        let all = self.models.iter().zip(&self.unusable);
        let message = all.fold(
            String::from("No model can answer."),
            |text, (model, why)| format!("{text} {model}: {}", why.message),
        );
        Failure::new(&first.code, message)
    }

    /// The request is made again.
    fn lost(&mut self) -> Next {
        let Some(wait) = WAITS_MS.get(self.losses) else {
            let failure = Failure::new(
                failure::UNAVAILABLE,
                format!(
                    "The worker for {} does not answer. Ask again; if it stays so, see `clawdbot status`.",
                    self.models[self.model]
                ),
            );
            return self.next_model(failure);
        };
        self.take_back();
        self.losses += 1;
        self.ask(Duration::from_millis(*wait))
    }

    /// Ends the turn without an answer. Calls that were announced get a result, since no provider takes a call without one.
    pub fn fail(&mut self, failure: Failure) -> Next {
        self.drop_calls();
        if self.invoking {
            self.resolve_call(
                format!("interrupted: the turn ended ({})", failure.code),
                true,
            );
        }
        while !self.waiting.is_empty() {
            self.resolve_call(format!("not run: the turn ended ({})", failure.code), true);
        }
        let (item, _) = self.close_round(End::Failed(failure.clone()));
        self.items.push(Item::Assistant(Assistant {
            replay: None,
            answer: Some(v1::Answer {
                model: item.model.clone(),
                usage: Some(self.used),
                absorbed: self.absorbed.clone(),
                ..v1::Answer::default()
            }),
            ..item
        }));
        Next::End(Err(failure))
    }
}

#[cfg(test)]
mod tests;
