//! A file in the form of systemd's `EnvironmentFile`: `NAME=VALUE` lines with comments, quotes and continued lines, the
//! last of two assignments counts. Of a line that is none only its number and what is wrong are told: it may hold a secret.

use zeroize::Zeroizing;

use crate::environment::{MAX_VALUE, is_name};

/// Lines that are told of; what is wrong with a hundred is wrong with the file.
const MAX_TOLD: usize = 20;

/// A line that was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// Where the assignment begins, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub rule: Rule,
}

/// What keeps a line from being an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// No `=`.
    #[error("it is no NAME=VALUE")]
    NoAssignment,
    /// A name that cannot be referred to.
    #[error("before the `=` stands something else than a name of A-Z, 0-9 and _")]
    Name,
    /// A quote without its end.
    #[error("its quotes are not closed before the file ends")]
    Quotes,
    /// Bytes that are no text.
    #[error("its value is not UTF-8, or has a NUL in it")]
    Text,
    /// More than [`MAX_VALUE`] bytes.
    #[error("its value is longer than 16 KiB")]
    Long,
}

/// What a file says.
#[derive(Default)]
pub struct EnvironmentFile {
    /// Names and values in the order of the file.
    pub assignments: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// The first lines that were passed over.
    pub skipped: Vec<Skipped>,
    /// How many there are beyond those.
    pub more: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a name.
    Start,
    Name,
    /// Before a value, or behind a quoted part of it.
    Between,
    Value,
    Escape,
    Single,
    Double,
    DoubleEscape,
    Comment,
}

impl EnvironmentFile {
    /// Takes a file apart. Every line is judged by itself; what was read of one that is skipped is wiped.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut file = Self::default();
        let mut reader = Reader::new(bytes.len().min(MAX_VALUE + 1));
        for &byte in bytes {
            reader.take(byte, &mut file);
        }
        reader.end(&mut file);
        file
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut all = self.assignments.iter().rev();
        all.find(|(known, _)| known == name)
            .map(|(_, value)| value.as_slice())
    }

    fn skip(&mut self, line: usize, rule: Rule) {
        match self.skipped.len() < MAX_TOLD {
            true => self.skipped.push(Skipped { line, rule }),
            false => self.more += 1,
        }
    }
}

/// As far as the file was read.
struct Reader {
    state: State,
    name: Zeroizing<Vec<u8>>,
    value: Zeroizing<Vec<u8>>,
    /// Length of the value without the blanks at its end that nothing protects.
    kept: usize,
    too_long: bool,
    line: usize,
    /// Where what is being read began.
    begun: usize,
}

impl Reader {
    fn new(room: usize) -> Self {
        Self {
            state: State::Start,
            // Room at once: a text that grows leaves its contents behind. A name of a hundred is none.
            name: Zeroizing::new(Vec::with_capacity(MAX_NAME + 1)),
            value: Zeroizing::new(Vec::with_capacity(room)),
            kept: 0,
            too_long: false,
            line: 1,
            begun: 1,
        }
    }

