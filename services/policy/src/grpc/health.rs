//! Health and Problems: what workers report, and what the operator has to know because of it.

use std::pin::Pin;

use clawdbot_proto::v1;
use clawdbot_proto::v1::health_server::Health;
use clawdbot_proto::v1::problems_server::Problems;
use clawdbot_service::caller;
use futures_util::stream::{self, Stream};
use tonic::{Request, Response, Status};

use super::Services;

#[tonic::async_trait]
impl Health for Services {
    async fn report(
        &self,
        request: Request<v1::HealthReport>,
    ) -> Result<Response<v1::Done>, Status> {
        let role = caller(&request)?;
        self.0
            .take_report(role.as_str(), request.into_inner())
            .map_err(Status::invalid_argument)?;
        Ok(Response::new(v1::Done {}))
    }
}

type Lists = Pin<Box<dyn Stream<Item = Result<v1::ProblemList, Status>> + Send>>;

#[tonic::async_trait]
impl Problems for Services {
    type WatchStream = Lists;

    async fn watch(&self, _: Request<v1::WatchProblemsRequest>) -> Result<Response<Lists>, Status> {
        let news = self.0.problems();
        let lists = stream::unfold((news, true), async |(mut news, first)| {
            if !first {
                news.changed().await.ok()?;
            }
            let problems = news.borrow_and_update().clone();
            Some((Ok(v1::ProblemList { problems }), (news, false)))
        });
        Ok(Response::new(Box::pin(lists)))
    }
}
