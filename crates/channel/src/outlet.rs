//! What a worker brings: how its platform is spoken to. Everything here says how sure it is of what happened.

use std::future::Future;
use std::time::Duration;

use clawdbot_proto::v1;

use crate::{Pauses, Quota};

/// How one part of an answer, or a message that shows its beginning, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The platform has it; how the message is found again.
    Done(String),
    /// Certainly not taken. Trying again makes sense, after `after` if the platform said so.
    NotStarted {
        /// As in SendReport.
        class: &'static str,
        /// For a person.
        message: String,
        /// The pause that the platform asked for.
        after: Option<Duration>,
    },
    /// Certainly not taken, and that says the same about every repetition.
    Rejected(Rejected),
    /// Nobody knows.
    Unknown(String),
    /// The message that should have become this one is not there any more; nothing was changed.
    Gone,
    /// Certainly not taken, for the conversation has another name now.
    Moved {
        /// Its name in the send.
        from: String,
        /// Its name from now on.
        to: String,
    },
}

/// Why a send is refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// As in SendReport.
    pub class: &'static str,
    /// For a person; no secret, no message text.
    pub message: String,
}

/// One message of an answer.
pub trait Part: Clone + Send + Sync + 'static {
    /// The same number for the same content.
    fn digest(&self) -> u64;
}

/// What may happen to the beginning of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// It is visible for a while and leaves nothing behind.
    Fleeting,
    /// It is a message of its own, which has to become the answer.
    Message,
    /// This answer is not shown.
    Never,
}

/// A platform, as the delivery engine sees it.
pub trait Outlet: Send + Sync + 'static {
    /// A message that is ready to go.
    type Part: Part;
    /// A connection that is ready for one.
    type Link: Send;

    /// Renders an answer and divides it into messages; always the same for the same send and configuration.
    ///
    /// # Errors
    /// When it cannot be sent, now or at all.
    fn parts(&self, send: &v1::Send) -> Result<Vec<Self::Part>, Outcome>;

    /// Tries and pauses of an account.
    fn pauses(&self, account: &str) -> Pauses;

    /// The pace of an account and of one of its lanes.
    fn quotas(&self, lane: &str) -> (&'static [Quota], &'static [Quota]);

    /// Least time between two versions of an answer that is shown while it is written.
    fn show_every(&self, account: &str, lane: &str) -> Duration;

    /// Gets a connection ready. Nothing of a message has been sent before it returns.
    fn connect(&self, account: &str) -> impl Future<Output = Result<Self::Link, Outcome>> + Send;

    /// Sends one part; `shown` is the message that it has to become, in which case doing it twice is the same as once.
    fn send(
        &self,
        link: Self::Link,
        send: &v1::Send,
        part: &Self::Part,
        shown: Option<&str>,
    ) -> impl Future<Output = Outcome> + Send;

    /// How the beginning of an answer would be shown.
    fn shows(&self, progress: &v1::Progress) -> Shown;

    /// Shows the beginning of an answer, in the message `shown` if there is one.
    fn show(
        &self,
        progress: &v1::Progress,
        shown: Option<&str>,
    ) -> impl Future<Output = Outcome> + Send;

    /// Removes a message whose answer never came.
    fn unshow(&self, message: &str) -> impl Future<Output = ()> + Send;

    /// Shows for a while that an answer is being written.
    fn typing(&self, typing: v1::Typing);
}
