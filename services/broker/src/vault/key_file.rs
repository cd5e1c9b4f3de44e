//! A vault's key in a private file beside it: 64 hexadecimal digits and a line end. A key file is never replaced, since a
//! vault somewhere may need it.

use std::path::{Path, PathBuf};

use clawdbot_secrets::{Secret, hex};
use zeroize::Zeroizing;

use super::file;
use super::format::{KEY, Random};

const NAME: &str = "vault.key";
/// Longest text that is looked at, bytes.
const MAX: usize = 2 * KEY + 1;

/// Where the key of the vault in `folder` lies.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Reads the key.
///
/// # Errors
/// What is wrong with the file, and what to do.
pub(crate) fn read(folder: &Path) -> Result<Secret, String> {
    let path = path(folder);
    find(&path)?.ok_or_else(|| {
        format!(
            "the vault's key file {} is gone; put it back, or move the folder away and log in again",
            path.display()
        )
    })
}

/// The key that lies there already, as after a death before the vault itself was written, or a new one.
///
/// # Errors
/// When the file there holds no key, or no file can be made.
pub(crate) fn read_or_make(folder: &Path, random: Random) -> Result<Secret, String> {
    let path = path(folder);
    if let Some(key) = find(&path)? {
        return Ok(key);
    }
    let cannot = |error: std::io::Error| format!("cannot make {}: {error}", path.display());
    let key = generate(random).map_err(cannot)?;
    let mut text = Zeroizing::new(String::with_capacity(MAX));
    text.push_str(&key.expose(hex::encode));
    text.push('\n');
    file::replace(folder, NAME, text.as_bytes()).map_err(cannot)?;
    Ok(key)
}

/// A new key.
///
/// # Errors
/// When the system has no randomness or memory.
pub(crate) fn generate(random: Random) -> std::io::Result<Secret> {
    let mut bytes = Zeroizing::new(vec![0; KEY]);
    random(&mut bytes)?;
    Secret::new(bytes)
}

fn find(path: &Path) -> Result<Option<Secret>, String> {
    let Some(text) = file::read(path, MAX)? else {
        return Ok(None);
    };
    let digits = text.strip_suffix(b"\n").unwrap_or(&text);
    let key = hex::decode(digits).filter(|key| key.len() == KEY);
    let key = key.ok_or_else(|| {
        format!(
            "{} holds no key of 64 hexadecimal digits; put the right file back",
            path.display()
        )
    })?;
    Secret::new(key)
        .map(Some)
        .map_err(|error| format!("no memory for the vault's key: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn counting(bytes: &mut [u8]) -> std::io::Result<()> {
        (0..).zip(bytes).for_each(|(n, byte)| *byte = n);
        Ok(())
    }

    fn other(bytes: &mut [u8]) -> std::io::Result<()> {
        bytes.fill(0xff);
        Ok(())
    }

    #[test]
    fn a_key_is_made_once_and_read_back_ever_after() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).err().unwrap().contains("is gone"));
        let made = read_or_make(folder.path(), counting).unwrap();
        for again in [
            read(folder.path()).unwrap(),
            read_or_make(folder.path(), other).unwrap(),
        ] {
            assert!(made.expose(|key| again.is(key)));
        }
        let text = fs::read_to_string(path(folder.path())).unwrap();
        assert!(text.starts_with("000102") && text.ends_with("1e1f\n") && text.len() == 65);
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused_and_not_replaced() {
        for text in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
            let folder = tempfile::tempdir().unwrap();
            let path = path(folder.path());
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(read(folder.path()).is_err(), "{text:?}");
            assert!(read_or_make(folder.path(), counting).is_err(), "{text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
