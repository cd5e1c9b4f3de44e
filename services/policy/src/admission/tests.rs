//! Every policy against every kind of sender, group and mention. A verdict is told as one word, so that a table can be read.

use std::collections::BTreeMap;

use clawdbot_identity::AgentId;

use super::*;
use crate::distil::tests::settings_of;

/// What the store knows: approved ids, and names with their ids.
#[derive(Default)]
pub(super) struct Known {
    pub(super) approved: Vec<&'static str>,
    pub(super) pins: BTreeMap<&'static str, &'static str>,
}

impl People for Known {
    fn is_approved(&self, id: &str) -> bool {
        self.approved.contains(&id)
    }

    fn pinned(&self, name: &str) -> Option<&str> {
        self.pins.get(name).copied()
    }
}

pub(super) const ANN: Person<'_> = Person {
    id: "1",
    also: &[],
    username: "anna",
    is_bot: false,
    is_anonymous: false,
};

fn person(id: &'static str, username: &'static str) -> Person<'static> {
    Person {
        id,
        username,
        ..ANN
    }
}

pub(super) fn direct_from(sender: Person<'_>) -> Message<'_> {
    Message {
        account: "default",
        place: Place::Direct,
        chats: &[],
        sender,
        mentioned: false,
        replies_to_bot: false,
        marks_mentions: true,
        backlog: false,
        text: "",
    }
}

pub(super) fn judged(settings: &Settings, people: &Known, message: &Message<'_>) -> String {
    judged_on(settings, "telegram", people, message)
}

pub(super) fn judged_on(
    settings: &Settings,
    channel: &str,
    people: &Known,
    message: &Message<'_>,
) -> String {
    match judge(
        settings,
        settings.channel(channel).unwrap(),
        people,
        message,
    ) {
        Verdict::Admit {
            class,
            session,
            standing,
        } => format!("{class} {standing} {session}"),
        Verdict::Pair { name: None } => "pair".to_owned(),
        Verdict::Pair { name: Some(name) } => format!("pair {name}"),
        Verdict::Ignore(denied) => denied.rule.to_owned(),
    }
}

pub(super) fn telegram(section: &str) -> Settings {
    settings_of(&format!("{{channels: {{telegram: {{{section}}}}}}}"))
}

#[test]
fn direct_messages_follow_the_policy_for_every_kind_of_sender() {
    let people = || Known {
        approved: vec!["5"],
        pins: [("@pinned", "6")].into(),
    };
    let lists = "[1, 2, '@pinned', '@loose']";
    let open = "[1, 2, '@pinned', '@loose', '*']";
    let guest = |standing: &str, id: &str| format!("guest {standing} agent:main:telegram:dm:{id}");
    let approved = |id: &str| guest("approved", id);
    let owner = "main owner agent:main:main".to_owned();
    let senders = [
        person("1", "anna"),    // the owner
        person("2", ""),        // listed by id
        person("5", "eve"),     // paired
        person("6", "renamed"), // bears another name than the one that was pinned to him
        person("7", "pinned"),  // took over a name that is pinned to somebody else
        person("8", "loose"),   // bears a listed name that is nobody's yet
        person("9", "stranger"),
        person("10", ""),
        Person {
            is_bot: true,
            ..person("2", "")
        },
        Person {
            is_anonymous: true,
            ..person("1", "anna")
        },
    ];
    let rest = ["sender.bot", "sender.anonymous"].map(str::to_owned);
    for (policy, list, expected) in [
        (
            "pairing",
            lists,
            [
                owner.clone(),
                approved("2"),
                approved("5"),
                approved("6"),
                "pair".into(),
                "pair @loose".into(),
                "pair".into(),
                "pair".into(),
            ],
        ),
        (
            "allowlist",
            lists,
            [
                owner.clone(),
                approved("2"),
                approved("5"),
                approved("6"),
                "dm.not_listed".into(),
                "pair @loose".into(),
                "dm.not_listed".into(),
                "dm.not_listed".into(),
            ],
        ),
        (
            "open",
            open,
            [
                owner.clone(),
                approved("2"),
                approved("5"),
                approved("6"),
                guest("stranger", "7"),
                guest("stranger", "8"),
                guest("stranger", "9"),
                guest("stranger", "10"),
            ],
        ),
        ("disabled", lists, ["dm.disabled"; 8].map(str::to_owned)),
    ] {
        let settings = settings_of(&format!(
            "{{commands: {{ownerAllowFrom: ['telegram:1']}}, channels: {{telegram: {{dmPolicy: '{policy}', allowFrom: {list}}}}}}}"
        ));
        for (sender, expected) in senders.iter().zip(expected.into_iter().chain(rest.clone())) {
            let found = judged(&settings, &people(), &direct_from(*sender));
            assert_eq!(found, expected, "{policy} {sender:?}");
        }
    }
}

#[test]
fn an_empty_list_lets_nobody_in_beyond_pairing() {
    for (policy, expected) in [
        ("pairing", "pair"),
        ("allowlist", "dm.not_listed"),
        ("disabled", "dm.disabled"),
    ] {
        let settings = telegram(&format!("dmPolicy: '{policy}'"));
        assert_eq!(
            judged(&settings, &Known::default(), &direct_from(ANN)),
            expected
        );
        let group = Message {
            place: Place::Group {
                id: "-1",
                thread: "",
            },
            mentioned: true,
            ..direct_from(ANN)
        };
        assert_eq!(judged(&settings, &Known::default(), &group), "group.sender");
    }
}

#[test]
fn old_messages_get_no_pairing_code_and_approved_people_are_answered_all_the_same() {
    let settings = telegram("allowFrom: [1, 2]");
    let old = |sender| Message {
        backlog: true,
        ..direct_from(sender)
    };
    let people = Known::default();
    assert_eq!(
        judged(&settings, &people, &old(person("9", ""))),
        "pairing.backlog"
    );
    assert!(judged(&settings, &people, &old(person("2", ""))).starts_with("guest approved"));
}

#[test]
fn the_owner_is_who_is_named_else_the_only_entry_of_the_channels_own_list() {
    let owner = "main owner agent:main:main";
    let guest = "guest approved agent:main:telegram:dm:1";
    for (file, pins, expected) in [
        ("channels: {telegram: {allowFrom: [1]}}", false, owner),
        ("channels: {telegram: {allowFrom: [1, 2]}}", false, guest),
        (
            "channels: {telegram: {allowFrom: ['@anna']}}",
            false,
            "pair @anna",
        ),
        ("channels: {telegram: {allowFrom: ['@anna']}}", true, owner),
        // A name that is only trusted makes nobody owner.
        (
            "channels: {telegram: {allowFrom: ['@anna'], trustNames: true}}",
            false,
            guest,
        ),
        (
            "channels: {telegram: {allowFrom: ['*'], dmPolicy: 'open'}}",
            false,
            "guest stranger agent:main:telegram:dm:1",
        ),
        // Whoever names the owner anywhere has said who it is.
        (
            "commands: {ownerAllowFrom: ['discord:123456789012345678']}, channels: {telegram: {allowFrom: [1]}}",
            false,
            guest,
        ),
        (
            "commands: {ownerAllowFrom: ['telegram:1']}, channels: {telegram: {}}",
            false,
            owner,
        ),
        (
            "commands: {ownerAllowFrom: ['telegram:2', 'telegram:@anna']}, channels: {telegram: {}}",
            true,
            owner,
        ),
        (
            "commands: {ownerAllowFrom: ['telegram:@anna']}, channels: {telegram: {}}",
            false,
            "pair",
        ),
        ("channels: {telegram: {}}", false, "pair"),
    ] {
        let settings = settings_of(&format!("{{{file}}}"));
        let mut people = Known::default();
        if pins {
            people.pins.insert("@anna", "1");
        }
        assert_eq!(
            judged(&settings, &people, &direct_from(ANN)),
            expected,
            "{file}"
        );
    }
}

#[test]
fn accounts_have_rules_and_people_of_their_own_and_one_list_never_makes_an_owner_of_another() {
    let settings = telegram(
        "allowFrom: [1], botToken: '${T}', accounts: {work: {allowFrom: [2], dmPolicy: 'allowlist'}, same: {}}",
    );
    let from = |account: &'static str, id: &'static str| Message {
        account,
        ..direct_from(person(id, ""))
    };
    let people = Known::default();
    for (account, id, expected) in [
        ("default", "1", "main owner agent:main:main"),
        ("default", "2", "pair"),
        ("work", "2", "guest approved agent:main:telegram:dm:2"),
        // The owner is the owner on every account.
        ("work", "1", "main owner agent:main:main"),
        ("work", "3", "dm.not_listed"),
        ("same", "1", "main owner agent:main:main"),
        ("same", "2", "pair"),
        ("absent", "1", "channel.account"),
    ] {
        assert_eq!(
            judged(&settings, &people, &from(account, id)),
            expected,
            "{account} {id}"
        );
    }
}

/// The verdict for a group message, without the session.
fn in_group(
    settings: &Settings,
    id: &str,
    thread: &str,
    sender: Person<'_>,
    mention: &str,
) -> String {
    let message = Message {
        place: Place::Group { id, thread },
        mentioned: mention == "mention",
        replies_to_bot: mention == "reply",
        ..direct_from(sender)
    };
    let people = Known {
        approved: vec!["5"],
        ..Known::default()
    };
    let told = judged(settings, &people, &message);
    match told.rsplit_once(' ') {
        Some((who, _)) => who.to_owned(),
        None => told,
    }
}

#[test]
fn groups_follow_policy_then_list_then_sender_then_mention() {
    // Policy, what `groups` says, and for a listed and a strange sender what stops them before the mention gate.
    let rows: &[(&str, &str, &str, &str)] = &[
        ("allowlist", "", "", "group.sender"),
        ("allowlist", "'-1': {}", "", "group.sender"),
        ("allowlist", "'*': {}", "", "group.sender"),
        (
            "allowlist",
            "'-2': {}",
            "group.not_listed",
            "group.not_listed",
        ),
        (
            "allowlist",
            "'-1': {enabled: false}",
            "group.off",
            "group.off",
        ),
        (
            "allowlist",
            "'*': {enabled: false}",
            "group.off",
            "group.off",
        ),
        ("allowlist", "'-1': {allowFrom: [9]}", "group.sender", ""),
        ("allowlist", "'-1': {allowFrom: ['*']}", "", ""),
        (
            "allowlist",
            "'-1': {}, '*': {enabled: false}",
            "",
            "group.sender",
        ),
        ("open", "", "", ""),
        ("open", "'-1': {}", "", ""),
        ("open", "'*': {}", "", ""),
        ("open", "'-2': {}", "group.not_listed", "group.not_listed"),
        ("open", "'-1': {enabled: false}", "group.off", "group.off"),
        ("open", "'-1': {allowFrom: [9]}", "group.sender", ""),
        ("disabled", "", "group.disabled", "group.disabled"),
        ("disabled", "'-1': {}", "group.disabled", "group.disabled"),
    ];
    for (policy, groups, listed, strange) in rows {
        for (gate, gated) in [
            ("", true),
            ("requireMention: true", true),
            ("requireMention: false", false),
        ] {
            if gate.is_empty() != groups.is_empty() && groups.is_empty() {
                continue;
            }
            let groups = groups
                .replace("'-1': {", &format!("'-1': {{{gate}, "))
                .replace("{, ", "{");
            let groups = match groups.contains("'-1'") {
                true => groups,
                false => groups
                    .replace("'*': {", &format!("'*': {{{gate}, "))
                    .replace("{, ", "{"),
            };
            let settings = telegram(&format!(
                "allowFrom: [1, 2], groupPolicy: '{policy}', groups: {{{groups}}}"
            ));
            for (sender, stop) in [(person("1", ""), listed), (person("9", ""), strange)] {
                for mention in ["none", "mention", "reply"] {
                    let expected = match *stop {
                        "" if gated && mention == "none" => "group.no_mention",
                        "" if groups.contains("allowFrom: ['*']") => "guest stranger",
                        "" if listed.is_empty() && sender.id == "1" => "guest approved",
                        "" if groups.contains("allowFrom: [9]") => "guest approved",
                        "" => "guest stranger",
                        stop => stop,
                    };
                    assert_eq!(
                        in_group(&settings, "-1", "", sender, mention),
                        expected,
                        "{policy} {{{groups}}} {} {mention}",
                        sender.id
                    );
                }
            }
        }
    }
}

#[test]
fn a_pairing_opens_no_group_and_the_owner_is_a_guest_there() {
    let settings = telegram("allowFrom: [1]");
    assert_eq!(
        in_group(&settings, "-1", "", person("5", ""), "mention"),
        "group.sender"
    );
    assert_eq!(
        in_group(&settings, "-1", "", person("1", ""), "mention"),
        "guest approved"
    );
    let settings = telegram("allowFrom: [1], groupAllowFrom: [5]");
    assert_eq!(
        in_group(&settings, "-1", "", person("5", ""), "mention"),
        "guest approved"
    );
    assert_eq!(
        in_group(&settings, "-1", "", person("1", ""), "mention"),
        "group.sender"
    );
    for sender in [
        Person {
            is_bot: true,
            ..ANN
        },
        Person {
            is_anonymous: true,
            ..ANN
        },
    ] {
        assert!(in_group(&settings, "-1", "", sender, "mention").starts_with("sender."));
    }
}

#[test]
fn a_topic_narrows_its_group() {
    let settings = telegram(
        "allowFrom: [1], groups: {'-1': {requireMention: false, topics: {'7': {enabled: false}, '8': {requireMention: true}, '9': {allowFrom: [2]}}},
          '-2': {enabled: false, topics: {'8': {enabled: true}}}}",
    );
    for (group, thread, sender, expected) in [
        ("-1", "", "1", "guest approved"),
        ("-1", "6", "1", "guest approved"),
        ("-1", "7", "1", "group.off"),
        ("-1", "8", "1", "group.no_mention"),
        ("-1", "9", "1", "group.sender"),
        ("-1", "9", "2", "guest approved"),
        ("-2", "8", "1", "group.off"),
    ] {
        assert_eq!(
            in_group(&settings, group, thread, person(sender, ""), "none"),
            expected,
            "{group} {thread} {sender}"
        );
    }
}

