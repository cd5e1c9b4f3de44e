//! Whoever changes or opens the vault comes through here, one after the other: nobody waits for the disk or the keyring
//! while holding the store. A key that cannot be had is asked for again, with a pause that grows, unless a person asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_proto::v1;
use clawdbot_secrets::environment::MAX_VALUE;
use clawdbot_secrets::{Secret, owner};
use clawdbot_service::{Pulse, Work};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::journal::Journal;
use crate::keyring::{self, Helpers, Trouble};
use crate::store::Store;
use crate::vault::{Change, Edit, Header, KeySource, Provided, Random, key_file};

/// First and longest pause before a worker's request has the key asked for again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// Longest name of a profile, characters.
const MAX_PROFILE: usize = 64;

/// Who wants the vault open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A worker, which asks often.
    Worker,
    /// A person, who may just have unlocked the keyring.
    Person,
    /// Nobody: time has passed. The keyring does not ask anybody then.
    Time,
}

/// Why a change was not made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The request itself.
    Request(String),
    /// The state of things.
    State(String),
}

/// The store and those who wait for its changes.
pub(crate) struct Keeper {
    store: Mutex<Store>,
    helpers: Helpers,
    provided: Provided,
    random: Random,
    attempts: tokio::sync::Mutex<Attempts>,
    pulse: Pulse,
    changed: watch::Sender<()>,
    /// What happened.
    pub(crate) journal: Journal,
}

#[derive(Default)]
struct Attempts {
    failed: u32,
    not_before: Option<Instant>,
}

/// The right to change or open the vault, until it is dropped.
struct Turn<'a> {
    attempts: tokio::sync::MutexGuard<'a, Attempts>,
    _under_way: Work,
}

impl Keeper {
    /// Around a store. `helpers` starts whoever can reach the keyring; `provided` is the key that the service manager gave;
    /// `pulse` beats with everybody's turn.
    pub(crate) fn new(
        store: Store,
        helpers: Helpers,
        provided: Provided,
        random: Random,
        pulse: Pulse,
    ) -> Arc<Self> {
        Arc::new(Self {
            store: Mutex::new(store),
            helpers,
            provided,
            random,
            attempts: tokio::sync::Mutex::default(),
            pulse,
            changed: watch::Sender::new(()),
            journal: Journal::new(),
        })
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        // A panic ends the process, so a poisoned lock is never seen.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else changes or opens the vault.
    async fn turn(&self) -> Turn<'_> {
        let attempts = self.attempts.lock().await;
        Turn {
            attempts,
            _under_way: self.pulse.work(),
        }
    }

    /// News that leases may have changed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Tells those who wait.
    pub(crate) fn announce(&self) {
        self.changed.send_replace(());
    }

    /// Gets the vault's key, if it is needed and worth a try. How it went is in the vault's own state.
    pub(crate) async fn open(&self, wish: Wish) {
        let mut turn = self.turn().await;
        self.open_in_turn(&mut turn.attempts, wish).await;
    }

    async fn open_in_turn(&self, attempts: &mut Attempts, wish: Wish) {
        let (header, folder) = {
            let store = self.store();
            let Some(header) = store.vault.waits_for().cloned() else {
                return;
            };
            (header, store.vault.folder().to_owned())
        };
        let early = |at: Instant| Instant::now() < at;
        if wish != Wish::Person && attempts.not_before.is_some_and(early) {
            return;
        }
        let key = match header.source {
            KeySource::Keyring => {
                let quiet = wish == Wish::Time;
                let key = keyring::fetch(&self.helpers, header.id_text(), quiet).await;
                key.map_err(Trouble::into_text)
            }
            KeySource::File => on_a_thread(move || key_file::read(&folder)).await,
            KeySource::Credential => self.provided.key(),
        };
        let outcome = {
            let mut store = self.store();
            key.and_then(|key| store.vault.unlock(key))
                .inspect_err(|why| store.vault.keep_closed(why.clone()))
        };
        match outcome {
            Ok(()) => {
                *attempts = Attempts::default();
                self.journal.note("unlock", "", "vault", "");
                info!("the vault is open");
            }
            Err(why) => {
                let pause = PAUSE.0.saturating_mul(1 << attempts.failed.min(16));
                attempts.not_before = Some(Instant::now() + pause.min(PAUSE.1));
                if attempts.failed == 0 {
                    self.journal.note("unlock", "", "vault", "vault.closed");
                    warn!(problem = why, "the vault stays closed");
                }
                attempts.failed += 1;
            }
        }
        self.announce();
    }

