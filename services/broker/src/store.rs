//! What the broker holds: the start environment and what the configuration says. One role has one secret, and which one
//! follows from the owner tables: the setting that the configuration gives, else the role's well-known variable.

use std::path::PathBuf;

use clawdbot_identity::Role;
use clawdbot_proto::v1;
use clawdbot_secrets::{Environment, Secret, owner};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::files;

/// The one setting of each family that its workers can lease.
const LEASED: &[(&str, &str)] = &[
    ("model", "models.providers.NAME.apiKey"),
    ("channel-telegram", "channels.telegram.botToken"),
    ("channel-discord", "channels.discord.token"),
];

/// Sources that are known and not there yet.
const LATER: &[&str] = &["keyring", "systemd", "vault"];

/// Everything the broker holds.
pub(crate) struct Store {
    environment: Environment,
    folder: PathBuf,
    entries: Vec<Entry>,
    /// The configuration has been brought at least once.
    loaded: bool,
}

struct Entry {
    path: String,
    owner: Role,
    value: Value,
}

enum Value {
    Held(Secret),
    Variable(String),
    /// It cannot be had, in words.
    Missing(String),
}

/// Why there is no lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoLease {
    /// What the role should get is not known yet; it may ask again.
    NotLoaded,
    /// There is none; how to set it, in words.
    None(String),
}

/// A secret and what changes when it does.
pub(crate) struct Lease<'a> {
    pub(crate) secret: &'a Secret,
    pub(crate) version: u64,
}

impl Store {
    /// `folder` is STATE/secrets.
    pub(crate) fn new(environment: Environment, folder: PathBuf) -> Self {
        Self {
            environment,
            folder,
            entries: Vec::new(),
            loaded: false,
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
            match self.take(entry) {
                Ok(entry) => {
                    if let Value::Missing(message) = &entry.value {
                        problems.push(v1::SecretProblem {
                            config_path: path,
                            message: message.clone(),
                        });
                    }
                    taken.push(entry);
                }
                Err(message) => problems.push(v1::SecretProblem {
                    config_path: path,
                    message,
                }),
            }
        }
        self.entries = taken;
        self.loaded = true;
        problems
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
        let owner = owner::of_path(&path).ok_or("no process may have a secret of this name")?;
        if leased_path(&owner).as_deref() != Some(path.as_str()) {
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
                "file" => files::read(&self.folder, &id).map_or_else(Value::Missing, Value::Held),
                later if LATER.contains(&later) => Value::Missing(format!(
                    "secrets cannot come from the {later} yet; use \"env\" or \"file\""
                )),
                _ => return Err("its source is unknown".to_owned()),
            },
        };
        Ok(Entry { path, owner, value })
    }

    /// Those of the names that are set.
    pub(crate) fn set_names(&self, names: Vec<String>) -> Vec<String> {
        names
            .into_iter()
            .filter(|name| self.environment.get(name).is_some())
            .collect()
    }

    /// The one secret of a role. Until the configuration has arrived there is none: the role's variable may not be the
    /// secret that the configuration means.
    ///
    /// # Errors
    /// While nothing was loaded, and how to set what is missing.
    pub(crate) fn lease(&self, role: &Role) -> Result<Lease<'_>, NoLease> {
        if !self.loaded {
            return Err(NoLease::NotLoaded);
        }
        let secret = match self.entries.iter().find(|entry| entry.owner == *role) {
            // What the configuration says counts, also when it cannot be had: another key than the one that was meant
            // would be worse than none.
            Some(Entry {
                value: Value::Missing(why),
                path,
                ..
            }) => return Err(NoLease::None(format!("{path}: {why}"))),
            Some(Entry {
                value: Value::Held(secret),
                ..
            }) => Some(secret),
            Some(Entry {
                value: Value::Variable(name),
                ..
            }) => self.environment.get(name),
            None => well_known(role).find_map(|name| self.environment.get(name)),
        };
        let secret = secret.ok_or_else(|| NoLease::None(remedy(role)))?;
        Ok(Lease {
            secret,
            version: version(role, secret),
        })
    }

    /// What is held or wanted, without values.
    pub(crate) fn list(&self) -> Vec<v1::Credential> {
        let configured = self.entries.iter().map(|entry| v1::Credential {
            owner: entry.owner.to_string(),
            source: "config".to_owned(),
            name: entry.path.clone(),
            present: !matches!(entry.value, Value::Missing(_)),
        });
        let environment = self.environment.names().filter_map(|name| {
            Some(v1::Credential {
                owner: owner::of_name(name)?.to_string(),
                source: "environment".to_owned(),
                name: name.to_owned(),
                present: true,
            })
        });
        configured.chain(environment).collect()
    }
}

/// The setting that a role leases.
fn leased_path(role: &Role) -> Option<String> {
    let row = LEASED
        .iter()
        .find(|(who, _)| *who == role.as_str() || *who == role.family())?;
    let name = role.name()?;
    Some(row.1.replace("NAME", name.as_str()))
}

/// The well-known variables of a role, in the order in which they count.
fn well_known(role: &Role) -> impl Iterator<Item = &'static str> {
    let role = role.clone();
    owner::NAMES
        .iter()
        .map(|row| row.0)
        .filter(move |name| owner::of_name(name).as_ref() == Some(&role))
}

fn remedy(role: &Role) -> String {
    let path = leased_path(role);
    let names: Vec<_> = well_known(role).collect();
    match (names.first(), path) {
        (Some(name), Some(path)) => format!(
            "there is no secret for {role}: set {name} in the environment that starts Clawdbot, or {path} in the configuration"
        ),
        (None, Some(path)) => {
            format!("there is no secret for {role}: set {path} in the configuration")
        }
        (_, None) => format!("{role} needs no secret"),
    }
}

/// Follows from the secret itself, so that it changes with it and with nothing else, over restarts too.
fn version(role: &Role, secret: &Secret) -> u64 {
    let mut digest = Sha256::new();
    digest.update(b"lease\0");
    digest.update(role.as_str());
    digest.update(b"\0");
    secret.expose(|bytes| digest.update(bytes));
    let digest = digest.finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |version, byte| version << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
