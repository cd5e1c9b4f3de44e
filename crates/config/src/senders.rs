//! Who and what a channel's lists name: people by stable id or by a name that its owner can change, and groups.
//! Refuses entries that the channel could never match, since a list that silently matches nobody looks like protection.

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

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn strip<'a>(text: &'a str, prefixes: &[&str]) -> &'a str {
    let found = prefixes.iter().find_map(|prefix| {
        let head = text.get(..prefix.len())?;
        head.eq_ignore_ascii_case(prefix)
            .then(|| &text[prefix.len()..])
    });
    found.unwrap_or(text)
}

/// `+1 (555) 555-0100` as `+15555550100`.
fn phone(text: &str) -> Option<String> {
    let rest = text.strip_prefix('+')?;
    let plain: String = rest
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.'))
        .collect();
    digits(&plain, 7..=15).then(|| format!("+{plain}"))
}

fn uuid(text: &str) -> Option<String> {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    (hex && groups == [8, 4, 4, 4, 12]).then(|| text.to_ascii_lowercase())
}

fn email(text: &str) -> Option<String> {
    let (name, domain) = text.split_once('@')?;
    let printable = text
        .chars()
        .all(|c| c.is_ascii_graphic() && !matches!(c, ',' | '"' | '<' | '>'));
    (printable && !name.is_empty() && domain.contains('.')).then(|| text.to_ascii_lowercase())
}

fn whatsapp(text: &str) -> Option<Sender> {
    phone(strip(text, &["whatsapp:"])).map(Sender::Id)
}

fn telegram(text: &str) -> Option<Sender> {
    let text = strip(text, &["telegram:", "tg:"]);
    if digits(text, 1..=19) {
        return Some(Sender::Id(text.to_owned()));
    }
    let name = text.strip_prefix('@').unwrap_or(text);
    let allowed = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let valid = (4..=32).contains(&name.len())
        && allowed
        && name.starts_with(|c: char| c.is_ascii_alphabetic());
    valid.then(|| Sender::Name(format!("@{}", name.to_ascii_lowercase())))
}

fn discord(text: &str) -> Option<Sender> {
    let text = strip(text, &["discord:", "user:"]);
    let bare = text
        .strip_prefix("<@")
        .and_then(|rest| rest.strip_suffix('>'));
    let text = bare.map_or(text, |id| id.trim_start_matches('!'));
    if digits(text, 15..=20) {
        return Some(Sender::Id(text.to_owned()));
    }
    let name = text.strip_prefix('@').unwrap_or(text);
    let printable = name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    let valid = (2..=37).contains(&name.chars().count()) && printable && bare.is_none();
    valid.then(|| Sender::Name(name.to_lowercase()))
}

fn signal(text: &str) -> Option<Sender> {
    let text = strip(text, &["signal:"]);
    phone(text)
        .or_else(|| uuid(strip(text, &["uuid:"])).map(|id| format!("uuid:{id}")))
        .map(Sender::Id)
}

fn imessage(text: &str) -> Option<Sender> {
    let text = strip(text, &["imessage:", "sms:"]);
    let chat = ["chat_id:", "chat_guid:", "chat_identifier:"];
    let id = strip(text, &chat);
    if id.len() != text.len() {
        return chat_id(text).then(|| Sender::Id(text.to_owned()));
    }
    phone(text).or_else(|| email(text)).map(Sender::Id)
}

fn chat_id(text: &str) -> bool {
    match text.split_once(':') {
        Some(("chat_id", id)) => digits(id, 1..=18),
        Some(("chat_guid" | "chat_identifier", id)) => graphic(id, 200),
        _ => false,
    }
}

