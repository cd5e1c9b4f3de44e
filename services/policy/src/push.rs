//! Brings what the configuration says to those who hold nothing on disk: secrets to the broker, destinations to the
//! dialer. Both start empty, so each gets everything again after every start of its own and after every change.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use clawdbot_proto::v1::credentials_client::CredentialsClient;
use clawdbot_proto::v1::{
    self, DialerReply, DialerRequest, LoadRequest, Reference, SecretEntry, dialer_reply,
    dialer_request, secret_entry,
};
use clawdbot_service::{Edge, FrameClient};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::policy::{HeldSecret, HeldValue, InForce};
use crate::{audience, destinations};

/// Pauses between tries that failed; the last one repeats.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// Keeps a receiver up to date, for ever. `started` changes whenever it was started anew.
pub(crate) async fn keep(
    receiver: &str,
    mut in_force: watch::Receiver<Option<Arc<InForce>>>,
    mut started: watch::Receiver<u64>,
    push: impl AsyncFn(&InForce) -> Result<(), String>,
) -> Infallible {
    let mut failures = 0;
    loop {
        started.borrow_and_update();
        let current = in_force.borrow_and_update().clone();
        let pause = match &current {
            None => None,
            Some(current) => match push(current).await {
                Ok(()) => {
                    debug!(receiver, revision = current.revision, "brought up to date");
                    failures = 0;
                    None
                }
                Err(error) => {
                    if failures == 0 {
                        warn!(
                            receiver,
                            error, "could not be brought up to date; trying again"
                        );
                    }
                    let pause = PAUSES[failures.min(PAUSES.len() - 1)];
                    failures += 1;
                    Some(pause)
                }
            },
        };
        let again = async {
            match pause {
                Some(pause) => sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        // Both senders live as long as the process; were one gone, the other would still be followed.
        tokio::select! {
            Ok(()) = in_force.changed() => {}
            Ok(()) = started.changed() => {}
            () = again => {}
        }
    }
}

/// Brings the secrets to the broker.
pub(crate) async fn to_broker(broker: &Edge, current: &InForce) -> Result<(), String> {
    // The connection's buffers keep a copy of the literals until it ends; see docs of the broker's edge.
    let request = LoadRequest {
        revision: current.revision,
        entries: current.secrets.iter().map(entry).collect(),
        audiences: audience::all(&current.settings),
        log_level: current.settings.log_level.to_owned(),
        sandbox_require: current.settings.sandbox_require.to_owned(),
    };
    let reply = CredentialsClient::new(broker.clone()).load(request).await;
    let problems = reply
        .map_err(|status| status.message().to_owned())?
        .into_inner()
        .problems;
    for v1::SecretProblem {
        config_path,
        message,
    } in problems
    {
        warn!(
            setting = config_path,
            problem = message,
            "a secret of the configuration cannot be used"
        );
    }
    Ok(())
}

fn entry(secret: &HeldSecret) -> SecretEntry {
    let source = match &secret.value {
        HeldValue::Literal(literal) => {
            secret_entry::Source::Literal(literal.expose(<[u8]>::to_vec))
        }
        HeldValue::Reference { source, id } => secret_entry::Source::Reference(Reference {
            source: (*source).to_owned(),
            id: id.clone(),
        }),
    };
    SecretEntry {
        config_path: secret.path.clone(),
        source: Some(source),
    }
}

/// Brings the destinations to the dialer.
pub(crate) async fn to_dialer(
    dialer: &FrameClient<DialerRequest, DialerReply>,
    current: &InForce,
) -> Result<(), String> {
    let destinations = v1::Destinations {
        revision: current.revision,
        roles: destinations::lists(&current.settings),
        log_level: current.settings.log_level.to_owned(),
        sandbox_require: current.settings.sandbox_require.to_owned(),
    };
    let request = DialerRequest {
        id: 0,
        request: Some(dialer_request::Request::Destinations(destinations)),
    };
    let (reply, _) = dialer
        .call(request)
        .await
        .map_err(|error| error.to_string())?;
    match reply.outcome {
        Some(dialer_reply::Outcome::Revision(revision)) if revision == current.revision => Ok(()),
        Some(dialer_reply::Outcome::Refused(refused)) => Err(refused.message),
        _ => Err("it answered something else than the revision".to_owned()),
    }
}

#[cfg(test)]
mod tests;
