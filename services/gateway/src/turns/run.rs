//! One turn at the agent: ask, follow the stream, ask again when it is lost, cancel when somebody stops it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use clawdbot_proto::v1;
use clawdbot_proto::v1::agent_client::AgentClient;
use clawdbot_proto::v1::run_event::Event;
use clawdbot_service::Edge;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{Code, Status};
use tracing::{error, warn};

use super::{Turns, failed};
use crate::limits;
use crate::queue::{Outcome, QueueError, STOPPED};
use crate::turn_log::TurnLog;

/// Answers in a row that make no sense, such as an internal error, before a turn is given up.
const FAULTS: u32 = 5;

/// How a turn that somebody stopped ends.
pub fn stopped() -> Outcome {
    failed(STOPPED, "The turn was stopped.")
}

/// Growing pauses between tries.
struct BackOff(Duration);

impl BackOff {
    fn new() -> Self {
        Self(limits::BACK_OFF.0)
    }

    async fn pause(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(limits::BACK_OFF.1);
    }
}

/// Does a queue operation until it succeeds: a disk that is full may have room later. `None` when the queue stopped.
pub async fn insist<T, F>(mut operation: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Result<T, QueueError>>,
{
    let mut back_off = BackOff::new();
    loop {
        match operation().await {
            Ok(done) => return Some(done),
            Err(QueueError::Stopped) => return None,
            Err(error) => error!(%error, "the queue is asked again"),
        }
        back_off.pause().await;
    }
}

/// Why a try brought no end.
enum Lost {
    /// The agent went away; it is asked again for as long as it takes.
    Agent(Status),
    /// The agent is there and fails.
    Fault(Status),
}

impl Turns {
    /// Asks the agent until the turn has an end. `None` when the queue stopped.
    pub(super) async fn obtain(&self, log: &Arc<TurnLog>) -> Option<Outcome> {
        let row = log.turn.row;
        let queue = &self.0.queue;
        let asked = match log.take_question() {
            Some(fresh) => Some(fresh),
            None => insist(|| queue.question(row)).await?,
        };
        let Some((handle, question)) = asked else {
            return insist(|| queue.outcome(row)).await?;
        };
        let request = v1::RunRequest {
            turn_id: log.turn.turn_id.to_string(),
            handle: handle.as_str().to_owned(),
            text: question.text,
            extra_system: question.extra_system,
            source: log.turn.source.name().to_owned(),
            parameters: Some(question.parameters),
        };
        let agent = self.0.agents.of(log.turn.class);
        let mut back_off = BackOff::new();
        let mut faults = 0;
        let mut told = false;
        loop {
            let mut progress = false;
            let lost = match attempt(&agent, log, &request, &mut progress).await {
                Ok(outcome) => return Some(outcome),
                Err(lost) => lost,
            };
            if progress {
                back_off = BackOff::new();
                faults = 0;
            }
            let status = match lost {
                Lost::Agent(status) => status,
                Lost::Fault(status) if faults + 1 < FAULTS => {
                    faults += 1;
                    status
                }
                Lost::Fault(status) => return Some(failed("turn.error", status.message())),
            };
            if !told || progress {
                told = true;
                warn!(turn = %log.turn.turn_id, class = %log.turn.class, %status, "a turn was lost; it is asked for again");
            }
            tokio::select! {
                () = log.stopped() => return Some(stopped()),
                () = back_off.pause() => log.restart(),
            }
        }
    }
}

/// One try: until the turn's end, a lost stream, or a few seconds after somebody stopped it.
async fn attempt(
    agent: &Edge,
    log: &TurnLog,
    request: &v1::RunRequest,
    progress: &mut bool,
) -> Result<Outcome, Lost> {
    let mut client = AgentClient::new(agent.clone());
    let mut stream = tokio::select! {
        biased;
        answer = client.run(request.clone()) => match answer {
            Ok(answer) => answer.into_inner(),
            Err(status) => return judge(status),
        },
        () = log.stopped() => {
            cancel(agent, log).await;
            return Ok(stopped());
        }
    };
    let mut stopping = None;
    loop {
        let message = tokio::select! {
            biased;
            message = stream.message() => message,
            () = log.stopped(), if stopping.is_none() => {
                // The last word is the agent's, if it comes soon: the turn may just have been answered.
                cancel(agent, log).await;
                stopping = Some(Instant::now() + limits::CANCEL);
                continue;
            }
            () = until(stopping), if stopping.is_some() => return Ok(stopped()),
        };
        let event = match message {
            Ok(Some(v1::RunEvent { event: Some(event) })) => event,
            Ok(Some(_)) => {
                warn!(turn = %log.turn.turn_id, "the agent sent an event that is not known here");
                continue;
            }
            _ if stopping.is_some() => return Ok(stopped()),
            Ok(None) => {
                return Err(Lost::Agent(Status::unavailable(
                    "the stream ended before the turn did",
                )));
            }
            Err(status) => return judge(status),
        };
        *progress = true;
        match event {
            Event::Delta(delta) => log.text(&delta.text),
            Event::Restarted(_) => log.restart(),
            Event::ToolStarted(note) => log.tool_started(note),
            Event::ToolFinished(note) => log.tool_finished(note),
            Event::Answer(answer) => return Ok(Outcome::Answered(answer)),
            Event::Failed(failed) => return Ok(Outcome::Failed(failed)),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
}

async fn cancel(agent: &Edge, log: &TurnLog) {
    let request = v1::CancelRequest {
        turn_id: log.turn.turn_id.to_string(),
    };
    let mut client = AgentClient::new(agent.clone());
    match timeout(limits::CANCEL, client.cancel(request)).await {
        Ok(Ok(_)) => {}
        Ok(Err(status)) => warn!(turn = %log.turn.turn_id, %status, "a turn was not cancelled"),
        Err(_) => warn!(turn = %log.turn.turn_id, "the agent did not answer a cancellation"),
    }
}

/// A refusal is the turn's end; everything else is worth another try.
fn judge(status: Status) -> Result<Outcome, Lost> {
    match status.code() {
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound
        | Code::Unimplemented => Ok(failed("turn.refused", status.message())),
        Code::Internal | Code::Unknown | Code::DataLoss => Err(Lost::Fault(status)),
        _ => Err(Lost::Agent(status)),
    }
}
