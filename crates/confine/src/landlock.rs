//! Which files a process can reach: what its rules name and nothing else. TCP, abstract sockets and
//! signals to others are closed too where the kernel can. Best effort up to the newest ABI, and the
//! caller is told what the kernel really enforces.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::profile::FileRow;

/// What may be done with a file, or beneath a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read a file, or the files beneath a directory, which cannot be listed.
    Read,
    /// Read files and list directories.
    ReadDir,
    /// All that a state directory needs: list, read, write, create, rename and remove files and
    /// directories. No links, sockets, devices or programs.
    ReadWriteDir,
    /// Remove files, and nothing else.
    RemoveFiles,
    /// Connect to a UNIX socket, or to those in a directory (asked for since ABI 9).
    Connect,
}

impl Access {
    /// The word of the profiles for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::ReadDir => "list",
            Access::ReadWriteDir => "own",
            Access::RemoveFiles => "remove",
            Access::Connect => "connect",
        }
    }

    /// Whether files can be read by it.
    pub fn reads(self) -> bool {
        matches!(self, Access::Read | Access::ReadDir | Access::ReadWriteDir)
    }

    /// Whether files can be changed by it.
    pub fn writes(self) -> bool {
        matches!(self, Access::ReadWriteDir | Access::RemoveFiles)
    }
}

#[derive(Debug)]
enum Target {
    Path(PathBuf),
    Open(OwnedFd),
}

/// A permitted path.
#[derive(Debug)]
pub struct FileRule {
    target: Target,
    // Without landlock there is nobody to tell.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    access: Access,
    optional: bool,
    named_in: &'static str,
}

impl FileRule {
    /// A rule for a path, which must exist when the rules are applied.
    pub fn path(path: impl Into<PathBuf>, access: Access) -> Self {
        Self {
            target: Target::Path(path.into()),
            access,
            optional: false,
            named_in: "",
        }
    }

    /// A rule for what a descriptor is open on (O_PATH suffices).
    pub fn open(fd: OwnedFd, access: Access) -> Self {
        Self {
            target: Target::Open(fd),
            access,
            optional: false,
            named_in: "",
        }
    }

    /// The rule of a profile's row for what the row's place is in this process.
    pub fn of_row(row: &FileRow, path: impl Into<PathBuf>) -> Self {
        Self {
            target: Target::Path(path.into()),
            access: row.access,
            optional: row.optional,
            named_in: row.source,
        }
    }

    /// Leaves the rule out if its path does not exist or lies where this user cannot go, which permits
    /// nothing.
    #[must_use]
    pub fn if_present(mut self) -> Self {
        self.optional = true;
        self
    }

    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    fn may_be_left_out(&self, error: &io::Error) -> bool {
        let absent = matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        );
        self.optional && absent
    }

    fn opening(&self, source: io::Error) -> LandlockError {
        let rule = self.shown();
        match source.kind() {
            io::ErrorKind::NotFound => LandlockError::Missing { rule },
            _ => LandlockError::Path { rule, source },
        }
    }

    /// The path, after the row that names it.
    fn shown(&self) -> String {
        let path = match &self.target {
            Target::Path(path) => path.display().to_string(),
            Target::Open(_) => "an open descriptor".to_owned(),
        };
        match self.named_in {
            "" => path,
            row => format!("{row}: {path}"),
        }
    }

    /// The path that the rule is about, as far as it can be told.
    pub(crate) fn resolved(&self) -> Option<PathBuf> {
        match &self.target {
            Target::Path(path) => std::fs::canonicalize(path).ok(),
            Target::Open(fd) => {
                use std::os::fd::AsRawFd;
                std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
            }
        }
    }
}

/// What the kernel enforces for this process from now on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LandlockStatus {
    /// The ABI in use; 0 where there is no landlock.
    pub abi: u8,
    /// Files outside the rules are out of reach.
    pub files_enforced: bool,
    /// TCP bind and connect are closed (ABI 4), connect only if it was asked for.
    pub net_enforced: bool,
    /// Abstract sockets and signals reach only this process's own kind (ABI 6).
    pub scoped: bool,
}

