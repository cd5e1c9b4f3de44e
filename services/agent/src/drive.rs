//! Runs one turn's state machine against the model workers and the executor, and puts on record what happens as it happens,
//! so that a turn that is cut off goes on from there. A stop or the time limit interrupts whatever it waits for, but never a
//! write.

use std::pin::pin;
use std::time::Duration;

use clawdbot_identity::TurnId;
use clawdbot_proto::v1::{self, generate_event};
use futures_util::FutureExt;
use tokio::time::sleep;
use tonic::{Code, Status, Streaming};
use tracing::{info, warn};

use crate::agent::Job;
use crate::ask::unwritable;
use crate::choice::Choice;
use crate::compact::Summariser;
use crate::context::{self, Plan};
use crate::failure;
use crate::generate::{Written, generate};
use crate::live::Live;
use crate::peers::Peers;
use crate::prompt::Persona;
use crate::sessions::{Reach, Sessions, Turnable};
use crate::transcript::{Compaction, Failure, Item, Origin, Thread};
use crate::turn::{Input, Next, Turn};

/// What a turn is run with.
pub struct Drive<'a> {
    pub peers: &'a Peers,
    pub sessions: &'a Sessions,
    pub live: &'a Live,
    pub job: &'a Job,
    pub choices: &'a [Choice],
    pub persona: Persona<'a>,
    pub thinking: Option<&'a str>,
    pub verbose: bool,
    pub limit: Duration,
}

/// What came of a step.
enum Done {
    Input(Input),
    /// A summary, for the record.
    Compacted(Box<Compaction>),
    /// A summary could not be made, and the request may fit without one.
    NotCompacted,
}

impl Drive<'_> {
    /// Runs the turn to its end; `refused` says why it cannot even begin.
    pub async fn run(
        self,
        mut turn: Turn,
        refused: Option<Failure>,
        turnable: &mut Turnable<'_>,
    ) -> Result<v1::Answer, Failure> {
        // Made once: a step is often a single word of the model.
        let mut stopped = pin!(self.live.stopped().fuse());
        let mut timed_out = pin!(sleep(self.limit));
        let mut io = Io {
            drive: &self,
            stream: None,
            system: None,
        };
        turn.steer(self.live.take_steered());
        let mut next = match refused {
            None => turn.begin(),
            Some(failure) => turn.fail(failure),
        };
        loop {
            turn.events()
                .into_iter()
                .for_each(|event| self.live.push(event));
            let over = matches!(next, Next::End(_));
            self.record(turn.take_items(), over, turnable).await?;
            if let Next::End(end) = next {
                return end;
            }
            let thread = turnable.thread().map_err(|e| unwritable(&e))?;
            let done = tokio::select! {
                biased;
                () = &mut stopped => Ok(Done::Input(Input::Stopped)),
                () = &mut timed_out => Ok(Done::Input(Input::TimedOut)),
                done = io.perform(&next, &turn, thread) => done,
            };
            turn.steer(self.live.take_steered());
            let model = turn.model();
            next = match done {
                Ok(Done::Input(input)) => turn.step(input),
                Ok(Done::NotCompacted) => turn.compacted(None),
                Ok(Done::Compacted(done)) => {
                    let used = done.usage;
                    let item = Item::Compaction(*done);
                    self.record(vec![item], false, turnable).await?;
                    turn.compacted(Some(used))
                }
                Err(failure) => turn.fail(failure),
            };
            if turn.model() != model {
                warn!(
                    turn = %self.job.id, from = %self.choices[model].model, to = %self.choices[turn.model()].model,
                    "a model cannot be used; the turn goes on with the next one"
                );
            }
        }
    }

    /// Appends what was said. Only at the end of a turn does it have to reach the disk, and nobody waits for that: after a
    /// loss of power the gateway's queue still has the question, and the answer if that was taken.
    async fn record(
        &self,
        items: Vec<Item>,
        over: bool,
        turnable: &mut Turnable<'_>,
    ) -> Result<(), Failure> {
        if items.is_empty() {
            return Ok(());
        }
        let last = items.len() - 1;
        let job = self.job;
        let labelled = items.into_iter().enumerate().map(|(n, item)| {
            let origin = match item {
                Item::Tool(_) => Origin::Tool,
                Item::User { .. } => job.origin(),
                _ => Origin::Agent,
            };
            let turn: Option<TurnId> = (over && n == last).then(|| job.id.clone());
            (origin, turn, item)
        });
        let reach = if over { Reach::Soon } else { Reach::Whenever };
        self.sessions
            .append(turnable, &job.session.key, labelled.collect(), reach)
            .await
            .map_err(|e| unwritable(&e))
    }
}

struct Io<'a> {
    drive: &'a Drive<'a>,
    stream: Option<Streaming<v1::GenerateEvent>>,
    /// The system text of a model, and which one that is.
    system: Option<(usize, String)>,
}

