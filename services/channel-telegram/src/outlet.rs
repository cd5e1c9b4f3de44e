//! Telegram as the delivery engine sees it: HTML with one try as plain text, quotes, topics, drafts in private chats and
//! changed messages elsewhere, supergroups followed.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use clawdbot_channel::{
    Chunking, Journal, Marked, Outcome, Outlet, Part, Pauses, Quota, Rejected, Shown,
    parse_markdown,
};
use clawdbot_proto::v1;
use serde_json::{Value, json};

use crate::account::{Account, Accounts};
use crate::address::{Address, is_group_lane, message_of};
use crate::client::Wire;
use crate::errors::{CallError, Meaning, outcome};
use crate::poll::now_seconds;
use crate::preview::visible;
use crate::render::{Rendered, render};
use crate::typing::TypingShows;

/// Telegram's own limit, UTF-16 units.
const LIMIT: usize = 4096;
/// Messages that one answer may become. The gateway takes answers of a megabyte, which are fewer.
const MOST_PARTS: usize = 300;
/// 30 messages a second in all; one a second in a chat; 20 a minute in a group.
const ACCOUNT: &[Quota] = &[Quota {
    every: Duration::from_millis(34),
    burst: 30,
}];
const PRIVATE: &[Quota] = &[Quota {
    every: Duration::from_secs(1),
    burst: 5,
}];
const GROUP: &[Quota] = &[
    Quota {
        every: Duration::from_secs(1),
        burst: 5,
    },
    Quota {
        every: Duration::from_secs(3),
        burst: 20,
    },
];

/// Sends through the accounts that are served now.
pub(crate) struct Telegram {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) typing: TypingShows,
}

/// One message, with the message that it quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    rendered: Rendered,
    quotes: Option<i64>,
}

impl Part for Text {
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.rendered.html, self.quotes).hash(&mut hasher);
        hasher.finish()
    }
}

/// A message that shows an unfinished answer, as the journal keeps it: account, chat, message id.
type Preview = (String, i64, i64);

impl Outlet for Telegram {
    type Part = Text;
    type Link = (Arc<Account>, Wire);

    fn parts(&self, send: &v1::Send) -> Result<Vec<Text>, Outcome> {
        let address = address(&send.address).map_err(Outcome::Rejected)?;
        let account = self.account(&send.account)?;
        let settings = &account.settings;
        let limit = match settings.text_chunk_limit as usize {
            0 => LIMIT,
            limit => limit.min(LIMIT),
        };
        let chunking = match settings.chunk_mode.as_str() {
            "newline" => Chunking::Newline,
            _ => Chunking::Length,
        };
        let mut pieces = parse_markdown(&send.text).split(limit, chunking);
        if pieces.len() > MOST_PARTS {
            pieces.truncate(MOST_PARTS);
            pieces.push(Marked::plain("[The rest is in the session's history.]"));
        }
        if pieces.is_empty() {
            return Err(Outcome::Rejected(Rejected {
                class: "bad_format",
                message: "the answer has no visible text".into(),
            }));
        }
        let asked = match send.reply_to.as_str() {
            "" => None,
            "current" => Some(address.message),
            event => message_of(event),
        };
        let parts = pieces.iter().enumerate().map(|(number, piece)| {
            let quotes = match settings.reply_to_mode.as_str() {
                "all" => asked.or(Some(address.message)),
                "first" if number == 0 => asked.or(Some(address.message)),
                _ if number == 0 => asked,
                _ => None,
            };
            Text {
                rendered: render(piece),
                quotes,
            }
        });
        Ok(parts.collect())
    }

    fn pauses(&self, account: &str) -> Pauses {
        let account = self.accounts.get(account);
        let settings = account.map(|account| account.settings.clone());
        let settings = settings.unwrap_or_default();
        Pauses {
            attempts: settings.retry_attempts,
            min: Duration::from_millis(settings.retry_min_delay_ms.into()),
            max: Duration::from_millis(settings.retry_max_delay_ms.into()),
            jitter: settings.retry_jitter,
        }
    }