/// Why the rules could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// A rule's path does not exist; it may have been there a moment ago.
    #[error("{rule}: no such file; create it, or mark it with `?` in the profile")]
    Missing {
        /// The rule's path, after the row of the profile that names it.
        rule: String,
    },
    /// A rule's path cannot be opened.
    #[error("{rule}: {source}")]
    Path {
        /// The rule's path, after the row of the profile that names it.
        rule: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A rule means nothing for its file, such as listing a file that is no directory.
    #[error("{rule}: the access {access:?} means nothing for what is no directory")]
    Access {
        /// The rule's path, after the row of the profile that names it.
        rule: String,
        /// The access asked for.
        access: Access,
    },
    /// The kernel refused a rule or the whole.
    #[error("the kernel refuses the file rules: {0}")]
    Kernel(String),
}

#[cfg(target_os = "linux")]
pub use linux::restrict;

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr,
        RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
    };
    use rustix::fs::{FileType, Mode, OFlags};
    use std::os::fd::AsFd;

    /// The newest one that the rules below were written for.
    const NEWEST: ABI = ABI::V10;

    impl Access {
        fn rights(self) -> BitFlags<AccessFs> {
            match self {
                Access::Read => make_bitflags!(AccessFs::{ReadFile}),
                Access::ReadDir => make_bitflags!(AccessFs::{ReadFile | ReadDir}),
                Access::ReadWriteDir => make_bitflags!(AccessFs::{
                    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile
                    | RemoveDir | Refer
                }),
                Access::RemoveFiles => make_bitflags!(AccessFs::{RemoveFile}),
                Access::Connect => make_bitflags!(AccessFs::{ResolveUnix}),
            }
        }
    }

    /// Restricts this thread, and all that it starts, to the rules.
    ///
    /// `connect_tcp`: leave TCP connect and UDP open (the dialer). Sets `no_new_privs`.
    ///
    /// # Errors
    /// A rule that cannot be made. A kernel without landlock is no error: see the status.
    pub fn restrict(
        rules: &[FileRule],
        connect_tcp: bool,
    ) -> Result<LandlockStatus, LandlockError> {
        let kernel = |error: landlock::RulesetError| LandlockError::Kernel(error.to_string());
        let net = if connect_tcp {
            AccessNet::BindTcp.into()
        } else {
            AccessNet::from_all(NEWEST)
        };
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))
            .and_then(|ruleset| ruleset.handle_access(net))
            .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
            .and_then(Ruleset::create)
            .map_err(kernel)?;
        for rule in rules {
            let opened = match &rule.target {
                Target::Open(fd) => fd.as_fd().try_clone_to_owned(),
                Target::Path(path) => {
                    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                        .map_err(io::Error::from)
                }
            };
            let fd = match opened {
                Ok(fd) => fd,
                Err(error) if rule.may_be_left_out(&error) => continue,
                Err(error) => return Err(rule.opening(error)),
            };
            let stat = rustix::fs::fstat(&fd).map_err(|error| rule.opening(error.into()))?;
            let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let rights = rule.access.rights();
            if !directory && !AccessFs::from_file(NEWEST).contains(rights) {
                return Err(LandlockError::Access {
                    rule: rule.shown(),
                    access: rule.access,
                });
            }
            ruleset = ruleset
                .add_rule(PathBeneath::new(fd, rights))
                .map_err(kernel)?;
        }
        let status = ruleset.restrict_self().map_err(kernel)?;
        let abi = match status.landlock {
            landlock::LandlockStatus::Available { effective_abi, .. }
                if status.ruleset != RulesetStatus::NotEnforced =>
            {
                effective_abi as u8
            }
            _ => 0,
        };
        Ok(LandlockStatus {
            abi,
            files_enforced: abi >= 1,
            net_enforced: abi >= 4,
            scoped: abi >= 6,
        })
    }
}

/// There is no landlock here.
///
/// # Errors
/// None; the status says that nothing is enforced.
#[cfg(not(target_os = "linux"))]
pub fn restrict(rules: &[FileRule], _connect_tcp: bool) -> Result<LandlockStatus, LandlockError> {
    for rule in rules {
        if let (Target::Path(path), false) = (&rule.target, rule.optional) {
            std::fs::symlink_metadata(path).map_err(|error| rule.opening(error))?;
        }
    }
    Ok(LandlockStatus::default())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
