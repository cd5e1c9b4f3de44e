//! Where the arguments of a call come from: what the owner wrote, or what a session has read. After a session has read what
//! others wrote, a call that changes or sends something passes only when everything that matters in it is the owner's;
//! else he is asked. Nothing here takes the agent's word: it knows policy's own admissions and decisions, and typed values
//! that the executor reports.

mod entries;
mod judge;
mod ledger;
mod links;
mod reading;
mod state;
mod words;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdbot_identity::command::{self, Command};
use clawdbot_identity::{Class, MessageId, SessionKey, ToolName};
use clawdbot_proto::v1::{self, Effect, Label};
use serde_json::{Map, Value};
use tracing::error;

use self::entries::Entries;
use self::ledger::Ledger;
use self::state::{Call, Flags, Trails};
use self::words::Words;
use crate::denied::Denied;
use crate::handle::{Grant, Standing};
use crate::keep::Keep;

/// What is to be done with a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow,
    /// The owner has to be asked; why, in words.
    Ask(Vec<String>),
}

/// What is known of each session.
pub(crate) struct Provenance {
    trails: Mutex<Trails>,
    ledger: Arc<Ledger>,
}

impl Provenance {
    /// With the flags that stand on disk. `fresh`: there was no state at all before this start.
    ///
    /// # Errors
    /// When they cannot be read or written.
    pub(crate) fn open(keep: &Keep, fresh: bool) -> io::Result<Self> {
        Ledger::open(keep, fresh).map(Self::over)
    }

    fn over((ledger, known): (Ledger, ledger::Known)) -> Self {
        Self {
            trails: Mutex::new(Trails::new(known)),
            ledger: Arc::new(ledger),
        }
    }

    fn trails(&self) -> MutexGuard<'_, Trails> {
        // A panic ends the process, so a poisoned lock is never seen.
        self.trails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An admitted message. Only the owner's words count; without `commands` none of them is one.
    pub(crate) fn said(&self, grant: &Grant, text: &str, commands: bool) {
        if !is_owners(grant) {
            return;
        }
        let mut trails = self.trails();
        let trail = trails.of(&grant.session);
        if commands && begins(text) {
            trail.may_begin(grant.trace, text);
        }
        trail.words.add(text);
        let state::Trail { words, entries, .. } = trail;
        entries.look(words);
        trails.bound(&grant.session);
    }

    /// An admitted message that brings somebody else's words along; they are not the owner's, whoever sent them on.
    ///
    /// # Errors
    /// With the rule `taint.unavailable` when it cannot be written down.
    pub(crate) async fn forwarded(&self, grant: &Grant) -> Result<(), Denied> {
        if !is_owners(grant) {
            return Ok(());
        }
        let tainted = Flags {
            tainted: true,
            astray: false,
        };
        let (_, write) = Self::raise(&mut self.trails(), grant, tainted);
        self.keep(grant, write).await
    }

    /// A turn begins. With it a session that the owner wants to begin anew does.
    pub(crate) fn begun(&self, grant: &Grant) {
        if !is_owners(grant) {
            return;
        }
        let mut trails = self.trails();
        if !trails.of(&grant.session).begins(grant.trace) {
            return;
        }
        trails.known.set(&grant.session, Flags::default());
        // Not waited for: what is lost makes more questions.
        if let Err(error) = self
            .ledger
            .append(&grant.session, Flags::default(), true, false)
        {
            error!(%error, "that a session began anew could not be written down");
        }
    }

    /// Judges a call that the lists permit.
    pub(crate) fn judge(&self, grant: &Grant, facts: &v1::ToolFacts, arguments: &str) -> Verdict {
        let Some(arguments) = object(arguments) else {
            return Verdict::Ask(vec!["its arguments cannot be read".to_owned()]);
        };
        let reasons = match is_owners(grant) {
            true => {
                let mut trails = self.trails();
                let trail = trails.of(&grant.session);
                judge::reasons(&trail.words, &trail.entries, trail.flags, facts, &arguments)
            }
            false => {
                let (words, entries) = (Words::default(), Entries::default());
                judge::reasons(&words, &entries, Flags::BOTH, facts, &arguments)
            }
        };
        match reasons.is_empty() {
            true => Verdict::Allow,
            false => Verdict::Ask(reasons),
        }
    }

    /// A call may happen. Its report is expected.
    pub(crate) fn allowed(
        &self,
        grant: &Grant,
        call: &MessageId,
        tool: &ToolName,
        facts: &v1::ToolFacts,
        arguments: &str,
    ) {
        if !is_owners(grant) {
            return;
        }
        let arguments = object(arguments).unwrap_or_default();
        let inward = matches!(
            facts.effect(),
            Effect::Unspecified | Effect::Read | Effect::Confined
        );
        let mut trails = self.trails();
        let trail = trails.of(&grant.session);
        let pointed = inward && judge::pointed(&trail.words, &arguments);
        trail.allowed(Call {
            trace: grant.trace,
            id: call.clone(),
            tool: tool.clone(),
            inward,
            pointed,
            reported: false,
        });
    }

