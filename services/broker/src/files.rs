//! Secrets of the source `file`: names in STATE/secrets. Refused is what is no small regular file of this user, or what
//! others can read or write: then it was never a secret.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use clawdbot_secrets::Secret;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Largest file, bytes.
const MAX: usize = 64 << 10;

/// Reads the secret of a name. One line end at its end does not belong to it.
///
/// # Errors
/// One line that names the file and what to do.
pub(crate) fn read(folder: &Path, id: &str) -> Result<Secret, String> {
    if !is_plain_name(id) {
        return Err("the id of a secret file is a plain name in the folder `secrets`: letters, digits, `.`, `_` and `-`, not starting with a point".to_owned());
    }
    let path = folder.join(id);
    let shown = path.display();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(&path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!(
                "{shown} does not exist; put the secret there with mode 0600"
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
    if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
        return Err(format!(
            "{shown} can be read or written by others; give it to this user with `chmod 600`"
        ));
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
                read(folder.path(), "a.key").unwrap().is(secret),
                "{bytes:?}"
            );
        }
        put(folder.path(), "a.key", &[b'x'; MAX], 0o400);
        assert_eq!(read(folder.path(), "a.key").unwrap().len(), MAX);
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
            let error = read(folder.path(), name).err().expect(name);
            assert!(
                error.contains(part) && error.contains(name) && !error.contains("canary"),
                "{error}"
            );
        }
        assert!(read(folder.path(), "real").is_ok());
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
            let error = read(&folder.path().join("secrets"), id).err().expect(id);
            assert!(error.contains("plain name"), "{error}");
        }
    }
}
