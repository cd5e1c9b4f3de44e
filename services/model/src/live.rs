//! Asks the provider something cheap after each new lease or address, so that a wrong key is known before somebody waits for
//! an answer. While the provider cannot be reached it is asked again, in growing pauses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clawdbot_http::Limits;
use http::Method;
use tokio::time::timeout;

use crate::exchange::{self, PATIENCE};
use crate::fault::{self, Fault, Kind, Place};
use crate::lease::{Fit, Held, Lease};
use crate::settings::Settings;
use crate::transport;
use crate::worker::Shared;

/// Pauses between questions to a provider that cannot be reached: first and longest.
const FIRST: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_secs(600);
/// Profiles that are asked for.
const PROFILES: usize = 8;
/// What a question may take. `clawdbot login` waits for it.
const LIMITS: Limits = Limits {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(5),
    total: Duration::from_secs(12),
    body: 8 << 20,
};

/// What follows a round.
enum Next {
    /// Nothing, until something changes.
    Nothing,
    /// The provider could not be reached: another.
    Again,
    /// The keys are meant for another address; those for this one should be on their way.
    Foreign(Arc<Settings>),
}

/// Asks for as long as the worker lives.
pub async fn run(shared: Arc<Shared>) {
    let (mut settings, mut leases) = (shared.settings.clone(), shared.leases.clone());
    let mut pause = FIRST;
    let mut known = None;
    loop {
        let now_settings = settings.borrow_and_update().clone();
        let held = leases.borrow_and_update().clone();
        let next = match (now_settings, held) {
            (Some(Ok(settings)), held) => round(&shared, &settings, &held, &mut known).await,
            (Some(Err(fault)), _) => {
                shared.unusable(&fault, &shared.place());
                Next::Nothing
            }
            (None, _) => Next::Nothing,
        };
        let again = async {
            match &next {
                Next::Nothing => {}
                Next::Again => return tokio::time::sleep(pause).await,
                Next::Foreign(settings) => {
                    tokio::time::sleep(PATIENCE).await;
                    shared.unusable(&exchange::foreign(), &settings.place(""));
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            changed = settings.changed() => if changed.is_err() { return } else { pause = FIRST },
            changed = leases.changed() => if changed.is_err() { return } else { pause = FIRST },
            () = again => pause = (pause * 2).min(LONGEST),
        }
    }
}

/// One round of questions. `known` is the lease that health knows of.
async fn round(
    shared: &Shared,
    settings: &Arc<Settings>,
    held: &Held,
    known: &mut Option<u64>,
) -> Next {
    let fit = held.fit(settings);
    let lease = match &fit {
        Fit::Unknown => return Next::Nothing,
        Fit::Foreign => return Next::Foreign(Arc::clone(settings)),
        Fit::Missing(_) => None,
        Fit::Use(lease) => lease.as_ref(),
    };
    let version = lease.map_or(0, |lease| lease.version);
    if known.replace(version) != Some(version) {
        shared.leased(version);
    }
    if let Fit::Missing(why) = &fit {
        let fault = Fault::new(Kind::NoKey, &**why);
        shared.unusable(&fault, &settings.place(""));
        return Next::Nothing;
    }
    let names = lease.map_or_else(|| vec![""], |lease| lease.names());
    let mut reached = true;
    for name in names.into_iter().take(PROFILES) {
        let login = lease.map(|lease| (&**lease, name));
        match ask(shared, settings, login).await {
            Ok(()) => shared.health.succeeded(name, None),
            Err(fault) => {
                let secrets = lease.map(|lease| lease.secrets()).unwrap_or_default();
                let profile = lease.filter(|lease| lease.names().len() > 1).map(|_| name);
                let place = Place {
                    profile,
                    ..settings.place("")
                };
                let said = fault::say(&fault, &place, &secrets);
                shared
                    .health
                    .failed(fault.kind, name, "", &said.message, true);
                reached &= fault.kind == Kind::Auth || fault.kind == Kind::Billing;
            }
        }
    }
    shared.health.checked();
    if reached { Next::Nothing } else { Next::Again }
}

async fn ask(
    shared: &Shared,
    settings: &Settings,
    login: Option<(&Lease, &str)>,
) -> Result<(), Fault> {
    let path = settings.api.check();
    let request = transport::request(settings, Method::GET, path, Bytes::new(), login)?;
    let answer = timeout(
        LIMITS.total,
        shared.transport.send(settings, request, &LIMITS),
    );
    let late = |_| Fault::passing(Kind::Timeout, "no answer to a simple question");
    let mut answer = answer.await.map_err(late)??;
    let status = answer.status().as_u16();
    let page = answer
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if answer.status().is_success() {
        if page {
            return Err(Fault::new(Kind::WebPage, format!("status {status}")));
        }
        // What the list says does not matter; read to its end it leaves a connection for the first request.
        let mut body = answer.into_body();
        if body.read_all(1 << 20).await.is_ok()
            && let Some(connection) = body.into_connection().await
        {
            shared.transport.pool().give(connection);
        }
        return Ok(());
    }
    let fault = crate::exchange::refusal(&mut answer).await;
    match fault.kind {
        // It answers. Not everybody lists models, and a busy provider has read the key.
        Kind::NoInterface | Kind::UnknownModel | Kind::Invalid | Kind::RateLimit => Ok(()),
        Kind::WebPage if status == 404 => Ok(()),
        _ => Err(fault),
    }
}