    fn take(&mut self, byte: u8, file: &mut EnvironmentFile) {
        use State::{Between, Comment, Double, DoubleEscape, Escape, Name, Single, Start, Value};
        let ends = matches!(byte, b'\n' | b'\r');
        let blank = ends || matches!(byte, b' ' | b'\t');
        self.state = match (self.state, byte) {
            (Start, b'#' | b';') => Comment,
            (Start, _) if blank => Start,
            (Start, b'=') => {
                self.begun = self.line;
                Between
            }
            (Start, _) => {
                self.begun = self.line;
                self.named(byte);
                Name
            }
            (Name, _) if ends => {
                file.skip(self.begun, Rule::NoAssignment);
                self.name.clear();
                Start
            }
            (Name, b'=') => Between,
            (Name, _) => {
                self.named(byte);
                Name
            }
            (Between | Value, _) if ends => {
                self.finish(file);
                Start
            }
            (Between, b'\'') => Single,
            (Between, b'"') => Double,
            (Between | Value, b'\\') => Escape,
            (Between, _) if blank => Between,
            (Between, _) => {
                self.push(byte, true);
                Value
            }
            (Value, _) => {
                self.push(byte, !blank);
                Value
            }
            // A line that is continued.
            (Escape, _) if ends => Value,
            (Escape, _) => {
                self.push(byte, true);
                Value
            }
            (Single, b'\'') | (Double, b'"') => Between,
            (Double, b'\\') => DoubleEscape,
            (Single | Double, _) => {
                self.push(byte, true);
                self.state
            }
            (DoubleEscape, b'"' | b'\\' | b'`' | b'$') => {
                self.push(byte, true);
                Double
            }
            (DoubleEscape, b'\n') => Double,
            (DoubleEscape, _) => {
                self.push(b'\\', true);
                self.push(byte, true);
                Double
            }
            (Comment, _) if ends => Start,
            (Comment, _) => Comment,
        };
        self.line += usize::from(byte == b'\n');
    }

    fn end(mut self, file: &mut EnvironmentFile) {
        match self.state {
            State::Start | State::Comment => {}
            State::Name => file.skip(self.begun, Rule::NoAssignment),
            State::Single | State::Double | State::DoubleEscape => {
                file.skip(self.begun, Rule::Quotes);
            }
            State::Between | State::Value | State::Escape => self.finish(file),
        }
    }

    fn named(&mut self, byte: u8) {
        if self.name.len() <= MAX_NAME {
            self.name.push(byte);
        }
    }

    fn push(&mut self, byte: u8, kept: bool) {
        if self.value.len() > MAX_VALUE {
            self.too_long = true;
            return;
        }
        self.value.push(byte);
        if kept {
            self.kept = self.value.len();
        }
    }

    fn finish(&mut self, file: &mut EnvironmentFile) {
        let name = self.name.trim_ascii_end();
        let name = std::str::from_utf8(name).unwrap_or_default();
        self.value.truncate(self.kept);
        let value = &self.value;
        let text = std::str::from_utf8(value).is_ok_and(|text| !text.contains('\0'));
        let wrong = if name.is_empty() || name.len() > MAX_NAME || !is_name(name) {
            Some(Rule::Name)
        } else if self.too_long || value.len() > MAX_VALUE {
            Some(Rule::Long)
        } else if !text {
            Some(Rule::Text)
        } else {
            None
        };
        match wrong {
            Some(rule) => file.skip(self.begun, rule),
            None => {
                let value = Zeroizing::new(value.to_vec());
                file.assignments.push((name.to_owned(), value));
            }
        }
        zeroize::Zeroize::zeroize(&mut *self.name);
        zeroize::Zeroize::zeroize(&mut *self.value);
        (self.kept, self.too_long) = (0, false);
    }
}

