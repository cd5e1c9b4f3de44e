//! How a model worker begins. One program serves every provider; the instance name says which, and policy's slice says where
//! it is and how it is spoken to. `builtin` is the provider that needs nothing of all that.

use std::sync::Arc;

use clawdbot_http::Tls;
use clawdbot_identity::{InstanceName, Role};
use clawdbot_proto::v1::model_server::ModelServer;
use clawdbot_service::{Context, Router, ServeError, Start, StartError};

use crate::builtin::Builtin;
use crate::idle::{Counted, Idle};
use crate::transport::{self, Patience, Transport};
use crate::worker::{Shared, Worker, configure};
use crate::{lease, live};

const BUILTIN: &str = "builtin";

/// What the worker has from before its confinement.
pub struct Prepared(Option<Remote>);

struct Remote {
    provider: String,
    /// Made early: the cryptography library looks at the machine when it is used first.
    tls: Tls,
}

/// Checks that the process has a provider's name, and makes TLS ready.
///
/// # Errors
/// Exit status 78 when the process is started as something else, or has no working TLS.
pub fn prepare(start: &mut Start) -> Result<Prepared, StartError> {
    let Some(name) = start.role().name() else {
        return Err(StartError::config(
            "start this program with the name of a model provider, for example builtin",
        ));
    };
    remote(&name).map(Prepared)
}

fn remote(name: &InstanceName) -> Result<Option<Remote>, StartError> {
    if name.as_str() == BUILTIN {
        return Ok(None);
    }
    let tls = Tls::public().map_err(|error| StartError::config(format!("TLS: {error}")))?;
    Ok(Some(Remote {
        provider: name.to_string(),
        tls,
    }))
}

/// Answers agents until the process should end.
///
/// # Errors
/// None of its own.
pub async fn serve(prepared: Prepared, context: Context) -> Result<(), ServeError> {
    let policy = context.edge(&Role::policy());
    let Some(Remote { provider, tls }) = prepared.0 else {
        let idle = ends_when_idle(&context, || true);
        let worker = Builtin::new(policy);
        context.ready("builtin/guide");
        let counted = Counted { worker, idle };
        return context
            .serve(Router::new().add(ModelServer::new(counted)))
            .await;
    };
    let transport = Transport::new(
        transport::dialer(context.dialer()),
        tls,
        Patience::default(),
    );
    let settings = configure(context.config(), transport.clone());
    let leases = lease::follow(context.edge(&Role::broker()));
    let shared = Shared::new(provider.clone(), settings, leases, transport);
    context.ready(&provider);
    let status = context.clone();
    let told = move |problem: Option<String>| match problem {
        Some(problem) => status.status(&format!("{provider}: {problem}")),
        None => status.status(&provider),
    };
    tokio::spawn(shared.health.clone().report(policy.clone(), told));
    tokio::spawn(live::run(Arc::clone(&shared)));
    // Who has said that something is wrong stays to say when it is over.
    let health = shared.health.clone();
    let idle = ends_when_idle(&context, move || health.line().is_none());
    let worker = Worker::new(policy, shared);
    let counted = Counted { worker, idle };
    context
        .serve(Router::new().add(ModelServer::new(counted)))
        .await
}

/// Where the service manager starts the process anew for the next request, it ends when nobody has asked for a while.
fn ends_when_idle(context: &Context, may_end: impl Fn() -> bool + Send + 'static) -> Idle {
    let idle = Idle::new();
    if context.is_managed() {
        let (idle, context) = (idle.clone(), context.clone());
        tokio::spawn(async move {
            idle.outlasted(may_end).await;
            context.finish("nobody has asked for a while; the next request starts it again");
        });
    }
    idle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_gets_a_worker_and_builtin_needs_no_network() {
        let of = |name| remote(&InstanceName::parse(name).unwrap()).unwrap();
        assert!(of("builtin").is_none());
        for name in ["anthropic", "openai", "ollama", "my-llm"] {
            assert_eq!(of(name).unwrap().provider, name);
        }
    }
}
