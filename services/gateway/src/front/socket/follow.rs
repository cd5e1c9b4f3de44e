//! Turns as events: `chat` for text and end, `agent` for the turn's being there and for tool calls. A delta carries the
//! whole text so far, so that a client which missed some, or saw an answer begin again, is right after the next one;
//! between two of them there is a pause, so that long answers stay cheap.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use clawdbot_identity::{Class, SessionKey};
use clawdbot_proto::v1;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::super::{Front, api};
use crate::queue::{Outcome, RowId};
use crate::turn_log::{Reader, Step, TurnLog};
use crate::{clock, limits};

/// Rows that are remembered so that none is followed twice.
const REMEMBERED: usize = 4 * limits::FOLLOWED;

/// Whether a turn is the operator's to see: of the owner's class, and not that of a program's single request, which
/// nobody can come back to.
pub fn is_operators(log: &TurnLog) -> bool {
    log.turn.class == Class::Main && !api::is_one_shot(&log.turn.session_key)
}

/// Name and payload.
type Event = (&'static str, Value);

/// The turns that one connection follows.
#[derive(Default)]
pub struct Followed {
    running: FuturesUnordered<BoxFuture<'static, Option<(Follower, Event)>>>,
    ready: VecDeque<Event>,
    seen: VecDeque<RowId>,
}

impl Followed {
    /// Whether another turn, which this connection did not start, should be followed.
    pub fn has_room(&self, log: &TurnLog) -> bool {
        self.running.len() < limits::FOLLOWED && !self.seen.contains(&log.turn.row)
    }

    /// Follows a turn, if it is not followed already.
    pub fn add(&mut self, front: &Front, log: Arc<TurnLog>) {
        if self.seen.contains(&log.turn.row) {
            return;
        }
        self.seen.push_back(log.turn.row);
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        let follower = Follower {
            front: front.clone(),
            events: Events::of(&log),
            reader: log.read(),
            log,
            told: false,
            text: String::new(),
            next_delta: Instant::now(),
        };
        self.running.push(Box::pin(follower.next()));
    }

    /// A turn that had ended before: only its end is told.
    pub fn ended(
        &mut self,
        front: &Front,
        session: &SessionKey,
        run_id: &str,
        row: RowId,
        outcome: Outcome,
    ) {
        front.desk().turns().delivered(row);
        self.ready
            .push_back(Events::new(session, run_id, None).end(outcome));
    }

    /// An answer without a turn.
    pub fn told(&mut self, session: &SessionKey, run_id: &str, text: String) {
        let answer = v1::Answer {
            text,
            ..Default::default()
        };
        let end = Events::new(session, run_id, None).end(Outcome::Answered(answer));
        self.ready.push_back(end);
    }

    /// The next event; waits for it. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return ready;
            }
            match self.running.next().await {
                Some(Some((follower, event))) => {
                    if !follower.events.over {
                        self.running.push(Box::pin(follower.next()));
                    }
                    return event;
                }
                Some(None) => {}
                None => pending().await,
            }
        }
    }
}

struct Follower {
    front: Front,
    log: Arc<TurnLog>,
    reader: Reader,
    events: Events,
    told: bool,
    text: String,
    next_delta: Instant,
}

impl Follower {
    async fn next(mut self) -> Option<(Self, Event)> {
        if !std::mem::replace(&mut self.told, true) {
            let event = self.events.there();
            return Some((self, event));
        }
        tokio::select! {
            () = sleep_until(self.next_delta) => {}
            _ = self.log.ended() => {}
        }
        let event = match self.reader.next().await? {
            Step::Text(more) => {
                self.text.push_str(&more);
                self.next_delta = Instant::now() + limits::DELTA;
                self.events.delta(&self.text)
            }
            Step::Restarted => {
                self.text.clear();
                self.events.delta("")
            }
            Step::Started(tool) => self.events.tool_started(&tool),
            Step::Finished(tool) => self.events.tool_finished(&tool),
            Step::End(outcome) => {
                self.front.desk().turns().delivered(self.log.turn.row);
                self.events.end(outcome)
            }
        };
        Some((self, event))
    }
}

/// Makes the events of one turn.
struct Events {
    session: String,
    run_id: String,
    turn_id: Option<String>,
    seq: u64,
    over: bool,
}

impl Events {
    fn of(log: &TurnLog) -> Self {
        let turn_id = log.turn.turn_id.as_str().to_owned();
        let run_id = log.turn.message_id.as_str();
        Self::new(&log.turn.session_key, run_id, Some(turn_id))
    }

    fn new(session: &SessionKey, run_id: &str, turn_id: Option<String>) -> Self {
        Self {
            session: session.to_string(),
            run_id: run_id.to_owned(),
            turn_id,
            seq: 0,
            over: false,
        }
    }

    fn delta(&mut self, text: &str) -> Event {
        self.chat("delta", |event| event["message"] = message(text))
    }

    fn end(&mut self, outcome: Outcome) -> Event {
        self.over = true;
        if outcome.was_stopped() {
            return self.chat("aborted", |_| {});
        }
        match outcome {
            Outcome::Answered(answer) => self.chat("final", |event| {
                event["message"] = message(&answer.text);
                event["stopReason"] = if answer.cut { "length" } else { "stop" }.into();
                if let Some(usage) = answer.usage {
                    event["usage"] = json!({
                        "input": usage.input_tokens,
                        "output": usage.output_tokens,
                        "totalTokens": usage.input_tokens.saturating_add(usage.output_tokens),
                    });
                }
            }),
            Outcome::Failed(failed) => self.chat("error", |event| {
                event["errorMessage"] = failed.message.into();
            }),
        }
    }

    /// The turn is there, whether it runs already or waits.
    fn there(&mut self) -> Event {
        self.agent("lifecycle", json!({ "phase": "start" }))
    }

    fn tool_started(&mut self, tool: &v1::ToolStarted) -> Event {
        self.agent(
            "tool",
            json!({
                "phase": "start",
                "toolCallId": tool.call_id,
                "name": tool.tool,
                "meta": tool.summary,
            }),
        )
    }

    fn tool_finished(&mut self, tool: &v1::ToolFinished) -> Event {
        self.agent(
            "tool",
            json!({
                "phase": "result",
                "toolCallId": tool.call_id,
                "name": tool.tool,
                "meta": tool.summary,
                "isError": tool.is_error,
            }),
        )
    }

    fn chat(&mut self, state: &str, fill: impl FnOnce(&mut Value)) -> Event {
        let mut event = self.event();
        event["state"] = state.into();
        fill(&mut event);
        ("chat", event)
    }

    fn agent(&mut self, stream: &str, data: Value) -> Event {
        let mut event = self.event();
        event["stream"] = stream.into();
        event["ts"] = clock::now_ms().into();
        event["data"] = data;
        ("agent", event)
    }

    fn event(&mut self) -> Value {
        self.seq += 1;
        let mut event = json!({
            "runId": self.run_id,
            "sessionKey": self.session,
            "seq": self.seq,
        });
        if let Some(turn_id) = &self.turn_id {
            event["turnId"] = turn_id.as_str().into();
        }
        event
    }
}

fn message(text: &str) -> Value {
    json!({
        "role": "assistant",
        "content": [{ "type": "text", "text": text }],
        "timestamp": clock::now_ms(),
    })
}
