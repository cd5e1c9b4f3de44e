//! The in-flight journal: one append-only file, one line a record, each with a checksum, on disk before the network hears
//! of it. A torn end is cut off, for a crash leaves one; damage before the end is never passed over in silence.
//! The file lives on a thread of its own, which writes everything that waits with one sync.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tracing::warn;

use crate::{Ledger, Record};

/// The file is written anew when it is longer than this and holds mostly what is over.
const COMPACT_ABOVE: u64 = 256 << 10;
/// What is in flight must be at most one part in so many of the file.
const COMPACT_RATIO: u64 = 4;
/// Longest record, bytes; a longer line is damage.
const LONGEST: usize = 64 << 10;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file or its directory failed.
    #[error(
        "the journal of sends at {path} cannot be {what}: {error}; make room or mend the disk, nothing is sent meanwhile"
    )]
    Io {
        /// Where it lies.
        path: String,
        /// opened, or written.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// Its thread ended, which happens only at the end of the process.
    #[error("the journal of sends is closed")]
    Closed,
}

/// Lines that could not be read although others follow them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Their numbers, from 1; at most the first 16.
    pub lines: Vec<usize>,
    /// Where the file was put aside.
    pub kept: Option<PathBuf>,
}

/// What a journal's bytes say.
#[derive(Debug, PartialEq, Eq)]
pub struct Replay {
    /// What is in flight.
    pub ledger: Ledger,
    /// Length without the torn end.
    pub length: usize,
    /// Unreadable lines before the end.
    pub damaged: Vec<usize>,
}

/// Reads a journal's bytes.
#[must_use]
pub fn replay(bytes: &[u8]) -> Replay {
    let mut ledger = Ledger::default();
    let (mut length, mut at) = (0, 0);
    let mut bad = Vec::new();
    let mut damaged = Vec::new();
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        at += line.len();
        match decode(line) {
            Some(record) => {
                ledger.apply(&record);
                length = at;
                damaged.append(&mut bad);
            }
            None => bad.push(number + 1),
        }
    }
    // A write that was cut short has no line end; a bad line that has one was whole once.
    if bytes.ends_with(b"\n") {
        damaged.append(&mut bad);
    }
    damaged.truncate(16);
    Replay {
        ledger,
        length,
        damaged,
    }
}

/// `CRC JSON\n`
fn encode(record: &Record) -> Vec<u8> {
    // Maps of strings and numbers always serialize.
    let json = serde_json::to_string(record).unwrap_or_default();
    format!("{:08x} {json}\n", crc32(json.as_bytes())).into_bytes()
}

fn decode(line: &[u8]) -> Option<Record> {
    let line = line.strip_suffix(b"\n").filter(|l| l.len() <= LONGEST)?;
    let (sum, json) = line.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    if u32::from_str_radix(sum, 16).ok()? != crc32(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// CRC-32 as in Ethernet and zip (IEEE 802.3, reflected).
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = (value >> 1) ^ (0xedb8_8320 * (value & 1));
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| {
        (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]
    })
}

/// An order to the thread: a record, who waits for it, and the whole content of a new file.
struct Order {
    bytes: Vec<u8>,
    done: Option<oneshot::Sender<io::Result<()>>>,
    rewrite: Option<Vec<u8>>,
}

/// The ledger and its file.
pub struct Journal {
    path: PathBuf,
    ledger: Mutex<Ledger>,
    length: Mutex<u64>,
    orders: Sender<Order>,
}

