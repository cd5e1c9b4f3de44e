//! Why a configuration did not load, ready to be shown: every mistake with its place, an excerpt, and the remedy.
//! Made while the text is at hand and blanked at once, so that a `LoadError` holds no secret whoever prints it.

use std::fmt::Write;

use clawdbot_identity::text::sanitize_line;

use crate::excerpt::{Excerpt, Lines};
use crate::mask;
use crate::problem::Problem;
use crate::rules::Cure;

/// More mistakes than these are only counted.
const MAX_SHOWN: usize = 50;

/// A configuration that does not load: at least one mistake, in the order of the file.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.first())]
pub struct LoadError {
    file: String,
    mistakes: Vec<Mistake>,
    /// How many mistakes there are beyond those in the list.
    more: usize,
}

/// One mistake of a [`LoadError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where; nothing when the file could not be read at all.
    pub place: Option<Place>,
    /// The setting in question, empty when the file is not even JSON5.
    pub path: String,
    /// The danger rule that refused the file.
    pub rule: Option<&'static str>,
    /// What ends the danger that the rule is about.
    pub cure: Option<Cure>,
    excerpt: Option<Excerpt>,
    note: Option<(Place, &'static str)>,
}

/// A place in the file, as editors count: both from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Mistake {
    /// The line of the file with the place underlined, as two lines; empty when there is none to show.
    pub fn excerpt(&self, color: bool) -> String {
        let (Some(excerpt), Some(place)) = (&self.excerpt, self.place) else {
            return String::new();
        };
        let (red, plain) = if color {
            ("\x1b[31m", "\x1b[0m")
        } else {
            ("", "")
        };
        let gutter = place.line.to_string();
        let blank = " ".repeat(gutter.len());
        let indent = " ".repeat(excerpt.indent);
        let carets = "^".repeat(excerpt.width);
        format!(
            "  {gutter} | {}\n  {blank} | {indent}{red}{carets}{plain}\n",
            excerpt.text
        )
    }
}

impl LoadError {
    /// A file that could not be read.
    pub(crate) fn unreadable(file: &str, message: String, help: &str) -> Self {
        let mistake = Mistake {
            message,
            help: Some(help.to_owned()),
            place: None,
            path: String::new(),
            rule: None,
            cure: None,
            excerpt: None,
            note: None,
        };
        Self {
            file: sanitize_line(file).into_owned(),
            mistakes: vec![mistake],
            more: 0,
        }
    }

    /// `more` is how many problems there are beyond those in the list.
    pub(crate) fn new(file: &str, text: &str, mut problems: Vec<Problem>, more: usize) -> Self {
        problems.sort_by_key(|problem| problem.span);
        // A value that accounts inherit is looked at once for each of them.
        problems.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        let lines = Lines::new(text);
        let masks = mask::secrets(text);
        let shown = problems.iter().take(MAX_SHOWN).map(|problem| Mistake {
            message: match problem.path.is_empty() {
                true => problem.message.clone(),
                false => format!("{} {}", problem.path, problem.message),
            },
            help: problem.help.clone(),
            place: Some(lines.place(problem.span.start)),
            path: problem.path.to_string(),
            rule: problem.rule.as_ref().map(|rule| rule.0),
            cure: problem.rule.as_ref().map(|rule| rule.1.clone()),
            excerpt: Some(lines.excerpt(problem.span, &masks)),
            note: problem
                .note
                .as_ref()
                .map(|note| (lines.place(note.0.start), note.1)),
        });
        Self {
            file: sanitize_line(file).into_owned(),
            mistakes: shown.collect(),
            more: problems.len().saturating_sub(MAX_SHOWN) + more,
        }
    }

    /// The mistakes, at most fifty.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// How many mistakes there are beyond those in the list.
    pub fn more(&self) -> usize {
        self.more
    }

    /// The first mistake in one line: `file:line:column: message`.
    pub fn first(&self) -> String {
        match self.mistakes.first() {
            Some(mistake) => format!("{}: {}", self.location(mistake), mistake.message),
            None => self.file.clone(),
        }
    }

    fn location(&self, mistake: &Mistake) -> String {
        match mistake.place {
            Some(place) => format!("{}:{}:{}", self.file, place.line, place.column),
            None => self.file.clone(),
        }
    }

    /// All mistakes with excerpts and remedies, as text of several lines. Escape sequences only with `color`.
    pub fn render(&self, color: bool) -> String {
        let paint = |code: &'static str| if color { code } else { "" };
        let (bold, cyan, plain) = (paint("\x1b[1m"), paint("\x1b[36m"), paint("\x1b[0m"));
        let mut out = String::new();
        // Writing to a String cannot fail.
        for mistake in &self.mistakes {
            let location = self.location(mistake);
            let _ = writeln!(out, "{bold}{location}: {}{plain}", mistake.message);
            out.push_str(&mistake.excerpt(color));
            if let Some((place, text)) = mistake.note {
                let file = &self.file;
                let _ = writeln!(out, "note: {text}: {file}:{}:{}", place.line, place.column);
            }
            if let Some(help) = &mistake.help {
                let _ = writeln!(out, "{cyan}help{plain}: {help}");
            }
            out.push('\n');
        }
        let _ = match (self.mistakes.len(), self.more) {
            (1, 0) => writeln!(out, "1 mistake in {}", self.file),
            (count, 0) => writeln!(out, "{count} mistakes in {}", self.file),
            (count, more) => writeln!(out, "{count} mistakes in {} and {more} more", self.file),
        };
        out
    }

    /// `{file, errors: [{message, help?, line?, column?, path?, rule?}], more}`.
    pub fn to_json(&self) -> serde_json::Value {
        let errors = self.mistakes.iter().map(|mistake| {
            let mut error = serde_json::Map::new();
            error.insert("message".into(), mistake.message.as_str().into());
            if let Some(help) = &mistake.help {
                error.insert("help".into(), help.as_str().into());
            }
            if let Some(place) = mistake.place {
                error.insert("line".into(), place.line.into());
                error.insert("column".into(), place.column.into());
            }
            if !mistake.path.is_empty() {
                error.insert("path".into(), mistake.path.as_str().into());
            }
            if let Some(rule) = mistake.rule {
                error.insert("rule".into(), rule.into());
            }
            serde_json::Value::Object(error)
        });
        let errors: Vec<_> = errors.collect();
        serde_json::json!({"file": self.file, "errors": errors, "more": self.more})
    }
}
