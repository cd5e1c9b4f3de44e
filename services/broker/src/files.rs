//! Secrets in files of their own: those of the source `file`, and in system mode what the service manager provides.
//! Refused is what is no small regular file, or what others can read or write: then it was never a secret.

use std::fmt::Display;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clawdbot_secrets::Secret;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Largest file, bytes.
const MAX: usize = 64 << 10;

/// Credentials that are this process's or policy's own, whatever the configuration says.
const RESERVED: &[&str] = &clawdbot_service::system::CREDENTIALS;

/// Who vouches for the files of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// This user alone has access.
    Own,
    /// Root's, lent to this user's group.
    Root,
    /// The service manager hands them to this process alone, whatever their owner and mode look like.
    Manager,
}

/// A folder of secrets, each a file by its plain name.
pub(crate) struct Folder {
    path: PathBuf,
    whose: Whose,
}

/// Where secrets of the configuration are files.
pub(crate) struct Folders {
    /// Of the source `file`.
    pub(crate) secrets: Folder,
    /// Of the source `systemd`; none where no service manager starts the processes.
    pub(crate) credentials: Option<Folder>,
}

impl From<PathBuf> for Folders {
    /// Single-user mode: STATE/secrets.
    fn from(path: PathBuf) -> Self {
        Self {
            secrets: Folder {
                path,
                whose: Whose::Own,
            },
            credentials: None,
        }
    }
}

impl Folders {
    /// System mode: beside the configuration, and the service manager's.
    pub(crate) fn of_system(secrets: PathBuf, credentials: Option<PathBuf>) -> Self {
        Self {
            secrets: Folder {
                path: secrets,
                whose: Whose::Root,
            },
            credentials: Some(Folder {
                // Without any it has no folder, and what is not there is told as such.
                path: credentials.unwrap_or_else(|| "/run/credentials/none".into()),
                whose: Whose::Manager,
            }),
        }
    }
}

impl Whose {
    fn missing(self, path: &Path, id: &str) -> String {
        let shown = path.display();
        match self {
            Self::Own => format!("{shown} does not exist; put the secret there with mode 0600"),
            Self::Root => format!(
                "{shown} does not exist; put the secret there, for root and the group clawdbot-broker with mode 0640"
            ),
            Self::Manager => format!(
                "the service manager gives no credential {id}: `systemctl edit clawdbot-broker`, write LoadCredential={id}:/PATH under [Service], then `systemctl restart clawdbot-broker`"
            ),
        }
    }

    /// What keeps a file from being a secret of this process alone.
    fn wrong(self, meta: &Metadata, shown: &dyn Display) -> Option<String> {
        let own = meta.uid() == rustix::process::geteuid().as_raw();
        let lent = meta.gid() == rustix::process::getegid().as_raw();
        let (ok, remedy) = match self {
            Self::Manager => return None,
            Self::Own => (
                own && meta.mode() & 0o077 == 0,
                "give it to this user with `chmod 600`".to_owned(),
            ),
            Self::Root => (
                (own || meta.uid() == 0)
                    && (meta.mode() & 0o077 == 0 || (lent && meta.mode() & 0o037 == 0)),
                format!("`chown root:clawdbot-broker {shown}` and `chmod 640 {shown}`"),
            ),
        };
        (!ok).then(|| format!("{shown} can be read or written by others; {remedy}"))
    }
}

