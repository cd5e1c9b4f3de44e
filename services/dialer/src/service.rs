//! The dialer as a process: which files it may read, and the edges that it answers on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_proto::v1::DialerRequest;
use clawdbot_proto::v1::dialer_request::Request;
use clawdbot_service::{Context, ServeError, Start, StartError};

use crate::dialer::{Dialer, Limits};
use crate::resolv::{DNS_PORT, Resolver, Timing};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// Longer than any dial takes: each wait in it has its own limit.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is opened before the confinement.
#[derive(Debug)]
pub struct Prepared {
    resolver: Resolver,
}

/// Reads the two system files for the first time.
///
/// # Errors
/// None; a file that is missing is none to read.
pub fn prepare(_: &mut Start) -> Result<Prepared, StartError> {
    let resolver = Resolver::new(
        Path::new(RESOLV_CONF),
        Path::new(HOSTS),
        DNS_PORT,
        Timing::DEFAULT,
    );
    Ok(Prepared { resolver })
}

/// Answers on all edges until the process should end.
///
/// # Errors
/// When a system file was replaced and only a new start can read it.
pub async fn serve(prepared: Prepared, ctx: Context) -> Result<(), ServeError> {
    let dialer = Arc::new(Dialer::new(prepared.resolver, Limits::DEFAULT));
    let (answering, own) = (Arc::clone(&dialer), ctx.clone());
    let pulse = ctx.pulse("dial", PATIENCE);
    let served = ctx.serve_frames(move |role, request: DialerRequest| {
        let (dialer, own) = (Arc::clone(&answering), own.clone());
        let (orders, under_way) = match &request.request {
            Some(Request::Destinations(push)) if role == Role::policy() => {
                let orders = (push.log_level.clone(), push.sandbox_require.clone());
                (Some(orders), None)
            }
            Some(Request::Dial(_)) => (None, Some(pulse.work())),
            _ => (None, None),
        };
        async move {
            let reply = dialer.answer(&role, request).await;
            drop(under_way);
            if let Some((log_level, sandbox_require)) = orders {
                own.obey(&log_level, &sandbox_require);
            }
            reply
        }
    });
    ctx.ready("no list yet");
    tokio::select! {
        served = served => served,
        () = dialer.outdated() => Err(ServeError::from(
            "resolv.conf or hosts was replaced; starting again to read the new one",
        )),
    }
}
