//! The one error of this crate: what kind of name was expected and which rule the text broke.
//! It never repeats the text itself, since that may come from a stranger or be a secret put in the wrong place.

use std::fmt;

/// A text that is not a valid name of the kind that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdError {
    what: &'static str,
    rule: &'static str,
}

impl IdError {
    pub(crate) const fn new(what: &'static str, rule: &'static str) -> Self {
        Self { what, rule }
    }

    /// What was expected, for instance `agent id`.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// The rule that the text broke, for instance `must be 1 to 64 characters …`.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.rule)
    }
}

impl std::error::Error for IdError {}