    fn quotas(&self, lane: &str) -> (&'static [Quota], &'static [Quota]) {
        match is_group_lane(lane) {
            true => (ACCOUNT, GROUP),
            false => (ACCOUNT, PRIVATE),
        }
    }

    fn show_every(&self, account: &str, lane: &str) -> Duration {
        let drafts = self.accounts.get(account).is_some_and(|a| a.has_drafts());
        match (is_group_lane(lane), drafts) {
            (true, _) => Duration::from_secs(3),
            (false, true) => Duration::from_millis(500),
            (false, false) => Duration::from_secs(1),
        }
    }

    async fn connect(&self, account: &str) -> Result<Self::Link, Outcome> {
        let account = self.account(account)?;
        match account.client.wire().await {
            Ok(wire) => Ok((account, wire)),
            Err(error) => Err(outcome(error, 0)),
        }
    }

    async fn send(
        &self,
        (account, wire): Self::Link,
        send: &v1::Send,
        part: &Text,
        shown: Option<&str>,
    ) -> Outcome {
        let address = match address(&send.address) {
            Ok(address) => address,
            Err(rejected) => return Outcome::Rejected(rejected),
        };
        let (method, mut body) = match shown.map(serde_json::from_str::<Preview>) {
            Some(Ok((_, chat, message))) => (
                "editMessageText",
                json!({ "chat_id": chat, "message_id": message }),
            ),
            Some(Err(_)) => return Outcome::Gone,
            None => ("sendMessage", self.target(&send.account, &address)),
        };
        if let Some(message) = part.quotes.filter(|_| shown.is_none()) {
            body["reply_parameters"] = quote(message);
        }
        let outcome = say(&account, Some(wire), method, body, &part.rendered).await;
        if matches!(outcome, Outcome::Done(_)) {
            account.note_answer(&send.lane, now_seconds());
            self.typing.end(&send.account, &send.lane);
        }
        outcome
    }

    fn shows(&self, progress: &v1::Progress) -> Shown {
        let Some(account) = self.accounts.get(&progress.account) else {
            return Shown::Never;
        };
        let mode = account.settings.stream_mode.as_str();
        if mode == "off" || visible(&progress.text, mode == "block").is_none() {
            return Shown::Never;
        }
        match account.has_drafts() && !is_group_lane(&progress.lane) {
            true => Shown::Fleeting,
            false => Shown::Message,
        }
    }

    async fn show(&self, progress: &v1::Progress, shown: Option<&str>) -> Outcome {
        let (Some(account), Ok(address)) = (
            self.accounts.get(&progress.account),
            address(&progress.address),
        ) else {
            return Outcome::Gone;
        };
        let blocks = account.settings.stream_mode == "block";
        let text = visible(&progress.text, blocks).unwrap_or_default();
        let Some(first) = parse_markdown(text).first(LIMIT) else {
            return Outcome::Gone;
        };
        let rendered = render(&first);
        let mut body = self.target(&progress.account, &address);
        match shown.map(serde_json::from_str::<Preview>) {
            Some(Ok((_, chat, message))) => {
                let body = json!({ "chat_id": chat, "message_id": message });
                say(&account, None, "editMessageText", body, &rendered).await
            }
            Some(Err(_)) => Outcome::Gone,
            None if self.shows(progress) == Shown::Fleeting => {
                body["draft_id"] = draft_id(&progress.turn_id).into();
                body["text"] = rendered.html.into();
                body["parse_mode"] = "HTML".into();
                match account.client.ask("sendMessageDraft", &body).await {
                    Ok(_) => Outcome::Done(String::new()),
                    Err(CallError::Refused(refusal)) if matches!(refusal.code, 400 | 404) => {
                        if refusal.meaning() != Meaning::BadMarkup {
                            account.without_drafts();
                        }
                        Outcome::Gone
                    }
                    Err(error) => outcome(error, address.chat),
                }
            }
            None => {
                // A message keeps its quote when it becomes the answer.
                if account.settings.reply_to_mode != "off" {
                    body["reply_parameters"] = quote(address.message);
                }
                say(&account, None, "sendMessage", body, &rendered).await
            }
        }
    }

