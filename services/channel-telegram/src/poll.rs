//! One bot's way in. A batch of updates is settled as a whole: everybody in it admitted or ignored by policy, every admitted
//! message on the gateway's disk. Only then does the next poll tell Telegram to forget it, so a crash anywhere means that
//! the same batch comes again and is recognised.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clawdbot_channel::{Backoff, Credit, Health, Journal, Record, deliver, random};
use clawdbot_identity::command::COMMANDS;
use clawdbot_proto::v1::{Inbound, ReceiptState};
use clawdbot_service::{Edge, Pulse, Pulses};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::account::Account;
use crate::admit::{Verdict, admit};
use crate::album;
use crate::client::Client;
use crate::cursor::{Cursor, Cursors, Seen};
use crate::errors::CallError;
use crate::incoming::{Incoming, Me, Said, read};
use crate::trouble::Trouble;
use crate::types::{Update, User};

/// How long Telegram holds a poll that has nothing to say.
const HOLD: Duration = Duration::from_secs(30);
/// Longer than any poll takes, whose every wait has its own limit.
const PATIENCE: Duration = Duration::from_secs(300);
/// An empty poll that took less than this was not held.
const SHORT: Duration = Duration::from_secs(1);
/// Updates in a batch.
const BATCH: usize = 100;
/// How long the rest of an album is waited for.
const ALBUM: Duration = Duration::from_millis(500);
/// Messages older than the connection by this much get no pairing answer, seconds.
const BACKLOG: i64 = 30;
/// An edit counts as something new for so long, seconds.
const EDITABLE: i64 = 600;
/// A wrong list would persist, so it is sent every time.
const ALLOWED: [&str; 2] = ["message", "edited_message"];

