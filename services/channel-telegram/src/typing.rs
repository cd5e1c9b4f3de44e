//! "is typing…" for as long as the gateway asks for it and not a moment longer, should the gateway die.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
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
pub(crate) struct TypingShows(Mutex<HashMap<(String, String), AbortHandle>>);

impl TypingShows {
    /// Follows an order; a later one of the same lane replaces it.
    pub(crate) fn order(
        &self,
        account: &Arc<Account>,
        chat: i64,
        address: &Address,
        order: &Typing,
    ) {
        let key = (order.account.clone(), order.lane.clone());
        let mut shows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shows.retain(|_, show| !show.is_finished());
        if let Some(before) = shows.remove(&key) {
            before.abort();
        }
        if order.ttl_seconds == 0 {
            return;
        }
        let ttl = Duration::from_secs(order.ttl_seconds.min(LONGEST).into());
        let show = tokio::spawn(show(Arc::clone(account), chat, address.topic, ttl));
        shows.insert(key, show.abort_handle());
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
