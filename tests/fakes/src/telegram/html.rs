//! Telegram's HTML, read as its server reads it: the same tags, the same complaints, entities in UTF-16 units.

use serde_json::{Value, json};

/// Text without tags, and its entities.
pub struct Parsed {
    /// What is shown.
    pub text: String,
    /// As in the Bot API.
    pub entities: Vec<Value>,
}

/// Tag and the entity that it makes.
const TAGS: &[(&str, &str)] = &[
    ("b", "bold"),
    ("strong", "bold"),
    ("i", "italic"),
    ("em", "italic"),
    ("u", "underline"),
    ("ins", "underline"),
    ("s", "strikethrough"),
    ("strike", "strikethrough"),
    ("del", "strikethrough"),
    ("span", "spoiler"),
    ("tg-spoiler", "spoiler"),
    ("tg-emoji", "custom_emoji"),
    ("a", "text_link"),
    ("code", "code"),
    ("pre", "pre"),
    ("blockquote", "blockquote"),
];

struct Open {
    tag: String,
    kind: &'static str,
    argument: String,
    /// UTF-16 units before it.
    offset: usize,
}

/// Reads HTML.
///
/// # Errors
/// Telegram's words for what is wrong.
pub fn parse(html: &str) -> Result<Parsed, String> {
    let mut text = String::new();
    let mut units = 0;
    let mut open: Vec<Open> = Vec::new();
    let mut entities = Vec::new();
    let mut at = 0;
    let mut push = |text: &mut String, c: char| {
        text.push(c);
        units += c.len_utf16();
        units
    };
    let mut length = 0;
    while let Some(c) = html[at..].chars().next() {
        match c {
            '&' => {
                let (c, used) = entity(&html[at..]);
                length = push(&mut text, c);
                at += used;
            }
            '<' => {
                let end = html[at..]
                    .find('>')
                    .ok_or("Unclosed start tag at the end")?;
                let inside = &html[at + 1..at + end];
                if let Some(name) = inside.strip_prefix('/') {
                    let name = name.trim().to_ascii_lowercase();
                    let last = open
                        .pop()
                        .ok_or_else(|| format!("Unexpected end tag at byte offset {at}"))?;
                    if !name.is_empty() && name != last.tag {
                        return Err(format!(
                            "Unmatched end tag at byte offset {at}, expected \"</{}>\", found \"</{name}>\"",
                            last.tag
                        ));
                    }
                    entities.extend(last.finish(length));
                } else {
                    open.push(start(inside, at, length)?);
                }
                at += end + 1;
            }
            c => {
                length = push(&mut text, c);
                at += c.len_utf8();
            }
        }
    }
    if let Some(last) = open.last() {
        return Err(format!(
            "Can't find end tag corresponding to start tag \"{}\"",
            last.tag
        ));
    }
    entities.sort_by_key(|entity: &Value| entity["offset"].as_u64());
    Ok(Parsed {
        text: text.trim_end().to_owned(),
        entities,
    })
}

fn start(inside: &str, at: usize, offset: usize) -> Result<Open, String> {
    let (name, attributes) = match inside.split_once(char::is_whitespace) {
        Some((name, attributes)) => (name, attributes),
        None => (inside, ""),
    };
    let tag = name.to_ascii_lowercase();
    let kind = TAGS.iter().find(|row| row.0 == tag).map(|row| row.1);
    let kind =
        kind.ok_or_else(|| format!("Unsupported start tag \"{tag}\" at byte offset {at}"))?;
    let value = |name: &str| {
        let (_, rest) = attributes.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| decode(value))
    };
    let argument = match tag.as_str() {
        "a" => value("href").unwrap_or_default(),
        "code" => value("class").unwrap_or_default(),
        "span" if value("class").as_deref() != Some("tg-spoiler") => {
            return Err(format!(
                "Tag \"span\" must have class \"tg-spoiler\" at byte offset {at}"
            ));
        }
        _ => String::new(),
    };
    Ok(Open {
        tag,
        kind,
        argument,
        offset,
    })
}

impl Open {
    fn finish(self, end: usize) -> Option<Value> {
        if end == self.offset || (self.tag == "a" && self.argument.is_empty()) {
            return None;
        }
        let mut entity = json!({
            "type": self.kind,
            "offset": self.offset,
            "length": end - self.offset,
        });
        match self.kind {
            "text_link" => entity["url"] = self.argument.into(),
            "code" if self.argument.starts_with("language-") => {
                entity["type"] = "pre".into();
                entity["language"] = self.argument["language-".len()..].into();
            }
            _ => {}
        }
        Some(entity)
    }
}

/// One character reference, or the `&` itself.
fn entity(text: &str) -> (char, usize) {
    let known = [
        ("&lt;", '<'),
        ("&gt;", '>'),
        ("&amp;", '&'),
        ("&quot;", '"'),
    ];
    if let Some((name, c)) = known.iter().find(|(name, _)| text.starts_with(name)) {
        return (*c, name.len());
    }
    let number = text.strip_prefix("&#").and_then(|rest| {
        let (digits, _) = rest.split_once(';')?;
        let value = match digits.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => digits.parse().ok()?,
        };
        Some((char::from_u32(value)?, digits.len() + 3))
    });
    number.unwrap_or(('&', 1))
}

fn decode(text: &str) -> String {
    let mut out = String::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let (c, used) = match c {
            '&' => entity(&text[at..]),
            c => (c, c.len_utf8()),
        };
        out.push(c);
        at += used;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_entities_in_utf16_units() {
        let parsed =
            parse("😀 <b>b &lt; <i>i</i></b> <a href=\"https://x.y/?a&amp;b\">l</a>").unwrap();
        assert_eq!(parsed.text, "😀 b < i l");
        let wanted = [
            json!({"type": "bold", "offset": 3, "length": 5}),
            json!({"type": "italic", "offset": 7, "length": 1}),
            json!({"type": "text_link", "offset": 9, "length": 1, "url": "https://x.y/?a&b"}),
        ];
        assert_eq!(parsed.entities, wanted);
    }

    #[test]
    fn what_telegram_refuses_is_refused() {
        for (html, words) in [
            ("<x>a</x>", "Unsupported start tag"),
            ("<b>a", "Can't find end tag"),
            ("a</b>", "Unexpected end tag"),
            ("<b><i>a</b></i>", "Unmatched end tag"),
            ("a < b", "Unclosed start tag"),
            ("<span>a</span>", "tg-spoiler"),
        ] {
            let error = parse(html).err().unwrap_or_default();
            assert!(error.contains(words), "{html}: {error}");
        }
        assert_eq!(
            parse("a &nbsp; & b &#33;").map(|p| p.text),
            Ok("a &nbsp; & b !".into())
        );
    }
}
