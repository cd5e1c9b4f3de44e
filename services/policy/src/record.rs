//! The decision record: one JSON line for each request that policy decided, in STATE/audit/decisions.jsonl. Repeated
//! refusals at the front door share one (`series`).
//!
//! A line is in the file before its decision is answered, and a permission whose line cannot be written is withdrawn. So
//! the write is a plain one on this thread (a few microseconds into the page cache), not a queue that a crash would lose.
//! It survives the death of the process; against a power cut a file is synced when it is full and at the end only. A line
//! says who decided what for whom, never a credential, a handle or the text of a message.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::handle::Trace;

/// Size at which a new file is begun, bytes.
const MAX_FILE: u64 = 8 << 20;
/// Files that are kept, with the one that is written.
const FILES: u32 = 3;
/// Longest text that is taken over into a line, bytes; ids are shorter, so that only nonsense is cut.
const MAX_TEXT: usize = 600;

const NAME: &str = "decisions.jsonl";

/// One decision.
#[derive(Debug, Clone, Copy, Default)]
pub struct Decision<'a> {
    /// What was asked: `verify`, `admit`, `tool`, …
    pub request: &'static str,
    /// The rule that refused it; none when it was permitted.
    pub refused: Option<&'static str>,
    /// Role of the caller.
    pub role: &'a str,
    /// Address of whoever knocked at the front door.
    pub source: &'a str,
    /// Session key.
    pub session: &'a str,
    /// Tool or model that was asked for.
    pub subject: &'a str,
    /// Id of the message, call or request.
    pub id: &'a str,
    /// Which message it comes of; zero where that is not known.
    pub trace: Trace,
    /// So many more like the last one with this rule and source; zero for a decision of its own.
    pub count: u32,
}

impl Decision<'_> {
    /// The line, with its end. Empty fields are left out.
    fn line(&self, time_ms: u64) -> String {
        // By hand: this is on the way of every decision.
        let mut line = format!("{{\"time\":{time_ms}");
        let decision = if self.refused.is_some() {
            "deny"
        } else {
            "allow"
        };
        for (name, text) in [
            ("request", self.request),
            ("decision", decision),
            ("rule", self.refused.unwrap_or_default()),
            ("role", self.role),
            ("source", self.source),
            ("session", self.session),
            ("subject", self.subject),
            ("id", self.id),
        ] {
            if !text.is_empty() {
                let text = Value::from(&text[..text.floor_char_boundary(MAX_TEXT)]);
                // Writing to a String cannot fail.
                let _ = write!(line, ",\"{name}\":{text}");
            }
        }
        if self.trace != Trace::default() {
            let _ = write!(line, ",\"trace\":\"{}\"", self.trace);
        }
        if self.count > 0 {
            let _ = write!(line, ",\"count\":{}", self.count);
        }
        line.push_str("}\n");
        line
    }
}

/// The open record.
pub struct Record {
    folder: PathBuf,
    file: File,
    size: u64,
    max: u64,
    /// The last write stopped within a line.
    torn: bool,
    failing: bool,
}

