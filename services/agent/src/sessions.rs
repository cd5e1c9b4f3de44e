//! The sessions of this class: which are open in memory, and how what happens in them gets to disk and back.
//! Memory is bounded: sessions that nobody uses are closed, longest unused first, and read again when they are needed.
//! The session of a single request is in memory alone, and only as long as its turn runs.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdbot_identity::{Class, SessionKey, TurnId};
use clawdbot_proto::v1;
use tokio::sync::{Mutex as Lane, MutexGuard as LaneGuard};
use tracing::{error, warn};

use crate::disk::{self, Append, Disk};
use crate::index::{Index, transcript_path};
use crate::reply;
use crate::syncs::{self, Syncs};
use crate::transcript::{self, Batch, Header, Item, Origin, Outcome, Path, Thread};
use crate::world::{World, entry_id, uuid};

/// Sessions kept open, and the bytes that they may hold altogether.
const OPEN: usize = 256;
const OPEN_BYTES: usize = 16 << 20;
/// Bytes of text in one answer about history, and sessions in one list; the caller takes 4 MiB.
const HISTORY_BYTES: usize = 2 << 20;
const LISTED: usize = 1000;

/// A session that is open. Whoever holds its lane runs the one turn that may run.
pub struct Session {
    key: SessionKey,
    /// Whether it has a transcript on disk.
    kept: bool,
    lane: Lane<Option<Thread>>,
    used: AtomicU64,
}

/// The right to run a turn in a session. The transcript is in memory.
pub struct Turnable<'a> {
    lane: LaneGuard<'a, Option<Thread>>,
    kept: bool,
}

impl Session {
    fn new(key: &SessionKey, kept: bool) -> Arc<Self> {
        Arc::new(Self {
            key: key.clone(),
            kept,
            lane: Lane::new(None),
            used: AtomicU64::new(0),
        })
    }
}

impl Turnable<'_> {
    /// What the transcript says; fails only after a write that failed.
    pub fn thread(&self) -> io::Result<&Thread> {
        self.lane.as_ref().ok_or_else(closed)
    }

    /// The same, to go back in it or to shorten it in memory.
    pub fn thread_mut(&mut self) -> io::Result<&mut Thread> {
        self.lane.as_mut().ok_or_else(closed)
    }
}

fn closed() -> io::Error {
    io::Error::other("the transcript is closed")
}

/// When an append has to have reached the disk. It is in the file, and safe from the death of this process, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// With whatever is synced next.
    Whenever,
    /// Soon; nobody waits for it.
    Soon,
    /// Before anything else happens.
    Now,
}

/// Something for the transcript: where it comes from, the turn that it begins or ends, and what it says.
pub type Said = (Origin, Option<TurnId>, Item);

/// All sessions of the class.
pub struct Sessions {
    folder: PathBuf,
    class: Class,
    disk: Disk,
    /// Looks into transcripts for whoever wants to see them; no turn waits for that.
    reader: Disk,
    syncs: Syncs,
    world: Arc<dyn World>,
    index: Mutex<Index>,
    open: Mutex<HashMap<SessionKey, Arc<Session>>>,
    uses: AtomicU64,
}

impl Sessions {
    /// Of the two threads for the disk one serves turns, the other whoever looks at sessions.
    pub fn new(
        folder: &FilePath,
        class: Class,
        index: Index,
        [disk, reader]: [Disk; 2],
        syncs: Syncs,
        world: Arc<dyn World>,
    ) -> Self {
        Self {
            folder: folder.into(),
            class,
            disk,
            reader,
            syncs,
            world,
            index: Mutex::new(index),
            open: Mutex::new(HashMap::new()),
            uses: AtomicU64::new(0),
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.world.now_ms()
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.index().len()
    }

    /// The session of a key, whether it exists on disk or not.
    pub fn session(&self, key: &SessionKey) -> Arc<Session> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.contains_key(key) {
            close_unused(&mut open);
        }
        let session = open
            .entry(key.clone())
            .or_insert_with(|| Session::new(key, true));
        session
            .used
            .store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Arc::clone(session)
    }

    /// A session that nothing remembers: it has no transcript, stands in no list and ends with its turn.
    pub fn one_shot(&self, key: &SessionKey) -> Arc<Session> {
        Session::new(key, false)
    }

