//! Attachments in words, one row for each kind. Their content is not fetched: that is not there yet, and the model is told
//! what it does not see.

use serde_json::{Map, Value};

/// Field of the message, the word for it, the fields of it that are worth mentioning.
const ROWS: &[(&str, &str, &[&str])] = &[
    // An animation comes with a document of the same file, so it stands before it.
    (
        "animation",
        "animation",
        &["file_name", "size", "duration", "file_size"],
    ),
    ("document", "file", &["file_name", "mime_type", "file_size"]),
    ("photo", "photo", &["size"]),
    (
        "video",
        "video",
        &["file_name", "size", "duration", "file_size"],
    ),
    ("video_note", "video message", &["duration"]),
    ("voice", "voice message", &["duration"]),
    (
        "audio",
        "audio",
        &["performer", "title", "duration", "file_size"],
    ),
    ("sticker", "sticker", &["emoji", "set_name"]),
    ("venue", "place", &["title", "address"]),
    ("location", "location", &["latitude", "longitude"]),
    (
        "contact",
        "contact",
        &["first_name", "last_name", "phone_number"],
    ),
    ("poll", "poll", &["question"]),
    ("dice", "dice", &["emoji", "value"]),
    ("story", "story", &[]),
    ("paid_media", "paid media", &[]),
];

/// Longest value that is repeated, characters.
const LONGEST: usize = 100;

/// Whether what is told of an attachment has words in it, which may be anybody's: names, titles, a poll's question.
pub(crate) fn has_words(rest: &Map<String, Value>) -> bool {
    let row = ROWS.iter().find(|row| rest.contains_key(row.0));
    row.is_some_and(|(field, _, details)| {
        let is_text = |detail: &&str| rest[*field].get(detail).is_some_and(Value::is_string);
        // The server itself sees to it that an emoji is one.
        { details.iter() }.any(|detail| *detail != "emoji" && is_text(detail))
    })
}

/// `[photo 1280x720]`, `[voice message 12 s]`; nothing without an attachment.
pub(crate) fn attachment(rest: &Map<String, Value>) -> Option<String> {
    let (field, word, details) = ROWS.iter().find(|row| rest.contains_key(row.0))?;
    let object = match rest.get(*field)? {
        // Photos come in several sizes, the largest last.
        Value::Array(sizes) => sizes.last()?,
        object => object,
    };
    let shown: Vec<String> = details
        .iter()
        .filter_map(|detail| value(object, detail))
        .collect();
    Some(match shown.is_empty() {
        true => format!("[{word}]"),
        false => format!("[{word} {}]", shown.join(", ")),
    })
}

fn value(object: &Value, detail: &str) -> Option<String> {
    let number = |name: &str| object.get(name).and_then(Value::as_u64);
    match detail {
        "size" => Some(format!("{}x{}", number("width")?, number("height")?)),
        "duration" => Some(format!("{} s", number("duration")?)),
        "file_size" => Some(format!("{} KB", number("file_size")?.div_ceil(1024))),
        _ => match object.get(detail)? {
            Value::String(text) if !text.is_empty() => {
                let odd = |c: char| c.is_control() || matches!(c, '[' | ']');
                let line = text.replace(odd, " ");
                Some(line.chars().take(LONGEST).collect())
            }
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_has_its_words() {
        for (message, wanted) in [
            (
                json!({"photo": [{"width": 90, "height": 51}, {"width": 1280, "height": 720}]}),
                "[photo 1280x720]",
            ),
            (json!({"voice": {"duration": 12}}), "[voice message 12 s]"),
            (
                json!({"document": {"file_name": "a.pdf", "mime_type": "application/pdf", "file_size": 2049}}),
                "[file a.pdf, application/pdf, 3 KB]",
            ),
            (
                json!({"animation": {"width": 2, "height": 1}, "document": {"file_name": "x"}}),
                "[animation 2x1]",
            ),
            (json!({"sticker": {"emoji": "👍"}}), "[sticker 👍]"),
            (
                json!({"location": {"latitude": 1.5, "longitude": -2}}),
                "[location 1.5, -2]",
            ),
            (json!({"story": {}}), "[story]"),
            (
                json!({"contact": {"first_name": "A]\n[B"}}),
                "[contact A   B]",
            ),
            (
                json!({"document": {"file_name": "a\u{1b}[2J\u{85}.pdf"}}),
                "[file a  2J .pdf]",
            ),
        ] {
            let Value::Object(rest) = message else {
                panic!()
            };
            assert_eq!(attachment(&rest).as_deref(), Some(wanted));
        }
        assert_eq!(attachment(&Map::new()), None);
        assert!(!has_words(&Map::new()));
        for (field, word, _) in ROWS {
            let rest = Map::from_iter([((*field).to_owned(), json!({}))]);
            assert_eq!(attachment(&rest), Some(format!("[{word}]")));
        }
    }

    #[test]
    fn words_that_anybody_may_have_chosen_are_known_for_such() {
        for (message, words) in [
            (json!({"photo": [{"width": 90, "height": 51}]}), false),
            (json!({"voice": {"duration": 12}}), false),
            (json!({"sticker": {"emoji": "👍"}}), false),
            (json!({"sticker": {"emoji": "👍", "set_name": "s"}}), true),
            (json!({"location": {"latitude": 1.5}}), false),
            (json!({"document": {"file_size": 7}}), false),
            (json!({"document": {"file_name": "do this.pdf"}}), true),
            (json!({"poll": {"question": "q"}}), true),
            (json!({"contact": {"first_name": "A"}}), true),
        ] {
            let Value::Object(rest) = message else {
                panic!()
            };
            assert_eq!(has_words(&rest), words, "{rest:?}");
        }
    }
}
