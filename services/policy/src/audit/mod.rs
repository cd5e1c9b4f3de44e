//! The writer of the audit log in STATE/audit: one line for each decision and event, chained and sealed (`clawdbot_audit`).
//!
//! A line is in the file before its decision is answered, and a permission whose line cannot be written is withdrawn. So
//! the write is a plain one on this thread (some microseconds into the page cache), not a queue that a crash would lose.
//! It survives the death of the process; whoever must survive a power cut waits for [`Log::take_unsynced`] as well.

mod open;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clawdbot_audit::{
    CURRENT, Chain, Cursor, Head, Line, LogFile, MAX_LINE, list, rotated, to_hex,
};
use clawdbot_service::log::RECORD;
use tracing::{error, info, warn};

pub(crate) use open::{first_key, forget_key};

/// Events that wait for room on the disk.
const MAX_OWED: usize = 1024;

/// How much is kept, and how often it is sealed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Size at which a new file is begun, bytes.
    file: u64,
    /// Files that are kept, with the one that is written.
    files: usize,
    /// Age at which a new file is begun, milliseconds.
    begin_ms: u64,
    /// Age of its last record at which a file is dropped, milliseconds.
    drop_ms: u64,
    /// Records between two checkpoints.
    records: u32,
    /// Time between two checkpoints, milliseconds.
    seal_ms: u64,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Limits {
    pub(crate) const DEFAULT: Self = Self {
        file: 8 << 20,
        files: 8,
        begin_ms: 31 * DAY_MS,
        drop_ms: 366 * DAY_MS,
        records: 256,
        seal_ms: 60_000,
    };
}

/// Which other process an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Broker = 0,
    Dialer = 1,
}

/// The open log.
pub(crate) struct Log {
    folder: PathBuf,
    limits: Limits,
    file: Arc<File>,
    /// Number of the file that is written.
    number: u64,
    /// Time of its first record.
    begun_ms: u64,
    head_file: File,
    head: Head,
    /// Records since the last checkpoint.
    since: u32,
    sealed_ms: u64,
    /// Something behind the last record is still to be cut off.
    torn: bool,
    failing: bool,
    /// Full files that are not safe against a power cut yet.
    full: Vec<Arc<File>>,
    /// Events that could not be written yet, and how many more there were.
    owed: VecDeque<(u64, String)>,
    lost: u64,
    /// What the start found and has not been able to write down.
    gap: Option<String>,
    /// What the start found.
    damage: Option<String>,
}

impl Log {
    /// Writes the record of a decision. `fields` is the inside of a JSON object.
    ///
    /// # Errors
    /// When the line is not in the file; the next one is tried again.
    pub(crate) fn append(&mut self, time_ms: u64, fields: &str) -> io::Result<()> {
        let result = self.pay().and_then(|()| self.record(time_ms, fields));
        self.tell(&result);
        result
    }

    /// Writes the record of something that has happened. What cannot be written now is written later.
    pub(crate) fn note(&mut self, time_ms: u64, fields: String) {
        if self.append(time_ms, &fields).is_ok() {
            return;
        }
        match self.owed.len() < MAX_OWED {
            true => self.owed.push_back((time_ms, fields)),
            false => self.lost += 1,
        }
    }

    /// Up to which event of another process everything is on record.
    pub(crate) fn seen(&self, from: Origin) -> Cursor {
        self.head.seen[from as usize]
    }

    /// Moves that. It is kept together with the next record.
    pub(crate) fn see(&mut self, from: Origin, cursor: Cursor) {
        self.head.seen[from as usize] = cursor;
    }

    fn tell(&mut self, result: &io::Result<()>) {
        match (result, self.failing) {
            (Err(error), false) => {
                let path = self.folder.join(CURRENT);
                error!(path = %path.display(), %error, "the audit log cannot be written: nothing is permitted until it can; make room on the disk or mend the folder");
            }
            (Ok(()), true) => info!("the audit log can be written again"),
            _ => {}
        }
        self.failing = result.is_err();
    }

