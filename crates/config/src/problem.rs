//! A mistake in the file while it is being looked at: a place, a message that never holds a secret, and the remedy.

use crate::path::ConfigPath;
use crate::rules::Cure;

/// A range of bytes of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

/// One mistake.
#[derive(Debug)]
pub(crate) struct Problem {
    pub span: Span,
    /// The setting that is wrong; empty for mistakes of syntax. The message continues it.
    pub path: ConfigPath,
    pub message: String,
    pub help: Option<String>,
    /// Boxed, since few have one and parsing hands problems up by value.
    pub note: Option<Box<(Span, &'static str)>>,
    /// The danger rule that refused the file, and what ends it. Boxed like the note.
    pub rule: Option<Box<(&'static str, Cure)>>,
}

impl Problem {
    pub fn at(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            path: ConfigPath::default(),
            message: message.into(),
            help: None,
            note: None,
            rule: None,
        }
    }

    pub fn path(self, path: ConfigPath) -> Self {
        Self { path, ..self }
    }

    pub fn help(self, help: impl Into<String>) -> Self {
        let help = Some(help.into());
        Self { help, ..self }
    }

    pub fn note(self, span: Span, text: &'static str) -> Self {
        let note = Some(Box::new((span, text)));
        Self { note, ..self }
    }
}
