//! The writer of the audit log in STATE/audit: one line for each decision and event, chained and sealed (`clawdbot_audit`).
//!
//! A line is in the file before its decision is answered, and a permission whose line cannot be written is withdrawn. So
//! the write is a plain one on this thread (some microseconds into the page cache), not a queue that a crash would lose.
//! It survives the death of the process; whoever must survive a power cut waits for [`Log::unsynced`] as well.

mod open;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Files that are kept whatever their age, with the one that is written.
    files: usize,
    /// Files at which nobody gets new room for what may be counted instead.
    crowded: usize,
    /// Files at which the oldest is dropped whatever its age.
    most: usize,
    /// Age at which a new file is begun, milliseconds.
    begin_ms: u64,
    /// Age of its last record below which a file is kept, milliseconds.
    keep_ms: u64,
    /// Age of its last record at which a file is dropped, milliseconds.
    drop_ms: u64,
    /// The most that the log ages between two looks at the clock, milliseconds.
    step_ms: u64,
    /// The most that it ages while it is closed, milliseconds.
    pause_ms: u64,
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
        crowded: 24,
        most: 32,
        begin_ms: 31 * DAY_MS,
        keep_ms: 30 * DAY_MS,
        drop_ms: 366 * DAY_MS,
        step_ms: 60_000,
        pause_ms: DAY_MS,
        records: 256,
        seal_ms: 60_000,
    };
}

/// Which other process an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Broker = 0,
    Dialer = 1,
}

/// A full file, or the folder that got its new name, on its way to the disk.
#[derive(Clone)]
struct Full {
    file: Arc<File>,
    safe: Arc<AtomicBool>,
}

/// What has to reach the disk before everything up to a record is safe against a power cut.
#[derive(Clone)]
pub(crate) struct Unsynced {
    full: Vec<Full>,
    current: Option<Arc<File>>,
    /// That record.
    pub(crate) upto: u64,
}

impl Unsynced {
    /// Waits for the disk. What did not get there stays with the log.
    ///
    /// # Errors
    /// What the disk said.
    pub(crate) fn sync(&self) -> io::Result<()> {
        for full in &self.full {
            full.file.sync_data()?;
            full.safe.store(true, Ordering::Release);
        }
        self.current.iter().try_for_each(|file| file.sync_data())
    }
}

/// The open log.
pub(crate) struct Log {
    folder: PathBuf,
    limits: Limits,
    file: Arc<File>,
    /// Number of the file that is written.
    number: u64,
    /// Age of the log at its first record.
    begun_ms: u64,
    /// What the clock said last.
    clock_ms: u64,
    /// Files that are there.
    held: usize,
    head_file: File,
    head: Head,
    /// Records since the last checkpoint.
    since: u32,
    sealed_ms: u64,
    /// Something behind the last record is still to be cut off.
    torn: bool,
    failing: bool,
    /// Full files that are not safe against a power cut yet, and whether somebody was sent to sync them.
    full: Vec<Full>,
    sent: bool,
    /// Events that could not be written yet, and how many more there were.
    owed: VecDeque<(u64, String)>,
    lost: u64,
    /// What the start found and has not been able to write down.
    gap: Option<String>,
    /// What a start found and nobody has accepted yet.
    damage: Option<String>,
}

impl Log {
    /// Writes the record of a decision. `fields` is the inside of a JSON object.
    ///
    /// # Errors
    /// When the line is not in the file; the next one is tried again.
    pub(crate) fn append(&mut self, time_ms: u64, fields: &str) -> io::Result<()> {
        self.live(time_ms);
        let result = self
            .pay()
            .and_then(|()| self.record(time_ms, fields, |_| ()));
        self.tell(&result);
        result
    }

    /// Writes down that somebody has taken note of what a start found, and stops telling it. False when there is nothing.
    ///
    /// # Errors
    /// When the line is not in the file; it is told on then.
    pub(crate) fn accept(&mut self, time_ms: u64, fields: &str) -> io::Result<bool> {
        if self.damage.is_none() {
            return Ok(false);
        }
        self.live(time_ms);
        let result = self.pay().and_then(|()| {
            // What the start found stands before it.
            self.begin(time_ms)?;
            let fields = format!("{fields},\"last\":{}", self.head.gap);
            self.record(time_ms, &fields, |head| head.gap = 0)
        });
        self.tell(&result);
        result?;
        self.damage = None;
        Ok(true)
    }

