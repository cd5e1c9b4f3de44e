//! The line of the file that a mistake stands in, with the place underlined.
//! Blanks secrets, shows control and bidi characters escaped, and cuts long lines around the place.

use clawdbot_identity::text::{is_deceptive, sanitize_line};

use crate::problem::Span;
use crate::report::Place;

/// Columns of an excerpt.
const WIDTH: usize = 100;
/// Bytes of the line that are looked at on either side of the place.
const REACH: usize = 400;

/// One line and what to underline in it, in columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub text: String,
    pub indent: usize,
    pub width: usize,
}

/// A text whose lines can be looked up.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        Self { text, starts }
    }

    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|&start| start <= at) - 1
    }

    pub fn place(&self, at: usize) -> Place {
        let line = self.line(at);
        let before = &self.text[self.starts[line]..at];
        // A byte order mark is not a character that an editor shows.
        let characters = before.chars().filter(|&c| c != '\u{feff}').count();
        Place {
            line: line + 1,
            column: characters + 1,
        }
    }

    pub fn excerpt(&self, span: Span, masks: &[Span]) -> Excerpt {
        let start = self.starts[self.line(span.start)];
        let rest = &self.text[start..];
        let end = start + rest.find('\n').unwrap_or(rest.len());
        let end = start + self.text[start..end].trim_end_matches('\r').len();
        let from = self
            .text
            .ceil_char_boundary(start.max(span.start.saturating_sub(REACH)));
        let to = self.text.floor_char_boundary(end.min(span.start + REACH));
        // `at` columns are shown so far; the place begins at `first` and ends at `last`.
        let (mut shown, mut at, mut first, mut last) = (String::new(), 0, 0, 0);
        let mut masks = masks.iter().skip_while(|mask| mask.end <= from).peekable();
        let mut blanked = None;
        let mut shown_push = |piece: &str| {
            shown.push_str(piece);
            at += piece.chars().count();
            at
        };
        let mut column = 0;
        for (offset, c) in self.text[from..to].char_indices() {
            let offset = from + offset;
            if offset <= span.start {
                first = column;
            }
            while masks.next_if(|mask| mask.end <= offset).is_some() {}
            match masks.peek() {
                Some(mask) if mask.start <= offset => {
                    if blanked != Some(mask.start) {
                        blanked = Some(mask.start);
                        column = shown_push("***");
                    }
                }
                _ if c == '\u{feff}' && offset == 0 => {}
                _ if c == '\t' => column = shown_push(" "),
                _ if is_deceptive(c) => {
                    column = shown_push(&sanitize_line(c.encode_utf8(&mut [0; 4])))
                }
                _ => column = shown_push(c.encode_utf8(&mut [0; 4])),
            }
            if offset < span.end {
                last = column;
            }
        }
        if span.start >= to {
            first = column;
        }
        cut(
            &shown,
            first,
            last.saturating_sub(first).max(1),
            from > start,
            to < end,
        )
    }
}

/// At most [`WIDTH`] columns around the place, with `…` where something is missing.
fn cut(text: &str, indent: usize, width: usize, before: bool, after: bool) -> Excerpt {
    let columns: Vec<char> = text.chars().collect();
    let from = match columns.len() > WIDTH {
        true => indent.saturating_sub(WIDTH / 2).min(columns.len() - WIDTH),
        false => 0,
    };
    let to = columns.len().min(from + WIDTH);
    let head = if from > 0 || before { "…" } else { "" };
    let tail = if to < columns.len() || after {
        "…"
    } else {
        ""
    };
    let middle: String = columns[from..to].iter().collect();
    let indent = indent - from;
    Excerpt {
        text: format!("{head}{middle}{tail}"),
        indent: indent + head.chars().count(),
        width: width.min((to - from).saturating_sub(indent).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, part: &str, masks: &[Span]) -> String {
        let start = text.find(part).unwrap();
        let excerpt = Lines::new(text).excerpt(Span::new(start, start + part.len()), masks);
        let carets = "^".repeat(excerpt.width);
        format!("{}\n{}{carets}", excerpt.text, " ".repeat(excerpt.indent))
    }

    #[test]
    fn the_place_is_underlined_in_its_line() {
        assert_eq!(shown("{\n  a: 12,\r\n}", "12", &[]), "  a: 12,\n     ^^");
        assert_eq!(shown("{\n\tö: 12}", "12", &[]), " ö: 12}\n    ^^");
        assert_eq!(shown("{ a: {\n} }", "{\n}", &[]), "{ a: {\n     ^");
    }

    #[test]
    fn control_and_bidi_characters_are_shown_escaped_and_the_place_still_fits() {
        let text = "{a: '\u{202e}\u{1b}[2J', b: 12}";
        assert_eq!(
            shown(text, "12", &[]),
            format!(
                "{{a: '\\u{{202e}}\\u{{1b}}[2J', b: 12}}\n{}^^",
                " ".repeat(28)
            )
        );
    }

    #[test]
    fn secrets_are_blanked_also_where_they_are_the_place() {
        let text = "{token: 'hunter2', b: 12}";
        let mask = [Span::new(9, 16)];
        assert_eq!(
            shown(text, "12", &mask),
            "{token: '***', b: 12}\n                  ^^"
        );
        assert_eq!(
            shown(text, "'hunter2'", &mask),
            "{token: '***', b: 12}\n        ^^^^^"
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{{{} x: 12, {}}}", "a".repeat(5000), "b".repeat(5000));
        let shown = shown(&text, "12", &[]);
        let (line, carets) = shown.split_once('\n').unwrap();
        assert_eq!(line.chars().count(), WIDTH + 2);
        assert!(line.starts_with('…') && line.ends_with('…'));
        let at = carets.chars().position(|c| c == '^').unwrap();
        let under: String = line.chars().skip(at).take(2).collect();
        assert_eq!(under, "12");
    }

    #[test]
    fn columns_count_characters() {
        let lines = Lines::new("\u{feff}{ö: 1}\nxy");
        assert_eq!(lines.place(6), Place { line: 1, column: 3 });
        assert_eq!(lines.place(10), Place { line: 1, column: 7 });
        assert_eq!(lines.place(11), Place { line: 2, column: 1 });
    }
}
