//! The vault's files on disk: read only if they are private regular files of this user, written so that a death at any
//! instant leaves the old file or the new one, whole. Files are made with the mode that they keep.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// What has been done of a write; a test ends one after each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The new file is there, empty.
    Made,
    /// A part of it is written.
    Begun,
    /// All of it is written.
    Written,
    /// It is on the disk.
    Synced,
    /// It has the old one's place.
    Renamed,
}

/// Reads a whole file; `None` when there is none.
///
/// # Errors
/// One line that names the file and what to do.
pub(crate) fn read(path: &Path, max: usize) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let shown = path.display();
    let failed = |error: io::Error| format!("{shown}: {error}");
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(format!("{shown} is no regular file"));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
        return Err(format!(
            "{shown} can be read or written by others, so it is not trusted; if it is yours: chmod 600 {shown}"
        ));
    }
    let size = usize::try_from(meta.len()).unwrap_or(usize::MAX);
    if size > max {
        return Err(format!("{shown} is larger than {max} bytes"));
    }
    // Room for all of it at once, so that no half-grown copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    (&mut file)
        .take(size as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(Some(bytes))
}

/// Puts `bytes` in the place of the file `name`.
///
/// # Errors
/// When the disk does not take it; the old file is still there then, unless only the last step failed.
pub(crate) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace_in_steps(folder, name, bytes, |_| Ok(()))
}

/// As [`replace`], telling after each step that it was done. An error from there ends it on the spot, as a death would.
fn replace_in_steps(
    folder: &Path,
    name: &str,
    bytes: &[u8],
    mut done: impl FnMut(Step) -> io::Result<()>,
) -> io::Result<()> {
    let fresh = folder.join(format!("{name}.new"));
    // Left behind by a death.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    done(Step::Made)?;
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    file.write_all(first)?;
    done(Step::Begun)?;
    file.write_all(rest)?;
    done(Step::Written)?;
    file.sync_all()?;
    done(Step::Synced)?;
    fs::rename(&fresh, folder.join(name))?;
    done(Step::Renamed)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const STEPS: [Step; 5] = [
        Step::Made,
        Step::Begun,
        Step::Written,
        Step::Synced,
        Step::Renamed,
    ];

    fn dies_after(last: Step) -> impl FnMut(Step) -> io::Result<()> {
        move |step| match step == last {
            true => Err(io::Error::other("killed")),
            false => Ok(()),
        }
    }

    fn read_back(folder: &Path) -> Option<Vec<u8>> {
        let bytes = read(&folder.join("vault"), 100).unwrap();
        bytes.map(|bytes| bytes.to_vec())
    }

    #[test]
    fn a_death_at_any_step_leaves_the_old_file_or_the_new_one() {
        for step in STEPS {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path();
            let first = replace_in_steps(folder, "vault", b"first", dies_after(step));
            assert!(first.is_err());
            let expected = (step == Step::Renamed).then(|| b"first".to_vec());
            assert_eq!(read_back(folder), expected, "{step:?}");

            replace(folder, "vault", b"second").unwrap();
            let third = replace_in_steps(folder, "vault", b"the third", dies_after(step));
            assert!(third.is_err());
            let expected: &[u8] = match step {
                Step::Renamed => b"the third",
                _ => b"second",
            };
            assert_eq!(read_back(folder).unwrap(), expected, "{step:?}");

            // What the death left behind is in nobody's way.
            replace(folder, "vault", b"fourth").unwrap();
            assert_eq!(read_back(folder).unwrap(), b"fourth");
            assert!(!folder.join("vault.new").exists());
        }
    }

    #[test]
    fn a_written_file_is_private() {
        let folder = tempfile::tempdir().unwrap();
        replace(folder.path(), "vault", b"x").unwrap();
        let mode = fs::metadata(folder.path().join("vault"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_private_file_of_this_user_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert_eq!(read(&path("vault"), 4).unwrap(), None);
        for (name, mode) in [("good", 0o600), ("open", 0o640), ("real", 0o600)] {
            fs::write(path(name), "1234").unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink(path("real"), path("link")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        for (name, max, part) in [
            ("open", 4, "chmod 600"),
            ("good", 3, "larger"),
            ("link", 4, "link"),
            ("folder", 4, "no regular file"),
        ] {
            let error = read(&path(name), max).unwrap_err();
            assert!(error.contains(part) && error.contains(name), "{error}");
        }
        assert_eq!(read(&path("good"), 4).unwrap().unwrap().as_slice(), b"1234");
    }
}
