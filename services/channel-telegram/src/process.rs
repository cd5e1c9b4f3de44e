//! How the worker begins: its own directory, then its edges.

use std::path::PathBuf;
use std::sync::Arc;

use clawdbot_http::Tls;
use clawdbot_identity::Role;
use clawdbot_proto::v1::{Snapshot, snapshot::Slice};
use clawdbot_service::{Context, ServeError, Start, StartError};

use crate::{Worker, through_dialer};

/// What the worker has from before its confinement.
pub struct Prepared {
    state: PathBuf,
}

/// Knows `STATE/channels/telegram`.
///
/// # Errors
/// When the profile does not name it.
pub fn prepare(start: &mut Start) -> Result<Prepared, StartError> {
    Ok(Prepared {
        state: start.state("channels/telegram")?,
    })
}

/// Receives and sends until the process should end.
///
/// # Errors
/// When the journal of sends cannot be opened.
pub async fn serve(prepared: Prepared, context: Context) -> Result<(), ServeError> {
    let worker = Worker {
        policy: context.edge(&Role::policy()),
        broker: context.edge(&Role::broker()),
        gateway: context.edge(&Role::gateway()),
        config: context.config(),
        connect: through_dialer(context.dialer()),
        tls: Tls::public().map_err(|error| error.to_string())?,
        state: prepared.state,
        pulses: context.pulses().clone(),
    };
    context.ready("waiting for the configuration");
    if context.is_managed() {
        tokio::spawn(end_without_account(context.clone()));
    }
    let shown = context.clone();
    let shutdown = context.shutdown();
    let stop = async move { shutdown.wait().await };
    worker.run(move |line| shown.status(line), stop).await
}

/// Where no supervisor ends a worker that the plan has no more, it ends itself. The service manager starts it again when
/// policy plans it again.
async fn end_without_account(context: Context) {
    let mut config = context.config();
    let empty = |snapshot: &Option<Arc<Snapshot>>| {
        let slice = snapshot.as_ref().and_then(|known| known.slice.as_ref());
        matches!(slice, Some(Slice::Channel(channel)) if channel.accounts.is_empty())
    };
    if config.wait_for(empty).await.is_ok() {
        context.finish("the configuration has no Telegram account");
    }
}
