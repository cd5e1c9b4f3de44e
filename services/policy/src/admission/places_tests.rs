//! Servers of Discord, the names of sessions, and what the user's guide promises.

use super::channels_tests::standing;
use super::tests::{ANN, Known, direct_from, judged_on};
use super::*;
use crate::distil::tests::settings_of;

#[test]
fn servers_channels_and_conversations_outside_of_them_on_discord() {
    const GUILD: &str = "223456789012345678";
    let settings = |section: &str| {
        settings_of(&format!(
            "{{channels: {{discord: {{allowFrom: ['123456789012345678', '123456789012345679'], {section}}}}}}}"
        ))
    };
    let servers = settings(&format!(
        "guilds: {{'{GUILD}': {{requireMention: false, users: ['923456789012345678'], channels: {{'1': {{}}, '2': {{allow: false}}, '3': {{enabled: false}}, '4': {{requireMention: true}}, '5': {{users: ['*']}}}}}},
           '323456789012345678': {{channels: {{'*': {{}}, '2': {{enabled: false}}}}}}, '423456789012345678': {{}}}}"
    ));
    let all = settings("guilds: {'*': {requireMention: false}}");
    let none = settings("dm: {enabled: false}");
    let outside = settings(
        "dm: {groupEnabled: true, groupChannels: ['523456789012345678']}, guilds: {'*': {}}",
    );
    let any_outside = settings("dm: {groupEnabled: true}");
    let two = "123456789012345679";
    let nine = "923456789012345678";
    for (settings, id, sender, mentioned, expected) in [
        (
            &servers,
            "223456789012345678/1",
            nine,
            false,
            "guest approved",
        ),
        (&servers, "223456789012345678/1", two, true, "group.sender"),
        (&servers, "223456789012345678/2", nine, true, "group.off"),
        (&servers, "223456789012345678/3", nine, true, "group.off"),
        (
            &servers,
            "223456789012345678/4",
            nine,
            false,
            "group.no_mention",
        ),
        (
            &servers,
            "223456789012345678/4",
            nine,
            true,
            "guest approved",
        ),
        (
            &servers,
            "223456789012345678/5",
            two,
            false,
            "guest stranger",
        ),
        (
            &servers,
            "223456789012345678/9",
            nine,
            true,
            "group.not_listed",
        ),
        (
            &servers,
            "323456789012345678/9",
            two,
            true,
            "guest approved",
        ),
        (&servers, "323456789012345678/2", two, true, "group.off"),
        (
            &servers,
            "423456789012345678/9",
            two,
            true,
            "guest approved",
        ),
        // A listed server without people is not open to its members.
        (&servers, "423456789012345678/9", nine, true, "group.sender"),
        (
            &servers,
            "923456789012345678/9",
            two,
            true,
            "group.not_listed",
        ),
        (&servers, "@me/523456789012345678", two, true, "group.off"),
        (&all, "223456789012345678/9", two, false, "guest approved"),
        (&all, "@me/523456789012345678", two, true, "group.off"),
        (&none, "223456789012345678/9", two, true, "guest approved"),
        (
            &outside,
            "@me/523456789012345678",
            two,
            true,
            "guest approved",
        ),
        (
            &outside,
            "@me/523456789012345678",
            two,
            false,
            "group.no_mention",
        ),
        (
            &outside,
            "@me/623456789012345678",
            two,
            true,
            "group.not_listed",
        ),
        (
            &any_outside,
            "@me/623456789012345678",
            two,
            true,
            "guest approved",
        ),
        (
            &any_outside,
            "@me/623456789012345678",
            nine,
            true,
            "group.sender",
        ),
    ] {
        let message = Message {
            place: Place::Group { id, thread: "" },
            mentioned,
            ..direct_from(Person { id: sender, ..ANN })
        };
        let told = judged_on(settings, "discord", &Known::default(), &message);
        assert_eq!(standing(&told), expected, "{id} {sender} {mentioned}");
    }
    let direct = direct_from(Person { id: two, ..ANN });
    assert_eq!(
        judged_on(&none, "discord", &Known::default(), &direct),
        "dm.disabled"
    );
    assert!(judged_on(&all, "discord", &Known::default(), &direct).starts_with("guest approved"));
}

