//! Single-user mode, started by a supervisor in the place of a service: the plan lies in the state directory under the
//! role's name. This process stays what it is before the confinement, and each attempt is made by a copy of it that goes
//! through the service's own start: what is killed or changes itself spoils nothing for those behind it.

use std::io::{self, Write as _};
use std::os::fd::{IntoRawFd, RawFd};
use std::path::Path;

use clawdbot_attempts::{Ended, Needs, Plan, Side, all, apart};
use clawdbot_scene::{PLANS, hand};
use clawdbot_service::{Context, ServeError, Start, StartError};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

/// The helper is started for one request and ended after a few seconds: it is asked for until all its attempts are made,
/// however few of them a busy machine lets it make each time. More than that is no use.
const HELPERS: u32 = 200;

/// Returns once in every copy with what it is to try, and in the process itself when nothing is left. What is left
/// is kept in the file, for a process that takes this one's place.
pub(crate) fn next(start: &Start) -> Result<Option<Plan>, StartError> {
    let path = Path::new(&start.setup().state_dir)
        .join(PLANS)
        .join(start.role().as_str());
    let failed = |error| StartError::io(&path.display().to_string(), &error);
    let mut plan = match Plan::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        plan => plan.map_err(failed)?,
    };
    let parent = std::process::id().to_string();
    plan.world.facts.insert("parent".to_owned(), parent);
    while let Some(name) = plan.attempts.first().cloned() {
        match apart().map_err(failed)? {
            Side::New => {
                plan.attempts.truncate(1);
                plan.world.fd = descriptor(&plan).map_err(failed)?;
                return Ok(Some(plan));
            }
            Side::Old(Ended::Well) => {}
            Side::Old(Ended::Word(word)) => say(&format!("got {name} {word}\n")),
        }
        plan.attempts.remove(0);
        std::fs::write(&path, plan.to_text()).map_err(failed)?;
    }
    Ok(None)
}

/// The descriptor that the attempt is about. It stays open as long as the process lives, and so does its other end.
fn descriptor(plan: &Plan) -> io::Result<Option<RawFd>> {
    let name = plan.attempts.first();
    let attempt = name.and_then(|name| all().find(|attempt| attempt.name == name));
    let needs = attempt.map_or(Needs::Nothing, |attempt| attempt.needs);
    let handed = hand(needs, Path::new(plan.world.fact("canary")), false)?;
    Ok(handed.map(|handed| {
        let _stays_open = handed.peer.map(IntoRawFd::into_raw_fd);
        handed.fd.into_raw_fd()
    }))
}

/// One write for one line, so that no other writer gets into it.
fn say(line: &str) {
    // Nobody hears it: the doctor misses the line then.
    let _unheard = io::stderr().write_all(line.as_bytes());
}

/// There is nothing left to try: the process waits for its end. The broker has its helper started, which has a plan of
/// its own.
pub(crate) async fn idle(context: Context) -> Result<(), ServeError> {
    context.ready("probe");
    if context.role().as_str() == "broker" {
        let own = context.clone();
        // It ends with this process.
        tokio::spawn(async move { helpers(&own).await });
    }
    context.shutdown().wait().await;
    Ok(())
}

async fn helpers(context: &Context) -> io::Result<()> {
    for _ in 0..HELPERS {
        let helper = context.keyring().await?;
        helper.set_nonblocking(true)?;
        // Nothing is said: it has ended then.
        let _end = UnixStream::from_std(helper)?.read(&mut [0]).await;
    }
    Ok(())
}
