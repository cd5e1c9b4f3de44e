//! supervisor.sock: what runs, for the command line.

use clawdbot_proto::v1::supervisor_operator_server::{
    SupervisorOperator, SupervisorOperatorServer,
};
use clawdbot_proto::v1::{ProcessesReply, ProcessesRequest};
use clawdbot_service::Router;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

use crate::fleet::Event;

struct Operator {
    events: mpsc::Sender<Event>,
}

/// The service behind supervisor.sock.
pub(crate) fn router(events: mpsc::Sender<Event>) -> Router {
    Router::new().add(SupervisorOperatorServer::new(Operator { events }))
}

#[tonic::async_trait]
impl SupervisorOperator for Operator {
    async fn processes(
        &self,
        _: Request<ProcessesRequest>,
    ) -> Result<Response<ProcessesReply>, Status> {
        let (answer, answered) = oneshot::channel();
        let stopping = || Status::unavailable("clawdbot is stopping");
        self.events
            .send(Event::Asked(answer))
            .await
            .map_err(|_| stopping())?;
        answered.await.map(Response::new).map_err(|_| stopping())
    }
}
