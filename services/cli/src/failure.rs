//! Why a command did not do what it was asked: one sentence, a remedy, and the exit status that scripts go by.
//! Texts that came from a server are shown sanitised, so that no message can move the cursor.

use std::io::ErrorKind;

use clawdbot_identity::text::{sanitize_block, sanitize_line};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::out::Style;

/// Something failed.
pub const EXIT_FAILURE: u8 = 1;
/// The command line itself is wrong; `doctor`: something critical was found.
pub const EXIT_USAGE: u8 = 2;
/// Nothing is running that could answer.
pub const EXIT_NOT_RUNNING: u8 = 69;
/// The configuration file is not valid.
pub const EXIT_CONFIG: u8 = 78;

/// The code of a failure that means: nothing is running there.
pub const NOT_RUNNING: &str = "not_running";

/// What went wrong, where, and what to do.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Exit status.
    pub exit: u8,
    /// Stable name for scripts.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What the person can do about it.
    pub remedy: Option<String>,
    /// More than a sentence can say.
    pub evidence: Option<Box<Evidence>>,
}

/// What a failure has to show, such as the mistakes of a file.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Lines that are rendered already for this terminal.
    pub text: String,
    /// An object whose members join those of the error.
    pub json: Value,
}

impl Failure {
    /// Exit status 1.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            exit: EXIT_FAILURE,
            code: code.into(),
            message: message.into(),
            remedy: None,
            evidence: None,
        }
    }

    /// The same with another exit status.
    pub fn exit(self, exit: u8) -> Self {
        Self { exit, ..self }
    }

    /// The same with what to do about it.
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// The same with something to show.
    pub fn evidence(self, text: String, json: Value) -> Self {
        Self {
            evidence: Some(Box::new(Evidence { text, json })),
            ..self
        }
    }

    /// A call over a connection that was there did not succeed.
    pub fn call(server: &str, status: &Status) -> Self {
        let message = status.message();
        match status.code() {
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => {
                Self::new("unavailable", format!("{server} did not answer: {message}"))
                    .remedy("try again; `clawdbot status` shows what runs")
            }
            Code::Unimplemented => {
                Self::new("version", format!("{server} does not know this request"))
                    .remedy("the running assistant is of another version: restart it")
            }
            code => Self::new(code_name(code), format!("{server} refused: {message}")),
        }
    }

    /// Whether the reader of our output went away, which is nobody's mistake and not worth a word.
    pub fn is_closed_output(&self) -> bool {
        self.code == CLOSED_OUTPUT
    }

    /// For a person.
    pub fn text(&self, style: Style) -> String {
        let mut text = format!(
            "{} {}\n",
            style.red("error:"),
            sanitize_block(&self.message)
        );
        if let Some(evidence) = &self.evidence {
            text.push_str(evidence.text.trim_end());
            text.push('\n');
        }
        if let Some(remedy) = &self.remedy {
            text.push_str(&format!(
                "{} {}\n",
                style.bold("help:"),
                sanitize_line(remedy)
            ));
        }
        text
    }

    /// For a script: `{"error":{"code","message","remedy"}}`.
    pub fn json(&self) -> Value {
        let mut error =
            json!({ "code": self.code, "message": self.message, "remedy": self.remedy });
        let more = self
            .evidence
            .as_ref()
            .and_then(|evidence| evidence.json.as_object());
        if let (Some(more), Some(error)) = (more, error.as_object_mut()) {
            error.extend(more.clone());
        }
        json!({ "error": error })
    }
}

const CLOSED_OUTPUT: &str = "output.closed";

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::new(CLOSED_OUTPUT, "nobody reads the output any more"),
            _ => Self::new("io", error.to_string()),
        }
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "invalid",
        Code::NotFound => "not_found",
        Code::PermissionDenied | Code::Unauthenticated => "denied",
        Code::ResourceExhausted => "exhausted",
        Code::FailedPrecondition => "precondition",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_a_sentence_and_a_remedy() {
        let failure = Failure::new("x", "the sky fell").remedy("hold it up");
        assert_eq!(
            failure.text(Style::PLAIN),
            "error: the sky fell\nhelp: hold it up\n"
        );
        assert_eq!(
            Failure::new("x", "alone").text(Style::PLAIN),
            "error: alone\n"
        );
    }

    #[test]
    fn a_script_reads_code_message_and_remedy() {
        let failure = Failure::new("x.y", "no").remedy("yes");
        assert_eq!(
            failure.json(),
            json!({ "error": { "code": "x.y", "message": "no", "remedy": "yes" } })
        );
        let failure = failure.evidence("seen\n".into(), json!({ "errors": [1] }));
        assert_eq!(failure.json()["error"]["errors"], json!([1]));
        assert_eq!(failure.text(Style::PLAIN), "error: no\nseen\nhelp: yes\n");
    }

    #[test]
    fn a_servers_text_cannot_control_the_terminal() {
        let failure = Failure::call(
            "policy",
            &Status::invalid_argument("bad \u{1b}[2J\u{202e}name"),
        );
        let text = failure.text(Style::PLAIN);
        assert_eq!(text, "error: policy refused: bad \\u{1b}[2J\\u{202e}name\n");
    }
}
