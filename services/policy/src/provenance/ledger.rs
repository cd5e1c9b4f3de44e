//! The flags on disk, STATE/pairing/taint.jsonl: a line for each session and rise, safe against a power cut before the rise
//! is answered. The first line says how many there are, so that a file that was cut is known by it. One that is gone or
//! damaged says nothing about the sessions that it does not name, and they count as having read everything until the owner
//! begins them anew.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::sync::{Mutex, PoisonError};

use clawdbot_identity::SessionKey;
use clawdbot_service::newer_format;
use serde_json::{Value, json};
use tracing::{error, warn};

use super::state::Flags;
use crate::keep::{Keep, newer};

const NAME: &str = "taint.jsonl";
/// The format that this version reads and writes.
const VERSION: u64 = 2;
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
pub(super) struct Ledger(Mutex<Option<Open>>);

struct Open {
    file: File,
    whole: bool,
    /// Without the first.
    lines: usize,
}

impl Ledger {
    /// Writes elsewhere from now on.
    #[cfg(test)]
    pub(super) fn swap(&self, file: File) {
        self.0.lock().unwrap().as_mut().unwrap().file = file;
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
    /// When it cannot be written; `Unsupported` when a newer version has written it, `InvalidData` when others could have.
    pub(super) fn open(keep: &Keep, fresh: bool) -> io::Result<(Self, Known)> {
        let before = keep.read_document(NAME)?;
        if let Some(found) = before.as_ref().and_then(|text| newer(text, VERSION)) {
            let said = newer_format(keep.path(NAME), found, VERSION);
            return Err(io::Error::new(io::ErrorKind::Unsupported, said));
        }
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
                "what earlier sessions have read is not known, so their calls that change or send something are asked about until /new; if nothing of before matters, make {} the one line of this file and start again",
                head(true, 0)
            );
        }
        let (text, lines) = write(&known, &order);
        if before.is_none_or(|before| *before != text) {
            keep.write_document(NAME, &text)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(keep.path(NAME))?;
        let whole = known.whole;
        let open = Open { file, whole, lines };
        Ok((Self(Mutex::new(Some(open))), known))
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
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Open { file, whole, lines }) = open.as_mut() else {
            return Ok(());
        };
        let end = file.metadata()?.len();
        let text = format!("\n{}", line(session, flags, anew));
        let head = head(*whole, *lines + 1);
        // A line that is not counted yet is no damage; one that is counted and not there is.
        let written = file.write_all_at(text.as_bytes(), end);
        if let Err(error) = written.and_then(|()| file.write_all_at(head.as_bytes(), 0)) {
            // Half a line would count as damage; nobody was answered.
            let _ = file.set_len(end);
            return Err(error);
        }
        *lines += 1;
        match safe {
            true => file.sync_data(),
            false => Ok(()),
        }
    }
}

/// The first line, which is written over in place: it always has one length.
fn head(whole: bool, lines: usize) -> String {
    format!("{{\"version\":{VERSION},\"whole\":{whole:<5},\"lines\":{lines:<20}}}")
}

fn line(session: &SessionKey, flags: Flags, anew: bool) -> Value {
    json!({"session": session.as_str(), "tainted": flags.tainted, "astray": flags.astray, "new": anew})
}

/// The text, and how many lines follow the first.
fn write(known: &Known, order: &[SessionKey]) -> (String, usize) {
    let rows = order.iter().map(|session| (session, known.of(session)));
    let told = rows.filter(|(_, flags)| !known.whole || *flags != Flags::default());
    let lines: Vec<_> = told
        .map(|(session, flags)| format!("\n{}", line(session, flags, true)))
        .collect();
    (
        head(known.whole, lines.len()) + &lines.concat(),
        lines.len(),
    )
}

/// The sessions in the order of their last lines.
fn read(text: &str) -> (Known, Vec<SessionKey>) {
    let mut lines = text.split('\n');
    let head: Option<Value> = lines
        .next()
        .and_then(|line| serde_json::from_str(line).ok());
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    let head = head.filter(|head| head["version"] == VERSION && head["whole"] == true);
    let told = head.and_then(|head| head["lines"].as_u64());
    let mut whole = told.is_some_and(|told| lines.len() as u64 >= told);
    if told.is_some() && !whole {
        error!("lines about what sessions have read are missing");
    }
    let mut flags: HashMap<SessionKey, (usize, Flags)> = HashMap::new();
    for (at, line) in lines.into_iter().enumerate() {
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
