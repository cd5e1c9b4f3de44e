//! The start order, the same for every process:
//!
//! 1. name the inherited descriptors, close the rest, connect the notify socket and the journal
//! 2. check identity, capabilities and environment
//! 3. make the profile's directories, open files (`prepare`)
//! 4. an empty network of its own, limits, not dumpable, no new privileges
//! 5. landlock
//! 6. seccomp
//! 7. self-test: what must be forbidden is tried
//! 8. start the runtime
//! 9. READY, with the measured confinement in the status line
//!
//! Steps 1 to 7 run in one thread, before the runtime exists.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clawdbot_confine::measure::Confinement;
use clawdbot_confine::{process, profile, signals};
use clawdbot_proto::edges::EDGES;
use rustix::fs::{AtFlags, unlinkat};
use tracing::{error, info, warn};

use crate::error::EXIT_CONFIG;
use crate::inherit::{self, Way};
use crate::journal::{self, Journal};
use crate::{Context, ServeError, Start, StartError, log, shortfall};

/// How long work that is left may go on after `serve` has returned.
const LAST_WORK: Duration = Duration::from_millis(500);

/// How long a refused start lasts where a service manager starts the process for whoever connects: no caller can have it
/// started more often.
const REFUSAL: Duration = Duration::from_secs(3);

/// The whole life of a process; `main` does nothing else. `program` is its name without `clawdbot-`
/// and the name of its confinement profile.
pub fn run<P, S, F>(
    program: &'static str,
    prepare: fn(&mut Start) -> Result<P, StartError>,
    serve: S,
) -> ExitCode
where
    S: FnOnce(P, Context) -> F,
    F: Future<Output = Result<(), ServeError>>,
{
    // Its start takes the variable away.
    let managed = std::env::var_os("NOTIFY_SOCKET").is_some();
    let code = match start(program, prepare) {
        Ok(started) => live(started, serve),
        Err(error) => {
            log::start(program);
            log::last_words();
            error!("{error}");
            error.code()
        }
    };
    if managed && code == EXIT_CONFIG {
        std::thread::sleep(REFUSAL);
    }
    ExitCode::from(code)
}

/// A confined process that has not begun its work.
struct Started<P> {
    prepared: P,
    start: Start,
    confinement: Confinement,
    /// Where a service manager says that the process should end.
    termination: Option<OwnedFd>,
    tidy: Option<Tidy>,
}

/// In one process of single-user mode: removes the operator's sockets at the end, since a supervisor
/// that was killed cannot, and holds the lock of the state directory until that is done.
struct Tidy {
    run: OwnedFd,
    orphaned: Arc<AtomicBool>,
    _lock: Option<OwnedFd>,
}

impl Tidy {
    fn take(start: &mut Start) -> Option<Self> {
        let run = start.take_file("run")?;
        Some(Self {
            run,
            orphaned: Arc::clone(&start.inherited.orphaned),
            _lock: start.take_file("lock"),
        })
    }
}

impl Drop for Tidy {
    fn drop(&mut self) {
        // While the supervisor lives, it needs them for the next start of this process.
        if !self.orphaned.load(Ordering::Relaxed) {
            return;
        }
        for edge in EDGES.iter().filter(|edge| edge.client == "operator") {
            // The supervisor may have done it already.
            let _gone = unlinkat(&self.run, format!("{}.sock", edge.server), AtFlags::empty());
        }
    }
}

fn start<P>(
    program: &'static str,
    prepare: fn(&mut Start) -> Result<P, StartError>,
) -> Result<Started<P>, StartError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let journal = journal::address();
    let inherited = inherit::take(inherit::own_role(program, &arguments)?)?;
    log::start(inherited.role.as_str());
    log::set_level(&inherited.setup.log_level);
    let managed = matches!(inherited.way, Way::Sockets { .. });
    if let Some(path) = journal.filter(|_| managed) {
        match Journal::connect(&path) {
            Ok(journal) => log::to_journal(journal),
            Err(error) => {
                warn!(%error, path = %path.display(), "the journal cannot be reached; lines go to the error stream");
            }
        }
    }

    process::assert_identity().map_err(|e| StartError::config(e.to_string()))?;
    let profile = profile(program)
        .ok_or_else(|| StartError::config(format!("there is no confinement profile {program}")))?;
    let mut start = Start::new(inherited, profile);
    let tidy = Tidy::take(&mut start);
    let outcome = start
        .make_directories()
        .and_then(|()| prepare(&mut start))
        .and_then(|prepared| {
            let termination = managed.then(signals::termination).transpose();
            let termination = termination.map_err(|error| StartError::io("signals", &error))?;
            Ok((prepared, termination, confine(&start)?))
        });
    match outcome {
        Ok((prepared, termination, confinement)) => Ok(Started {
            prepared,
            start,
            confinement,
            termination,
            tidy,
        }),
        Err(error) => {
            start.inherited.notifier.status(&error.to_string());
            Err(error)
        }
    }
}

fn confine(start: &Start) -> Result<Confinement, StartError> {
    let rules = start.rules()?;
    let confinement = clawdbot_confine::confine(start.profile, start.mode, &rules)
        .map_err(StartError::confinement)?;
    if start.setup().sandbox_require == "full" && !confinement.is_full() {
        let (message, remedy) = shortfall(start.role().as_str(), &confinement.to_line());
        return Err(StartError::config(format!("{message}; {remedy}")));
    }
    Ok(confinement)
}

/// The exit status.
fn live<P, S, F>(started: Started<P>, serve: S) -> u8
where
    S: FnOnce(P, Context) -> F,
    F: Future<Output = Result<(), ServeError>>,
{
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "the runtime did not start");
            return 1;
        }
    };
    let Started {
        prepared,
        start,
        confinement,
        termination,
        tidy,
    } = started;
    let notifier = start.inherited.notifier.clone();
    let outcome = runtime.block_on(async {
        let context = Context::new(start.inherited, &confinement, termination)?;
        info!(confinement = %confinement.to_line(), "confined");
        let own = context.clone();
        let served = tokio::select! {
            served = serve(prepared, context) => served,
            () = own.out_of_patience() => {
                warn!("what was under way has not ended in time and is left as it is");
                Ok(())
            }
        };
        served.map(|()| {
            own.refusal()
                .map(|refusal| (refusal.to_string(), refusal.code()))
        })
    });
    if let Err(error) = &outcome {
        notifier.status(&error.to_string());
    }
    notifier.stopping();
    runtime.shutdown_timeout(LAST_WORK);
    drop(tidy);
    log::last_words();
    match outcome {
        Ok(None) => 0,
        Ok(Some((why, code))) => {
            error!("{why}");
            code
        }
        Err(error) => {
            error!("{error}");
            error.code()
        }
    }
}
