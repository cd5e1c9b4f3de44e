//! The vault as the broker holds it: its file, and its key once somebody brought it. A file that is damaged, foreign or
//! changed by somebody else is never written over; a key that does not open it is never kept.

mod file;
mod format;
pub(crate) mod key_file;
mod provided;

use std::path::{Path, PathBuf};

use clawdbot_proto::v1;
use clawdbot_secrets::Secret;
use clawdbot_service::newer_format;
use zeroize::Zeroizing;

use format::{Damage, Image};
pub(crate) use format::{Header, KEY, KeySource, MAX_RECORDS, Random, Record};
pub(crate) use provided::Provided;

const NAME: &str = "vault";

/// The vault in one folder.
pub(crate) struct Vault {
    folder: PathBuf,
    state: State,
}

enum State {
    /// There is none.
    None,
    /// It needs its key.
    Closed {
        held: Held,
        /// Why the last try to get the key failed.
        trouble: Option<String>,
    },
    Open {
        held: Held,
        key: Secret,
    },
    /// The file cannot be used, in words.
    Unusable(String),
}

/// A file and what it says.
struct Held {
    bytes: Vec<u8>,
    image: Image,
}

/// A change that is not written yet. It holds no secret but, for a new vault, the key.
pub(crate) struct Change {
    folder: PathBuf,
    before: Option<Vec<u8>>,
    after: Held,
    key: Option<Secret>,
}

/// What a change does to one record.
pub(crate) enum Edit<'a> {
    Put(&'a Secret),
    Remove,
}

impl Vault {
    /// Looks at the vault in `folder`, whatever it is like.
    pub(crate) fn load(folder: &Path) -> Self {
        let path = folder.join(NAME);
        let refused = |why: String| {
            State::Unusable(format!(
                "{why}; put a copy that is whole back, or move the file away and log in again (it is never replaced)"
            ))
        };
        let state = match file::read(&path, format::MAX_FILE) {
            Ok(None) => State::None,
            Ok(Some(bytes)) => match Image::parse(&bytes) {
                Ok(image) => State::Closed {
                    held: Held {
                        bytes: bytes.to_vec(),
                        image,
                    },
                    trouble: None,
                },
                // Nothing is to be mended or moved away.
                Err(Damage::Newer(found)) => State::Unusable(format!(
                    "the vault {}",
                    newer_format(path.display(), found, format::VERSION)
                )),
                Err(damage) => refused(format!(
                    "the vault {} cannot be used: {damage}",
                    path.display()
                )),
            },
            Err(why) => refused(format!("the vault cannot be used: {why}")),
        };
        Self {
            folder: folder.to_owned(),
            state,
        }
    }

    /// STATE/credentials.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The header of a vault that needs its key.
    pub(crate) fn waits_for(&self) -> Option<&Header> {
        match &self.state {
            State::Closed { held, .. } => Some(&held.image.header),
            _ => None,
        }
    }

