//! JSON5 into a tree in which every value and key keeps its place in the file, so that any later check can point at it.
//! Refuses more than [`MAX_DEPTH`] levels, keys that are set twice, and everything that json5.org's grammar refuses.
//! Own, because a serde parser stops at the first schema error and forgets where the accepted values stood.

use clawdbot_identity::text::sanitize_line;
use zeroize::Zeroizing;

use crate::problem::{Problem, Span};

mod number;
mod string;

/// Levels of objects and arrays; the schema itself needs ten.
pub(crate) const MAX_DEPTH: usize = 64;

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct Node {
    pub span: Span,
    pub value: Value,
}

/// What a value is. Strings are wiped when dropped, since any of them may be a secret.
#[derive(Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// `integer` is exact, also where a double is not (chat ids).
    Number {
        float: f64,
        integer: Option<i64>,
    },
    String(Zeroizing<String>),
    Array(Vec<Node>),
    Object(Object),
}

/// The members of an object in the order of the file; no key occurs twice.
#[derive(Clone, Default)]
pub(crate) struct Object(pub Vec<Member>);

#[derive(Clone)]
pub(crate) struct Member {
    pub key: String,
    pub key_span: Span,
    pub node: Node,
}

impl Object {
    pub fn get(&self, key: &str) -> Option<&Member> {
        self.0.iter().find(|member| member.key == key)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Member> {
        self.0.iter_mut().find(|member| member.key == key)
    }

    pub fn remove(&mut self, key: &str) -> Option<Member> {
        let index = self.0.iter().position(|member| member.key == key)?;
        Some(self.0.remove(index))
    }

    pub fn object_mut(&mut self, key: &str) -> Option<&mut Object> {
        match &mut self.get_mut(key)?.node.value {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }
}

/// A parsed file: its one value, and the keys that are set twice (the first one counts).
pub(crate) struct Parsed {
    pub root: Node,
    pub duplicates: Vec<Problem>,
}

/// Parses a whole file.
pub(crate) fn parse(text: &str) -> Result<Parsed, Problem> {
    let mut parser = Parser {
        text,
        at: 0,
        open: 0,
        duplicates: Vec::new(),
    };
    parser.blank()?;
    if parser.peek().is_none() {
        let problem = Problem::at(parser.here(), "the file is empty");
        return Err(problem.help("write {} to get all defaults, or remove the file"));
    }
    let root = parser.value()?;
    parser.blank()?;
    match parser.peek() {
        None => Ok(Parsed {
            root,
            duplicates: parser.duplicates,
        }),
        Some(_) => Err(parser.unexpected("the end of the file")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    open: usize,
    duplicates: Vec<Problem>,
}

type Step<T> = Result<T, Problem>;

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    /// The next character, or the empty place at the end of the file.
    fn here(&self) -> Span {
        Span::new(self.at, self.at + self.peek().map_or(0, char::len_utf8))
    }

    fn since(&self, start: usize) -> Span {
        Span::new(start, self.at)
    }

    fn unexpected(&self, wanted: &str) -> Problem {
        let found = match self.peek() {
            None => "the end of the file".to_owned(),
            Some(c) => format!("`{}`", sanitize_line(c.encode_utf8(&mut [0; 4]))),
        };
        Problem::at(self.here(), format!("expected {wanted}, found {found}"))
    }

    /// Skips white space and comments.
    fn blank(&mut self) -> Step<()> {
        loop {
            let rest = self.rest();
            if rest.starts_with("//") {
                self.at += rest.find(is_line_end).unwrap_or(rest.len());
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let Some(length) = comment.find("*/") else {
                    let span = Span::new(self.at, self.at + 2);
                    return Err(
                        Problem::at(span, "this comment is never closed").help("close it with */")
                    );
                };
                self.at += length + 4;
            } else if self.peek().is_some_and(is_blank) {
                self.next();
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self) -> Step<Node> {
        let start = self.at;
        let value = match self.peek() {
            Some('{') => self.nested(Self::object)?,
            Some('[') => self.nested(Self::array)?,
            Some('"' | '\'') => Value::String(self.string()?),
            Some('0'..='9' | '+' | '-' | '.') => self.number()?,
            Some(c) if is_name_start(c) || c == '\\' => self.word()?,
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Node {
            span: self.since(start),
            value,
        })
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Step<Value>) -> Step<Value> {
        if self.open == MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(Problem::at(self.here(), message)
                .help("no setting needs that; look for a bracket too many"));
        }
        self.open += 1;
        let start = self.here();
        self.next();
        let value = inside(self).map_err(|problem| match self.peek() {
            None if problem.note.is_none() && problem.span.start == self.text.len() => {
                problem.note(start, "this bracket is never closed")
            }
            _ => problem,
        })?;
        self.open -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Step<Value> {
        let mut items = Vec::new();
        loop {
            self.blank()?;
            if self.eat(']') {
                return Ok(Value::Array(items));
            }
            items.push(self.value()?);
            self.blank()?;
            if !self.eat(',') && self.peek() != Some(']') {
                return Err(self.unexpected("`,` or `]`"));
            }
        }
    }

    fn object(&mut self) -> Step<Value> {
        let mut members = Vec::new();
        loop {
            self.blank()?;
            if self.eat('}') {
                return Ok(Value::Object(self.distinct(members)));
            }
            let start = self.at;
            let key = match self.peek() {
                Some('"' | '\'') => String::clone(&*self.string()?),
                Some(c) if is_name_start(c) || c == '\\' => self.name()?,
                Some('0'..='9' | '-') => {
                    let problem = self.unexpected("a key or `}`");
                    return Err(problem.help("a key that begins with a digit or - needs quotes"));
                }
                _ => return Err(self.unexpected("a key or `}`")),
            };
            let key_span = self.since(start);
            self.blank()?;
            if !self.eat(':') {
                return Err(self.unexpected("`:` after the key"));
            }
            self.blank()?;
            let node = self.value()?;
            members.push(Member {
                key,
                key_span,
                node,
            });
            self.blank()?;
            if !self.eat(',') && self.peek() != Some('}') {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
    }

    /// Reports keys that occur more than once and keeps the first of each.
    fn distinct(&mut self, members: Vec<Member>) -> Object {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by_key(|&index| (&members[index].key, index));
        let mut again = vec![false; members.len()];
        for pair in order.chunk_by(|&a, &b| members[a].key == members[b].key) {
            for &index in &pair[1..] {
                again[index] = true;
                let member = &members[index];
                let message = format!("the key `{}` is set twice", shorten(&member.key));
                self.duplicates.push(
                    Problem::at(member.key_span, message)
                        .note(members[pair[0]].key_span, "first set here")
                        .help("keep one of the two"),
                );
            }
        }
        let kept = members.into_iter().zip(again);
        Object(
            kept.filter_map(|(m, again)| (!again).then_some(m))
                .collect(),
        )
    }

    /// `null`, `true`, `false`, `Infinity`, `NaN`; any other bare word is refused.
    fn word(&mut self) -> Step<Value> {
        let start = self.at;
        let name = self.name()?;
        Ok(match name.as_str() {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "Infinity" => number::float(f64::INFINITY),
            "NaN" => number::float(f64::NAN),
            // The word itself is not repeated: it may be a secret without its quotes.
            _ => {
                return Err(Problem::at(self.since(start), "this word is not a value")
                    .help("text needs quotes; only null, true, false, Infinity and NaN do not"));
            }
        })
    }
}

/// A key for a message: escaped, and cut where it is absurdly long.
pub(crate) fn shorten(key: &str) -> String {
    let mut shown: String = key.chars().take(60).collect();
    if shown.len() < key.len() {
        shown.push('…');
    }
    sanitize_line(&shown).into_owned()
}

pub(crate) fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

pub(crate) fn is_blank(c: char) -> bool {
    is_line_end(c)
        || matches!(
            c,
            '\t' | '\u{b}' | '\u{c}' | ' ' | '\u{a0}' | '\u{feff}' | '\u{1680}' | '\u{2000}'
                ..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
        )
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '$' | '_')
}

/// Combining marks are approximated by their most common block; every key of the schema is ASCII anyway.
fn is_name_part(c: char) -> bool {
    is_name_start(c)
        || c.is_numeric()
        || matches!(
            c,
            '\u{200c}' | '\u{200d}' | '\u{203f}' | '\u{2040}' | '\u{300}'..='\u{36f}'
        )
}

#[cfg(test)]
mod tests;
