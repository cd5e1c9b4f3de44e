//! A conversation as a client sends it becomes one question: system and developer texts go to the system prompt, what was
//! said before is told as text, and the last message is what is answered. Parts that are no text are refused by name.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};

use super::fault::Fault;
use crate::desk::Question;
use crate::limits;

/// Stands before what was said earlier, and before what is to be answered.
const EARLIER: &str = "[Earlier in this conversation, as context]";
const NOW: &str = "[The message to answer now]";

/// What a message holds: a text, parts, or nothing.
#[derive(Debug, Default)]
pub struct Content(Vec<Part>);

/// One part.
#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
}

/// Kinds of parts that are text.
const TEXTS: &[&str] = &["text", "input_text", "output_text", "refusal"];

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a string, an array of parts, or null")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::default())
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Content, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Content)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self(vec![Part {
            kind: "text".into(),
            text: Some(text.to_owned()),
            refusal: None,
        }])
    }
}

impl Content {
    /// The text; parts become lines.
    ///
    /// # Errors
    /// When a part is no text; `place` names the content.
    fn into_text(self, place: impl Fn() -> String) -> Result<String, Fault> {
        let mut whole = String::new();
        for (number, part) in self.0.into_iter().enumerate() {
            let name = || format!("{}[{number}]", place());
            if !TEXTS.contains(&part.kind.as_str()) {
                let message = format!(
                    "Parts of type {:?} are not supported here; send text only.",
                    part.kind
                );
                return Err(Fault::invalid(name(), message));
            }
            let Some(text) = part.text.or(part.refusal) else {
                return Err(Fault::invalid(name(), "The part has no text."));
            };
            match whole.is_empty() {
                true => whole = text,
                false => {
                    whole.push('\n');
                    whole.push_str(&text);
                }
            }
        }
        Ok(whole)
    }
}

/// A conversation, taken message by message.
#[derive(Default)]
pub struct Conversation {
    system: String,
    earlier: String,
    last: Option<Said>,
}

struct Said {
    speaker: String,
    /// Whether it can be answered: the model's own words cannot.
    asks: bool,
    text: String,
}

impl Conversation {
    /// Takes the next message. One without text counts for nothing.
    ///
    /// # Errors
    /// When the role is not known or the content is no text; `place` names the message.
    pub fn add(
        &mut self,
        role: &str,
        name: Option<&str>,
        content: Content,
        place: impl Fn() -> String,
    ) -> Result<(), Fault> {
        let (speaker, asks) = match role {
            "system" | "developer" => ("", false),
            "user" => ("User", true),
            "assistant" => ("Assistant", false),
            "tool" | "function" => ("Tool", true),
            _ => {
                let message = format!(
                    "The role {role:?} is not known; it must be system, developer, user, assistant or tool."
                );
                return Err(Fault::invalid(format!("{}.role", place()), message));
            }
        };
        let text = content.into_text(|| format!("{}.content", place()))?;
        if text.trim().is_empty() {
            return Ok(());
        }
        if speaker.is_empty() {
            self.instruct(&text);
            return Ok(());
        }
        let speaker = match name {
            Some(name) if speaker == "Tool" => format!("{speaker} {name}"),
            _ => speaker.to_owned(),
        };
        if let Some(before) = self.last.replace(Said {
            speaker,
            asks,
            text,
        }) {
            before.write(&mut self.earlier);
        }
        Ok(())
    }

    /// Adds to the system prompt.
    pub fn instruct(&mut self, text: &str) {
        if !self.system.is_empty() {
            self.system.push_str("\n\n");
        }
        self.system.push_str(text);
    }

