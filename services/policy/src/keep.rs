//! Files in STATE/pairing: the generated gateway token, the key that seals handles and visits, and documents. They are
//! written whole or not at all, 0600, and refused when somebody else could have read or written them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Longest secret, bytes.
const MAX: u64 = 4096;
/// Longest document, bytes.
const MAX_DOCUMENT: u64 = 64 << 20;

/// Name of the generated gateway token.
const TOKEN: &str = "gateway-token";
/// Name of the key behind handles and visits.
const KEY: &str = "visit-key";

/// Shortest token that is taken from a person, characters.
pub const MIN_TOKEN: usize = 24;
/// Shortest password, characters.
pub const MIN_PASSWORD: usize = 12;

/// Why a secret file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: String,
        /// What it said.
        error: io::Error,
    },
    /// The file is not as it was made.
    #[error("{path} {what}")]
    Broken {
        /// Which file.
        path: String,
        /// What is wrong and what to do.
        what: String,
    },
}

impl From<KeepError> for io::Error {
    fn from(error: KeepError) -> Self {
        let said = error.to_string();
        match error {
            KeepError::Io { error, .. } => Self::new(error.kind(), said),
            KeepError::Broken { .. } => Self::new(io::ErrorKind::InvalidData, said),
        }
    }
}

/// The folder of the secret files.
pub struct Keep(PathBuf);

impl Keep {
    /// Takes the folder, which is 0700 and this user's.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Whether there is a key behind handles already: without one there was no session before.
    pub fn has_master_key(&self) -> bool {
        fs::symlink_metadata(self.0.join(KEY)).is_ok()
    }

    /// The key behind handles and visits, made from `random` when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is broken.
    pub fn master_key(
        &self,
        random: impl FnOnce() -> io::Result<[u8; 32]>,
    ) -> Result<Zeroizing<[u8; 32]>, KeepError> {
        let text = self.read_or_make(KEY, random)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.as_bytes()).unwrap_or_default());
        match bytes.as_slice().try_into() {
            Ok(key) => Ok(Zeroizing::new(key)),
            Err(_) => Err(self.broken(
                KEY,
                "is damaged; delete it: a new one is made, and whoever is signed in signs in again",
            )),
        }
    }

    /// The generated gateway token, made from `random` when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds no token.
    pub fn token(
        &self,
        random: impl FnOnce() -> io::Result<[u8; 32]>,
    ) -> Result<Zeroizing<String>, KeepError> {
        let token = self.read_or_make(TOKEN, random)?;
        let plain = token.chars().all(|c| c.is_ascii_graphic());
        match plain && token.len() >= MIN_TOKEN {
            true => Ok(token),
            false => Err(self.broken(
                TOKEN,
                "must hold one token of at least 24 visible ASCII characters; delete it, and a new one is made",
            )),
        }
    }

    /// Replaces the generated gateway token.
    ///
    /// # Errors
    /// When the file cannot be written; the old token is still there then.
    pub fn new_token(&self, random: [u8; 32]) -> Result<Zeroizing<String>, KeepError> {
        let token = encode(&Zeroizing::new(random));
        self.write(TOKEN, &token)?;
        Ok(token)
    }

    fn read_or_make(
        &self,
        name: &str,
        random: impl FnOnce() -> io::Result<[u8; 32]>,
    ) -> Result<Zeroizing<String>, KeepError> {
        if let Some(text) = self.read(name, MAX)? {
            return Ok(text);
        }
        let random = Zeroizing::new(random().map_err(|error| self.io(name, error))?);
        let text = encode(&random);
        self.write(name, &text)?;
        Ok(text)
    }

    /// The text of a document, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read, or others could have written it.
    pub fn read_document(&self, name: &str) -> Result<Option<Zeroizing<String>>, KeepError> {
        self.read(name, MAX_DOCUMENT)
    }

    /// Replaces a document.
    ///
    /// # Errors
    /// When the file cannot be written. The old one is there then, or the new one if only its folder could not be synced.
    pub fn write_document(&self, name: &str, text: &str) -> Result<(), KeepError> {
        self.write(name, text)
    }

    fn read(&self, name: &str, max: u64) -> Result<Option<Zeroizing<String>>, KeepError> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(self.0.join(name));
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(name, error)),
        };
        let meta = file.metadata().map_err(|error| self.io(name, error))?;
        if !meta.is_file() || meta.len() > max {
            return Err(self.broken(name, "is not a small regular file; move it away"));
        }
        if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
            return Err(self.broken(
                name,
                "can be read or written by others; delete it, or make it yours with `chmod 600`",
            ));
        }
        // Room from the start: a growing text would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(meta.len().max(MAX) as usize));
        match (&mut file).take(max).read_to_string(&mut text) {
            Ok(_) => Ok(Some(Zeroizing::new(text.trim_end().to_owned()))),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(self.broken(name, "is not text; delete it"))
            }
            Err(error) => Err(self.io(name, error)),
        }
    }

    /// Writes beside, syncs, renames, syncs the folder: after a power cut there is the old file or the new one.
    fn write(&self, name: &str, text: &str) -> Result<(), KeepError> {
        let (path, fresh) = (self.0.join(name), self.0.join(format!(".{name}.new")));
        let write = || {
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|error| self.io(name, error))
    }

    /// Where a file lies, for messages.
    pub fn path(&self, name: &str) -> String {
        Path::display(&self.0.join(name)).to_string()
    }

    fn io(&self, name: &str, error: io::Error) -> KeepError {
        KeepError::Io {
            path: self.path(name),
            error,
        }
    }

    fn broken(&self, name: &str, what: &str) -> KeepError {
        KeepError::Broken {
            path: self.path(name),
            what: what.to_owned(),
        }
    }
}