    /// Waits for the session's turn to come and reads its transcript if need be.
    pub async fn enter<'a>(
        &self,
        session: &'a Session,
        workspace: &str,
    ) -> io::Result<Turnable<'a>> {
        let mut lane = session.lane.lock().await;
        if lane.is_none() {
            let known = match session.kept {
                true => self.read(&session.key).await?,
                false => None,
            };
            *lane = Some(match known {
                Some(thread) => thread,
                None => Thread::new(self.header(&session.key, workspace, 0)?),
            });
        }
        let kept = session.kept;
        Ok(Turnable { lane, kept })
    }

    fn header(&self, key: &SessionKey, workspace: &str, after_ms: u64) -> io::Result<Header> {
        let id = uuid(self.world.random()?);
        Ok(Header::new(
            id,
            key,
            workspace.into(),
            self.world.now_ms().max(after_ms),
        ))
    }

    /// Reads a transcript from disk; cuts off what a crash left unfinished.
    async fn read(&self, key: &SessionKey) -> io::Result<Option<Thread>> {
        let id = self.index().get(key).map(|meta| meta.session_id.clone());
        let Some(id) = id else { return Ok(None) };
        let path = transcript_path(&self.folder, &id);
        let scan = self.disk.run(move || mend(&path)).await?;
        let Some(thread) = scan else { return Ok(None) };
        self.index().note(key, &thread);
        Ok(Some(thread))
    }

    /// Leaves the old transcript where it is, out of the way, and begins a new one under the same key.
    pub async fn renew(
        &self,
        turnable: &mut Turnable<'_>,
        key: &SessionKey,
        workspace: &str,
    ) -> io::Result<()> {
        let old = turnable
            .lane
            .as_ref()
            .map(|thread| (thread.header.clone(), thread.bytes));
        let after = old.as_ref().map_or(0, |(header, _)| header.at_ms() + 1);
        *turnable.lane = Some(Thread::new(self.header(key, workspace, after)?));
        // The new transcript is on disk before the old one steps aside: at any moment one of them is the session.
        self.append(turnable, key, Vec::new(), Reach::Now).await?;
        let on_disk = |(_, bytes): &(_, u64)| turnable.kept && *bytes > 0;
        if let Some((header, bytes)) = old.filter(on_disk) {
            let path = transcript_path(&self.folder, &header.id);
            let aside = path.with_extension(format!("jsonl.reset.{}", self.world.now_ms()));
            // Under its new name nobody would sync it.
            let move_aside =
                move || syncs::sync(&path, false).and_then(|()| fs::rename(path, aside));
            let moved = self.disk.run(move_aside).await;
            if let Err(error) = moved {
                warn!(%key, bytes, %error, "the old transcript keeps its name");
            }
        }
        Ok(())
    }

    /// Appends what happened after the leaf.
    pub async fn append(
        &self,
        turnable: &mut Turnable<'_>,
        key: &SessionKey,
        said: Vec<Said>,
        reach: Reach,
    ) -> io::Result<()> {
        let kept = turnable.kept;
        let thread = turnable.thread_mut()?;
        let mut batch = Batch::new(thread);
        for (origin, turn, item) in said {
            let id = entry_id(self.world.random()?);
            batch.push(id, self.world.now_ms(), origin, turn, item);
        }
        if !kept {
            batch.commit(thread);
            return Ok(());
        }
        let path = transcript_path(&self.folder, &thread.header.id);
        let write = Append {
            path: path.clone(),
            at: batch.at,
            bytes: std::mem::take(&mut batch.bytes),
        };
        let name = !thread.name_synced;
        let written = self.disk.run(move || {
            write.perform()?;
            match reach {
                Reach::Now => syncs::sync(&write.path, name),
                _ => Ok(()),
            }
        });
        if let Err(error) = written.await {
            // Whatever is on disk now is the truth; the next turn reads it.
            *turnable.lane = None;
            error!(%key, %error, "a transcript could not be written");
            return Err(error);
        }
        batch.commit(thread);
        if reach == Reach::Soon {
            self.syncs.add(path, name);
        }
        thread.name_synced |= reach != Reach::Whenever;
        let mut index = self.index();
        index.note(key, thread);
        if let Some(content) = index.take_due() {
            let path = index.file();
            self.disk.start_job(move || write_index(&path, &content));
        }
        Ok(())
    }

    /// Writes what is due when the process ends.
    pub async fn finish(&self) {
        let content = self.index().take_unwritten();
        let path = self.index().file();
        if let Some(content) = content {
            let write = move || {
                write_index(&path, &content);
                Ok(())
            };
            // The job says itself what went wrong.
            let _done = self.disk.run(write).await;
        }
        self.syncs.settled().await;
    }

    /// How a turn ended, from where it stands in the transcript.
    pub async fn outcome(&self, thread: &Thread, at: std::ops::Range<u64>) -> io::Result<Outcome> {
        let path = transcript_path(&self.folder, &thread.header.id);
        let line = self.disk.run(move || disk::read_range(&path, at)).await?;
        transcript::read(&line)
            .and_then(|entry| entry.outcome())
            .ok_or_else(|| io::Error::other("the answer of an earlier turn cannot be read"))
    }

    /// The last entries of a session that people see, oldest first.
    pub async fn history(
        &self,
        key: &SessionKey,
        limit: usize,
    ) -> io::Result<Vec<v1::HistoryEntry>> {
        let present = || self.index().get(key).map(|meta| meta.session_id.clone());
        while let Some(id) = present() {
            let path = transcript_path(&self.folder, &id);
            // A line that is being written at this moment is left out.
            match self.reader.run(move || history(&path, limit)).await {
                // Put aside meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound && present() != Some(id) => {}
                done => return done,
            }
        }
        Ok(Vec::new())
    }

    /// The sessions, the one used last first.
    pub async fn list(
        &self,
        default_model: impl Fn(&SessionKey) -> String,
    ) -> Vec<v1::SessionSummary> {
        self.read_stale().await;
        let mut all: Vec<v1::SessionSummary> = self
            .index()
            .iter()
            .map(|(key, meta)| v1::SessionSummary {
                session_key: key.as_str().into(),
                session_id: meta.session_id.clone(),
                class: self.class.as_str().into(),
                updated_at_ms: meta.updated_ms,
                input_tokens: meta.totals.usage.input_tokens,
                output_tokens: meta.totals.usage.output_tokens,
                model: meta
                    .settings
                    .model
                    .clone()
                    .unwrap_or_else(|| default_model(key)),
            })
            .collect();
        all.sort_by(|a, b| {
            (b.updated_at_ms, &a.session_key).cmp(&(a.updated_at_ms, &b.session_key))
        });
        all.truncate(LISTED);
        all
    }

    /// Reads the transcripts of which only the first line is known.
    async fn read_stale(&self) {
        let stale: Vec<(SessionKey, PathBuf)> = {
            let index = self.index();
            let stale = index.iter().filter(|(_, meta)| meta.stale);
            stale
                .map(|(key, meta)| (key.clone(), transcript_path(&self.folder, &meta.session_id)))
                .collect()
        };
        for (key, path) in stale {
            // Nothing is cut here: a turn of the session may be writing at this moment.
            match self.reader.run(move || transcript::scan(&path)).await {
                Ok(Some(scan)) => self.index().note_if_stale(&key, &scan.thread),
                Ok(None) => {}
                Err(error) => warn!(%key, %error, "a transcript cannot be read"),
            }
        }
    }
}

