//! Why the configuration file is not in force, and how its owner is told.

use crate::notices::{About, Notice, To};

/// How long the owner is told of it, milliseconds.
const ALARM_MS: u64 = 24 * 60 * 60 * 1000;

/// Why the file on disk is not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The first error, one line.
    pub(crate) first: String,
    /// All errors with their places.
    pub(crate) rendered: String,
    /// The rule that it is on record under, when it is not the file that is wrong.
    pub(crate) rule: Option<&'static str>,
}

impl Trouble {
    pub(crate) fn line(first: String) -> Self {
        Self {
            rendered: first.clone(),
            first,
            rule: None,
        }
    }

    /// The file is good, and that it changes what is in force cannot be written down.
    pub(crate) fn unrecorded() -> Self {
        Self {
            rule: Some("audit.unavailable"),
            ..Self::line(
                "the audit log cannot be written, so the change does not take effect; it does as soon as there is room on the disk again"
                    .to_owned(),
            )
        }
    }

    /// For the owner, while the last good configuration stays in force.
    pub(crate) fn notice(&self, now_ms: u64) -> Notice {
        Notice {
            about: About::Config,
            to: To::Owners,
            text: format!(
                "The changed configuration is refused, and the last good one stays in force:\n{}\n\
                 `clawdbot config validate` shows all of it.",
                self.first
            ),
            expires_ms: now_ms + ALARM_MS,
            by_others: false,
        }
    }
}
