//! A worker's secrets: leased from the broker and dropped when their version changes, so that a new token is used without a
//! restart and a withdrawn one is not used any longer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use clawdbot_proto::v1::leases_client::LeasesClient;
use clawdbot_proto::v1::{LeaseReply, LeaseRequest, WatchLeaseRequest};
use clawdbot_secrets::Secret;
use clawdbot_service::Edge;
use tokio::sync::watch;
use tracing::{debug, warn};
use zeroize::Zeroizing;

/// Pause after a failed try.
const PAUSE: Duration = Duration::from_millis(200);

/// What the broker gave.
#[derive(Default)]
pub struct Leased {
    /// Of this lease; zero without one.
    pub version: u64,
    /// Whom the secrets are for, in the words of the slice; a worker whose slice says another uses none of them.
    pub audience: String,
    /// By account.
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

/// The state of the lease.
#[derive(Clone, Default)]
pub enum Lease {
    /// The broker has not answered yet.
    #[default]
    Waiting,
    /// There is nothing to lease; how to change that.
    None(String),
    /// In force.
    Held(Arc<Leased>),
}

/// The caller's secrets on this edge, kept fresh. Must be called inside the runtime.
#[must_use]
pub fn follow_leases(edge: Edge) -> watch::Receiver<Lease> {
    let (sender, receiver) = watch::channel(Lease::default());
    tokio::spawn(follow(edge, sender));
    receiver
}

async fn follow(edge: Edge, lease: watch::Sender<Lease>) {
    let mut client = LeasesClient::new(edge.clone());
    while !lease.is_closed() {
        match client.watch(WatchLeaseRequest {}).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                while let Ok(Some(news)) = stream.message().await {
                    let before = match &*lease.borrow() {
                        Lease::Held(leased) => Some(leased.version),
                        Lease::Waiting | Lease::None(_) => None,
                    };
                    if before == Some(news.version) {
                        continue;
                    }
                    if !renew(&mut client, &lease).await {
                        break;
                    }
                    if before.is_some() {
                        // The buffers of this connection still hold the lease before.
                        drop(stream);
                        edge.hang_up().await;
                        break;
                    }
                }
            }
            Err(status) => debug!(code = ?status.code(), "the broker does not answer yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks for the lease; no when the broker could not say.
async fn renew(client: &mut LeasesClient<Edge>, lease: &watch::Sender<Lease>) -> bool {
    match client.lease(LeaseRequest {}).await {
        Ok(reply) => match held(reply.into_inner()) {
            Ok(held) => {
                lease.send_replace(Lease::Held(Arc::new(held)));
                true
            }
            Err(error) => {
                warn!(%error, "a secret found no memory");
                false
            }
        },
        Err(status) if status.code() == tonic::Code::NotFound => {
            lease.send_replace(Lease::None(status.message().to_owned()));
            true
        }
        Err(status) => {
            debug!(code = ?status.code(), "no lease");
            false
        }
    }
}

fn held(reply: LeaseReply) -> std::io::Result<Leased> {
    let mut secrets = BTreeMap::new();
    for leased in reply.secrets {
        let bytes = Zeroizing::new(leased.secret);
        // The first of a profile is the one to try first.
        if let Entry::Vacant(first) = secrets.entry(leased.profile) {
            first.insert(Arc::new(Secret::new(bytes)?));
        }
    }
    Ok(Leased {
        version: reply.version,
        audience: reply.audience,
        secrets,
    })
}