    /// What could not be written before.
    fn pay(&mut self) -> io::Result<()> {
        while let Some((time_ms, fields)) = self.owed.pop_front() {
            if let Err(error) = self.record(time_ms, &fields) {
                self.owed.push_front((time_ms, fields));
                return Err(error);
            }
        }
        if self.lost > 0 {
            let fields = format!("\"request\":\"audit-lost\",\"count\":{}", self.lost);
            self.record(self.begun_ms, &fields)?;
            self.lost = 0;
        }
        Ok(())
    }

    fn record(&mut self, time_ms: u64, fields: &str) -> io::Result<()> {
        let size = self.size();
        let old = time_ms.saturating_sub(self.begun_ms) >= self.limits.begin_ms;
        if size > 0 && (old || size + fields.len() as u64 > self.limits.file) {
            self.rotate()?;
        }
        self.begin(time_ms)?;
        self.line(time_ms, fields, |_| ())?;
        self.since += 1;
        if self.since >= self.limits.records {
            // The record stands; the checkpoint is tried again with the next one.
            let _ = self.checkpoint(time_ms);
        }
        Ok(())
    }

    /// Bytes of the file that is written that are records.
    fn size(&self) -> u64 {
        match self.head.file == self.number {
            true => self.head.offset,
            false => 0,
        }
    }

    /// Writes one line and where the log then ends. Either both or nothing.
    fn line(
        &mut self,
        time_ms: u64,
        fields: &str,
        change: impl FnOnce(&mut Head),
    ) -> io::Result<()> {
        let size = self.size();
        if self.torn {
            self.file.set_len(size)?;
            self.torn = false;
        }
        let (line, chain) = self.head.chain.next(time_ms, fields);
        let mut head = Head {
            chain,
            file: self.number,
            offset: size + line.len() as u64,
            ..self.head.clone()
        };
        change(&mut head);
        let written = (&*self.file)
            .write_all(line.as_bytes())
            .and_then(|()| self.head_file.write_all_at(head.text().as_bytes(), 0));
        match written {
            Ok(()) => self.head = head,
            Err(_) => self.torn = self.file.set_len(size).is_err(),
        }
        written
    }

    /// The first record of a file, and what the start found.
    fn begin(&mut self, time_ms: u64) -> io::Result<()> {
        if self.head.file != self.number || self.head.offset == 0 {
            let fields = format!(
                "\"request\":\"{}file\",\"file\":{},\"after\":\"{}\"",
                clawdbot_audit::OWN,
                self.number,
                to_hex(&self.head.chain.hash)
            );
            self.line(time_ms, &fields, |_| ())?;
            self.begun_ms = time_ms;
            if let Err(error) = self.drop_old(time_ms) {
                warn!(%error, "an old file of the audit log could not be removed");
            }
        }
        if let Some(gap) = &self.gap {
            let found = serde_json::Value::from(gap.as_str());
            let fields = format!("\"request\":\"audit-gap\",\"subject\":{found}");
            self.line(time_ms, &fields, |_| ())?;
            self.gap = None;
        }
        Ok(())
    }

    /// Seals what has been written. The key of this checkpoint is gone afterwards. The copy in the processes' log is out
    /// of reach for whoever takes over this process, and in system mode for its user.
    fn checkpoint(&mut self, time_ms: u64) -> io::Result<()> {
        let number = self.head.checkpoint;
        let seal = self.head.key.seal(number, &self.head.chain);
        let fields = format!(
            "\"request\":\"audit-checkpoint\",\"checkpoint\":{number},\"seal\":\"{}\"",
            to_hex(&seal)
        );
        self.line(time_ms, &fields, |head| {
            head.checkpoint += 1;
            head.key = head.key.next();
        })?;
        (self.since, self.sealed_ms) = (0, time_ms);
        let Chain { n, hash } = self.head.chain;
        info!(target: RECORD, checkpoint = number, record = n, hash = to_hex(&hash), "audit checkpoint");
        Ok(())
    }

