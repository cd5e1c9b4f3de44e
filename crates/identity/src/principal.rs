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
mod tests {
    use super::*;

    const UUID: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

    fn canonical(result: Result<Principal, IdError>) -> String {
        result.map_or_else(|_| "refused".to_owned(), |found| found.to_string())
    }

    #[test]
    fn what_people_write_has_one_canonical_form() {
        let aci = format!("signal:aci:{UUID}");
        for (channel, text, expected) in [
            (
                "whatsapp",
                "+1 (555) 555-0100",
                "whatsapp:e164:+15555550100",
            ),
            (
                "whatsapp",
                "whatsapp:+1.555.555.0100",
                "whatsapp:e164:+15555550100",
            ),
            ("whatsapp", "tel:+15555550100", "whatsapp:e164:+15555550100"),
            ("whatsapp", "+0987654321", "whatsapp:e164:+0987654321"),
            ("whatsapp", "0151 1234567", "whatsapp:number:01511234567"),
            (
                "whatsapp",
                "0049 151 1234567",
                "whatsapp:number:00491511234567",
            ),
            ("whatsapp", "123@lid", "whatsapp:lid:123"),
            ("whatsapp", "lid:123", "whatsapp:lid:123"),
            ("whatsapp", "US.aB3", "whatsapp:bsuid:US.aB3"),
            ("whatsapp", "+1555", "refused"),
            ("whatsapp", "+1234567890123456", "refused"),
            ("whatsapp", "@name", "refused"),
            ("whatsapp", "uuid:1", "refused"),
            ("telegram", "TG:123", "telegram:id:123"),
            ("telegram", "telegram:id:123", "telegram:id:123"),
            ("telegram", " @UserName ", "telegram:user:username"),
            ("telegram", "user:username", "telegram:user:username"),
            ("telegram", "0123", "refused"),
            ("telegram", "-123", "refused"),
            ("telegram", "12345678901234567", "refused"),
            ("telegram", "@x", "refused"),
            ("telegram", "+15555550100", "refused"),
            (
                "discord",
                "<@!123456789012345678>",
                "discord:id:123456789012345678",
            ),
            (
                "discord",
                "user:123456789012345678",
                "discord:id:123456789012345678",
            ),
            ("discord", "Some.Body", "discord:user:some.body"),
            ("discord", "Some#1234", "discord:user:some#1234"),
            ("discord", "1234", "refused"),
            ("discord", "two words", "refused"),
            ("signal", "signal:+15555550100", "signal:e164:+15555550100"),
            ("signal", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", &aci),
            ("signal", "uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", &aci),
            ("signal", "somebody", "refused"),
            (
                "imessage",
                "imessage:Me@Example.org",
                "imessage:email:me@example.org",
            ),
            ("imessage", "Chat_ID:12", "imessage:chat:chat_id:12"),
            (
                "imessage",
                "chat_guid:iMessage;+;chat1",
                "imessage:chat:chat_guid:iMessage;+;chat1",
            ),
            ("imessage", "chat_id:x", "refused"),
            (
                "bluebubbles",
                "sms:+15555550100",
                "bluebubbles:e164:+15555550100",
            ),
            ("matrix", "@a:b", "refused"),
        ] {
            assert_eq!(
                canonical(Principal::listed(channel, text)),
                expected,
                "{channel} {text}"
            );
        }
    }

    #[test]
    fn every_form_is_read_back_as_itself() {
        for (channel, text) in [
            ("whatsapp", "+15555550100"),
            ("whatsapp", "lid:123"),
            ("whatsapp", "US.aB3"),
            ("whatsapp", "01511234567"),
            ("telegram", "123"),
            ("telegram", "@username"),
            ("discord", "123456789012345678"),
            ("discord", "some.body"),
            ("signal", UUID),
            ("imessage", "a@b.example"),
            ("imessage", "chat_identifier:chat8"),
        ] {
            let principal = Principal::listed(channel, text).unwrap();
            let shown = principal.to_string();
            for spelling in [principal.form(), shown] {
                let again = Principal::listed(channel, &spelling);
                assert_eq!(again.as_ref(), Ok(&principal), "{channel} {spelling}");
            }
            let named = Principal::wire(channel, &principal.form());
            assert_eq!(
                named.is_ok(),
                principal.kind().is_person(),
                "{channel} {text}"
            );
            assert!(named.is_err() || named == Ok(principal));
        }
    }

    #[test]
    fn the_wires_own_spellings_mean_the_same_person_and_never_a_name() {
        for (channel, text, expected) in [
            ("whatsapp", "15555550100", "whatsapp:e164:+15555550100"),
            (
                "whatsapp",
                "15555550100:7@s.whatsapp.net",
                "whatsapp:e164:+15555550100",
            ),
            ("whatsapp", "99:7@lid", "whatsapp:lid:99"),
            ("whatsapp", "15555550100@evil.example", "refused"),
            ("whatsapp", "120363000000000000@g.us", "refused"),
            ("telegram", "-1001234567890", "telegram:id:-1001234567890"),
            ("telegram", "@username", "refused"),
            ("telegram", "", "refused"),
            ("discord", "some.body", "refused"),
            (
                "signal",
                UUID,
                "signal:aci:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            ),
            ("signal", "01511234567", "refused"),
            ("imessage", "chat_id:12", "refused"),
            ("imessage", "262966", "refused"),
        ] {
            assert_eq!(
                canonical(Principal::wire(channel, text)),
                expected,
                "{channel} {text}"
            );
        }
    }

    #[test]
    fn look_alikes_and_endless_texts_are_nobody() {
        for (channel, text) in [
            ("telegram", "@usеrname"),
            ("telegram", "１２３"),
            ("telegram", "@user\u{200b}name"),
            ("discord", "sоme.body"),
            ("whatsapp", "+1555555０100"),
            ("whatsapp", "+1\u{a0}5555550100"),
            ("imessage", "me@exаmple.org"),
            ("signal", "＋15555550100"),
        ] {
            assert!(
                Principal::listed(channel, text).is_err(),
                "{channel} {text}"
            );
            assert!(Principal::wire(channel, text).is_err(), "{channel} {text}");
        }
        let long = format!("{}@example.org", "a".repeat(MAX));
        assert!(Principal::listed("imessage", &long).is_err());
        assert!(group("signal", &"a".repeat(MAX + 1)).is_err());
    }

    #[test]
    fn numbers_that_cannot_be_anybodys_say_why() {
        for (text, why) in [
            ("+15555550100", None),
            ("+0987654321", Some("no country code")),
            ("004915112345678", Some("00")),
            ("015112345678", Some("has no +")),
        ] {
            let doubt = Principal::listed("whatsapp", text).unwrap().doubt();
            assert_eq!(doubt.is_some(), why.is_some(), "{text}");
            assert!(
                doubt.unwrap_or_default().contains(why.unwrap_or_default()),
                "{text}"
            );
        }
    }

    #[test]
    fn groups_have_one_spelling_too() {
        for (channel, text, expected) in [
            ("telegram", "-1001234567890", Some("-1001234567890")),
            ("telegram", "chat", None),
            (
                "whatsapp",
                "120363000000000000@g.us",
                Some("120363000000000000@g.us"),
            ),
            ("whatsapp", "120363000000000000", None),
            (
                "signal",
                "signal:group:AbCdEfGh+/123456==",
                Some("AbCdEfGh+/123456=="),
            ),
            ("signal", "AbCdEfGh+/123456==", Some("AbCdEfGh+/123456==")),
            ("signal", "short", None),
            ("signal", "AbCdEfGh:dm:12345678", None),
            (
                "discord",
                "123456789012345678/223456789012345678",
                Some("123456789012345678/223456789012345678"),
            ),
            (
                "discord",
                "@me/223456789012345678",
                Some("@me/223456789012345678"),
            ),
            ("discord", "general/223456789012345678", None),
            ("discord", "223456789012345678", None),
            ("imessage", "12", Some("chat_id:12")),
            ("bluebubbles", "CHAT_GUID:x", Some("chat_guid:x")),
            ("slack", "C1", None),
        ] {
            assert_eq!(
                group(channel, text).ok().as_deref(),
                expected,
                "{channel} {text}"
            );
        }
        assert!(is_thread("telegram", "7") && !is_thread("telegram", "x"));
        assert!(is_thread("discord", "123456789012345678") && !is_thread("signal", "7"));
    }
}
