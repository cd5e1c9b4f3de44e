//! What the broker holds: the start environment, what the configuration says, and the vault. Whose a secret is follows
//! from the owner tables; for one profile of one role the configuration wins over the vault and the vault over the role's
//! well-known variable. What wins and cannot be had is not replaced by what it wins over.

use std::collections::BTreeMap;

use clawdbot_identity::Role;
use clawdbot_proto::v1;
use clawdbot_secrets::owner::{DEFAULT_PROFILE, Use};
use clawdbot_secrets::{Environment, Secret, owner};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::files::{self, Folders};
use crate::vault::{Record, Vault};

mod list;

/// Everything the broker holds.
pub(crate) struct Store {
    environment: Environment,
    folders: Folders,
    entries: Vec<Entry>,
    /// Whom each role's secrets are for.
    audiences: BTreeMap<String, String>,
    /// The configuration has been brought at least once.
    loaded: bool,
    pub(crate) vault: Vault,
}

struct Entry {
    path: String,
    owner: Role,
    what: Use,
    value: Value,
}

enum Value {
    Held(Secret),
    Variable(String),
    /// The record of the owner's profile of this name.
    Vault(String),
    /// It cannot be had, in words.
    Missing(String),
}

/// Where the secret of one profile comes from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    Config(&'a Entry),
    Vault(&'a Record),
    Environment(&'static str, &'a Secret),
}

/// Profiles in the order in which they are tried: the unnamed one, then by name.
type Rank<'a> = (bool, &'a str);

/// Why there is no lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoLease {
    /// What the role should get is not known yet; it may ask again.
    NotLoaded,
    /// There is none; how to set it, in words.
    None(String),
}

/// A name, and what is secret of it.
pub(crate) type Named = (String, Zeroizing<Vec<u8>>);

/// What a role gets, and what changes when anything of it does.
pub(crate) struct Lease {
    pub(crate) secrets: Vec<Named>,
    pub(crate) headers: Vec<Named>,
    pub(crate) version: u64,
    /// Whom they are for; empty for a role that shows them to nobody.
    pub(crate) audience: String,
}

impl Store {
    /// Around what the start found.
    pub(crate) fn new(environment: Environment, folders: impl Into<Folders>, vault: Vault) -> Self {
        Self {
            environment,
            folders: folders.into(),
            entries: Vec::new(),
            audiences: BTreeMap::new(),
            loaded: false,
            vault,
        }
    }

    /// Whether a variable of the start environment is worth its locked memory: the configuration may name any, but
    /// never what opens the front door, which is policy's.
    pub(crate) fn wants(name: &str) -> bool {
        owner::of_name(name).is_none_or(|owner| owner != Role::policy())
    }

    /// Replaces everything that the configuration said before, and gives back what cannot be used.
    pub(crate) fn load(&mut self, entries: Vec<v1::SecretEntry>) -> Vec<v1::SecretProblem> {
        let mut problems = Vec::new();
        let mut taken = Vec::new();
        for entry in entries {
            let path = entry.config_path.clone();
            let problem = match self.take(entry) {
                Ok(entry) => {
                    let problem = self.missing(&entry);
                    taken.push(entry);
                    problem
                }
                Err(message) => Some(message),
            };
            problems.extend(problem.map(|message| v1::SecretProblem {
                config_path: path,
                message,
            }));
        }
        self.entries = taken;
        self.loaded = true;
        problems
    }

    /// Replaces whom the secrets are for. It comes with [`Self::load`] under one lock, so no lease mixes the two.
    pub(crate) fn address(&mut self, audiences: Vec<v1::Audience>) {
        let pairs = audiences.into_iter().map(|one| (one.role, one.audience));
        self.audiences = pairs.collect();
    }

    fn audience(&self, role: &Role) -> &str {
        self.audiences.get(role.as_str()).map_or("", String::as_str)
    }

