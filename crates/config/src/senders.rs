//! Who and what a channel's lists name: people by stable id or by a name that its owner can change, and groups.
//! Refuses entries that the channel could never match, since a list that silently matches nobody looks like protection.

use clawdbot_identity::{CHANNELS, Principal, PrincipalKind, principal};
use serde_json::Value as Json;

use crate::json5::{Node, Value};
use crate::shape::{Cx, Info, Kind, Shape};
use crate::types::MapKey;

/// An entry of an allow list in its normal form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// `"*"`: everybody.
    Any,
    /// An id that stays with one person.
    Id(String),
    /// A name that can change hands.
    Name(String),
}

impl Sender {
    /// The entry in its normal form.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Any => "*",
            Self::Id(text) | Self::Name(text) => text,
        }
    }
}

impl From<&Principal> for Sender {
    fn from(principal: &Principal) -> Self {
        match principal.kind() {
            PrincipalKind::User => Self::Name(principal.form()),
            _ => Self::Id(principal.form()),
        }
    }
}

/// One entry of a channel's list.
fn listed(channel: &str, text: &str) -> Option<Sender> {
    let principal = Principal::listed(channel, text).ok()?;
    Some(Sender::from(&principal))
}

fn group(channel: &str, text: &str) -> Option<String> {
    principal::group(channel, text).ok()
}

/// A server or channel: its number, or the slug of its name.
fn discord_place(_: &str, text: &str) -> Option<String> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let valid = (1..=100).contains(&text.len()) && text.chars().all(allowed);
    valid.then(|| text.to_owned())
}

/// One row per channel: the entries of its lists (and whether they may be numbers), and the keys of its groups.
macro_rules! channels {
    ($(
        $channel:literal ($name:literal):
        $entry:ident ($kinds:expr, $what:literal, $sample:literal),
        $group:ident ($read:path, $rule:literal, $place:literal);
    )+) => {$(
        #[doc = concat!("Somebody on ", $channel, ".")]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $entry(Sender);

        impl $entry {
            /// The entry in its normal form.
            pub fn sender(&self) -> &Sender {
                &self.0
            }

            /// Reads one entry.
            pub(crate) fn parse(text: &str) -> Option<Self> {
                match text.trim() {
                    "*" => Some(Self(Sender::Any)),
                    text => listed($name, text).map(Self),
                }
            }
        }

        impl Shape for $entry {
            fn info() -> Info {
                Info::new($kinds, $what, format!("{:?}", $sample))
            }

            fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
                let number = match &node.value {
                    Value::Number { integer: Some(id), .. } if Self::info().kinds.contains(&Kind::Number) => {
                        Some(id.to_string())
                    }
                    _ => None,
                };
                let text = match number {
                    Some(number) => number,
                    None => cx.text::<Self>(&node)?,
                };
                let entry = Self::parse(&text);
                if entry.is_none() {
                    let shown = crate::json5::shorten(&text);
                    cx.fail(node.span, format!("must be {}, not \"{shown}\"", $what)).help =
                        Some(format!("for instance {:?}", $sample));
                }
                entry
            }

            fn show(&self) -> Json {
                self.0.as_str().into()
            }
        }

        impl MapKey for $entry {
            const SHOWN: &'static str = "<sender|*>";
            const SAMPLE: &'static str = $sample;

            fn parse_key(text: &str) -> Result<Self, String> {
                Self::parse(text).ok_or_else(|| concat!("must be ", $what).to_owned())
            }

            fn as_key(&self) -> &str {
                self.0.as_str()
            }
        }

        #[doc = concat!("A group on ", $channel, ", or `*` for every other one.")]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $group(String);

        impl $group {
            /// The id, or `*`.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl MapKey for $group {
            const SHOWN: &'static str = "<id|*>";
            const SAMPLE: &'static str = $place;

            fn parse_key(text: &str) -> Result<Self, String> {
                let id = match text {
                    "*" => Some(text.to_owned()),
                    text => $read($name, text),
                };
                id.map(Self)
                    .ok_or_else(|| concat!("must be \"*\" or ", $rule).to_owned())
            }

            fn as_key(&self) -> &str {
                &self.0
            }
        }
    )+};
}

const TEXT: &[Kind] = &[Kind::String];
const TEXT_OR_NUMBER: &[Kind] = &[Kind::String, Kind::Number];