impl Journal {
    /// Opens or makes the journal at `path`. A damaged one is kept beside it under another name and reported; what could
    /// be read of it counts.
    ///
    /// # Errors
    /// When the file cannot be read, made or written.
    pub fn open(path: &Path) -> Result<(Self, Option<Damage>), JournalError> {
        let failed = |error| JournalError::Io {
            path: path.display().to_string(),
            what: "opened",
            error,
        };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let replay = replay(&bytes);
        let damage = (!replay.damaged.is_empty()).then(|| {
            let kept = path.with_extension("damaged");
            let copied = write_new(&kept, &bytes).is_ok();
            Damage {
                lines: replay.damaged.clone(),
                kept: copied.then_some(kept),
            }
        });
        let fresh = encode_all(&replay.ledger);
        let file = replace(path, &fresh).map_err(failed)?;
        let (orders, inbox) = mpsc::channel();
        let thread = Writer {
            path: path.to_owned(),
            file,
            length: fresh.len() as u64,
        };
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || thread.run(&inbox))
            .map_err(failed)?;
        let journal = Self {
            path: path.to_owned(),
            ledger: Mutex::new(replay.ledger),
            length: Mutex::new(fresh.len() as u64),
            orders,
        };
        Ok((journal, damage))
    }

    /// What is in flight.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record and waits until it is on disk. It counts in the ledger at once.
    ///
    /// # Errors
    /// When it is not on disk; the caller takes it back with another record.
    pub async fn write(&self, record: &Record) -> Result<(), JournalError> {
        let (done, written) = oneshot::channel();
        self.order(record, Some(done));
        let outcome = written.await.map_err(|_| JournalError::Closed)?;
        outcome.map_err(|error| JournalError::Io {
            path: self.path.display().to_string(),
            what: "written",
            error,
        })
    }

    /// Waits until everything that was noted is on disk, or known not to be.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        // The thread ends only when this end of the channel does.
        let _ = self.orders.send(Order {
            bytes: Vec::new(),
            done: Some(done),
            rewrite: None,
        });
        let _ = written.await;
    }

    /// Adds a record that nobody has to wait for: losing it in a crash makes the outcome less certain, never wrong.
    pub fn note(&self, record: &Record) {
        self.order(record, None);
    }

    fn order(&self, record: &Record, done: Option<oneshot::Sender<io::Result<()>>>) {
        let bytes = encode(record);
        // Held to the end, so that the thread sees the records in the ledger's order.
        let mut ledger = self.ledger();
        ledger.apply(record);
        let mut length = self.length.lock().unwrap_or_else(PoisonError::into_inner);
        *length += bytes.len() as u64;
        let rewrite = (*length > COMPACT_ABOVE)
            .then(|| encode_all(&ledger))
            .filter(|fresh| fresh.len() as u64 * COMPACT_RATIO < *length);
        if let Some(fresh) = &rewrite {
            *length = fresh.len() as u64;
        }
        let order = Order {
            bytes,
            done,
            rewrite,
        };
        // The thread ends only when this end of the channel does.
        let _ = self.orders.send(order);
    }
}

fn encode_all(ledger: &Ledger) -> Vec<u8> {
    ledger.records().iter().flat_map(encode).collect()
}

struct Writer {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Order>) {
        while let Ok(first) = inbox.recv() {
            let mut waiting = vec![first];
            while waiting.last().is_some_and(|order| order.rewrite.is_none()) {
                match inbox.try_recv() {
                    Ok(order) => waiting.push(order),
                    Err(_) => break,
                }
            }
            let outcome = self.take(&waiting);
            for done in waiting.into_iter().filter_map(|order| order.done) {
                let result = match &outcome {
                    Ok(()) => Ok(()),
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                };
                // Who gave up waiting does not need to know.
                let _ = done.send(result);
            }
        }
    }

    fn take(&mut self, orders: &[Order]) -> io::Result<()> {
        let bytes: Vec<u8> = orders
            .iter()
            .flat_map(|order| order.bytes.clone())
            .collect();
        let written = self
            .file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a line must not be in the way of the next; if this fails, so will the next write.
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
            return Err(error);
        }
        self.length += bytes.len() as u64;
        if let Some(fresh) = orders.last().and_then(|order| order.rewrite.as_ref()) {
            match replace(&self.path, fresh) {
                Ok(file) => {
                    self.file = file;
                    self.length = fresh.len() as u64;
                }
                // The long file is as good.
                Err(error) => warn!(%error, "the journal of sends was not shortened"),
            }
        }
        Ok(())
    }
}

/// Puts a file with this content in the place of another, all or nothing; its end is the place to write.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let next = path.with_extension("new");
    let folder = File::open(path.parent().unwrap_or(Path::new(".")))?;
    let file = write_new(&next, bytes)?;
    fs::rename(&next, path)?;
    // A disk that refuses this refuses the next sync of the file too.
    let _ = folder.sync_all();
    Ok(file)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