#[test]
fn every_conversation_has_its_own_session_and_the_first_binding_that_fits_its_agent() {
    let settings = settings_of(
        "{agents: {list: [{id: 'main', default: true}, {id: 'work'}, {id: 'home'}]},
          bindings: [{agentId: 'home', match: {channel: 'telegram', peer: {kind: 'dm', id: '9'}}},
                     {agentId: 'home', match: {channel: 'telegram', accountId: '*', peer: {kind: 'group', id: '-3'}}},
                     {agentId: 'work', match: {channel: 'telegram', accountId: 'work'}},
                     {agentId: 'home', match: {channel: 'discord'}}],
          channels: {telegram: {allowFrom: ['*', 1], dmPolicy: 'open', groupPolicy: 'open', botToken: '${T}', accounts: {work: {}}}},
          commands: {ownerAllowFrom: ['telegram:1']}}",
    );
    let group = |id, thread| Place::Group { id, thread };
    for (account, place, id, expected) in [
        ("default", Place::Direct, "1", "agent:main:main"),
        ("work", Place::Direct, "1", "agent:work:main"),
        ("default", Place::Direct, "8", "agent:main:telegram:dm:8"),
        ("default", Place::Direct, "9", "agent:home:telegram:dm:9"),
        ("work", Place::Direct, "9", "agent:work:telegram:dm:9"),
        (
            "default",
            group("-1", ""),
            "1",
            "agent:main:telegram:group:-1",
        ),
        (
            "default",
            group("-1", "3"),
            "1",
            "agent:main:telegram:group:-1:topic:3",
        ),
        ("work", group("-3", ""), "1", "agent:home:telegram:group:-3"),
        ("work", group("-4", ""), "1", "agent:work:telegram:group:-4"),
    ] {
        let message = Message {
            account,
            place,
            mentioned: true,
            ..direct_from(person(id, ""))
        };
        let told = judged(&settings, &Known::default(), &message);
        assert_eq!(
            told.rsplit(' ').next(),
            Some(expected),
            "{account} {place:?} {id}"
        );
        let class = told.split(' ').next();
        assert_eq!(
            class,
            Some(if expected.ends_with(":main") {
                "main"
            } else {
                "guest"
            })
        );
    }
    assert_eq!(settings.default_agent, AgentId::main());
}

