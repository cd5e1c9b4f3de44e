//! One bot: its settings, its calls, and what has been learned about it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clawdbot_proto::v1;

use crate::client::Client;
use crate::token::Token;

/// Lanes whose last answer is remembered.
const LANES: usize = 4096;

/// A bot that is configured and has a token.
pub(crate) struct Account {
    pub(crate) settings: v1::ChannelAccount,
    pub(crate) token: Token,
    pub(crate) client: Client,
    /// Whether the server knows drafts, as far as is known.
    drafts: AtomicBool,
    /// When each lane was last written to, seconds since 1970.
    answered: Mutex<HashMap<String, i64>>,
}

impl Account {
    pub(crate) fn new(settings: v1::ChannelAccount, token: Token, client: Client) -> Self {
        Self {
            settings,
            token,
            client,
            drafts: AtomicBool::new(true),
            answered: Mutex::default(),
        }
    }

    /// Its name in the configuration.
    pub(crate) fn id(&self) -> &str {
        &self.settings.account
    }

    pub(crate) fn has_drafts(&self) -> bool {
        self.drafts.load(Ordering::Relaxed)
    }

    /// The server refused a draft: unfinished answers are shown by changing a message from now on.
    pub(crate) fn without_drafts(&self) {
        self.drafts.store(false, Ordering::Relaxed);
    }

    /// Something was said in a lane.
    pub(crate) fn note_answer(&self, lane: &str, at: i64) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.len() >= LANES {
            answered.clear();
        }
        answered.insert(lane.to_owned(), at);
    }

    /// Whether something was said in a lane at or after this time.
    pub(crate) fn has_answered_since(&self, lane: &str, date: i64) -> bool {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.get(lane).is_some_and(|at| *at >= date)
    }
}

/// The bots that are served now, by name.
#[derive(Default)]
pub(crate) struct Accounts(Mutex<HashMap<String, Arc<Account>>>);

impl Accounts {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Account>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name).cloned()
    }

    pub(crate) fn replace(&self, accounts: impl IntoIterator<Item = Arc<Account>>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *all = accounts
            .into_iter()
            .map(|account| (account.id().to_owned(), account))
            .collect();
    }
}
