//! What a person or a script sees of a chat. On a terminal the answer is shown as it comes; elsewhere only when it is
//! whole, so that a pipe never carries half of an answer or one of two beginnings.

use std::io::{self, Write};

use clawdbot_identity::text::{sanitize_block, sanitize_line};
use clawdbot_proto::v1::{Answer, Failed};
use serde_json::{Value, json};

use super::turn::Show;
use crate::failure::Failure;
use crate::out::{Style, compact};

/// How answers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they come, with remarks between.
    Live,
    /// The text, when it is whole.
    Whole,
    /// One JSON object a message.
    Json,
}

/// Writes answers to `out` and, unless the form is live, remarks to `err`.
pub struct Screen<O, E> {
    out: O,
    err: E,
    style: Style,
    form: Form,
    tools: bool,
    /// Whether the next character of `out` begins a line.
    fresh: bool,
    /// A carriage return that may turn out to be the first half of a line break.
    held: bool,
}

impl<O: Write, E: Write> Screen<O, E> {
    /// `tools`: whether to show tool calls.
    pub fn new(out: O, err: E, style: Style, form: Form, tools: bool) -> Self {
        Self {
            out,
            err,
            style,
            form,
            tools,
            fresh: true,
            held: false,
        }
    }

    /// Whether tool calls are shown.
    pub fn tools(&self) -> bool {
        self.tools
    }

    /// Shows tool calls from now on, or not.
    pub fn set_tools(&mut self, tools: bool) {
        self.tools = tools;
    }

    /// Shows progress.
    pub fn show(&mut self, show: Show) -> io::Result<()> {
        match show {
            Show::Text(text) if self.form == Form::Live => self.more(&text),
            Show::Text(_) => Ok(()),
            Show::Again if self.form == Form::Live => self.remark("(starting again)"),
            Show::Again => Ok(()),
            Show::Ahead(n) => self.remark(&format!("({n} ahead)")),
            Show::Tool(what) if self.tools => self.remark(&format!("· {what}")),
            Show::Tool(_) => Ok(()),
            Show::Waiting => self.remark("waiting for the gateway…"),
            Show::Stopping => self.remark("(stopping; Ctrl-C again does not wait for it)"),
        }
    }