/// Seconds since 1970.
pub(crate) fn now_seconds() -> i64 {
    (now_ms() / 1000).cast_signed()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// What all polls share.
#[derive(Clone)]
pub(crate) struct Ports {
    pub(crate) policy: Edge,
    pub(crate) gateway: Edge,
    pub(crate) credit: Credit,
    pub(crate) health: Health,
    pub(crate) journal: Arc<Journal>,
    pub(crate) cursors: Arc<Cursors>,
    pub(crate) pulses: Pulses,
}

/// The way in of one bot.
pub(crate) struct Poller {
    account: Arc<Account>,
    ports: Ports,
    trouble: Trouble,
    seen: Seen,
    since: i64,
    repeats: Backoff,
    pulse: Pulse,
}

impl Poller {
    pub(crate) fn new(account: Arc<Account>, ports: Ports) -> Self {
        Self {
            pulse: ports.pulses.add("poll", PATIENCE),
            trouble: Trouble::new(account.id()),
            account,
            ports,
            seen: Seen::default(),
            since: now_seconds(),
            repeats: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
        }
    }

    /// Works until the token is refused.
    pub(crate) async fn run(mut self) {
        let Some(me) = self.introduce().await else {
            return;
        };
        info!(account = self.account.id(), bot = %me.username, "receiving");
        let client = Arc::clone(&self.account);
        tokio::spawn(async move { publish_commands(&client.client).await });
        loop {
            let asked = Instant::now();
            match self.fetch(HOLD, &me).await {
                Ok(batch) => {
                    self.worked();
                    // A server that does not hold the poll is not asked in a circle either.
                    if batch.is_empty() && asked.elapsed() < SHORT {
                        sleep(SHORT).await;
                    }
                    self.take(batch, &me).await;
                }
                Err(error) => {
                    if !self.failed(&error).await {
                        return;
                    }
                }
            }
        }
    }

    /// Who the bot is; `None` when the token is refused.
    async fn introduce(&mut self) -> Option<Me> {
        loop {
            let answer = self.account.client.ask("getMe", &json!({})).await;
            let user = answer.and_then(|value| {
                serde_json::from_value::<User>(value)
                    .map_err(|_| CallError::Lost("getMe named no bot".into()))
            });
            match user {
                Ok(user) => {
                    self.worked();
                    return Some(Me {
                        id: user.id,
                        username: user.username,
                    });
                }
                Err(error) => {
                    if !self.failed(&error).await {
                        return None;
                    }
                }
            }
        }
    }

    fn worked(&mut self) {
        if self.trouble.worked(Instant::now()) {
            self.ports.health.works(self.account.id());
        }
    }

    /// Waits as the failure asks for; no when there is nothing more to try.
    async fn failed(&mut self, error: &CallError) -> bool {
        let reaction = self.trouble.failed(error, Instant::now(), random());
        debug!(account = self.account.id(), %error, pause = ?reaction.pause, "Telegram did not answer as hoped");
        if let Some((code, message)) = reaction.problem {
            let name = self.account.id();
            // The first words for it stay, lest the same trouble look like many.
            if self.ports.health.code_of(name).as_deref() != Some(code) {
                self.ports.health.problem(name, code, &message);
            }
        }
        match reaction.pause {
            Some(pause) => sleep(pause).await,
            None => return false,
        }
        true
    }

    async fn fetch(&self, hold: Duration, me: &Me) -> Result<Vec<Value>, CallError> {
        let offset = self.cursor();
        let offset = offset.and_then(|cursor| cursor.offset(me.id, now_ms()));
        // One at a time while there is trouble: a single huge update must not take others with it.
        let limit = if self.trouble.is_over() { BATCH } else { 1 };
        let mut body = json!({
            "timeout": hold.as_secs(),
            "limit": limit,
            "allowed_updates": ALLOWED,
        });
        if let Some(offset) = offset {
            body["offset"] = offset.into();
        }
        // Other waits, for policy and the gateway, have no limit.
        let _under_way = self.pulse.work();
        match self.account.client.poll(&body, hold).await? {
            Value::Array(updates) => Ok(updates),
            _ => Err(CallError::Lost("getUpdates gave no list".into())),
        }
    }

    fn cursor(&self) -> Option<Cursor> {
        self.ports.cursors.get(self.account.id())
    }

    /// Settles a batch and moves on.
    async fn take(&mut self, mut batch: Vec<Value>, me: &Me) {
        if batch.is_empty() {
            return;
        }
        let mut incoming = read_all(&batch, me);
        if album::may_go_on(&incoming) && batch.len() < BATCH {
            sleep(ALBUM).await;
            // Nothing is confirmed yet, so the same updates come again, and the rest of the album with them.
            if let Ok(more) = self.fetch(Duration::ZERO, me).await {
                merge(&mut batch, more);
                incoming = read_all(&batch, me);
            }
        }
        self.settle(album::join(incoming)).await;
        let before = self.cursor();
        let Some(behind) = Cursor::behind(me.id, batch.iter().filter_map(update_id), now_ms())
        else {
            warn!(account = self.account.id(), "updates without numbers");
            sleep(self.repeats.failed(Instant::now(), random())).await;
            return;
        };
        self.ports.cursors.set(self.account.id(), behind);
        // A server that repeats what it was told to forget is not asked in a circle.
        if before.is_some_and(|before| !behind.is_after(&before)) {
            sleep(self.repeats.failed(Instant::now(), random())).await;
        } else {
            self.repeats.worked(Instant::now());
        }
    }

    async fn settle(&mut self, batch: Vec<Incoming>) {
        let mut messages: Vec<Inbound> = Vec::new();
        let mut names = Vec::new();
        for incoming in batch {
            match incoming {
                Incoming::Nothing => {}
                Incoming::Moved { from, to } => self.moved(from, to),
                Incoming::Said(said) => {
                    if self.seen.contains(&said.event_id) || !self.counts(&said) {
                        continue;
                    }
                    let backlog = said.date <= self.since - BACKLOG;
                    let name = self.account.id();
                    match admit(&self.ports.policy, name, &said, backlog).await {
                        Verdict::Admitted(message) => messages.push(*message),
                        Verdict::Answered(text) => self.answer(&said, text),
                        Verdict::Ignored => {}
                    }
                    names.push(said.event_id);
                    names.extend(said.parts);
                }
            }
        }
        if !messages.is_empty() {
            let events: Vec<String> = messages.iter().map(|m| m.event_id.clone()).collect();
            let receipts = deliver(&self.ports.gateway, &self.ports.credit, messages).await;
            for (event, receipt) in events.iter().zip(receipts) {
                if receipt.state() == ReceiptState::Refused {
                    warn!(%event, reason = %receipt.message, "the gateway refused a message");
                }
            }
        }
        names.into_iter().for_each(|name| self.seen.insert(name));
    }

    /// An edit is something new only while its message has no answer: after that it would be answered a second time, and
    /// the original program ignores all edits for that reason. While it waits, the corrected words are what is meant.
    fn counts(&self, said: &Said) -> bool {
        let recent = now_seconds() - said.date < EDITABLE;
        let lane = said.address.lane();
        !said.edited || (recent && !self.account.has_answered_since(&lane, said.date))
    }

    /// Both sides of a move say it; the second time it is known.
    fn moved(&self, from: i64, to: i64) {
        let account = self.account.id().to_owned();
        let (from, to) = (from.to_string(), to.to_string());
        let known = self.ports.journal.ledger().moved(&account, &from) == to;
        if !known {
            info!(account, from, to, "a group became a supergroup");
            self.ports
                .journal
                .note(&Record::Moved { account, from, to });
        }
    }

    /// Sends policy's words back, once and without a promise.
    fn answer(&self, said: &Said, text: String) {
        let account = Arc::clone(&self.account);
        let mut body = json!({ "chat_id": said.address.chat, "text": text });
        if let Some(topic) = said.address.topic_to_send() {
            body["message_thread_id"] = topic.into();
        }
        tokio::spawn(async move {
            let sent = match account.client.wire().await {
                Ok(wire) => account.client.call(wire, "sendMessage", &body).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                warn!(account = account.id(), %error, "an answer of policy may not have arrived");
            }
        });
    }
}

async fn publish_commands(client: &Client) {
    let commands: Vec<Value> = COMMANDS
        .iter()
        .map(|row| json!({ "command": row.names[0], "description": row.what }))
        .collect();
    let body = json!({ "commands": commands });
    if let Err(error) = client.ask("setMyCommands", &body).await {
        debug!(%error, "the menu of commands was not published");
    }
}

fn update_id(update: &Value) -> Option<i64> {
    update.get("update_id")?.as_i64()
}

pub(crate) fn read_all(batch: &[Value], me: &Me) -> Vec<Incoming> {
    let read_one = |value: &Value| match Update::deserialize(value) {
        Ok(update) => read(&update, me),
        Err(_) => {
            warn!(id = ?update_id(value), "an update that cannot be read was passed over");
            Incoming::Nothing
        }
    };
    batch.iter().map(read_one).collect()
}

/// Adds the updates that are not there yet.
fn merge(batch: &mut Vec<Value>, more: Vec<Value>) {
    for update in more {
        if !batch
            .iter()
            .any(|known| update_id(known) == update_id(&update))
        {
            batch.push(update);
        }
    }
}
