//! Writes new values the way the file is written: its quotes, its indentation, its line ends, commas at the end or not.

use super::{Source, splice};
use crate::json5::{Node, Value};

use clawdbot_identity::text::is_deceptive;

/// How a file is written.
#[derive(Clone)]
pub(super) struct Style {
    /// One step of indentation.
    pub unit: String,
    pub newline: &'static str,
    /// The last member of several lines has a comma, too.
    pub trailing: bool,
    quote: char,
    quoted_keys: bool,
}

impl Style {
    /// Longest object or array in one line.
    pub const WIDTH: usize = 80;

    pub fn of(text: &str, root: &Node) -> Self {
        let mut seen = Seen::default();
        seen.look(text, root);
        let quoted_keys = seen.quoted_keys.unwrap_or(false);
        Self {
            unit: seen.unit.unwrap_or_else(|| "  ".to_owned()),
            newline: if text.contains("\r\n") { "\r\n" } else { "\n" },
            trailing: seen.trailing.unwrap_or(!quoted_keys),
            quote: seen.quote.unwrap_or('"'),
            quoted_keys,
        }
    }

    /// The same where a value or an object of its own habits stands.
    pub fn at(&self, text: &str, node: &Node) -> Self {
        let mut seen = Seen::default();
        seen.look(text, node);
        Self {
            quote: seen.quote.unwrap_or(self.quote),
            quoted_keys: seen.quoted_keys.unwrap_or(self.quoted_keys),
            ..self.clone()
        }
    }

    pub fn key(&self, key: &str) -> String {
        let mut chars = key.chars();
        let plain = chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '$'))
            && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'));
        match plain && !self.quoted_keys {
            true => key.to_owned(),
            false => quote(key, self.quote),
        }
    }

    pub fn member(&self, key: &str, value: &Source, indent: &str) -> String {
        format!("{}: {}", self.key(key), self.value(value, indent))
    }

    /// A value that begins in a line with this indentation.
    pub fn value(&self, value: &Source, indent: &str) -> String {
        let line = self.line(value.text, value.node);
        let parts: Vec<_> = match &value.node.value {
            _ if line.len() + indent.len() <= Self::WIDTH => return line,
            Value::Array(items) => items.iter().map(|node| (None, node)).collect(),
            Value::Object(object) => {
                let members = object.0.iter();
                members.map(|m| (Some(m.key.as_str()), &m.node)).collect()
            }
            _ => return line,
        };
        let deeper = format!("{indent}{}", self.unit);
        let parts = parts.into_iter().map(|(key, node)| {
            let value = Source { node, ..*value };
            match key {
                Some(key) => self.member(key, &value, &deeper),
                None => self.value(&value, &deeper),
            }
        });
        let parts: Vec<_> = parts.collect();
        let newline = self.newline;
        let inside = parts.join(&format!(",{newline}{deeper}"));
        let comma = if self.trailing { "," } else { "" };
        let (open, close) = match value.node.value {
            Value::Array(_) => ('[', ']'),
            _ => ('{', '}'),
        };
        format!("{open}{newline}{deeper}{inside}{comma}{newline}{indent}{close}")
    }

    /// A value in one line.
    fn line(&self, text: &str, node: &Node) -> String {
        match &node.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            // As it was typed: no digit gets lost.
            Value::Number { .. } => text[node.span.start..node.span.end].to_owned(),
            Value::String(text) => quote(text, self.quote),
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.line(text, item)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Object(object) if object.0.is_empty() => "{}".to_owned(),
            Value::Object(object) => {
                let members = object.0.iter();
                let members: Vec<_> = members
                    .map(|m| format!("{}: {}", self.key(&m.key), self.line(text, &m.node)))
                    .collect();
                format!("{{ {} }}", members.join(", "))
            }
        }
    }
}

/// A text as JSON5, with everything escaped that could be taken for something else.
pub(crate) fn in_quotes(text: &str) -> String {
    quote(text, '"')
}

/// A text in quotes, with everything escaped that could be taken for something else.
pub(super) fn quote(text: &str, quote: char) -> String {
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c == quote || c == '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if is_deceptive(c) || matches!(c, '\u{2028}' | '\u{2029}') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// What was seen of the habits of a text, each the first time.
#[derive(Default)]
struct Seen {
    unit: Option<String>,
    trailing: Option<bool>,
    quote: Option<char>,
    quoted_keys: Option<bool>,
}

impl Seen {
    fn look(&mut self, text: &str, node: &Node) {
        let quote_at = |at: usize| {
            text[at..]
                .chars()
                .next()
                .filter(|c| matches!(c, '"' | '\''))
        };
        let outer = splice::indent(text, node.span.start);
        let mut around = |items: Vec<crate::problem::Span>| {
            let (Some(first), Some(last)) = (items.first(), items.last()) else {
                return;
            };
            if splice::is_first(text, first.start) {
                let own = splice::indent(text, first.start).strip_prefix(outer);
                let own = own.filter(|own| !own.is_empty());
                self.unit = self.unit.take().or(own.map(str::to_owned));
                let comma = splice::ends_with_comma(text, *last);
                self.trailing = self.trailing.or(Some(comma));
            }
        };
        match &node.value {
            Value::String(_) => self.quote = self.quote.or(quote_at(node.span.start)),
            Value::Array(items) => {
                around(items.iter().map(|item| item.span).collect());
                for item in items {
                    self.look(text, item);
                }
            }
            Value::Object(object) => {
                around(object.0.iter().map(splice::item).collect());
                for member in &object.0 {
                    let quote = quote_at(member.key_span.start);
                    self.quoted_keys = self.quoted_keys.or(Some(quote.is_some()));
                    self.quote = self.quote.or(quote);
                    self.look(text, &member.node);
                }
            }
            _ => {}
        }
    }
}
