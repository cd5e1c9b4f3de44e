//! The plan is read before the confinement, the attempts are made after the service's own start.

use std::future::poll_fn;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock};

use clawdbot_attempts::Plan;
use clawdbot_proto::v1::{Dial, DialerRequest, dialer_request};
use clawdbot_service::{Context, ServeError, Start, StartError};

use crate::serial;

/// Name of the descriptor that is handed over for attempts.
const HANDED: &str = "probe";

static PLAN: OnceLock<Plan> = OnceLock::new();
/// The descriptor of this name; it stays open.
static KEPT: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// One service: its name, and its own start.
macro_rules! services {
    ($name:expr; $($service:literal => $library:ident,)*) => {
        match $name {
            $($service => clawdbot_service::run(
                $service,
                |start| handed($library::prepare, start),
                |prepared, context| attack(prepared, context),
            ),)*
            "supervisor" => supervisor(),
            _ => ExitCode::FAILURE,
        }
    };
}

/// The whole life of the program.
pub fn main() -> ExitCode {
    let own = std::env::args().next().unwrap_or_default();
    let service = match own.split_once(' ') {
        None => own.trim_start_matches("clawdbot-"),
        Some((service, plan)) => {
            let plan = match plan {
                "-" => {
                    std::io::read_to_string(std::io::stdin()).and_then(|text| Plan::parse(&text))
                }
                path => Plan::read(Path::new(path)),
            };
            let Ok(plan) = plan else {
                return ExitCode::FAILURE;
            };
            let _once = PLAN.set(plan);
            service
        }
    };
    services! { service;
        "agent" => clawdbot_agent,
        "broker" => clawdbot_broker,
        "channel-telegram" => clawdbot_channel_telegram,
        "dialer" => clawdbot_dialer,
        "executor" => clawdbot_executor,
        "gateway" => clawdbot_gateway,
        "keyring" => clawdbot_keyring,
        "model" => clawdbot_model,
        "policy" => clawdbot_policy,
    }
}

/// The service's own preparation, after the descriptor for attempts has been taken.
fn handed<P>(
    prepare: fn(&mut Start) -> Result<P, StartError>,
    start: &mut Start,
) -> Result<P, StartError> {
    if let (Some(fd), Ok(mut kept)) = (start.take_file(HANDED), KEPT.lock()) {
        *kept = Some(fd);
    }
    if PLAN.get().is_none()
        && let Some(plan) = serial::next(start)?
    {
        let _once = PLAN.set(plan);
    }
    prepare(start)
}

/// What was prepared stays open, as it does while the service works.
async fn attack<P>(prepared: P, context: Context) -> Result<(), ServeError> {
    let Some(mut plan) = PLAN.get().cloned() else {
        return serial::idle(context).await;
    };
    context.ready("probe");
    plan.world.fd = match plan.world.facts.get("socket").map(String::as_str) {
        Some("from-dialer") => Some(dialled(&context).await?),
        Some("from-listener") => Some(accepted(&context).await?),
        _ => KEPT
            .lock()
            .ok()
            .and_then(|kept| kept.as_ref().map(|fd| fd.as_raw_fd()))
            .or(plan.world.fd),
    };
    plan.run();
    drop(prepared);
    Ok(())
}

/// A connection that the dialer made for this process.
async fn dialled(context: &Context) -> Result<RawFd, ServeError> {
    let dial = Dial {
        host: "probe.invalid".to_owned(),
        port: 443,
    };
    let request = DialerRequest {
        id: 0,
        request: Some(dialer_request::Request::Dial(dial)),
    };
    let (reply, sockets) = context
        .dialer()
        .call(request)
        .await
        .map_err(|e| e.to_string())?;
    let socket = sockets.into_iter().next();
    let socket = socket.ok_or_else(|| format!("the dialer handed over nothing: {reply:?}"))?;
    Ok(socket.into_raw_fd())
}

/// A connection that came in on the inherited listener.
async fn accepted(context: &Context) -> Result<RawFd, ServeError> {
    let mut listeners = context.listeners();
    let all = listeners
        .wait_for(|all| !all.is_empty())
        .await
        .map_err(|e| e.to_string())?;
    let listener = all.first().cloned().ok_or("no listener came")?;
    drop(all);
    let (stream, _) = poll_fn(|waiting| listener.socket.poll_accept(waiting)).await?;
    // Out of the event loop, which would not let anybody else have it.
    Ok(stream.into_std()?.into_raw_fd())
}

/// The supervisor's limits, by the same call that it makes itself.
fn supervisor() -> ExitCode {
    let Some(profile) = clawdbot_confine::profile("supervisor") else {
        return ExitCode::FAILURE;
    };
    let mode = clawdbot_confine::seccomp::Mode::Single;
    if clawdbot_confine::process::assert_identity().is_err()
        || clawdbot_confine::confine(profile, mode, &[]).is_err()
    {
        return ExitCode::FAILURE;
    }
    if let Some(plan) = PLAN.get() {
        plan.run();
    }
    ExitCode::SUCCESS
}