    async fn unshow(&self, message: &str) {
        let Ok((account, chat, message)) = serde_json::from_str::<Preview>(message) else {
            return;
        };
        if let Some(account) = self.accounts.get(&account) {
            let body = json!({ "chat_id": chat, "message_id": message });
            // It may be gone already, or too old to be removed.
            let _gone = account.client.ask("deleteMessage", &body).await;
        }
    }

    fn typing(&self, typing: v1::Typing) {
        if let (Some(account), Ok(address)) =
            (self.accounts.get(&typing.account), address(&typing.address))
        {
            let chat = self.chat(&typing.account, &address);
            self.typing.order(&account, chat, &address, &typing);
        }
    }
}

impl Telegram {
    fn account(&self, name: &str) -> Result<Arc<Account>, Outcome> {
        self.accounts.get(name).ok_or_else(|| Outcome::NotStarted {
            class: "needs_user_action",
            message: format!("the Telegram account {name} is not configured or has no token"),
            after: None,
        })
    }

    /// The chat's present id.
    fn chat(&self, account: &str, address: &Address) -> i64 {
        let name = address.chat.to_string();
        let ledger = self.journal.ledger();
        ledger.moved(account, &name).parse().unwrap_or(address.chat)
    }

    fn target(&self, account: &str, address: &Address) -> Value {
        let mut body = json!({ "chat_id": self.chat(account, address) });
        if let Some(topic) = address.topic_to_send() {
            body["message_thread_id"] = topic.into();
        }
        body
    }
}

/// The message may be gone meanwhile; the answer counts.
fn quote(message: i64) -> Value {
    json!({ "message_id": message, "allow_sending_without_reply": true })
}

/// Sends or changes a message as HTML, and once more as plain text when Telegram does not understand the markup.
async fn say(
    account: &Account,
    wire: Option<Wire>,
    method: &str,
    mut body: Value,
    rendered: &Rendered,
) -> Outcome {
    body["text"] = rendered.html.clone().into();
    body["parse_mode"] = "HTML".into();
    let chat = body["chat_id"].as_i64().unwrap_or(0);
    let mut answer = call(account, wire, method, &body).await;
    let misread = |answer: &Result<Value, CallError>| matches!(answer, Err(CallError::Refused(refusal)) if refusal.meaning() == Meaning::BadMarkup);
    if misread(&answer) {
        body["text"] = rendered.plain.clone().into();
        if let Some(fields) = body.as_object_mut() {
            fields.remove("parse_mode");
        }
        answer = call(account, None, method, &body).await;
    }
    match answer {
        Ok(message) => {
            let id = message["message_id"].as_i64().unwrap_or(0);
            let preview: Preview = (account.id().to_owned(), chat, id);
            Outcome::Done(serde_json::to_string(&preview).unwrap_or_default())
        }
        Err(error) => outcome(error, chat),
    }
}

async fn call(
    account: &Account,
    wire: Option<Wire>,
    method: &str,
    body: &Value,
) -> Result<Value, CallError> {
    let wire = match wire {
        Some(wire) => wire,
        None => account.client.wire().await?,
    };
    account.client.call(wire, method, body).await
}

fn address(bytes: &[u8]) -> Result<Address, Rejected> {
    Address::decode(bytes).ok_or(Rejected {
        class: "not_found",
        message: "the conversation's address cannot be read".into(),
    })
}

/// A number above zero for each turn, the same each time.
fn draft_id(turn: &str) -> i64 {
    let mut hasher = DefaultHasher::new();
    turn.hash(&mut hasher);
    (hasher.finish() & 0x3fff_ffff) as i64 + 1
}
