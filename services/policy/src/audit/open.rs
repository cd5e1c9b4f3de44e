//! Takes the log up where its head says that it ended. What was written after that is taken over if it belongs there, half
//! a line is cut off, and whatever else is found is on record from then on: nothing is mended in silence.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use clawdbot_audit::{CURRENT, Chain, HEAD, Head, Key, Line, LogFile, MAX_LINE, list, rotated};
use rustix::fs::OFlags;
use tracing::{error, info};

use super::{Limits, Log, last_line};

/// Name of the file with the first key, until somebody keeps it elsewhere.
const KEY: &str = "key";
/// Longest rest behind the head that is looked through, bytes: more than a file has is none of ours.
const MAX_REST: u64 = 16 << 20;

impl Log {
    /// Opens or begins the log in a folder. `random` is for the first key.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub(crate) fn open(
        folder: &Path,
        limits: Limits,
        random: impl FnOnce() -> io::Result<[u8; 32]>,
        time_ms: u64,
    ) -> io::Result<Self> {
        for name in [CURRENT, HEAD, KEY] {
            is_file(&folder.join(name))?;
        }
        let files = list(folder)?;
        let newest = files.iter().filter_map(|file| file.number).max();
        let written = last_written(&files)?;
        let said = read_head(folder)?;
        let known = said.as_deref().and_then(Head::parse);
        let mut found = None;
        let mut rest = Rest::default();
        let mut head = match known {
            Some(mut head) => {
                match resume(folder, newest.unwrap_or(0), &mut head) {
                    Ok(done) => rest = done,
                    Err(what) => found = Some(what?),
                }
                head
            }
            None => {
                if let Some((chain, _)) = written {
                    found = Some(format!(
                        "the file {HEAD} was missing or damaged, so that nobody can say where the log ended (record {} is the last); its seal begins anew",
                        chain.n
                    ));
                }
                let key = Key::new(random()?);
                write_key(folder, &key)?;
                let ages = files.iter().rev().map(|file| begun(&file.path));
                let ages: Vec<_> = ages.collect::<io::Result<_>>()?;
                Head {
                    // Younger than its files it would not let go of them.
                    age_ms: ages.into_iter().flatten().next().unwrap_or(0),
                    chain: written.unwrap_or_default().0,
                    file: newest.unwrap_or(0) + 1,
                    ..Head::new(key)
                }
            }
        };
        let mut number = head.file.max(newest.unwrap_or(0) + 1);
        if let Some(what) = &found {
            error!(what, "ALARM: the audit log is not as it was left");
            // What is there stays for whoever looks into it; a new file goes on from what was known.
            let current = folder.join(CURRENT);
            if current.exists() {
                fs::rename(current, folder.join(rotated(number)))?;
            }
            number += 1;
        }
        let head_file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(folder.join(HEAD))?;
        let clock_ms = written.map_or(time_ms, |(_, written)| written);
        head.age_ms += time_ms.saturating_sub(clock_ms).min(limits.pause_ms);
        let told = (head.gap > 0).then(|| {
            format!(
                "an earlier start found damage, and record {} says which",
                head.gap
            )
        });
        let mut log = Self {
            folder: folder.to_owned(),
            limits,
            file: Arc::new(log_file(folder)?),
            number,
            begun_ms: rest.begun_ms.unwrap_or(head.age_ms),
            clock_ms: time_ms,
            held: 0,
            head_file,
            head,
            since: rest.records,
            sealed_ms: time_ms,
            torn: false,
            failing: false,
            full: Vec::new(),
            sent: true,
            owed: VecDeque::new(),
            lost: 0,
            damage: found
                .clone()
                .map(|what| format!("the start found that {what}"))
                .or(told),
            gap: found,
        };
        log.count()?;
        if said.is_none() {
            std::os::unix::fs::FileExt::write_all_at(
                &log.head_file,
                log.head.text().as_bytes(),
                0,
            )?;
        }
        File::open(folder)?.sync_all()?;
        Ok(log)
    }
}

/// What stood behind the head.
#[derive(Default)]
struct Rest {
    records: u32,
    begun_ms: Option<u64>,
}

/// What is wrong, or why nobody can say.
type Wrong = Result<String, io::Error>;

/// Checks that the log ends where the head says, and takes over what was written in the moment before the process died.
fn resume(folder: &Path, newest: u64, head: &mut Head) -> Result<Rest, io::Result<String>> {
    let mut rest = Rest::default();
    if head.file <= newest {
        let old = folder.join(rotated(head.file));
        walk(&old, head, &mut rest, false)?;
        if head.file != newest {
            let what = format!("files were there that nobody had written, up to number {newest}");
            return Err(Ok(what));
        }
        head.file = newest + 1;
        head.offset = 0;
    }
    let current = folder.join(CURRENT);
    if head.offset > 0 || current.exists() {
        walk(&current, head, &mut rest, true)?;
        rest.begun_ms = begun(&current).map_err(Err)?;
    }
    Ok(rest)
}

