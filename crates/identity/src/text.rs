//! Makes text of unknown origin safe to show: the one implementation for log lines, terminals and error excerpts.
//! What could move the cursor, start an escape sequence, reorder or hide text is shown as an escape; the rest is kept.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character can make text look like something that it is not: control characters (C0, DEL, C1), bidi
/// controls, line and paragraph separators, tag characters, and invisible ones. The two joiners U+200C and U+200D are
/// not among them, since scripts and emoji need them.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One line: everything deceptive is escaped (`\n`, `\t`, `\u{1b}`), so the result has no line break. It is not cut.
pub fn sanitize_line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// Several lines: as [`sanitize_line`], but `\n` and `\t` are kept and `\r\n` becomes `\n`.
pub fn sanitize_block(text: &str) -> Cow<'_, str> {
    let keep = |c| matches!(c, '\n' | '\t');
    match text.contains("\r\n") {
        true => Cow::Owned(escape(&text.replace("\r\n", "\n"), keep).into_owned()),
        false => escape(text, keep),
    }
}

fn escape(text: &str, keep: fn(char) -> bool) -> Cow<'_, str> {
    let shown = |c: char| !is_deceptive(c) || keep(c);
    if text.chars().all(shown) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match shown(c) {
            true => out.write_char(c),
            false if c.is_ascii() => write!(out, "{}", c.escape_default()),
            false => write!(out, "{}", c.escape_unicode()),
        };
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_break_move_colour_or_reorder() {
        assert_eq!(sanitize_line("a\r\nb\tc\0"), "a\\r\\nb\\tc\\u{0}");
        assert_eq!(
            sanitize_line("\u{1b}[31mred\u{9b}0m\u{7f}"),
            "\\u{1b}[31mred\\u{9b}0m\\u{7f}"
        );
        assert_eq!(
            sanitize_line("x\u{202e}txt.exe\u{2066}\u{200b}\u{e0041}"),
            "x\\u{202e}txt.exe\\u{2066}\\u{200b}\\u{e0041}"
        );
        assert_eq!(
            sanitize_line("a\u{2028}b\u{85}c\u{feff}"),
            "a\\u{2028}b\\u{85}c\\u{feff}"
        );
    }

    #[test]
    fn ordinary_text_is_returned_untouched() {
        for text in [
            "",
            "plain",
            "naïve 日本語 العربية",
            "👩\u{200d}👧",
            "می\u{200c}خواهم",
            "C:\\new",
        ] {
            assert!(
                matches!(sanitize_line(text), Cow::Borrowed(same) if same == text),
                "{text}"
            );
            assert!(
                matches!(sanitize_block(text), Cow::Borrowed(same) if same == text),
                "{text}"
            );
        }
    }

    #[test]
    fn a_block_keeps_its_lines_and_tabs_only() {
        assert_eq!(
            sanitize_block("a\n\tb\r\nc\rd\u{1b}"),
            "a\n\tb\nc\\rd\\u{1b}"
        );
    }
}
