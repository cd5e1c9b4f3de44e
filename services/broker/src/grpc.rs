//! The services of broker.proto. Who asks is the edge that the call came in on.
//!
//! A literal on its way in and a lease on its way out lie for a moment in buffers of the codec and the socket, which are
//! not wiped; everything that is kept is in locked memory. Descriptors in place of bytes would close that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdbot_proto::v1;
use clawdbot_proto::v1::broker_operator_server::{BrokerOperator, BrokerOperatorServer};
use clawdbot_proto::v1::credentials_server::{Credentials, CredentialsServer};
use clawdbot_proto::v1::leases_server::{Leases, LeasesServer};
use clawdbot_service::{Router, caller};
use tonic::{Request, Response, Status};
use tracing::info;

use crate::store::{NoLease, Store};

#[derive(Clone)]
struct Services(Arc<Mutex<Store>>);

/// What the broker answers on its edges.
pub(crate) fn router(store: Store) -> Router {
    let services = Services(Arc::new(Mutex::new(store)));
    Router::new()
        .add(CredentialsServer::new(services.clone()))
        .add(LeasesServer::new(services.clone()))
        .add(BrokerOperatorServer::new(services))
}

impl Services {
    fn store(&self) -> MutexGuard<'_, Store> {
        // A panic ends the process, so a poisoned lock is never seen.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl Credentials for Services {
    async fn load(
        &self,
        request: Request<v1::LoadRequest>,
    ) -> Result<Response<v1::LoadReply>, Status> {
        let v1::LoadRequest { revision, entries } = request.into_inner();
        let count = entries.len();
        let problems = self.store().load(entries);
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
        let set = self.store().set_names(request.into_inner().names);
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
        let store = self.store();
        match store.lease(&role) {
            Ok(lease) => {
                info!(client = %role, "leased a secret to its owner");
                Ok(Response::new(v1::LeaseReply {
                    secret: lease.secret.expose(<[u8]>::to_vec),
                    version: lease.version,
                }))
            }
            Err(NoLease::NotLoaded) => {
                Err(Status::unavailable("the configuration has not arrived yet"))
            }
            Err(NoLease::None(remedy)) => Err(Status::not_found(remedy)),
        }
    }
}

#[tonic::async_trait]
impl BrokerOperator for Services {
    async fn list(
        &self,
        _: Request<v1::ListCredentialsRequest>,
    ) -> Result<Response<v1::ListCredentialsReply>, Status> {
        Ok(Response::new(v1::ListCredentialsReply {
            credentials: self.store().list(),
        }))
    }
}

#[cfg(test)]
mod tests;
