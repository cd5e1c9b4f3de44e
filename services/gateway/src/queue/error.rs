//! What the queue cannot do, and the remedy.

use clawdbot_service::newer_format;

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
    /// The worker has ended; the process will start again.
    #[error("the message queue has stopped")]
    Stopped,
}

/// Why the queue could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Creating or reading the file failed.
    #[error("cannot open the message queue {path}: {reason}")]
    File {
        /// The database file.
        path: String,
        /// What the system said.
        reason: String,
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
    #[error("the message queue {path} {what}; nothing was changed")]
    Foreign {
        /// The database file.
        path: String,
        /// What it is.
        what: String,
    },
}
