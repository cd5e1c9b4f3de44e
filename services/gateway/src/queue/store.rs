//! The SQLite side of the queue: one file, WAL, an fsync for each commit, and no other process beside it.
//! Everything here runs on the worker's thread; the time is passed in.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use clawdbot_identity::{Class, Handle, MessageId, SessionKey, TurnId};
use prost::Message as _;
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use super::schema::{FROM_1, FROM_1_ROWS, TABLES, VERSION};
use super::{
    Acceptance, Message, OpenError, Outcome, Question, QueueError, RowId, Source, Waiting,
};
use crate::limits;

/// "CLWQ", so that another program's database is not taken for ours.
const APPLICATION: i32 = 0x434c_5751;
impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            // rusqlite's texts can carry the SQL, never a bound value.
            _ => Self::Database(error.to_string()),
        }
    }
}

/// The open database.
pub struct Store {
    pub(super) db: Connection,
}

impl Store {
    /// Opens `dir/inbox.db`, mode 0600, and creates it when it is not there.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, is another program's, or was written by a newer version.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join("inbox.db");
        let name = path.display().to_string();
        let file_error = |reason: String| OpenError::File {
            path: name.clone(),
            reason,
        };
        let fresh = create(&path, dir).map_err(|e| file_error(e.to_string()))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let db =
            Connection::open_with_flags(&path, flags).map_err(|e| file_error(e.to_string()))?;
        let sqlite = |e: rusqlite::Error| match e.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => OpenError::Damaged {
                path: name.clone(),
                reason: e.to_string(),
            },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                file_error("another process has it open".into())
            }
            _ => file_error(e.to_string()),
        };
        // EXCLUSIVE before WAL: the index lives in this process's memory, so that no shared mapping is needed and a
        // second gateway on the same queue is refused. A predecessor's lock ends with it, hence the short wait.
        db.busy_timeout(std::time::Duration::from_secs(2))
            .map_err(sqlite)?;
        for pragma in [
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            "synchronous = FULL",
            "fullfsync = ON",
            "temp_store = MEMORY",
            "mmap_size = 0",
            "foreign_keys = OFF",
            "trusted_schema = OFF",
            "cell_size_check = ON",
            "secure_delete = FAST",
            "journal_size_limit = 4194304",
            "cache_size = -1024",
        ] {
            db.execute_batch(&format!("PRAGMA {pragma}"))
                .map_err(sqlite)?;
        }
        let number = |pragma: &str| {
            db.query_row(&format!("PRAGMA {pragma}"), [], |r| r.get::<_, i32>(0))
                .map_err(sqlite)
        };
        let (application, version) = (number("application_id")?, number("user_version")?);
        let foreign = |what: String| {
            Err(OpenError::Foreign {
                path: name.clone(),
                what,
            })
        };
        let tables: i64 = db
            .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
            .map_err(sqlite)?;
        match (application, version) {
            (APPLICATION, 1 | VERSION) => {
                let verdict: String = db
                    .query_row("PRAGMA quick_check(1)", [], |r| r.get(0))
                    .map_err(sqlite)?;
                if verdict != "ok" {
                    return Err(OpenError::Damaged {
                        path: name.clone(),
                        reason: verdict,
                    });
                }
                if version == 1 {
                    db.execute_batch(&format!(
                        "BEGIN IMMEDIATE; {FROM_1} {TABLES} {FROM_1_ROWS} PRAGMA user_version = {VERSION}; COMMIT"
                    ))
                    .map_err(sqlite)?;
                    tracing::info!(path = %name, "the message queue was brought to the format of this version");
                }
            }
            (0, 0) if tables == 0 => {
                if !fresh {
                    tracing::warn!(path = %name, "the message queue was an empty file; it was set up anew");
                }
                // Folded into the file at once: from now on a file without our mark is not ours, whatever its log says.
                db.execute_batch(&format!(
                    "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION}; \
                     PRAGMA user_version = {VERSION}; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"
                ))
                .map_err(sqlite)?;
            }
            (APPLICATION, newer) if newer > VERSION => {
                return foreign(format!("was written by a newer version (format {newer})"));
            }
            _ => return foreign("is not a message queue of this program".into()),
        }
        db.execute_batch("PRAGMA foreign_keys = ON")
            .map_err(sqlite)?;
        Ok(Self { db })
    }
}

