//! The durable inbox and outbox. A message is accepted when its row is on the disk, and settled when its answer is:
//! both survive a kill at any instant. A damaged file is an error for a person to look at, never made anew silently.

mod error;
mod inbox;
mod outbox;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod worker;

use clawdbot_identity::{Class, Handle, InstanceName, MessageId, Role, SessionKey, TurnId};
use clawdbot_proto::v1;

pub use error::{OpenError, QueueError};
pub use store::Store;
pub use worker::Queue;

/// Number of an inbox row. Rows are numbered in the order in which they were accepted, and no number comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub i64);

/// Which door a message came in by; with account and message id it tells whether a message is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// `gateway.sock`.
    Operator,
    /// A WebSocket connection.
    Web,
    /// The HTTP interfaces for other programs.
    Api,
    /// A channel's worker.
    Channel(InstanceName),
}

impl Source {
    /// As the agent is told: `operator`, `web`, `api`, or the channel's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Operator => "operator",
            Self::Web => "web",
            Self::Api => "api",
            Self::Channel(name) => name.as_str(),
        }
    }

    /// The word in the table; a channel's is its worker's role, so that no channel's name is mistaken for a door.
    pub fn word(&self) -> String {
        match self {
            Self::Channel(name) => Role::channel(name).to_string(),
            _ => self.name().to_owned(),
        }
    }

    /// Takes the word in the table.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(word: &str) -> Result<Self, UnknownSource> {
        let channel = || {
            let name = InstanceName::parse(word.strip_prefix("channel-")?);
            name.ok().map(Self::Channel)
        };
        [Self::Operator, Self::Web, Self::Api]
            .into_iter()
            .find(|source| source.name() == word)
            .or_else(channel)
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
    /// The session's name as the client said it; empty for channels.
    pub session: String,
    /// The session's key as policy said it.
    pub session_key: SessionKey,
    /// Which agent answers.
    pub class: Class,
    /// What the agent shows to policy.
    pub handle: Handle,
    /// What was asked.
    pub question: Question,
    /// Where the answer goes, for channels.
    pub place: Option<Place>,
}

/// A conversation of a channel, and who speaks there.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// The channel's account.
    pub account: String,
    /// How the worker finds the conversation; opaque.
    pub address: Vec<u8>,
    /// The conversation as a word.
    pub lane: String,
    /// Shown name of the sender; empty in direct conversations. Anybody may choose any.
    pub sender: String,
    /// Policy's mark of the sender. Only messages with the same one ever share a turn, and one without it has its own.
    pub mark: String,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad("[place]")
    }
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
    /// Where the answer goes, for channels.
    pub place: Option<Place>,
    /// What it is, as far as the gateway cares.
    pub kind: Kind,
    /// Its question holds those of other rows, which end with it.
    pub joined: bool,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A question.
    Question,
    /// A command to the agent.
    Command,
    /// The word that stops everything.
    Stop,
    /// What changes how messages of a session wait.
    Queue,
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
/// Code of the failure of a message that was left out because too many waited.
pub const DROPPED: &str = "queue.dropped";

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

/// What a channel hands in: a message to accept, or one that policy refused and that is remembered as such.
pub enum Delivery {
    /// To be accepted.
    Message(Box<Message>),
    /// To be refused, now and when it comes again.
    Refused {
        /// The channel.
        source: Source,
        /// The account.
        account: String,
        /// The event's id.
        event_id: MessageId,
        /// A random id, since every row has one.
        turn_id: TurnId,
    },
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivered {
    /// It is on the disk now.
    New(Box<Waiting>),
    /// It had been accepted before.
    Known,
    /// It is refused, or was before.
    Refused,
    /// There is no room; nothing is stored.
    Full,
}

/// What goes back to a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Markdown.
    pub text: String,
    /// `current`, a message's id, or empty.
    pub reply_to: String,
}

/// How a turn ends.
#[derive(Clone)]
pub struct End {
    /// The end itself.
    pub outcome: Outcome,
    /// What the chat is told, for channels.
    pub reply: Option<Reply>,
    /// Turn ids of messages that the turn took in while it ran.
    pub absorbed: Vec<String>,
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            reply: None,
            absorbed: Vec::new(),
        }
    }
}

/// What is in force after a turn has ended.
pub struct Settled {
    /// Its end.
    pub outcome: Outcome,
    /// The answer that has to be sent.
    pub send: Option<Outgoing>,
    /// Rows that ended with it although they waited for turns of their own.
    pub absorbed: Vec<RowId>,
}

/// A row of the outbox that is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its number; they grow in the order in which answers were given.
    pub number: i64,
    /// Its id on the edge to the worker, which is the id of the turn.
    pub outbox_id: TurnId,
    /// The role of the worker that sends it.
    pub channel: String,
    /// The account.
    pub account: String,
    /// The conversation as a word.
    pub lane: String,
    /// Tries that came to nothing.
    pub attempts: u32,
    /// Not before, milliseconds since 1970.
    pub next_try_ms: u64,
}

/// Answers of the last seven days that did not certainly arrive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Nobody knows.
    pub unknown: u32,
    /// Refused for good.
    pub rejected: u32,
}

/// What a worker says of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The role of the worker.
    pub channel: String,
    /// Which send.
    pub outbox_id: TurnId,
    /// What became of it.
    pub fate: Fate,
    /// What the worker says about it.
    pub error: String,
}

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The platform has it.
    Done,
    /// Nobody knows.
    Unknown,
    /// The platform refused it for good.
    Rejected,
    /// Nothing was sent; it is tried again after a pause.
    Again,
}
