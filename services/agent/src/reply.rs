//! What of a model's words is for people. A message that begins with `NO_REPLY` means that nothing is to be said, and as
//! the last line after other words it is left out; `[[reply_to_current]]` or `[[reply_to:ID]]` means that the answer
//! quotes a message. Neither is ever shown, also not in part while the text arrives. Everything else in double brackets is
//! plain text.

/// A message that begins with this says nothing.
const SILENT: &str = "NO_REPLY";
/// Bytes that are held back at most; nobody writes so much white space.
const HELD_BYTES: usize = 256;
/// Bytes between the brackets; what is longer is no directive.
const DIRECTIVE_BYTES: usize = 160;

/// One message of the model while it arrives.
#[derive(Debug, Default)]
pub struct Voice {
    /// An opening that may become a directive.
    unsure: String,
    /// What may become the silent word, until it cannot.
    held: String,
    silent: bool,
    after_directive: bool,
    shown: String,
    reply_to: Option<String>,
}

impl Voice {
    /// Takes more of the message and returns what of it can be shown now.
    pub fn hear(&mut self, text: &str) -> String {
        let mut heard = std::mem::take(&mut self.unsure);
        heard.push_str(text);
        let mut rest = heard.as_str();
        let mut plain = String::new();
        while let Some(at) = rest.find('[') {
            self.plain(&mut plain, &rest[..at]);
            rest = &rest[at..];
            match directive(rest) {
                Opening::Unsure => {
                    self.unsure = std::mem::take(&mut rest).into();
                }
                Opening::Text => {
                    self.plain(&mut plain, "[");
                    rest = &rest[1..];
                }
                Opening::ReplyTo(target, length) => {
                    // A message that is named wins over "the current one".
                    if target != CURRENT || self.reply_to.is_none() {
                        self.reply_to = Some(target);
                    }
                    self.after_directive = true;
                    rest = &rest[length..];
                }
            }
        }
        self.plain(&mut plain, rest);
        self.speak(&plain)
    }

    /// The message is complete: returns what can be shown besides.
    pub fn end(&mut self) -> String {
        let unsure = std::mem::take(&mut self.unsure);
        let mut plain = String::new();
        self.plain(&mut plain, &unsure);
        let more = self.speak(&plain);
        let held = std::mem::take(&mut self.held);
        if is_silent(&held) {
            self.silent = self.shown.is_empty();
            return more;
        }
        self.shown.push_str(&held);
        more + &held
    }

    /// All that was shown.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether nothing is to be said. After the end.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// `current` or an id, if a message is to be quoted.
    pub fn reply_to(&self) -> Option<&str> {
        self.reply_to.as_deref()
    }

    /// Between a directive and the text that follows stands no white space that anybody wants.
    fn plain(&mut self, plain: &mut String, text: &str) {
        let nothing_yet = self.shown.is_empty() && self.held.is_empty() && plain.is_empty();
        let blank_before = || {
            let before = [plain.as_str(), &self.held, &self.shown];
            let last = before.into_iter().find_map(|part| part.chars().next_back());
            last.is_none_or(char::is_whitespace)
        };
        let text = match self.after_directive && (nothing_yet || blank_before()) {
            true => text.trim_start(),
            false => text,
        };
        self.after_directive &= text.is_empty();
        plain.push_str(text);
    }

    fn speak(&mut self, text: &str) -> String {
        self.held.push_str(text);
        if self.shown.is_empty() && begins_silent(&self.held) {
            self.silent = true;
        }
        if self.silent {
            self.held.clear();
            return String::new();
        }
        let sure = sure_bytes(&self.held, self.shown.is_empty());
        let held = self.held.split_off(sure);
        let sure = std::mem::replace(&mut self.held, held);
        self.shown.push_str(&sure);
        sure
    }
}

/// What people see of a complete message.
pub fn visible(text: &str) -> String {
    let mut voice = Voice::default();
    voice.hear(text);
    voice.end();
    voice.shown
}

/// The message that is being answered.
const CURRENT: &str = "current";

