//! What the operator has to know, as policy tells it: problems of models and channels. While policy is away the last
//! list stays.

use std::sync::Arc;

use clawdbot_proto::v1;
use clawdbot_proto::v1::problems_client::ProblemsClient;
use clawdbot_service::Edge;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::debug;

use crate::limits;

/// The list of the moment; the receiver tells when it changes.
pub type Problems = watch::Receiver<Arc<Vec<v1::Problem>>>;

/// Follows policy's list for as long as anybody listens. Must be called inside the runtime.
pub fn follow(policy: Edge) -> Problems {
    let (sender, receiver) = watch::channel(Arc::default());
    tokio::spawn(async move {
        tokio::select! {
            () = keep(policy, &sender) => {}
            () = sender.closed() => {}
        }
    });
    receiver
}

async fn keep(policy: Edge, list: &watch::Sender<Arc<Vec<v1::Problem>>>) {
    let mut client = ProblemsClient::new(policy);
    loop {
        match client.watch(v1::WatchProblemsRequest {}).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                while let Ok(Some(next)) = stream.message().await {
                    list.send_replace(Arc::new(next.problems));
                }
            }
            Err(status) => debug!(code = ?status.code(), "no news of problems"),
        }
        sleep(limits::PROBLEMS_AGAIN).await;
    }
}
