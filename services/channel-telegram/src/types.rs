//! The part of the Bot API's objects that is read here. What is missing is empty; what is unknown is ignored.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Update {
    pub(crate) message: Option<Message>,
    pub(crate) edited_message: Option<Message>,
    pub(crate) channel_post: Option<Message>,
    pub(crate) edited_channel_post: Option<Message>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    pub(crate) message_id: i64,
    pub(crate) message_thread_id: Option<i64>,
    pub(crate) is_topic_message: bool,
    pub(crate) from: Option<User>,
    pub(crate) sender_chat: Option<Chat>,
    pub(crate) date: i64,
    pub(crate) edit_date: Option<i64>,
    pub(crate) chat: Chat,
    pub(crate) forward_origin: Option<Value>,
    /// The bot that wrote it for its sender.
    pub(crate) via_bot: Option<User>,
    pub(crate) reply_to_message: Option<Box<Message>>,
    pub(crate) quote: Option<Quote>,
    pub(crate) media_group_id: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) entities: Vec<Entity>,
    pub(crate) caption: Option<String>,
    pub(crate) caption_entities: Vec<Entity>,
    pub(crate) migrate_to_chat_id: Option<i64>,
    pub(crate) migrate_from_chat_id: Option<i64>,
    /// Everything else, where attachments are found.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) is_bot: bool,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) username: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Chat {
    pub(crate) id: i64,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) title: String,
    pub(crate) username: String,
    pub(crate) is_forum: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Entity {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// UTF-16 units.
    pub(crate) offset: usize,
    pub(crate) length: usize,
    pub(crate) user: Option<User>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Quote {
    pub(crate) text: String,
}

impl User {
    /// The name that is shown.
    pub(crate) fn shown(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
            .trim()
            .to_owned()
    }
}

impl Message {
    /// Whether its words are not those of who sent it. Servers from before `forward_origin` say when it was forwarded.
    pub(crate) fn is_foreign(&self) -> bool {
        self.forward_origin.is_some()
            || self.via_bot.is_some()
            || self.rest.contains_key("forward_date")
    }

    /// Text or caption, and the marks in it.
    pub(crate) fn words(&self) -> (&str, &[Entity]) {
        match &self.text {
            Some(text) => (text, &self.entities),
            None => (
                self.caption.as_deref().unwrap_or_default(),
                &self.caption_entities,
            ),
        }
    }
}
