//! What an update says: who wrote where, whether the bot is meant, and the words. Pure. Stable ids are the identity, names
//! are hints; nothing here decides whether somebody may talk.

use clawdbot_channel::utf16_to_byte;
use clawdbot_proto::v1::{Conversation, ConversationKind, Sender};

use crate::address::{Address, event_id};
use crate::describe::{attachment, has_words};
use crate::types::{Chat, Message, Update};

/// Accounts under which Telegram itself writes for groups and channels.
const SERVICE_ACCOUNTS: [i64; 3] = [777_000, 1_087_968_824, 136_817_688];
/// Longest text that is handed on, bytes; Telegram's own limit is far below.
const LONGEST: usize = 64 << 10;
/// Longest excerpt of a message that is replied to, characters.
const EXCERPT: usize = 300;
/// Longest name of somebody, or title of a chat, characters.
const NAME: usize = 256;

/// The bot itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Me {
    pub(crate) id: i64,
    pub(crate) username: String,
}

/// What is to be done with an update.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Incoming {
    /// Somebody wrote.
    Said(Box<Said>),
    /// A group has another id now.
    Moved { from: i64, to: i64 },
    /// Nothing that concerns anybody.
    Nothing,
}

/// A message, ready for admission.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    pub(crate) event_id: String,
    pub(crate) conversation: Conversation,
    pub(crate) sender: Sender,
    pub(crate) mentioned: bool,
    pub(crate) replies_to_bot: bool,
    pub(crate) address: Address,
    /// Seconds since 1970.
    pub(crate) date: i64,
    pub(crate) edited: bool,
    /// The album that it is a part of.
    pub(crate) album: Option<String>,
    /// The names of the other parts that were joined to it.
    pub(crate) parts: Vec<String>,
    /// What it answers and where it comes from, in words.
    pub(crate) context: Vec<String>,
    pub(crate) attachments: Vec<String>,
    pub(crate) words: String,
    /// Its words are somebody else's.
    pub(crate) forwarded: bool,
    /// Somebody else's words stand beside its own.
    pub(crate) quoted: bool,
}

impl Said {
    /// The text for the model.
    pub(crate) fn text(&self) -> String {
        let mut lines = self.context.clone();
        if self.edited {
            lines.push("[edited; the message now reads:]".into());
        }
        lines.extend(self.attachments.iter().cloned());
        if !self.words.is_empty() {
            lines.push(self.words.clone());
        }
        lines.join("\n")
    }

    /// The sender's name where several people talk.
    pub(crate) fn sender_name(&self) -> String {
        match self.conversation.kind() {
            ConversationKind::Group => self.sender.display.clone(),
            _ => String::new(),
        }
    }
}

/// Reads an update.
pub(crate) fn read(update: &Update, me: &Me) -> Incoming {
    let (message, edited, post) = match update {
        Update {
            message: Some(m), ..
        } => (m, false, false),
        Update {
            edited_message: Some(m),
            ..
        } => (m, true, false),
        Update {
            channel_post: Some(m),
            ..
        } => (m, false, true),
        Update {
            edited_channel_post: Some(m),
            ..
        } => (m, true, true),
        _ => return Incoming::Nothing,
    };
    if let Some(to) = message.migrate_to_chat_id {
        let from = message.chat.id;
        return Incoming::Moved { from, to };
    }
    if let Some(from) = message.migrate_from_chat_id {
        let to = message.chat.id;
        return Incoming::Moved { from, to };
    }
    let attachments: Vec<String> = attachment(&message.rest).into_iter().collect();
    let (words, _) = message.words();
    // Somebody joined, a title changed, a live location moved: nobody said anything.
    if (words.trim().is_empty() && attachments.is_empty()) || (edited && words.is_empty()) {
        return Incoming::Nothing;
    }
    let forwarded = message.is_foreign();
    // A command is one only where it stands first, and only of who sends it.
    let (context, of_others) = match words.starts_with('/') && !forwarded {
        true => (Vec::new(), false),
        false => context(message, me),
    };
    let topic = topic(message);
    let is_group = message.chat.kind != "private";
    let address = Address {
        chat: message.chat.id,
        topic,
        message: message.message_id,
    };
    let mut id = event_id(me.id, message.chat.id, message.message_id);
    if edited {
        id += &format!(":e{}", message.edit_date.unwrap_or(message.date));
    }
    Incoming::Said(Box::new(Said {
        event_id: id,
        conversation: Conversation {
            kind: match is_group {
                true => ConversationKind::Group.into(),
                false => ConversationKind::Direct.into(),
            },
            id: message.chat.id.to_string(),
            thread: match topic {
                Some(topic) if is_group => topic.to_string(),
                _ => String::new(),
            },
            also: Vec::new(),
        },
        sender: sender(message, post),
        mentioned: is_mentioned(message, me),
        replies_to_bot: replies_to(message, me.id),
        address,
        date: message.date,
        edited,
        album: message.media_group_id.clone().filter(|_| !edited),
        parts: Vec::new(),
        context,
        attachments,
        words: bounded(&for_the_bot(words, me)),
        forwarded,
        quoted: of_others || has_words(&message.rest),
    }))
}

/// A topic counts only where the message says that it is one: replies in other groups carry a number too. The general
/// topic of a forum says nothing and is number 1.
fn topic(message: &Message) -> Option<i64> {
    match message.message_thread_id {
        Some(topic) if message.is_topic_message => Some(topic),
        _ => message.chat.is_forum.then_some(1),
    }
}