/// The format of a document, if it is newer than `newest`: its first value has it as `version`.
pub fn newer(text: &str, newest: u64) -> Option<u64> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    let version = values.next()?.ok()?["version"].as_u64()?;
    (version > newest).then_some(version)
}

fn encode(bytes: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn keep() -> (tempfile::TempDir, Keep) {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::new(folder.path().to_owned());
        (folder, keep)
    }

    fn never() -> io::Result<[u8; 32]> {
        panic!("there is one already")
    }

    #[test]
    fn only_a_document_that_says_so_is_newer() {
        for (text, found) in [
            ("{\"version\": 3, \"accounts\": []}", Some(3)),
            ("{\"whole\":true,\"version\":3}\n{\"line\":1}\n", Some(3)),
            ("{\"version\": 2}", None),
            ("{\"version\": \"3\"}", None),
            ("{\"version\": 3", None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(newer(text, 2), found, "{text}");
        }
    }

    #[test]
    fn a_token_is_made_once_with_256_bits_and_only_for_its_owner() {
        let (folder, keep) = keep();
        let token = keep.token(|| Ok([0xfb; 32])).unwrap();
        assert_eq!(
            URL_SAFE_NO_PAD.decode(token.as_bytes()).unwrap(),
            [0xfb; 32]
        );
        assert_eq!(*keep.token(never).unwrap(), *token);
        let mode = fs::metadata(folder.path().join(TOKEN))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing else is left behind"
        );
    }

    #[test]
    fn a_rotated_token_replaces_the_old_one() {
        let (_folder, keep) = keep();
        let old = keep.token(|| Ok([1; 32])).unwrap();
        let new = keep.new_token([2; 32]).unwrap();
        assert_ne!(*old, *new);
        assert_eq!(*keep.token(never).unwrap(), *new);
    }

    #[test]
    fn the_master_key_is_made_once_and_a_damaged_one_is_not_replaced() {
        let (folder, keep) = keep();
        assert_eq!(*keep.master_key(|| Ok([3; 32])).unwrap(), [3; 32]);
        assert_eq!(*keep.master_key(never).unwrap(), [3; 32]);
        for damaged in ["", "x", &URL_SAFE_NO_PAD.encode([3; 31])] {
            fs::write(folder.path().join(KEY), damaged).unwrap();
            let error = keep.master_key(never).err().unwrap().to_string();
            assert!(
                error.contains("visit-key") && error.contains("delete it"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_token_file_is_taken_with_a_line_end_and_refused_when_it_is_no_token() {
        let (folder, keep) = keep();
        keep.token(|| Ok([1; 32])).unwrap();
        let path = folder.path().join(TOKEN);
        fs::write(&path, "abcdefghijklmnopqrstuvwx\r\n").unwrap();
        assert_eq!(*keep.token(never).unwrap(), "abcdefghijklmnopqrstuvwx");
        for bad in [
            "",
            "short",
            "abcdefghijklmnopqrstuvw x",
            "abcdefghijklmnopqrstuvw\u{1b}x",
            &"x".repeat(5000),
        ] {
            fs::write(&path, bad).unwrap();
            let error = keep.token(never).err().unwrap().to_string();
            assert!(
                error.contains("gateway-token") && !error.contains("abcdef"),
                "{error}"
            );
        }
        fs::write(&path, b"\xff\xfe").unwrap();
        assert!(
            keep.token(never)
                .err()
                .unwrap()
                .to_string()
                .contains("not text")
        );
    }

    #[test]
    fn what_others_may_read_or_what_is_no_file_is_refused() {
        let (folder, keep) = keep();
        let path = folder.path().join(TOKEN);
        keep.token(|| Ok([1; 32])).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                keep.token(never)
                    .err()
                    .unwrap()
                    .to_string()
                    .contains("chmod 600"),
                "{mode:o}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(keep.token(never).is_ok());
        let real = folder.path().join("elsewhere");
        fs::rename(&path, &real).unwrap();
        symlink(&real, &path).unwrap();
        assert!(keep.token(never).is_err(), "a symbolic link");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(keep.token(never).is_err(), "a folder");
    }

    #[test]
    fn what_a_crash_left_behind_does_not_stop_the_next_write() {
        let (folder, keep) = keep();
        fs::write(folder.path().join(".gateway-token.new"), "half").unwrap();
        let token = keep.token(|| Ok([1; 32])).unwrap();
        assert_eq!(*keep.token(never).unwrap(), *token);
    }
}