fn write_index(path: &FilePath, content: &[u8]) {
    if let Err(error) = disk::replace(path, content) {
        warn!(%error, "sessions.json could not be written; it is made again from the transcripts when needed");
    }
}

fn close_unused(open: &mut HashMap<SessionKey, Arc<Session>>) {
    let weight = |session: &Session| match session.lane.try_lock() {
        Ok(lane) => lane.as_ref().map_or(0, Thread::weight),
        Err(_) => 0,
    };
    let mut total: usize = open.values().map(|session| weight(session)).sum();
    while open.len() >= OPEN || total > OPEN_BYTES {
        let idle = open
            .values()
            .filter(|session| Arc::strong_count(session) == 1);
        let oldest = idle.min_by_key(|session| session.used.load(Ordering::Relaxed));
        let Some(session) = oldest.cloned() else {
            return;
        };
        total -= weight(&session).min(total);
        open.remove(&session.key);
    }
}

/// Reads a transcript and takes away an unfinished last line.
fn mend(path: &FilePath) -> io::Result<Option<Thread>> {
    let Some(scan) = transcript::scan(path)? else {
        error!(file = %path.display(), "its first line is damaged; a new session begins, the file is left alone");
        return Ok(None);
    };
    if scan.damaged > 0 {
        warn!(file = %path.display(), lines = scan.damaged, "damaged lines were passed over");
    }
    if scan.torn > 0 {
        warn!(file = %path.display(), bytes = scan.torn, "cut off an unfinished last line");
        disk::cut(path, scan.thread.bytes)?;
    }
    Ok(Some(scan.thread))
}

fn history(path: &FilePath, limit: usize) -> io::Result<Vec<v1::HistoryEntry>> {
    let mut shown = Path::default();
    transcript::for_each(path, |entry| {
        let turn_id = entry.turn.as_ref().map_or("", |turn| turn.as_str());
        let line = |role: &str, text: &str| v1::HistoryEntry {
            role: role.into(),
            text: text.into(),
            at_ms: entry.at_ms,
            turn_id: turn_id.into(),
        };
        let lines = match &entry.item {
            Item::User { text, .. } => vec![line("user", text)],
            Item::Assistant(said) => match reply::visible(&said.text) {
                text if text.is_empty() => Vec::new(),
                text => vec![line("assistant", &text)],
            },
            Item::Command {
                question, answer, ..
            } => vec![line("user", question), line("assistant", answer)],
            _ => Vec::new(),
        };
        shown.grow(entry.parent.as_deref(), &entry.id, lines);
        // Entries without text keep their place in the tree until they are far behind.
        while shown.len() > 4 * limit + 100 {
            shown.pop_oldest();
        }
    })?;
    let mut bytes = 0;
    let newest = shown.iter().flatten().rev().take(limit).take_while(|line| {
        bytes += line.text.len() + 32;
        bytes <= HISTORY_BYTES
    });
    let mut newest: Vec<_> = newest.cloned().collect();
    newest.reverse();
    Ok(newest)
}