/// Longest name, bytes.
const MAX_NAME: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &[u8]) -> Vec<(String, String)> {
        let file = EnvironmentFile::parse(text);
        assert_eq!((file.skipped, file.more), (vec![], 0), "{text:?}");
        let pair = |(name, value): (String, Zeroizing<Vec<u8>>)| {
            (name, String::from_utf8(value.to_vec()).unwrap())
        };
        file.assignments.into_iter().map(pair).collect()
    }

    /// Rows were put to systemd 252's reader of environment.d, which has the same parser and agrees, but for the last one:
    /// before 254 a comment that ends with a backslash went on in the next line.
    #[test]
    fn values_are_what_the_service_manager_takes_them_for() {
        for (text, value) in [
            ("A=x", "x"),
            ("A=x\n", "x"),
            ("A=x\r\n", "x"),
            (" \t A = x y \t\n", "x y"),
            ("A=\n", ""),
            ("A=a=b==", "a=b=="),
            ("A=x # y", "x # y"),
            ("A='x  '", "x  "),
            ("A=\"x  \"  ", "x  "),
            ("A='x\ny'", "x\ny"),
            ("A='a\\b'", "a\\b"),
            ("A=\"a\\\"b\\\\c\\$d\\`e\"", "a\"b\\c$d`e"),
            ("A=\"a\\nb\"", "a\\nb"),
            ("A=\"a\\\nb\"", "ab"),
            ("A=a\\\nb", "ab"),
            ("A=a\\b", "ab"),
            ("A=a\\ ", "a "),
            ("A='a'\"b\"c", "abc"),
            ("A='a' 'b'", "ab"),
            ("A=a'b'", "a'b'"),
            ("A=\\", ""),
            ("# c\n; d\n\nA=x\n#A=y", "x"),
            ("# c \\\nA=x", "x"),
        ] {
            let expected = vec![("A".to_owned(), value.to_owned())];
            assert_eq!(pairs(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(pairs(b""), []);
        assert_eq!(pairs(b"# only\n;\n \n"), []);
    }

    #[test]
    fn the_last_of_two_assignments_counts_and_lines_do_not_touch_each_other() {
        let file = EnvironmentFile::parse(b"A=1\nB='2'\nA=3\n");
        assert_eq!(file.get("A"), Some(&b"3"[..]));
        assert_eq!(file.get("B"), Some(&b"2"[..]));
        assert_eq!(file.get("C"), None);
        assert_eq!(file.assignments.len(), 3);
    }

    #[test]
    fn a_bad_line_is_named_by_number_and_rule_and_the_others_count() {
        let long = format!("B={}", "x".repeat(MAX_VALUE + 1));
        let blanks = format!("B=x{}", " ".repeat(MAX_VALUE * 2));
        let name = format!("{}=x", "B".repeat(MAX_NAME + 1));
        for (bad, rule) in [
            (&b"canary"[..], Rule::NoAssignment),
            (b"export B=canary", Rule::Name),
            (b"b=canary", Rule::Name),
            (b"1B=canary", Rule::Name),
            (b"=canary", Rule::Name),
            (b"B-C='canary'", Rule::Name),
            (b"\xff=canary", Rule::Name),
            (b"B=\xff", Rule::Text),
            (b"B=a\0b", Rule::Text),
            (long.as_bytes(), Rule::Long),
            (blanks.as_bytes(), Rule::Long),
            (name.as_bytes(), Rule::Name),
        ] {
            let text = [b"A=1\n\n", bad, b"\nC=3\n"].concat();
            let file = EnvironmentFile::parse(&text);
            assert_eq!(file.skipped, [Skipped { line: 3, rule }], "{bad:?}");
            let names: Vec<_> = file.assignments.iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["A", "C"]);
            assert!(!rule.to_string().contains("canary"));
        }
        let file = EnvironmentFile::parse(b"A=1\nB='can\nary\nC=3\n");
        let rule = Rule::Quotes;
        assert_eq!(file.skipped, [Skipped { line: 2, rule }]);
        assert_eq!(file.assignments.len(), 1);
        let most = format!("A={}", "x".repeat(MAX_VALUE));
        assert_eq!(pairs(most.as_bytes())[0].1.len(), MAX_VALUE);
        let file = EnvironmentFile::parse(&b"canary\n".repeat(MAX_TOLD + 5));
        assert_eq!((file.skipped.len(), file.more), (MAX_TOLD, 5));
    }

    #[test]
    fn any_bytes_are_taken_apart_without_an_end_of_the_process() {
        let mut seed = 0x9e37_79b9_u64;
        for _ in 0..20_000 {
            let mut text = Vec::new();
            for _ in 0..(seed % 40) {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                text.push(b"AB=='\"\\\n\r #;x \t\0\xff$"[(seed % 18) as usize]);
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let file = EnvironmentFile::parse(&text);
            let lines = text.iter().filter(|b| **b == b'\n').count() + 1;
            assert!(
                file.skipped
                    .iter()
                    .all(|skipped| (1..=lines).contains(&skipped.line))
            );
            assert!(file.assignments.iter().all(|(name, _)| is_name(name)));
        }
    }
}
