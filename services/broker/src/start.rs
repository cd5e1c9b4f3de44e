//! The life of the process: the start environment goes into locked memory before anything else happens.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use clawdbot_confine::profile::Place;
use clawdbot_secrets::environment::MAX_BLOB;
use clawdbot_secrets::{Environment, EnvironmentError, EnvironmentFile};
use clawdbot_service::{Context, ServeError, Start, StartError};
use tracing::warn;
use zeroize::Zeroizing;

use crate::files::Folders;
use crate::grpc;
use crate::keeper::Keeper;
use crate::keyring::Helpers;
use crate::store::Store;
use crate::vault::{Provided, Vault};

/// How long one change of the vault may take, with a keyring that answers late and a slow disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the process opened before its confinement.
pub struct Prepared {
    store: Store,
    provided: Provided,
    /// Lines of the environment's file that were passed over.
    skipped: usize,
}

/// Opens STATE/credentials, where the vault lies, and takes the start environment; secrets in files are only read. The
/// vault's key is not asked for before somebody needs it, but where the service manager gives it.
///
/// # Errors
/// When a folder cannot be used as it is, or the environment is too large.
pub fn prepare(start: &mut Start) -> Result<Prepared, StartError> {
    let secrets = start.place(Place::Secrets);
    let blob = start.take_file("environment").map(read_all).transpose();
    let blob = blob.map_err(|error| StartError::io("cannot take the start environment", &error))?;
    let failed = |error| match error {
        error @ EnvironmentError::TooLarge(_) => StartError::config(error.to_string()),
        EnvironmentError::Memory(error) => {
            StartError::io("no memory for the start environment", &error)
        }
    };
    let blob = blob.unwrap_or_default();
    let mut skipped = 0;
    let environment = match secrets {
        None => Environment::parse(blob, Store::wants),
        Some(_) if blob.len() > MAX_BLOB => Err(EnvironmentError::TooLarge(blob.len())),
        Some(_) => {
            let file = EnvironmentFile::parse(&blob);
            skipped = tell(&file);
            Environment::of_file(&file, Store::wants)
        }
    };
    let environment = environment.map_err(failed)?;
    let (folders, provided) = match secrets {
        None => (start.state("secrets")?.into(), Provided::Nobody),
        Some(secrets) => (
            Folders::of_system(secrets, start.place(Place::Credentials)),
            Provided::of(start.take_file("vault-key").map(read_all)),
        ),
    };
    let vault = Vault::load(&start.state("credentials")?);
    Ok(Prepared {
        store: Store::new(environment, folders, vault),
        provided,
        skipped,
    })
}

/// What is wrong with the file, never what it says.
fn tell(file: &EnvironmentFile) -> usize {
    for skipped in &file.skipped {
        warn!(
            line = skipped.line,
            problem = %skipped.rule,
            "a line of /etc/clawdbot/environment is skipped"
        );
    }
    if file.more > 0 {
        warn!(lines = file.more, "more lines of it are skipped");
    }
    file.skipped.len() + file.more
}

/// The whole file from its beginning, wherever its writer left the position. One byte more than permitted tells too much.
fn read_all(descriptor: OwnedFd) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::from(descriptor);
    let size = usize::try_from(file.metadata()?.len())
        .unwrap_or(usize::MAX)
        .min(MAX_BLOB + 1);
    let mut blob = Zeroizing::new(vec![0; size]);
    file.read_exact_at(&mut blob, 0)?;
    Ok(blob)
}

/// Leases until the process should end.
///
/// # Errors
/// When the edges cannot be served.
pub async fn serve(prepared: Prepared, ctx: Context) -> Result<(), ServeError> {
    let helpers: Helpers = {
        let ctx = ctx.clone();
        Arc::new(move || {
            let ctx = ctx.clone();
            Box::pin(async move { ctx.keyring().await })
        })
    };
    let Prepared {
        store,
        provided,
        skipped,
    } = prepared;
    let random = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(io::Error::from);
    let pulse = ctx.pulse("vault", PATIENCE);
    let keeper = Keeper::new(store, helpers, provided, random, pulse);
    let again = Arc::clone(&keeper);
    tokio::spawn(async move { again.try_again().await });
    let shown = status(&keeper, skipped);
    ctx.ready(&shown);
    tokio::spawn(show(ctx.clone(), Arc::clone(&keeper), skipped, shown));
    let own = ctx.clone();
    let obey = move |level: &str, require: &str| own.obey(level, require);
    ctx.serve(grpc::router(keeper, Arc::new(obey))).await
}

/// Keeps the status line true.
async fn show(ctx: Context, keeper: Arc<Keeper>, skipped: usize, mut shown: String) {
    let mut changes = keeper.changes();
    while changes.changed().await.is_ok() {
        let now = status(&keeper, skipped);
        if now != shown {
            ctx.status(&now);
            shown = now;
        }
    }
}

fn status(keeper: &Keeper, skipped: usize) -> String {
    let vault = keeper.store().vault.describe();
    let line = match vault.message.as_str() {
        "" => format!("holding credentials; vault: {}", vault.state),
        why => format!("vault: {why}"),
    };
    match skipped {
        0 => line,
        lines => format!("{line}; lines of the environment file that are skipped: {lines}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_blob_is_read_whole_wherever_its_writer_stopped_and_bounded() {
        for (size, read) in [(0, 0), (100_000, 100_000), (MAX_BLOB + 5, MAX_BLOB + 1)] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![b'x'; size]).unwrap();
            assert_eq!(read_all(file.into()).unwrap().len(), read);
        }
    }
}
