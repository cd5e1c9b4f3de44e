//! A process before its confinement: it opens what it will need and says what it may touch later.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clawdbot_confine::landlock::{Access, FileRule};
use clawdbot_identity::Role;
use clawdbot_proto::v1::Setup;

use crate::StartError;
use crate::inherit::Inherited;

/// What `prepare` works with: settings, descriptors and the list of permitted paths.
pub struct Start {
    pub(crate) inherited: Inherited,
    pub(crate) rules: Vec<FileRule>,
}

impl Start {
    pub(crate) fn new(inherited: Inherited) -> Self {
        Self {
            inherited,
            rules: Vec::new(),
        }
    }

    /// Who this process is on its edges.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.inherited.role
    }

    /// State directory, configuration path and the other settings.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.inherited.setup
    }

    /// Permits a path after the confinement.
    pub fn allow(&mut self, rule: FileRule) {
        self.rules.push(rule);
    }

    /// A descriptor that was handed over under a name, once.
    pub fn take_file(&mut self, name: &str) -> Option<OwnedFd> {
        self.inherited.brought.files.remove(name)
    }

    /// The process's own directory `STATE/leaf`: made if missing, checked, and permitted for reading
    /// and writing. `leaf` may have several parts.
    ///
    /// # Errors
    /// When it cannot be made, or others could read or write it.
    pub fn state(&mut self, leaf: &str) -> Result<PathBuf, StartError> {
        let mut path = PathBuf::from(&self.setup().state_dir);
        for part in Path::new(leaf) {
            path.push(part);
            own_directory(&path)?;
        }
        self.allow(FileRule::path(&path, Access::ReadWriteDir));
        Ok(path)
    }
}

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
    let found = fs::symlink_metadata(path).map_err(|e| StartError::io(&shown.to_string(), &e))?;
    if !found.is_dir() {
        return Err(StartError::config(format!(
            "{shown} is not a directory; move it away and start again"
        )));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_private_and_a_wide_one_is_tightened() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a");
        own_directory(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        own_directory(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_link_in_the_place_of_a_directory_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("link");
        std::os::unix::fs::symlink(scratch.path(), &path).unwrap();
        let error = own_directory(&path).unwrap_err();
        assert!(error.to_string().contains("is not a directory"), "{error}");
    }
}
