//! One line of the log: a JSON object with time, role, level, message and fields. A line of another form, such as the
//! last words of a process, is shown as it is and passes only where no filter needs what it lacks.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use clawdbot_identity::text::sanitize_line;
use clawdbot_service::log::timestamp;
use serde_json::{Map, Value, json};

use crate::args::Level;
use crate::out::Style;

/// The field that says who wrote a line about a process, where that was not the process, and who that is.
pub const FROM: &str = "from";
/// The service manager.
pub const MANAGER: &str = "systemd";

/// Which lines are wanted.
#[derive(Debug, Default)]
pub struct Filter {
    /// A role, or a family of roles such as `agent`.
    pub service: Option<String>,
    /// A timestamp in the form of the log, so that text order is time order.
    pub since: Option<String>,
    /// The least grave level.
    pub level: Option<Level>,
    /// Text that the line contains.
    pub text: Option<String>,
}

impl Filter {
    /// Whether `line` is wanted.
    pub fn passes(&self, line: &Line<'_>) -> bool {
        let member = |name: &str| line.fields.get(name).and_then(Value::as_str);
        let service = |wanted: &String| {
            member("role").is_some_and(|role| {
                role == wanted
                    || role
                        .strip_prefix(wanted.as_str())
                        .is_some_and(|rest| rest.starts_with('-'))
            })
        };
        let level = |wanted: &Level| {
            member("level")
                .and_then(|level| Level::from_str(level, true).ok())
                .is_some_and(|level| level <= *wanted)
        };
        self.service.as_ref().is_none_or(service)
            && self
                .since
                .as_ref()
                .is_none_or(|since| member("time").is_some_and(|time| time >= since.as_str()))
            && self.level.as_ref().is_none_or(level)
            && self
                .text
                .as_ref()
                .is_none_or(|text| line.raw.contains(text.as_str()))
    }
}

/// One line.
pub struct Line<'a> {
    raw: &'a str,
    /// Empty when the line is no JSON object.
    fields: Map<String, Value>,
}

impl<'a> Line<'a> {
    /// Understands `raw` as far as it can be understood.
    pub fn parse(raw: &'a str) -> Self {
        let fields = serde_json::from_str(raw).unwrap_or_default();
        Self { raw, fields }
    }

    /// Whether the service manager said it about a process.
    pub fn is_of_manager(&self) -> bool {
        self.fields.get(FROM).is_some_and(|from| from == MANAGER)
    }

    /// For a script: the object, or `{"message"}` where there is none.
    pub fn json(&self) -> Value {
        match self.fields.is_empty() {
            true => json!({ "message": self.raw }),
            false => self.fields.clone().into(),
        }
    }

    /// In few words: at most `most` characters of message and fields, without those that only serve to find others.
    pub fn brief(&self, most: usize) -> Brief {
        let plain = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let member = |name: &str| self.fields.get(name).map(plain).unwrap_or_default();
        let mut text = member("message");
        let known = ["time", "role", "level", "message", "pid", "trace"];
        for (name, value) in &self.fields {
            if !known.contains(&name.as_str()) {
                text.push_str(&format!(" {name}={}", plain(value)));
            }
        }
        if let Some((end, _)) = text.char_indices().nth(most) {
            text.truncate(end);
            text.push('…');
        }
        Brief {
            time: member("time"),
            level: member("level"),
            role: member("role"),
            text,
        }
    }

    /// For a person: time, level, role, message, fields.
    pub fn text(&self, style: Style) -> String {
        if self.fields.is_empty() {
            return sanitize_line(self.raw).into_owned();
        }
        let mut fields = self.fields.clone();
        let mut take = |name: &str| match fields.remove(name) {
            Some(Value::String(text)) => sanitize_line(&text).into_owned(),
            Some(other) => sanitize_line(&other.to_string()).into_owned(),
            None => String::new(),
        };
        let (time, level, role, message) =
            (take("time"), take("level"), take("role"), take("message"));
        let painted = match level.as_str() {
            "error" => style.red("error"),
            "warn" => style.yellow("warn "),
            _ => format!("{level:<5}"),
        };
        let mut text = format!(
            "{} {painted} {} {message}",
            style.dim(&time),
            style.bold(&format!("{role:<14}"))
        );
        for (name, value) in &fields {
            let value = match value {
                Value::String(value) => sanitize_line(value).into_owned(),
                value => sanitize_line(&value.to_string()).into_owned(),
            };
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                " {}",
                style.dim(&format!("{}={value}", sanitize_line(name)))
            );
        }
        text
    }
}

