//! Calls that wait for the owner's yes or no. A question is for one call of one session with these arguments, ends by
//! itself, and is answered once; whoever asked and goes away withdraws it. Nothing is kept over a restart: who still wants
//! the call asks again.

mod wait;
mod words;

pub(crate) use words::problem;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdbot_identity::{AgentId, MessageId, Role, SessionKey, ToolName};
use clawdbot_proto::v1;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::denied::Denied;
use crate::handle::{Grant, Standing, Trace};
use crate::notices::Recipient;
use crate::pairing::code;

/// Questions of one session that wait at the same time, and of one person in all sessions.
const MAX_OF_ONE: usize = 8;
/// Questions that wait at the same time, of those who may do as little as this or less: nobody can take the last seats of
/// those above him.
const SEATS: [(Standing, usize); 3] = [
    (Standing::Stranger, 16),
    (Standing::Approved, 40),
    (Standing::Owner, 64),
];

/// A call that the owner has to be asked about.
pub(crate) struct Question<'a> {
    pub(crate) grant: &'a Grant,
    pub(crate) call: &'a MessageId,
    pub(crate) tool: &'a ToolName,
    /// Canonical JSON.
    pub(crate) arguments: &'a str,
    /// Why, in words.
    pub(crate) reasons: Vec<String>,
}

/// `approvals.exec`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Approvals {
    /// Without it what would be asked is refused.
    pub(crate) enabled: bool,
    /// The owner who wrote the message is asked where he wrote it.
    pub(crate) in_session: bool,
    pub(crate) at_targets: bool,
    /// Only of these agents' calls chats are told; empty: of all.
    pub(crate) agents: Vec<AgentId>,
    /// Only of sessions whose key contains one of these; empty: of all.
    pub(crate) sessions: Vec<String>,
    /// Empty: the owners' own conversations.
    pub(crate) targets: Vec<Recipient>,
    pub(crate) timeout: Duration,
    /// Empty: every owner.
    pub(crate) approvers: Vec<clawdbot_config::Identity>,
}

impl Approvals {
    /// Which conversations are told of a question; `owners` are those who may answer.
    fn recipients(&self, grant: &Grant, owners: Vec<Recipient>) -> Vec<Recipient> {
        let key = grant.session.as_str();
        let covers = (self.agents.is_empty() || self.agents.contains(grant.session.agent()))
            && (self.sessions.is_empty() || self.sessions.iter().any(|part| key.contains(part)));
        if !covers {
            return Vec::new();
        }
        let writer = || {
            let mut owners = owners.iter();
            let own = owners.find(|owner| {
                grant
                    .door
                    .name()
                    .is_some_and(|name| name.as_str() == owner.channel)
                    && owner.person == grant.sender
            });
            own.cloned()
        };
        let here = if self.in_session { writer() } else { None };
        // Of somebody else's session the owners are asked in their own conversation: only they may answer.
        let mut to = match (&here, self.at_targets, self.targets.is_empty()) {
            (Some(_), false, _) => Vec::new(),
            (_, true, false) => self.targets.clone(),
            (..) => owners.clone(),
        };
        let known = |to: &[Recipient], one: &Recipient| {
            to.iter()
                .any(|own| own.channel == one.channel && own.person == one.person)
        };
        if let Some(here) = here.filter(|here| !known(&to, here)) {
            to.push(here);
        }
        to
    }
}

/// What waits.
#[derive(Default)]
pub(crate) struct Questions(Mutex<Vec<Open>>);

struct Open {
    id: String,
    session: SessionKey,
    call: MessageId,
    tool: ToolName,
    /// Of the arguments: what is approved is exactly that.
    digest: [u8; 32],
    what: String,
    reasons: Vec<String>,
    asked_ms: u64,
    expires_ms: u64,
    /// Of the message that led to the call.
    trace: Trace,
    /// What whoever wrote that is worth, and who it is.
    standing: Standing,
    person: (Role, String),
    /// How many wait for the word.
    seats: usize,
    word: watch::Sender<Option<bool>>,
}

impl Open {
    fn row(&self) -> v1::QuestionRow {
        v1::QuestionRow {
            id: self.id.clone(),
            session_key: self.session.to_string(),
            agent_id: self.session.agent().to_string(),
            tool: self.tool.to_string(),
            what: self.what.clone(),
            reasons: self.reasons.clone(),
            asked_ms: self.asked_ms,
            expires_ms: self.expires_ms,
        }
    }
}

/// Somebody's place at a question.
struct Seat {
    row: v1::QuestionRow,
    word: watch::Receiver<Option<bool>>,
    /// The question was not there before.
    fresh: bool,
}