enum Opening {
    /// More must arrive before it can be told.
    Unsure,
    /// The bracket is text.
    Text,
    /// A directive: whom it names, and its length in bytes.
    ReplyTo(String, usize),
}

/// What a text that begins with a bracket begins with.
fn directive(text: &str) -> Opening {
    let Some(inner) = text.strip_prefix("[[") else {
        return if text == "[" {
            Opening::Unsure
        } else {
            Opening::Text
        };
    };
    let Some(end) = inner.find(['[', ']', '\n']) else {
        return match inner.len() > DIRECTIVE_BYTES || !may_be_reply(inner) {
            true => Opening::Text,
            false => Opening::Unsure,
        };
    };
    let Some(target) = reply_target(&inner[..end]) else {
        return Opening::Text;
    };
    match &inner[end..] {
        "]" => Opening::Unsure,
        rest if rest.starts_with("]]") => Opening::ReplyTo(target, 2 + end + 2),
        _ => Opening::Text,
    }
}

const REPLY_CURRENT: &str = "reply_to_current";
const REPLY_ID: &str = "reply_to:";

fn may_be_reply(inner: &str) -> bool {
    let word: String = inner
        .chars()
        .filter(|c| !c.is_whitespace())
        .take(REPLY_CURRENT.len())
        .collect::<String>()
        .to_ascii_lowercase();
    REPLY_CURRENT.starts_with(&word) || REPLY_ID.starts_with(&word) || word.starts_with(REPLY_ID)
}

