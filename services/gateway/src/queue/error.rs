//! What the queue cannot do, and the remedy.

use std::path::Path;

use clawdbot_service::newer_format;

use super::store::file;

/// Why the queue could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// Nothing was stored.
    #[error(
        "the disk is full, so nothing more can be accepted; free space where the state directory lies, then try again"
    )]
    DiskFull,
    /// The database answered with an error that has no remedy of its own.
    #[error("the message queue failed: {0}")]
    Database(String),
    /// What is in the database is not what this program writes; what was found.
    #[error("the message queue is damaged: {0}")]
    Damaged(String),
    /// The worker has ended; the process will start again.
    #[error("the message queue has stopped")]
    Stopped,
}

/// Why the queue could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Creating or reading the file failed, in a way that another try may find better.
    #[error("cannot open the message queue {path}: {reason}")]
    File {
        /// The database file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The file is out of reach until a person changes that.
    #[error("cannot open the message queue: {path} {what}")]
    Unusable {
        /// The database file, or what lies beside it.
        path: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The file is no database, or is damaged.
    #[error(
        "the message queue {path} is damaged: {reason}; it holds messages that were accepted, so it is not replaced: \
         move it and its -wal file away to start with an empty queue, or put a copy in its place"
    )]
    Damaged {
        /// The database file.
        path: String,
        /// What SQLite found.
        reason: String,
    },
    /// The file was written by a newer version.
    #[error("the message queue {}", newer_format(path, found, newest))]
    Newer {
        /// The database file.
        path: String,
        /// Its format.
        found: i32,
        /// The newest that this version reads.
        newest: i32,
    },
    /// The file is another program's.
    #[error(
        "the message queue {path} {what}; nothing was changed: move it and its -wal file away to start with an empty queue"
    )]
    Foreign {
        /// The database file.
        path: String,
        /// What it is.
        what: String,
    },
}

impl OpenError {
    /// What was found in an open queue.
    pub fn damaged(dir: &Path, reason: String) -> Self {
        Self::Damaged {
            path: file(dir).display().to_string(),
            reason,
        }
    }

    /// Whether only a person can mend it.
    pub fn needs_a_person(&self) -> bool {
        !matches!(self, Self::File { .. })
    }
}