    /// The end of an answer that was shown as far as the form shows it early.
    pub fn answer(&mut self, message_id: &str, answer: &Answer) -> io::Result<()> {
        match self.form {
            Form::Live => self.end_line(),
            Form::Whole => {
                self.more(&answer.text)?;
                self.end_line()
            }
            Form::Json => {
                let usage = answer.usage.unwrap_or_default();
                self.json(&json!({
                    "messageId": message_id,
                    "text": answer.text,
                    "model": answer.model,
                    "usage": { "inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens },
                }))
            }
        }
    }

    /// A message that got no answer, where the chat goes on nevertheless.
    pub fn failed(&mut self, message_id: &str, failed: &Failed) -> io::Result<()> {
        self.refused(
            message_id,
            &Failure::new(&failed.code, failed.message.as_str()),
        )
    }

    /// A message that did not get through, where the chat goes on nevertheless.
    pub fn refused(&mut self, message_id: &str, failure: &Failure) -> io::Result<()> {
        if self.form != Form::Json {
            return self.say(&failure.text(self.style));
        }
        let mut object = failure.json();
        object["messageId"] = message_id.into();
        self.json(&object)
    }

    /// Something that is not the assistant's, as lines of their own. Not sanitised.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        if self.form != Form::Live {
            writeln!(self.err, "{}", text.trim_end())?;
            return self.err.flush();
        }
        self.end_line()?;
        writeln!(self.out, "{}", text.trim_end())?;
        self.out.flush()
    }

    /// A remark for orientation.
    pub fn remark(&mut self, text: &str) -> io::Result<()> {
        self.say(&self.style.dim(&sanitize_line(text)))
    }

    fn json(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.out, "{}", compact(value))?;
        self.out.flush()
    }

    fn more(&mut self, text: &str) -> io::Result<()> {
        let mut text = match std::mem::take(&mut self.held) {
            true => format!("\r{text}"),
            false => text.to_owned(),
        };
        if text.ends_with('\r') {
            text.pop();
            self.held = true;
        }
        if let Some(last) = text.chars().last() {
            self.out.write_all(sanitize_block(&text).as_bytes())?;
            self.out.flush()?;
            self.fresh = last == '\n';
        }
        Ok(())
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.held = false;
        if !std::mem::replace(&mut self.fresh, true) {
            self.out.write_all(b"\n")?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::Usage;

    use super::*;

    fn shown(
        form: Form,
        tools: bool,
        play: impl FnOnce(&mut Screen<&mut Vec<u8>, &mut Vec<u8>>),
    ) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        play(&mut Screen::new(
            &mut out,
            &mut err,
            Style::PLAIN,
            form,
            tools,
        ));
        (
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    }

    fn text(text: &str) -> Show {
        Show::Text(text.into())
    }

    fn whole(text: &str) -> Answer {
        let usage = Some(Usage {
            input_tokens: 3,
            output_tokens: 4,
            ..Usage::default()
        });
        Answer {
            text: text.into(),
            model: "builtin/guide".into(),
            usage,
            ..Answer::default()
        }
    }

    #[test]
    fn a_terminal_sees_the_answer_as_it_comes_and_remarks_on_their_own_lines() {
        let (out, err) = shown(Form::Live, true, |screen| {
            screen.show(text("one")).unwrap();
            screen.show(Show::Tool("look {}".into())).unwrap();
            screen.show(Show::Again).unwrap();
            screen.show(text("two\n")).unwrap();
            screen.answer("m", &whole("two\n")).unwrap();
        });
        assert_eq!(out, "one\n· look {}\n(starting again)\ntwo\n");
        assert_eq!(err, "");
    }

    #[test]
    fn a_pipe_gets_the_whole_answer_and_nothing_else() {
        let (out, err) = shown(Form::Whole, false, |screen| {
            screen.show(text("one")).unwrap();
            screen.show(Show::Again).unwrap();
            screen.show(Show::Waiting).unwrap();
            screen.show(Show::Tool("look".into())).unwrap();
            screen.answer("m", &whole("two")).unwrap();
        });
        assert_eq!(
            (out.as_str(), err.as_str()),
            ("two\n", "waiting for the gateway…\n")
        );
    }

    #[test]
    fn a_script_gets_one_object_a_message() {
        let (out, _) = shown(Form::Json, false, |screen| {
            screen.answer("m-1", &whole("two\nlines")).unwrap();
            screen
                .failed(
                    "m-2",
                    &Failed {
                        code: "turn.timeout".into(),
                        message: "slow".into(),
                    },
                )
                .unwrap();
        });
        let lines: Vec<Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                json!({ "messageId": "m-1", "text": "two\nlines", "model": "builtin/guide",
                        "usage": { "inputTokens": 3, "outputTokens": 4 } }),
                json!({ "messageId": "m-2", "error": { "code": "turn.timeout", "message": "slow", "remedy": null } }),
            ]
        );
    }

    #[test]
    fn nothing_that_a_model_says_reaches_the_terminal_as_a_control_character() {
        let evil = "\u{1b}[2J\u{202e}\u{9b}x\ry";
        for form in [Form::Live, Form::Whole, Form::Json] {
            let (out, err) = shown(form, true, |screen| {
                screen.show(text(evil)).unwrap();
                screen.show(Show::Tool(evil.into())).unwrap();
                screen.answer("m", &whole(evil)).unwrap();
                screen
                    .failed(
                        "m",
                        &Failed {
                            code: "c".into(),
                            message: evil.into(),
                        },
                    )
                    .unwrap();
            });
            let deceptive = |c: &char| clawdbot_identity::text::is_deceptive(*c) && *c != '\n';
            assert_eq!(
                format!("{out}{err}").chars().find(deceptive),
                None,
                "{form:?}"
            );
        }
    }

    #[test]
    fn a_line_break_cut_in_two_is_one_line_break() {
        let (out, _) = shown(Form::Live, false, |screen| {
            screen.show(text("a\r")).unwrap();
            screen.show(text("\nb\r")).unwrap();
            screen.show(text("c")).unwrap();
            screen.answer("m", &whole("a\r\nb\rc")).unwrap();
        });
        assert_eq!(out, "a\nb\\rc\n");
    }
}
