//! The services of policy.proto and config.proto: parse what came in, ask the rules, word the answer.
//! Bytes that break a grammar and unknown enum values are INVALID_ARGUMENT; a refusal is an answer.

mod access;
mod approvals;
mod audit;
mod calls;
mod channels;
mod config;
mod explain;
mod file;
mod health;
mod ledger;
mod notices;
mod offers;
mod operator;
mod pairing;
mod sessions;
mod standing;

use std::sync::Arc;

use clawdbot_identity::{Class, IdError};
use clawdbot_proto::v1;
use clawdbot_service::Router;
use tonic::Status;

use crate::denied::Denied;
use crate::handle::{Grant, Trace};
use crate::policy::Policy;

/// All services over one state.
#[derive(Clone)]
pub(crate) struct Services(Arc<Policy>);

/// What policy answers on its edges.
pub(crate) fn router(policy: Arc<Policy>) -> Router {
    let services = Services(policy);
    Router::new()
        .add(v1::audit_operator_server::AuditOperatorServer::new(
            services.clone(),
        ))
        .add(v1::access_server::AccessServer::new(services.clone()))
        .add(v1::channels_server::ChannelsServer::new(services.clone()))
        .add(v1::health_server::HealthServer::new(services.clone()))
        .add(v1::problems_server::ProblemsServer::new(services.clone()))
        .add(v1::approvals_operator_server::ApprovalsOperatorServer::new(
            services.clone(),
        ))
        .add(v1::notices_server::NoticesServer::new(services.clone()))
        .add(v1::sessions_server::SessionsServer::new(services.clone()))
        .add(v1::tools_server::ToolsServer::new(services.clone()))
        .add(v1::calls_server::CallsServer::new(services.clone()))
        .add(v1::spending_server::SpendingServer::new(services.clone()))
        .add(v1::policy_operator_server::PolicyOperatorServer::new(
            services.clone(),
        ))
        .add(v1::ledger_server::LedgerServer::new(services.clone()))
        .add(v1::offers_server::OffersServer::new(services.clone()))
        .add(v1::explain_operator_server::ExplainOperatorServer::new(
            services.clone(),
        ))
        .add(v1::config_server::ConfigServer::new(services))
}

impl Services {
    /// Whether a text can be a command.
    fn has_commands(&self) -> bool {
        self.0
            .current()
            .is_ok_and(|current| current.settings.commands)
    }
}

/// Rules that refuse for want of a decision.
const UNDECIDED: &[&str] = &[
    "config.none",
    "channel.unsettled",
    "audit.unavailable",
    "taint.unavailable",
];

/// Nobody has judged this: whoever holds an accepted message asks again.
fn undecided(denied: Denied) -> Status {
    Status::unavailable(format!("{}: {}", denied.rule, denied.message))
}

fn invalid(error: IdError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// The class that a server saw on its own edge.
fn class(value: i32) -> Result<Class, Status> {
    match v1::Class::try_from(value) {
        Ok(v1::Class::Main) => Ok(Class::Main),
        Ok(v1::Class::Guest) => Ok(Class::Guest),
        Ok(v1::Class::Unspecified) | Err(_) => {
            Err(Status::invalid_argument("the class must be main or guest"))
        }
    }
}

fn wire_class(class: Class) -> v1::Class {
    match class {
        Class::Main => v1::Class::Main,
        Class::Guest => v1::Class::Guest,
    }
}

fn wire_session(grant: &Grant) -> v1::Session {
    v1::Session {
        session_key: grant.session.to_string(),
        agent_id: grant.session.agent().to_string(),
        class: wire_class(grant.class).into(),
        standing: grant.standing.to_string(),
        means: None,
        trace: grant.trace.to_string(),
        offers: 0,
    }
}

/// The session key of a permitted grant, for the record.
fn key_of(grant: &Result<Grant, Denied>) -> String {
    grant
        .as_ref()
        .map(|grant| grant.session.to_string())
        .unwrap_or_default()
}

/// What a permitted grant's message has in common with all that comes of it.
fn trace_of(grant: &Result<Grant, Denied>) -> Trace {
    grant.as_ref().map(|grant| grant.trace).unwrap_or_default()
}

#[cfg(test)]
mod tests;
