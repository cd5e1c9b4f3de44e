//! The vault's bytes. Each record is encrypted by itself and bound to the vault, its owner and its profile; a seal over the
//! whole file finds what was removed, added, reordered or turned back inside it. Refused is whatever has another form.
//!
//! ```text
//! magic 8, version 1, cipher 1, key source 1, zero 1, vault id 16     the header
//! counter u64                                                        goes up with every write
//! number of records u16, then for each, sorted by owner and profile:
//!   owner length u16, owner, profile length u16, profile
//!   nonce 24, length u32, encrypted secret with its tag
//! nonce 24, tag 16                                                   the seal over everything before it
//! ```
//!
//! Numbers are big endian. Not found is an older file of the same vault that is put back as a whole: nothing outside the
//! file says how far the counter had come.

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305};
use clawdbot_secrets::{Secret, hex};
use zeroize::Zeroizing;

/// Length of a key, bytes.
pub(crate) const KEY: usize = 32;
/// Largest number of records.
pub(crate) const MAX_RECORDS: usize = 128;
/// Largest file, bytes.
pub(crate) const MAX_FILE: usize = 4 << 20;

const MAGIC: &[u8; 8] = b"CLAWDVLT";
pub(crate) const VERSION: u8 = 1;
/// XChaCha20-Poly1305.
const CIPHER: u8 = 1;
const ID: usize = 16;
const NONCE: usize = 24;
const TAG: usize = 16;

/// Where a vault's key is kept; chosen when the vault is made, and never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// The user's keyring.
    Keyring,
    /// A file beside the vault.
    File,
    /// The service manager, which decrypts it for this process alone.
    Credential,
}

impl KeySource {
    const ALL: [Self; 3] = [Self::Keyring, Self::File, Self::Credential];

    /// `keyring`, `file` or `credential`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::File => "file",
            Self::Credential => "credential",
        }
    }

    /// Whence the key comes, for a person.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Self::Keyring => "the keyring",
            Self::File => "the file",
            Self::Credential => "the service manager (credential vault-key)",
        }
    }

    /// Takes what [`Self::as_str`] gives.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == text)
    }

    fn byte(self) -> u8 {
        match self {
            Self::Keyring => 1,
            Self::File => 2,
            Self::Credential => 3,
        }
    }
}

/// What stays the same as long as a vault lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) source: KeySource,
    pub(crate) id: [u8; ID],
}

impl Header {
    /// The id as the keyring knows it.
    pub(crate) fn id_text(&self) -> String {
        hex::encode(&self.id).to_string()
    }

    fn bytes(&self) -> Vec<u8> {
        let fixed = [VERSION, CIPHER, self.source.byte(), 0];
        [MAGIC.as_slice(), &fixed, &self.id].concat()
    }
}

/// One secret, encrypted.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) owner: String,
    pub(crate) profile: String,
    nonce: [u8; NONCE],
    sealed: Vec<u8>,
}

impl Record {
    /// Differs for every two secrets that were ever stored, and says nothing about them.
    pub(crate) fn fingerprint(&self) -> &[u8; NONCE] {
        &self.nonce
    }

    fn place(&self) -> (&str, &str) {
        (&self.owner, &self.profile)
    }
}

/// Randomness for keys, ids and nonces.
pub(crate) type Random = fn(&mut [u8]) -> std::io::Result<()>;

/// A vault's file, taken apart.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) header: Header,
    pub(crate) counter: u64,
    records: Vec<Record>,
}

/// Why a file is no vault that can be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("it is no vault")]
    Foreign,
    #[error("it was written by another version of Clawdbot")]
    Version,
    #[error("it has format {0}, which is newer")]
    Newer(u8),
    #[error("it is damaged")]
    Form,
}

impl Image {
    /// A vault without records.
    pub(crate) fn new(header: Header) -> Self {
        Self {
            header,
            counter: 0,
            records: Vec::new(),
        }
    }

