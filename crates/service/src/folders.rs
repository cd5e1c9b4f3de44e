//! The folders of a process's state. A leaf is its own and nobody else's. Above it lies, where several
//! users share the state directory, what is root's and what nobody else can write.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::StartError;

/// Makes what `systemd-tmpfiles` has a line for.
const TMPFILES: &str = "systemd-tmpfiles --create clawdbot.conf";

/// A directory of this user that nobody else can enter: made with mode 0700 if missing. One of this
/// user with a wider mode is tightened; one of somebody else, or a link, is refused.
///
/// # Errors
/// With what is wrong and how to mend it.
pub fn own_directory(path: &Path) -> Result<(), StartError> {
    let shown = path.display();
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(StartError::io(&format!("cannot make {shown}"), &error)),
    }
    let found = found(path)?;
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own {
        return Err(StartError::config(format!(
            "{shown} belongs to user {}, this is user {own}; give it back with: chown -R {own} {shown}",
            found.uid()
        )));
    }
    if found.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(|e| StartError::io(&format!("cannot set mode 0700 on {shown}"), &e))?;
    }
    Ok(())
}

/// What is there, which must be a directory.
fn found(path: &Path) -> Result<Metadata, StartError> {
    let shown = path.display();
    let found = fs::symlink_metadata(path).map_err(|e| StartError::io(&shown.to_string(), &e))?;
    match found.is_dir() {
        true => Ok(found),
        false => Err(StartError::config(format!(
            "{shown} is not a directory; move it away and start again"
        ))),
    }
}

/// The folder `STATE/leaf` where only this user writes: each part is made and checked.
pub(crate) fn single(state: &Path, leaf: &str) -> Result<(), StartError> {
    paths(state, leaf)
        .iter()
        .try_for_each(|path| own_directory(path))
}

/// The folder `STATE/leaf` where each process is a user: what is above it is root's, and the leaf this
/// process's own. The package makes them; where everything is this user's, they are made here.
pub(crate) fn shared(state: &Path, leaf: &str) -> Result<(), StartError> {
    parent(state)?;
    let mut paths = paths(state, leaf);
    let own = paths.pop();
    paths.iter().try_for_each(|path| {
        make(path)?;
        parent(path)
    })?;
    own.map_or(Ok(()), |path| {
        make(&path)?;
        own_directory(&path)
    })
}

/// `STATE/a`, `STATE/a/b`, ...
fn paths(state: &Path, leaf: &str) -> Vec<PathBuf> {
    let parts = Path::new(leaf).iter();
    let below = parts.scan(state.to_owned(), |path, part| {
        path.push(part);
        Some(path.clone())
    });
    below.collect()
}

/// Makes a directory if there is nothing of that name.
fn make(path: &Path) -> Result<(), StartError> {
    let shown = path.display();
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) => match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                Err(StartError::config(format!(
                    "{shown} is missing or out of reach, and this user cannot make it ({error}); mend it with: {TMPFILES}"
                )))
            }
            _ => Err(StartError::io(&format!("cannot make {shown}"), &error)),
        },
    }
}

/// Whoever could write here could put another folder in the place of the leaf.
fn parent(path: &Path) -> Result<(), StartError> {
    let shown = path.display();
    let found = match found(path) {
        Err(_) if !path.exists() => {
            return Err(StartError::config(format!(
                "{shown} is missing or out of reach; mend it with: {TMPFILES}"
            )));
        }
        found => found?,
    };
    let own = rustix::process::geteuid().as_raw();
    let wrong = |what: String| Err(StartError::config(format!("{shown} {what}")));
    if found.uid() == own {
        return match found.mode() & 0o022 {
            0 => Ok(()),
            _ => wrong(format!(
                "can be written by others (mode {:04o}); mend it with: chmod 0700 {shown}",
                found.mode() & 0o7777
            )),
        };
    }
    if found.uid() != 0 {
        return wrong(format!(
            "belongs to user {}, who could replace what others keep in it; it must be root's: chown root:root {shown}",
            found.uid()
        ));
    }
    match found.mode() & 0o7777 {
        mode if mode & 0o022 != 0 => wrong(format!(
            "can be written by others than root (mode {mode:04o}); mend it with: chmod 0711 {shown}"
        )),
        mode if mode & 0o001 == 0 => wrong(format!(
            "cannot be passed by this user (mode {mode:04o}); mend it with: chmod 0711 {shown}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_is_made_private_and_a_wide_one_is_tightened() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a");
        own_directory(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        set_mode(&path, 0o777);
        own_directory(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn a_link_in_the_place_of_a_directory_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("link");
        std::os::unix::fs::symlink(scratch.path(), &path).unwrap();
        let error = own_directory(&path).unwrap_err();
        assert!(error.to_string().contains("is not a directory"), "{error}");
        let error = shared(scratch.path(), "link/main").unwrap_err();
        assert!(error.to_string().contains("is not a directory"), "{error}");
        let error = shared(scratch.path(), "link").unwrap_err();
        assert!(error.to_string().contains("is not a directory"), "{error}");
    }

    #[test]
    fn a_shared_state_directory_is_passed_and_its_leaf_is_private() {
        let scratch = tempfile::tempdir().unwrap();
        set_mode(scratch.path(), 0o711);
        shared(scratch.path(), "sessions/main").unwrap();
        let leaf = scratch.path().join("sessions/main");
        assert_eq!(mode(&leaf), 0o700);
        set_mode(&leaf, 0o755);
        set_mode(&scratch.path().join("sessions"), 0o711);
        shared(scratch.path(), "sessions/main").unwrap();
        assert_eq!((mode(&leaf), mode(scratch.path())), (0o700, 0o711));
        // Others pass it: nobody's mode is changed but the leaf's.
        assert_eq!(mode(&scratch.path().join("sessions")), 0o711);
    }

    #[test]
    fn a_parent_that_others_can_write_is_refused_wherever_it_lies() {
        let scratch = tempfile::tempdir().unwrap();
        let refused = |remedy: &str| {
            let error = shared(scratch.path(), "sessions/main").unwrap_err();
            assert_eq!(error.code(), 78);
            let said = error.to_string();
            assert!(said.contains("can be written by others"), "{said}");
            assert!(said.contains(remedy), "{said}");
        };
        set_mode(scratch.path(), 0o773);
        refused("chmod ");
        set_mode(scratch.path(), 0o711);
        shared(scratch.path(), "sessions/main").unwrap();
        set_mode(&scratch.path().join("sessions"), 0o770);
        refused("/sessions");
    }

    #[test]
    fn what_the_package_should_have_made_is_named_with_the_remedy() {
        let absent = shared(Path::new("/nowhere/clawdbot"), "queue").unwrap_err();
        assert_eq!(absent.code(), 78);
        let said = absent.to_string();
        assert!(
            said.contains("/nowhere/clawdbot") && said.contains(TMPFILES),
            "{said}"
        );
        if !rustix::process::geteuid().is_root() {
            // Root's, 0755: this user passes and makes nothing.
            let refused = shared(Path::new("/usr"), "clawdbot-leaf").unwrap_err();
            assert_eq!(refused.code(), 78);
            let said = refused.to_string();
            assert!(
                said.contains("/usr/clawdbot-leaf") && said.contains(TMPFILES),
                "{said}"
            );
        }
    }
}