impl Questions {
    /// What waits, the oldest first.
    pub(crate) fn list(&self, now_ms: u64) -> Vec<v1::QuestionRow> {
        let open = self.open();
        let waiting = open.iter().filter(|one| now_ms < one.expires_ms);
        waiting.map(Open::row).collect()
    }

    /// Takes a question down, or joins the same one.
    fn sit(
        &self,
        question: &Question<'_>,
        timeout: Duration,
        now_ms: u64,
        mut random: impl FnMut() -> std::io::Result<[u8; 8]>,
    ) -> Result<Seat, Denied> {
        let session = &question.grant.session;
        let digest: [u8; 32] = Sha256::digest(question.arguments.as_bytes()).into();
        let mut open = self.open();
        // Who still waits there gets no word any more.
        open.retain(|one| now_ms < one.expires_ms);
        let known =
            { open.iter_mut() }.find(|one| one.session == *session && one.call == *question.call);
        if let Some(known) = known {
            if known.tool != *question.tool || known.digest != digest {
                return Err(Denied::new(
                    "approval.changed",
                    "another call waits for the owner under this id already",
                ));
            }
            known.seats += 1;
            return Ok(Seat {
                row: known.row(),
                word: known.word.subscribe(),
                fresh: false,
            });
        }
        let Grant {
            standing,
            door,
            sender,
            ..
        } = question.grant;
        let person = (door.clone(), sender.clone());
        let count = |is: &dyn Fn(&Open) -> bool| open.iter().filter(|one| is(one)).count();
        let of_one = count(&|one| one.session == *session).max(match standing {
            Standing::Owner => 0,
            _ => count(&|one| one.person == person),
        });
        let full = SEATS.iter().any(|(least, most)| {
            standing >= least && count(&|one| one.standing >= *least) >= *most
        });
        if of_one >= MAX_OF_ONE || full {
            return Err(Denied::new(
                "approval.too_many",
                "as many calls as may are waiting for the owner already",
            ));
        }
        let id = loop {
            let id =
                code(random().map_err(|error| Denied::new("system.random", error.to_string()))?);
            if !open.iter().any(|one| one.id == id) {
                break id;
            }
        };
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let (word, waits) = watch::channel(None);
        let fresh = Open {
            id,
            session: session.clone(),
            call: question.call.clone(),
            tool: question.tool.clone(),
            digest,
            what: words::what(question.arguments),
            reasons: words::reasons(&question.reasons),
            asked_ms: now_ms,
            expires_ms: now_ms.saturating_add(millis),
            trace: question.grant.trace,
            standing: *standing,
            person,
            seats: 1,
            word,
        };
        let row = fresh.row();
        open.push(fresh);
        Ok(Seat {
            row,
            word: waits,
            fresh: true,
        })
    }

    /// Gives the word on a question, which ends with it, unless `record` says no. Nobody can leave the question between its
    /// record and its word, so what is written down is what happened.
    ///
    /// # Errors
    /// With the rule `approval.no_question`, or those of `record`.
    fn settle(
        &self,
        id: &str,
        allow: bool,
        now_ms: u64,
        record: impl FnOnce(&v1::QuestionRow, Trace) -> Result<(), Denied>,
    ) -> Result<v1::QuestionRow, Denied> {
        let mut open = self.open();
        let at = { open.iter() }
            .position(|one| one.id.eq_ignore_ascii_case(id) && now_ms < one.expires_ms);
        let at = at.ok_or_else(no_question)?;
        let (row, trace) = (open[at].row(), open[at].trace);
        record(&row, trace)?;
        open.remove(at).word.send_replace(Some(allow));
        Ok(row)
    }

    /// Somebody leaves a question, which is gone when nobody is left.
    fn leave(&self, id: &str) {
        let mut open = self.open();
        let Some(at) = open.iter().position(|one| one.id == id) else {
            return;
        };
        open[at].seats -= 1;
        if open[at].seats == 0 {
            open.remove(at);
        }
    }

    /// Whether the question is there, in time or not.
    fn waits(&self, id: &str) -> bool {
        self.open().iter().any(|one| one.id == id)
    }

    fn open(&self) -> MutexGuard<'_, Vec<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_question() -> Denied {
    Denied::new(
        "approval.no_question",
        "no call waits under this id; it was answered already, or its time is over (`clawdbot approvals list` shows what waits)",
    )
}

/// Who gives a word.
pub(crate) enum Voice<'a> {
    /// The local operator.
    Operator,
    /// The owner in a direct conversation.
    Owner { channel: &'a str, person: &'a str },
}

impl Voice<'_> {
    fn role(&self) -> String {
        match self {
            Self::Operator => Role::operator().to_string(),
            Self::Owner { channel, .. } => format!("channel-{channel}"),
        }
    }
}

#[cfg(test)]
mod tests;