channels! {
    "WhatsApp" ("whatsapp"):
        WhatsAppSender(TEXT, "a phone number with + and country code or \"*\" (a string)", "+15555550100"),
        WhatsAppGroup(group, "a group id ending in @g.us", "120363000000000000@g.us");
    "Telegram" ("telegram"):
        TelegramSender(TEXT_OR_NUMBER, "a numeric user id, an @name or \"*\" (a string or an integer)", "123456789"),
        TelegramGroup(group, "a numeric chat id", "-1001234567890");
    "Discord" ("discord"):
        DiscordSender(TEXT, "a user id, a user name or \"*\" (a string)", "123456789012345678"),
        DiscordPlace(discord_place, "a numeric id or the name in lower case with -", "123456789012345678");
    "Signal" ("signal"):
        SignalSender(TEXT_OR_NUMBER, "a phone number with + and country code, uuid:ID or \"*\" (a string)", "+15555550100"),
        SignalGroup(group, "a group id", "group:abcdefghijklmnopqrstuvwx");
    "iMessage" ("imessage"):
        IMessageSender(TEXT_OR_NUMBER, "a phone number, an e-mail address, chat_id:N or \"*\" (a string)", "+15555550100"),
        IMessageGroup(group, "chat_id:N, chat_guid:… or chat_identifier:…", "chat_id:12");
}

/// Somebody on a named channel: `telegram:123456789`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    text: String,
    channel: &'static str,
    sender: Sender,
}

impl Identity {
    /// Reads `channel:identity`; nothing when the channel is unknown or the rest is not one of its identities.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.trim().split_once(':')?;
        let channel = CHANNELS
            .iter()
            .find(|channel| channel.eq_ignore_ascii_case(name))?;
        let sender = listed(channel, rest)?;
        let text = format!("{channel}:{}", sender.as_str());
        Some(Self {
            text,
            channel,
            sender,
        })
    }

    /// `channel:identity` in its normal form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The channel.
    pub fn channel(&self) -> &'static str {
        self.channel
    }

    /// The identity on that channel; never [`Sender::Any`].
    pub fn sender(&self) -> &Sender {
        &self.sender
    }
}

impl Shape for Identity {
    fn info() -> Info {
        let name = "somebody as CHANNEL:IDENTITY (a string)";
        Info::new(TEXT, name, "\"telegram:123456789\"")
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        let text = cx.text::<Self>(&node)?;
        let identity = Self::parse(&text);
        if identity.is_none() {
            let shown = crate::json5::shorten(&text);
            cx.fail(
                node.span,
                format!("must be somebody as CHANNEL:IDENTITY, not \"{shown}\""),
            )
            .help = Some(
                "for instance \"telegram:123456789\" or \"whatsapp:+15555550100\"; \"*\" is nobody"
                    .to_owned(),
            );
        }
        identity
    }

    fn show(&self) -> Json {
        self.text.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(entry: Option<&Sender>) -> String {
        match entry {
            None => "refused".to_owned(),
            Some(Sender::Any) => "any".to_owned(),
            Some(Sender::Id(id)) => format!("id {id}"),
            Some(Sender::Name(name)) => format!("name {name}"),
        }
    }

    #[test]
    fn an_entry_is_everybody_an_id_or_a_name() {
        for (entry, wanted) in [
            (WhatsAppSender::parse(" * ").map(|own| own.0), "any"),
            (
                WhatsAppSender::parse("+1 555 555 0100").map(|own| own.0),
                "id +15555550100",
            ),
            (WhatsAppSender::parse("@name").map(|own| own.0), "refused"),
            (
                TelegramSender::parse("UserName").map(|own| own.0),
                "name @username",
            ),
            (
                DiscordSender::parse("Some.Body").map(|own| own.0),
                "name @some.body",
            ),
            (
                SignalSender::parse("15555550100").map(|own| own.0),
                "id 15555550100",
            ),
            (
                IMessageSender::parse("chat_id:12").map(|own| own.0),
                "id chat_id:12",
            ),
            (
                IMessageSender::parse("somebody").map(|own| own.0),
                "refused",
            ),
        ] {
            assert_eq!(shown(entry.as_ref()), wanted);
        }
    }

    #[test]
    fn groups_are_kept_in_their_one_spelling() {
        let signal = SignalGroup::parse_key("signal:group:AbCdEfGh12345678").unwrap();
        assert_eq!(signal.as_str(), "AbCdEfGh12345678");
        assert_eq!(
            IMessageGroup::parse_key("12").unwrap().as_str(),
            "chat_id:12"
        );
        assert_eq!(
            DiscordPlace::parse_key("general").unwrap().as_str(),
            "general"
        );
        assert_eq!(TelegramGroup::parse_key("*").unwrap().as_str(), "*");
        assert!(WhatsAppGroup::parse_key("family").is_err());
    }

    #[test]
    fn an_identity_names_its_channel_and_is_never_everybody() {
        assert_eq!(
            Identity::parse("Telegram:tg:123").unwrap().as_str(),
            "telegram:123"
        );
        assert_eq!(
            Identity::parse("whatsapp:+1 555 555 0100")
                .unwrap()
                .as_str(),
            "whatsapp:+15555550100"
        );
        assert_eq!(
            Identity::parse("discord:user:Ann").unwrap().as_str(),
            "discord:@ann"
        );
        for text in [
            "telegram:*",
            "*",
            "123456789",
            "slack:U1",
            "whatsapp:@name",
            "",
        ] {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
    }
}
