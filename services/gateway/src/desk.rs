//! What an operator can do, whichever door they came in by: send, stop, look back, list, ask for the state. Every
//! request is admitted by policy first; what is refused there is never accepted.

use std::sync::Arc;

use clawdbot_identity::{AgentId, Class, Handle, MessageId, SessionKey};
use clawdbot_proto::v1;
use clawdbot_proto::v1::access_client::AccessClient;
use clawdbot_proto::v1::admit_operator_request::Way;
use clawdbot_proto::v1::admit_reply::Outcome as Admittance;
use clawdbot_proto::v1::agent_client::AgentClient;
use clawdbot_service::Edge;
use tonic::Status;
use tracing::info;

use crate::problems::Problems;
pub use crate::queue::Question;
use crate::queue::{Message, Outcome, QueueError, RowId, Source};
use crate::turn_log::TurnLog;
use crate::turns::{Agents, Taken, Turns};
use crate::wording::{is_stop, queue};
use crate::{clock, limits};

/// Who asks.
pub enum Visitor {
    /// Whoever may open `gateway.sock`.
    Operator,
    /// Whoever showed a token, password or login code: the visit key that policy gave for it.
    Web(String),
    /// The same over the HTTP interfaces for programs. Their message ids are apart from those of the web chat.
    Api(String),
}

impl Visitor {
    fn source(&self) -> Source {
        match self {
            Self::Operator => Source::Operator,
            Self::Web(_) => Source::Web,
            Self::Api(_) => Source::Api,
        }
    }

    fn way(&self) -> Way {
        match self {
            Self::Operator => Way::OperatorSocket(true),
            Self::Web(key) | Self::Api(key) => Way::Key(key.clone()),
        }
    }
}

/// Which session a visitor means.
#[derive(Clone)]
pub struct Wanted {
    name: String,
    agent: Option<AgentId>,
}

impl Wanted {
    /// By name: `main`, or one of the operator's choice.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when the name breaks its rule.
    pub fn named(name: &str) -> Result<Self, Status> {
        SessionKey::operator(&AgentId::main(), name)
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        Ok(Self {
            name: name.to_owned(),
            agent: None,
        })
    }

    /// The same session of another agent than the default one.
    #[must_use]
    pub fn of_agent(self, agent: AgentId) -> Self {
        Self {
            agent: Some(agent),
            ..self
        }
    }

    /// By name, or by the whole key of a session that has a name.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when it is neither.
    pub fn named_or_key(text: &str) -> Result<Self, Status> {
        if !text.starts_with("agent:") {
            return Self::named(text);
        }
        let key = SessionKey::parse(text).map_err(|e| Status::invalid_argument(e.to_string()))?;
        Ok(Self::named(key.rest())?.of_agent(key.agent().clone()))
    }
}

/// A session that policy opened.
pub struct Session {
    /// Which.
    pub key: SessionKey,
    /// Which agent answers there.
    pub class: Class,
    /// What the agent shows to policy.
    pub handle: Handle,
    /// Shown with everything that comes of the message.
    pub trace: String,
    /// Policy's mark of the sender, for channels.
    pub mark: String,
}

/// What became of a message.
pub enum Sent {
    /// It is accepted and runs, or will.
    Running {
        /// Its turn.
        log: Arc<TurnLog>,
        /// Whether it had been accepted before.
        known: bool,
        /// Messages of its session that come first.
        ahead: usize,
    },
    /// It had been accepted before, and has ended.
    Settled(SessionKey, RowId, Outcome),
    /// It was `/stop`: these messages were stopped.
    Stopped(Vec<MessageId>),
    /// It was a command of another kind: this is the answer, and there was no turn.
    Told(SessionKey, String),
}

/// Either what was asked for, or policy's refusal.
pub type Decided<T> = Result<T, v1::Refusal>;

/// The desk. Clones share everything.
#[derive(Clone)]
pub struct Desk {
    turns: Turns,
    policy: Edge,
    agents: Agents,
    problems: Problems,
}

