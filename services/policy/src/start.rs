//! The life of the process: what it opens before its confinement, and what it does afterwards.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clawdbot_confine::profile;
use clawdbot_identity::Role;
use clawdbot_secrets::Secret;
use clawdbot_service::{Context, ServeError, Start, StartError};
use tracing::warn;
use zeroize::Zeroizing;

use crate::audit::{Limits, Log};
use crate::budget::Budgets;
use crate::config_file::ConfigFile;
use crate::credential::StartCredentials;
use crate::file_watch::FileWatch;
use crate::keep::{Keep, KeepError};
use crate::pairing::Store;
use crate::plan_files::PlanFiles;
use crate::policy::{Parts, Policy, random, unix_ms};
use crate::provenance::Provenance;
use crate::record::Decision;
use crate::reload::{self, Before};
use crate::slices::Place;
use crate::{grpc, journal, push};

/// Longest token or password that is taken from the environment, bytes.
const MAX_START_SECRET: usize = 4096;

/// How long the audit log may take to become safe: a slow disk is waited for, one that answers no more is not.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked for refusals whose count is due.
const COUNTS: Duration = Duration::from_secs(10);

/// What the process opened before its confinement.
pub struct Prepared {
    policy: Policy,
    watch: FileWatch,
}

/// Opens STATE/pairing and STATE/audit, takes the gateway's credentials of the start environment and watches the folder
/// of the configuration.
///
/// # Errors
/// When a folder or file cannot be used as it is.
pub fn prepare(start: &mut Start) -> Result<Prepared, StartError> {
    let pairing = start.state("pairing")?;
    let audit = start.state("audit")?;
    let setup = start.setup();
    let config_path = PathBuf::from(&setup.config_path);
    let plan = start.places(profile::Place::Plan);
    let managed = !plan.is_empty();
    let place = Place {
        managed,
        port: u16::try_from(setup.port).unwrap_or(0),
        home: setup.home_dir.clone(),
    };
    let watch = FileWatch::new(&config_path).map_err(|error| {
        StartError::io(
            &format!("cannot watch the folder of {}", config_path.display()),
            &error,
        )
    })?;
    let people = Store::open(Keep::new(pairing.clone()));
    let budgets = Budgets::open(Keep::new(pairing.clone()));
    let keep = Keep::new(pairing);
    let fresh = !keep.has_master_key();
    let master = keep.master_key(random).map_err(|error| match error {
        KeepError::Io { path, error } => StartError::io(&path, &error),
        broken @ KeepError::Broken { .. } => StartError::config(broken.to_string()),
    })?;
    let provenance = Provenance::open(&keep, fresh)
        .map_err(|error| StartError::io("cannot open what sessions have read", &error))?;
    let audit = Log::open(&audit, Limits::DEFAULT, random, unix_ms()).map_err(|error| {
        let folder = audit.display();
        StartError::io(
            &format!("cannot open the audit log in {folder}, whose files must be this user's"),
            &error,
        )
    })?;
    let credentials = StartCredentials {
        token: start_secret(start, "gateway-token", "CLAWDBOT_GATEWAY_TOKEN")?,
        password: start_secret(start, "gateway-password", "CLAWDBOT_GATEWAY_PASSWORD")?,
    };
    if managed {
        // Everybody reads what is written there. All other files are made with the mode that they keep.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    }
    let config = ConfigFile::new(config_path, start.take_file("config").map(File::from));
    let policy = Policy::new(Parts {
        place,
        config,
        keep,
        master,
        start: credentials,
        audit,
        people,
        provenance,
        budgets,
        plan: PlanFiles::new(plan),
    });
    Ok(Prepared { policy, watch })
}

fn start_secret(start: &mut Start, file: &str, name: &str) -> Result<Option<Secret>, StartError> {
    let Some(descriptor) = start.take_file(file) else {
        return Ok(None);
    };
    let bytes = read_all(descriptor)
        .map_err(|error| StartError::io(&format!("cannot take {name}"), &error))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.len() > MAX_START_SECRET {
        return Err(StartError::config(format!(
            "{name} is longer than {MAX_START_SECRET} bytes; set a shorter one"
        )));
    }
    let secret =
        Secret::new(bytes).map_err(|error| StartError::io("no memory for a secret", &error))?;
    Ok(Some(secret))
}

/// The whole file from its beginning, wherever its writer left the position. One byte more than permitted tells too much.
fn read_all(descriptor: OwnedFd) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::from(descriptor);
    let mut bytes = Zeroizing::new(vec![0; MAX_START_SECRET + 1]);
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Loads the configuration, then decides until the process should end.
///
/// # Errors
/// When the file watch or the edges cannot be run.
pub async fn serve(prepared: Prepared, ctx: Context) -> Result<(), ServeError> {
    let Prepared { policy, watch } = prepared;
    let policy = Arc::new(policy);
    policy.note(&Decision {
        request: "start",
        subject: env!("CARGO_PKG_VERSION"),
        ..Decision::default()
    });
    let watch = match watch.watching {
        true => Some(watch.run()?),
        false => {
            warn!(path = %policy.config.path().display(), "the folder of the configuration does not exist; a file in it is seen with the next start");
            None
        }
    };
    let broker = ctx.edge(&Role::broker());
    let dialer = ctx.dialer();
    policy.config.ask(ctx.clone());
    let before = Before::now(&policy, &broker);
    // Decisions wait for the first load: denying an accepted message for a race at the start would lose it.
    let outcome = reload::load(&policy, &broker).await;
    ctx.ready(&policy.status_line());
    let said = || ctx.status(&policy.status_line());
    policy.watch_disk(ctx.pulse("audit log", PATIENCE));
    let result = tokio::select! {
        never = obey(&policy, &ctx) => match never {},
        result = ctx.serve(grpc::router(Arc::clone(&policy))) => result,
        never = reload::follow(&policy, &broker, watch, before, outcome, said) => match never {},
        never = keep_counts(&policy) => match never {},
        never = push::keep("broker", policy.in_force(), broker.generation(),
            async |current| push::to_broker(&broker, current).await) => match never {},
        never = push::keep("dialer", policy.in_force(), dialer.generation(),
            async |current| push::to_dialer(&dialer, current).await) => match never {},
        never = journal::follow_broker(&policy, &broker) => match never {},
        never = journal::follow_dialer(&policy, &dialer) => match never {},
    };
    policy.budgets.end();
    policy.end_record();
    result
}

/// Does itself what the configuration says of the log and of confinement.
async fn obey(policy: &Policy, ctx: &Context) -> Infallible {
    let mut in_force = policy.in_force();
    loop {
        if let Some(current) = in_force.borrow_and_update().clone() {
            ctx.obey(current.settings.log_level, current.settings.sandbox_require);
        }
        // The sender lives as long as the policy.
        if in_force.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Decisions write down what was counted before them; this is for when none comes. Requests that nobody answered
/// end here, and what is new in the audit log is sealed.
async fn keep_counts(policy: &Policy) -> Infallible {
    let mut times = tokio::time::interval(COUNTS);
    loop {
        times.tick().await;
        policy.write_counts();
        policy.seal_record();
        policy.renew_plan();
        policy.renew_problems();
        policy.budgets.save().await;
    }
}
