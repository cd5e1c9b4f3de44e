//! The keys that the broker lends to this worker, kept fresh: a changed key is used by the next request, and only at the
//! address that it is meant for. A broker that is being restarted takes nothing away.

use std::sync::Arc;
use std::time::Duration;

use clawdbot_proto::v1::leases_client::LeasesClient;
use clawdbot_proto::v1::{LeaseReply, LeaseRequest, WatchLeaseRequest};
use clawdbot_secrets::Secret;
use clawdbot_service::Edge;
use http::HeaderName;
use tokio::sync::watch;
use tonic::{Code, Status};
use tracing::{debug, warn};
use zeroize::Zeroizing;

use crate::settings::Settings;

/// Pauses between tries to reach the broker: first and longest.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// What the broker lent.
pub struct Lease {
    pub version: u64,
    /// Whom the keys are for, in the words of the slice.
    audience: String,
    /// In the broker's order, which is not yet the order of use.
    profiles: Vec<(String, Secret)>,
    headers: Vec<(HeaderName, Secret)>,
}

/// What is known of the lease.
#[derive(Clone)]
pub enum Held {
    /// The broker has not answered yet.
    Unknown,
    /// There is nothing to lend; the broker says how to change that.
    Nothing(Arc<str>),
    Lent(Arc<Lease>),
}

/// What of the lease may be used at an address.
pub enum Fit {
    /// These keys, or none where none is needed.
    Use(Option<Arc<Lease>>),
    /// There is no key, and one is needed; the broker's remedy.
    Missing(Arc<str>),
    /// The broker has not answered yet.
    Unknown,
    /// The keys are meant for another address: configuration and secrets come on different ways.
    Foreign,
}

impl Held {
    /// What a request to the configured address may use.
    pub fn fit(&self, settings: &Settings) -> Fit {
        match self {
            Self::Lent(lease) if lease.audience == settings.audience => {
                Fit::Use(Some(Arc::clone(lease)))
            }
            Self::Lent(_) => Fit::Foreign,
            Self::Nothing(why) if settings.needs_key() => Fit::Missing(Arc::clone(why)),
            Self::Nothing(_) => Fit::Use(None),
            Self::Unknown => Fit::Unknown,
        }
    }
}

impl Lease {
    fn new(reply: LeaseReply) -> std::io::Result<Self> {
        let mut profiles = Vec::with_capacity(reply.secrets.len());
        for leased in reply.secrets {
            let secret = Secret::new(Zeroizing::new(leased.secret))?;
            profiles.push((leased.profile, secret));
        }
        let mut headers = Vec::with_capacity(reply.headers.len());
        for header in reply.headers {
            let value = Secret::new(Zeroizing::new(header.value))?;
            match HeaderName::from_bytes(header.name.as_bytes()) {
                Ok(name) => headers.push((name, value)),
                Err(_) => {
                    warn!("a configured header has a name that HTTP does not have; it is not sent")
                }
            }
        }
        Ok(Self {
            version: reply.version,
            audience: reply.audience,
            profiles,
            headers,
        })
    }

    /// Names of the log-in profiles. Headers that need no key beside them count as one without a name.
    pub fn names(&self) -> Vec<&str> {
        if self.profiles.is_empty() {
            return vec![""];
        }
        self.profiles
            .iter()
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// A profile's key.
    pub fn key(&self, profile: &str) -> Option<&Secret> {
        let found = self.profiles.iter().find(|(name, _)| name == profile);
        found.map(|(_, secret)| secret)
    }

    /// Headers that go along with every request.
    pub fn headers(&self) -> &[(HeaderName, Secret)] {
        &self.headers
    }

    /// Everything that must not be shown.
    pub fn secrets(&self) -> Vec<&Secret> {
        let keys = self.profiles.iter().map(|(_, secret)| secret);
        keys.chain(self.headers.iter().map(|(_, secret)| secret))
            .collect()
    }
}

/// Keeps the lease fresh for as long as anybody looks at it. Must be called inside the runtime.
pub fn follow(broker: Edge) -> watch::Receiver<Held> {
    let (sender, receiver) = watch::channel(Held::Unknown);
    tokio::spawn(async move {
        let mut client = LeasesClient::new(broker.clone());
        let mut pause = FIRST;
        while !sender.is_closed() {
            match watch_once(&mut client, &sender).await {
                Ok(Watched::Replaced) => {
                    broker.hang_up().await;
                    pause = FIRST;
                }
                Ok(Watched::Over) => pause = FIRST,
                Err(status) => {
                    debug!(code = ?status.code(), "no lease yet");
                    pause = (pause * 2).min(LONGEST);
                }
            }
            tokio::time::sleep(pause).await;
        }
    });
    receiver
}

/// How following ended.
enum Watched {
    /// The broker ends or has ended.
    Over,
    /// A lease took the place of another, which the buffers of the connection still hold.
    Replaced,
}

async fn watch_once(
    client: &mut LeasesClient<Edge>,
    held: &watch::Sender<Held>,
) -> Result<Watched, Status> {
    let mut versions = client.watch(WatchLeaseRequest {}).await?.into_inner();
    while let Some(news) = versions.message().await? {
        let before = match &*held.borrow() {
            Held::Lent(lease) => Some(lease.version),
            Held::Unknown | Held::Nothing(_) => None,
        };
        if before != Some(news.version) {
            let fresh = ask(client).await?;
            held.send_replace(fresh);
            if before.is_some() {
                return Ok(Watched::Replaced);
            }
        }
    }
    Ok(Watched::Over)
}

async fn ask(client: &mut LeasesClient<Edge>) -> Result<Held, Status> {
    match client.lease(LeaseRequest {}).await {
        Ok(reply) => {
            let lease = Lease::new(reply.into_inner())
                .map_err(|error| Status::resource_exhausted(error.to_string()))?;
            Ok(
                match lease.profiles.is_empty() && lease.headers.is_empty() {
                    true => Held::Nothing("the broker lent no key".into()),
                    false => Held::Lent(Arc::new(lease)),
                },
            )
        }
        Err(status) if status.code() == Code::NotFound => {
            Ok(Held::Nothing(status.message().trim_end_matches('.').into()))
        }
        Err(status) => Err(status),
    }
}
