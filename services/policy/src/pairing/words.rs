//! What pairing says to strangers and to the owner. Names that people give themselves are cut, made harmless and marked as
//! theirs; only the id says who it is.

use clawdbot_identity::text::sanitize_line;

use super::book::{Pending, Row};
use crate::settings::Settings;

/// Longest name that is taken over, characters.
const MAX_NAME: usize = 40;

/// What the platform calls somebody, as one line: `Ann (@ann)`.
pub(crate) fn hint(display: &str, username: &str) -> String {
    let cut = |text: &str| text.trim().chars().take(MAX_NAME).collect::<String>();
    let (display, username) = (cut(display), cut(username.trim_start_matches('@')));
    let hint = match (display.as_str(), username.as_str()) {
        (display, "") => display.to_owned(),
        ("", username) => format!("@{username}"),
        (display, username) => format!("{display} (@{username})"),
    };
    sanitize_line(&hint).into_owned()
}

/// To somebody who was let in.
pub(crate) const WELCOME: &str = "You have been let in: what you write from now on is passed on. Your earlier message was not; please send it again.";

/// The answer to a stranger.
pub(crate) fn answer(channel: &str, sender: &str, code: &str) -> String {
    format!(
        "You are not known here yet, so your message was not passed on.\n\n\
         Your {channel} id: {sender}\n\
         Your code, good for one hour: {code}\n\n\
         If the owner of this assistant knows you, ask for this command to be run:\n\
         clawdbot pairing approve {channel} {code}"
    )
}

/// Which list makes the owner of whoever waits, once he is approved of.
pub(crate) fn makes_owner(settings: &Settings, row: &Row<&Pending>) -> Option<&'static str> {
    settings.makes_owner(&row.channel, &row.sender, row.what.name.as_deref())
}

/// Why an approval that makes an owner is not given just so.
pub(crate) fn owner_first(row: &Row<&Pending>, list: &str) -> String {
    let Row {
        channel,
        sender,
        what: Pending { code, .. },
        ..
    } = row;
    format!(
        "this makes {channel} user {sender} the owner: {}. If that is meant: `clawdbot pairing approve {channel} {code} --owner`",
        becomes_owner(row, list)
    )
}

fn becomes_owner(row: &Row<&Pending>, list: &str) -> String {
    let name = row.what.name.as_ref().unwrap_or(&row.sender);
    format!(
        "{name} is in {list}, so the conversation, the memory and the tools of the class main will be this id's, and its word on calls that wait"
    )
}

/// The notice to the owner; `owner`: the list that makes whoever waits the owner.
pub(crate) fn notice(row: &Row<&Pending>, owner: Option<&str>) -> String {
    let Row {
        channel,
        account,
        sender,
        what: Pending {
            code, hint, name, ..
        },
    } = row;
    let calls = match hint.as_str() {
        "" => String::new(),
        hint => format!(
            ", who calls himself or herself \"{}\",",
            hint.replace('"', "'")
        ),
    };
    let through = match account.as_str() {
        crate::distil::DEFAULT_ACCOUNT => String::new(),
        account => format!(" through the account {account}"),
    };
    let (listed, flag) = match (owner, name) {
        (Some(list), _) => (
            format!(
                " ATTENTION, this id will be the owner: {}.",
                becomes_owner(row, list)
            ),
            " --owner",
        ),
        (None, Some(name)) => (
            format!(" {name} is in allowFrom and will mean this id from then on."),
            "",
        ),
        (None, None) => (String::new(), ""),
    };
    format!(
        "{channel} user {sender}{calls} asks to write to the assistant{through}. To allow it: `clawdbot pairing approve {channel} {code}{flag}`; \
         to refuse: `clawdbot pairing reject {channel} {code}`.{listed}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_short_line() {
        for (display, username, expected) in [
            ("Ann", "ann", "Ann (@ann)"),
            ("", "@ann", "@ann"),
            (" Ann\n", "", "Ann"),
            ("", "", ""),
            ("a\u{202e}b\nc", "", "a\\u{202e}b\\nc"),
        ] {
            assert_eq!(hint(display, username), expected);
        }
        assert_eq!(hint(&"é".repeat(100), "").chars().count(), MAX_NAME);
    }

    #[test]
    fn both_texts_name_the_id_the_code_and_the_command() {
        let answer = answer("telegram", "42", "ABCD2345");
        let pending = Pending {
            code: "ABCD2345".to_owned(),
            sender: "42".to_owned(),
            hint: "Ann \"the owner\"".to_owned(),
            name: Some("@ann".to_owned()),
            event: String::new(),
            created_ms: 0,
            told: false,
        };
        let row = Row {
            channel: "telegram".to_owned(),
            account: "work".to_owned(),
            sender: "42".to_owned(),
            what: &pending,
        };
        let list = "commands.ownerAllowFrom";
        for text in [super::notice(&row, Some(list)), owner_first(&row, list)] {
            for part in [
                "@ann is in commands.ownerAllowFrom",
                "the owner:",
                "ABCD2345 --owner",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
        let notice = notice(&row, None);
        assert!(!notice.contains("--owner"), "{notice}");
        assert!(!notice.contains("the owner:"), "{notice}");
        for text in [&answer, &notice] {
            assert!(
                text.contains("42") && text.contains("clawdbot pairing approve telegram ABCD2345"),
                "{text}"
            );
        }
        assert!(
            notice.contains("\"Ann 'the owner'\"")
                && notice.contains("account work")
                && notice.contains("@ann is in allowFrom"),
            "{notice}"
        );
        assert!(!notice.contains('\n'));
    }
}