impl Io<'_> {
    async fn perform(
        &mut self,
        next: &Next,
        turn: &Turn,
        thread: &Thread,
    ) -> Result<Done, Failure> {
        match next {
            Next::Ask { request_id, wait } => {
                self.stream = None;
                if !wait.is_zero() {
                    sleep(*wait).await;
                }
                self.ask(request_id, turn, thread).await
            }
            Next::Listen => Ok(Done::Input(self.listen(turn.model()).await)),
            Next::Invoke { call_id, call } => {
                let model = turn.model();
                Ok(Done::Input(self.invoke(call_id, call, model, thread).await))
            }
            // The loop ends before it comes here.
            Next::End(_) => Ok(Done::Input(Input::Stopped)),
        }
    }

    async fn ask(
        &mut self,
        request_id: &str,
        turn: &Turn,
        thread: &Thread,
    ) -> Result<Done, Failure> {
        let (drive, job) = (self.drive, self.drive.job);
        let choice = &drive.choices[turn.model()];
        let offers = job.session.offers;
        let tools = drive.peers.tools(&job.slice, &job.handle, offers).await;
        let system = self.system(turn.model(), &tools);
        let (messages, tokens) = match context::plan(
            &thread.window,
            choice,
            &system,
            &tools,
            turn.size(),
        )? {
            Plan::Send(messages, tokens) => (messages, tokens),
            Plan::Compact(cut) => {
                let tokens = thread.window.tokens(context::overhead(&system, &tools));
                info!(turn = %job.id, model = %choice.model, tokens, "the older part of a session is summarised");
                let summariser = Summariser {
                    peers: drive.peers,
                    handle: &job.handle,
                    choice,
                    session_id: &thread.header.id,
                    request_id: &format!("{request_id}.c"),
                    wishes: "",
                };
                let done = summariser.summarise(cut, tokens).await;
                return Ok(match done {
                    Ok(done) => Done::Compacted(Box::new(done)),
                    Err(error) if failure::passes_on(error.class()) => {
                        Done::Input(Input::Model(generate_event::Event::Error(error)))
                    }
                    Err(error) => {
                        warn!(turn = %job.id, model = %choice.model, error = error.message, "no summary could be made");
                        Done::NotCompacted
                    }
                });
            }
        };
        let head = v1::GenerateRequest {
            request_id: request_id.into(),
            handle: job.handle.as_str().into(),
            model: choice.model.model().into(),
            system,
            messages: Vec::new(),
            tools: tools.to_vec(),
            parameters: Some(choice.parameters(drive.thinking, job.parameters.as_ref(), tokens)),
            cache_key: thread.header.id.clone(),
            context_tokens: choice.facts.context_window,
        };
        let worker = drive.peers.worker(choice.model.provider());
        let request = Written { head, messages };
        Ok(Done::Input(match generate(worker, request).await {
            Ok(reply) => {
                self.stream = Some(reply.into_inner());
                self.listen(turn.model()).await
            }
            Err(status) => lost_or_rejected(&status),
        }))
    }

    fn system(&mut self, model: usize, tools: &[v1::ToolSpec]) -> String {
        if let Some((_, text)) = self.system.as_ref().filter(|(of, _)| *of == model) {
            return text.clone();
        }
        let persona = &self.drive.persona;
        let text = match self.drive.choices[model].facts.small_prompt {
            true => persona.small_system(tools.iter().map(prost::Message::encoded_len).sum()),
            false => persona.system(),
        };
        self.system = Some((model, text.clone()));
        text
    }

    async fn listen(&mut self, model: usize) -> Input {
        while let Some(stream) = &mut self.stream {
            match stream.message().await {
                Ok(Some(v1::GenerateEvent { event: Some(event) })) => {
                    use generate_event::Event::{Error, Stop, Usage};
                    if matches!(event, Stop(_) | Error(_)) {
                        self.stream = None;
                    }
                    return Input::Model(match event {
                        Usage(mut usage) => {
                            usage.cost_microusd = self.drive.choices[model].cost(&usage);
                            Usage(usage)
                        }
                        event => event,
                    });
                }
                // An event of a later version of the worker.
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(status) => return lost_or_rejected(&status),
            }
        }
        Input::Lost
    }

    async fn invoke(
        &self,
        call_id: &str,
        call: &v1::ToolCall,
        model: usize,
        thread: &Thread,
    ) -> Input {
        let drive = self.drive;
        let request = v1::InvokeRequest {
            call_id: call_id.into(),
            handle: drive.job.handle.as_str().into(),
            tool: call.name.clone(),
            arguments_json: call.arguments_json.clone(),
            facts: Some(v1::SessionFacts {
                session_id: thread.header.id.clone(),
                model: drive.choices[model].model.as_str().into(),
                input_tokens: thread.totals.usage.input_tokens,
                output_tokens: thread.totals.usage.output_tokens,
                messages: thread.totals.messages,
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