impl Record {
    /// Opens or begins the record in a folder.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Self::open_with(folder, MAX_FILE)
    }

    fn open_with(folder: &Path, max: u64) -> io::Result<Self> {
        let mut file = open_file(folder)?;
        let size = file.metadata()?.len();
        // A process that was killed within a write left half a line; the next one begins anew.
        let mut last = [b'\n'];
        if size > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            file,
            size,
            max,
            torn: last != *b"\n",
            failing: false,
        })
    }

    /// Writes one line. Gives back a file that is full, for somebody to sync.
    ///
    /// # Errors
    /// When the line is not in the file; the next one is tried again.
    pub fn write(&mut self, time_ms: u64, decision: &Decision<'_>) -> io::Result<Option<File>> {
        let result = self.try_write(&decision.line(time_ms));
        match (&result, self.failing) {
            (Err(error), false) => {
                let path = self.folder.join(NAME);
                tracing::error!(path = %path.display(), %error, "the decision record cannot be written: nothing is permitted until it can; make room on the disk or mend the folder");
            }
            (Ok(_), true) => tracing::info!("the decision record can be written again"),
            _ => {}
        }
        self.failing = result.is_err();
        result
    }

    fn try_write(&mut self, line: &str) -> io::Result<Option<File>> {
        let full = match self.size > 0 && self.size + line.len() as u64 > self.max {
            true => Some(self.rotate()?),
            false => None,
        };
        let line = if self.torn {
            format!("\n{line}")
        } else {
            line.to_owned()
        };
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = &rest[count..];
                    self.size += count as u64;
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(full)
    }

    fn rotate(&mut self) -> io::Result<File> {
        for number in (0..FILES - 1).rev() {
            match fs::rename(self.name(number), self.name(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let fresh = open_file(&self.folder)?;
        (self.size, self.torn) = (0, false);
        Ok(std::mem::replace(&mut self.file, fresh))
    }

    fn name(&self, number: u32) -> PathBuf {
        match number {
            0 => self.folder.join(NAME),
            _ => self.folder.join(format!("{NAME}.{number}")),
        }
    }

    /// Makes everything that was written safe against a power cut.
    ///
    /// # Errors
    /// When the disk says so.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn open_file(folder: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(folder.join(NAME))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(folder: &Path, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    fn decision(id: &str) -> Decision<'_> {
        Decision {
            request: "tool",
            role: "executor",
            id,
            ..Decision::default()
        }
    }

    #[test]
    fn a_line_says_who_asked_what_and_how_it_was_decided() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = Record::open(folder.path()).unwrap();
        let denied = Decision {
            refused: Some("tool.unknown"),
            subject: "rm\u{1b}\n\"",
            ..decision("call-1")
        };
        record.write(17, &denied).unwrap();
        record
            .write(
                18,
                &Decision {
                    session: "agent:main:main",
                    ..decision("call-2")
                },
            )
            .unwrap();
        let lines = fs::read_to_string(folder.path().join(NAME)).unwrap();
        assert_eq!(lines.lines().count(), 2, "nothing breaks a line");
        assert!(!lines.contains('\u{1b}'));
        let lines = read(folder.path(), NAME);
        assert_eq!(
            lines[0],
            serde_json::json!({"time": 17, "request": "tool", "decision": "deny", "rule": "tool.unknown",
                "role": "executor", "subject": "rm\u{1b}\n\"", "id": "call-1"})
        );
        assert_eq!(lines[1]["decision"], "allow");
        assert_eq!(lines[1].get("rule"), None);
        let mode = fs::metadata(folder.path().join(NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_reopened_record_goes_on_and_half_a_line_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        Record::open(folder.path())
            .unwrap()
            .write(1, &decision("a"))
            .unwrap();
        let mut file = OpenOptions::new()
            .append(true)
            .open(folder.path().join(NAME))
            .unwrap();
        file.write_all(b"{\"time\":2,\"req").unwrap();
        let mut record = Record::open(folder.path()).unwrap();
        record.write(3, &decision("b")).unwrap();
        record.write(4, &decision("c")).unwrap();
        let ids: Vec<_> = read(folder.path(), NAME)
            .iter()
            .map(|line| line["id"].clone())
            .collect();
        assert_eq!(ids, ["a", "b", "c"]);
    }

    #[test]
    fn the_record_is_bounded_and_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = Record::open_with(folder.path(), 1000).unwrap();
        let mut full = 0;
        for n in 0..100 {
            full += usize::from(record.write(n, &decision("x")).unwrap().is_some());
        }
        let names = [format!("{NAME}.2"), format!("{NAME}.1"), NAME.to_owned()];
        let times: Vec<u64> = names
            .iter()
            .flat_map(|name| read(folder.path(), name))
            .map(|l| l["time"].as_u64().unwrap())
            .collect();
        assert!(full > 2 && times.len() < 100);
        let oldest = 100 - times.len() as u64;
        assert_eq!(times, (oldest..100).collect::<Vec<_>>());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), FILES as usize);
        assert!(
            names
                .iter()
                .all(|name| fs::metadata(folder.path().join(name)).unwrap().len() <= 1000)
        );
    }

    #[test]
    fn endless_text_is_cut() {
        let line = decision(&"é".repeat(1000)).line(0);
        assert!(line.len() < 2 * MAX_TEXT, "{}", line.len());
    }

    #[test]
    fn a_record_that_cannot_go_on_says_so_each_time_and_recovers() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("audit");
        fs::create_dir(&inner).unwrap();
        let mut record = Record::open_with(&inner, 100).unwrap();
        record.write(1, &decision("a")).unwrap();
        fs::rename(&inner, folder.path().join("gone")).unwrap();
        for time in [2, 3] {
            assert!(record.write(time, &decision("b")).is_err());
        }
        fs::rename(folder.path().join("gone"), &inner).unwrap();
        record.write(4, &decision("c")).unwrap();
        record.sync().unwrap();
        assert_eq!(read(&inner, NAME)[0]["id"], "c");
    }
}