/// Reads the secret of a name. One line end at its end does not belong to it.
///
/// # Errors
/// One line that names the file and what to do.
pub(crate) fn read(folder: &Folder, id: &str) -> Result<Secret, String> {
    let whose = folder.whose;
    if !is_plain_name(id) {
        return Err("the id of a secret file is a plain name in the folder `secrets`: letters, digits, `.`, `_` and `-`, not starting with a point".to_owned());
    }
    if whose == Whose::Manager && RESERVED.contains(&id) {
        return Err(format!(
            "the credential {id} is Clawdbot's own; give this secret another name"
        ));
    }
    let path = folder.path.join(id);
    let shown = path.display();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(&path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(whose.missing(&path, id));
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && whose == Whose::Root => {
            return Err(format!(
                "{shown}: {error}; `chown root:clawdbot-broker {shown}` and `chmod 640 {shown}`"
            ));
        }
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    let meta = file
        .metadata()
        .map_err(|error| format!("{shown}: {error}"))?;
    if !meta.is_file() {
        return Err(format!("{shown} is no regular file"));
    }
    if let Some(why) = whose.wrong(&meta, &shown) {
        return Err(why);
    }
    // Room for all of it at once, so that no half-grown copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX + 1));
    (&mut file)
        .take(MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{shown}: {error}"))?;
    if bytes.len() > MAX {
        return Err(format!("{shown} is larger than 64 KiB"));
    }
    for end in *b"\n\r" {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(format!("{shown} is empty"));
    }
    Secret::new(bytes).map_err(|error| format!("no memory for a secret: {error}"))
}

fn is_plain_name(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && !id.starts_with('.')
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn put(folder: &Path, name: &str, bytes: &[u8], mode: u32) {
        fs::write(folder.join(name), bytes).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn own(folder: &Path) -> Folder {
        Folders::from(folder.to_owned()).secrets
    }

    #[test]
    fn a_private_file_is_the_secret_without_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, secret) in [
            (&b"key"[..], &b"key"[..]),
            (b"key\n", b"key"),
            (b"key\r\n", b"key"),
            (b"key\n\n", b"key\n"),
            (b" k\xff\n", b" k\xff"),
        ] {
            put(folder.path(), "a.key", bytes, 0o600);
            assert!(
                read(&own(folder.path()), "a.key").unwrap().is(secret),
                "{bytes:?}"
            );
        }
        put(folder.path(), "a.key", &[b'x'; MAX], 0o400);
        assert_eq!(read(&own(folder.path()), "a.key").unwrap().len(), MAX);
    }

    #[test]
    fn what_is_no_private_small_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "open", b"canary", 0o644);
        put(folder.path(), "group", b"canary", 0o620);
        put(folder.path(), "large", &[b'x'; MAX + 1], 0o600);
        put(folder.path(), "empty", b"\n", 0o600);
        put(folder.path(), "real", b"canary", 0o600);
        symlink(folder.path().join("real"), folder.path().join("link")).unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        for (name, part) in [
            ("open", "chmod 600"),
            ("group", "chmod 600"),
            ("large", "larger"),
            ("empty", "is empty"),
            ("link", "link"),
            ("folder", "no regular file"),
            ("missing", "does not exist"),
        ] {
            let error = read(&own(folder.path()), name).err().expect(name);
            assert!(
                error.contains(part) && error.contains(name) && !error.contains("canary"),
                "{error}"
            );
        }
        assert!(read(&own(folder.path()), "real").is_ok());
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("secrets")).unwrap();
        put(folder.path(), "outside", b"x", 0o600);
        for id in [
            "",
            ".",
            "..",
            "../outside",
            "/etc/passwd",
            ".hidden",
            "a/b",
            "a\0b",
            "a b",
            &"x".repeat(129),
        ] {
            let error = read(&own(&folder.path().join("secrets")), id)
                .err()
                .expect(id);
            assert!(error.contains("plain name"), "{error}");
        }
    }

    #[test]
    fn in_system_mode_root_lends_a_file_to_the_group_and_to_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::of_system(folder.path().to_owned(), None);
        for (mode, good) in [
            (0o600, true),
            (0o640, true),
            (0o440, true),
            (0o644, false),
            (0o660, false),
            (0o650, false),
            (0o602, false),
        ] {
            // Of its own name: only root writes to one that is read-only.
            let name = format!("{mode:o}");
            put(folder.path(), &name, b"key", mode);
            match read(&folders.secrets, &name) {
                Ok(secret) => assert!(good && secret.is(b"key"), "{mode:o}"),
                Err(why) => assert!(!good && why.contains("chown root:clawdbot-broker"), "{why}"),
            }
        }
        let why = read(&folders.secrets, "none").err().unwrap();
        assert!(why.contains("0640"), "{why}");
    }

    #[test]
    fn a_credential_is_what_the_manager_gives_and_never_our_own() {
        let folder = tempfile::tempdir().unwrap();
        let some = Folders::of_system("/none".into(), Some(folder.path().to_owned()));
        let folders = some.credentials.unwrap();
        // On 252 an access list makes it look as if the group could read it.
        put(folder.path(), "bot", b"key\n", 0o440);
        assert!(read(&folders, "bot").unwrap().is(b"key"));
        for name in RESERVED {
            put(folder.path(), name, b"canary", 0o400);
            let why = read(&folders, name).err().unwrap();
            assert!(why.contains("own") && !why.contains("canary"), "{why}");
        }
        symlink(folder.path().join("vault-key"), folder.path().join("link")).unwrap();
        assert!(read(&folders, "link").is_err());
        for folders in [
            folders,
            Folders::of_system("/none".into(), None)
                .credentials
                .unwrap(),
        ] {
            let why = read(&folders, "other").err().unwrap();
            assert!(why.contains("LoadCredential=other:"), "{why}");
        }
    }
}
