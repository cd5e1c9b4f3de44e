//! How results reach standard output: text with colours only on a terminal, JSON in one form, tables.
//! Nothing that a server or model said is printed unsanitised, not even inside JSON.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use clawdbot_identity::text::{is_deceptive, sanitize_line};
use serde_json::Value;

/// Whether text may carry colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    color: bool,
}

impl Style {
    /// No colours.
    #[cfg(test)]
    pub const PLAIN: Self = Self { color: false };

    /// Colours if `terminal`, unless the person does not want them: `--no-color`, or `NO_COLOR` set and not empty.
    pub fn new(terminal: bool, no_color: bool) -> Self {
        let refused =
            no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            color: terminal && !refused,
        }
    }

    /// Whether colours are on.
    pub fn color(self) -> bool {
        self.color
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.color {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// Errors and what is critical.
    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Warnings.
    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// What is as it should be.
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Headings.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What is only there for orientation.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// How this run shows its results.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// JSON instead of text.
    pub json: bool,
    /// More detail.
    pub verbose: bool,
    /// For standard output.
    pub style: Style,
    /// For standard error.
    pub err: Style,
}

impl Out {
    /// Looks at the terminals and at the flags.
    pub fn new(json: bool, verbose: bool, no_color: bool) -> Self {
        Self {
            json,
            verbose,
            style: Style::new(io::stdout().is_terminal() && !json, no_color),
            err: Style::new(io::stderr().is_terminal(), no_color),
        }
    }

    /// Writes `text` as it is; it ends in a line break or gets one.
    pub fn text(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()
    }

    /// Writes one JSON value, indented.
    pub fn value(&self, value: &Value) -> io::Result<()> {
        self.text(&pretty(value))
    }

    /// Writes one JSON value on one line.
    pub fn line(&self, value: &Value) -> io::Result<()> {
        self.text(&compact(value))
    }

    /// A remark for the person, on standard error.
    pub fn remark(&self, text: &str) {
        // Whoever closed standard error does not want to know.
        let _closed = writeln!(io::stderr().lock(), "{text}");
    }
}

/// One line of JSON. What could deceive on a terminal is written as an escape, so no byte of it can act there.
pub fn compact(value: &Value) -> String {
    escaped(&value.to_string())
}

/// Indented JSON, escaped like [`compact`].
pub fn pretty(value: &Value) -> String {
    escaped(&format!("{value:#}"))
}

/// Outside of strings JSON has no such characters but line breaks, and inside it has those only as escapes.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || !is_deceptive(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// Columns of equal width, two spaces apart, with a heading. Cells are sanitised; the last column is not padded.
pub fn table<const N: usize>(style: Style, heading: [&str; N], rows: &[[String; N]]) -> String {
    let clean: Vec<[String; N]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| sanitize_line(cell).into_owned()))
        .collect();
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in &clean {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(cells) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        line.truncate(line.trim_end().len());
        line
    };
    let mut out = style.bold(&line(heading));
    out.push('\n');
    for row in &clean {
        out.push_str(&line(row.each_ref().map(String::as_str)));
        out.push('\n');
    }
    out
}

/// `3 s`, `12 min`, `5 h 2 min`, `9 d 3 h`: how long something has lasted, for a person.
pub fn duration(ms: u64) -> String {
    let (s, min, h) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    match () {
        () if min == 0 => format!("{s} s"),
        () if h == 0 => format!("{min} min"),
        () if h < 24 => format!("{h} h {} min", min % 60),
        () => format!("{} d {} h", h / 24, h % 24),
    }
}

/// `1 warning`, `2 warnings`.
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_is_aligned_and_its_cells_stay_on_their_line() {
        let rows = [
            ["gateway".to_owned(), "12".to_owned(), "ready".to_owned()],
            ["x\n\u{1b}[2J".to_owned(), "12345".to_owned(), String::new()],
        ];
        assert_eq!(
            table(Style::PLAIN, ["ROLE", "PID", "STATE"], &rows),
            "ROLE          PID    STATE\n\
             gateway       12     ready\n\
             x\\n\\u{1b}[2J  12345\n"
        );
    }

    #[test]
    fn json_keeps_its_meaning_and_loses_what_acts_on_a_terminal() {
        let value = json!({ "text": "a\u{202e}b\u{9b}c\u{e0041}\u{1b}\n", "n": 1 });
        for shown in [compact(&value), pretty(&value)] {
            assert!(
                !shown.chars().any(|c| is_deceptive(c) && c != '\n'),
                "{shown}"
            );
            assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        }
        assert!(!compact(&value).contains('\n'));
    }

    #[test]
    fn colours_need_a_terminal_and_consent() {
        assert!(!Style::new(false, false).color());
        assert!(!Style::new(true, true).color());
        assert_eq!(Style { color: true }.dim("x"), "\x1b[2mx\x1b[0m");
        assert_eq!(Style::PLAIN.dim("x"), "x");
    }

    #[test]
    fn durations_have_at_most_two_parts() {
        for (ms, text) in [
            (0, "0 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (3_599_999, "59 min"),
            (5 * 3_600_000 + 120_000, "5 h 2 min"),
            (219 * 3_600_000, "9 d 3 h"),
        ] {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(
            (count(1, "row"), count(0, "row")),
            ("1 row".into(), "0 rows".into())
        );
    }
}