fn graphic(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn whatsapp_group(text: &str) -> bool {
    let id = text.strip_suffix("@g.us");
    id.is_some_and(|id| {
        (5..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit() || b == b'-')
    })
}

fn telegram_group(text: &str) -> bool {
    digits(text.strip_prefix('-').unwrap_or(text), 1..=19)
}

fn signal_group(text: &str) -> bool {
    let id = strip(text, &["signal:group:", "group:"]);
    id.len() >= 16 && graphic(id, 128)
}

/// A guild or channel: its number, or the slug of its name.
fn discord_place(text: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    (1..=100).contains(&text.len()) && text.chars().all(allowed)
}

fn imessage_group(text: &str) -> bool {
    digits(text, 1..=18) || chat_id(text)
}

/// One row per channel: the entries of its lists (and whether they may be numbers), and the keys of its groups.
macro_rules! channels {
    ($(
        $channel:literal:
        $entry:ident ($parse:path, $kinds:expr, $what:literal, $sample:literal),
        $group:ident ($check:path, $rule:literal, $place:literal);
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
                    text => $parse(text).map(Self),
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
                match text == "*" || $check(text) {
                    true => Ok(Self(text.to_owned())),
                    false => Err(concat!("must be \"*\" or ", $rule).to_owned()),
                }
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
    "WhatsApp":
        WhatsAppSender(whatsapp, TEXT, "a phone number with + and country code or \"*\" (a string)", "+15555550100"),
        WhatsAppGroup(whatsapp_group, "a group id ending in @g.us", "120363000000000000@g.us");
    "Telegram":
        TelegramSender(telegram, TEXT_OR_NUMBER, "a numeric user id, an @name or \"*\" (a string or an integer)", "123456789"),
        TelegramGroup(telegram_group, "a numeric chat id", "-1001234567890");
    "Discord":
        DiscordSender(discord, TEXT, "a user id, a user name or \"*\" (a string)", "123456789012345678"),
        DiscordPlace(discord_place, "a numeric id or the name in lower case with -", "123456789012345678");
    "Signal":
        SignalSender(signal, TEXT_OR_NUMBER, "a phone number with + and country code, uuid:ID or \"*\" (a string)", "+15555550100"),
        SignalGroup(signal_group, "a group id", "group:abcdefghijklmnopqrstuvwx");
    "iMessage":
        IMessageSender(imessage, TEXT_OR_NUMBER, "a phone number, an e-mail address, chat_id:N or \"*\" (a string)", "+15555550100"),
        IMessageGroup(imessage_group, "chat_id:N, chat_guid:… or chat_identifier:…", "chat_id:12");
}

/// The channels that an identity can belong to.
pub const CHANNELS: &[&str] = &[
    "whatsapp",
    "telegram",
    "discord",
    "signal",
    "imessage",
    "bluebubbles",
];

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
        let sender = match *channel {
            "whatsapp" => WhatsAppSender::parse(rest)?.0,
            "telegram" => TelegramSender::parse(rest)?.0,
            "discord" => DiscordSender::parse(rest)?.0,
            "signal" => SignalSender::parse(rest)?.0,
            _ => IMessageSender::parse(rest)?.0,
        };
        let text = format!("{channel}:{}", sender.as_str());
        (sender != Sender::Any).then_some(Self {
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
    fn every_channel_reads_its_own_identities_and_no_others() {
        type Parse = fn(&str) -> Option<Sender>;
        let parse: &[(&str, Parse)] = &[
            ("whatsapp", |text| {
                WhatsAppSender::parse(text).map(|entry| entry.0)
            }),
            ("telegram", |text| {
                TelegramSender::parse(text).map(|entry| entry.0)
            }),
            ("discord", |text| {
                DiscordSender::parse(text).map(|entry| entry.0)
            }),
            ("signal", |text| {
                SignalSender::parse(text).map(|entry| entry.0)
            }),
            ("imessage", |text| {
                IMessageSender::parse(text).map(|entry| entry.0)
            }),
        ];
        for (channel, text, wanted) in [
            ("whatsapp", "+1 (555) 555-0100", "id +15555550100"),
            ("whatsapp", "*", "any"),
            ("whatsapp", "15555550100", "refused"),
            ("whatsapp", "@name", "refused"),
            ("telegram", "tg:123", "id 123"),
            ("telegram", "@UserName", "name @username"),
            ("telegram", "username", "name @username"),
            ("telegram", "@x", "refused"),
            ("telegram", "+15555550100", "refused"),
            ("discord", "<@!123456789012345678>", "id 123456789012345678"),
            (
                "discord",
                "user:123456789012345678",
                "id 123456789012345678",
            ),
            ("discord", "Some.Body", "name some.body"),
            ("discord", "two words", "refused"),
            ("signal", "signal:+15555550100", "id +15555550100"),
            (
                "signal",
                "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
                "id uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            ),
            ("signal", "somebody", "refused"),
            ("imessage", "imessage:Me@Example.org", "id me@example.org"),
            ("imessage", "chat_id:12", "id chat_id:12"),
            ("imessage", "chat_id:x", "refused"),
            ("imessage", "somebody", "refused"),
        ] {
            let (_, parse) = parse.iter().find(|(name, _)| *name == channel).unwrap();
            assert_eq!(shown(parse(text).as_ref()), wanted, "{channel} {text}");
        }
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
