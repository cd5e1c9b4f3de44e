//! How the executor begins: it opens nothing and holds nothing.

use clawdbot_identity::Role;
use clawdbot_proto::v1::executor_server::ExecutorServer;
use clawdbot_service::{Context, Router, ServeError, Start, StartError};

use crate::service::Executor;

/// What the executor has from before its confinement: nothing.
pub struct Prepared(());

/// Needs nothing.
///
/// # Errors
/// None.
pub fn prepare(_: &mut Start) -> Result<Prepared, StartError> {
    Ok(Prepared(()))
}

/// Answers agents until the process should end.
///
/// # Errors
/// None of its own.
pub async fn serve(_: Prepared, context: Context) -> Result<(), ServeError> {
    let executor = Executor::new(context.edge(&Role::policy()), context.config());
    context.ready("session_status");
    context
        .serve(Router::new().add(ExecutorServer::new(executor)))
        .await
}