fn sender(message: &Message, post: bool) -> Sender {
    let user = message.from.clone().unwrap_or_default();
    let service = SERVICE_ACCOUNTS.contains(&user.id);
    match &message.sender_chat {
        Some(chat) => as_chat(chat),
        None if post || message.from.is_none() => as_chat(&message.chat),
        None => Sender {
            id: user.id.to_string(),
            username: short(&user.username),
            display: short(&user.shown()),
            is_bot: user.is_bot,
            is_anonymous: service,
            ..Sender::default()
        },
    }
}

fn as_chat(chat: &Chat) -> Sender {
    Sender {
        id: chat.id.to_string(),
        username: short(&chat.username),
        display: short(&chat.title),
        is_bot: false,
        is_anonymous: true,
        ..Sender::default()
    }
}

/// Telegram's names are shorter; a server that sends others must not make a question that policy cannot take.
fn short(name: &str) -> String {
    name.chars().take(NAME).collect()
}

/// By Telegram's own marks: a part of a longer name is not one.
fn is_mentioned(message: &Message, me: &Me) -> bool {
    let (text, entities) = message.words();
    entities.iter().any(|entity| {
        let range = utf16_to_byte(text, entity.offset)
            .zip(entity.offset.checked_add(entity.length))
            .and_then(|(start, end)| text.get(start..utf16_to_byte(text, end)?));
        match (entity.kind.as_str(), range) {
            ("mention", Some(name)) => is_name(name, me),
            ("bot_command", Some(command)) => command
                .find('@')
                .is_some_and(|at| is_name(&command[at..], me)),
            ("text_mention", _) => entity.user.as_ref().is_some_and(|user| user.id == me.id),
            _ => false,
        }
    })
}

fn is_name(text: &str, me: &Me) -> bool {
    let name = text.strip_prefix('@').unwrap_or_default();
    !name.is_empty() && name.eq_ignore_ascii_case(&me.username)
}

fn replies_to(message: &Message, id: i64) -> bool {
    let replied = message.reply_to_message.as_deref();
    // In a topic every message replies to the one that opened it, which says nothing.
    let opening = |replied: &Message| replied.rest.contains_key("forum_topic_created");
    replied
        .filter(|replied| !opening(replied))
        .and_then(|replied| replied.from.as_ref())
        .is_some_and(|user| user.id == id)
}

/// `/status@mybot now` is `/status now` to us.
fn for_the_bot(words: &str, me: &Me) -> String {
    let end = words.find(char::is_whitespace).unwrap_or(words.len());
    let (first, rest) = words.split_at(end);
    match first.split_once('@') {
        Some((command, name))
            if command.starts_with('/') && name.eq_ignore_ascii_case(&me.username) =>
        {
            format!("{command}{rest}")
        }
        _ => words.to_owned(),
    }
}

/// What stands before the words, and whether words of others are in that. What the bot itself said counts as theirs: it may
/// have been said after something was read.
fn context(message: &Message, me: &Me) -> (Vec<String>, bool) {
    let mut lines = Vec::new();
    let mut of_others = false;
    match &message.via_bot {
        Some(bot) => lines.push(format!("[written by the bot {}]", line(&bot.username))),
        None if message.is_foreign() => lines.push("[forwarded]".to_owned()),
        None => {}
    }
    let replied = message.reply_to_message.as_deref();
    let quote = message.quote.as_ref().map(|quote| quote.text.as_str());
    if let Some(replied) =
        replied.filter(|replied| !replied.rest.contains_key("forum_topic_created"))
    {
        let own = replied.from.as_ref().is_some_and(|user| user.id == me.id);
        let who = match (own, &replied.from) {
            (true, _) => "your message".to_owned(),
            (false, Some(user)) => line(&user.shown()),
            (false, None) => line(&replied.chat.title),
        };
        let words = quote.unwrap_or(replied.words().0);
        let said = match attachment(&replied.rest) {
            Some(attachment) if words.is_empty() => attachment,
            _ => format!("\"{}\"", line(words)),
        };
        lines.push(format!("[in reply to {who}: {said}]"));
        of_others = !is_own(replied, message);
    } else if let (None, Some(quote)) = (replied, quote) {
        // What it answers is in another chat.
        lines.push(format!("[in reply to \"{}\"]", line(quote)));
        of_others = true;
    }
    (lines, of_others)
}

/// Whether a message that is answered is of the same person, in his own words.
fn is_own(replied: &Message, message: &Message) -> bool {
    let id = |of: &Message| of.from.as_ref().map(|user| user.id);
    id(replied).is_some()
        && id(replied) == id(message)
        && replied.sender_chat.is_none()
        && !replied.is_foreign()
        && !has_words(&replied.rest)
}

fn line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(EXCERPT)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(EXCERPT).is_some() {
        line.push('…');
    }
    line
}

fn bounded(words: &str) -> String {
    if words.len() <= LONGEST {
        return words.to_owned();
    }
    let cut = (0..=LONGEST)
        .rev()
        .find(|at| words.is_char_boundary(*at))
        .unwrap_or(0);
    format!(
        "{}\n[cut here: the message has {} bytes more]",
        &words[..cut],
        words.len() - cut
    )
}

#[cfg(test)]
#[path = "incoming_tests.rs"]
mod tests;
