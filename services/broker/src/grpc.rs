//! The services of broker.proto. Who asks is the edge that the call came in on.
//!
//! A literal on its way in and a lease on its way out lie in buffers of the codec and the socket, which are wiped when they
//! are freed: what was said last stays there as long as its connection lives. Everything that is kept is in locked memory.
//! Descriptors in place of bytes would close that.

use std::pin::Pin;
use std::sync::Arc;

use clawdbot_identity::Role;
use clawdbot_proto::v1;
use clawdbot_proto::v1::broker_operator_server::{BrokerOperator, BrokerOperatorServer};
use clawdbot_proto::v1::credentials_server::{Credentials, CredentialsServer};
use clawdbot_proto::v1::journal_server::{Journal, JournalServer};
use clawdbot_proto::v1::leases_server::{Leases, LeasesServer};
use clawdbot_service::{Router, caller};
use futures_util::Stream;
use futures_util::stream::unfold;
use tonic::{Request, Response, Status};
use tracing::info;

use crate::keeper::{Keeper, Refused, Wish};
use crate::store::{Named, NoLease};

/// Does what policy says of the log's level and of how much confinement is enough, in this order.
pub(crate) type Obey = Arc<dyn Fn(&str, &str) + Send + Sync>;

#[derive(Clone)]
struct Services(Arc<Keeper>, Obey);

/// What the broker answers on its edges.
pub(crate) fn router(keeper: Arc<Keeper>, obey: Obey) -> Router {
    let services = Services(keeper, obey);
    Router::new()
        .add(CredentialsServer::new(services.clone()))
        .add(JournalServer::new(services.clone()))
        .add(LeasesServer::new(services.clone()))
        .add(BrokerOperatorServer::new(services))
}

#[tonic::async_trait]
impl Credentials for Services {
    async fn load(
        &self,
        request: Request<v1::LoadRequest>,
    ) -> Result<Response<v1::LoadReply>, Status> {
        let v1::LoadRequest {
            revision,
            entries,
            audiences,
            log_level,
            sandbox_require,
        } = request.into_inner();
        (self.1)(&log_level, &sandbox_require);
        let count = entries.len();
        let problems = {
            let mut store = self.0.store();
            store.address(audiences);
            store.load(entries)
        };
        self.0.announce();
        info!(
            revision,
            secrets = count,
            problems = problems.len(),
            "took over the configuration's secrets"
        );
        Ok(Response::new(v1::LoadReply { problems }))
    }

    async fn has_names(
        &self,
        request: Request<v1::HasNamesRequest>,
    ) -> Result<Response<v1::HasNamesReply>, Status> {
        let set = self.0.store().set_names(request.into_inner().names);
        Ok(Response::new(v1::HasNamesReply { set }))
    }
}

#[tonic::async_trait]
impl Leases for Services {
    async fn lease(
        &self,
        request: Request<v1::LeaseRequest>,
    ) -> Result<Response<v1::LeaseReply>, Status> {
        let role = caller(&request)?;
        if self.0.store().needs_the_vault(&role) {
            self.0.open(Wish::Worker).await;
        }
        let leased = self.0.store().lease(&role);
        match leased {
            Ok(lease) => {
                let names: Vec<_> = lease
                    .secrets
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .collect();
                let journal = &self.0.journal;
                journal.note("lease", role.as_str(), &names.join(","), "");
                info!(client = %role, "leased a secret to its owner");
                let secret = |(profile, secret): Named| v1::LeasedSecret {
                    profile,
                    secret: secret.to_vec(),
                };
                let header = |(name, value): Named| v1::LeasedHeader {
                    name,
                    value: value.to_vec(),
                };
                Ok(Response::new(v1::LeaseReply {
                    secrets: lease.secrets.into_iter().map(secret).collect(),
                    version: lease.version,
                    headers: lease.headers.into_iter().map(header).collect(),
                    audience: lease.audience,
                }))
            }
            Err(NoLease::NotLoaded) => {
                Err(Status::unavailable("the configuration has not arrived yet"))
            }
            Err(NoLease::None(remedy)) => {
                self.0
                    .journal
                    .note("lease", role.as_str(), "", "lease.none");
                Err(Status::not_found(remedy))
            }
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::LeaseVersion, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::WatchLeaseRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let role = caller(&request)?;
        let mut changes = self.0.changes();
        changes.mark_changed();
        let start = (Arc::clone(&self.0), role, changes, None);
        let versions = unfold(start, async |(keeper, role, mut changes, last)| {
            loop {
                changes.changed().await.ok()?;
                let version = {
                    let store = keeper.store();
                    store.is_loaded().then(|| store.version(&role))
                };
                if let Some(version) = version.filter(|version| Some(*version) != last) {
                    let news = v1::LeaseVersion { version };
                    return Some((Ok(news), (keeper, role, changes, Some(version))));
                }
            }
        });
        Ok(Response::new(Box::pin(versions)))
    }
}

#[tonic::async_trait]
impl Journal for Services {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::JournalEvent, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::WatchJournalRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let after = self.0.journal.place(request.into_inner().after);
        let start = (Arc::clone(&self.0), after);
        let events = unfold(start, async |(keeper, after)| {
            let event = keeper.journal.next(after).await?;
            let number = event.number;
            Some((Ok(event), (keeper, number)))
        });
        Ok(Response::new(Box::pin(events)))
    }
}

#[tonic::async_trait]
impl BrokerOperator for Services {
    async fn list(
        &self,
        _: Request<v1::ListCredentialsRequest>,
    ) -> Result<Response<v1::ListCredentialsReply>, Status> {
        self.0.open(Wish::Person).await;
        let store = self.0.store();
        Ok(Response::new(v1::ListCredentialsReply {
            credentials: store.list(),
            vault: Some(store.vault.describe()),
        }))
    }

    async fn put(
        &self,
        request: Request<v1::PutCredentialRequest>,
    ) -> Result<Response<v1::PutCredentialReply>, Status> {
        let request = request.into_inner();
        let subject = named(&request.owner, &request.profile);
        let done = self.0.put(request).await;
        self.note("put", &subject, done.as_ref().err());
        done.map(Response::new).map_err(refusal)
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveCredentialRequest>,
    ) -> Result<Response<v1::RemoveCredentialReply>, Status> {
        let request = request.into_inner();
        let subject = named(&request.owner, &request.profile);
        let done = self.0.remove(request).await;
        self.note("remove", &subject, done.as_ref().err());
        done.map(Response::new).map_err(refusal)
    }
}

impl Services {
    /// What the operator did, or was refused.
    fn note(&self, what: &str, subject: &str, refused: Option<&Refused>) {
        let rule = match refused {
            None => "",
            Some(Refused::Request(_)) => "credential.invalid",
            Some(Refused::State(_)) => "credential.unavailable",
        };
        self.0.journal.note(what, "operator", subject, rule);
    }
}

/// A name that fits into a record. One that is none may be anything, even a secret that was typed in the wrong place.
fn named(owner: &str, profile: &str) -> String {
    let profile = match profile {
        "" => clawdbot_secrets::owner::DEFAULT_PROFILE,
        profile => profile,
    };
    match Role::parse(owner) {
        Ok(owner) if profile.len() <= 64 => format!("{owner}/{profile}"),
        _ => String::new(),
    }
}

fn refusal(refused: Refused) -> Status {
    match refused {
        Refused::Request(why) => Status::invalid_argument(why),
        Refused::State(why) => Status::failed_precondition(why),
    }
}

#[cfg(test)]
mod tests;