    /// Tries to open a vault that stayed closed whenever its pause is over, for ever: whoever waits for a lease does not
    /// ask again.
    pub(crate) async fn try_again(&self) {
        let mut changes = self.changes();
        loop {
            match self.next_try().await {
                Some(at) => {
                    sleep_until(at).await;
                    self.open(Wish::Time).await;
                }
                None if changes.changed().await.is_err() => return,
                None => {}
            }
        }
    }

    async fn next_try(&self) -> Option<Instant> {
        let turn = self.turn().await;
        let closed = self.store().vault.waits_for().is_some();
        turn.attempts.not_before.filter(|_| closed)
    }

    /// Keeps a secret, in a new vault if there is none.
    pub(crate) async fn put(
        &self,
        request: v1::PutCredentialRequest,
    ) -> Result<v1::PutCredentialReply, Refused> {
        let v1::PutCredentialRequest {
            owner,
            profile,
            secret,
            key_source,
        } = request;
        let secret = Zeroizing::new(secret);
        let (owner, profile) = place(&owner, profile)?;
        check(&secret)?;
        let wanted = match key_source.as_str() {
            "" => None,
            text => Some(KeySource::parse(text).ok_or_else(|| {
                Refused::Request("the key source is keyring, file or credential".to_owned())
            })?),
        };
        let secret = Secret::new(secret)
            .map_err(|error| Refused::State(format!("no memory for a secret: {error}")))?;
        let mut turn = self.turn().await;
        self.open_in_turn(&mut turn.attempts, Wish::Person).await;
        let at = (owner.as_str(), profile.as_str());
        let absent = self.store().vault.is_absent();
        let (change, replaced, warning) = if absent {
            let (change, warning) = self.found(at, &secret, wanted).await?;
            (change, false, warning)
        } else {
            let store = self.store();
            let edited = store.vault.edit(at, &Edit::Put(&secret), self.random);
            let (change, replaced) = edited.map_err(Refused::State)?;
            let source = store.vault.describe().key_source;
            let warning = match wanted {
                Some(wanted) if wanted.as_str() != source => {
                    let kept = KeySource::parse(&source).map_or("", KeySource::place);
                    format!("the vault was made with its key from {kept}, and so it stays")
                }
                _ => String::new(),
            };
            (change, replaced, warning)
        };
        self.write(change).await?;
        info!(%owner, profile, replaced, "stored a credential in the vault");
        let store = self.store();
        Ok(v1::PutCredentialReply {
            version: store.version(&owner),
            replaced,
            shadowed_by: store.shadowed_by(&owner, &profile).unwrap_or_default(),
            warning,
        })
    }

    /// A new vault around its first secret, and what the person should know about its key.
    async fn found(
        &self,
        at: (&str, &str),
        secret: &Secret,
        wanted: Option<KeySource>,
    ) -> Result<(Change, String), Refused> {
        let nothing =
            |error: std::io::Error| Refused::State(format!("no vault can be made: {error}"));
        let mut id = [0; 16];
        (self.random)(&mut id).map_err(nothing)?;
        let mut header = Header {
            source: KeySource::Keyring,
            id,
        };
        if self.provided.is_somebody() || wanted == Some(KeySource::Credential) {
            if let Some(other @ (KeySource::Keyring | KeySource::File)) = wanted {
                return Err(Refused::State(format!(
                    "no vault is made: the service manager provides its key here, so it is not kept in {}; leave --key-source out",
                    other.place()
                )));
            }
            header.source = KeySource::Credential;
            let key = self.provided.key().map_err(Refused::State)?;
            info!(key_source = header.source.as_str(), "makes a vault");
            let change = self
                .store()
                .vault
                .found(header, key, at, secret, self.random);
            return Ok((change.map_err(Refused::State)?, String::new()));
        }
        let in_keyring = match wanted {
            Some(KeySource::File) => Err(Trouble::Nowhere(String::new())),
            _ => {
                let key = key_file::generate(self.random).map_err(nothing)?;
                let kept = keyring::keep(&self.helpers, header.id_text(), &key).await;
                kept.map(|()| key)
            }
        };
        let (key, warning) = match in_keyring {
            Ok(key) => (key, String::new()),
            Err(why) if wanted == Some(KeySource::Keyring) => {
                return Err(Refused::State(why.into_text()));
            }
            // Where the key lies is for good, so a keyring that is only locked is not passed over.
            Err(Trouble::Unusable(why)) => {
                return Err(Refused::State(format!(
                    "no vault is made yet: {why}; or choose --key-source file"
                )));
            }
            Err(Trouble::Nowhere(why)) => {
                header.source = KeySource::File;
                let (folder, random) = (self.store().vault.folder().to_owned(), self.random);
                let path = key_file::path(&folder);
                let made = on_a_thread(move || key_file::read_or_make(&folder, random)).await;
                let reason = match why.is_empty() {
                    true => String::new(),
                    false => format!(" (the keyring was no choice: {why})"),
                };
                let warning = format!(
                    "the vault's key lies in {}: whoever can read your files, or a copy of them, can read the credentials{reason}",
                    path.display()
                );
                (made.map_err(Refused::State)?, warning)
            }
        };
        info!(key_source = header.source.as_str(), "makes a vault");
        let store = self.store();
        let change = store.vault.found(header, key, at, secret, self.random);
        Ok((change.map_err(Refused::State)?, warning))
    }

