//! A small system file that is read again when it changed. Landlock binds a permission to the file
//! and not to its name, so a file put in another's place cannot be read: the last good text stays in
//! force, and the process asks to be started again, which costs milliseconds and opens nothing more.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

/// More of a file than this is not read.
const MAX_BYTES: u64 = 1024 * 1024;

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    changed: (i64, i64),
    size: u64,
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            file: (meta.dev(), meta.ino()),
            changed: (meta.mtime(), meta.mtime_nsec()),
            size: meta.size(),
        }
    }
}

/// The file's last good text and the state it was read in.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    /// None: not there.
    seen: Option<Stamp>,
    text: String,
    stale: bool,
}

impl Watched {
    /// Reads it for the first time. What is not there or cannot be read is empty.
    pub fn open(path: PathBuf) -> Self {
        let seen = stamp(&path);
        let text = read(&path).unwrap_or_else(|e| {
            // Not every machine has each of them.
            if e.kind() != io::ErrorKind::NotFound {
                warn!(file = %path.display(), error = %e, "cannot be read");
            }
            String::new()
        });
        Self {
            path,
            seen,
            text,
            stale: false,
        }
    }

    /// What it says now, or said when it could last be read.
    pub fn text(&mut self) -> &str {
        self.refresh();
        &self.text
    }

    /// Whether it now is another file, which this process may not read.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    fn refresh(&mut self) {
        let now = stamp(&self.path);
        if now == self.seen {
            return;
        }
        self.seen = now;
        match read(&self.path) {
            Ok(text) => {
                info!(file = %self.path.display(), "read again");
                self.text = text;
                self.stale = false;
            }
            // Gone for the moment, as while it is being replaced.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => {
                warn!(file = %self.path.display(), error = %e, "changed and cannot be read; what it said before stays in force");
                self.stale = e.kind() == io::ErrorKind::PermissionDenied;
            }
        }
    }
}

/// Links are followed: `resolv.conf` is one on most systems. Landlock does not ask for a permission here.
fn stamp(path: &Path) -> Option<Stamp> {
    std::fs::metadata(path).ok().map(|meta| Stamp::of(&meta))
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_change_is_seen_whether_in_place_or_by_replacement() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let mut file = Watched::open(path.clone());
        assert_eq!(file.text(), "", "not there yet");
        fs::write(&path, "one").unwrap();
        assert_eq!(file.text(), "one");
        fs::write(&path, "three").unwrap();
        assert_eq!(file.text(), "three");
        fs::write(folder.path().join("new"), "four!").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(file.text(), "four!");
        assert!(!file.is_stale());
    }

    #[test]
    fn what_was_read_last_stays_in_force_while_the_file_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        fs::write(&path, "one").unwrap();
        let mut file = Watched::open(path.clone());
        fs::remove_file(&path).unwrap();
        assert_eq!(file.text(), "one");
        assert!(!file.is_stale(), "its like may come back");
    }
}
