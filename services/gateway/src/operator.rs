//! The Chat service on `gateway.sock`. Who may open the socket is the operator; the edge table has already checked
//! method, size and rate.

use std::pin::Pin;

use clawdbot_proto::v1;
use clawdbot_proto::v1::chat_event::Event;
use clawdbot_proto::v1::chat_server::Chat;
use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use tonic::{Request, Response, Status};

use crate::desk::{Decided, Sent, Visitor, Wanted};
use crate::front::Front;
use crate::queue::{Outcome, RowId};
use crate::turn_log::{Reader, Step};
use crate::turns::Turns;

/// The service, for the desk of this front door.
pub struct Operator {
    front: Front,
}

impl Operator {
    /// Serves the desk of `front`.
    pub fn new(front: Front) -> Self {
        Self { front }
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<v1::ChatEvent, Status>> + Send>>;

#[tonic::async_trait]
impl Chat for Operator {
    type SendStream = Events;

    async fn send(&self, request: Request<v1::SendRequest>) -> Result<Response<Events>, Status> {
        let request = request.into_inner();
        let wanted = Wanted::named(&request.session)?;
        let message_id = request.message_id;
        let desk = self.front.desk();
        let sent = desk
            .send(&Visitor::Operator, wanted, &message_id, request.text)
            .await?;
        let turns = desk.turns().clone();
        let events: Events = match sent {
            Err(refusal) => once(Event::Failed(v1::Failed {
                code: refusal.rule,
                message: refusal.message,
            })),
            Ok(Sent::Stopped(stopped)) => once(Event::Answer(v1::Answer {
                text: match stopped.len() {
                    0 => "Nothing was running.".into(),
                    1 => "Stopped 1 message.".into(),
                    n => format!("Stopped {n} messages."),
                },
                ..Default::default()
            })),
            Ok(Sent::Told(_, text)) => once(Event::Answer(v1::Answer {
                text,
                ..Default::default()
            })),
            Ok(Sent::Settled(_, row, outcome)) => {
                turns.delivered(row);
                let events = [accepted(message_id, true, 0), end(outcome)];
                Box::pin(stream::iter(events.map(event)))
            }
            Ok(Sent::Running { log, known, ahead }) => {
                let row = log.turn.row;
                let first = event(accepted(message_id, known, count(ahead)));
                let rest = follow(log.read(), turns, row);
                Box::pin(stream::iter([first]).chain(rest))
            }
        };
        Ok(Response::new(events))
    }

    async fn stop(
        &self,
        request: Request<v1::StopRequest>,
    ) -> Result<Response<v1::StopReply>, Status> {
        let wanted = Wanted::named(&request.into_inner().session)?;
        let stopped = self
            .front
            .desk()
            .stop(&Visitor::Operator, &wanted, None)
            .await?;
        let (_, stopped) = permitted(stopped)?;
        Ok(Response::new(v1::StopReply {
            stopped: count(stopped.len()),
        }))
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryReply>, Status> {
        let v1::HistoryRequest { session, limit } = request.into_inner();
        let wanted = Wanted::named(&session)?;
        let reply = self
            .front
            .desk()
            .history(&Visitor::Operator, &wanted, limit)
            .await?;
        Ok(Response::new(permitted(reply)?.1))
    }

    async fn list_sessions(
        &self,
        _: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsReply>, Status> {
        let sessions = self.front.desk().sessions(&Visitor::Operator).await?;
        let sessions = permitted(sessions)?;
        Ok(Response::new(v1::ListSessionsReply { sessions }))
    }

    async fn status(
        &self,
        _: Request<v1::GatewayStatusRequest>,
    ) -> Result<Response<v1::GatewayStatus>, Status> {
        Ok(Response::new(self.front.status()))
    }
}

/// For answers that have no place for a refusal.
fn permitted<T>(decided: Decided<T>) -> Result<T, Status> {
    decided.map_err(|refusal| Status::permission_denied(refusal.message))
}

fn follow(
    reader: Reader,
    turns: Turns,
    row: RowId,
) -> impl Stream<Item = Result<v1::ChatEvent, Status>> + Send {
    stream::unfold(Some(reader), move |reader| {
        let turns = turns.clone();
        async move {
            let mut reader = reader?;
            let Some(step) = reader.next().await else {
                let lost =
                    "the gateway stops; send the message again under the same id for its answer";
                return Some((Err(Status::unavailable(lost)), None));
            };
            let (event_kind, rest) = match step {
                Step::Text(text) => (Event::Delta(v1::TextDelta { text }), Some(reader)),
                Step::Restarted => (Event::Restarted(v1::Restarted {}), Some(reader)),
                Step::Started(note) => (Event::ToolStarted(note), Some(reader)),
                Step::Finished(note) => (Event::ToolFinished(note), Some(reader)),
                Step::End(outcome) => {
                    turns.delivered(row);
                    (end(outcome), None)
                }
            };
            Some((event(event_kind), rest))
        }
    })
}

fn accepted(message_id: String, known: bool, ahead: u32) -> Event {
    Event::Accepted(v1::Accepted {
        message_id,
        known,
        ahead,
    })
}

fn end(outcome: Outcome) -> Event {
    match outcome {
        Outcome::Answered(answer) => Event::Answer(answer),
        Outcome::Failed(failed) => Event::Failed(failed),
    }
}

fn event(event: Event) -> Result<v1::ChatEvent, Status> {
    Ok(v1::ChatEvent { event: Some(event) })
}

fn once(only: Event) -> Events {
    Box::pin(stream::iter([event(only)]))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