#[test]
fn sessions_are_named_as_the_original_names_them() {
    let base = "agents: {list: [{id: 'main'}, {id: 'work'}, {id: 'home'}, {id: 'server'}]},
        bindings: [{agentId: 'work', match: {channel: 'discord', accountId: '*'}},
                   {agentId: 'home', match: {channel: 'discord', accountId: '*', guildId: '323456789012345678', peer: {kind: 'channel', id: '423456789012345678'}}},
                   {agentId: 'server', match: {channel: 'discord', accountId: '*', guildId: '323456789012345678'}},
                   {agentId: 'home', match: {channel: 'whatsapp', peer: {kind: 'dm', id: 'whatsapp:+1 555 555 0109'}}}],
        commands: {ownerAllowFrom: ['telegram:1', 'signal:+15555550100']},
        channels: {telegram: {botToken: '${T}', dmPolicy: 'open', allowFrom: ['*'], groupPolicy: 'open', accounts: {work: {}}},
                   whatsapp: {dmPolicy: 'open', allowFrom: ['*'], groupPolicy: 'open'},
                   signal: {dmPolicy: 'open', allowFrom: ['*'], groupPolicy: 'open'},
                   discord: {dm: {policy: 'open', allowFrom: ['*'], groupEnabled: true}, groupPolicy: 'open'}}";
    let links = "identityLinks: {alice: ['telegram:2', 'whatsapp:+15555550102'], zed: ['discord:323456789012345670']}";
    let group = |id, thread| Place::Group { id, thread };
    let dm = Place::Direct;
    for (scope, channel, account, place, id, expected) in [
        ("main", "telegram", "default", dm, "1", "agent:main:main"),
        (
            "main",
            "telegram",
            "default",
            dm,
            "2",
            "agent:main:telegram:dm:2",
        ),
        (
            "per-peer",
            "telegram",
            "default",
            dm,
            "1",
            "agent:main:main",
        ),
        (
            "per-peer",
            "signal",
            "default",
            dm,
            "+15555550100",
            "agent:main:main",
        ),
        (
            "per-peer",
            "telegram",
            "default",
            dm,
            "9",
            "agent:main:dm:9",
        ),
        (
            "per-peer",
            "telegram",
            "default",
            dm,
            "2",
            "agent:main:dm:alice",
        ),
        (
            "per-peer",
            "whatsapp",
            "default",
            dm,
            "+15555550102",
            "agent:main:dm:alice",
        ),
        (
            "per-peer",
            "whatsapp",
            "default",
            dm,
            "+15555550109",
            "agent:home:dm:+15555550109",
        ),
        (
            "per-channel-peer",
            "telegram",
            "default",
            dm,
            "9",
            "agent:main:telegram:dm:9",
        ),
        (
            "per-channel-peer",
            "telegram",
            "work",
            dm,
            "9",
            "agent:main:telegram:dm:9",
        ),
        (
            "per-channel-peer",
            "whatsapp",
            "default",
            dm,
            "+15555550102",
            "agent:main:whatsapp:dm:alice",
        ),
        (
            "per-account-channel-peer",
            "telegram",
            "work",
            dm,
            "9",
            "agent:main:telegram:work:dm:9",
        ),
        (
            "per-account-channel-peer",
            "telegram",
            "default",
            dm,
            "9",
            "agent:main:telegram:default:dm:9",
        ),
        (
            "per-channel-peer",
            "telegram",
            "work",
            group("-100", ""),
            "9",
            "agent:main:telegram:group:-100",
        ),
        (
            "per-channel-peer",
            "telegram",
            "default",
            group("-100", "3"),
            "9",
            "agent:main:telegram:group:-100:topic:3",
        ),
        (
            "per-channel-peer",
            "signal",
            "default",
            group("AbCdEfGh12345678", ""),
            "+15555550109",
            "agent:main:signal:group:abcdefgh12345678",
        ),
        (
            "per-channel-peer",
            "whatsapp",
            "default",
            group("1203-1@g.us", ""),
            "lid:9",
            "agent:main:whatsapp:group:1203-1@g.us",
        ),
        (
            "per-channel-peer",
            "discord",
            "default",
            dm,
            "323456789012345670",
            "agent:work:discord:dm:zed",
        ),
        (
            "per-channel-peer",
            "discord",
            "default",
            group("@me/423456789012345678", ""),
            "323456789012345671",
            "agent:work:discord:group:423456789012345678",
        ),
        (
            "per-channel-peer",
            "discord",
            "default",
            group("323456789012345678/423456789012345678", "5"),
            "323456789012345671",
            "agent:home:discord:channel:323456789012345678/423456789012345678:thread:5",
        ),
        (
            "per-channel-peer",
            "discord",
            "default",
            group("323456789012345678/423456789012345679", ""),
            "323456789012345671",
            "agent:server:discord:channel:323456789012345678/423456789012345679",
        ),
        (
            "per-channel-peer",
            "discord",
            "default",
            group("323456789012345679/423456789012345679", ""),
            "323456789012345671",
            "agent:work:discord:channel:323456789012345679/423456789012345679",
        ),
    ] {
        let settings = settings_of(&format!(
            "{{{base}, session: {{dmScope: '{scope}', {links}}}}}"
        ));
        let message = Message {
            account,
            place,
            mentioned: true,
            ..direct_from(Person {
                id,
                username: "",
                ..ANN
            })
        };
        let told = judged_on(&settings, channel, &Known::default(), &message);
        assert_eq!(
            told.rsplit(' ').next(),
            Some(expected),
            "{scope} {channel} {account} {place:?} {id}"
        );
    }
    let home = settings_of(&format!("{{{base}, session: {{mainKey: 'home'}}}}"));
    let owner = direct_from(ANN);
    assert_eq!(
        judged_on(&home, "telegram", &Known::default(), &owner),
        "main owner agent:main:home"
    );
}

