//! The same rules on every channel: one table for all six, mentions and commands, people with several ids.

use super::tests::{ANN, Known, direct_from, judged_on};
use super::*;
use crate::distil::tests::settings_of;

/// A channel with somebody, somebody else, a stranger, two groups and how its bot is seen to be mentioned.
struct Cast {
    channel: &'static str,
    one: &'static str,
    two: &'static str,
    stranger: &'static str,
    group: &'static str,
    other: &'static str,
    /// Under which key a group stands, and its part of the group's id.
    row: (&'static str, &'static str),
    people: &'static str,
    marks: bool,
}

const CASTS: &[Cast] = &[
    Cast {
        channel: "whatsapp",
        one: "+15555550100",
        two: "+15555550101",
        stranger: "lid:99",
        group: "120363000000000000@g.us",
        other: "120363000000000001@g.us",
        row: ("groups", "120363000000000000@g.us"),
        people: "allowFrom",
        marks: true,
    },
    Cast {
        channel: "telegram",
        one: "1",
        two: "2",
        stranger: "9",
        group: "-1001",
        other: "-1002",
        row: ("groups", "-1001"),
        people: "allowFrom",
        marks: true,
    },
    Cast {
        channel: "discord",
        one: "123456789012345678",
        two: "123456789012345679",
        stranger: "923456789012345678",
        group: "223456789012345678/323456789012345678",
        other: "223456789012345679/323456789012345679",
        row: ("guilds", "223456789012345678"),
        people: "users",
        marks: true,
    },
    Cast {
        channel: "signal",
        one: "uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        two: "+15555550101",
        stranger: "+15555550109",
        group: "AbCdEfGh+/123456==",
        other: "ZbCdEfGh+/123456==",
        row: ("groups", "AbCdEfGh+/123456=="),
        people: "allowFrom",
        marks: false,
    },
    Cast {
        channel: "imessage",
        one: "+15555550100",
        two: "ann@example.org",
        stranger: "eve@example.org",
        group: "chat_id:1",
        other: "chat_id:2",
        row: ("groups", "chat_id:1"),
        people: "allowFrom",
        marks: false,
    },
    Cast {
        channel: "bluebubbles",
        one: "+15555550100",
        two: "ann@example.org",
        stranger: "eve@example.org",
        group: "chat_guid:iMessage;+;chat1",
        other: "chat_id:2",
        row: ("groups", "chat_guid:iMessage;+;chat1"),
        people: "allowFrom",
        marks: false,
    },
];

impl Cast {
    fn settings(&self, section: &str) -> Settings {
        let channel = self.channel;
        settings_of(&format!(
            "{{commands: {{ownerAllowFrom: ['{channel}:{}']}}, messages: {{groupChat: {{mentionPatterns: ['\\\\bclawd\\\\b']}}}},
              channels: {{{channel}: {{{section}}}}}}}",
            self.one
        ))
    }

    fn direct(&self, id: &'static str) -> Message<'static> {
        Message {
            marks_mentions: self.marks,
            ..direct_from(Person {
                id,
                username: "",
                ..ANN
            })
        }
    }

    fn grouped(
        &self,
        group: &'static str,
        id: &'static str,
        text: &'static str,
    ) -> Message<'static> {
        Message {
            place: Place::Group {
                id: group,
                thread: "",
            },
            text,
            ..self.direct(id)
        }
    }
}

/// Without the session.
pub(super) fn standing(told: &str) -> &str {
    told.rsplit_once(' ').map_or(told, |(who, _)| who)
}

