//! What the supervisor says about itself with `--json`, one object a line. Lines of another kind are passed over, so
//! that a newer supervisor may say more.

use serde_json::Value;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A process changed its state.
    Process {
        /// Which one.
        role: String,
        /// What it is now.
        state: String,
    },
    /// Everything runs.
    Ready {
        /// Address of the front door.
        url: String,
        /// Where the state is.
        state_dir: String,
    },
    /// Something is wrong.
    Error {
        /// What.
        message: String,
        /// What to do.
        remedy: Option<String>,
    },
}

/// Understands one line.
pub fn parse(line: &str) -> Option<Event> {
    let object: Value = serde_json::from_str(line).ok()?;
    let member = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    match object.get("event")?.as_str()? {
        "process" => Some(Event::Process {
            role: member("role")?,
            state: member("state")?,
        }),
        "ready" => Some(Event::Ready {
            url: member("url")?,
            state_dir: member("stateDir")?,
        }),
        "error" => Some(Event::Error {
            message: member("message")?,
            remedy: member("remedy"),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_known_event_is_understood() {
        assert_eq!(
            parse(r#"{"event":"ready","url":"http://127.0.0.1:1","stateDir":"/s","processes":[]}"#),
            Some(Event::Ready {
                url: "http://127.0.0.1:1".into(),
                state_dir: "/s".into()
            })
        );
        assert_eq!(
            parse(r#"{"event":"process","role":"gateway","state":"ready","pid":1}"#),
            Some(Event::Process {
                role: "gateway".into(),
                state: "ready".into()
            })
        );
        assert_eq!(
            parse(r#"{"event":"error","message":"no","remedy":"yes"}"#),
            Some(Event::Error {
                message: "no".into(),
                remedy: Some("yes".into())
            })
        );
    }

    #[test]
    fn other_lines_are_passed_over() {
        for line in [
            "",
            "{",
            "[]",
            "3",
            r#"{"event":"stopped"}"#,
            r#"{"event":"ready"}"#,
            r#"{"event":1}"#,
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
