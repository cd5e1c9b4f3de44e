//! What is written down of one decision or event. A record says who decided what for whom, never a credential, a handle or
//! the text of a message.

use std::fmt::Write as _;

use serde_json::Value;

use crate::handle::Trace;

/// Longest text that is taken over into a record, bytes; ids are shorter, so that only nonsense is cut.
const MAX_TEXT: usize = 600;

/// As much of a text as a record has.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

/// One decision, or an event that is told in the same words.
#[derive(Debug, Clone, Copy, Default)]
pub struct Decision<'a> {
    /// What was asked: `verify`, `admit`, `tool`, …
    pub request: &'static str,
    /// The rule that refused it; none when it was permitted.
    pub refused: Option<&'a str>,
    /// Role of the caller.
    pub role: &'a str,
    /// Address of whoever knocked at the front door.
    pub source: &'a str,
    /// Session key.
    pub session: &'a str,
    /// Tool or model that was asked for.
    pub subject: &'a str,
    /// Id of the message, call or request.
    pub id: &'a str,
    /// Which message it comes of; zero where that is not known.
    pub trace: Trace,
    /// So many more like the last one with this rule and source; zero for a decision of its own.
    pub count: u32,
}

impl Decision<'_> {
    /// The inside of a JSON object. Empty fields are left out.
    pub fn fields(&self) -> String {
        // By hand: this is on the way of every decision.
        let decision = match self.refused {
            Some(_) => "deny",
            None => "allow",
        };
        let mut fields = String::with_capacity(256);
        for (name, text) in [
            ("request", self.request),
            ("decision", decision),
            ("rule", self.refused.unwrap_or_default()),
            ("role", self.role),
            ("source", self.source),
            ("session", self.session),
            ("subject", self.subject),
            ("id", self.id),
        ] {
            if !text.is_empty() {
                let comma = if fields.is_empty() { "" } else { "," };
                let text = Value::from(cut(text));
                // Writing to a String cannot fail.
                let _ = write!(fields, "{comma}\"{name}\":{text}");
            }
        }
        if self.trace != Trace::default() {
            let _ = write!(fields, ",\"trace\":\"{}\"", self.trace);
        }
        if self.count > 0 {
            let _ = write!(fields, ",\"count\":{}", self.count);
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(decision: &Decision<'_>) -> Value {
        serde_json::from_str(&format!("{{{}}}", decision.fields())).unwrap()
    }

    #[test]
    fn a_record_says_who_asked_what_and_how_it_was_decided() {
        let denied = Decision {
            request: "tool",
            refused: Some("tool.unknown"),
            role: "executor",
            subject: "rm\u{1b}\n\"",
            id: "call-1",
            ..Decision::default()
        };
        assert!(!denied.fields().contains(['\n', '\u{1b}']));
        assert_eq!(
            object(&denied),
            serde_json::json!({"request": "tool", "decision": "deny", "rule": "tool.unknown",
                "role": "executor", "subject": "rm\u{1b}\n\"", "id": "call-1"})
        );
        let allowed = Decision {
            refused: None,
            trace: Trace([0, 0, 0, 0, 0, 0, 1, 2]),
            count: 3,
            ..denied
        };
        let allowed = object(&allowed);
        assert_eq!(allowed["decision"], "allow");
        assert_eq!(allowed["trace"], "0000000000000102");
        assert_eq!((allowed.get("rule"), &allowed["count"]), (None, &3.into()));
    }

    #[test]
    fn endless_text_is_cut() {
        let long = "é".repeat(1000);
        let decision = Decision {
            request: "tool",
            id: &long,
            ..Decision::default()
        };
        assert!(decision.fields().len() < 2 * MAX_TEXT);
    }
}