#[test]
fn the_guides_examples_mean_what_the_guide_says() {
    let block = |name: &str| {
        let folder = std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
        let path = folder.join(format!("../../crates/config/tests/guide/{name}.json5"));
        settings_of(&std::fs::read_to_string(path).unwrap())
    };
    let direct = |name: &str, channel: &str, id: &'static str, username: &'static str| {
        let message = direct_from(Person {
            id,
            username,
            ..ANN
        });
        judged_on(&block(name), channel, &Known::default(), &message)
    };
    // "Only these numbers"; a stranger is not silently dropped but has to be approved of.
    assert_eq!(
        direct("01-allowlists", "whatsapp", "+1234567890", ""),
        "guest approved agent:main:whatsapp:dm:+1234567890"
    );
    assert_eq!(
        direct("01-allowlists", "whatsapp", "+15555550109", ""),
        "pair"
    );
    assert_eq!(
        direct("01-allowlists", "telegram", "7", "username"),
        "pair @username"
    );
    assert_eq!(direct("01-allowlists", "telegram", "7", "eve"), "pair");
    // "Unknown senders must be approved."
    assert_eq!(
        direct("02-pairing", "discord", "123456789012345678", "ann"),
        "pair"
    );
    let approved = Known {
        approved: vec!["123456789012345678"],
        ..Known::default()
    };
    let message = direct_from(Person {
        id: "123456789012345678",
        ..ANN
    });
    assert_eq!(
        judged_on(&block("02-pairing"), "discord", &approved, &message),
        "guest approved agent:main:discord:dm:123456789012345678"
    );
    // "Only respond when @mentioned", and by nobody who is not named.
    let settings = block("03-mention-gate");
    let group = Message {
        place: Place::Group {
            id: "120363000000000000@g.us",
            thread: "",
        },
        mentioned: true,
        ..direct_from(Person {
            id: "+15555550100",
            ..ANN
        })
    };
    assert_eq!(
        judged_on(&settings, "whatsapp", &Known::default(), &group),
        "group.sender"
    );
    let settings = settings_of(
        "{channels: {whatsapp: {groups: {'*': {requireMention: true}}, allowFrom: ['+15555550100']}}}",
    );
    assert!(
        judged_on(&settings, "whatsapp", &Known::default(), &group).starts_with("guest approved")
    );
    let unmentioned = Message {
        mentioned: false,
        ..group
    };
    assert_eq!(
        judged_on(&settings, "whatsapp", &Known::default(), &unmentioned),
        "group.no_mention"
    );
    // "Strict allowlist" with pairing: the single number is the owner, everybody else has to be approved of.
    for name in ["06-all-features", "08-no-allowlist-good"] {
        assert_eq!(
            direct(name, "whatsapp", "+15555550100", ""),
            "main owner agent:main:main",
            "{name}"
        );
        assert_eq!(
            direct(name, "whatsapp", "+15555550109", ""),
            "pair",
            "{name}"
        );
    }
    // "Anyone can message your bot": here nobody can.
    assert_eq!(
        direct("08-no-allowlist-bad", "whatsapp", "+15555550109", ""),
        "pair"
    );
    let grouped = judged_on(
        &block("08-no-allowlist-bad"),
        "whatsapp",
        &Known::default(),
        &group,
    );
    assert_eq!(grouped, "group.sender");
    // The others say nothing of channels, so none is there.
    for name in [
        "04-sandbox",
        "05-password",
        "07-local-only",
        "09-open-binding-good",
        "10-no-authentication-good",
        "11-no-sandbox-bad",
        "11-no-sandbox-good",
    ] {
        assert!(block(name).channels.is_empty(), "{name}");
    }
}
