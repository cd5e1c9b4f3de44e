//! The Secret Service of a Linux desktop. The key is kept as text: not every provider keeps other bytes. What the service
//! says about a secret is never part of a message.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use clawdbot_secrets::hex;
use secret_service::{EncryptionType, Error, SecretService};
use zbus::connection::Builder;
use zeroize::Zeroizing;

use crate::answer::{Fulfilled, Trouble, Wish};
use crate::bus;

const SERVICE: &str = "clawdbot";
const LABEL: &str = "Clawdbot: key of the credential vault";

/// The connection to the session bus, or why there is none.
pub(crate) struct Ring(Result<UnixStream, String>);

impl Ring {
    /// Connects, before the confinement.
    pub(crate) fn open(bus: Option<OwnedFd>) -> Self {
        Self(bus::connect(bus))
    }

    /// Does what the broker wants.
    ///
    /// # Errors
    /// Why the keyring cannot be used, and the remedy.
    pub(crate) async fn fulfil(self, wish: Wish) -> Fulfilled {
        let stream = self.0.map_err(Trouble::Nowhere)?;
        let service = connect(stream).await.map_err(|error| explain(&error))?;
        let fulfilled = match wish {
            Wish::Fetch { vault, quiet } => fetch(&service, &vault, quiet).await,
            Wish::Keep { vault, key } => keep(&service, &vault, &key).await,
        };
        fulfilled.map_err(|error| explain(&error))
    }
}

async fn connect(stream: UnixStream) -> Result<SecretService<'static>, Error> {
    let io = |error: std::io::Error| Error::Zbus(error.into());
    stream.set_nonblocking(true).map_err(io)?;
    let stream = tokio::net::UnixStream::from_std(stream).map_err(io)?;
    let connection = Builder::unix_stream(stream).build().await?;
    SecretService::connect_with_existing(EncryptionType::Dh, connection).await
}

async fn fetch(
    service: &SecretService<'_>,
    vault: &str,
    quiet: bool,
) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let found = service.search_items(attributes(vault)).await?;
    let item = found.unlocked.first().or(found.locked.first());
    let Some(item) = item else {
        return Ok(None);
    };
    if item.is_locked().await? {
        if quiet {
            return Err(Error::Locked);
        }
        item.unlock().await?;
    }
    let text = Zeroizing::new(item.get_secret().await?);
    // What is no key is as long as no key is.
    Ok(Some(hex::decode(&text).unwrap_or_default()))
}

async fn keep(
    service: &SecretService<'_>,
    vault: &str,
    key: &[u8],
) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    // Never another one: the collection `session` is gone with the session, and the key with it.
    let collection = service.get_default_collection().await?;
    if collection.is_locked().await? {
        collection.unlock().await?;
    }
    let text = hex::encode(key);
    collection
        .create_item(
            LABEL,
            attributes(vault),
            text.as_bytes(),
            true,
            "text/plain",
        )
        .await?;
    fetch(service, vault, false).await
}

fn attributes(vault: &str) -> HashMap<&str, &str> {
    HashMap::from([("service", SERVICE), ("vault", vault)])
}

fn explain(error: &Error) -> Trouble {
    match error {
        Error::Locked | Error::Prompt | Error::PromptDisconnected => {
            Trouble::Unusable("the keyring is locked; unlock it and try again".to_owned())
        }
        Error::NoResult => Trouble::Nowhere("the keyring has no default collection to keep a key in; make one with your desktop's password program".to_owned()),
        Error::Unavailable => no_service(),
        Error::Zbus(zbus::Error::MethodError(name, ..))
            if name.as_str() == "org.freedesktop.DBus.Error.ServiceUnknown" =>
        {
            no_service()
        }
        other => Trouble::Unusable(format!(
            "the keyring cannot be used: {other}; unlock it and try again"
        )),
    }
}

fn no_service() -> Trouble {
    Trouble::Nowhere(
        "nothing on the session bus keeps secrets; start a keyring such as gnome-keyring or KWallet"
            .to_owned(),
    )
}