    /// What a call gave; the executor holds the output back until this is answered. The names of the flags that rose with
    /// it. A call that nobody decided raises both, and nothing of it is believed: policy was started again meanwhile.
    ///
    /// # Errors
    /// With the rule `taint.unavailable` when a flag that rose cannot be written down.
    pub(crate) async fn report(
        &self,
        grant: &Grant,
        call: &MessageId,
        tool: &ToolName,
        report: v1::CallReport,
    ) -> Result<Vec<&'static str>, Denied> {
        // A guest's session counts as having read everything from its first message on.
        if !is_owners(grant) {
            return Ok(Vec::new());
        }
        let (risen, write) = self.take(grant, call, tool, report);
        self.keep(grant, write).await.map(|()| risen)
    }

    /// Writes flags down.
    async fn keep(&self, grant: &Grant, write: Option<(Flags, u64)>) -> Result<(), Denied> {
        let Some((flags, epoch)) = write else {
            return Ok(());
        };
        let (ledger, session) = (Arc::clone(&self.ledger), grant.session.clone());
        let written =
            tokio::task::spawn_blocking(move || ledger.append(&session, flags, false, true));
        let written = written
            .await
            .map_err(io::Error::other)
            .and_then(|done| done);
        match written {
            Ok(()) => {
                self.stored(&grant.session, flags, epoch);
                Ok(())
            }
            Err(error) => {
                error!(%error, "what a session has read cannot be written down: no tool's output is given out until it can; make room on the disk or mend the folder");
                Err(Denied::new(
                    "taint.unavailable",
                    format!("what this session has read cannot be written down: {error}"),
                ))
            }
        }
    }

    /// Takes a report into memory; which flags rose, and what has to be on disk before it is answered.
    fn take(
        &self,
        grant: &Grant,
        call: &MessageId,
        tool: &ToolName,
        report: v1::CallReport,
    ) -> (Vec<&'static str>, Option<(Flags, u64)>) {
        let mut trails = self.trails();
        let trail = trails.of(&grant.session);
        let flags = match trail.call(grant.trace, call, tool) {
            Some(known) => {
                let again = std::mem::replace(&mut known.reported, true);
                let flags = raised(known, &report);
                if !again {
                    trail.entries.take(report, &trail.words);
                }
                flags
            }
            None => Flags::BOTH,
        };
        trails.bound(&grant.session);
        Self::raise(&mut trails, grant, flags)
    }

    /// Raises flags in memory; which of them rose, and what has to be on disk before anybody is answered.
    fn raise(
        trails: &mut Trails,
        grant: &Grant,
        flags: Flags,
    ) -> (Vec<&'static str>, Option<(Flags, u64)>) {
        let trail = trails.of(&grant.session);
        let before = trail.flags;
        let flags = before.with(flags);
        trail.flags = flags;
        let write = (flags != trail.stored).then_some((flags, trail.epoch));
        if write.is_some() {
            trails.known.set(&grant.session, flags);
        }
        let names = [
            (flags.tainted && !before.tainted, "tainted"),
            (flags.astray && !before.astray, "astray"),
        ];
        let risen = names.iter().filter(|row| row.0).map(|row| row.1).collect();
        (risen, write)
    }

    fn stored(&self, session: &SessionKey, flags: Flags, epoch: u64) {
        let mut trails = self.trails();
        let trail = trails.of(session);
        if trail.epoch == epoch {
            trail.stored = trail.stored.with(flags);
        }
    }
}

/// The operator, or the owner in a direct conversation: nobody else has sessions of this class.
fn is_owners(grant: &Grant) -> bool {
    grant.class == Class::Main && grant.standing == Standing::Owner
}

/// What a result raises.
fn raised(call: &Call, report: &v1::CallReport) -> Flags {
    let label = report.label();
    // A name can hold a sentence; numbers and dates cannot.
    let words = report.text || !report.entries.is_empty() || !report.members.is_empty();
    let secret = matches!(label, Label::Secret | Label::Unspecified);
    Flags {
        tainted: words || label != Label::Typed,
        astray: secret || label == Label::Private && call.inward && !call.pointed,
    }
}

fn object(json: &str) -> Option<Map<String, Value>> {
    if json.is_empty() {
        return Some(Map::new());
    }
    serde_json::from_str(json).ok()
}

/// Whether the agent will take a message for the beginning of a new session.
fn begins(text: &str) -> bool {
    command::read(text).is_some_and(|(row, _)| row.command == Command::New)
}

#[cfg(test)]
mod tests;