    /// Seals what is new when it is time.
    pub(crate) fn tick(&mut self, time_ms: u64) {
        // The clock may be set back; then it is time, too.
        if self.since > 0 && time_ms.abs_diff(self.sealed_ms) >= self.limits.seal_ms {
            let result = self.pay().and_then(|()| self.checkpoint(time_ms));
            self.tell(&result);
        }
    }

    /// Seals what is new, and gives what must be synced for the end.
    pub(crate) fn end(&mut self, time_ms: u64) -> (Vec<Arc<File>>, u64) {
        if self.since > 0 {
            let result = self.pay().and_then(|()| self.checkpoint(time_ms));
            self.tell(&result);
        }
        self.take_unsynced()
    }

    /// Files whose sync makes all records safe against a power cut, and the number of the last of them.
    pub(crate) fn take_unsynced(&mut self) -> (Vec<Arc<File>>, u64) {
        let mut files = std::mem::take(&mut self.full);
        files.push(Arc::clone(&self.file));
        (files, self.head.chain.n)
    }

    /// Takes back files that could not be synced.
    pub(crate) fn not_synced(&mut self, files: Vec<Arc<File>>) {
        let current = &self.file;
        let full = files.into_iter().filter(|file| !Arc::ptr_eq(file, current));
        self.full.extend(full);
    }

    /// Whether a file is full and waits for its sync.
    pub(crate) fn has_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// Number of the last record.
    pub(crate) fn last(&self) -> u64 {
        self.head.chain.n
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is wrong with it.
    pub(crate) fn trouble(&self) -> Option<String> {
        match (self.failing, &self.damage) {
            (true, _) => Some("it cannot be written, so nothing is permitted".to_owned()),
            (false, Some(damage)) => Some(format!("at the start {damage}")),
            (false, None) => None,
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let put = self.folder.join(rotated(self.number));
        match fs::rename(self.folder.join(CURRENT), put) {
            // An earlier try came this far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        let fresh = Arc::new(open::log_file(&self.folder)?);
        self.full.push(std::mem::replace(&mut self.file, fresh));
        self.number += 1;
        self.torn = false;
        Ok(())
    }

    /// Removes files that are too many or too old. What is removed is on record, so that the rest can be checked.
    fn drop_old(&mut self, time_ms: u64) -> io::Result<()> {
        let files = list(&self.folder)?;
        let full: Vec<_> = files.iter().filter(|file| file.number.is_some()).collect();
        let many = (full.len() + 1).saturating_sub(self.limits.files);
        for (at, file) in full.iter().enumerate() {
            let end = last_line(file)?;
            let old = end
                .is_some_and(|(_, written)| written.saturating_add(self.limits.drop_ms) <= time_ms);
            if at >= many && !old {
                break;
            }
            let (chain, _) = end.unwrap_or_default();
            let fields = format!(
                "\"request\":\"audit-dropped\",\"file\":{},\"last\":{},\"end\":\"{}\"",
                file.number.unwrap_or_default(),
                chain.n,
                to_hex(&chain.hash)
            );
            self.line(time_ms, &fields, |_| ())?;
            fs::remove_file(&file.path)?;
        }
        Ok(())
    }

    /// Puts another file in the place of the one that is written, for a disk that is full.
    #[cfg(test)]
    pub(crate) fn exchange(&mut self, file: Arc<File>) -> Arc<File> {
        std::mem::replace(&mut self.file, file)
    }
}

/// Where the chain stands at the end of a file, and when that was.
fn last_line(file: &LogFile) -> io::Result<Option<(Chain, u64)>> {
    let mut open = File::open(&file.path)?;
    let size = open.metadata()?.len();
    let start = size.saturating_sub(MAX_LINE as u64);
    open.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    open.take(MAX_LINE as u64).read_to_end(&mut bytes)?;
    let whole = bytes.strip_suffix(b"\n").unwrap_or_default();
    let line = whole.rsplit(|byte| *byte == b'\n').next().unwrap_or(whole);
    let time = |line: &Line<'_>| {
        let value: serde_json::Value = serde_json::from_slice(line.text).ok()?;
        value["time"].as_u64()
    };
    Ok(Line::parse(line).map(|line| (line.chain(), time(&line).unwrap_or_default())))
}
