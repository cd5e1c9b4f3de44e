//! One bot as the server sees it: its updates, its chats and what it has sent.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Undelivered updates are dropped after this time.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How the server misbehaves.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The connection ends before the call has an effect.
    DropBefore,
    /// The call has its effect, and the connection ends without an answer.
    DropAfter,
    /// This HTTP status with a page of HTML.
    Status(u16),
    /// 429 with `retry_after` in seconds.
    TooFast(u64),
    /// The answer comes late.
    Slow(Duration),
    /// This refusal: code, description.
    Refuse(u16, String),
}

/// A message of the bot's that is in a chat.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// Chat id.
    pub chat: i64,
    /// Message id.
    pub message: i64,
    /// Topic.
    pub topic: Option<i64>,
    /// The text without markup.
    pub text: String,
    /// Its entities.
    pub entities: Vec<Value>,
    /// The quoted message.
    pub reply_to: Option<i64>,
    /// How often it was changed.
    pub edits: u32,
}

/// A bot.
#[derive(Default)]
pub struct Bot {
    /// Numeric id.
    pub id: i64,
    /// Name without @.
    pub username: String,
    /// The token is no longer accepted.
    pub revoked: bool,
    /// A web hook is set.
    pub webhook: String,
    /// sendMessageDraft is not known.
    pub without_drafts: bool,
    /// Messages in order of sending.
    pub sent: Vec<Sent>,
    /// Drafts that were shown: chat, draft id, text.
    pub drafts: Vec<(i64, i64, String)>,
    /// Chat actions: chat, topic, action.
    pub actions: Vec<(i64, Option<i64>, String)>,
    /// Methods that were called, in order.
    pub calls: Vec<String>,
    /// The menu.
    pub commands: Value,
    /// Chats that refuse the bot.
    pub blocked: BTreeSet<i64>,
    /// Groups that became supergroups.
    pub migrated: HashMap<i64, i64>,
    /// What goes wrong: method (or empty for all), how, how often.
    pub faults: VecDeque<(String, Fault, u32)>,
    /// Messages that are written one by one, each as soon as a poll has brought something.
    pub behind: VecDeque<Value>,
    /// Updates that polls have brought, again ones included.
    pub handed_out: usize,
    /// The highest offset that was ever asked with.
    pub confirmed: i64,
    pub(super) polls: u64,
    pub(super) allowed: Option<Vec<String>>,
    updates: VecDeque<(i64, Value, Instant)>,
    next_update: i64,
    last_message: BTreeMap<i64, i64>,
    chats: HashMap<i64, Value>,
    topics: BTreeSet<(i64, i64)>,
    messages: BTreeSet<(i64, i64)>,
}

impl Bot {
    pub(super) fn new(id: i64, username: &str) -> Self {
        Self {
            id,
            username: username.to_owned(),
            next_update: 100,
            commands: json!([]),
            ..Self::default()
        }
    }

    /// The update's number is this one from now on, and counts up from there.
    pub fn jump(&mut self, next_update: i64) {
        self.next_update = next_update;
    }

    /// Somebody writes: fills in what the message lacks (`chat`, `from`, `message_id`, `date`) and queues it as an update of
    /// this kind. Gives the message id.
    pub fn write(&mut self, kind: &str, mut message: Value) -> i64 {
        if message["chat"].is_i64() {
            let id = message["chat"].as_i64().unwrap_or(0);
            message["chat"] = self.chat(id);
        }
        let from = message["from"].as_i64().or(message["chat"]["id"].as_i64());
        if (message["from"].is_null() || message["from"].is_i64()) && kind == "message" {
            let id = from.unwrap_or(0);
            message["from"] =
                json!({ "id": id, "is_bot": false, "first_name": format!("User {id}") });
        }
        let chat = message["chat"]["id"].as_i64().unwrap_or(0);
        self.chats
            .entry(chat)
            .or_insert_with(|| message["chat"].clone());
        if message["message_id"].is_null() {
            message["message_id"] = self.next_message(chat).into();
        }
        if message["date"].is_null() {
            message["date"] = now().into();
        }
        if let (Some(topic), true) = (
            message["message_thread_id"].as_i64(),
            message["is_topic_message"] == json!(true),
        ) {
            self.topics.insert((chat, topic));
        }
        let id = message["message_id"].as_i64().unwrap_or(0);
        self.messages.insert((chat, id));
        self.queue(json!({ kind: message }));
        id
    }

