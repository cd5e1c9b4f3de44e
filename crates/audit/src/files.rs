//! The files of the log: the one that is written, and older ones under their numbers. A number is never used twice, so
//! that a file that is missing leaves a hole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file that is written.
pub const CURRENT: &str = "decisions.jsonl";

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its number; none for the one that is written.
    pub number: Option<u64>,
}

impl LogFile {
    /// Its name alone.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// The name of a full file.
#[must_use]
pub fn rotated(number: u64) -> String {
    format!("decisions.{number:06}.jsonl")
}

/// All files of the log in a folder, the oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<LogFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A pipe or a link in the place of a file is none: reading it could take for ever, or be another's.
        if !entry.file_type()?.is_file() {
            continue;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let number = name
            .strip_prefix("decisions.")
            .and_then(|rest| rest.strip_suffix(".jsonl"))
            .and_then(|number| number.parse().ok())
            .filter(|number| rotated(*number) == name);
        if number.is_some() || name == CURRENT {
            files.push(LogFile {
                path: folder.join(&*name),
                number,
            });
        }
    }
    files.sort_by_key(|file| file.number.unwrap_or(u64::MAX));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_in_the_order_of_their_numbers_and_others_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            CURRENT,
            "decisions.000010.jsonl",
            "decisions.000002.jsonl",
            "decisions.1000000.jsonl",
            "decisions.3.jsonl",
            "decisions.jsonl.1",
            "head",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let link = folder.path().join("decisions.000004.jsonl");
        std::os::unix::fs::symlink(folder.path().join(CURRENT), link).unwrap();
        let names: Vec<_> = list(folder.path()).unwrap();
        let names: Vec<_> = names.iter().map(LogFile::name).collect();
        assert_eq!(
            names,
            [
                "decisions.000002.jsonl",
                "decisions.000010.jsonl",
                "decisions.1000000.jsonl",
                CURRENT
            ]
        );
        assert!(list(&folder.path().join("none")).is_err());
    }
}