    /// Whether the configuration has been brought.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// What is refused is not kept.
    fn take(&self, entry: v1::SecretEntry) -> Result<Entry, String> {
        use v1::secret_entry::Source;
        let v1::SecretEntry {
            config_path: path,
            source,
        } = entry;
        // Whatever becomes of it, the literal is wiped.
        let source = match source {
            Some(Source::Literal(bytes)) => Ok(Zeroizing::new(bytes)),
            Some(Source::Reference(reference)) => Err(reference),
            None => return Err("it has no value".to_owned()),
        };
        let (owner, what) =
            owner::place(&path).ok_or("no process may have a secret of this name")?;
        if what == Use::Later {
            return Err("this secret is not used yet, so it is not kept".to_owned());
        }
        let value = match source {
            Ok(literal) if literal.is_empty() => Value::Missing("it is empty".to_owned()),
            Ok(literal) => Value::Held(
                Secret::new(literal).map_err(|error| format!("no memory for a secret: {error}"))?,
            ),
            Err(v1::Reference { source, id }) => match source.as_str() {
                "env" if self.environment.get(&id).is_some() => Value::Variable(id),
                "env" => Value::Missing(format!(
                    "{id} is not set in the environment that started Clawdbot"
                )),
                "file" => held(files::read(&self.folders.secrets, &id)),
                "systemd" => match &self.folders.credentials {
                    Some(folder) => held(files::read(folder, &id)),
                    None => Value::Missing(
                        "no service manager starts this process, so there is none of its credentials; use \"env\", \"file\" or \"vault\""
                            .to_owned(),
                    ),
                },
                "vault" => Value::Vault(id),
                "keyring" => Value::Missing(
                    "secrets cannot come from the keyring yet; use \"env\", \"file\" or \"vault\""
                        .to_owned(),
                ),
                _ => return Err("its source is unknown".to_owned()),
            },
        };
        Ok(Entry {
            path,
            owner,
            what,
            value,
        })
    }

    /// Why an entry has no value.
    fn missing(&self, entry: &Entry) -> Option<String> {
        match &entry.value {
            Value::Missing(why) => Some(why.clone()),
            Value::Vault(id) if self.vault.record(entry.owner.as_str(), id).is_none() => {
                Some(format!(
                    "the vault has no profile {id:?} of {}; `clawdbot login {} --profile NAME` makes one",
                    entry.owner,
                    login_flag(&entry.owner)
                ))
            }
            _ => None,
        }
    }

    /// Those of the names that are set.
    pub(crate) fn set_names(&self, names: Vec<String>) -> Vec<String> {
        names
            .into_iter()
            .filter(|name| self.environment.get(name).is_some())
            .collect()
    }

