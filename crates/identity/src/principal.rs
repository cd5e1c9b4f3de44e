//! Who somebody is on a chat service, and which group: one grammar per service for what people write in lists and for what
//! a worker names. Refuses what the service has no such identity for, above all look-alikes that are not ASCII.

use std::fmt;
use std::ops::RangeInclusive;

use crate::IdError;

/// The chat services that identities belong to.
pub const CHANNELS: &[&str] = &[
    "whatsapp",
    "telegram",
    "discord",
    "signal",
    "imessage",
    "bluebubbles",
];

/// Longest text that is read, bytes.
const MAX: usize = 256;

/// What kind of thing names somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalKind {
    /// The service's own number.
    Id,
    /// A name that can change hands; a hint, no identity.
    User,
    /// A phone number with country code.
    E164,
    /// A phone number without `+`. It says no country, so it is nobody.
    Number,
    /// WhatsApp's hidden id.
    Lid,
    /// WhatsApp's id of a person towards one business.
    Bsuid,
    /// Signal's account id.
    Aci,
    /// An e-mail address.
    Email,
    /// A conversation, whoever is in it.
    Chat,
}

use PrincipalKind as Kind;

/// Kind, its name in the canonical form, and what stands before the value in the short form.
const KINDS: &[(Kind, &str, &str)] = &[
    (Kind::Id, "id", ""),
    (Kind::User, "user", "@"),
    (Kind::E164, "e164", ""),
    (Kind::Number, "number", ""),
    (Kind::Lid, "lid", "lid:"),
    (Kind::Bsuid, "bsuid", "bsuid:"),
    (Kind::Aci, "aci", "uuid:"),
    (Kind::Email, "email", ""),
    (Kind::Chat, "chat", ""),
];

impl Kind {
    fn row(self) -> (&'static str, &'static str) {
        let row = KINDS.iter().find(|row| row.0 == self);
        row.map_or(("", ""), |row| (row.1, row.2))
    }

    /// Whether it stays with one person.
    fn is_person(self) -> bool {
        !matches!(self, Self::User | Self::Number | Self::Chat)
    }
}

/// Somebody on a chat service, or what names him there. Shown in the canonical form `telegram:id:12345`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    channel: &'static str,
    kind: Kind,
    value: String,
}

struct Service {
    name: &'static str,
    /// What people put before an identity.
    prefixes: &'static [&'static str],
    /// The first that fits counts.
    kinds: &'static [Kind],
    /// How many digits its own numbers have.
    id: RangeInclusive<usize>,
    user: fn(&str) -> bool,
    /// Spellings that only the wire has.
    wire: fn(&str) -> Option<(Kind, String)>,
    group: fn(&str) -> Option<String>,
    thread: fn(&str) -> bool,
}

// Telegram's numbers have 52 bits, Discord's are never so short: one number never means two people.
const SERVICES: &[Service] = &[
    Service {
        name: "whatsapp",
        prefixes: &["whatsapp:", "tel:"],
        kinds: &[Kind::E164, Kind::Lid, Kind::Bsuid, Kind::Number],
        wire: whatsapp_wire,
        group: whatsapp_group,
        ..NONE
    },
    Service {
        name: "telegram",
        prefixes: &["telegram:", "tg:"],
        kinds: &[Kind::Id, Kind::User],
        id: 1..=16,
        user: telegram_name,
        // Somebody who writes as a chat has that chat's number.
        wire: |text| {
            let chat = text.strip_prefix('-')?;
            digits(chat, 1..=19).then(|| (Kind::Id, text.to_owned()))
        },
        group: |text| {
            let bare = text.strip_prefix('-').unwrap_or(text);
            digits(bare, 1..=19).then(|| text.to_owned())
        },
        thread: |text| digits(text, 1..=19),
    },
    Service {
        name: "discord",
        prefixes: &["discord:", "user:"],
        kinds: &[Kind::Id, Kind::User],
        id: SNOWFLAKE,
        user: discord_name,
        group: discord_group,
        thread: |text| digits(text, SNOWFLAKE),
        ..NONE
    },
    Service {
        name: "signal",
        prefixes: &["signal:", "tel:"],
        kinds: &[Kind::E164, Kind::Aci, Kind::Number],
        group: signal_group,
        ..NONE
    },
    Service {
        name: "imessage",
        ..APPLE
    },
    Service {
        name: "bluebubbles",
        ..APPLE
    },
];

const SNOWFLAKE: RangeInclusive<usize> = 17..=20;

const NONE: Service = Service {
    name: "",
    prefixes: &[],
    kinds: &[],
    id: 1..=1,
    user: |_| false,
    wire: |_| None,
    group: |_| None,
    thread: |_| false,
};

