//! Whether a call that changes or sends something is the owner's: each argument by its kind, what stands in its content, and
//! what it does. It knows no tool by name and no text of a result. What it cannot place counts as a recipient.

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::{ArgumentKind, Effect, ToolFacts};
use serde_json::{Map, Value};

use super::entries::Entries;
use super::links;
use super::state::Flags;
use super::words::{self, Words};

/// Values of one call that say where it goes; nobody means more by one message.
const MAX_VALUES: usize = 256;
/// Reasons that are told.
const MAX_REASONS: usize = 12;
/// Characters of a value that are shown in a reason.
const SHOWN: usize = 80;
/// Longest address without a query of a host that the owner named, bytes: so much may leave with each.
const MAX_URL: usize = 64;

/// A value of a call's arguments.
struct Leaf<'a> {
    kind: ArgumentKind,
    /// Of an id.
    of: &'a str,
    text: String,
    number: Option<f64>,
}

/// Effect of a tool; one that does not say what it does sends something.
pub(super) fn effect(facts: &ToolFacts) -> Effect {
    match facts.effect() {
        Effect::Unspecified => Effect::Egress,
        known => known,
    }
}

/// Whether the owner named everything that a call was given, and it was given something.
pub(super) fn pointed(words: &Words, arguments: &Map<String, Value>) -> bool {
    let nothing = ToolFacts::default();
    let mut all = Vec::new();
    for value in arguments.values() {
        collect(value, "", &nothing, None, &mut all);
    }
    !all.is_empty() && all.len() <= MAX_VALUES && all.iter().all(|leaf| words.called(&leaf.text))
}

/// Why the owner has to be asked; nothing when the call is his.
pub(super) fn reasons(
    words: &Words,
    entries: &Entries,
    flags: Flags,
    facts: &ToolFacts,
    arguments: &Map<String, Value>,
) -> Vec<String> {
    let effect = effect(facts);
    if !flags.tainted || matches!(effect, Effect::Read | Effect::Confined) {
        return Vec::new();
    }
    let mut leaves = Vec::new();
    for (name, value) in arguments {
        let known = kind_of(facts, name);
        // A dot in a name is none of ours; an argument that nobody described routes.
        let known = known.filter(|_| !name.contains('.')).unwrap_or(UNKNOWN);
        collect(value, name, facts, Some(known), &mut leaves);
    }
    let content: Vec<&str> = of_kind(&leaves, ArgumentKind::Content).collect();
    let to: Vec<&str> = of_kind(&leaves, ArgumentKind::Recipient).collect();
    let scene = Scene {
        words,
        entries,
        dictated: !content.is_empty() && content.iter().all(|text| words.dictated(text)),
        to: &to,
    };
    let routing = leaves
        .iter()
        .filter(|leaf| !matches!(leaf.kind, ArgumentKind::Content | ArgumentKind::Free));
    let mut why = Vec::new();
    match routing.clone().count() > MAX_VALUES {
        true => why.push(format!("it names more than {MAX_VALUES} things")),
        false => why.extend(routing.filter_map(|leaf| scene.objection(leaf))),
    }
    let hosts = content.iter().flat_map(|text| links::hosts(text));
    let foreign = hosts.filter(|host| !words.host(host));
    why.extend(foreign.map(|host| format!("the link to {} is not from you", shown(&host))));
    let outward = effect == Effect::Egress
        || leaves
            .iter()
            .any(|leaf| matches!(leaf.kind, ArgumentKind::Recipient | ArgumentKind::Url));
    if flags.astray && outward && !content.iter().all(|text| words.dictated(text)) {
        why.push("it may repeat what was read elsewhere than where you said".to_owned());
    }
    if effect == Effect::Destroy {
        why.push("it cannot be undone".to_owned());
    }
    let mut told = Vec::new();
    for reason in why {
        if told.len() < MAX_REASONS && !told.contains(&reason) {
            told.push(reason);
        }
    }
    told
}

