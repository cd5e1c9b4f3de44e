//! Ids and other words. What is taken has one spelling, which is taken again and stays below its length; what is made safe
//! to show is safe, and making it safe again changes nothing.

use std::str::FromStr;

use clawdbot_channel::{utf16_len, utf16_to_byte};
use clawdbot_config::ConfigPath;
use clawdbot_gateway::fuzzing::form_field;
use clawdbot_http::BaseUrl;
use clawdbot_identity::text::{is_deceptive, sanitize_block, sanitize_line};
use clawdbot_identity::{
    AgentId, Class, Destination, Handle, HostName, InstanceName, MessageId, ModelRef, ProviderId,
    Role, SessionKey, ToolName, TurnId, workspace,
};
use clawdbot_secrets::{Secret, hex, redact};

/// A word as it is written again.
type Parse = fn(&str) -> Option<String>;

/// Every parser of a word, and the bytes that its longest may have.
const PARSERS: &[(Parse, usize)] = &[
    (
        |text| SessionKey::parse(text).ok().map(|key| whole_key(&key)),
        512,
    ),
    (
        |text| {
            Handle::parse(text)
                .ok()
                .map(|handle| handle.as_str().to_owned())
        },
        1024,
    ),
    (shown::<AgentId>, 64),
    (shown::<ProviderId>, 32),
    (shown::<InstanceName>, 32),
    (shown::<ToolName>, 64),
    (shown::<MessageId>, 128),
    (shown::<TurnId>, 128),
    (shown::<HostName>, 253),
    (shown::<Destination>, 259),
    (shown::<ModelRef>, 233),
    (shown::<Role>, 64),
    (
        |text| {
            Class::parse(text)
                .ok()
                .map(|class| class.as_str().to_owned())
        },
        5,
    ),
    (shown::<ConfigPath>, 1 << 20),
];

/// Any text.
pub fn words(bytes: &[u8]) -> bool {
    text(bytes);
    form(bytes) & names(bytes)
}

/// One word in all its readings.
fn names(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let mut taken = false;
    for (number, (parse, longest)) in PARSERS.iter().enumerate() {
        let Some(word) = parse(text) else { continue };
        taken |= !word.is_empty();
        assert!(word.len() <= *longest, "{number}: {}", word.len());
        assert_eq!(parse(&word).as_ref(), Some(&word), "{number}");
        // Paths of the configuration may quote a key that is anything.
        let path = *longest == 1 << 20;
        assert!(path || !word.chars().any(|c| is_deceptive(c) || c.is_whitespace()));
    }
    if let Ok(destination) = Destination::parse(text) {
        let host = destination.host();
        assert!(destination.port() > 0);
        assert_eq!(
            host.ip().is_none(),
            host.as_str().parse::<std::net::IpAddr>().is_err()
        );
    }
    if let Ok(url) = BaseUrl::parse(text) {
        taken = true;
        let scheme = if url.tls() { "https" } else { "http" };
        let same = format!("{scheme}://{}", url.destination());
        assert_eq!(
            BaseUrl::parse(&same)
                .map(|same| same.destination().clone())
                .as_ref(),
            Ok(url.destination())
        );
    }
    for class in Class::ALL {
        let folder = workspace(text, "/home/ann", class);
        assert_eq!(
            class == Class::Guest,
            folder.ends_with("-guest") && folder != workspace(text, "/home/ann", Class::Main)
        );
    }
    taken
}

fn shown<T: FromStr + ToString>(text: &str) -> Option<String> {
    T::from_str(text).ok().map(|name| name.to_string())
}

fn whole_key(key: &SessionKey) -> String {
    let whole = format!("agent:{}:{}", key.agent(), key.rest());
    assert_eq!(whole, key.as_str());
    whole
}

/// A field of a form (WHATWG URL): what has no `%` and no `+` is itself, and what was encoded comes back.
fn form(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let encoded: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(form_field(&encoded).as_deref(), Some(text));
    let decoded = form_field(text);
    if !text.contains(['%', '+']) {
        assert_eq!(decoded.as_deref(), Some(text));
    }
    assert!(
        decoded
            .as_ref()
            .is_none_or(|decoded| decoded.len() <= text.len())
    );
    decoded.is_some()
}

/// Text that is shown, counted or blanked.
fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let line = sanitize_line(&text);
    assert!(!line.chars().any(is_deceptive));
    assert_eq!(sanitize_line(&line), line);
    let block = sanitize_block(&text);
    assert!(
        !block
            .chars()
            .any(|c| is_deceptive(c) && !matches!(c, '\n' | '\t'))
    );
    assert_eq!(sanitize_block(&block), block);
    assert!(line.len() <= 10 * text.len() && block.len() <= 10 * text.len());
    units(&text);
    let digits = hex::encode(bytes);
    assert_eq!(
        hex::decode(digits.as_bytes()).as_deref().map(Vec::as_slice),
        Some(bytes)
    );
    blanks(bytes);
}

/// Telegram's offsets, against the encoding itself.
fn units(text: &str) {
    let encoded: Vec<u16> = text.encode_utf16().collect();
    assert_eq!(utf16_len(text), encoded.len());
    for offset in [0, 1, encoded.len() / 2, encoded.len(), encoded.len() + 1] {
        let wanted = encoded
            .get(..offset)
            .and_then(|units| String::from_utf16(units).ok());
        assert_eq!(
            utf16_to_byte(text, offset),
            wanted.map(|before| before.len()),
            "{offset}"
        );
    }
}

/// The first bytes are the secret, the rest is what holds it.
fn blanks(bytes: &[u8]) {
    let Some((secret, text)) = bytes.split_at_checked(8) else {
        return;
    };
    let Ok(key) = Secret::new(secret.to_vec().into()) else {
        return;
    };
    let shown = redact::bytes(text, &[&key]);
    let holds = |text: &[u8]| text.windows(8).any(|part| part == secret);
    if !holds(text) {
        assert_eq!(shown, text);
    } else if !b"[secret]".windows(8).any(|part| part == secret) {
        assert!(shown.windows(8).filter(|part| *part == b"[secret]").count() > 0);
    }
}
