//! Finds what must not be shown of a configuration file, also of one that does not parse.
//! Works on tokens, not on the tree: a broken file, a misspelt key or a missing colon must not print a password.

use std::collections::HashMap;

use crate::json5::{self, Node, Value, is_line_end};
use crate::nearest::{nearest, simple};
use crate::problem::Span;
use crate::schema;

/// Words that make a name look as if it held a secret.
const TELLING: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "credential",
    "privatekey",
    "authorization",
];

/// Whether a variable's or key's name says that its value is a secret.
pub(crate) fn looks_secret(name: &str) -> bool {
    let name = simple(name);
    TELLING.iter().any(|word| name.contains(word))
}

/// The parts of `text` that may be secrets, in order, not overlapping.
pub(crate) fn secrets(text: &str) -> Vec<Span> {
    let names = schema::names();
    let judge = |name: &str| match names.get(name) {
        Some(known) => known.secret,
        // Nobody has to write a key in escapes, and read as it stands it could be any.
        None if name.contains('\\') => true,
        None => {
            let telling = TELLING.iter().copied();
            looks_secret(name) || nearest(name, telling).is_some()
        }
    };
    // A hostile file repeats a word a million times.
    let mut judged: HashMap<String, bool> = HashMap::new();
    let mut is_secret = |name: &str| match judged.get(name) {
        Some(secret) => *secret,
        None => *judged.entry(name.into()).or_insert_with(|| judge(name)),
    };
    let mut tokens = Tokens::of(text);
    let mut found = by_tokens(&mut tokens, &mut is_secret);
    // What parses is known exactly; the tokens add what is misspelt.
    if let Ok(parsed) = json5::parse(text) {
        by_tree(&parsed.root, false, &mut is_secret, &mut found);
    }
    let mut all = with_repeats(text, found);
    for comment in tokens.comments {
        in_comment(text, comment, &mut all);
    }
    merged(text, all)
}

/// The text as it may be shown: `***` in the place of what may be a secret, every line where it was.
pub fn masked(text: &str) -> String {
    let (mut masked, mut at) = (String::with_capacity(text.len()), 0);
    for span in secrets(text) {
        masked.push_str(&text[at..span.start]);
        masked.push_str("***");
        masked.extend(text[span.start..span.end].chars().filter(|c| *c == '\n'));
        at = span.end;
    }
    masked.push_str(&text[at..]);
    masked
}

fn by_tokens(tokens: &mut Tokens<'_>, is_secret: &mut impl FnMut(&str) -> bool) -> Vec<Span> {
    let text = tokens.text;
    let mut found = Vec::new();
    // For each open bracket: whether everything inside belongs to a secret key.
    let mut open = vec![false];
    let mut key: Option<&str> = None;
    while let Some(token) = tokens.next() {
        let inside = open.last().copied().unwrap_or(false);
        match token {
            Token::Open => {
                open.push(inside || key.take().is_some_and(&mut *is_secret));
            }
            Token::Close => {
                open.pop();
                key = None;
            }
            Token::Comma => key = None,
            Token::Word(span) => {
                let word = &text[span.start..span.end];
                match key {
                    None if tokens.before_colon() || is_secret(word) => key = Some(word),
                    Some(name) if !tokens.before_colon() => {
                        if !names_it(inside, name) && (inside || is_secret(name)) {
                            found.push(span);
                        }
                        key = None;
                    }
                    Some(_) => key = Some(word),
                    None if inside => found.push(span),
                    None => {}
                }
            }
        }
    }
    found
}

fn by_tree(
    node: &Node,
    secret: bool,
    is_secret: &mut impl FnMut(&str) -> bool,
    found: &mut Vec<Span>,
) {
    match &node.value {
        Value::String(_) if secret => {
            found.push(Span::new(node.span.start + 1, node.span.end - 1));
        }
        Value::Array(items) => {
            for item in items {
                by_tree(item, secret, is_secret, found);
            }
        }
        Value::Object(object) => {
            for member in &object.0 {
                let secret = !names_it(secret, &member.key) && (secret || is_secret(&member.key));
                by_tree(&member.node, secret, is_secret, found);
            }
        }
        _ => {}
    }
}

/// The parts of a reference name a secret; they are none.
fn names_it(inside: bool, key: &str) -> bool {
    inside && matches!(key, "source" | "id")
}