    /// The log ages while it is looked at, and by a bounded step at a time: a clock that jumps makes nothing old.
    fn live(&mut self, time_ms: u64) {
        let passed = time_ms.saturating_sub(self.clock_ms);
        self.head.age_ms += passed.min(self.limits.step_ms);
        self.clock_ms = time_ms;
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
            if let Err(error) = self.record(time_ms, &fields, |_| ()) {
                self.owed.push_front((time_ms, fields));
                return Err(error);
            }
        }
        if self.lost > 0 {
            let fields = format!("\"request\":\"audit-lost\",\"count\":{}", self.lost);
            self.record(self.clock_ms, &fields, |_| ())?;
            self.lost = 0;
        }
        Ok(())
    }

    fn record(
        &mut self,
        time_ms: u64,
        fields: &str,
        change: impl FnOnce(&mut Head),
    ) -> io::Result<()> {
        let size = self.size();
        let old = self.head.age_ms.saturating_sub(self.begun_ms) >= self.limits.begin_ms;
        if size > 0 && (old || size + fields.len() as u64 > self.limits.file) {
            self.rotate()?;
        }
        self.begin(time_ms)?;
        self.line(time_ms, fields, change)?;
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
                "\"request\":\"{}file\",\"file\":{},\"age\":{},\"after\":\"{}\"",
                clawdbot_audit::OWN,
                self.number,
                self.head.age_ms,
                to_hex(&self.head.chain.hash)
            );
            self.line(time_ms, &fields, |_| ())?;
            self.begun_ms = self.head.age_ms;
            self.make_room(time_ms);
        }
        if let Some(gap) = &self.gap {
            let found = serde_json::Value::from(gap.as_str());
            let fields = format!("\"request\":\"audit-gap\",\"subject\":{found}");
            self.line(time_ms, &fields, |head| head.gap = head.chain.n)?;
            self.gap = None;
        }
        Ok(())
    }

    /// Seals what has been written. The key of this checkpoint is gone afterwards. The copy in the processes' log is out
    /// of reach for whoever takes over this process, and in system mode for its user.
    fn checkpoint(&mut self, time_ms: u64) -> io::Result<()> {
        self.begin(time_ms)?;
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
        if !self.has_room() {
            self.make_room(time_ms);
        }
        Ok(())
    }

    /// Seals what is new when it is time.
    pub(crate) fn tick(&mut self, time_ms: u64) {
        self.live(time_ms);
        // The clock may be set back; then it is time, too. And whether there is room again is seen by trying.
        let due = self.since > 0 && time_ms.abs_diff(self.sealed_ms) >= self.limits.seal_ms;
        if due || self.failing {
            let result = self.pay().and_then(|()| self.checkpoint(time_ms));
            self.tell(&result);
        }
    }

    /// Seals what is new, and gives what must be synced for the end.
    pub(crate) fn end(&mut self, time_ms: u64) -> Unsynced {
        self.live(time_ms);
        if self.since > 0 {
            let result = self.pay().and_then(|()| self.checkpoint(time_ms));
            self.tell(&result);
        }
        self.unsynced()
    }

    /// What must be synced so that all records are safe against a power cut.
    pub(crate) fn unsynced(&mut self) -> Unsynced {
        self.full.retain(|full| !full.safe.load(Ordering::Acquire));
        Unsynced {
            full: self.full.clone(),
            current: Some(Arc::clone(&self.file)),
            upto: self.head.chain.n,
        }
    }

    /// The full files, once after each that is new: whoever gets them sees to their sync. They stay with the log until it
    /// is done.
    pub(crate) fn full(&mut self) -> Option<Unsynced> {
        if std::mem::replace(&mut self.sent, true) {
            return None;
        }
        let all = self.unsynced();
        Some(Unsynced {
            current: None,
            ..all
        })
    }

    /// Whether nothing can be written at the moment, as far as is known.
    pub(crate) fn failing(&self) -> bool {
        self.failing
    }

    /// Whether there is room for what could be counted instead.
    pub(crate) fn has_room(&self) -> bool {
        self.held < self.limits.crowded
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
            (true, _) => Some(format!(
                "it cannot be written, so nothing is permitted; make room on the disk or mend {}",
                self.folder.display()
            )),
            (false, Some(damage)) => Some(format!(
                "{damage}; `clawdbot audit verify` shows more, and ends this alarm with --accept"
            )),
            (false, None) => None,
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let folder = Arc::new(File::open(&self.folder)?);
        let put = self.folder.join(rotated(self.number));
        match fs::rename(self.folder.join(CURRENT), put) {
            // An earlier try came this far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        let fresh = Arc::new(open::log_file(&self.folder)?);
        let full = std::mem::replace(&mut self.file, fresh);
        // The file, then the names of both.
        self.full.extend([full, folder].map(|file| Full {
            file,
            safe: Arc::default(),
        }));
        self.sent = false;
        self.number += 1;
        self.torn = false;
        Ok(())
    }

    /// Removes files that are too many or too old.
    fn make_room(&mut self, time_ms: u64) {
        let dropped = self.drop_old(time_ms);
        if let Err(error) = dropped.and_then(|()| self.count()) {
            warn!(%error, "an old file of the audit log could not be removed");
        }
    }

    fn count(&mut self) -> io::Result<()> {
        self.held = list(&self.folder)?.len();
        Ok(())
    }

    /// What is removed is on record, so that the rest can be checked.
    fn drop_old(&mut self, time_ms: u64) -> io::Result<()> {
        let files = list(&self.folder)?;
        let full: Vec<_> = files.iter().filter(|file| file.number.is_some()).collect();
        for (at, file) in full.iter().enumerate() {
            let left = full.len() + 1 - at;
            // A file ended when the next one began; one that does not say when is not old.
            let ended = match full.get(at + 1) {
                Some(next) => open::begun(&next.path)?.unwrap_or(u64::MAX),
                None => self.begun_ms,
            };
            let age = self.head.age_ms.saturating_sub(ended);
            let old = age >= self.limits.drop_ms;
            let many = left > self.limits.files && age >= self.limits.keep_ms;
            let too_many = left > self.limits.most;
            if !(old || many || too_many) {
                break;
            }
            if age < self.limits.keep_ms {
                error!(
                    file = file.name(),
                    "the audit log is as large as it may be: records are dropped before their time"
                );
            }
            let (chain, _) = last_line(file)?.unwrap_or_default();
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
