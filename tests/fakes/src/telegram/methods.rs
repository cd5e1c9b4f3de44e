//! The methods, as one table; each takes the bot and the parameters and gives the result or Telegram's refusal.

use serde_json::{Map, Value, json};

use super::bot::{Bot, Sent};
use super::html;

/// A refusal: code, description, parameters.
pub(super) type Refusal = (u16, String, Value);
type Answer = Result<Value, Refusal>;
type Method = fn(&mut Bot, &Params) -> Answer;

/// All methods but getUpdates, which may have to wait.
const METHODS: &[(&str, Method)] = &[
    ("getme", get_me),
    ("sendmessage", send_message),
    ("editmessagetext", edit_message_text),
    ("deletemessage", delete_message),
    ("sendmessagedraft", send_message_draft),
    ("sendchataction", send_chat_action),
    ("setmycommands", set_my_commands),
    ("getmycommands", |bot, _| Ok(bot.commands.clone())),
    ("setwebhook", set_webhook),
    ("deletewebhook", delete_webhook),
    ("getwebhookinfo", |bot, _| {
        Ok(
            json!({ "url": bot.webhook, "has_custom_certificate": false, "pending_update_count": bot.pending() }),
        )
    }),
    ("getchat", get_chat),
];

/// Longest text, UTF-16 units.
const LIMIT: usize = 4096;

/// Parameters of a call, from JSON, a form or the query.
pub(super) struct Params(pub(super) Map<String, Value>);

impl Params {
    /// Forms write numbers as text and objects as JSON in text.
    fn value(&self, name: &str) -> Value {
        match self.0.get(name) {
            Some(Value::String(text)) if name != "text" => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
            }
            Some(value) => value.clone(),
            None => Value::Null,
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.value(name).as_i64()
    }

    pub(super) fn text(&self, name: &str) -> String {
        match self.0.get(name) {
            Some(Value::String(text)) => text.clone(),
            _ => String::new(),
        }
    }

    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        let values = self.value(name);
        let words = values.as_array()?.iter().filter_map(Value::as_str);
        Some(words.map(str::to_owned).collect())
    }
}

pub(super) fn refuse(code: u16, description: &str) -> Refusal {
    (code, description.to_owned(), Value::Null)
}

fn bad(description: impl std::fmt::Display) -> Refusal {
    refuse(400, &format!("Bad Request: {description}"))
}

/// Calls a method by its name, which is not case-sensitive.
pub(super) fn call(bot: &mut Bot, method: &str, params: &Params) -> Answer {
    let name = method.to_ascii_lowercase();
    match METHODS.iter().find(|row| row.0 == name) {
        Some((_, run)) => run(bot, params),
        None => Err(refuse(404, "Not Found")),
    }
}

fn get_me(bot: &mut Bot, _: &Params) -> Answer {
    let mut me = bot.user();
    for (name, value) in [
        ("can_join_groups", true),
        ("can_read_all_group_messages", false),
        ("supports_inline_queries", false),
        ("can_connect_to_business", false),
        ("has_main_web_app", false),
    ] {
        me[name] = value.into();
    }
    Ok(me)
}

/// The chat of a call, if the bot may write there.
fn chat(bot: &Bot, params: &Params) -> Result<i64, Refusal> {
    let id = params
        .number("chat_id")
        .ok_or_else(|| bad("chat_id is empty"))?;
    if let Some(to) = bot.migrated.get(&id) {
        let (code, description, _) = bad("group chat was upgraded to a supergroup chat");
        return Err((code, description, json!({ "migrate_to_chat_id": to })));
    }
    if bot.blocked.contains(&id) {
        let why = match id {
            0.. => "Forbidden: bot was blocked by the user",
            _ => "Forbidden: bot was kicked from the group chat",
        };
        return Err(refuse(403, why));
    }
    match bot.knows_chat(id) {
        true => Ok(id),
        false => Err(bad("chat not found")),
    }
}

fn words(params: &Params) -> Result<(String, Vec<Value>), Refusal> {
    let raw = params.text("text");
    let (text, entities) = match params.text("parse_mode").to_ascii_lowercase().as_str() {
        "html" => {
            let parsed =
                html::parse(&raw).map_err(|why| bad(format!("can't parse entities: {why}")))?;
            (parsed.text, parsed.entities)
        }
        "" => (raw.trim_end().to_owned(), Vec::new()),
        _ => return Err(bad("unsupported parse_mode")),
    };
    if text.trim().is_empty() {
        return Err(bad("message text is empty"));
    }
    if text.encode_utf16().count() > LIMIT {
        return Err(bad("message is too long"));
    }
    Ok((text, entities))
}

