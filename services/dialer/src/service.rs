//! The dialer as a process: which files it may read, and the edges that it answers on.

use std::path::Path;
use std::sync::Arc;

use clawdbot_proto::v1::DialerRequest;
use clawdbot_service::{Context, ServeError, Start, StartError};

use crate::dialer::{Dialer, Limits};
use crate::resolv::{DNS_PORT, Resolver, Timing};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

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
    let answering = Arc::clone(&dialer);
    let served = ctx.serve_frames(move |role, request: DialerRequest| {
        let dialer = Arc::clone(&answering);
        async move { dialer.answer(&role, request).await }
    });
    ctx.ready("no list yet");
    tokio::select! {
        served = served => served,
        () = dialer.outdated() => Err(ServeError::from(
            "resolv.conf or hosts was replaced; starting again to read the new one",
        )),
    }
}
