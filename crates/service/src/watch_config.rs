//! Keeps a process's slice of the configuration fresh: subscribes at policy, again after each restart
//! of policy. The last slice stays in force in between.

use std::sync::Arc;
use std::time::Duration;

use clawdbot_proto::v1::config_client::ConfigClient;
use clawdbot_proto::v1::{Snapshot, WatchRequest};
use tokio::sync::watch;
use tracing::debug;

use crate::Edge;

/// Pause after a failed try, so that a policy that keeps dying is not asked in a circle.
const PAUSE: Duration = Duration::from_millis(50);

/// The slice that policy gives on this edge, kept fresh; `None` while there is none. Must be called
/// inside the runtime.
#[must_use]
pub fn follow_config(edge: Edge) -> watch::Receiver<Option<Arc<Snapshot>>> {
    follow_config_and(edge, |_| {})
}

/// The same; `first` sees each before anybody else.
pub(crate) fn follow_config_and(
    edge: Edge,
    first: impl Fn(&Snapshot) + Send + 'static,
) -> watch::Receiver<Option<Arc<Snapshot>>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(follow(edge, sender, first));
    receiver
}

async fn follow(
    edge: Edge,
    slice: watch::Sender<Option<Arc<Snapshot>>>,
    first: impl Fn(&Snapshot),
) {
    let mut client = ConfigClient::new(edge.clone());
    while !slice.is_closed() {
        match client.watch(WatchRequest {}).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                while let Ok(Some(snapshot)) = stream.message().await {
                    first(&snapshot);
                    slice.send_replace(Some(Arc::new(snapshot)));
                }
            }
            Err(status) => debug!(code = ?status.code(), "no configuration yet"),
        }
        tokio::time::sleep(PAUSE).await;
        edge.rested().await;
    }
}
