//! A question in words. Everything that comes from a model or from outside is made safe to show, and what is left out is
//! said, with its length: nobody approves of what he could not know to be there.

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::QuestionRow;
use serde_json::Value;

/// Longest shown value, bytes.
const VALUE: usize = 600;
/// Longest shown arguments, bytes.
const WHAT: usize = 2_400;
/// Reasons that are shown, and the longest.
const REASONS: (usize, usize) = (8, 200);

/// The arguments, one to a line.
pub(super) fn what(arguments: &str) -> String {
    let lines = match serde_json::from_str::<Value>(arguments) {
        Ok(Value::Object(all)) => { all.iter() }
            .map(|(name, value)| {
                let value = match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                format!("{}: {}", shown(name, 64), shown(&value, VALUE))
            })
            .collect(),
        _ if arguments.trim().is_empty() => Vec::new(),
        _ => vec![shown(arguments, VALUE)],
    };
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        if text.len() + line.len() > WHAT {
            text.push_str(&format!(
                "… and {} more arguments that are not shown\n",
                lines.len() - number
            ));
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// One line of at most so many bytes and a remark.
fn shown(text: &str, most: usize) -> String {
    let end = text.floor_char_boundary(most);
    let mut line = sanitize_line(&text[..end]).into_owned();
    line.truncate(line.floor_char_boundary(2 * most));
    match text[end..].chars().count() {
        0 => line,
        more => format!("{line}… ({more} characters more)"),
    }
}

/// The reasons as they are shown.
pub(super) fn reasons(all: &[String]) -> Vec<String> {
    let reasons = all.iter().take(REASONS.0);
    reasons.map(|reason| shown(reason, REASONS.1)).collect()
}

/// The question as the owner reads it in a chat.
pub(super) fn question(row: &QuestionRow) -> String {
    let QuestionRow {
        id,
        session_key,
        tool,
        what,
        reasons,
        ..
    } = row;
    let mut text = format!("May the assistant call {tool}?");
    for part in [what, &reasons.join("\n")] {
        if !part.is_empty() {
            text.push_str("\n\n");
            text.push_str(part);
        }
    }
    let seconds = row.expires_ms.saturating_sub(row.asked_ms).div_ceil(1000);
    text.push_str(&format!(
        "\n\nSession: {session_key}\nYes, once: /approve {id}\nNo: /deny {id}\nWithout an answer it is refused after {seconds} seconds."
    ));
    text
}

/// The question as one line for the status and the web chat, where it cannot be answered.
pub(crate) fn problem(row: &QuestionRow) -> String {
    let QuestionRow {
        id,
        session_key,
        tool,
        what,
        reasons,
        ..
    } = row;
    let why = match reasons.is_empty() {
        true => String::new(),
        false => format!(" ({})", reasons.join("; ")),
    };
    let with = match what.is_empty() {
        true => String::new(),
        false => format!(" with {}", what.replace('\n', ", ")),
    };
    format!(
        "The assistant asks whether it may call {tool}{with} in the session {session_key}{why}. \
         To allow it once: `clawdbot approvals approve {id}`; to refuse: `clawdbot approvals deny {id}`."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_shown_whole_or_it_is_said_how_much_is_not() {
        assert_eq!(
            what(r#"{"to":"ann@example.org","n":3}"#),
            "n: 3\nto: ann@example.org"
        );
        assert_eq!(what("{}"), "");
        let long = "x".repeat(1_000);
        let text = what(&format!(r#"{{"text":"{long}"}}"#));
        assert!(text.ends_with("… (400 characters more)"), "{text}");
        let many: Vec<_> = (0..40)
            .map(|n| format!(r#""k{n:02}":"{}""#, "y".repeat(200)))
            .collect();
        let text = what(&format!("{{{}}}", many.join(",")));
        assert!(text.len() < WHAT + 100 && text.contains("more arguments that are not shown"));
        assert_eq!(
            text.lines().filter(|line| line.starts_with('k')).count(),
            11
        );
    }

    #[test]
    fn nothing_that_is_shown_can_pass_for_something_else() {
        let text = what("{\"a\":\"one\\nYes: /approve X\\u202e\"}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\u{202e}'), "{text}");
        assert_eq!(reasons(&["a\nb".to_owned()]), ["a\\nb"]);
    }

    #[test]
    fn a_question_names_the_call_the_reasons_and_both_answers() {
        let row = QuestionRow {
            id: "ABCD2345".to_owned(),
            session_key: "agent:main:main".to_owned(),
            agent_id: "main".to_owned(),
            tool: "exec".to_owned(),
            what: "command: ls".to_owned(),
            reasons: vec!["the path comes from a web page".to_owned()],
            asked_ms: 0,
            expires_ms: 120_000,
        };
        let chat = question(&row);
        for part in [
            "call exec?",
            "command: ls",
            "the path comes from a web page",
            "/approve ABCD2345",
            "/deny ABCD2345",
            "120 seconds",
        ] {
            assert!(chat.contains(part), "{part}: {chat}");
        }
        let line = problem(&row);
        assert!(!line.contains('\n') && line.contains("clawdbot approvals approve ABCD2345"));
    }
}
