//! From Markdown to Telegram's HTML. Any text can be sent: no message is longer than the limit, blank, or refused by a
//! server that reads HTML as Telegram's does, and nothing but white space is lost between them.

use clawdbot_channel::{Chunking, Marked, parse_markdown, utf16_len};
use clawdbot_channel_telegram::fuzzing;
use clawdbot_fakes::telegram::parse_html;

/// Texts up to which very short messages are tried too, bytes.
const SHORT: usize = 1024;

/// Any text.
pub fn markdown(bytes: &[u8]) -> bool {
    let source = String::from_utf8_lossy(bytes);
    let marked = parse_markdown(&source);
    spans(&marked);
    assert!(
        marked.text.len() <= 80 * source.len() + 80,
        "{}",
        marked.text.len()
    );
    let limits: &[usize] = match source.len() <= SHORT {
        true => &[2, 3, 40, 4096],
        false => &[400, 4096],
    };
    for limit in limits {
        for chunking in [Chunking::Length, Chunking::Newline] {
            messages(&source, &marked.text, *limit, chunking);
        }
    }
    !marked.spans.is_empty()
}

/// One inside the other or side by side, between characters.
fn spans(marked: &Marked) {
    let mut open: Vec<usize> = Vec::new();
    for span in &marked.spans {
        let range = &span.range;
        assert!(
            marked
                .text
                .get(range.clone())
                .is_some_and(|text| !text.is_empty())
        );
        while open.last().is_some_and(|end| *end <= range.start) {
            open.pop();
        }
        assert!(
            open.last().is_none_or(|end| *end >= range.end),
            "{:?}",
            marked.spans
        );
        open.push(range.end);
    }
}

fn messages(source: &str, text: &str, limit: usize, chunking: Chunking) {
    let messages = fuzzing::messages(source, limit, chunking);
    let mut all = String::new();
    for (html, plain) in &messages {
        assert!(
            utf16_len(plain) <= limit && !plain.trim().is_empty(),
            "{plain:?}"
        );
        let read = parse_html(html).unwrap_or_else(|words| panic!("{words}: {html}"));
        assert_eq!(read.text, plain.trim_end(), "{html}");
        let units = utf16_len(plain) as u64;
        for entity in &read.entities {
            let number = |name: &str| entity[name].as_u64().expect("a number");
            assert!(number("length") > 0 && number("offset") + number("length") <= units);
        }
        all.push_str(plain);
    }
    assert!(visible(&all).eq(visible(text)), "{messages:?}");
}

fn visible(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| !c.is_whitespace())
}
