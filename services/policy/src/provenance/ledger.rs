//! The flags on disk, STATE/pairing/taint.jsonl: a line for each session and rise, safe against a power cut before the rise
//! is answered. A file that is gone or damaged says nothing about the sessions that it does not name, and they count as
//! having read everything until the owner begins them anew.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, PoisonError};

use clawdbot_identity::SessionKey;
use serde_json::{Value, json};
use tracing::{error, warn};

use super::state::Flags;
use crate::keep::Keep;

const NAME: &str = "taint.jsonl";
/// Sessions that are remembered; beyond it the first ones go, and then nothing is known of those without a line.
const MAX: usize = 65_536;

/// What is known of sessions from before.
pub(super) struct Known {
    flags: HashMap<SessionKey, Flags>,
    /// Nothing was lost: a session that is not there has read nothing.
    whole: bool,
}

impl Known {
    pub(super) fn of(&self, session: &SessionKey) -> Flags {
        match self.flags.get(session) {
            Some(flags) => *flags,
            None if self.whole => Flags::default(),
            None => Flags::BOTH,
        }
    }

    /// One more than are remembered: from then on nothing is known of those that are not there.
    pub(super) fn set(&mut self, session: &SessionKey, flags: Flags) {
        if let Some(known) = self.flags.get_mut(session) {
            *known = flags;
        } else if self.flags.len() < MAX {
            self.flags.insert(session.clone(), flags);
        } else {
            self.whole = false;
        }
    }
}

/// The open file; none in memory only.
pub(super) struct Ledger(Mutex<Option<File>>);

impl Ledger {
    /// Writes elsewhere from now on.
    #[cfg(test)]
    pub(super) fn swap(&self, file: File) {
        *self.0.lock().unwrap() = Some(file);
    }

    /// Without a file: nothing outlives the process.
    #[cfg(test)]
    pub(super) fn none() -> (Self, Known) {
        let known = Known {
            flags: HashMap::new(),
            whole: true,
        };
        (Self(Mutex::new(None)), known)
    }

    /// Opens the file, or begins it. `fresh`: there was no state at all, so that there is no session of before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(keep: &Keep, fresh: bool) -> io::Result<(Self, Known)> {
        let before = keep.read_document(NAME).map_err(io::Error::other)?;
        let (known, order) = match &before {
            Some(text) => read(text),
            None => (
                Known {
                    flags: HashMap::new(),
                    whole: fresh,
                },
                Vec::new(),
            ),
        };
        if !known.whole {
            warn!(
                path = keep.path(NAME),
                "what earlier sessions have read is not known, so their calls that change or send something are asked about until /new; if nothing of before matters, make the one line {{\"version\":1,\"whole\":true}} of this file and start again"
            );
        }
        let text = write(&known, &order);
        if before.is_none_or(|before| *before != text) {
            keep.write_document(NAME, &text).map_err(io::Error::other)?;
        }
        let file = OpenOptions::new()
            .append(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(keep.path(NAME))?;
        Ok((Self(Mutex::new(Some(file))), known))
    }

    /// Writes that a session's flags rose, or that it begins anew. `safe`: waits for the disk.
    ///
    /// # Errors
    /// When it is not in the file.
    pub(super) fn append(
        &self,
        session: &SessionKey,
        flags: Flags,
        anew: bool,
        safe: bool,
    ) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = file.as_mut() else {
            return Ok(());
        };
        let end = file.metadata()?.len();
        if let Err(error) = file.write_all(format!("\n{}", line(session, flags, anew)).as_bytes()) {
            // Half a line would count as damage; nobody was answered.
            let _ = file.set_len(end);
            return Err(error);
        }
        match safe {
            true => file.sync_data(),
            false => Ok(()),
        }
    }
}

fn line(session: &SessionKey, flags: Flags, anew: bool) -> Value {
    json!({"session": session.as_str(), "tainted": flags.tainted, "astray": flags.astray, "new": anew})
}

fn write(known: &Known, order: &[SessionKey]) -> String {
    let mut text = json!({"version": 1, "whole": known.whole}).to_string();
    for session in order {
        let flags = known.of(session);
        if !known.whole || flags != Flags::default() {
            text.push('\n');
            text.push_str(&line(session, flags, true).to_string());
        }
    }
    text
}

/// The sessions in the order of their last lines.
fn read(text: &str) -> (Known, Vec<SessionKey>) {
    let mut lines = text.split('\n');
    let head: Option<Value> = lines
        .next()
        .and_then(|line| serde_json::from_str(line).ok());
    let head = head.filter(|head| head["version"] == 1);
    let mut whole = head.is_some_and(|head| head["whole"] == true);
    let mut flags: HashMap<SessionKey, (usize, Flags)> = HashMap::new();
    for (at, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        let Some((session, risen, anew)) = row(line) else {
            error!(
                line = at + 2,
                "a line about what a session has read is damaged"
            );
            whole = false;
            continue;
        };
        let row = flags.entry(session).or_default();
        let before = if anew { Flags::default() } else { row.1 };
        *row = (at, before.with(risen));
    }
    let mut order: Vec<_> = flags
        .iter()
        .map(|(session, row)| (row.0, session.clone()))
        .collect();
    order.sort_unstable();
    if order.len() > MAX {
        whole = false;
        order.drain(..order.len() - MAX);
    }
    let order: Vec<_> = order.into_iter().map(|row| row.1).collect();
    let flags = order
        .iter()
        .map(|session| (session.clone(), flags[session].1))
        .collect();
    (Known { flags, whole }, order)
}

fn row(line: &str) -> Option<(SessionKey, Flags, bool)> {
    let row: Value = serde_json::from_str(line).ok()?;
    let flags = Flags {
        tainted: row["tainted"].as_bool()?,
        astray: row["astray"].as_bool()?,
    };
    let session = SessionKey::parse(row["session"].as_str()?).ok()?;
    Some((session, flags, row["new"].as_bool()?))
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