    /// Takes a file apart. What it says is not to be believed before [`verify`].
    ///
    /// # Errors
    /// When it does not have the one form that [`Image::encode`] gives.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        let mut rest = Cursor(bytes);
        if rest.take(MAGIC.len())? != MAGIC {
            return Err(Damage::Foreign);
        }
        let [version, cipher, source, zero] = rest.array()?;
        if version > VERSION {
            return Err(Damage::Newer(version));
        }
        if (version, cipher, zero) != (VERSION, CIPHER, 0) {
            return Err(Damage::Version);
        }
        let known = KeySource::ALL.into_iter();
        let header = Header {
            source: { known }
                .find(|known| known.byte() == source)
                .ok_or(Damage::Version)?,
            id: rest.array()?,
        };
        let counter = u64::from_be_bytes(rest.array()?);
        let count = usize::from(u16::from_be_bytes(rest.array()?));
        let mut records: Vec<Record> = Vec::new();
        for _ in 0..count.min(MAX_RECORDS) {
            let record = Record {
                owner: rest.text()?,
                profile: rest.text()?,
                nonce: rest.array()?,
                sealed: rest.long()?,
            };
            let in_order = records
                .last()
                .is_none_or(|last| last.place() < record.place());
            if !in_order || record.sealed.len() <= TAG {
                return Err(Damage::Form);
            }
            records.push(record);
        }
        let whole = records.len() == count && rest.0.len() == NONCE + TAG;
        whole
            .then_some(Self {
                header,
                counter,
                records,
            })
            .ok_or(Damage::Form)
    }

    /// The file that holds all of it.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(crate) fn encode(&self, key: &Secret, random: Random) -> std::io::Result<Vec<u8>> {
        let mut bytes = self.header.bytes();
        bytes.extend(self.counter.to_be_bytes());
        put_length::<2>(&mut bytes, self.records.len());
        for record in &self.records {
            for text in [&record.owner, &record.profile] {
                put_length::<2>(&mut bytes, text.len());
                bytes.extend(text.as_bytes());
            }
            bytes.extend(record.nonce);
            put_length::<4>(&mut bytes, record.sealed.len());
            bytes.extend(&record.sealed);
        }
        let mut nonce = [0; NONCE];
        random(&mut nonce)?;
        let tag = encrypt(key, &nonce, &seal_context(&bytes), &mut [])?;
        bytes.extend(nonce);
        bytes.extend(tag);
        Ok(bytes)
    }

    /// All records, by owner and profile.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The record of an owner's profile.
    pub(crate) fn record(&self, owner: &str, profile: &str) -> Option<&Record> {
        let at = self.position(owner, profile).ok()?;
        self.records.get(at)
    }

    /// Puts a secret in the place of the one of this name. Whether there was one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(crate) fn put(
        &mut self,
        key: &Secret,
        (owner, profile): (&str, &str),
        secret: &[u8],
        random: Random,
    ) -> std::io::Result<bool> {
        let mut nonce = [0; NONCE];
        random(&mut nonce)?;
        let context = record_context(&self.header, owner, profile);
        // Room for the tag from the start: a vector that grows leaves its contents behind.
        let mut text = Zeroizing::new(Vec::with_capacity(secret.len() + TAG));
        text.extend_from_slice(secret);
        let tag = encrypt(key, &nonce, &context, &mut text)?;
        text.extend_from_slice(&tag);
        let record = Record {
            owner: owner.to_owned(),
            profile: profile.to_owned(),
            nonce,
            sealed: std::mem::take(&mut text),
        };
        self.counter += 1;
        match self.position(owner, profile) {
            Ok(at) => {
                self.records[at] = record;
                Ok(true)
            }
            Err(at) => {
                self.records.insert(at, record);
                Ok(false)
            }
        }
    }

    /// Forgets a secret. Whether there was one.
    pub(crate) fn remove(&mut self, owner: &str, profile: &str) -> bool {
        let found = self.position(owner, profile);
        if let Ok(at) = found {
            self.records.remove(at);
            self.counter += 1;
        }
        found.is_ok()
    }

    /// What a record holds; nothing when it is not of this vault, place and key.
    pub(crate) fn reveal(&self, key: &Secret, record: &Record) -> Option<Zeroizing<Vec<u8>>> {
        let (text, tag) = record
            .sealed
            .split_at_checked(record.sealed.len().checked_sub(TAG)?)?;
        let mut text = Zeroizing::new(text.to_vec());
        let context = record_context(&self.header, &record.owner, &record.profile);
        decrypt(key, &record.nonce, &context, &mut text, tag).then_some(text)
    }

    fn position(&self, owner: &str, profile: &str) -> Result<usize, usize> {
        self.records
            .binary_search_by(|record| record.place().cmp(&(owner, profile)))
    }
}

