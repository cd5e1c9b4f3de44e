//! The two settings that every process needs before it can ask policy: lines of `NAME=VALUE` that policy
//! writes. What cannot be read is taken in the strict sense and named, since the owner may have asked for it.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::log;

const LOG_LEVEL: &str = "log_level";
const SANDBOX_REQUIRE: &str = "sandbox_require";
/// More than both lines ever have, bytes.
const MAX: u64 = 4096;

/// What the settings file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// From which level on events are logged: `error` to `trace`.
    pub log_level: String,
    /// Whether a process that is not fully confined ends.
    pub require_full: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log_level: "info".into(),
            require_full: false,
        }
    }
}

impl Settings {
    /// `full` or `available`.
    #[must_use]
    pub fn sandbox_require(&self) -> &'static str {
        match self.require_full {
            true => "full",
            false => "available",
        }
    }

    /// Reads the text of the file. What is missing or wrong in it is taken as `full` and `info`, and named;
    /// a name of another version is passed over.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let mut value = |name: &str, known: &dyn Fn(&str) -> bool| {
            let mut found = text
                .lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            match (found.next(), found.next()) {
                (Some(value), None) if known(value) => Some(value.to_owned()),
                (None, _) => {
                    problems.push(format!("it has no {name}"));
                    None
                }
                (Some(_), None) => {
                    problems.push(format!("its {name} has no value of this version"));
                    None
                }
                (Some(_), Some(_)) => {
                    problems.push(format!("it has {name} more than once"));
                    None
                }
            }
        };
        let log_level = value(LOG_LEVEL, &|level| log::LEVELS.contains(&level));
        let require = value(SANDBOX_REQUIRE, &|v| matches!(v, "available" | "full"));
        let settings = Self {
            log_level: log_level.unwrap_or_else(|| Self::default().log_level),
            require_full: require.as_deref() != Some("available"),
        };
        (settings, problems)
    }

    /// What the first of the files says that is there. Without any, policy has never said anything: the defaults.
    #[must_use]
    pub fn read(files: &[PathBuf]) -> (Self, Vec<String>) {
        let mut found = files.iter().map(|path| (path, text(path)));
        let gone = |text: &io::Result<String>| matches!(text, Err(error) if error.kind() == io::ErrorKind::NotFound);
        let Some((path, found)) = found.find(|(_, text)| !gone(text)) else {
            return Default::default();
        };
        let (settings, problems) = match found {
            Ok(text) => Self::parse(&text),
            Err(error) => (
                Self::parse("").0,
                vec![format!("it cannot be read: {error}")],
            ),
        };
        let named = problems.into_iter().map(|problem| {
            format!(
                "{}: {problem}; what it does not say is taken as log_level=info and sandbox_require=full",
                path.display()
            )
        });
        (settings, named.collect())
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{LOG_LEVEL}={}", self.log_level)?;
        writeln!(f, "{SANDBOX_REQUIRE}={}", self.sandbox_require())
    }
}

/// The text of a settings file, read without being led elsewhere and without waiting, should it be another one's pipe.
///
/// # Errors
/// When it cannot be read, or is no file.
pub fn text(path: &Path) -> io::Result<String> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags).unwrap_or_default())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    file.take(MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_policy_writes_is_read_again() {
        for require_full in [false, true] {
            for level in ["error", "debug"] {
                let settings = Settings {
                    log_level: level.into(),
                    require_full,
                };
                assert_eq!(Settings::parse(&settings.to_string()), (settings, vec![]));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_taken_strictly_and_named() {
        for (text, says) in [
            ("", "no log_level"),
            ("log_level=debug\n", "no sandbox_require"),
            ("log_level=debug\nsandbox_require=ava", "sandbox_require"),
            (
                "log_level=debug\nsandbox_require=available\nsandbox_require=available\n",
                "more than once",
            ),
            (
                "log_level=debug\n sandbox_require=available\n",
                "no sandbox_require",
            ),
        ] {
            let (settings, problems) = Settings::parse(text);
            assert!(settings.require_full, "{text:?}");
            assert!(problems.join("; ").contains(says), "{problems:?}");
        }
        let (settings, problems) = Settings::parse("log_level=loud\nsandbox_require=available\n");
        assert_eq!(settings, Settings::default());
        assert_eq!(problems.len(), 1, "{problems:?}");
        let newer = "log_level=warn\nsandbox_require=available\nanother=1\n";
        let (settings, problems) = Settings::parse(newer);
        assert_eq!(
            (settings.log_level.as_str(), settings.require_full),
            ("warn", false)
        );
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn a_missing_file_is_no_problem_and_anything_but_a_file_is() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("settings");
        let read = |path: &Path| Settings::read(&[path.to_owned()]);
        assert_eq!(read(&path), (Settings::default(), vec![]));
        std::fs::write(&path, "log_level=info\nsandbox_require=full\n").unwrap();
        assert_eq!(read(&path).1, Vec::<String>::new());
        assert!(read(&path).0.require_full);

        let link = scratch.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let pipe = scratch.path().join("pipe");
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::Mode::from_raw_mode(0o600),
        )
        .unwrap();
        for other in [link, pipe, scratch.path().to_owned()] {
            let (settings, problems) = read(&other);
            assert!(settings.require_full, "{other:?}");
            let said = problems.join("");
            assert!(said.contains("cannot be read"), "{said}");
            assert!(said.starts_with(other.to_str().unwrap()), "{said}");
        }
    }

    #[test]
    fn what_was_said_last_counts_until_there_is_a_newer_word() {
        let scratch = tempfile::tempdir().unwrap();
        let files = ["runtime", "state"].map(|name| scratch.path().join(name));
        let [now, kept] = &files;
        std::fs::write(kept, "log_level=warn\nsandbox_require=full\n").unwrap();
        assert!(Settings::read(&files).0.require_full);
        std::fs::write(now, "log_level=warn\nsandbox_require=available\n").unwrap();
        assert!(!Settings::read(&files).0.require_full);
        // A word that cannot be understood is none to be passed over.
        std::fs::write(kept, "log_level=warn\nsandbox_require=available\n").unwrap();
        std::fs::write(now, "").unwrap();
        assert!(Settings::read(&files).0.require_full);
    }
}
