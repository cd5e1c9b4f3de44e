//! What Telegram's refusals mean, as one table. Its descriptions are for people, but they are all there is to go by.

use std::time::Duration;

use clawdbot_channel::{Outcome, Rejected};

/// Why a call brought no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallError {
    /// Nothing of the request left, or it surely did not reach Telegram.
    NotSent(String),
    /// Something left and no whole answer came.
    Lost(String),
    /// Telegram answered with a refusal.
    Refused(Refusal),
}

/// A refusal in the Bot API's envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// HTTP status, mostly.
    pub(crate) code: i64,
    /// Telegram's words, safe to show.
    pub(crate) description: String,
    /// The pause that it asked for.
    pub(crate) retry_after: Option<Duration>,
    /// The id that a group has as a supergroup.
    pub(crate) migrate_to: Option<i64>,
}

/// What a refused request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The markup is not understood: once more as plain text.
    BadMarkup,
    /// The message has this text already.
    Unchanged,
    /// The message to change is not there or cannot be changed.
    Gone,
    /// The method is not known to this server.
    NoMethod,
    /// The token is no token any more.
    Revoked,
    /// A web hook receives the updates.
    WebHook,
    /// Somebody else polls.
    Conflict,
    /// Too fast.
    TooFast,
    /// The server has trouble; whether it acted is not known.
    Trouble,
    /// For good, with the class of SendReport.
    Never(&'static str),
}

/// Code, words of the description in lower case, meaning; the first row that fits counts.
const ROWS: &[(i64, &str, Meaning)] = &[
    (400, "can't parse entities", Meaning::BadMarkup),
    (400, "message is not modified", Meaning::Unchanged),
    (400, "message to edit not found", Meaning::Gone),
    (400, "message can't be edited", Meaning::Gone),
    (400, "message_id_invalid", Meaning::Gone),
    (400, "chat not found", Meaning::Never("not_found")),
    (400, "message thread not found", Meaning::Never("not_found")),
    (400, "message is too long", Meaning::Never("too_large")),
    (400, "not enough rights", Meaning::Never("forbidden_target")),
    (400, "have no rights", Meaning::Never("forbidden_target")),
    (400, "topic_closed", Meaning::Never("forbidden_target")),
    (
        400,
        "chat_write_forbidden",
        Meaning::Never("forbidden_target"),
    ),
    (400, "", Meaning::Never("bad_format")),
    (401, "", Meaning::Revoked),
    (403, "", Meaning::Never("forbidden_target")),
    (404, "method not found", Meaning::NoMethod),
    // A token that never existed.
    (404, "", Meaning::Revoked),
    (409, "webhook", Meaning::WebHook),
    (409, "", Meaning::Conflict),
    (413, "", Meaning::Never("too_large")),
    (420, "", Meaning::TooFast),
    (429, "", Meaning::TooFast),
];

impl Refusal {
    pub(crate) fn meaning(&self) -> Meaning {
        let words = self.description.to_ascii_lowercase();
        let row = ROWS
            .iter()
            .find(|(code, text, _)| *code == self.code && words.contains(text));
        row.map_or(Meaning::Trouble, |row| row.2)
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(message) | Self::Lost(message) => f.write_str(message),
            Self::Refused(refusal) => write!(f, "{} ({})", refusal.description, refusal.code),
        }
    }
}

/// What has become of a message that was sent to `chat`.
pub(crate) fn outcome(error: CallError, chat: i64) -> Outcome {
    let refusal = match error {
        CallError::NotSent(message) => return not_started("transient", message, None),
        CallError::Lost(message) => return Outcome::Unknown(message),
        CallError::Refused(refusal) => refusal,
    };
    if let Some(to) = refusal.migrate_to {
        return Outcome::Moved {
            from: chat.to_string(),
            to: to.to_string(),
        };
    }
    let message = refusal.description.clone();
    match refusal.meaning() {
        Meaning::Unchanged => Outcome::Done(String::new()),
        Meaning::Gone => Outcome::Gone,
        Meaning::Revoked => not_started("auth_revoked", message, None),
        Meaning::NoMethod | Meaning::WebHook | Meaning::Conflict => {
            not_started("needs_user_action", message, None)
        }
        Meaning::TooFast => {
            let pause = refusal.retry_after.unwrap_or(Duration::from_secs(1));
            not_started("rate_limited", message, Some(pause))
        }
        Meaning::Trouble => Outcome::Unknown(message),
        Meaning::BadMarkup => rejected("bad_format", message),
        Meaning::Never(class) => rejected(class, message),
    }
}

fn not_started(class: &'static str, message: String, after: Option<Duration>) -> Outcome {
    Outcome::NotStarted {
        class,
        message,
        after,
    }
}

fn rejected(class: &'static str, message: String) -> Outcome {
    Outcome::Rejected(Rejected { class, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: i64, description: &str) -> Refusal {
        Refusal {
            code,
            description: description.into(),
            retry_after: None,
            migrate_to: None,
        }
    }

    #[test]
    fn every_row_is_reached_by_its_own_words() {
        for (code, words, meaning) in ROWS {
            let refusal = refusal(*code, &words.to_uppercase());
            assert_eq!(refusal.meaning(), *meaning, "{code} {words}");
        }
        for code in [500, 502, 503, 504, 418] {
            assert_eq!(refusal(code, "Bad Gateway").meaning(), Meaning::Trouble);
        }
    }

    #[test]
    fn only_what_surely_did_not_happen_may_happen_again() {
        let certain = |outcome: Outcome| matches!(outcome, Outcome::NotStarted { .. });
        assert!(certain(outcome(CallError::NotSent("x".into()), 1)));
        assert!(certain(outcome(CallError::Refused(refusal(429, "")), 1)));
        assert!(certain(outcome(CallError::Refused(refusal(401, "")), 1)));
        for error in [
            CallError::Lost("x".into()),
            CallError::Refused(refusal(502, "Bad Gateway")),
        ] {
            assert!(matches!(outcome(error, 1), Outcome::Unknown(_)));
        }
        let blocked = outcome(CallError::Refused(refusal(403, "bot was blocked")), 1);
        assert!(matches!(blocked, Outcome::Rejected(_)));
    }

    #[test]
    fn a_group_that_became_a_supergroup_is_followed() {
        let mut error = refusal(400, "group chat was upgraded to a supergroup chat");
        error.migrate_to = Some(-1001);
        let moved = Outcome::Moved {
            from: "-1".into(),
            to: "-1001".into(),
        };
        assert_eq!(outcome(CallError::Refused(error), -1), moved);
    }
}