/// Makes the file with mode 0600 if it is not there; tells whether it did. One that others can read is refused.
fn create(path: &Path, dir: &Path) -> std::io::Result<bool> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(file) => {
            file.sync_all()?;
            File::open(dir)?.sync_all()?;
            Ok(true)
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            let meta = std::fs::symlink_metadata(path)?;
            if !meta.is_file() {
                return Err(std::io::Error::other("it is not a regular file"));
            }
            if meta.mode() & 0o077 != 0 {
                return Err(std::io::Error::other(format!(
                    "others can read or write it (mode {:04o}); run chmod 600 on it",
                    meta.mode() & 0o7777
                )));
            }
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

fn digest(question: &Question) -> Vec<u8> {
    let mut digest = Sha256::new_with_prefix(question.text.as_bytes());
    if !question.extra_system.is_empty() {
        // A text holds no NUL, so nothing else has this digest.
        digest.update(b"\0");
        digest.update(question.extra_system.as_bytes());
    }
    digest.finalize().to_vec()
}

/// Accepts a message, or tells why not. Nothing is certain before the transaction is committed.
pub(super) fn accept(
    db: &Connection,
    message: &Message,
    now_ms: u64,
) -> Result<Acceptance, QueueError> {
    if let Some(known) = known(db, message)? {
        return Ok(known);
    }
    let key = message.session_key.as_str();
    let (all, here): (u32, u32) = db
        .prepare_cached(
            "SELECT count(*), count(*) FILTER (WHERE session_key = ?1) FROM inbox WHERE state = 'queued'",
        )?
        .query_row([key], |r| Ok((r.get(0)?, r.get(1)?)))?;
    if here >= limits::WAITING_IN_SESSION || all >= limits::WAITING {
        let session = here >= limits::WAITING_IN_SESSION;
        return Ok(Acceptance::Backlog { session });
    }
    db.prepare_cached(
        "INSERT INTO inbox (source, account, message_id, turn_id, session, session_key, class, handle, text, \
         extra_system, parameters, digest, address, lane, sender, reply_to, state, created_ms) \
         VALUES (?1, '', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, x'', '', '', '', 'queued', ?12)",
    )?
    .execute(params![
        message.source.as_str(),
        message.message_id.as_str(),
        message.turn_id.as_str(),
        message.session,
        key,
        message.class.as_str(),
        message.handle.as_str(),
        message.question.text,
        message.question.extra_system,
        message.question.parameters.encode_to_vec(),
        digest(&message.question),
        millis(now_ms),
    ])?;
    Ok(Acceptance::New(Waiting {
        row: RowId(db.last_insert_rowid()),
        message_id: message.message_id.clone(),
        turn_id: message.turn_id.clone(),
        session_key: message.session_key.clone(),
        class: message.class,
        source: message.source,
    }))
}

/// What is known of a message with the same source and id.
fn known(db: &Connection, message: &Message) -> Result<Option<Acceptance>, QueueError> {
    let found = db
        .prepare_cached(
            "SELECT id, message_id, turn_id, session_key, class, source, state = 'queued', session = ?3 AND digest = ?4 \
             FROM inbox WHERE source = ?1 AND account = '' AND message_id = ?2",
        )?
        .query_row(
            params![
                message.source.as_str(),
                message.message_id.as_str(),
                message.session,
                digest(&message.question),
            ],
            |r| Ok((waiting(r)?, r.get::<_, bool>(6)?, r.get::<_, bool>(7)?)),
        )
        .optional()?;
    Ok(match found {
        None => None,
        Some((_, _, false)) => Some(Acceptance::Conflict),
        Some((row, true, true)) => Some(Acceptance::Known(row)),
        Some((row, false, true)) => outcome(db, row.row)?.map(|o| Acceptance::Settled(row.row, o)),
    })
}

/// The stored end of a message.
pub(super) fn outcome(db: &Connection, row: RowId) -> Result<Option<Outcome>, QueueError> {
    let stored = db
        .prepare_cached("SELECT state, body FROM inbox WHERE id = ?1 AND body IS NOT NULL")?
        .query_row([row.0], |r| {
            Ok((r.get::<_, String>(0)?, r.get::<_, Vec<u8>>(1)?))
        })
        .optional()?;
    let Some((state, body)) = stored else {
        return Ok(None);
    };
    let decoded = match state.as_str() {
        "answered" => prost::Message::decode(body.as_slice()).map(Outcome::Answered),
        _ => prost::Message::decode(body.as_slice()).map(Outcome::Failed),
    };
    decoded
        .map(Some)
        .map_err(|e| QueueError::Database(format!("stored answer {}: {e}", row.0)))
}

/// Stores the end of a message together with its change of state. What was stored first stays, and is returned.
pub(super) fn settle(
    db: &Connection,
    row: RowId,
    end: &Outcome,
    now_ms: u64,
) -> Result<Outcome, QueueError> {
    let (state, body) = match end {
        Outcome::Answered(answer) => ("answered", answer.encode_to_vec()),
        Outcome::Failed(failed) => ("failed", failed.encode_to_vec()),
    };
    let changed = db
        .prepare_cached(
            "UPDATE inbox SET state = ?2, body = ?3, settled_ms = ?4, handle = '', text = '', extra_system = '', \
             parameters = x'' WHERE id = ?1 AND state = 'queued'",
        )?
        .execute(params![row.0, state, body, millis(now_ms)])?;
    if changed == 0 {
        return outcome(db, row)?
            .ok_or_else(|| QueueError::Database(format!("there is no row {}", row.0)));
    }
    Ok(end.clone())
}

/// Handle and question of a row that is not settled.
pub(super) fn question(
    db: &Connection,
    row: RowId,
) -> Result<Option<(Handle, Question)>, QueueError> {
    Ok(db
        .prepare_cached(
            "SELECT handle, text, extra_system, parameters FROM inbox WHERE id = ?1 AND state = 'queued'",
        )?
        .query_row([row.0], |r| {
            let parameters = r.get::<_, Vec<u8>>(3)?;
            Ok((
                parsed(r, 0, Handle::parse)?,
                Question {
                    text: r.get(1)?,
                    extra_system: r.get(2)?,
                    parameters: prost::Message::decode(parameters.as_slice()).map_err(|e| {
                        rusqlite::Error::FromSqlConversionFailure(3, Type::Blob, Box::new(e))
                    })?,
                },
            ))
        })
        .optional()?)
}

/// All rows that are not settled, in the order in which they were accepted.
pub(super) fn pending(db: &Connection) -> Result<Vec<Waiting>, QueueError> {
    let mut statement = db.prepare(
        "SELECT id, message_id, turn_id, session_key, class, source FROM inbox WHERE state = 'queued' ORDER BY id",
    )?;
    let rows = statement.query_map([], waiting)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Notes that the end of a message reached a client.
pub(super) fn delivered(db: &Connection, row: RowId) -> Result<(), QueueError> {
    db.prepare_cached("UPDATE inbox SET delivered = 1 WHERE id = ?1")?
        .execute([row.0])?;
    Ok(())
}

/// Forgets what was settled before `now - REMEMBERED`; returns how many rows that were.
pub(super) fn prune(db: &Connection, now_ms: u64) -> Result<usize, QueueError> {
    let kept = u64::try_from(limits::REMEMBERED.as_millis()).unwrap_or(u64::MAX);
    Ok(db
        .prepare_cached("DELETE FROM inbox WHERE settled_ms < ?1")?
        .execute([millis(now_ms.saturating_sub(kept))])?)
}

fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn waiting(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    Ok(Waiting {
        row: RowId(row.get(0)?),
        message_id: parsed(row, 1, MessageId::parse)?,
        turn_id: parsed(row, 2, TurnId::parse)?,
        session_key: parsed(row, 3, SessionKey::parse)?,
        class: parsed(row, 4, Class::parse)?,
        source: parsed(row, 5, Source::parse)?,
    })
}

fn parsed<T, E: std::error::Error + Send + Sync + 'static>(
    row: &Row<'_>,
    column: usize,
    parse: fn(&str) -> Result<T, E>,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}
