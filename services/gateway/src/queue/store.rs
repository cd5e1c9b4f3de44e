//! The SQLite side of the queue: one file, WAL, an fsync for each commit, and no other process beside it.
//! Everything here runs on the worker's thread; the time is passed in.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};

use super::schema::{FROM_1, FROM_1_ROWS, FROM_2, FROM_3, TABLES, VERSION};
use super::{OpenError, QueueError};

/// "CLWQ", so that another program's database is not taken for ours.
const APPLICATION: i32 = 0x434c_5751;

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error,
        };
        // rusqlite's texts can carry the SQL, never a bound value.
        let said = error.to_string();
        match (error.sqlite_error_code(), error) {
            (Some(ErrorCode::DiskFull), _) => Self::DiskFull,
            (Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase), _)
            | (
                _,
                FromSqlConversionFailure(..)
                | IntegralValueOutOfRange(..)
                | InvalidColumnType(..)
                | Utf8Error(..),
            ) => Self::Damaged(said),
            _ => Self::Database(said),
        }
    }
}

/// The database of a queue's folder.
pub(super) fn file(dir: &Path) -> PathBuf {
    dir.join("inbox.db")
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
        let path = file(dir);
        let name = path.display().to_string();
        let file_error = |reason: String| OpenError::File {
            path: name.clone(),
            reason,
        };
        let fresh = create(&path, dir).map_err(|e| file_error(e.to_string()))?;
        for path in [path.clone(), dir.join("inbox.db-wal")] {
            reach(&path, dir)?;
        }
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
            (APPLICATION, 1..=VERSION) => {
                let verdict: String = db
                    .query_row("PRAGMA quick_check(1)", [], |r| r.get(0))
                    .map_err(sqlite)?;
                if verdict != "ok" {
                    return Err(OpenError::Damaged {
                        path: name.clone(),
                        reason: verdict,
                    });
                }
                if version < VERSION {
                    let before = match version {
                        1 => format!("{FROM_1} {TABLES} {FROM_1_ROWS} {FROM_2}"),
                        2 => FROM_2.to_owned(),
                        _ => String::new(),
                    };
                    db.execute_batch(&format!(
                        "BEGIN IMMEDIATE; {before} {FROM_3} PRAGMA user_version = {VERSION}; COMMIT"
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
                    "BEGIN IMMEDIATE; {TABLES} {FROM_2} {FROM_3} PRAGMA application_id = {APPLICATION}; \
                     PRAGMA user_version = {VERSION}; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"
                ))
                .map_err(sqlite)?;
            }
            (APPLICATION, newer) if newer > VERSION => {
                return Err(OpenError::Newer {
                    path: name.clone(),
                    found: newer,
                    newest: VERSION,
                });
            }
            _ => return foreign("is not a message queue of this program".into()),
        }
        db.execute_batch("PRAGMA foreign_keys = ON")
            .map_err(sqlite)?;
        Ok(Self { db })
    }
}

/// Makes the file with mode 0600 if it is not there; tells whether it did.
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
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

/// Refuses what is there and is no plain file of this user's alone, whose the folder is.
fn reach(path: &Path, dir: &Path) -> Result<(), OpenError> {
    let name = path.display().to_string();
    let found =
        std::fs::symlink_metadata(path).and_then(|file| Ok((file, std::fs::metadata(dir)?)));
    let (meta, own) = match found {
        Ok((meta, folder)) => (meta, folder.uid()),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => {
            return Err(OpenError::File {
                path: name,
                reason: e.to_string(),
            });
        }
    };
    let what = if !meta.is_file() {
        "is not a regular file; move it away".to_owned()
    } else if meta.uid() != own {
        let owner = meta.uid();
        format!(
            "belongs to user {owner}, this is user {own}; give it back with: chown {own} {name}"
        )
    } else if meta.mode() & 0o077 != 0 {
        format!(
            "can be read or written by others (mode {:04o}); run chmod 600 on it",
            meta.mode() & 0o7777
        )
    } else {
        return Ok(());
    };
    Err(OpenError::Unusable { path: name, what })
}

/// A time as the tables hold it.
pub(super) fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// A column as the type that it must be.
pub(super) fn parsed<T, E: std::error::Error + Send + Sync + 'static>(
    row: &Row<'_>,
    column: usize,
    parse: fn(&str) -> Result<T, E>,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    parse(text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}
