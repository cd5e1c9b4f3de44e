//! What the owner wrote in a session, and whether a value stands in it. Everything is literal: no normal forms, no likeness,
//! so that a look-alike, another spelling or a longer token is simply not what he named.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::links;

/// Text that is kept of a session, bytes; the newest.
const MAX: usize = 32 << 10;
/// Messages.
const MAX_MESSAGES: usize = 1024;
/// What may stand around something that is meant word for word.
const QUOTES: &[(&str, &str)] = &[
    ("'", "'"),
    ("\"", "\""),
    ("`", "`"),
    ("\u{201c}", "\u{201d}"),
    ("\u{2018}", "\u{2019}"),
];
/// The owner's words in one session. Each message is read once: a long session's next message costs what it says itself.
#[derive(Default)]
pub(super) struct Words {
    messages: VecDeque<Message>,
    size: usize,
    /// How often each stands there.
    tokens: HashMap<String, usize>,
}

struct Message {
    raw: String,
    lower: String,
    folded: String,
    hosts: BTreeSet<String>,
    numbers: BTreeSet<i64>,
}

impl Message {
    fn read(text: &str) -> Self {
        Self {
            raw: text.to_owned(),
            lower: text.to_lowercase(),
            folded: fold(text),
            hosts: links::meant(text),
            numbers: numbers(text),
        }
    }
}

impl Words {
    /// Takes a message. One that comes a second time, since its answer was lost, is the same message.
    pub(super) fn add(&mut self, text: &str) {
        let start = text.ceil_char_boundary(text.len().saturating_sub(MAX));
        let text = &text[start..];
        if text.trim().is_empty() || self.messages.back().is_some_and(|last| last.raw == text) {
            return;
        }
        let message = Message::read(text);
        for word in message.folded.split(' ') {
            *self.tokens.entry(word.to_owned()).or_default() += 1;
        }
        self.size += message.raw.len();
        self.messages.push_back(message);
        while (self.size > MAX || self.messages.len() > MAX_MESSAGES)
            && let Some(oldest) = self.messages.pop_front()
        {
            self.size -= oldest.raw.len();
            for word in oldest.folded.split(' ') {
                let last = self.tokens.get_mut(word).is_none_or(|count| {
                    *count -= 1;
                    *count == 0
                });
                if last {
                    self.tokens.remove(word);
                }
            }
        }
    }

    /// About how much memory it takes, bytes.
    pub(super) fn size(&self) -> usize {
        // The text, three times changed, and the set of its words.
        self.size * 8 + self.messages.len() * 256
    }

    fn any(&self, is: impl Fn(&Message) -> bool) -> bool {
        self.messages.iter().any(is)
    }

    /// Whether a value stands there as it is, and not as a part of a longer token.
    pub(super) fn named(&self, value: &str) -> bool {
        let value = value.trim().to_lowercase();
        let whole = |message: &Message| {
            let mut found = message.lower.match_indices(&value);
            found.any(|(at, _)| is_whole(&message.lower, at, at + value.len()))
        };
        !value.is_empty() && self.any(whole)
    }

    /// Whether a folded text stands there as a phrase.
    pub(super) fn phrase(&self, folded: &str) -> bool {
        self.any(|message| contains_phrase(&message.folded, folded))
    }

    /// Whether a folded word stands there.
    pub(super) fn word(&self, word: &str) -> bool {
        self.tokens.contains_key(word)
    }

    /// Whether a value stands there between two signs.
    fn between(&self, value: &str, (open, close): (&str, &str)) -> bool {
        let whole = format!("{open}{value}{close}");
        self.any(|message| message.raw.contains(&whole))
    }

    /// Whether a value stands there between quotation marks.
    pub(super) fn quoted(&self, value: &str) -> bool {
        !value.is_empty() && QUOTES.iter().any(|signs| self.between(value, *signs))
    }

