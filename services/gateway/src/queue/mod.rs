//! The durable inbox and outbox. A message is accepted when its row is on the disk, and settled when its answer is:
//! both survive a kill at any instant. A damaged file is an error for a person to look at, never made anew silently.

mod schema;
mod store;
#[cfg(test)]
mod tests;
mod worker;

use clawdbot_identity::{Class, Handle, MessageId, SessionKey, TurnId};
use clawdbot_proto::v1;

pub use store::Store;
pub use worker::Queue;

/// Number of an inbox row. Rows are numbered in the order in which they were accepted, and no number comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub i64);

/// Which door a message came in by; with the message id it tells whether a message is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// `gateway.sock`.
    Operator,
    /// A WebSocket connection.
    Web,
    /// The HTTP interfaces for other programs.
    Api,
}

impl Source {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Web => "web",
            Self::Api => "api",
        }
    }

    /// Takes the word in the table.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(word: &str) -> Result<Self, UnknownSource> {
        [Self::Operator, Self::Web, Self::Api]
            .into_iter()
            .find(|source| source.as_str() == word)
            .ok_or(UnknownSource)
    }
}

/// A word that is no source.
#[derive(Debug, thiserror::Error)]
#[error("a source that is not known here")]
pub struct UnknownSource;

/// A message that was admitted and asks to be accepted. It has no Debug: nobody's words belong in a log.
pub struct Message {
    /// The door.
    pub source: Source,
    /// The client's id of the message.
    pub message_id: MessageId,
    /// The id under which the agent is asked; chosen at random here, so that no two queues ever share one.
    pub turn_id: TurnId,
    /// The session's name as the client said it.
    pub session: String,
    /// The session's key as policy said it.
    pub session_key: SessionKey,
    /// Which agent answers.
    pub class: Class,
    /// What the agent shows to policy.
    pub handle: Handle,
    /// What was asked.
    pub question: Question,
}

/// What somebody asks. It has no Debug either.
#[derive(Clone, Default)]
pub struct Question {
    /// What was said: 1 byte to 256 KiB without NUL.
    pub text: String,
    /// Added to the system prompt of this turn alone: at most 256 KiB without NUL, may be empty.
    pub extra_system: String,
    /// What the client wants of the model; wins over the configuration's.
    pub parameters: v1::Parameters,
}

impl From<String> for Question {
    fn from(text: String) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }
}

/// A row that is accepted and not yet settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The row.
    pub row: RowId,
    /// The client's id of the message.
    pub message_id: MessageId,
    /// The id under which the agent is asked.
    pub turn_id: TurnId,
    /// The session's key.
    pub session_key: SessionKey,
    /// Which agent answers.
    pub class: Class,
    /// The door.
    pub source: Source,
}

/// The end of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was answered.
    Answered(v1::Answer),
    /// No answer will come.
    Failed(v1::Failed),
}

impl Outcome {
    /// Whether somebody stopped it, by whoever's words that is told.
    pub fn was_stopped(&self) -> bool {
        matches!(self, Self::Failed(failed) if failed.code == STOPPED)
    }
}

/// Code of the failure of a message that somebody stopped.
pub const STOPPED: &str = "turn.stopped";

/// What became of a message that asked to be accepted.
#[derive(Debug, Clone, PartialEq)]
pub enum Acceptance {
    /// It is on the disk now.
    New(Waiting),
    /// It had been accepted before and is not settled yet.
    Known(Waiting),
    /// It had been accepted before, and this is how it ended.
    Settled(RowId, Outcome),
    /// Its id belongs to a message with another text or session.
    Conflict,
    /// Too many messages wait already, in this session or in all.
    Backlog {
        /// Whether it is this session that is full.
        session: bool,
    },
}

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
    /// The file is another program's, or was written by a newer version.
    #[error("the message queue {path} {what}; nothing was changed")]
    Foreign {
        /// The database file.
        path: String,
        /// What it is.
        what: String,
    },
}
