//! Root file systems. They lie outside of the checkout and of the target folder, under a name that changes with what is
//! in them, so that several checkouts share them and none changes one under a running machine.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::groups::Groups;

/// Outlives test runs.
const PLACE: &str = "/var/cache/clawdbot-rig";

/// What is in them beyond apt and dpkg. A package that the product depends on has to be here: machines have no network.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libpam-systemd,libnss-systemd,passwd,adduser,iproute2,procps,ca-certificates,bash-completion,man-db,less";

/// A release of Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12, with systemd 252.
    Bookworm,
    /// Debian 13, with systemd 257.
    Trixie,
}

impl Suite {
    /// All that the product supports.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    /// Its name in the archive.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// The suite of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    fn key(self) -> String {
        let mut hasher = DefaultHasher::new();
        PACKAGES.hash(&mut hasher);
        format!("{}-{:016x}", self.name(), hasher.finish())
    }

    /// Where its root file system lies, when it has been made.
    ///
    /// # Errors
    /// When it has not.
    pub fn root(self) -> Result<PathBuf, String> {
        let root = Path::new(PLACE).join(self.key());
        match root.is_dir() {
            true => Ok(root),
            false => Err(format!(
                "the root file system of {} is not made; run `cargo xtask rig make {}`",
                self.name(),
                self.name()
            )),
        }
    }
}

/// Makes the root file system of a suite, unless it is there; where it lies.
///
/// # Errors
/// When packages cannot be had, or somebody else owns the folder.
pub fn make(suite: Suite) -> Result<PathBuf, String> {
    let place = Path::new(PLACE);
    own(place)?;
    // One at a time: who waited finds it made.
    let lock = place.join(format!("{}.lock", suite.name()));
    let lock = File::create(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| format!("the lock of {}: {error}", suite.name()))?;
    if let Ok(root) = suite.root() {
        return Ok(root);
    }
    remove_others(place, suite);
    let root = place.join(suite.key());
    let unfinished = place.join(format!("{}.new", suite.name()));
    remove(&unfinished)?;
    let output = Command::new("mmdebstrap")
        .args(["--mode=root", "--variant=apt", "--quiet"])
        .arg(format!("--include={PACKAGES}"))
        // No network, hence nothing to wait for; and a machine is thrown away, so that nothing has to reach a disk.
        .arg("--customize-hook=echo force-unsafe-io >$1/etc/dpkg/dpkg.cfg.d/rig")
        .arg(suite.name())
        .arg(&unfinished)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("mmdebstrap: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "mmdebstrap {} ended with {}:\n{}",
            suite.name(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    fs::rename(&unfinished, &root).map_err(|error| format!("{}: {error}", root.display()))?;
    Ok(root)
}

/// A folder that only root can have filled.
fn own(place: &Path) -> Result<(), String> {
    let made = fs::DirBuilder::new().mode(0o755).create(place);
    let meta = fs::symlink_metadata(place)
        .map_err(|error| format!("{}: {}", place.display(), made.err().unwrap_or(error)))?;
    match meta.is_dir() && meta.uid() == 0 && meta.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(format!("{} is somebody else's; remove it", place.display())),
    }
}

/// Root file systems of this suite with other contents, unless a machine may be running on one.
fn remove_others(place: &Path, suite: Suite) {
    if !Groups::names().is_empty() {
        return;
    }
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let of_suite = |name: &str| name.starts_with(&format!("{}-", suite.name()));
        if name.to_str().is_some_and(of_suite) {
            let _in_use = remove(&entry.path());
        }
    }
}

fn remove(path: &Path) -> Result<(), String> {
    match path.exists() {
        true => fs::remove_dir_all(path).map_err(|error| format!("{}: {error}", path.display())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_has_one_name_and_its_place_tells_what_is_in_it() {
        for suite in Suite::ALL {
            assert_eq!(Suite::parse(suite.name()), Some(suite));
            assert!(suite.key().starts_with(suite.name()));
        }
        assert_ne!(Suite::Bookworm.key(), Suite::Trixie.key());
        assert_eq!(Suite::parse("sid"), None);
    }
}