#[test]
fn direct_messages_follow_the_same_policies_on_every_channel() {
    for cast in CASTS {
        for (policy, list, expected) in [
            (
                "pairing",
                "'ONE', 'TWO'",
                ["main owner", "guest approved", "pair"],
            ),
            ("pairing", "", ["main owner", "pair", "pair"]),
            (
                "allowlist",
                "'TWO'",
                ["main owner", "guest approved", "dm.not_listed"],
            ),
            (
                "allowlist",
                "",
                ["main owner", "dm.not_listed", "dm.not_listed"],
            ),
            (
                "open",
                "'TWO', '*'",
                ["main owner", "guest approved", "guest stranger"],
            ),
            ("disabled", "'ONE', 'TWO'", ["dm.disabled"; 3]),
        ] {
            let list = list.replace("ONE", cast.one).replace("TWO", cast.two);
            let settings = cast.settings(&format!("dmPolicy: '{policy}', allowFrom: [{list}]"));
            for (id, expected) in [cast.one, cast.two, cast.stranger]
                .into_iter()
                .zip(expected)
            {
                let told = judged_on(&settings, cast.channel, &Known::default(), &cast.direct(id));
                assert_eq!(
                    standing(&told),
                    expected,
                    "{} {policy} [{list}] {id}",
                    cast.channel
                );
            }
        }
    }
}