    /// Forgets a secret of the vault.
    pub(crate) async fn remove(
        &self,
        request: v1::RemoveCredentialRequest,
    ) -> Result<v1::RemoveCredentialReply, Refused> {
        let (owner, profile) = place(&request.owner, request.profile)?;
        let mut turn = self.turn().await;
        let (known, unusable) = {
            let store = self.store();
            let known = store.vault.record(owner.as_str(), &profile).is_some();
            let vault = store.vault.describe();
            // What an unusable vault holds is not known.
            let unusable = vault.key_source.is_empty() && !vault.message.is_empty();
            (known, unusable.then_some(vault.message))
        };
        if let Some(why) = unusable {
            return Err(Refused::State(why));
        }
        if known {
            self.open_in_turn(&mut turn.attempts, Wish::Person).await;
            let at = (owner.as_str(), profile.as_str());
            let edited = self.store().vault.edit(at, &Edit::Remove, self.random);
            let (change, _) = edited.map_err(Refused::State)?;
            self.write(change).await?;
            info!(%owner, profile, "removed a credential from the vault");
        }
        let store = self.store();
        let remaining = store.source_of(&owner, &profile).unwrap_or_default();
        Ok(v1::RemoveCredentialReply {
            removed: known,
            remaining: remaining.to_owned(),
        })
    }

    async fn write(&self, change: Change) -> Result<(), Refused> {
        let change = on_a_thread(move || change.write().map(|()| change)).await;
        self.store().vault.commit(change.map_err(Refused::State)?);
        self.announce();
        Ok(())
    }
}

/// Does what waits for the disk. The keeper lets one at a time come here.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err("the broker is stopping".to_owned()))
}

/// Whose a credential is to be.
fn place(owner: &str, profile: String) -> Result<(Role, String), Refused> {
    let role = Role::parse(owner).ok();
    let role = role.filter(|role| owner::login_path(role).is_some());
    let role = role.ok_or_else(|| {
        Refused::Request("no process of this name logs in anywhere; it is a provider's name, or the channel telegram, discord or bluebubbles".to_owned())
    })?;
    let profile = match profile.is_empty() {
        true => owner::DEFAULT_PROFILE.to_owned(),
        false => profile,
    };
    let fits = profile.chars().count() <= MAX_PROFILE
        && profile.trim() == profile
        && !profile.contains(clawdbot_identity::text::is_deceptive);
    match fits {
        true => Ok((role, profile)),
        false => Err(Refused::Request(format!(
            "a profile's name has at most {MAX_PROFILE} visible characters and no space at its ends"
        ))),
    }
}

fn check(secret: &[u8]) -> Result<(), Refused> {
    let wrong = match secret {
        [] => "it is empty",
        _ if secret.len() > MAX_VALUE => "it is longer than 16 KiB",
        _ if secret.iter().any(u8::is_ascii_control) => "it has a control character in it",
        _ => return Ok(()),
    };
    Err(Refused::Request(format!(
        "this is no key or token: {wrong}"
    )))
}

#[cfg(test)]
pub(crate) mod tests;
