//! "is typing…" for as long as the gateway asks for it and not a moment longer, should the gateway die.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdbot_proto::v1::Typing;
use serde_json::json;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::account::Account;
use crate::address::Address;

/// Telegram shows it for five seconds.
const REFRESH: Duration = Duration::from_secs(4);
/// Longest time that one order holds.
const LONGEST: u32 = 600;

/// Who is told that an answer is being written.
#[derive(Default)]
pub(crate) struct TypingShows(Mutex<Shows>);

/// By account and lane.
type Shows = HashMap<(String, String), AbortHandle>;

impl TypingShows {
    /// Follows an order; a later one of the same lane replaces it.
    pub(crate) fn order(
        &self,
        account: &Arc<Account>,
        chat: i64,
        address: &Address,
        order: &Typing,
    ) {
        self.end(&order.account, &order.lane);
        if order.ttl_seconds == 0 {
            return;
        }
        let key = (order.account.clone(), order.lane.clone());
        let ttl = Duration::from_secs(order.ttl_seconds.min(LONGEST).into());
        let show = tokio::spawn(show(Arc::clone(account), chat, address.topic, ttl));
        self.shows().insert(key, show.abort_handle());
    }

    /// The answer is there, or will not come.
    pub(crate) fn end(&self, account: &str, lane: &str) {
        let mut shows = self.shows();
        shows.retain(|_, show| !show.is_finished());
        if let Some(show) = shows.remove(&(account.to_owned(), lane.to_owned())) {
            show.abort();
        }
    }

    fn shows(&self) -> MutexGuard<'_, Shows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn show(account: Arc<Account>, chat: i64, topic: Option<i64>, ttl: Duration) {
    let end = Instant::now() + ttl;
    let mut body = json!({ "chat_id": chat, "action": "typing" });
    if let Some(topic) = topic {
        body["message_thread_id"] = topic.into();
    }
    while Instant::now() < end {
        // Nobody needs to know that it failed; whoever is refused is not asked again.
        if account.client.ask("sendChatAction", &body).await.is_err() {
            return;
        }
        sleep(REFRESH.min(end.saturating_duration_since(Instant::now()))).await;
    }
}