const APPLE: Service = Service {
    prefixes: &["imessage:", "bluebubbles:", "sms:", "auto:", "tel:"],
    kinds: &[Kind::E164, Kind::Chat, Kind::Email, Kind::Number],
    group: |text| match digits(text, 1..=18) {
        true => Some(format!("chat_id:{text}")),
        false => chat(text),
    },
    ..NONE
};

impl Principal {
    /// Reads what people write in a list: `+1 (555) 555-0100`, `tg:123`, `@name`, `uuid:…`, also the canonical form.
    ///
    /// # Errors
    /// When the channel does not exist or has no such identities.
    pub fn listed(channel: &str, text: &str) -> Result<Self, IdError> {
        let service = service(channel)?;
        let (kind, value) = service.listed(text.trim()).ok_or(WHO)?;
        Ok(service.principal(kind, value))
    }

    /// Reads how a worker names the sender of a message. It is always somebody's own, never a name or a chat.
    ///
    /// # Errors
    /// When the channel does not exist or has no such identities.
    pub fn wire(channel: &str, text: &str) -> Result<Self, IdError> {
        let service = service(channel)?;
        let listed = || service.listed(text).filter(|(kind, _)| kind.is_person());
        let found = (text.len() <= MAX).then(|| (service.wire)(text)).flatten();
        let (kind, value) = found.or_else(listed).ok_or(WHO)?;
        Ok(service.principal(kind, value))
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The channel.
    pub fn channel(&self) -> &'static str {
        self.channel
    }

    /// The one spelling within its channel: `12345`, `@name`, `+15555550100`, `uuid:…`, `chat_id:12`.
    pub fn form(&self) -> String {
        format!("{}{}", self.kind.row().1, self.value)
    }

    /// Why it names nobody, although it has the form of an identity.
    pub fn doubt(&self) -> Option<&'static str> {
        match (self.kind, self.value.as_str()) {
            (Kind::E164, value) if value.starts_with("+0") => {
                Some("begins with 0 after the +, and no country code does")
            }
            (Kind::Number, value) if value.starts_with("00") => {
                Some("begins with 00 and matches nobody; write + and the country code")
            }
            (Kind::Number, _) => Some("has no + and matches nobody; write + and the country code"),
            _ => None,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.channel, self.kind.row().0, self.value)
    }
}

const WHO: IdError = IdError::new("identity", "must be one that this channel has");

/// The one spelling of a group's id: a chat's number, `…@g.us`, `SERVER/CHANNEL` (`@me/CHANNEL` outside of servers),
/// Signal's own, `chat_id:12`.
///
/// # Errors
/// When the channel does not exist or has no such groups.
pub fn group(channel: &str, text: &str) -> Result<String, IdError> {
    let found = (text.len() <= MAX).then(|| (service(channel).ok()?.group)(text));
    found
        .flatten()
        .ok_or(IdError::new("group", "must be one that this channel has"))
}

/// Whether a topic or thread of a group on a channel can have an id.
pub fn is_thread(channel: &str, text: &str) -> bool {
    service(channel).is_ok_and(|service| (service.thread)(text))
}

/// Whether a text is the number of a server or channel on Discord.
pub fn is_snowflake(text: &str) -> bool {
    digits(text, SNOWFLAKE)
}

fn service(channel: &str) -> Result<&'static Service, IdError> {
    let found = SERVICES.iter().find(|service| service.name == channel);
    found.ok_or(IdError::new(
        "channel",
        "must be a chat service that is known here",
    ))
}

impl Service {
    fn principal(&self, kind: Kind, value: String) -> Principal {
        Principal {
            channel: self.name,
            kind,
            value,
        }
    }

    fn listed(&self, text: &str) -> Option<(Kind, String)> {
        if text.len() > MAX {
            return None;
        }
        let bare = { self.prefixes.iter() }.fold(text, |text, prefix| strip(text, prefix));
        let tagged = KINDS.iter().find_map(|(kind, tag, short)| {
            let value = [*tag, short.trim_end_matches(':')]
                .into_iter()
                .find_map(|tag| {
                    let (head, value) = bare.split_once(':')?;
                    (!tag.is_empty() && head.eq_ignore_ascii_case(tag)).then_some(value)
                })?;
            Some((*kind, value))
        });
        match tagged {
            Some((kind, value)) if self.kinds.contains(&kind) => {
                Some((kind, self.read(kind, value, true)?))
            }
            Some(_) => None,
            None => {
                { self.kinds.iter() }.find_map(|kind| Some((*kind, self.read(*kind, bare, false)?)))
            }
        }
    }

