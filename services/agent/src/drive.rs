//! Runs one turn's state machine against the model worker and the executor. A stop or the time limit interrupts whatever
//! it waits for.

use std::time::Duration;

use clawdbot_identity::{Handle, ModelRef};
use clawdbot_proto::v1::{self, generate_event};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Code, Status, Streaming};
use tracing::warn;

use crate::live::Live;
use crate::peers::Peers;
use crate::prompt;
use crate::transcript::{Failure, Item, Thread};
use crate::turn::{Input, Next, Turn};

/// What a turn is run with.
pub struct Drive<'a> {
    pub peers: &'a Peers,
    pub live: &'a Live,
    pub handle: &'a Handle,
    pub thread: &'a Thread,
    pub model: &'a ModelRef,
    pub system: String,
    pub verbose: bool,
    pub limit: Duration,
}

impl Drive<'_> {
    /// Runs the turn to its end and returns what goes into the transcript.
    pub async fn run(self, mut turn: Turn) -> (Result<v1::Answer, Failure>, Vec<Item>) {
        let deadline = Instant::now() + self.limit;
        let mut io = Io {
            drive: &self,
            tools: None,
            stream: None,
        };
        let mut next = turn.begin();
        loop {
            turn.events()
                .into_iter()
                .for_each(|event| self.live.push(event));
            let done = tokio::select! {
                biased;
                () = self.live.stopped() => Ok(Input::Stopped),
                () = sleep_until(deadline) => Ok(Input::TimedOut),
                done = io.perform(&next, &turn) => done,
            };
            next = match done {
                Ok(input) => turn.step(input),
                Err(failure) => turn.fail(failure),
            };
            if let Next::End(end) = next {
                turn.events()
                    .into_iter()
                    .for_each(|event| self.live.push(event));
                return (end, turn.into_items());
            }
        }
    }
}

struct Io<'a> {
    drive: &'a Drive<'a>,
    tools: Option<Vec<v1::ToolSpec>>,
    stream: Option<Streaming<v1::GenerateEvent>>,
}

impl Io<'_> {
    async fn perform(&mut self, next: &Next, turn: &Turn) -> Result<Input, Failure> {
        match next {
            Next::Ask { request_id, wait } => {
                self.stream = None;
                sleep(*wait).await;
                self.ask(request_id, turn).await
            }
            Next::Listen => Ok(self.listen().await),
            Next::Invoke { call_id, call } => Ok(self.invoke(call_id, call, turn).await),
            // The loop ends before it comes here.
            Next::End(_) => Ok(Input::Stopped),
        }
    }

    async fn ask(&mut self, request_id: &str, turn: &Turn) -> Result<Input, Failure> {
        let drive = self.drive;
        let messages = prompt::messages(drive.thread, turn.items(), drive.system.len());
        let messages = messages.ok_or_else(|| {
            Failure::new(
                "turn.too_long",
                "What the tools returned is too much for one request to the model. Ask for a smaller step.",
            )
        })?;
        let request = v1::GenerateRequest {
            request_id: request_id.into(),
            handle: drive.handle.as_str().into(),
            model: drive.model.model().into(),
            system: drive.system.clone(),
            messages,
            tools: self.tools().await,
        };
        match drive
            .peers
            .model(drive.model.provider())
            .generate(request)
            .await
        {
            Ok(reply) => {
                self.stream = Some(reply.into_inner());
                Ok(self.listen().await)
            }
            Err(status) => Ok(lost_or_rejected(&status)),
        }
    }

    /// The tools, asked for once in a turn.
    async fn tools(&mut self) -> Vec<v1::ToolSpec> {
        if self.tools.is_none() {
            let request = v1::ListToolsRequest {
                handle: self.drive.handle.as_str().into(),
            };
            self.tools = Some(
                match self.drive.peers.executor().list_tools(request).await {
                    Ok(reply) => reply.into_inner().tools,
                    Err(status) => {
                        warn!(code = ?status.code(), "the executor does not answer; this turn has no tools");
                        Vec::new()
                    }
                },
            );
        }
        self.tools.clone().unwrap_or_default()
    }

    async fn listen(&mut self) -> Input {
        while let Some(stream) = &mut self.stream {
            match stream.message().await {
                Ok(Some(v1::GenerateEvent { event: Some(event) })) => {
                    use generate_event::Event::{Error, Stop};
                    if matches!(event, Stop(_) | Error(_)) {
                        self.stream = None;
                    }
                    return Input::Model(event);
                }
                // An event of a later version of the worker.
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(status) => return lost_or_rejected(&status),
            }
        }
        Input::Lost
    }

    async fn invoke(&self, call_id: &str, call: &v1::ToolCall, turn: &Turn) -> Input {
        let drive = self.drive;
        let (totals, used) = (drive.thread.totals, turn.used());
        let messages = u32::try_from(turn.items().len()).unwrap_or(u32::MAX);
        let request = v1::InvokeRequest {
            call_id: call_id.into(),
            handle: drive.handle.as_str().into(),
            tool: call.name.clone(),
            arguments_json: call.arguments_json.clone(),
            facts: Some(v1::SessionFacts {
                session_id: drive.thread.header.id.clone(),
                model: drive.model.as_str().into(),
                input_tokens: totals.input_tokens.saturating_add(used.input_tokens),
                output_tokens: totals.output_tokens.saturating_add(used.output_tokens),
                messages: totals.messages.saturating_add(messages),
                verbose: drive.verbose,
            }),
        };
        match drive.peers.executor().invoke(request).await {
            Ok(reply) => {
                let reply = reply.into_inner();
                Input::Called {
                    output: reply.output,
                    is_error: reply.is_error,
                }
            }
            Err(status) => {
                warn!(code = ?status.code(), "a tool call was not made");
                Input::Called {
                    output: format!("The call was not made: {}", status.message()),
                    is_error: true,
                }
            }
        }
    }
}

fn lost_or_rejected(status: &Status) -> Input {
    match status.code() {
        // More calls than the edge's rate allows: the waits between two tries are the remedy for that too.
        Code::Unavailable | Code::ResourceExhausted => Input::Lost,
        _ => Input::Rejected(format!(
            "The model worker refused the request: {}",
            status.message()
        )),
    }
}
