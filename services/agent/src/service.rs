//! The agent's edge: what the gateway may ask. Every id is checked before anything else happens.

use std::pin::Pin;
use std::sync::Arc;

use clawdbot_identity::{Handle, IdError, MessageId, TurnId};
use clawdbot_proto::v1::agent_server::Agent as Serve;
use clawdbot_proto::v1::{self, RunEvent, run_event::Event};
use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};
use tracing::warn;

use crate::agent::{Agent, Job, TEXT_BYTES};
use crate::live::Steered;
use crate::transcript::Failure;

/// Characters of a turn id: the ids of its calls, which are it and a number, have at most 128.
const TURN_ID: usize = 120;
/// Entries of one answer about history.
const HISTORY: u32 = 1000;

/// The generated server's view of an agent.
#[derive(Clone)]
pub struct Service(pub Arc<Agent>);

type Events = Pin<Box<dyn Stream<Item = Result<RunEvent, Status>> + Send>>;

#[tonic::async_trait]
impl Serve for Service {
    type RunStream = Events;

    async fn run(&self, request: Request<v1::RunRequest>) -> Result<Response<Events>, Status> {
        let request = request.into_inner();
        let id = TurnId::parse(&request.turn_id).map_err(invalid)?;
        if id.as_str().len() > TURN_ID {
            return Err(Status::invalid_argument(
                "a turn id must have at most 120 characters",
            ));
        }
        let handle = Handle::parse(&request.handle).map_err(invalid)?;
        if !(1..=TEXT_BYTES).contains(&request.text.len()) {
            return Err(Status::invalid_argument(
                "a message must have 1 byte to 256 KiB",
            ));
        }
        if request.extra_system.len() > TEXT_BYTES {
            return Err(Status::invalid_argument(
                "what is added to the system text must have at most 256 KiB",
            ));
        }
        let slice = self.0.peers.slice().await?;
        let session = match self.0.peers.resolve(&handle).await? {
            Ok(session) => session,
            Err(refused) => return Ok(Response::new(only(refused))),
        };
        let reader = self.0.start(Job {
            id,
            handle,
            text: request.text,
            extra_system: request.extra_system,
            source: request.source,
            parameters: request.parameters,
            session,
            slice,
        })?;
        let events = stream::unfold(reader, |mut reader| async move {
            let event = reader.next().await?;
            Some((Ok(RunEvent { event: Some(event) }), reader))
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelReply>, Status> {
        let turn = TurnId::parse(&request.get_ref().turn_id).map_err(invalid)?;
        let cancelled = self.0.cancel(&turn);
        Ok(Response::new(v1::CancelReply { cancelled }))
    }

    async fn steer(
        &self,
        request: Request<v1::SteerRequest>,
    ) -> Result<Response<v1::SteerReply>, Status> {
        let request = request.into_inner();
        let turn = TurnId::parse(&request.turn_id).map_err(invalid)?;
        let message = MessageId::parse(&request.message_id).map_err(invalid)?;
        if !(1..=TEXT_BYTES).contains(&request.text.len()) {
            return Err(Status::invalid_argument(
                "a message must have 1 byte to 256 KiB",
            ));
        }
        let message = Steered {
            id: message.as_str().into(),
            text: request.text,
        };
        let taken = self.0.steer(&turn, message);
        Ok(Response::new(v1::SteerReply { taken }))
    }

    async fn history(
        &self,
        request: Request<v1::AgentHistoryRequest>,
    ) -> Result<Response<v1::HistoryReply>, Status> {
        let request = request.into_inner();
        let handle = Handle::parse(&request.handle).map_err(invalid)?;
        if !(1..=HISTORY).contains(&request.limit) {
            return Err(Status::invalid_argument(
                "the limit must be 1 to 1000 entries",
            ));
        }
        let session = match self.0.peers.resolve(&handle).await? {
            Ok(session) => session,
            Err(refused) => return Err(Status::permission_denied(refused.to_string())),
        };
        let entries = self
            .0
            .sessions
            .history(&session.key, request.limit as usize)
            .await;
        let entries = entries.map_err(|error| {
            warn!(%error, "a transcript cannot be read");
            Status::internal(format!("the transcript cannot be read: {error}"))
        })?;
        Ok(Response::new(v1::HistoryReply { entries }))
    }

    async fn list_sessions(
        &self,
        _: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsReply>, Status> {
        let slice = self.0.peers.present_slice();
        let model = |key: &clawdbot_identity::SessionKey| {
            let agents = slice.iter().flat_map(|slice| &slice.agents);
            let mut profiles = agents.filter(|profile| profile.id == key.agent().as_str());
            let profile = profiles.next();
            profile.map_or(String::new(), |profile| profile.model.clone())
        };
        let sessions = self.0.sessions.list(model).await;
        Ok(Response::new(v1::ListSessionsReply { sessions }))
    }
}

#[allow(clippy::needless_pass_by_value)]
fn invalid(error: IdError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn only(failure: Failure) -> Events {
    let event = Event::Failed(v1::Failed {
        code: failure.code,
        message: failure.message,
    });
    Box::pin(stream::iter([Ok(RunEvent { event: Some(event) })]))
}