#[test]
fn groups_follow_the_same_table_on_every_channel() {
    // Policy, whether groups are listed (this one, another, all), people of the group, requireMention, and what a listed
    // sender and a stranger get when the bot is called by a pattern.
    type Row = (
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static str,
    );
    const ROWS: &[Row] = &[
        ("allowlist", "", "", "", "guest approved", "group.sender"),
        (
            "allowlist",
            "this",
            "",
            "",
            "guest approved",
            "group.sender",
        ),
        ("allowlist", "all", "", "", "guest approved", "group.sender"),
        (
            "allowlist",
            "other",
            "",
            "",
            "group.not_listed",
            "group.not_listed",
        ),
        (
            "allowlist",
            "this",
            "'STRANGER'",
            "",
            "group.sender",
            "guest approved",
        ),
        (
            "allowlist",
            "this",
            "'*'",
            "",
            "guest stranger",
            "guest stranger",
        ),
        ("open", "", "", "", "guest approved", "guest stranger"),
        ("open", "this", "", "", "guest approved", "guest stranger"),
        (
            "open",
            "other",
            "",
            "",
            "group.not_listed",
            "group.not_listed",
        ),
        (
            "open",
            "this",
            "'STRANGER'",
            "",
            "group.sender",
            "guest approved",
        ),
        (
            "disabled",
            "this",
            "",
            "",
            "group.disabled",
            "group.disabled",
        ),
        (
            "allowlist",
            "this",
            "",
            "false",
            "guest approved",
            "group.sender",
        ),
    ];
    for cast in CASTS {
        for (policy, listed, people, gate, approved, stranger) in ROWS {
            let id = match *listed {
                "this" => cast.row.1.to_owned(),
                "all" => "*".to_owned(),
                "other" if cast.row.0 == "guilds" => "223456789012345679".to_owned(),
                "other" => cast.other.to_owned(),
                _ => String::new(),
            };
            let gate = match *gate {
                "" => String::new(),
                gate => format!("requireMention: {gate}"),
            };
            let people = match *people {
                "" => String::new(),
                people => format!(
                    "{}: [{}],",
                    cast.people,
                    people.replace("STRANGER", cast.stranger)
                ),
            };
            let rows = match id.as_str() {
                "" => String::new(),
                id => format!("{}: {{'{id}': {{{people} {gate}}}}}", cast.row.0),
            };
            let settings = cast.settings(&format!(
                "groupPolicy: '{policy}', allowFrom: ['{}', '{}'], {rows}",
                cast.one, cast.two
            ));
            for (id, expected) in [(cast.two, approved), (cast.stranger, stranger)] {
                for (text, called) in [("clawd, hello", true), ("hello", false)] {
                    let told = judged_on(
                        &settings,
                        cast.channel,
                        &Known {
                            approved: vec![cast.stranger],
                            ..Known::default()
                        },
                        &cast.grouped(cast.group, id, text),
                    );
                    let expected =
                        match called || !gate.is_empty() || !expected.starts_with("guest") {
                            true => *expected,
                            false => "group.no_mention",
                        };
                    assert_eq!(
                        standing(&told),
                        expected,
                        "{} {policy} {rows} {id} {text}",
                        cast.channel
                    );
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_detected_is_dropped_and_called_so() {
    for cast in CASTS {
        let settings = settings_of(&format!(
            "{{channels: {{{}: {{allowFrom: ['{}']}}}}}}",
            cast.channel, cast.one
        ));
        let message = cast.grouped(cast.group, cast.one, "hello clawd");
        let told = judged_on(&settings, cast.channel, &Known::default(), &message);
        let expected = if cast.marks {
            "group.no_mention"
        } else {
            "group.no_detection"
        };
        assert_eq!(told, expected, "{}", cast.channel);
        for message in [
            Message {
                mentioned: true,
                ..message
            },
            Message {
                replies_to_bot: true,
                ..message
            },
        ] {
            let told = judged_on(&settings, cast.channel, &Known::default(), &message);
            assert_eq!(standing(&told), "guest approved", "{}", cast.channel);
        }
    }
}

#[test]
fn commands_pass_the_gate_for_those_who_may_use_them_and_only_there() {
    let file = |text: bool| {
        format!(
            "{{commands: {{text: {text}}}, channels: {{telegram: {{groupPolicy: 'open', allowFrom: [1, 2], groups: {{'-1': {{}}}}}}}}}}"
        )
    };
    let (on, off) = (settings_of(&file(true)), settings_of(&file(false)));
    for (settings, id, text, expected) in [
        (&on, "2", "/status", "guest approved"),
        (&on, "2", "/new", "guest approved"),
        (&on, "2", "hello", "group.no_mention"),
        (&on, "2", "see /status", "group.no_mention"),
        (&on, "2", "/usr/bin", "group.no_mention"),
        // Only the owner may, and nobody is the owner in a group.
        (&on, "1", "/model x", "group.no_mention"),
        (&on, "9", "/status", "group.no_mention"),
        (&off, "2", "/status", "group.no_mention"),
    ] {
        let message = Message {
            place: Place::Group {
                id: "-1",
                thread: "",
            },
            text,
            ..direct_from(Person { id, ..ANN })
        };
        let told = judged_on(settings, "telegram", &Known::default(), &message);
        assert_eq!(standing(&told), expected, "{id} {text}");
    }
}

#[test]
fn the_agent_that_answers_is_the_one_whose_name_counts() {
    let settings = settings_of(
        "{agents: {list: [{id: 'main', identity: {name: 'Clawd'}}, {id: 'work', identity: {emoji: '🦞'}}, {id: 'mute', identity: {name: 'Mute'}, groupChat: {mentionPatterns: []}}]},
          bindings: [{agentId: 'work', match: {channel: 'telegram', peer: {kind: 'group', id: '-2'}}}, {agentId: 'mute', match: {channel: 'telegram', peer: {kind: 'group', id: '-3'}}}],
          channels: {telegram: {groupPolicy: 'open'}}}",
    );
    for (group, text, expected) in [
        ("-1", "hi clawd", "guest stranger"),
        ("-1", "hi 🦞", "group.no_mention"),
        ("-2", "hi 🦞", "guest stranger"),
        ("-2", "hi clawd", "group.no_mention"),
        ("-3", "hi mute", "group.no_mention"),
    ] {
        let message = Message {
            place: Place::Group {
                id: group,
                thread: "",
            },
            text,
            ..direct_from(ANN)
        };
        let told = judged_on(&settings, "telegram", &Known::default(), &message);
        assert_eq!(standing(&told), expected, "{group} {text}");
    }
}

#[test]
fn one_person_with_several_ids_is_found_under_each_and_keeps_one_conversation() {
    let uuid = "uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let number = ["+15555550101".to_owned()];
    let both = Person {
        id: uuid,
        also: &number,
        username: "",
        ..ANN
    };
    let settings = |text: &str| settings_of(&format!("{{{text}}}"));
    let signal = |list: &str| settings(&format!("channels: {{signal: {{allowFrom: [{list}]}}}}"));
    let key = format!("agent:main:signal:dm:{uuid}");
    let guest = |who: &str| format!("guest {who} {key}");
    for (file, approved, expected) in [
        (
            signal("'+15555550101', '+15555550102'"),
            vec![],
            guest("approved"),
        ),
        (
            signal(&format!("'{uuid}', '+15555550102'")),
            vec![],
            guest("approved"),
        ),
        (
            signal("'+15555550102', '+15555550103'"),
            vec![],
            "pair".to_owned(),
        ),
        (signal(""), vec![uuid], guest("approved")),
        (signal(""), vec!["+15555550101"], guest("approved")),
        (
            signal("'+15555550101'"),
            vec![],
            "main owner agent:main:main".to_owned(),
        ),
    ] {
        let people = Known {
            approved,
            ..Known::default()
        };
        assert_eq!(
            judged_on(&file, "signal", &people, &direct_from(both)),
            expected
        );
    }
    // Somebody else who has the number now is not the person whose id was approved.
    let other = Person {
        id: "uuid:b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ..both
    };
    let people = Known {
        approved: vec![uuid],
        ..Known::default()
    };
    assert_eq!(
        judged_on(&signal(""), "signal", &people, &direct_from(other)),
        "pair"
    );
}

#[test]
fn a_conversation_in_a_list_lets_in_who_writes_there_and_makes_nobody_owner() {
    let settings = settings_of(
        "{channels: {imessage: {allowFrom: ['chat_id:7']}}, messages: {groupChat: {mentionPatterns: ['bot']}}}",
    );
    let here = ["chat_guid:x".to_owned(), "chat_id:7".to_owned()];
    let there = ["chat_id:8".to_owned()];
    let person = Person {
        id: "ann@example.org",
        username: "",
        ..ANN
    };
    for (chats, expected) in [(&here[..], "guest approved"), (&there[..], "pair")] {
        let message = Message {
            chats,
            ..direct_from(person)
        };
        let told = judged_on(&settings, "imessage", &Known::default(), &message);
        assert_eq!(standing(&told), expected);
        let grouped = Message {
            place: Place::Group {
                id: &chats[0],
                thread: "",
            },
            text: "bot",
            ..message
        };
        let told = judged_on(&settings, "imessage", &Known::default(), &grouped);
        let expected = if expected == "pair" {
            "group.sender"
        } else {
            expected
        };
        assert_eq!(standing(&told), expected);
    }
}

#[test]
fn two_approved_people_never_share_a_conversation_unless_the_file_makes_them_one() {
    for scope in [
        "main",
        "per-peer",
        "per-channel-peer",
        "per-account-channel-peer",
    ] {
        let mut seen = std::collections::BTreeSet::new();
        let mut count = 0;
        for cast in CASTS {
            let list = format!("'{}', '{}', '{}'", cast.one, cast.two, cast.stranger);
            let settings = settings_of(&format!(
                "{{session: {{dmScope: '{scope}'}}, channels: {{{}: {{allowFrom: [{list}]}}}}}}",
                cast.channel
            ));
            // Apple's services name people alike, and a number is one person everywhere.
            if scope == "per-peer" && !matches!(cast.channel, "telegram" | "discord" | "signal") {
                continue;
            }
            for id in [cast.one, cast.two, cast.stranger] {
                let told = judged_on(&settings, cast.channel, &Known::default(), &cast.direct(id));
                assert!(told.starts_with("guest approved"), "{told}");
                seen.insert(told);
                count += 1;
            }
        }
        assert_eq!(seen.len(), count, "{scope}");
    }
}
