//! What a message means before it goes anywhere: a command that policy answers itself, one that its writer may not use and
//! that is dropped without a word, or a message. Whose it is comes from admission, never from the text.

use clawdbot_identity::command::{self, By, Command, Who};

use crate::denied::Denied;
use crate::handle::Standing;

/// What was said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A message, or a command that somebody else answers.
    Message,
    /// Nothing happens and nobody is told.
    Silent(Denied),
    /// This goes back, and nothing else happens.
    Answer(String),
    /// The owner's word on the call that waits under this id.
    Word { id: String, allow: bool },
}

/// Words that may stand with an id, and what they mean.
const WORDS: &[(&str, Option<bool>)] = &[
    ("allow-once", Some(true)),
    ("allow", Some(true)),
    ("once", Some(true)),
    ("deny", Some(false)),
    ("reject", Some(false)),
    ("block", Some(false)),
    // An approval is for one call.
    ("allow-always", None),
    ("always", None),
];

/// Reads a message of somebody. Without `enabled` there are no commands.
pub(crate) fn read(text: &str, standing: Standing, enabled: bool) -> Said {
    let Some((row, rest)) = command::read(text).filter(|_| enabled) else {
        return Said::Message;
    };
    if !row.is_for(Who::of(standing.as_str())) {
        return match row.is_before_a_message(rest) {
            true => Said::Message,
            false => Said::Silent(Denied::new(
                "command.not_yours",
                "the sender may not use this command",
            )),
        };
    }
    match (row.by, row.command) {
        (By::Policy, command) => word(rest, command == Command::Approve),
        _ => Said::Message,
    }
}

fn word(rest: &str, approve: bool) -> Said {
    let mut allow = approve;
    let mut id = None;
    for word in rest.split_whitespace() {
        let known = WORDS.iter().find(|row| row.0.eq_ignore_ascii_case(word));
        match known {
            Some((_, Some(meant))) => allow = *meant && approve,
            Some((_, None)) => {
                return Said::Answer(
                    "An approval is for one call; there is none for always. Nothing was changed."
                        .to_owned(),
                );
            }
            None if id.is_none() => id = Some(word.to_ascii_uppercase()),
            None => id = Some(String::new()),
        }
    }
    match id.filter(|id| !id.is_empty()) {
        Some(id) => Said::Word { id, allow },
        None => Said::Answer(
            "Which call? Write /approve or /deny and the id that stands in the question."
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_identity::command::COMMANDS;

    use super::*;

    const ALL: [Standing; 3] = [Standing::Owner, Standing::Approved, Standing::Stranger];

    #[test]
    fn who_may_use_what_is_what_the_table_says_and_nobody_is_told_otherwise() {
        for row in COMMANDS {
            for standing in ALL {
                let may = row.who >= Who::of(standing.as_str());
                for name in row.names {
                    let said = read(&format!("/{name}"), standing, true);
                    match (may, row.by) {
                        (false, _) => assert!(
                            matches!(&said, Said::Silent(denied) if denied.rule == "command.not_yours"),
                            "{name} {standing}"
                        ),
                        (true, By::Policy) => {
                            assert!(matches!(said, Said::Answer(_)), "{name} {standing}");
                        }
                        (true, _) => assert_eq!(said, Said::Message, "{name} {standing}"),
                    }
                }
            }
        }
    }

    #[test]
    fn what_stands_before_a_message_of_somebody_who_may_not_is_plain_text() {
        for standing in ALL {
            assert_eq!(read("/think high why?", standing, true), Said::Message);
        }
        assert!(matches!(
            read("/think high", Standing::Approved, true),
            Said::Silent(_)
        ));
    }

    #[test]
    fn the_owners_word_names_the_call_in_any_order() {
        let word = |id: &str, allow| Said::Word {
            id: id.to_owned(),
            allow,
        };
        for (text, expected) in [
            ("/approve abcd2345", word("ABCD2345", true)),
            ("/approve ABCD2345 allow-once", word("ABCD2345", true)),
            ("/approve once ABCD2345", word("ABCD2345", true)),
            ("/approve ABCD2345 deny", word("ABCD2345", false)),
            ("/approve block ABCD2345", word("ABCD2345", false)),
            ("/deny ABCD2345", word("ABCD2345", false)),
            // Whatever else it says, it is a refusal.
            ("/deny ABCD2345 allow", word("ABCD2345", false)),
        ] {
            assert_eq!(read(text, Standing::Owner, true), expected, "{text}");
        }
        for text in [
            "/approve",
            "/deny",
            "/approve allow",
            "/approve A B",
            "/approve A always",
        ] {
            assert!(
                matches!(read(text, Standing::Owner, true), Said::Answer(_)),
                "{text}"
            );
        }
    }

    #[test]
    fn without_commands_everything_is_a_message() {
        for text in ["/approve ABCD2345", "/status", "hello"] {
            for standing in ALL {
                assert_eq!(read(text, standing, false), Said::Message);
            }
        }
        assert!(matches!(
            read("/approve ABCD2345", Standing::Owner, true),
            Said::Word { .. }
        ));
    }
}