#[test]
fn no_configuration_lets_a_stranger_in_but_by_open_and_a_star() {
    // All combinations of what a file can say; the stranger's id and name stand nowhere in it.
    let stranger = person("999", "nobody_here");
    let people = Known {
        approved: vec!["5"],
        pins: [("@anna", "1")].into(),
    };
    let mut let_in = 0;
    for dm in ["pairing", "allowlist", "open", "disabled"] {
        for list in ["", "1", "'@anna'", "1, 2", "'*'", "'*', 1"] {
            for group in ["allowlist", "open", "disabled"] {
                for group_list in [None, Some(""), Some("3"), Some("'*'")] {
                    for groups in [
                        "",
                        "'*': {requireMention: false}",
                        "'-1': {allowFrom: [4]}",
                        "'-1': {allowFrom: []}",
                        "'-1': {allowFrom: ['*']}",
                    ] {
                        for trust in [false, true] {
                            let for_groups = group_list
                                .map(|list| format!("groupAllowFrom: [{list}],"))
                                .unwrap_or_default();
                            let text = format!(
                                "{{channels: {{telegram: {{dmPolicy: '{dm}', allowFrom: [{list}], groupPolicy: '{group}', {for_groups}
                                   groups: {{{groups}}}, trustNames: {trust}}}}}}}"
                            );
                            // A star without "open" and the other way round is no valid file.
                            if list.contains('*') != (dm == "open") {
                                continue;
                            }
                            let settings = settings_of(&text);
                            let direct = judged(&settings, &people, &direct_from(stranger));
                            assert_eq!(
                                direct.starts_with("guest"),
                                dm == "open",
                                "{text}: {direct}"
                            );
                            assert!(!direct.starts_with("main"), "{text}");
                            let grouped = in_group(&settings, "-1", "", stranger, "mention");
                            let star = groups.contains("allowFrom: ['*']")
                                || (!groups.contains("allowFrom")
                                    && group_list.unwrap_or(list).contains('*'));
                            let open = group == "open" && !groups.contains("allowFrom");
                            let expected = group != "disabled" && (star || open);
                            assert_eq!(grouped.starts_with("guest"), expected, "{text}: {grouped}");
                            let_in += usize::from(expected);
                        }
                    }
                }
            }
        }
    }
    assert!(let_in > 0, "positive control");
}