/// Whatever follows a telling word on a line of a comment: nobody knows how it is written.
fn in_comment(text: &str, comment: Span, found: &mut Vec<Span>) {
    let mut at = comment.start;
    for line in text[comment.start..comment.end].split_inclusive(is_line_end) {
        let words = line.split_inclusive(|c| !is_word(c));
        let mut end = 0;
        let told = words.into_iter().find_map(|word| {
            end += word.len();
            let name = word.trim_end_matches(|c: char| !c.is_alphanumeric());
            let known = schema::names().get(name).map(|name| name.secret);
            known.unwrap_or_else(|| looks_secret(name)).then_some(end)
        });
        if let Some(from) = told {
            let rest = &line[from..];
            let (from, until) = (rest.len() - rest.trim_start().len(), rest.trim_end().len());
            if from < until {
                let start = at + line.len() - rest.len();
                found.push(Span::new(start + from, start + until));
            }
        }
        at += line.len();
    }
}

/// Adds every other place where one of the found texts stands, for instance in a comment.
fn with_repeats(text: &str, found: Vec<Span>) -> Vec<Span> {
    let mut literals: Vec<&str> = found.iter().map(|s| &text[s.start..s.end]).collect();
    literals.sort_unstable();
    literals.dedup();
    literals.retain(|literal| literal.len() >= 6 && !literal.starts_with("${"));
    let mut all = found;
    // Each literal is one pass over the file; a file with more than this many secrets is not a configuration.
    for literal in literals.into_iter().take(256) {
        let places = text.match_indices(literal);
        all.extend(places.map(|(at, part)| Span::new(at, at + part.len())));
    }
    all
}

/// In order, not overlapping, without what may be read.
fn merged(text: &str, mut all: Vec<Span>) -> Vec<Span> {
    all.sort_unstable();
    let mut merged: Vec<Span> = Vec::with_capacity(all.len());
    for span in all {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged.retain(|span| span.start < span.end && !is_reference(&text[span.start..span.end]));
    merged
}

fn is_reference(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

enum Token {
    Open,
    Close,
    Comma,
    /// A string without its quotes, or a bare word or number.
    Word(Span),
}

struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// Those that were passed.
    comments: Vec<Span>,
}

impl<'a> Tokens<'a> {
    const fn of(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            comments: Vec::new(),
        }
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let comment = if rest.starts_with("//") {
                Some(rest.find(is_line_end).unwrap_or(rest.len()))
            } else {
                let inside = rest.strip_prefix("/*");
                inside.map(|rest| rest.find("*/").map_or(rest.len() + 2, |end| end + 4))
            };
            if let Some(length) = comment {
                self.comments.push(Span::new(self.at, self.at + length));
                self.at += length;
                continue;
            }
            match rest.chars().next() {
                Some(c) if c.is_whitespace() || c == '\u{feff}' => self.at += c.len_utf8(),
                _ => return,
            }
        }
    }

    fn before_colon(&mut self) -> bool {
        self.skip_blank();
        self.text[self.at..].starts_with(':')
    }

    fn next(&mut self) -> Option<Token> {
        loop {
            self.skip_blank();
            let rest = &self.text[self.at..];
            let c = rest.chars().next()?;
            self.at += c.len_utf8();
            match c {
                '{' | '[' => return Some(Token::Open),
                '}' | ']' => return Some(Token::Close),
                ',' => return Some(Token::Comma),
                '"' | '\'' => return Some(Token::Word(self.quoted(c))),
                c if is_word(c) => {
                    let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                    let start = self.at - c.len_utf8();
                    self.at = start + length;
                    return Some(Token::Word(Span::new(start, self.at)));
                }
                _ => {}
            }
        }
    }

    /// Up to the closing quote; a string that is not closed goes to the end of its line.
    fn quoted(&mut self, quote: char) -> Span {
        let start = self.at;
        let rest = &self.text[start..];
        let (mut escaped, mut before) = (false, ' ');
        let end = rest.find(|c| {
            // A line that is continued ends in one character or in two.
            let continued = before == '\r' && c == '\n';
            let ends = !escaped && !continued && (c == quote || c == '\n');
            before = if escaped { c } else { ' ' };
            escaped = !escaped && c == '\\';
            ends
        });
        let end = start + end.unwrap_or(rest.len());
        self.at = end + usize::from(self.text[end..].starts_with(quote));
        Span::new(start, end)
    }
}

