//! Strings and bare keys with their escapes.
//! Refuses line breaks inside a string, half surrogate pairs and the octal escapes that ECMAScript 5.1 refuses.

use zeroize::Zeroizing;

use super::{Parser, Step, is_line_end, is_name_part, is_name_start};
use crate::problem::Problem;

impl Parser<'_> {
    /// A quoted string. The buffer is as long as the source, so that no copy of a secret is left behind by growing.
    pub(super) fn string(&mut self) -> Step<Zeroizing<String>> {
        let start = self.at;
        let quote = self.next();
        let mut text = Zeroizing::new(String::with_capacity(self.quoted_length(quote)));
        loop {
            let here = self.at;
            match self.next() {
                c if c == quote => return Ok(text),
                Some('\\') => {
                    if let Some(c) = self.escape(here)? {
                        text.push(c);
                    }
                }
                // U+2028 and U+2029 may stand in a string, as in JSON.
                Some(c) if c != '\n' && c != '\r' => text.push(c),
                _ => {
                    self.at = here;
                    return Err(
                        Problem::at(self.since(start), "this string is never closed")
                            .help("close it with the same quote on the same line"),
                    );
                }
            }
        }
    }

    /// How many bytes lie between here and the closing quote, or the end of the line.
    fn quoted_length(&self, quote: Option<char>) -> usize {
        let mut escaped = false;
        let end = self.rest().find(|c| {
            let ends = !escaped && (Some(c) == quote || c == '\n');
            escaped = !escaped && c == '\\';
            ends
        });
        end.unwrap_or(self.rest().len())
    }

    /// What follows a backslash; nothing for a continued line.
    fn escape(&mut self, start: usize) -> Step<Option<char>> {
        let Some(c) = self.next() else {
            return Err(self.bad_escape(start));
        };
        Ok(Some(match c {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '0' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => '\0',
            'x' => match char::from_u32(self.hex(2, start)?) {
                Some(c) => c,
                None => return Err(self.bad_escape(start)),
            },
            'u' => self.unicode(start)?,
            '\r' => {
                self.eat('\n');
                return Ok(None);
            }
            c if is_line_end(c) => return Ok(None),
            '0'..='9' => return Err(self.bad_escape(start)),
            c => c,
        }))
    }

    /// The rest of `\uXXXX`, with the second half of a surrogate pair.
    fn unicode(&mut self, start: usize) -> Step<char> {
        let first = self.hex(4, start)?;
        let code = match first {
            0xd800..=0xdbff if self.eat('\\') && self.eat('u') => match self.hex(4, start)? {
                second @ 0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                _ => first,
            },
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.bad_escape(start))
    }

    fn hex(&mut self, digits: usize, start: usize) -> Step<u32> {
        let mut code = 0;
        for _ in 0..digits {
            match self.peek().and_then(|c| c.to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return Err(self.bad_escape(start)),
            }
            self.next();
        }
        Ok(code)
    }

    fn bad_escape(&self, start: usize) -> Problem {
        Problem::at(self.since(start), "this escape does not exist in JSON5")
            .help("write a backslash itself as \\\\")
    }

    /// A bare key or word.
    pub(super) fn name(&mut self) -> Step<String> {
        let mut name = String::new();
        loop {
            let start = self.at;
            let c = match self.peek() {
                Some('\\') => {
                    self.next();
                    if !self.eat('u') {
                        return Err(self.bad_escape(start));
                    }
                    self.unicode(start)?
                }
                Some(c) if is_name_part(c) => {
                    self.next();
                    c
                }
                _ => return Ok(name),
            };
            if !(is_name_start(c) || !name.is_empty() && is_name_part(c)) {
                return Err(self.bad_escape(start));
            }
            name.push(c);
        }
    }
}
