//! What of a model's words is for people. `NO_REPLY` as the whole of a message means that nothing is to be said, and
//! `[[reply_to_current]]` or `[[reply_to:ID]]` that the answer quotes a message; neither is ever shown, also not in part
//! while the text arrives. Everything else in double brackets is plain text.

/// The whole message is this: nothing is said.
const SILENT: &str = "NO_REPLY";
/// Bytes between the brackets; what is longer is no directive.
const DIRECTIVE_BYTES: usize = 160;

/// One message of the model while it arrives.
#[derive(Debug, Default)]
pub struct Voice {
    /// An opening that may become a directive.
    unsure: String,
    /// What may become the silent word, until it cannot.
    held: String,
    speaking: bool,
    after_directive: bool,
    shown: String,
    reply_to: Option<String>,
}

impl Voice {
    /// Takes more of the message and returns what of it can be shown now.
    pub fn hear(&mut self, text: &str) -> String {
        self.unsure.push_str(text);
        let mut rest = std::mem::take(&mut self.unsure);
        let mut plain = String::new();
        loop {
            let Some(at) = rest.find('[') else {
                self.plain(&mut plain, &rest);
                break;
            };
            self.plain(&mut plain, &rest[..at]);
            rest.drain(..at);
            match directive(&rest) {
                Opening::Unsure => {
                    self.unsure = rest;
                    break;
                }
                Opening::Text => {
                    self.plain(&mut plain, "[");
                    rest.drain(..1);
                }
                Opening::ReplyTo(target, length) => {
                    // A message that is named wins over "the current one".
                    if target != CURRENT || self.reply_to.is_none() {
                        self.reply_to = Some(target);
                    }
                    self.after_directive = true;
                    rest.drain(..length);
                }
            }
        }
        self.speak(&plain)
    }

    /// The message is complete: returns what can be shown besides.
    pub fn end(&mut self) -> String {
        let unsure = std::mem::take(&mut self.unsure);
        let mut plain = String::new();
        self.plain(&mut plain, &unsure);
        let more = self.speak(&plain);
        if self.speaking || self.is_silent() {
            return more;
        }
        self.speaking = true;
        let held = std::mem::take(&mut self.held);
        self.shown.push_str(&held);
        more + &held
    }

    /// All that was shown.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether the message is the silent word and nothing else. After the end.
    pub fn is_silent(&self) -> bool {
        !self.speaking && is_silent(&self.held)
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
        if self.speaking {
            self.shown.push_str(text);
            return text.into();
        }
        self.held.push_str(text);
        if may_be_silent(&self.held) {
            return String::new();
        }
        self.speaking = true;
        let held = std::mem::take(&mut self.held);
        self.shown.push_str(&held);
        held
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

fn is_silent(text: &str) -> bool {
    let rest = text.trim_start().strip_prefix(SILENT);
    rest.is_some_and(|rest| !rest.contains(is_word))
}

fn may_be_silent(text: &str) -> bool {
    SILENT.starts_with(text.trim_start()) || is_silent(text)
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
    fn the_silent_word_alone_is_silence_however_it_arrives() {
        for text in [
            "NO_REPLY",
            " NO_REPLY\n",
            "NO_REPLY.",
            "\n\nNO_REPLY!)\n",
            "[[reply_to_current]] NO_REPLY",
        ] {
            for parts in cuts(text) {
                let (shown, silent, _) = heard(&parts);
                assert!(silent && shown.is_empty(), "{parts:?}");
            }
        }
        for text in [
            "NO_REPLY x",
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
