//! Where a setting stands in the configuration: `gateway.port`, `agents.list[0].id`,
//! `agents.defaults.models["ollama/llama3.1"].alias`. Refuses texts that are no such path.

use std::fmt;
use std::str::FromStr;

use clawdbot_identity::text::is_deceptive;

/// One step of a [`ConfigPath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A key of an object.
    Key(String),
    /// A position in an array, from 0.
    Index(usize),
}

/// The keys and positions from the top of the configuration to one setting.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigPath(Vec<Segment>);

/// A text that is not a configuration path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a configuration path; write it like gateway.port, agents.list[0].id or models.providers[\"x.y\"].api"
)]
pub struct PathError;

impl ConfigPath {
    /// The steps, outermost first.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether this is the whole configuration.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The setting below this one.
    #[must_use]
    pub fn join(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.push_key(key);
        path
    }

    pub(crate) fn push_key(&mut self, key: &str) {
        self.0.push(Segment::Key(key.to_owned()));
    }

    pub(crate) fn push_index(&mut self, index: usize) {
        self.0.push(Segment::Index(index));
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }

    pub(crate) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The outermost key.
    pub(crate) fn top(&self) -> Option<&str> {
        match self.0.first()? {
            Segment::Key(key) => Some(key),
            Segment::Index(_) => None,
        }
    }

    pub(crate) fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$' | '*' | '+')
}

impl From<Vec<Segment>> for ConfigPath {
    fn from(steps: Vec<Segment>) -> Self {
        Self(steps)
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if !key.is_empty() && key.chars().all(is_plain) => {
                    let dot = if position == 0 { "" } else { "." };
                    write!(f, "{dot}{key}")?;
                }
                Segment::Key(key) => {
                    f.write_str("[\"")?;
                    for c in key.chars() {
                        match c {
                            '\\' | '"' => write!(f, "\\{c}")?,
                            c if is_deceptive(c) => write!(f, "{}", c.escape_unicode())?,
                            c => write!(f, "{c}")?,
                        }
                    }
                    f.write_str("\"]")?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for ConfigPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let mut path = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix("[\"") {
                let (key, after) = quoted(inside).ok_or(PathError)?;
                path.0.push(Segment::Key(key));
                rest = after;
            } else if let Some(inside) = rest.strip_prefix('[') {
                let (index, after) = inside.split_once(']').ok_or(PathError)?;
                path.push_index(index.parse().map_err(|_| PathError)?);
                rest = after;
            } else {
                let key = match path.is_empty() {
                    true => rest,
                    false => rest.strip_prefix('.').ok_or(PathError)?,
                };
                let length = key.find(['.', '[']).unwrap_or(key.len());
                if length == 0 || !key[..length].chars().all(|c| is_plain(c) || c == '/') {
                    return Err(PathError);
                }
                path.push_key(&key[..length]);
                rest = &key[length..];
            }
        }
        Ok(path)
    }
}

/// Reads up to `"]`, with `\"` and `\\` standing for the characters themselves and `\u{a}` for that with this number.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((key, text[at..].strip_prefix("\"]")?)),
            '\\' => match chars.next()? {
                (at, 'u') if text[at..].starts_with("u{") => {
                    let digits = chars.by_ref().skip(1).map(|(_, c)| c);
                    let digits: String = digits.take_while(|c| *c != '}').collect();
                    let number = u32::from_str_radix(&digits, 16).ok()?;
                    key.push(char::from_u32(number)?);
                }
                (_, c) => key.push(c),
            },
            c => key.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_as_it_is_shown() {
        for text in [
            "gateway.port",
            "agents.list[0].id",
            "agents.defaults.models[\"ollama/llama3.1\"].alias",
            "channels.telegram.groups.*.requireMention",
            "channels.telegram.groups.-100123.tools",
            "x[\"a\\\"b\\\\c\"].y",
            "x[\"a\\u{0}b\\u{202e}\\u{a}\"].y",
            "[\"x.y\"].z",
            "",
        ] {
            let path: ConfigPath = text.parse().unwrap();
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            ".", "a..b", ".a", "a.", "a[", "a[x]", "a[\"b", "a[\"b\"c", "a[0]b", "a b",
        ] {
            assert_eq!(text.parse::<ConfigPath>(), Err(PathError), "{text}");
        }
    }
}
