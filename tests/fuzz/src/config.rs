//! The configuration. JSON5 reads as the `json5` crate reads it, with places that lie in the file; a file is either taken
//! or refused with mistakes that can be shown: bounded, printable, in the file, and without its secrets.

use clawdbot_config::fuzzing::{self, Read};
use clawdbot_identity::text::is_deceptive;
use serde_json::Value;

/// Brackets up to which the other parser is asked: it has no limit of its own, and we take 64 levels.
const BRACKETS: usize = 400;

/// JSON5 beside the other parser, and no secret outside of its mask.
pub fn json5(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let ours = fuzzing::json5(text);
    match &ours {
        Ok(read) => places(text, read),
        Err((start, end, message)) => {
            assert!(
                text.get(*start..*end).is_some() && !message.is_empty(),
                "{start}..{end}"
            );
        }
    }
    let shown = fuzzing::shown_secrets(text);
    assert!(shown.is_empty(), "an excerpt would show {shown:?}");
    if bytes
        .iter()
        .filter(|byte| matches!(byte, b'[' | b'{'))
        .count()
        <= BRACKETS
    {
        compare(text, &ours);
    }
    ours.is_ok()
}

fn places(text: &str, read: &Read) {
    // What encloses something stands before it, so the ends of what is open are a stack.
    let mut open: Vec<usize> = Vec::new();
    for (start, end) in &read.places {
        assert!(text.get(*start..*end).is_some_and(|part| !part.is_empty()));
        while open.last().is_some_and(|last| last <= start) {
            open.pop();
        }
        assert!(open.last().is_none_or(|last| last >= end));
        open.push(*end);
    }
}

fn compare(text: &str, ours: &Result<Read, (usize, usize, String)>) {
    let theirs = ::json5::from_str::<Value>(text);
    match (ours, theirs) {
        // The other parser keeps the last of equal keys, which are a mistake here.
        (Ok(read), _) if read.duplicates > 0 => {}
        (Ok(read), Ok(theirs)) => assert_eq!(read.value, floats(theirs)),
        (Err(_), Err(_)) => {}
        (Err((.., message)), _) if message.starts_with("nested deeper") => {}
        // It knows hexadecimal numbers up to 64 bits.
        (Ok(_), Err(error)) if error.to_string().contains("overflow parsing number") => {}
        // Which letters outside of ASCII a bare word may have is a matter of the version of Unicode.
        _ if !text.is_ascii() || text.contains("\\u") => {}
        (ours, theirs) => panic!(
            "ours {:?}, theirs {theirs:?}",
            ours.as_ref().map(|r| &r.value)
        ),
    }
}

fn floats(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.into_iter().map(floats).collect(),
        Value::Object(members) => {
            let members = members.into_iter().map(|(key, value)| (key, floats(value)));
            Value::Object(members.collect())
        }
        other => other,
    }
}

/// A whole configuration.
pub fn settings(bytes: &[u8]) -> bool {
    let name = "clawdbot.json";
    match clawdbot_config::parse(name, bytes) {
        Ok(loaded) => {
            let shown = loaded.to_json();
            let text = shown.to_string();
            if !text.contains("[secret]") {
                let again = clawdbot_config::parse(name, text.as_bytes());
                let again = again.unwrap_or_else(|error| panic!("{}", error.render(false)));
                assert_eq!(again.to_json(), shown);
            }
            true
        }
        Err(error) => {
            let mistakes = error.mistakes();
            assert!((1..=50).contains(&mistakes.len()));
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
            for place in mistakes.iter().filter_map(|mistake| mistake.place) {
                assert!(
                    (1..=lines).contains(&place.line) && place.column >= 1,
                    "{place:?}"
                );
            }
            for mistake in mistakes {
                assert!(
                    !mistake.message.chars().any(is_deceptive),
                    "{:?}",
                    mistake.message
                );
            }
            for color in [false, true] {
                let shown = error.render(color);
                let odd = |c: char| is_deceptive(c) && c != '\n' && !(color && c == '\u{1b}');
                assert!(!shown.chars().any(odd), "{shown:?}");
                assert!(shown.len() <= 50 * 4096, "{}", shown.len());
            }
            assert!(
                error.to_json()["errors"]
                    .as_array()
                    .is_some_and(|all| !all.is_empty())
            );
            false
        }
    }
}