    /// Whether there is no vault.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.state, State::None)
    }

    /// Opens it. A key that is not the one it was written with is refused.
    ///
    /// # Errors
    /// Why it stays closed.
    pub(crate) fn unlock(&mut self, key: Secret) -> Result<(), String> {
        match std::mem::replace(&mut self.state, State::None) {
            State::Closed { held, .. } if format::verify(&held.bytes, &key) => {
                self.state = State::Open { held, key };
                Ok(())
            }
            State::Closed { held, .. } => {
                let why = format!(
                    "the vault {} is damaged, or the key from {} is not its key; put the right one back, or move the folder away and log in again (it is never replaced)",
                    self.folder.join(NAME).display(),
                    held.image.header.source.place()
                );
                let trouble = Some(why.clone());
                self.state = State::Closed { held, trouble };
                Err(why)
            }
            other => {
                self.state = other;
                Ok(())
            }
        }
    }

    /// Notes why its key could not be had.
    pub(crate) fn keep_closed(&mut self, why: String) {
        if let State::Closed { trouble, .. } = &mut self.state {
            *trouble = Some(why);
        }
    }

    /// Why its records cannot be had at the moment, as far as that is known.
    pub(crate) fn trouble(&self) -> Option<&str> {
        match &self.state {
            State::Closed { trouble, .. } => trouble.as_deref(),
            State::Unusable(why) => Some(why),
            _ => None,
        }
    }

    /// For the operator.
    pub(crate) fn describe(&self) -> v1::Vault {
        let state = match &self.state {
            State::None => "none",
            State::Open { .. } => "open",
            State::Closed { trouble: None, .. } => "waiting",
            State::Closed { .. } | State::Unusable(_) => "unreachable",
        };
        let source = self.held().map(|held| held.image.header.source.as_str());
        v1::Vault {
            state: state.to_owned(),
            key_source: source.unwrap_or_default().to_owned(),
            message: self.trouble().unwrap_or_default().to_owned(),
        }
    }

    /// All records, by owner and profile.
    pub(crate) fn records(&self) -> &[Record] {
        self.held().map_or(&[], |held| held.image.records())
    }

    /// The record of an owner's profile.
    pub(crate) fn record(&self, owner: &str, profile: &str) -> Option<&Record> {
        self.held()?.image.record(owner, profile)
    }

    /// What a record holds.
    ///
    /// # Errors
    /// Why it cannot be had, and what to do.
    pub(crate) fn reveal(&self, record: &Record) -> Result<Zeroizing<Vec<u8>>, String> {
        match &self.state {
            State::Open { held, key } => held
                .image
                .reveal(key, record)
                .ok_or_else(|| "this record of the vault is damaged; log in again".to_owned()),
            _ => Err(self
                .trouble()
                .unwrap_or("the vault waits for its key; try again")
                .to_owned()),
        }
    }

    /// A change of one record of the open vault, and whether there was such a record before.
    ///
    /// # Errors
    /// When the vault is not open or full, or there is no randomness.
    pub(crate) fn edit(
        &self,
        place: (&str, &str),
        edit: &Edit<'_>,
        random: Random,
    ) -> Result<(Change, bool), String> {
        let State::Open { held, key } = &self.state else {
            let why = self.trouble().unwrap_or("there is no open vault");
            return Err(why.to_owned());
        };
        let mut image = held.image.clone();
        let existed = apply(&mut image, key, place, edit, random)?;
        let change = Change {
            folder: self.folder.clone(),
            before: Some(held.bytes.clone()),
            after: written(image, key, random)?,
            key: None,
        };
        Ok((change, existed))
    }

    /// A new vault with its first record.
    ///
    /// # Errors
    /// When there is no randomness.
    pub(crate) fn found(
        &self,
        header: Header,
        key: Secret,
        place: (&str, &str),
        secret: &Secret,
        random: Random,
    ) -> Result<Change, String> {
        let mut image = Image::new(header);
        apply(&mut image, &key, place, &Edit::Put(secret), random)?;
        Ok(Change {
            folder: self.folder.clone(),
            before: None,
            after: written(image, &key, random)?,
            key: Some(key),
        })
    }

    /// Goes on with a change that was written.
    pub(crate) fn commit(&mut self, change: Change) {
        let Change { after, key, .. } = change;
        let held = after;
        match (std::mem::replace(&mut self.state, State::None), key) {
            (State::Open { key, .. }, _) | (_, Some(key)) => {
                self.state = State::Open { held, key };
            }
            // Only an open vault and a new one are changed.
            (other, None) => self.state = other,
        }
    }

    fn held(&self) -> Option<&Held> {
        match &self.state {
            State::Closed { held, .. } | State::Open { held, .. } => Some(held),
            State::None | State::Unusable(_) => None,
        }
    }
}

impl Change {
    /// Writes it, unless the file is not the one that this process knows. Waits for the disk.
    ///
    /// # Errors
    /// What went wrong, and what to do.
    pub(crate) fn write(&self) -> Result<(), String> {
        let path = self.folder.join(NAME);
        let found = file::read(&path, format::MAX_FILE)?;
        if found.as_ref().map(|bytes| bytes.as_slice()) != self.before.as_deref() {
            return Err(format!(
                "{} was changed by somebody else and is left as it is; start Clawdbot again to go on with it",
                path.display()
            ));
        }
        file::replace(&self.folder, NAME, &self.after.bytes)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }
}

fn apply(
    image: &mut Image,
    key: &Secret,
    (owner, profile): (&str, &str),
    edit: &Edit<'_>,
    random: Random,
) -> Result<bool, String> {
    let Edit::Put(secret) = edit else {
        return Ok(image.remove(owner, profile));
    };
    if image.record(owner, profile).is_none() && image.records().len() >= MAX_RECORDS {
        return Err(format!(
            "the vault holds {MAX_RECORDS} credentials already; remove one with `clawdbot logout`"
        ));
    }
    secret
        .expose(|bytes| image.put(key, (owner, profile), bytes, random))
        .map_err(no_randomness)
}

fn written(image: Image, key: &Secret, random: Random) -> Result<Held, String> {
    let bytes = image.encode(key, random).map_err(no_randomness)?;
    Ok(Held { bytes, image })
}

fn no_randomness(error: std::io::Error) -> String {
    format!("a secret cannot be encrypted: {error}")
}

#[cfg(test)]
mod tests;