/// Whether the seal says that a file was written as it is with this key.
pub(crate) fn verify(bytes: &[u8], key: &Secret) -> bool {
    let split = bytes.len().checked_sub(NONCE + TAG);
    let Some((body, seal)) = split.and_then(|at| bytes.split_at_checked(at)) else {
        return false;
    };
    let Some((nonce, tag)) = seal.split_first_chunk::<NONCE>() else {
        return false;
    };
    decrypt(key, nonce, &seal_context(body), &mut [], tag)
}

fn record_context(header: &Header, owner: &str, profile: &str) -> Vec<u8> {
    let mut context = b"clawdbot vault record\0".to_vec();
    context.extend(header.bytes());
    for text in [owner, profile] {
        put_length::<2>(&mut context, text.len());
        context.extend(text.as_bytes());
    }
    context
}

fn seal_context(body: &[u8]) -> Vec<u8> {
    [b"clawdbot vault seal\0", body].concat()
}

fn encrypt(
    key: &Secret,
    nonce: &[u8; NONCE],
    context: &[u8],
    text: &mut [u8],
) -> std::io::Result<[u8; TAG]> {
    // It fails for a key of another length, which is never made, or a text of 256 GiB.
    cipher(key)
        .and_then(|cipher| {
            cipher
                .encrypt_in_place_detached(nonce.into(), context, text)
                .ok()
        })
        .map(Into::into)
        .ok_or_else(|| std::io::Error::other("the vault's cipher refused its key"))
}

fn decrypt(key: &Secret, nonce: &[u8; NONCE], context: &[u8], text: &mut [u8], tag: &[u8]) -> bool {
    let Ok(tag) = <[u8; TAG]>::try_from(tag) else {
        return false;
    };
    cipher(key).is_some_and(|cipher| {
        cipher
            .decrypt_in_place_detached(nonce.into(), context, text, &Tag::from(tag))
            .is_ok()
    })
}

/// The cipher wipes its copy of the key when it is dropped.
fn cipher(key: &Secret) -> Option<XChaCha20Poly1305> {
    key.expose(|key| XChaCha20Poly1305::new_from_slice(key).ok())
}

/// Appends a length in `N` bytes. What is longer than they can say is refused before it gets here.
fn put_length<const N: usize>(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend(&length.to_be_bytes()[size_of::<usize>() - N..]);
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damage::Form)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        self.take(N)?.try_into().map_err(|_| Damage::Form)
    }

    fn text(&mut self) -> Result<String, Damage> {
        let length = u16::from_be_bytes(self.array()?);
        let text = self.take(length.into())?.to_vec();
        String::from_utf8(text).map_err(|_| Damage::Form)
    }

    fn long(&mut self) -> Result<Vec<u8>, Damage> {
        let length = u32::from_be_bytes(self.array()?);
        let length = usize::try_from(length).map_err(|_| Damage::Form)?;
        Ok(self.take(length)?.to_vec())
    }
}

#[cfg(test)]
mod tests;
