//! What is remembered for the lists: whose model a session asked last, and which tools there are. Only in memory: without
//! the first every provider's list holds, without the second only names of the configuration are explained.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use clawdbot_proto::v1;

/// Sessions whose provider is remembered; with more all are forgotten.
const SESSIONS: usize = 4096;

/// Whose model each session asked last.
#[derive(Default)]
pub(crate) struct Providers(Mutex<HashMap<String, String>>);

impl Providers {
    /// Remembers a request that was permitted.
    pub(crate) fn asked(&self, session: &str, provider: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(session).is_some_and(|known| known == provider) {
            return;
        }
        if known.len() >= SESSIONS {
            known.clear();
        }
        known.insert(session.to_owned(), provider.to_owned());
    }

    /// The provider of a session.
    pub(crate) fn of(&self, session: &str) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(session).cloned()
    }
}

/// The tools of which the executor has spoken, with their groups.
#[derive(Default)]
pub(crate) struct Catalogue(Mutex<BTreeMap<String, Vec<String>>>);

impl Catalogue {
    /// Remembers the executor's list.
    pub(crate) fn named(&self, tools: &[v1::NamedTool]) {
        let groups = |tool: &v1::NamedTool| tool.facts.clone().unwrap_or_default().groups;
        let named = tools.iter().map(|tool| (tool.name.clone(), groups(tool)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = named.collect();
    }

    /// What is remembered.
    pub(crate) fn all(&self) -> BTreeMap<String, Vec<String>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }
}
