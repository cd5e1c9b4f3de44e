//! Reads a log in its order, some lines at a time, and leaves out what nobody asked for. It judges nothing: a line that is
//! no record is left out, and `verify` is there to name it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::chain::MAX_LINE;
use crate::files::list;

/// Bytes that are read between two answers.
const BATCH: usize = 256 * 1024;

/// Which records are wanted; what is empty or zero asks for nothing.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Not older, milliseconds since 1970.
    pub since_ms: u64,
    /// Of this process: a role, or its family.
    pub role: String,
    /// Of this message.
    pub trace: String,
}

impl Wanted {
    /// Whether a record is wanted.
    #[must_use]
    pub fn takes(&self, record: &Value) -> bool {
        let text = |name: &str| record[name].as_str().unwrap_or_default();
        let role = text("role");
        let family = role.split_once('-').map_or(role, |(family, _)| family);
        record["time"].as_u64().unwrap_or(0) >= self.since_ms
            && (self.role.is_empty() || self.role == role || self.role == family)
            && (self.trace.is_empty() || self.trace == text("trace"))
    }
}

/// The lines of a log.
pub struct Lines {
    files: VecDeque<PathBuf>,
    open: Option<BufReader<File>>,
    wanted: Wanted,
}

impl Lines {
    /// Those in a folder that are wanted.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn new(folder: &Path, wanted: Wanted) -> io::Result<Self> {
        Ok(Self {
            files: list(folder)?.into_iter().map(|file| file.path).collect(),
            open: None,
            wanted,
        })
    }

    /// The next ones, perhaps none; nothing at the end.
    ///
    /// # Errors
    /// When a file cannot be read. One that is gone was dropped meanwhile, and counts as read.
    pub fn some(&mut self) -> io::Result<Option<Vec<(String, Value)>>> {
        let mut reader = match self.open.take() {
            Some(open) => open,
            None => match self.files.pop_front().map(File::open) {
                None => return Ok(None),
                Some(Ok(file)) => BufReader::new(file),
                Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Some(Vec::new()));
                }
                Some(Err(error)) => return Err(error),
            },
        };
        let (mut lines, mut bytes, mut count) = (Vec::new(), Vec::new(), 0);
        while count < BATCH {
            bytes.clear();
            let read = (&mut reader)
                .take(MAX_LINE as u64)
                .read_until(b'\n', &mut bytes)?;
            if read == 0 {
                return Ok(Some(lines));
            }
            count += read;
            let Some(line) = bytes.strip_suffix(b"\n") else {
                continue;
            };
            if let Ok(text) = std::str::from_utf8(line)
                && let Ok(record) = serde_json::from_str::<Value>(text)
                && self.wanted.takes(&record)
            {
                lines.push((text.to_owned(), record));
            }
        }
        self.open = Some(reader);
        Ok(Some(lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{CURRENT, rotated};

    fn shown(folder: &Path, wanted: Wanted) -> Vec<u64> {
        let mut lines = Lines::new(folder, wanted).unwrap();
        let mut all = Vec::new();
        while let Some(some) = lines.some().unwrap() {
            all.extend(some.iter().map(|(_, record)| record["n"].as_u64().unwrap()));
        }
        all
    }

    #[test]
    fn what_is_wanted_is_shown_in_its_order_over_all_files() {
        let folder = tempfile::tempdir().unwrap();
        let old = "{\"n\":1,\"time\":5,\"role\":\"gateway\"}\n{\"n\":2,\"time\":6,\"role\":\"model-a\",\"trace\":\"t\"}\n";
        let new = "half a line\n{\"n\":3,\"time\":7,\"role\":\"model-b\"}\n{\"n\":4,\"time\":8";
        std::fs::write(folder.path().join(rotated(1)), old).unwrap();
        std::fs::write(folder.path().join(CURRENT), new).unwrap();
        let wanted = |since_ms, role: &str, trace: &str| Wanted {
            since_ms,
            role: role.to_owned(),
            trace: trace.to_owned(),
        };
        let folder = folder.path();
        assert_eq!(shown(folder, Wanted::default()), [1, 2, 3]);
        assert_eq!(shown(folder, wanted(6, "", "")), [2, 3]);
        assert_eq!(shown(folder, wanted(0, "model", "")), [2, 3]);
        assert_eq!(shown(folder, wanted(0, "model-b", "")), [3]);
        assert_eq!(shown(folder, wanted(0, "", "t")), [2]);
        assert_eq!(shown(folder, wanted(9, "", "")), [] as [u64; 0]);
    }
}