    /// The question; `param` names where the conversation came from.
    ///
    /// # Errors
    /// When nothing is asked, or too much is said.
    pub fn into_question(self, param: &'static str) -> Result<Question, Fault> {
        let last = match self.last {
            Some(last) if last.asks => last,
            Some(_) => {
                let message =
                    "The last message must be a user's or a tool's: it is what is answered.";
                return Err(Fault::invalid(param, message));
            }
            None => {
                let message = "There must be at least one message of a user with text in it.";
                return Err(Fault::invalid(param, message));
            }
        };
        let text = match self.earlier.is_empty() {
            true => last.text,
            false => {
                let mut text = format!("{EARLIER}\n{}\n{NOW}\n", self.earlier);
                last.write(&mut text);
                text.truncate(text.trim_end().len());
                text
            }
        };
        for (what, length) in [
            ("The messages", text.len()),
            ("The system texts", self.system.len()),
        ] {
            if length > limits::TEXT_BYTES {
                let message = format!(
                    "{what} have {length} bytes of UTF-8 together; the limit is {}.",
                    limits::TEXT_BYTES
                );
                return Err(Fault::invalid(param, message));
            }
        }
        Ok(Question {
            text,
            extra_system: self.system,
            ..Question::default()
        })
    }
}

impl Said {
    fn write(&self, out: &mut String) {
        for piece in [&self.speaker, ": ", self.text.trim(), "\n"] {
            out.push_str(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(messages: &[(&str, &str)]) -> Result<Question, Fault> {
        let mut conversation = Conversation::default();
        for (role, text) in messages {
            conversation.add(role, None, Content::from(*text), || "messages[0]".into())?;
        }
        conversation.into_question("messages")
    }

    #[test]
    fn one_message_is_the_question_as_it_is() {
        let asked = question(&[
            ("system", "Be brief."),
            ("user", " hi\n"),
            ("developer", "Now."),
        ]);
        let asked = asked.unwrap();
        assert_eq!(asked.text, " hi\n");
        assert_eq!(asked.extra_system, "Be brief.\n\nNow.");
    }

    #[test]
    fn what_was_said_before_is_told_in_order() {
        let asked = question(&[
            ("user", "a"),
            ("assistant", "b"),
            ("assistant", " "),
            ("tool", "c"),
            ("user", "d\ne "),
        ]);
        assert_eq!(
            asked.unwrap().text,
            "[Earlier in this conversation, as context]\nUser: a\nAssistant: b\nTool: c\n\n\
             [The message to answer now]\nUser: d\ne"
        );
    }

    #[test]
    fn without_a_question_or_with_too_much_there_is_none() {
        let long = "x".repeat(limits::TEXT_BYTES + 1);
        for (messages, word) in [
            (vec![], "at least one"),
            (vec![("user", " \n")], "at least one"),
            (vec![("system", "x")], "at least one"),
            (vec![("user", "x"), ("assistant", "y")], "last message"),
            (vec![("user", long.as_str())], "262144"),
            (vec![("system", long.as_str()), ("user", "x")], "262144"),
        ] {
            let fault = question(&messages).err().unwrap();
            assert!(fault.message().contains(word), "{fault:?}");
            assert_eq!(fault.error()["param"], "messages");
        }
        let fault = question(&[("robot", "x")]).err().unwrap();
        assert_eq!(fault.error()["param"], "messages[0].role");
    }

    #[test]
    fn content_is_text_or_parts_of_text_and_nothing_else() {
        let text = |json: &str| {
            let content: Content = serde_json::from_str(json).unwrap();
            content.into_text(|| "content".into())
        };
        for (json, expected) in [
            (r#""a""#, "a"),
            ("null", ""),
            ("[]", ""),
            (
                r#"[{"type":"text","text":"a"},{"type":"input_text","text":"b"}]"#,
                "a\nb",
            ),
            (r#"[{"type":"refusal","refusal":"no"}]"#, "no"),
        ] {
            assert_eq!(text(json).unwrap(), expected);
        }
        for json in [
            r#"[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]"#,
            r#"[{"type":"text","text":"a"},{"type":"text"}]"#,
        ] {
            assert_eq!(text(json).unwrap_err().error()["param"], "content[1]");
        }
        for json in ["7", "{}", r#"["a"]"#] {
            assert!(serde_json::from_str::<Content>(json).is_err(), "{json}");
        }
    }
}
