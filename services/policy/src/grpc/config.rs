//! Config: each reader gets its own slice, at once and again whenever that slice changes.

use std::pin::Pin;
use std::sync::Arc;

use clawdbot_identity::Role;
use clawdbot_proto::v1;
use clawdbot_proto::v1::config_server::Config;
use clawdbot_service::caller;
use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::Services;
use crate::policy::{InForce, Policy};
use crate::slices;

type Snapshots = Pin<Box<dyn Stream<Item = Result<v1::Snapshot, Status>> + Send>>;

#[tonic::async_trait]
impl Config for Services {
    type WatchStream = Snapshots;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Snapshots>, Status> {
        let reader = Reader {
            role: caller(&request)?,
            news: self.0.in_force(),
            policy: Arc::clone(&self.0),
            sent: None,
            first: true,
        };
        Ok(Response::new(Box::pin(stream::unfold(
            reader,
            Reader::next,
        ))))
    }
}

struct Reader {
    role: Role,
    news: watch::Receiver<Option<Arc<InForce>>>,
    policy: Arc<Policy>,
    sent: Option<v1::Snapshot>,
    first: bool,
}

impl Reader {
    /// Waits for a slice that differs from the last one. The stream ends with the process only.
    async fn next(mut self) -> Option<(Result<v1::Snapshot, Status>, Self)> {
        loop {
            if !std::mem::take(&mut self.first) {
                self.news.changed().await.ok()?;
            }
            let Some(current) = self.news.borrow_and_update().clone() else {
                continue;
            };
            let Some(slice) = slices::of(&self.role, &current.settings, &self.policy.place) else {
                return Some((
                    Err(Status::permission_denied(
                        "this role has no part of the configuration",
                    )),
                    self,
                ));
            };
            let snapshot = v1::Snapshot {
                revision: current.revision,
                slice: Some(slice),
                log_level: current.settings.log_level.to_owned(),
                sandbox_require: current.settings.sandbox_require.to_owned(),
            };
            // The number alone is no news.
            let known = self.sent.take().map(|sent| v1::Snapshot {
                revision: snapshot.revision,
                ..sent
            });
            let is_news = known.as_ref() != Some(&snapshot);
            self.sent = Some(snapshot.clone());
            if is_news {
                return Some((Ok(snapshot), self));
            }
        }
    }
}