fn walk(path: &Path, head: &mut Head, rest: &mut Rest, cuts: bool) -> Result<(), Wrong> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let last = head.chain.n;
    let mut file = match File::options().read(true).write(cuts).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Ok(format!(
                "the file {name} was missing, which ended with record {last}"
            )));
        }
        Err(error) => return Err(Err(error)),
    };
    let size = file.metadata().map_err(Err)?.len();
    if size < head.offset {
        return Err(Ok(format!(
            "the end of {name} was cut off, which had ended with record {last}"
        )));
    }
    if head.offset > 0 && !ends_here(&mut file, head).map_err(Err)? {
        return Err(Ok(format!(
            "record {last} was not where it had been written in {name}"
        )));
    }
    file.seek(SeekFrom::Start(head.offset)).map_err(Err)?;
    let mut bytes = Vec::new();
    (&file)
        .take(MAX_REST)
        .read_to_end(&mut bytes)
        .map_err(Err)?;
    let all_read = bytes.len() as u64 + head.offset >= size;
    let mut lines = bytes.as_slice();
    while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
        if !take(&lines[..end], head) {
            return Err(Ok(format!(
                "something was put in behind record {} in {name}",
                head.chain.n
            )));
        }
        head.offset += end as u64 + 1;
        rest.records += 1;
        lines = &lines[end + 1..];
    }
    if lines.len() > MAX_LINE || !all_read {
        return Err(Ok(format!(
            "something was put in behind record {} in {name}",
            head.chain.n
        )));
    }
    if !lines.is_empty() && cuts {
        info!(
            bytes = lines.len(),
            "half a record is cut off the audit log: the process was ended within it"
        );
        file.set_len(head.offset).map_err(Err)?;
    }
    Ok(())
}

/// Whether the line that ends at the head's offset has the head's hash.
fn ends_here(file: &mut File, head: &Head) -> io::Result<bool> {
    let tail = format!(
        "\"hash\":\"{}\"}}\n",
        clawdbot_audit::to_hex(&head.chain.hash)
    );
    let Some(start) = head.offset.checked_sub(tail.len() as u64) else {
        return Ok(false);
    };
    let mut bytes = vec![0; tail.len()];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes == tail.as_bytes())
}

/// Takes over one line behind the head.
fn take(text: &[u8], head: &mut Head) -> bool {
    let Some(line) = Line::parse(text).filter(|line| head.chain.takes(line)) else {
        return false;
    };
    let own = line.own().unwrap_or_default();
    let number = own.get("checkpoint").and_then(serde_json::Value::as_u64);
    if let Some(number) = number {
        let seal = clawdbot_audit::to_hex(&head.key.seal(number, &head.chain));
        let genuine = own.get("seal").and_then(serde_json::Value::as_str) == Some(&seal);
        if number != head.checkpoint || !genuine {
            return false;
        }
        head.checkpoint += 1;
        head.key = head.key.next();
    }
    head.chain = line.chain();
    true
}

/// Age of the log at the first record of a file.
pub(super) fn begun(path: &Path) -> io::Result<Option<u64>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(1024).read_to_end(&mut bytes)?;
    let line = bytes.split(|byte| *byte == b'\n').next();
    let value: Option<serde_json::Value> = line.and_then(|line| serde_json::from_slice(line).ok());
    Ok(value.and_then(|value| value["age"].as_u64()))
}

/// Where the chain stands at the end of all files, and when that was; nothing when nothing was ever written.
fn last_written(files: &[LogFile]) -> io::Result<Option<(Chain, u64)>> {
    let mut written = None;
    for file in files {
        if fs::metadata(&file.path)?.len() > 0 {
            written = last_line(file)?.or(written).or(Some(Default::default()));
        }
    }
    Ok(written)
}

/// Refuses a link, which is another's, and a pipe, at which a start would wait for ever.
fn is_file(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is not a plain file; put it elsewhere", path.display()),
        )),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The text of the head. What is no text is a damaged one.
fn read_head(folder: &Path) -> io::Result<Option<String>> {
    match fs::read(folder.join(HEAD)) {
        Ok(bytes) => Ok(Some(String::from_utf8(bytes).unwrap_or_default())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The file that is written, for this user alone.
pub(super) fn log_file(folder: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(folder.join(CURRENT))
}

fn write_key(folder: &Path, key: &Key) -> io::Result<()> {
    let path = folder.join(KEY);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(key.text().as_bytes())?;
    file.sync_all()
}

/// The first key, as long as it is kept here.
///
/// # Errors
/// When it is there and cannot be read.
pub(crate) fn first_key(folder: &Path) -> io::Result<Option<Key>> {
    match fs::read_to_string(folder.join(KEY)) {
        Ok(text) => Key::parse(&text).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Forgets the first key, after which only whoever kept it can check the seals.
///
/// # Errors
/// When the file cannot be removed.
pub(crate) fn forget_key(folder: &Path) -> io::Result<()> {
    fs::remove_file(folder.join(KEY))?;
    File::open(folder)?.sync_all()
}