    fn read(&self, kind: Kind, text: &str, tagged: bool) -> Option<String> {
        let kept = |valid: bool| valid.then(|| text.to_owned());
        match kind {
            Kind::Id => {
                let inner = text
                    .strip_prefix("<@")
                    .and_then(|rest| rest.strip_suffix('>'));
                let id = inner.map_or(text, |id| id.trim_start_matches('!'));
                let valid = digits(id, self.id.clone()) && (id == "0" || !id.starts_with('0'));
                valid.then(|| id.to_owned())
            }
            Kind::User => {
                let name = text.strip_prefix('@').unwrap_or(text);
                (self.user)(name).then(|| name.to_ascii_lowercase())
            }
            Kind::E164 => phone(text),
            Kind::Number => {
                let plain = without_marks(text);
                digits(&plain, 7..=17).then_some(plain)
            }
            Kind::Lid if tagged => kept(digits(text, 1..=20)),
            Kind::Lid => text
                .strip_suffix("@lid")
                .filter(|id| digits(id, 1..=20))
                .map(str::to_owned),
            Kind::Bsuid => kept(is_bsuid(text)),
            Kind::Aci => uuid(text),
            Kind::Email => email(text),
            Kind::Chat => chat(text),
        }
    }
}

fn digits(text: &str, length: RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn strip<'a>(text: &'a str, prefix: &str) -> &'a str {
    match text.get(..prefix.len()) {
        Some(head) if head.eq_ignore_ascii_case(prefix) => &text[prefix.len()..],
        _ => text,
    }
}

/// What people put between the digits of a phone number.
fn without_marks(text: &str) -> String {
    let mark = |c: &char| matches!(c, ' ' | '-' | '(' | ')' | '.');
    text.chars().filter(|c| !mark(c)).collect()
}

/// `+1 (555) 555-0100` as `+15555550100`.
fn phone(text: &str) -> Option<String> {
    let plain = without_marks(text.strip_prefix('+')?);
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
        .all(|c| c.is_ascii_graphic() && !matches!(c, ',' | '"' | '<' | '>' | ':' | ';'));
    (printable && !name.is_empty() && domain.contains('.')).then(|| text.to_ascii_lowercase())
}

/// A country, a dot, and what the service made up.
fn is_bsuid(text: &str) -> bool {
    text.split_once('.').is_some_and(|(country, rest)| {
        let letters = country.bytes().all(|b| b.is_ascii_uppercase());
        let made_up = rest.bytes().all(|b| b.is_ascii_alphanumeric());
        country.len() == 2 && letters && (1..=128).contains(&rest.len()) && made_up
    })
}

fn telegram_name(name: &str) -> bool {
    let allowed = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic());
    (4..=32).contains(&name.len()) && allowed && first
}

/// Today's names, and the older ones with four digits after a `#`.
fn discord_name(name: &str) -> bool {
    let (name, tag) = name.split_once('#').unwrap_or((name, "0000"));
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.');
    (2..=32).contains(&name.len())
        && name.bytes().all(allowed)
        // A number that is no id is a number with a mistake in it.
        && !name.bytes().all(|b| b.is_ascii_digit())
        && digits(tag, 4..=4)
}

/// `15555550100:3@s.whatsapp.net`, `123:3@lid`, and the digits of a number by themselves.
fn whatsapp_wire(text: &str) -> Option<(Kind, String)> {
    let (user, server) = text.split_once('@').unwrap_or((text, "s.whatsapp.net"));
    let (user, device) = user.split_once(':').unwrap_or((user, "0"));
    match server {
        _ if !digits(device, 1..=5) => None,
        // A number without + that begins with 0 says no country.
        "s.whatsapp.net" if digits(user, 7..=15) && !user.starts_with('0') => {
            Some((Kind::E164, format!("+{user}")))
        }
        "lid" if digits(user, 1..=20) => Some((Kind::Lid, user.to_owned())),
        _ => None,
    }
}

fn whatsapp_group(text: &str) -> Option<String> {
    let id = text.strip_suffix("@g.us")?;
    let allowed = id.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    ((5..=64).contains(&id.len()) && allowed).then(|| text.to_owned())
}

/// Base64, in which upper and lower case differ.
fn signal_group(text: &str) -> Option<String> {
    let id = strip(strip(text, "signal:"), "group:");
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_');
    ((16..=128).contains(&id.len()) && id.bytes().all(allowed)).then(|| id.to_owned())
}

fn discord_group(text: &str) -> Option<String> {
    let (server, channel) = text.split_once('/')?;
    let known = server == "@me" || is_snowflake(server);
    (known && is_snowflake(channel)).then(|| text.to_owned())
}

fn chat(text: &str) -> Option<String> {
    let (form, id) = text.split_once(':')?;
    let form = form.to_ascii_lowercase();
    let valid = match form.as_str() {
        "chat_id" => digits(id, 1..=18),
        "chat_guid" | "chat_identifier" => {
            (1..=200).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
        }
        _ => false,
    };
    valid.then(|| format!("{form}:{id}"))
}

#[cfg(test)]
mod tests;