fn is_word(c: char) -> bool {
    !c.is_whitespace()
        && !matches!(
            c,
            '{' | '}' | '[' | ']' | ',' | ':' | '"' | '\'' | '/' | '='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> Vec<&str> {
        secrets(text)
            .into_iter()
            .map(|span| &text[span.start..span.end])
            .collect()
    }

    #[test]
    fn the_file_of_the_package_is_shown_whole() {
        let text = include_str!("../../../packaging/deb/clawdbot.json");
        assert_eq!(masked(text), Vec::<&str>::new());
    }

    #[test]
    fn secrets_are_found_in_broken_and_misspelt_files_too() {
        for text in [
            "{gateway:{auth:{token:'hunter2hunter2'}}}",
            "{gateway:{auth:{\"token\" : \"hunter2hunter2\"",
            "{gateway:{auth:{token 'hunter2hunter2'",
            "{gateway:{auth:{token = hunter2hunter2 }}}",
            "{gateway:{auth:{tokn:'hunter2hunter2'}}}",
            "{gateway:{auth:{token:'hunter2hunter2",
            "{gateway:{auth:{token:['hunter2hunter2']}}}",
            "{gateway:{auth:{token:{value:'hunter2hunter2'}}}}",
            "{gateway:{auth:{pasword:/* x */'hunter2hunter2'}}}",
            "{env:{vars:{MY_API_KEY:'hunter2hunter2'}}}",
            "{models:{providers:{x:{headers:{'x-k':'hunter2hunter2'}}}}}",
        ] {
            assert_eq!(masked(text), ["hunter2hunter2"], "{text}");
        }
    }

    #[test]
    fn secrets_are_found_wherever_the_parser_would_find_them() {
        for text in [
            "{// x\r gateway:{auth:{token:'hunter2hunter2'}}}",
            "{// x\u{2028} gateway:{auth:{token:'hunter2hunter2'}}}",
            "/*/ \" */{gateway:{auth:{token:'hunter2hunter2'}}}",
            "{gateway:{auth:{\\u0074oken:'hunter2hunter2'}}}",
            "{gateway:{auth:{'to\\x6ben':'hunter2hunter2'}}}",
        ] {
            assert_eq!(masked(text), ["hunter2hunter2"], "{text:?}");
        }
        let continued = "{gateway:{auth:{token:'hunter2\\\r\nhunter2'}}}";
        assert_eq!(masked(continued), ["hunter2\\\r\nhunter2"]);
        let twice = "{gateway:{auth:{token:'hunter2\\\r\\\r\nhunter2'}}}";
        assert_eq!(masked(twice), ["hunter2\\\r\\\r\nhunter2"]);
    }

    #[test]
    fn what_a_comment_says_after_a_telling_word_is_masked() {
        for (text, hidden) in [
            ("{} // token: 'hunter2hunter2'", "'hunter2hunter2'"),
            ("{} // the old apiKey was hunter2", "was hunter2"),
            ("{/* a\n * password = hunter2\n * b */}", "= hunter2"),
            ("{ // botToken:hunter2\r port:1}", "hunter2"),
        ] {
            assert_eq!(masked(text), [hidden], "{text:?}");
        }
        assert_eq!(masked("{} // the port of the gateway: 18789"), [""; 0]);
        assert_eq!(masked("{} // contextTokens: 9000"), [""; 0]);
    }

    #[test]
    fn the_same_text_is_masked_wherever_it_stands() {
        let text = "{hooks:{token:'hunter2hunter2'}} // was hunter2hunter2 before";
        assert_eq!(masked(text).len(), 2);
    }

    #[test]
    fn ordinary_settings_and_references_stay_readable() {
        for text in [
            "{gateway:{port:18789, bind:'loopback'}}",
            "{agents:{defaults:{contextTokens:'many'}}}",
            "{gateway:{auth:{token:'${CLAWDBOT_GATEWAY_TOKEN}'}}}",
            "{gateway:{auth:{token:{source:'env', id:'MY_NAME_HERE'}}}}",
            "{channels:{telegram:{allowFrom:['@someone']}}}",
        ] {
            assert_eq!(masked(text), [""; 0], "{text}");
        }
    }
}