fn of_kind<'a>(leaves: &'a [Leaf<'_>], kind: ArgumentKind) -> impl Iterator<Item = &'a str> {
    leaves
        .iter()
        .filter(move |leaf| leaf.kind == kind)
        .map(|leaf| leaf.text.as_str())
}

const UNKNOWN: (ArgumentKind, &str) = (ArgumentKind::Recipient, "");

fn kind_of<'a>(facts: &'a ToolFacts, path: &str) -> Option<(ArgumentKind, &'a str)> {
    let fact = facts.arguments.iter().find(|fact| fact.name == path)?;
    match fact.kind() {
        ArgumentKind::Unspecified => None,
        kind => Some((kind, fact.r#type.as_str())),
    }
}

/// The values in an argument. A member of an object may be described by its path, `argument.member`; one that is not is of
/// the kind of what it stands in, and so is its name, which the model chose.
fn collect<'a>(
    value: &Value,
    path: &str,
    facts: &'a ToolFacts,
    kind: Option<(ArgumentKind, &'a str)>,
    all: &mut Vec<Leaf<'a>>,
) {
    let (own, of) = kind.unwrap_or(UNKNOWN);
    let mut leaf = |text: String, number| {
        all.push(Leaf {
            kind: own,
            of,
            text,
            number,
        });
    };
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => leaf(number.to_string(), number.as_f64()),
        Value::String(text) => leaf(text.clone(), text.trim().parse().ok()),
        Value::Array(items) => {
            for item in items {
                collect(item, path, facts, kind, all);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                let below = format!("{path}.{name}");
                let known = kind_of(facts, &below).filter(|_| !name.contains('.'));
                if known.is_none() && kind.is_some() {
                    all.push(Leaf {
                        kind: own,
                        of,
                        text: name.clone(),
                        number: None,
                    });
                }
                collect(value, &below, facts, known.or(kind), all);
            }
        }
    }
}

struct Scene<'a> {
    words: &'a Words,
    entries: &'a Entries,
    /// There is content, and all of it is in the owner's own words.
    dictated: bool,
    /// All recipients of the call.
    to: &'a [&'a str],
}

impl Scene<'_> {
    /// What is not the owner's about a value.
    fn objection(&self, leaf: &Leaf<'_>) -> Option<String> {
        let text = leaf.text.trim();
        let (words, entries) = (self.words, self.entries);
        let (fine, why) = match leaf.kind {
            ArgumentKind::Content | ArgumentKind::Free => return None,
            ArgumentKind::Command => (
                false,
                "it runs a command after something that others wrote was read".to_owned(),
            ),
            ArgumentKind::Id => (
                entries.meant_id(leaf.of, text)
                    || entries.part_id(leaf.of, text, words)
                    || text.chars().nth(7).is_some() && words.named(text),
                format!("you did not say which ({})", shown(text)),
            ),
            ArgumentKind::Url => (self.url(text), format!("you did not name {}", shown(text))),
            ArgumentKind::Path => (
                words.called(text),
                format!("\u{201c}{}\u{201d} is not what you called it", shown(text)),
            ),
            ArgumentKind::Value => (
                self.value(text),
                format!("\u{201c}{}\u{201d} is not from you", shown(text)),
            ),
            ArgumentKind::Amount => (
                leaf.number.and_then(words::cents).is_some_and(|amount| {
                    words.number(amount) || entries.amount(amount, self.to, words)
                }),
                format!(
                    "{} is no amount that you or your own records name",
                    shown(text)
                ),
            ),
            ArgumentKind::Recipient | ArgumentKind::Unspecified => (
                self.recipient(text),
                format!("you did not name {}", shown(text)),
            ),
        };
        (!fine).then_some(why)
    }

    fn recipient(&self, text: &str) -> bool {
        let (words, entries) = (self.words, self.entries);
        let member = entries.is_member(text);
        text.chars().nth(2).is_some() && words.named(text) && (member || words.distinct(text))
            || entries.meant_recipient(text)
            || member && (self.dictated || entries.member_said(text, words))
    }

    fn url(&self, text: &str) -> bool {
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
        let place = links::authority(bare);
        let plain = !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\')
            && !place.contains(|c: char| !(c.is_alphanumeric() || ".-_:".contains(c)));
        let host = links::host_of(place).map(|host| host.to_lowercase());
        let short = text.len() <= MAX_URL && !text.contains(['?', '#']);
        plain
            && host.is_some_and(|host| self.words.host(&host))
            && (short || self.words.named(bare) || self.words.named(text))
    }

    /// A setting that takes the place of another: any word of a sentence could be one, so it has to look like one.
    fn value(&self, text: &str) -> bool {
        let words = self.words;
        let telling = text.chars().nth(3).is_some() && text.contains(|c: char| c.is_ascii_digit());
        (words.quoted(text) || telling) && (words.named(text) || words.phrase(&words::fold(text)))
    }
}

fn shown(text: &str) -> String {
    let line = sanitize_line(text);
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}\u{2026}", &line[..end]),
        None => line.into_owned(),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
