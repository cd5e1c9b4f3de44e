//! The life of the process: the start environment goes into locked memory before anything else happens.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use clawdbot_secrets::environment::MAX_BLOB;
use clawdbot_secrets::{Environment, EnvironmentError};
use clawdbot_service::{Context, ServeError, Start, StartError};
use zeroize::Zeroizing;

use crate::grpc;
use crate::keeper::Keeper;
use crate::keyring::Helpers;
use crate::store::Store;
use crate::vault::Vault;

/// What the process opened before its confinement.
pub struct Prepared(Store);

/// Opens STATE/credentials, where the vault lies, and takes the start environment; STATE/secrets is only read. The vault's key is not asked for before somebody needs it.
///
/// # Errors
/// When a folder cannot be used as it is, or the environment is too large.
pub fn prepare(start: &mut Start) -> Result<Prepared, StartError> {
    let folder = start.state("secrets")?;
    let environment = match start.take_file("environment") {
        None => Environment::default(),
        Some(descriptor) => {
            let blob = read_all(descriptor)
                .map_err(|error| StartError::io("cannot take the start environment", &error))?;
            Environment::parse(blob, Store::wants).map_err(|error| match error {
                EnvironmentError::TooLarge(_) => StartError::config(error.to_string()),
                EnvironmentError::Memory(error) => {
                    StartError::io("no memory for the start environment", &error)
                }
            })?
        }
    };
    let vault = Vault::load(&start.state("credentials")?);
    Ok(Prepared(Store::new(environment, folder, vault)))
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
    let keeper = Keeper::new(prepared.0, helpers, |bytes| {
        getrandom::fill(bytes).map_err(io::Error::from)
    });
    let again = Arc::clone(&keeper);
    tokio::spawn(async move { again.try_again().await });
    let shown = status(&keeper);
    ctx.ready(&shown);
    tokio::spawn(show(ctx.clone(), Arc::clone(&keeper), shown));
    ctx.serve(grpc::router(keeper)).await
}

/// Keeps the status line true.
async fn show(ctx: Context, keeper: Arc<Keeper>, mut shown: String) {
    let mut changes = keeper.changes();
    while changes.changed().await.is_ok() {
        let now = status(&keeper);
        if now != shown {
            ctx.status(&now);
            shown = now;
        }
    }
}

fn status(keeper: &Keeper) -> String {
    let vault = keeper.store().vault.describe();
    match vault.message.as_str() {
        "" => format!("holding credentials; vault: {}", vault.state),
        why => format!("vault: {why}"),
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
