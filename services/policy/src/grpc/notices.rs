//! Notices: a channel's worker fetches what somebody on its channel has to be told, and says what became of it.

use std::pin::Pin;
use std::sync::Arc;

use clawdbot_proto::v1;
use clawdbot_proto::v1::notices_server::Notices;
use clawdbot_service::caller;
use futures_util::stream::{self, Stream};
use tonic::{Request, Response, Status};

use super::Services;
use crate::policy::unix_ms;

type Stack = Pin<Box<dyn Stream<Item = Result<v1::Notice, Status>> + Send>>;

/// The channel whose worker calls.
fn channel<T>(request: &Request<T>) -> Result<String, Status> {
    let name = caller(request)?.name();
    name.map(|name| name.to_string())
        .ok_or_else(|| Status::permission_denied("only channel workers tell people something"))
}

#[tonic::async_trait]
impl Notices for Services {
    type WatchStream = Stack;

    async fn watch(
        &self,
        request: Request<v1::WatchNoticesRequest>,
    ) -> Result<Response<Stack>, Status> {
        let channel = channel(&request)?;
        let attached = self.0.notices.attach(&channel);
        let state = (Arc::clone(&self.0), attached);
        let notices = stream::unfold(state, async |(policy, mut attached)| {
            let notice = policy.notices.wait(&mut attached, unix_ms).await?;
            Some((Ok(notice), (policy, attached)))
        });
        Ok(Response::new(Box::pin(notices)))
    }

    async fn settle(
        &self,
        request: Request<v1::SettleNoticeRequest>,
    ) -> Result<Response<v1::Done>, Status> {
        let channel = channel(&request)?;
        let v1::SettleNoticeRequest { id, sent } = request.into_inner();
        self.0.settle_notice(&channel, &id, sent).await;
        Ok(Response::new(v1::Done {}))
    }
}
