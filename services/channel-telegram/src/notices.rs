//! What policy has somebody told in a direct conversation. Sent as it is, without markup: parts of it come from strangers.
//! What nobody knows to have arrived is sent again, since a question that is lost is a refusal.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clawdbot_channel::{Backoff, random};
use clawdbot_proto::v1::notices_client::NoticesClient;
use clawdbot_proto::v1::{Notice, SettleNoticeRequest, WatchNoticesRequest};
use clawdbot_service::Edge;
use serde_json::json;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::account::Accounts;
use crate::errors::{CallError, Meaning};

/// Pauses after a try that failed, the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Tells people what policy wants told, for ever. `served` names the bots that work.
pub(crate) async fn tell(
    policy: Edge,
    accounts: Arc<Accounts>,
    mut served: watch::Receiver<Vec<String>>,
) {
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        // Before there is a bot every notice would be one that cannot be sent.
        if served.wait_for(|names| !names.is_empty()).await.is_err() {
            return;
        }
        let mut client = NoticesClient::new(policy.clone());
        match client.watch(WatchNoticesRequest {}).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                while let Ok(Some(notice)) = stream.message().await {
                    backoff = Backoff::new(PAUSES.0, PAUSES.1);
                    let id = notice.id.clone();
                    if let Some(sent) = send(&accounts, notice).await {
                        // Until policy knows, it comes again.
                        let _unknown = client.settle(SettleNoticeRequest { id, sent }).await;
                    }
                }
            }
            Err(status) => debug!(code = ?status.code(), "no news of what has to be told"),
        }
        tokio::time::sleep(backoff.failed(Instant::now(), random())).await;
    }
}

/// Whether it was sent; nothing when its time is over.
async fn send(accounts: &Accounts, notice: Notice) -> Option<bool> {
    let Ok(chat) = notice.person.parse::<i64>() else {
        return Some(false);
    };
    let mut body = json!({
        "chat_id": chat,
        "text": notice.text,
        "link_preview_options": { "is_disabled": true },
    });
    if let Ok(topic) = notice.thread.parse::<i64>() {
        body["message_thread_id"] = topic.into();
    }
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        if now_ms() >= notice.expires_ms {
            return None;
        }
        let account = accounts.get(&notice.account)?;
        let error = match account.client.ask("sendMessage", &body).await {
            Ok(_) => return Some(true),
            Err(error) => error,
        };
        warn!(account = account.id(), %error, "somebody could not be told");
        let pause = match &error {
            CallError::NotSent(_) | CallError::Lost(_) => None,
            CallError::Refused(refusal) => match refusal.meaning() {
                Meaning::TooFast | Meaning::Trouble => refusal.retry_after,
                _ => return Some(false),
            },
        };
        let pause = pause.unwrap_or_else(|| backoff.failed(Instant::now(), random()));
        tokio::time::sleep(pause).await;
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