/// One line in few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// When, in the form of the log.
    pub time: String,
    /// How grave.
    pub level: String,
    /// The process.
    pub role: String,
    /// The message with its fields, cut off where it is too long. Not sanitised.
    pub text: String,
}

/// A moment in the form of the log.
pub fn since(then: SystemTime) -> String {
    // That form has no times before 1970, and neither has the log.
    timestamp(then.max(UNIX_EPOCH))
}

/// The moment that `text` names: a length of time before now, or a date and time in UTC.
///
/// # Errors
/// A sentence, when it is neither.
pub fn moment(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let ago = humantime::parse_duration(text)
        .ok()
        .and_then(|ago| now.checked_sub(ago));
    let then = ago.or_else(|| humantime::parse_rfc3339_weak(text).ok());
    then.ok_or_else(|| {
        format!("--since {text:?} is neither a length of time such as 10m nor a time such as 2026-01-31T12:00:00Z")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WARN: &str = r#"{"time":"2026-01-31T12:00:00.000Z","role":"agent-main","level":"warn","message":"odd","path":"a\u001bb","n":3}"#;

    fn passes(filter: Filter, line: &str) -> bool {
        filter.passes(&Line::parse(line))
    }

    #[test]
    fn a_line_passes_by_what_it_says() {
        let service = |name: &str| Filter {
            service: Some(name.into()),
            ..Filter::default()
        };
        let since = |time: &str| Filter {
            since: Some(time.into()),
            ..Filter::default()
        };
        let level = |level| Filter {
            level: Some(level),
            ..Filter::default()
        };
        let text = |text: &str| Filter {
            text: Some(text.into()),
            ..Filter::default()
        };
        for wanted in [
            Filter::default(),
            service("agent-main"),
            service("agent"),
            since("2026-01-31T12:00:00.000Z"),
            level(Level::Warn),
            level(Level::Trace),
            text("odd"),
        ] {
            assert!(passes(wanted, WARN));
        }
        for unwanted in [
            service("agent-guest"),
            service("age"),
            since("2026-01-31T12:00:00.001Z"),
            level(Level::Error),
            text("even"),
        ] {
            assert!(!passes(unwanted, WARN));
        }
    }

    #[test]
    fn a_line_of_another_form_passes_where_nothing_is_asked_that_it_lacks() {
        assert!(passes(Filter::default(), "last words"));
        assert!(passes(
            Filter {
                text: Some("words".into()),
                ..Filter::default()
            },
            "last words"
        ));
        assert!(!passes(
            Filter {
                level: Some(Level::Trace),
                ..Filter::default()
            },
            "last words"
        ));
        assert_eq!(
            Line::parse("last\u{1b} words").text(Style::PLAIN),
            "last\\u{1b} words"
        );
        assert_eq!(Line::parse("last").json(), json!({ "message": "last" }));
    }

    #[test]
    fn a_line_is_shown_without_what_could_act_on_the_terminal() {
        assert_eq!(
            Line::parse(WARN).text(Style::PLAIN),
            "2026-01-31T12:00:00.000Z warn  agent-main     odd n=3 path=a\\u{1b}b"
        );
        assert_eq!(Line::parse(WARN).json()["n"], 3);
    }

    #[test]
    fn in_few_words_a_line_is_who_when_and_what_and_no_longer_than_wanted() {
        let line = WARN.replace("\"n\":3", "\"n\":3,\"pid\":7,\"trace\":\"t\"");
        let brief = |most| Line::parse(&line).brief(most);
        let whole = Brief {
            time: "2026-01-31T12:00:00.000Z".into(),
            level: "warn".into(),
            role: "agent-main".into(),
            text: "odd n=3 path=a\u{1b}b".into(),
        };
        assert_eq!(brief(99), whole);
        assert_eq!(brief(4).text, "odd …");
        assert_eq!(Line::parse(r#"{"message":"äöü"}"#).brief(2).text, "äö…");
    }

    #[test]
    fn a_time_is_a_length_before_now_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(3600);
        let since = |text: &str, now| moment(text, now).map(since);
        assert_eq!(since("10m", now).unwrap(), "1970-01-01T00:50:00.000Z");
        assert_eq!(since("1h", now).unwrap(), "1970-01-01T00:00:00.000Z");
        assert_eq!(since("100y", now).unwrap(), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            since("2026-01-31T12:00:00Z", now).unwrap(),
            "2026-01-31T12:00:00.000Z"
        );
        assert_eq!(
            since("2026-01-31 12:00:00", now).unwrap(),
            "2026-01-31T12:00:00.000Z"
        );
        for wrong in ["yesterday", "", "10", "99999999999999999999y"] {
            assert!(
                since(wrong, now).unwrap_err().contains("--since"),
                "{wrong}"
            );
        }
    }
}