    /// Where each profile of a role comes from.
    fn origins<'a>(&'a self, role: &'a Role) -> BTreeMap<Rank<'a>, Origin<'a>> {
        let rank = |profile: &'a str| (profile != DEFAULT_PROFILE, profile);
        let variable = well_known(role)
            .find_map(|name| Some(Origin::Environment(name, self.environment.get(name)?)))
            .map(|origin| (rank(DEFAULT_PROFILE), origin));
        let own = || self.entries.iter().filter(|entry| entry.owner == *role);
        // A record that the configuration puts under another name is not given twice.
        let named = |profile: &str| {
            own().any(|entry| matches!(&entry.value, Value::Vault(id) if id == profile))
        };
        let records = self
            .vault
            .records()
            .iter()
            .filter(|record| record.owner == role.as_str() && !named(&record.profile))
            .map(|record| (rank(&record.profile), Origin::Vault(record)));
        // Of two settings for one profile the first counts.
        let configured = self
            .entries
            .iter()
            .rev()
            .filter(|entry| entry.owner == *role)
            .filter_map(|entry| match &entry.what {
                Use::Login(profile) => Some((rank(profile), Origin::Config(entry))),
                _ => None,
            });
        let mut origins = BTreeMap::new();
        origins.extend(variable);
        origins.extend(records);
        origins.extend(configured);
        origins
    }

    /// The headers of a role, each by its name.
    fn headers<'a>(&'a self, role: &'a Role) -> impl Iterator<Item = (&'a str, Origin<'a>)> {
        let own = self
            .entries
            .iter()
            .filter(move |entry| entry.owner == *role);
        own.filter_map(|entry| match &entry.what {
            Use::Header(name) => Some((name.as_str(), Origin::Config(entry))),
            _ => None,
        })
    }

    /// Whether something of the role's lease is in the vault, which needs its key.
    pub(crate) fn needs_the_vault(&self, role: &Role) -> bool {
        let origins = self.origins(role);
        let all = origins.into_values();
        self.vault.waits_for().is_some()
            && all
                .chain(self.headers(role).map(|(_, origin)| origin))
                .any(|origin| match origin {
                    Origin::Vault(_) => true,
                    Origin::Config(entry) => matches!(entry.value, Value::Vault(_)),
                    Origin::Environment(..) => false,
                })
    }

    /// The secrets of a role. Until the configuration has arrived there are none: the role's variable may not be the
    /// secret that the configuration means. A profile that cannot be had is left out as long as another one can.
    ///
    /// # Errors
    /// While nothing was loaded, and how to set what is missing.
    pub(crate) fn lease(&self, role: &Role) -> Result<Lease, NoLease> {
        if !self.loaded {
            return Err(NoLease::NotLoaded);
        }
        let mut secrets = Vec::new();
        let mut trouble = None;
        for ((_, profile), origin) in self.origins(role) {
            match self.reveal(origin) {
                Ok(secret) => secrets.push((profile.to_owned(), secret)),
                Err(why) => trouble = trouble.or(Some(why)),
            }
        }
        let headers: Vec<Named> = self
            .headers(role)
            .map(|(name, origin)| Ok((name.to_owned(), self.reveal(origin)?)))
            .collect::<Result<_, _>>()
            .map_err(NoLease::None)?;
        // Headers alone can be what a server wants, but they do not replace a key that is configured and cannot be had.
        if secrets.is_empty() && (trouble.is_some() || headers.is_empty()) {
            return Err(NoLease::None(trouble.unwrap_or_else(|| remedy(role))));
        }
        Ok(Lease {
            secrets,
            headers,
            version: self.version(role),
            audience: self.audience(role).to_owned(),
        })
    }

    fn reveal(&self, origin: Origin<'_>) -> Result<Zeroizing<Vec<u8>>, String> {
        let copy = |secret: &Secret| secret.expose(|bytes| Zeroizing::new(bytes.to_vec()));
        match origin {
            Origin::Environment(_, secret) => Ok(copy(secret)),
            Origin::Vault(record) => self.vault.reveal(record),
            Origin::Config(entry) => match &entry.value {
                Value::Held(secret) => Ok(copy(secret)),
                Value::Variable(name) => self
                    .environment
                    .get(name)
                    .map(copy)
                    .ok_or_else(|| format!("{name} is not set")),
                Value::Vault(id) => match self.vault.record(entry.owner.as_str(), id) {
                    Some(record) => self.vault.reveal(record),
                    None => Err(self.missing(entry).unwrap_or_default()),
                },
                Value::Missing(why) => Err(why.clone()),
            }
            .map_err(|why| format!("{}: {why}", entry.path)),
        }
    }

    /// Follows from the secrets and whom they are for, so that it changes with them and with nothing else, over restarts too. What
    /// the vault holds is known by its nonce, which needs no key. Zero when there is nothing to lease.
    pub(crate) fn version(&self, role: &Role) -> u64 {
        let mut digest = Sha256::new();
        digest.update(b"lease\0");
        digest.update(role.as_str());
        digest.update(b"\0");
        digest.update(self.audience(role));
        digest.update(b"\0");
        let mut add = |kind: &str, name: &str, origin| {
            for text in [kind, name] {
                digest.update((text.len() as u64).to_be_bytes());
                digest.update(text);
            }
            self.fingerprint(origin, &mut digest)
        };
        let (mut found, mut login) = (false, false);
        for ((_, profile), origin) in self.origins(role) {
            login = true;
            found |= add("login", profile, origin);
        }
        for (name, origin) in self.headers(role) {
            found |= add("header", name, origin) && !login;
        }
        let digest = digest.finalize();
        let version = digest
            .iter()
            .take(8)
            .fold(0, |version, byte| version << 8 | u64::from(*byte));
        match found {
            true => version.max(1),
            false => 0,
        }
    }

    /// Digests what a secret is, if it can be had.
    fn fingerprint(&self, origin: Origin<'_>, digest: &mut Sha256) -> bool {
        let mut add = |kind: &str, bytes: &[u8]| {
            digest.update(kind);
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        let record = match origin {
            Origin::Environment(_, secret) => {
                secret.expose(|bytes| add("plain", bytes));
                return true;
            }
            Origin::Vault(record) => Some(record),
            Origin::Config(entry) => match &entry.value {
                Value::Vault(id) => self.vault.record(entry.owner.as_str(), id),
                Value::Held(secret) => {
                    secret.expose(|bytes| add("plain", bytes));
                    return true;
                }
                Value::Variable(name) => {
                    let secret = self.environment.get(name);
                    return secret
                        .map(|secret| secret.expose(|bytes| add("plain", bytes)))
                        .is_some();
                }
                Value::Missing(_) => None,
            },
        };
        let record = record.filter(|_| self.vault.trouble().is_none());
        record
            .map(|record| add("record", record.fingerprint()))
            .is_some()
    }

    /// The setting that wins over the vault's record of a profile.
    pub(crate) fn shadowed_by(&self, role: &Role, profile: &str) -> Option<String> {
        let rank = (profile != DEFAULT_PROFILE, profile);
        match self.origins(role).get(&rank)? {
            Origin::Config(entry) => match &entry.value {
                Value::Vault(id) if id == profile => None,
                _ => Some(entry.path.clone()),
            },
            _ => None,
        }
    }

    /// Where the secret of a profile comes from: config, vault or environment.
    pub(crate) fn source_of(&self, role: &Role, profile: &str) -> Option<&'static str> {
        let rank = (profile != DEFAULT_PROFILE, profile);
        self.origins(role).get(&rank).map(|origin| match origin {
            Origin::Config(_) => "config",
            Origin::Vault(_) => "vault",
            Origin::Environment(..) => "environment",
        })
    }
}

fn held(read: Result<Secret, String>) -> Value {
    read.map_or_else(Value::Missing, Value::Held)
}

/// The well-known variables of a role, in the order in which they count.
fn well_known(role: &Role) -> impl Iterator<Item = &'static str> {
    let role = role.clone();
    owner::NAMES
        .iter()
        .map(|row| row.0)
        .filter(move |name| owner::of_name(name).as_ref() == Some(&role))
}

/// How a role is named on the command line.
fn login_flag(role: &Role) -> String {
    let flag = match role.family() {
        "channel" => "--channel",
        _ => "--provider",
    };
    let name = role.name();
    format!(
        "{flag} {}",
        name.as_ref().map_or("NAME", |name| name.as_str())
    )
}

fn remedy(role: &Role) -> String {
    let Some(path) = owner::login_path(role) else {
        return format!("{role} needs no secret");
    };
    let login = format!("store one with `clawdbot login {}`", login_flag(role));
    match well_known(role).next() {
        Some(name) => format!(
            "{login}, or set {name} in the environment that starts Clawdbot or {path} in the configuration"
        ),
        None => format!("{login}, or set {path} in the configuration"),
    }
}

#[cfg(test)]
mod tests;