fn topic(bot: &Bot, chat: i64, params: &Params) -> Result<Option<i64>, Refusal> {
    match params.number("message_thread_id") {
        None => Ok(None),
        Some(topic) if bot.knows_topic(chat, topic) => Ok(Some(topic)),
        // The general topic has no number when something is sent.
        Some(_) => Err(bad("message thread not found")),
    }
}

fn send_message(bot: &mut Bot, params: &Params) -> Answer {
    let chat = chat(bot, params)?;
    let (text, entities) = words(params)?;
    let topic = topic(bot, chat, params)?;
    let reply = params.value("reply_parameters");
    let reply_to = reply["message_id"].as_i64();
    let exists = reply_to.is_some_and(|message| bot.knows_message(chat, message));
    if reply_to.is_some() && !exists && reply["allow_sending_without_reply"] != json!(true) {
        return Err(bad("message to be replied not found"));
    }
    let message = bot.next_message(chat);
    Ok(bot.add(Sent {
        chat,
        message,
        topic,
        text,
        entities,
        reply_to: reply_to.filter(|_| exists),
        edits: 0,
    }))
}

fn edit_message_text(bot: &mut Bot, params: &Params) -> Answer {
    let chat = chat(bot, params)?;
    let (text, entities) = words(params)?;
    let id = params.number("message_id").unwrap_or(0);
    let found = bot
        .sent
        .iter_mut()
        .find(|sent| (sent.chat, sent.message) == (chat, id));
    let sent = found.ok_or_else(|| bad("message to edit not found"))?;
    if sent.text == text && sent.entities == entities {
        return Err(bad(
            "message is not modified: specified new message content and reply markup are exactly the same as a current \
             content and reply markup of the message",
        ));
    }
    sent.text = text;
    sent.entities = entities;
    sent.edits += 1;
    let sent = sent.clone();
    Ok(bot.message(&sent))
}

fn delete_message(bot: &mut Bot, params: &Params) -> Answer {
    let chat = chat(bot, params)?;
    let id = params.number("message_id").unwrap_or(0);
    if !bot.knows_message(chat, id) {
        return Err(bad("message to delete not found"));
    }
    bot.forget_message(chat, id);
    Ok(json!(true))
}

fn send_message_draft(bot: &mut Bot, params: &Params) -> Answer {
    if bot.without_drafts {
        return Err(refuse(404, "Not Found"));
    }
    let chat = chat(bot, params)?;
    if chat < 0 {
        return Err(bad("drafts can be sent only to private chats"));
    }
    let draft = params.number("draft_id").filter(|id| *id != 0);
    let draft = draft.ok_or_else(|| bad("draft_id must be non-zero"))?;
    let (text, _) = match params.text("text").is_empty() {
        true => (String::new(), Vec::new()),
        false => words(params)?,
    };
    bot.drafts.push((chat, draft, text));
    Ok(json!(true))
}

fn send_chat_action(bot: &mut Bot, params: &Params) -> Answer {
    let chat = chat(bot, params)?;
    let action = params.text("action");
    if action.is_empty() {
        return Err(bad("wrong parameter action in request"));
    }
    bot.actions
        .push((chat, params.number("message_thread_id"), action));
    Ok(json!(true))
}

fn set_my_commands(bot: &mut Bot, params: &Params) -> Answer {
    let commands = params.value("commands");
    let valid = |command: &Value| {
        let name = command["command"].as_str().unwrap_or_default();
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        (1..=32).contains(&name.len()) && name.chars().all(word)
    };
    if !commands
        .as_array()
        .is_some_and(|list| list.iter().all(valid))
    {
        return Err(bad("BOT_COMMAND_INVALID"));
    }
    bot.commands = commands;
    Ok(json!(true))
}

fn set_webhook(bot: &mut Bot, params: &Params) -> Answer {
    bot.webhook = params.text("url");
    Ok(json!(true))
}

fn delete_webhook(bot: &mut Bot, params: &Params) -> Answer {
    bot.webhook.clear();
    if params.value("drop_pending_updates") == json!(true) {
        bot.fetch(i64::MAX, 0);
        bot.confirmed = 0;
    }
    Ok(json!(true))
}

fn get_chat(bot: &mut Bot, params: &Params) -> Answer {
    let id = chat(bot, params)?;
    let mut chat = bot.chat(id);
    chat["accent_color_id"] = 0.into();
    chat["max_reaction_count"] = 11.into();
    Ok(chat)
}
