//! `gateway.log`: the lines of all processes, each stamped here with the process it came from, since a
//! process that was taken over would sign with another name. 0600, rotated by size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clawdbot_service::log;
use serde_json::{Map, Value};

/// Size at which a new file is begun.
const LIMIT: u64 = 10 << 20;
/// Older files that are kept: gateway.log.1 is the newest of them.
const KEPT: u32 = 4;
/// Longest line that is kept whole, bytes.
pub(crate) const LINE: usize = 8 << 10;

/// The open log.
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

/// A line with what the screen needs of it.
pub(crate) struct Line {
    pub(crate) level: String,
    pub(crate) message: String,
    rendered: String,
}

impl LogFile {
    /// Opens or makes the file. One of somebody else, or a link, is refused.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, LIMIT)
    }

    fn with_limit(path: &Path, limit: u64) -> io::Result<Self> {
        let file = create(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            limit,
        })
    }

    /// Appends a line. A full disk loses log lines and nothing else.
    pub(crate) fn write(&mut self, line: &Line) -> io::Result<()> {
        if self.size + line.rendered.len() as u64 > self.limit {
            self.rotate()?;
        }
        self.file.write_all(line.rendered.as_bytes())?;
        self.size += line.rendered.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        // A try that failed half-way has moved it aside already.
        if !self.path.exists() {
            return self.begin();
        }
        for number in (1..KEPT).rev() {
            let from = numbered(&self.path, number);
            if from.exists() {
                fs::rename(from, numbered(&self.path, number + 1))?;
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))?;
        self.begin()
    }

    fn begin(&mut self) -> io::Result<()> {
        self.file = create(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() {
        let text = format!(
            "{} is not a file of this user; move it away",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

impl Line {
    /// Stamps what a process wrote. Whatever is no JSON object (the last words of a panic) becomes the
    /// message of an error line.
    pub(crate) fn from_process(role: &str, pid: u32, bytes: &[u8], now: SystemTime) -> Self {
        let cut = bytes.get(..LINE).unwrap_or(bytes);
        let mut fields = match serde_json::from_slice(cut) {
            Ok(Value::Object(fields)) => fields,
            _ => {
                let text = String::from_utf8_lossy(cut);
                let mut fields = Map::new();
                fields.insert("level".into(), "error".into());
                fields.insert(
                    "message".into(),
                    clawdbot_identity::text::sanitize_line(&text)
                        .into_owned()
                        .into(),
                );
                fields
            }
        };
        for own in ["time", "role"] {
            fields.remove(own);
        }
        fields.insert("pid".into(), pid.into());
        let text = |value: Option<Value>| {
            value
                .as_ref()
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let level = match text(fields.remove("level")).as_str() {
            level @ ("warn" | "info" | "debug" | "trace") => level.to_owned(),
            _ => String::from("error"),
        };
        let message = text(fields.get("message").cloned());
        let rendered = log::render(now, role, &level, fields);
        Self {
            level,
            message,
            rendered,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn line(bytes: &[u8]) -> Line {
        Line::from_process("gateway", 7, bytes, UNIX_EPOCH)
    }

    #[test]
    fn a_process_cannot_sign_with_another_name_or_time() {
        let forged =
            line(br#"{"time":"2099","role":"policy","pid":1,"level":"info","message":"hi"}"#);
        let value: Value = serde_json::from_str(&forged.rendered).unwrap();
        assert_eq!(value["role"], "gateway");
        assert_eq!(value["pid"], 7);
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(
            (forged.level.as_str(), forged.message.as_str()),
            ("info", "hi")
        );
    }

    #[test]
    fn last_words_that_are_no_json_become_one_error_line() {
        let words = line(b"thread 'main' panicked\x1b[31m\xff");
        assert_eq!(words.level, "error");
        assert!(!words.rendered.contains('\u{1b}'));
        assert_eq!(words.rendered.matches('\n').count(), 1);
    }

    #[test]
    fn a_full_file_moves_aside_and_old_ones_go() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("gateway.log");
        let mut log = LogFile::with_limit(&path, 200).unwrap();
        for _ in 0..20 {
            log.write(&line(
                br#"{"level":"info","message":"a line of the usual length"}"#,
            ))
            .unwrap();
        }
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(fs::metadata(&path).unwrap().len() <= 200);
        assert!(numbered(&path, KEPT).exists());
        assert!(!numbered(&path, KEPT + 1).exists());
    }
}