impl Desk {
    /// A desk in front of these turns, policy and agents, where the operator's problems are known.
    pub fn new(turns: Turns, policy: Edge, agents: Agents, problems: Problems) -> Self {
        Self {
            turns,
            policy,
            agents,
            problems,
        }
    }

    /// What the operator has to know, as it changes.
    pub fn problems(&self) -> Problems {
        self.problems.clone()
    }

    /// The turns behind the desk.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Takes a message; a text alone is a question as well.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when the request breaks a rule or its id belongs to another message; RESOURCE_EXHAUSTED when
    /// too much waits or the disk is full; UNAVAILABLE when policy or the queue cannot be reached. Then nothing was
    /// accepted.
    pub async fn send(
        &self,
        visitor: &Visitor,
        wanted: Wanted,
        message_id: &str,
        question: impl Into<Question>,
    ) -> Result<Decided<Sent>, Status> {
        let question = question.into();
        let message_id =
            MessageId::parse(message_id).map_err(|e| Status::invalid_argument(e.to_string()))?;
        check_text(&question.text)?;
        check_extra(&question.extra_system)?;
        let admitted = self.ask(visitor, &wanted, message_id.as_str(), &question.text);
        let session = match admitted.await? {
            Ok(Admitted::In(session)) => session,
            Ok(Admitted::Told(key, text)) => return Ok(Ok(Sent::Told(key, text))),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let commands = self.turns.reads_commands();
        if let Some(words) = queue(&question.text).filter(|_| commands) {
            let source = visitor.source();
            let told = self.turns.wish(&session.key, words, source.name()).await;
            return Ok(Ok(Sent::Told(session.key, told.map_err(unstored)?)));
        }
        if commands && is_stop(&question.text) {
            let stopped = self.turns.stop(&session.key, None).await;
            return Ok(Ok(Sent::Stopped(stopped)));
        }
        let turn_id = clock::turn_id().map_err(|e| Status::internal(e.to_string()))?;
        let key = session.key.clone();
        let accepted = (message_id.clone(), turn_id.clone(), session.trace);
        let message = Message {
            source: visitor.source(),
            message_id,
            turn_id,
            session: wanted.name,
            session_key: session.key,
            class: session.class,
            handle: session.handle,
            question,
            place: None,
        };
        let taken = self.turns.take(message).await.map_err(unstored)?;
        match taken {
            Taken::Running { log, known, ahead } => {
                if !known {
                    let (message, turn, trace) = accepted;
                    info!(id = %message, %turn, trace, "a message is accepted");
                }
                Ok(Ok(Sent::Running { log, known, ahead }))
            }
            Taken::Settled(row, outcome) => Ok(Ok(Sent::Settled(key, row, outcome))),
            Taken::Conflict => Err(Status::invalid_argument(
                "this message id belongs to another message: one with the same id must have the same text and session",
            )),
            Taken::Backlog { session } => Err(Status::resource_exhausted(format!(
                "{} messages wait {} already; wait for answers, or stop them with /stop",
                if session {
                    limits::WAITING_IN_SESSION
                } else {
                    limits::WAITING
                },
                if session {
                    "in this session"
                } else {
                    "in all sessions"
                },
            ))),
        }
    }

    /// Ends what runs in a session and drops what waits; with `only`, just that message. Names what was stopped.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when there is no such session; UNAVAILABLE when policy cannot be reached.
    pub async fn stop(
        &self,
        visitor: &Visitor,
        wanted: &Wanted,
        only: Option<&MessageId>,
    ) -> Result<Decided<(SessionKey, Vec<MessageId>)>, Status> {
        match self.admit(visitor, wanted, "stop").await? {
            Err(refusal) => Ok(Err(refusal)),
            Ok(session) => {
                let stopped = self.turns.stop(&session.key, only).await;
                Ok(Ok((session.key, stopped)))
            }
        }
    }

    /// The last entries of a session, oldest first.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when the limit breaks its rule or there is no such session; what the agent says; UNAVAILABLE.
    pub async fn history(
        &self,
        visitor: &Visitor,
        wanted: &Wanted,
        limit: u32,
    ) -> Result<Decided<(SessionKey, v1::HistoryReply)>, Status> {
        if !(1..=limits::HISTORY).contains(&limit) {
            let rule = format!("limit must be 1 to {}, it is {limit}", limits::HISTORY);
            return Err(Status::invalid_argument(rule));
        }
        match self.admit(visitor, wanted, "history").await? {
            Err(refusal) => Ok(Err(refusal)),
            Ok(session) => {
                let request = v1::AgentHistoryRequest {
                    handle: session.handle.as_str().to_owned(),
                    limit,
                };
                let mut agent = AgentClient::new(self.agents.of(session.class))
                    .max_decoding_message_size(limits::HISTORY_REPLY_BYTES);
                let mut reply = agent.history(request).await?.into_inner();
                keep_newest(&mut reply.entries);
                Ok(Ok((session.key, reply)))
            }
        }
    }

    /// The sessions of both agents, the one that changed last first. A list that would lack one agent's is an error.
    ///
    /// # Errors
    /// UNAVAILABLE when policy or an agent cannot be reached.
    pub async fn sessions(
        &self,
        visitor: &Visitor,
    ) -> Result<Decided<Vec<v1::SessionSummary>>, Status> {
        let main = Wanted::named("main")?;
        if let Err(refusal) = self.admit(visitor, &main, "sessions").await? {
            return Ok(Err(refusal));
        }
        let mut main = AgentClient::new(self.agents.main.clone());
        let mut guest = AgentClient::new(self.agents.guest.clone());
        let (main, guest) = tokio::try_join!(
            main.list_sessions(v1::ListSessionsRequest {}),
            guest.list_sessions(v1::ListSessionsRequest {}),
        )?;
        let mut all = main.into_inner().sessions;
        all.extend(guest.into_inner().sessions);
        all.sort_by_key(|session| std::cmp::Reverse(session.updated_at_ms));
        Ok(Ok(all))
    }

    /// For what is no message.
    async fn admit(
        &self,
        visitor: &Visitor,
        wanted: &Wanted,
        message_id: &str,
    ) -> Result<Decided<Session>, Status> {
        match self.ask(visitor, wanted, message_id, "").await? {
            Ok(Admitted::In(session)) => Ok(Ok(session)),
            Ok(Admitted::Told(..)) => Err(odd("an answer to no question")),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    async fn ask(
        &self,
        visitor: &Visitor,
        wanted: &Wanted,
        message_id: &str,
        text: &str,
    ) -> Result<Decided<Admitted>, Status> {
        let request = v1::AdmitOperatorRequest {
            way: Some(visitor.way()),
            session: wanted.name.clone(),
            message_id: message_id.to_owned(),
            agent: wanted
                .agent
                .as_ref()
                .map_or_else(String::new, AgentId::to_string),
            text: text[..text.floor_char_boundary(limits::ADMITTED_TEXT_BYTES)].to_owned(),
        };
        let reply = AccessClient::new(self.policy.clone())
            .admit_operator(request)
            .await?
            .into_inner();
        match reply.outcome {
            Some(Admittance::Refusal(refusal)) => Ok(Err(refusal)),
            Some(Admittance::Admission(admission)) => Ok(Ok(Admitted::In(admitted(&admission)?))),
            Some(Admittance::Answer(text)) => {
                let key = SessionKey::parse(&reply.session_key).map_err(|e| odd(&e.to_string()))?;
                Ok(Ok(Admitted::Told(key, text)))
            }
            None => Err(odd("an outcome that is not known here")),
        }
    }
}

/// What policy says to a message.
enum Admitted {
    In(Session),
    /// It was a command for policy, and this is its answer.
    Told(SessionKey, String),
}

fn unstored(error: QueueError) -> Status {
    let text = error.to_string();
    match error {
        QueueError::DiskFull => Status::resource_exhausted(text),
        QueueError::Database(_) | QueueError::Damaged(_) => Status::internal(text),
        QueueError::Stopped => Status::unavailable(text),
    }
}

/// What policy admitted, checked.
///
/// # Errors
/// INTERNAL when it makes no sense.
pub fn admitted(admission: &v1::Admission) -> Result<Session, Status> {
    let class = match admission.class() {
        v1::Class::Main => Class::Main,
        v1::Class::Guest => Class::Guest,
        v1::Class::Unspecified => return Err(odd("a class that is not known here")),
    };
    Ok(Session {
        key: SessionKey::parse(&admission.session_key).map_err(|e| odd(&e.to_string()))?,
        handle: Handle::parse(&admission.handle).map_err(|e| odd(&e.to_string()))?,
        class,
        trace: admission.trace.clone(),
        mark: admission.mark.clone(),
    })
}

/// Drops the oldest entries until the rest fits into one answer.
fn keep_newest(entries: &mut Vec<v1::HistoryEntry>) {
    let mut room = limits::HISTORY_BYTES;
    let fits = |entry: &&v1::HistoryEntry| {
        let fits = entry.text.len() <= room;
        room = room.saturating_sub(entry.text.len());
        fits
    };
    let kept = entries.iter().rev().take_while(fits).count();
    entries.drain(..entries.len() - kept);
}

fn odd(what: &str) -> Status {
    Status::internal(format!("policy answered with {what}"))
}

/// Control and bidi characters are data; whoever shows a text makes it safe to show.
///
/// # Errors
/// INVALID_ARGUMENT with the rule that the text breaks.
pub fn check_text(text: &str) -> Result<(), Status> {
    let rule = match text.len() {
        0 => "a message must not be empty".into(),
        length if length > limits::TEXT_BYTES => format!(
            "a message has at most {} bytes of UTF-8, this one has {length}",
            limits::TEXT_BYTES
        ),
        _ if text.contains('\0') => "a message must not contain the NUL character".into(),
        _ => return Ok(()),
    };
    Err(Status::invalid_argument(rule))
}

fn check_extra(text: &str) -> Result<(), Status> {
    let rule = match text.len() {
        length if length > limits::TEXT_BYTES => format!(
            "system and developer texts have at most {} bytes of UTF-8 together, these have {length}",
            limits::TEXT_BYTES
        ),
        _ if text.contains('\0') => {
            "system and developer texts must not contain the NUL character".into()
        }
        _ => return Ok(()),
    };
    Err(Status::invalid_argument(rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bounded_and_the_limit_is_named() {
        let exact = "é".repeat(limits::TEXT_BYTES / 2);
        for good in ["a", "\u{202e}\u{1b}[31m\n", exact.as_str()] {
            assert!(check_text(good).is_ok());
        }
        let long = format!("{exact}x");
        for (bad, rule) in [("", "empty"), (long.as_str(), "262144"), ("a\0b", "NUL")] {
            let status = check_text(bad).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains(rule), "{status}");
        }
    }

    #[test]
    fn a_long_history_loses_its_oldest_entries_only() {
        let entry = |n: u64, size: usize| v1::HistoryEntry {
            at_ms: n,
            text: "x".repeat(size),
            ..Default::default()
        };
        let third = limits::HISTORY_BYTES / 3;
        for (sizes, kept) in [
            (vec![], vec![]),
            (vec![1, 2, 3], vec![0, 1, 2]),
            (vec![1, third, third, third], vec![1, 2, 3]),
            (vec![third, 0, third, third + 1], vec![1, 2, 3]),
            (vec![limits::HISTORY_BYTES + 1], vec![]),
        ] {
            let mut entries: Vec<_> = (0..).zip(&sizes).map(|(n, size)| entry(n, *size)).collect();
            keep_newest(&mut entries);
            let left: Vec<_> = entries.iter().map(|entry| entry.at_ms).collect();
            assert_eq!(left, kept, "{sizes:?}");
        }
    }
}
