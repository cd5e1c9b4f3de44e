//! Where the poll goes on. The server keeps the updates and forgets those below the offset that it is asked with, so this
//! only has to be right about what is settled. Ids start anew, anywhere, after a week of silence: an old offset is not used,
//! and what was seen is recognised by its name, never by being lower.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;

/// Age at which an offset says nothing any more; Telegram's own limit is a week.
const OLD_MS: u64 = 6 * 24 * 3600 * 1000;
/// Names of messages that are remembered.
const SEEN: usize = 4096;

/// The next update of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    next: i64,
    at_ms: u64,
    /// Whose numbers these are.
    #[serde(default)]
    bot: i64,
}

impl Cursor {
    /// Behind a batch; its highest id counts, not the highest ever.
    pub(crate) fn behind(bot: i64, ids: impl Iterator<Item = i64>, now_ms: u64) -> Option<Self> {
        let next = ids.max()?.checked_add(1)?;
        Some(Self {
            next,
            at_ms: now_ms,
            bot,
        })
    }

    /// Whether it is further than another.
    pub(crate) fn is_after(&self, other: &Self) -> bool {
        self.bot != other.bot || self.next > other.next
    }

    /// The offset to ask with, unless it is too old. Another bot's would make the server forget what nobody has read.
    pub(crate) fn offset(&self, bot: i64, now_ms: u64) -> Option<i64> {
        let young = now_ms.saturating_sub(self.at_ms) < OLD_MS;
        (young && self.bot == bot).then_some(self.next)
    }
}

/// The cursors of all accounts, in one small file. Losing it costs nothing but questions that are asked twice, so a file
/// that cannot be read counts as none.
pub(crate) struct Cursors {
    path: PathBuf,
    all: Mutex<BTreeMap<String, Cursor>>,
}

impl Cursors {
    pub(crate) fn open(path: PathBuf) -> Self {
        let read = fs::read(&path).ok();
        let all = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self {
            path,
            all: Mutex::new(all.unwrap_or_default()),
        }
    }

    pub(crate) fn get(&self, account: &str) -> Option<Cursor> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(account).copied()
    }

    pub(crate) fn set(&self, account: &str, cursor: Cursor) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(account.to_owned(), cursor);
        if let Err(error) = self.save(&all) {
            warn!(%error, "the place in Telegram's updates was not saved; updates may be asked for twice");
        }
    }

    fn save(&self, all: &BTreeMap<String, Cursor>) -> io::Result<()> {
        let next = self.path.with_extension("new");
        fs::write(&next, serde_json::to_vec(all)?)?;
        fs::rename(&next, &self.path)
    }
}

/// The messages that were settled last.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    names: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub(crate) fn insert(&mut self, name: String) {
        if self.names.insert(name.clone()) {
            self.order.push_back(name);
        }
        if self.order.len() > SEEN {
            let oldest = self.order.pop_front();
            oldest.inspect(|name| {
                self.names.remove(name);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_forgotten_before_ids_start_anew() {
        let cursor = Cursor::behind(1, [5, 9, 7].into_iter(), 1000).unwrap();
        assert_eq!(cursor.offset(1, 1000 + OLD_MS - 1), Some(10));
        assert_eq!(cursor.offset(1, 1000 + OLD_MS), None);
        assert_eq!(cursor.offset(2, 1000), None, "another bot's");
        assert_eq!(Cursor::behind(1, std::iter::empty(), 0), None);
        assert_eq!(Cursor::behind(1, [i64::MAX].into_iter(), 0), None);
    }

    #[test]
    fn a_server_that_goes_back_in_ids_is_followed() {
        let high = Cursor::behind(1, [1000].into_iter(), 0).unwrap();
        let low = Cursor::behind(1, [5].into_iter(), 0).unwrap();
        assert_eq!((high.offset(1, 0), low.offset(1, 0)), (Some(1001), Some(6)));
    }

    #[test]
    fn cursors_survive_a_restart_and_a_broken_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursors.json");
        let cursor = Cursor {
            next: 7,
            at_ms: 1,
            bot: 3,
        };
        Cursors::open(path.clone()).set("default", cursor);
        assert_eq!(Cursors::open(path.clone()).get("default"), Some(cursor));
        fs::write(&path, b"{").unwrap();
        assert_eq!(Cursors::open(path).get("default"), None);
    }

    #[test]
    fn what_was_seen_is_bounded() {
        let mut seen = Seen::default();
        for number in 0..=SEEN {
            seen.insert(number.to_string());
            seen.insert(number.to_string());
        }
        assert!(!seen.contains("0"));
        assert!(seen.contains("1") && seen.contains(&SEEN.to_string()));
    }
}