fn reply_target(inner: &str) -> Option<String> {
    let inner = inner.trim();
    if inner.eq_ignore_ascii_case(REPLY_CURRENT) {
        return Some(CURRENT.into());
    }
    let (name, id) = inner.split_once(':')?;
    let id = id.trim();
    let named = name.trim_end().eq_ignore_ascii_case("reply_to");
    (named && (1..=128).contains(&id.len())).then(|| id.into())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The silent word, whatever stands around it as long as it is no word.
fn is_silent(text: &str) -> bool {
    let rest = text.trim_start().strip_prefix(SILENT);
    rest.is_some_and(|rest| !rest.contains(is_word))
}

/// The silent word, and more that shows that it has ended.
fn begins_silent(text: &str) -> bool {
    let rest = text.trim_start().strip_prefix(SILENT);
    rest.is_some_and(|rest| rest.starts_with(|c| !is_word(c)))
}

/// How much of a text is shown whatever follows: all but a last line that may become the silent word, with the white space
/// before it. Only the `first` line needs nothing before it.
fn sure_bytes(text: &str, first: bool) -> usize {
    let written = text.trim_end();
    let line = match written.rfind('\n') {
        Some(at) => Some(at + 1),
        None => first.then_some(0),
    };
    let may_be = |line: &str| SILENT.starts_with(line.trim_start()) || is_silent(line);
    let sure = match line {
        Some(at) if may_be(&text[at..]) => text[..at].trim_end().len(),
        _ if text[written.len()..].contains('\n') => written.len(),
        _ => text.len(),
    };
    match text.len() - sure > HELD_BYTES {
        true => text.len(),
        false => sure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way to cut a text in two, and letter by letter.
    fn cuts(text: &str) -> Vec<Vec<&str>> {
        let at = text.char_indices().map(|(at, _)| at);
        let mut all: Vec<_> = at
            .clone()
            .map(|at| vec![&text[..at], &text[at..]])
            .collect();
        all.push(text.split_inclusive(|_| true).collect());
        all
    }

    fn heard(parts: &[&str]) -> (String, bool, Option<String>) {
        let mut voice = Voice::default();
        let mut shown = String::new();
        for part in parts {
            shown += &voice.hear(part);
            let leaked = shown.contains("NO_REP") || shown.contains("[[reply");
            assert!(
                !leaked || parts.concat().contains("x"),
                "{parts:?} leaked {shown:?}"
            );
        }
        shown += &voice.end();
        assert_eq!(shown, voice.shown());
        (shown, voice.is_silent(), voice.reply_to().map(Into::into))
    }

    #[test]
    fn the_silent_word_at_the_beginning_is_silence_however_it_arrives() {
        for text in [
            "NO_REPLY",
            " NO_REPLY\n",
            "NO_REPLY.",
            "\n\nNO_REPLY!)\n",
            "[[reply_to_current]] NO_REPLY",
            "NO_REPLY, since he did not ask me",
            "NO_REPLY\n\nThey talk with each other.",
        ] {
            for parts in cuts(text) {
                let (shown, silent, _) = heard(&parts);
                assert!(silent && shown.is_empty(), "{parts:?}");
            }
        }
        for text in [
            "NO_REPLYx",
            "no_reply x",
            "NO_x",
            "x NO_REPLY",
            "NO",
            "",
            "NO_REP",
            "NOx",
        ] {
            for parts in cuts(text) {
                assert_eq!(heard(&parts), (text.to_owned(), false, None), "{parts:?}");
            }
        }
    }

    #[test]
    fn the_silent_word_as_the_last_line_is_left_out() {
        for (text, shown) in [
            ("Nothing to do.\n\nNO_REPLY", "Nothing to do."),
            ("Nothing to do.\n NO_REPLY.\n", "Nothing to do."),
        ] {
            for parts in cuts(text) {
                let (heard, silent, _) = heard(&parts);
                assert_eq!((heard.as_str(), silent), (shown, false), "{parts:?}");
            }
        }
        for text in [
            "x\nNO_REPLY y",
            "x\nNO_REPLYy",
            "x\nNO",
            "x\n\n\n",
            "it says x NO_REPLY",
        ] {
            for parts in cuts(text) {
                assert_eq!(heard(&parts), (text.to_owned(), false, None), "{parts:?}");
            }
        }
    }

    #[test]
    fn a_long_text_of_brackets_or_of_blanks_is_heard_once() {
        for text in [
            "[".repeat(1 << 20),
            "[[reply_to:".repeat(100_000),
            format!("a{}b", "\n".repeat(1 << 20)),
        ] {
            assert_eq!(visible(&text), text);
        }
    }

    #[test]
    fn reply_directives_are_taken_out_however_they_arrive() {
        for (text, shown, target) in [
            ("[[reply_to_current]] hello", "hello", "current"),
            ("[[ Reply_To : 42 ]]\nhello", "hello", "42"),
            ("hello [[reply_to:a:b]] you", "hello you", "a:b"),
            ("hello[[reply_to:7]]", "hello", "7"),
            ("[[reply_to:7]] a [[reply_to_current]]b", "a b", "7"),
            ("[[reply_to_current]][[reply_to:7]]b", "b", "7"),
            ("[[[reply_to:7]] b", "[ b", "7"),
        ] {
            for parts in cuts(text) {
                let expected = (shown.to_owned(), false, Some(target.to_owned()));
                assert_eq!(heard(&parts), expected, "{parts:?}");
            }
        }
    }

    #[test]
    fn other_brackets_stay_text_and_nothing_is_held_back_for_long() {
        let long = format!("[[reply_to:{}]] x", "9".repeat(200));
        for text in [
            "[[link]] x",
            "[x](y)",
            "a[0][[1]] x",
            "[[reply_to_current] x",
            "[[reply_to:\n1]] x",
            "[[reply_to:]] x",
            "[[ x",
            "x[",
            "x[[",
            "x[[reply_to",
            long.as_str(),
        ] {
            for parts in cuts(text) {
                assert_eq!(heard(&parts), (text.to_owned(), false, None), "{parts:?}");
            }
        }
        let mut voice = Voice::default();
        assert_eq!(voice.hear("see [[li"), "see [[li");
    }

    #[test]
    fn white_space_in_code_is_left_alone() {
        let text = "[[reply_to:1]]fn a() {\n    b();\n}\n";
        assert_eq!(visible(text), "fn a() {\n    b();\n}\n");
    }
}