    /// Whether the owner can only have meant a name by it: there are digits or signs in it, or it stands in quotes or
    /// brackets, or he wrote it as a proper noun elsewhere than where a sentence begins. Otherwise each word of his would
    /// be somebody's name as soon as somebody calls himself so.
    pub(super) fn distinct(&self, value: &str) -> bool {
        let plain = value
            .chars()
            .all(|c| c.is_alphabetic() || c.is_whitespace());
        if !plain || self.quoted(value) || self.between(value, ("(", ")")) {
            return true;
        }
        let proper = value
            .split_whitespace()
            .all(|word| word.starts_with(char::is_uppercase));
        let within = |raw: &str| {
            raw.match_indices(value).any(|(at, _)| {
                let (before, after) = (&raw[..at], &raw[at + value.len()..]);
                let left = before.trim_end_matches([' ', '\t']);
                left.len() < before.len()
                    && !left.is_empty()
                    && !left.ends_with(['.', '!', '?', ':', '\n', '\r'])
                    && !after.starts_with(is_word)
            })
        };
        proper && self.any(|message| within(&message.raw))
    }

    /// Whether a name that people use is there: as it is, or by its words, with or without a file's ending.
    pub(super) fn called(&self, value: &str) -> bool {
        let folded = fold(value);
        if folded.chars().count() < 3 {
            return false;
        }
        // What leads elsewhere is named as it is or not at all.
        let leads = value.contains(['/', '\\']) || value.contains("..");
        self.named(value) || !leads && (self.phrase(&folded) || self.phrase(&fold(bare(value))))
    }

    /// Whether all of a text that says something is in the owner's own words; those of up to three characters join them.
    pub(super) fn dictated(&self, text: &str) -> bool {
        fold(text)
            .split(' ')
            .all(|word| word.chars().nth(3).is_none() || self.word(word))
    }

    pub(super) fn host(&self, host: &str) -> bool {
        self.any(|message| message.hosts.contains(host))
    }

    pub(super) fn number(&self, cents: i64) -> bool {
        self.any(|message| message.numbers.contains(&cents))
    }
}

/// Lower case, runs of letters and digits, one space between them.
pub(super) fn fold(text: &str) -> String {
    let lower = text.to_lowercase();
    let runs = lower.split(|c: char| !c.is_alphanumeric());
    runs.filter(|run| !run.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether a phrase stands in a folded text on the borders of words.
pub(super) fn contains_phrase(text: &str, phrase: &str) -> bool {
    let end = |at: usize, c: Option<char>| at == 0 || c.is_none_or(|c| c == ' ');
    !phrase.is_empty()
        && text.match_indices(phrase).any(|(at, _)| {
            end(at, text[..at].chars().next_back())
                && text[at + phrase.len()..]
                    .chars()
                    .next()
                    .is_none_or(|c| c == ' ')
        })
}

/// A file's name without its ending.
pub(super) fn bare(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, end))
            if (1..=5).contains(&end.len()) && end.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            stem
        }
        _ => name,
    }
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether what stands between two places is a token of its own. A dot ends one only where nothing is joined to it.
fn is_whole(text: &str, start: usize, end: usize) -> bool {
    let joins = |c: char| is_word(c) || matches!(c, '@' | '+' | '-');
    let before = text[..start].chars().next_back();
    let mut after = text[end..].chars();
    let next = after.next();
    let dotted = next == Some('.') && after.next().is_some_and(is_word);
    let joined = before.is_some_and(|c| joins(c) || c == '.') || next.is_some_and(joins);
    !joined && !dotted
}

/// A number in hundredths, so that equal amounts are equal; none for what no amount is.
pub(super) fn cents(number: f64) -> Option<i64> {
    let cents = (number * 100.0).round();
    #[allow(clippy::cast_possible_truncation)] // Far below 2^53.
    (cents.abs() < 1e15).then_some(cents as i64)
}

/// The numbers in a text; commas may stand between digits.
pub(super) fn numbers(text: &str) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[start..];
        let whole = rest
            .find(|c: char| !c.is_ascii_digit() && c != ',')
            .unwrap_or(rest.len());
        let mut digits = rest[..whole].replace(',', "");
        rest = &rest[whole..];
        let part = rest.strip_prefix('.').unwrap_or("");
        let length = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        if length > 0 {
            digits = format!("{digits}.{}", &part[..length]);
            rest = &part[length..];
        }
        found.extend(digits.parse().ok().and_then(cents));
    }
    found
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