    /// Queues an update; it gets the next number unless it has one. Updates of kinds that the bot did not ask for are
    /// dropped, as Telegram does.
    pub fn queue(&mut self, mut update: Value) -> i64 {
        let id = match update["update_id"].as_i64() {
            Some(id) => id,
            None => {
                self.next_update += 1;
                self.next_update - 1
            }
        };
        update["update_id"] = id.into();
        let wanted = |kind: &str| {
            let allowed = self.allowed.as_ref();
            kind == "update_id" || allowed.is_none_or(|list| list.iter().any(|a| a == kind))
        };
        let kinds = update.as_object().into_iter().flatten();
        if kinds.map(|(kind, _)| kind).all(|kind| wanted(kind)) {
            self.updates.push_back((id, update, Instant::now()));
        }
        id
    }

    /// Updates that are not confirmed.
    pub fn pending(&self) -> usize {
        self.updates.len()
    }

    /// What a poll gets; everything below `offset` is forgotten.
    pub(super) fn fetch(&mut self, offset: i64, limit: usize) -> Vec<Value> {
        self.updates.retain(|(_, _, since)| since.elapsed() < KEPT);
        if offset > 0 {
            self.confirmed = self.confirmed.max(offset);
            self.updates.retain(|(id, ..)| *id >= offset);
        } else if offset < 0 {
            let keep = usize::try_from(-offset).unwrap_or(usize::MAX);
            while self.updates.len() > keep {
                self.updates.pop_front();
            }
        }
        let mut all: Vec<_> = self
            .updates
            .iter()
            .map(|(id, update, _)| (*id, update.clone()))
            .collect();
        all.sort_by_key(|(id, _)| *id);
        all.truncate(limit);
        self.handed_out += all.len();
        if !all.is_empty()
            && let Some(message) = self.behind.pop_front()
        {
            self.write("message", message);
        }
        all.into_iter().map(|(_, update)| update).collect()
    }

    /// The fault for this call, if there is one.
    pub(super) fn fault(&mut self, method: &str) -> Option<Fault> {
        let fits = |name: &str| name.is_empty() || name.eq_ignore_ascii_case(method);
        let index = self.faults.iter().position(|(name, ..)| fits(name))?;
        let fault = self.faults[index].1.clone();
        self.faults[index].2 -= 1;
        if self.faults[index].2 == 0 {
            self.faults.remove(index);
        }
        Some(fault)
    }

    pub(super) fn knows_chat(&self, chat: i64) -> bool {
        self.chats.contains_key(&chat)
    }

    pub(super) fn knows_topic(&self, chat: i64, topic: i64) -> bool {
        self.topics.contains(&(chat, topic))
    }

    pub(super) fn knows_message(&self, chat: i64, message: i64) -> bool {
        self.messages.contains(&(chat, message))
    }

    pub(super) fn forget_message(&mut self, chat: i64, message: i64) {
        self.messages.remove(&(chat, message));
        self.sent
            .retain(|sent| (sent.chat, sent.message) != (chat, message));
    }

    pub(super) fn chat(&self, id: i64) -> Value {
        let known = self.chats.get(&id).cloned();
        known.unwrap_or_else(|| match id {
            0.. => json!({ "id": id, "type": "private", "first_name": format!("User {id}") }),
            ..-1_000_000_000_000 => {
                json!({ "id": id, "type": "supergroup", "title": format!("Group {id}") })
            }
            _ => json!({ "id": id, "type": "group", "title": format!("Group {id}") }),
        })
    }

    pub(super) fn next_message(&mut self, chat: i64) -> i64 {
        let last = self.last_message.entry(chat).or_insert(0);
        *last += 1;
        *last
    }

    pub(super) fn add(&mut self, sent: Sent) -> Value {
        self.messages.insert((sent.chat, sent.message));
        let shown = self.message(&sent);
        self.sent.push(sent);
        shown
    }

    /// A message of the bot's in the Bot API's form.
    pub(super) fn message(&self, sent: &Sent) -> Value {
        let mut message = json!({
            "message_id": sent.message,
            "date": now(),
            "chat": self.chat(sent.chat),
            "from": self.user(),
            "text": sent.text,
        });
        if !sent.entities.is_empty() {
            message["entities"] = sent.entities.clone().into();
        }
        if let Some(topic) = sent.topic {
            message["message_thread_id"] = topic.into();
            message["is_topic_message"] = true.into();
        }
        message
    }

    pub(super) fn user(&self) -> Value {
        json!({
            "id": self.id,
            "is_bot": true,
            "first_name": self.username,
            "username": self.username,
        })
    }

    /// The group goes on as a supergroup under another id; members see both halves of the move.
    pub fn migrate(&mut self, from: i64, to: i64) {
        self.migrated.insert(from, to);
        self.chats.insert(
            to,
            json!({ "id": to, "type": "supergroup", "title": format!("Group {from}") }),
        );
        self.write("message", json!({ "chat": from, "migrate_to_chat_id": to }));
        self.write(
            "message",
            json!({ "chat": to, "migrate_from_chat_id": from }),
        );
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
