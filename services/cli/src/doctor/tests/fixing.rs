//! What `--fix` does, what it leaves alone, and that it does it once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use super::super::*;
use super::{CASES, Rig, Severity};
use crate::out::Style;

#[test]
fn fix_ends_what_its_row_says_and_touches_nothing_else() {
    for (id, _, make) in CASES {
        let mut rig = Rig::new();
        make(&mut rig);
        let row = check::all()
            .find(|check| check.id.replace("<channel>", "telegram") == *id)
            .unwrap();
        let before = fs::read(rig.path("state/clawdbot.json")).unwrap();
        let outcome = rig.fix(Some(id), true);
        assert_eq!(rig.find(id).is_none(), row.fixes, "{id}");
        assert_eq!(outcome.changes.len(), usize::from(row.fixes), "{id}");
        assert!(outcome.failed.is_empty(), "{id}: {:?}", outcome.failed);
        assert_eq!(
            fs::read(rig.path("state/clawdbot.json")).unwrap(),
            before,
            "{id}"
        );
        // The second time there is nothing left.
        assert!(rig.fix(Some(id), true).changes.is_empty(), "{id}");
    }
}

/// Files that break the rules whose value can be written, with a comment that has to stay.
const SETTINGS: &[(&str, &str)] = &[
    (
        "gateway.auth_no_rate_limit",
        "gateway: { auth: { /* why */ rateLimit: false } }",
    ),
    (
        "agents.verbose_full",
        "agents: { defaults: { verboseDefault: 'full' /* why */ } }",
    ),
    (
        "sandbox.docker_root_writable",
        "agents: { defaults: { sandbox: { docker: { readOnlyRoot: false /* why */ } } } }",
    ),
    (
        "logging.redact_off",
        "logging: { redactSensitive: 'off' /* why */ }",
    ),
    (
        "discovery.mdns_full_mode",
        "discovery: { mdns: { mode: 'full' /* why */ } }",
    ),
    (
        "channels.defaults.groups.open",
        "channels: { defaults: { groupPolicy: 'open' /* why */ } }",
    ),
    ("groups.open", "groupPolicy: 'open' /* why */"),
    ("config_writes", "configWrites: true /* why */"),
];

#[test]
fn every_value_that_may_be_written_ends_its_finding_once_with_comments_and_a_backup() {
    let mut covered = BTreeSet::new();
    for (id, inside) in SETTINGS {
        let cases: Vec<(String, String)> = match id.contains('.') && !id.starts_with("groups") {
            true => vec![((*id).to_owned(), (*inside).to_owned())],
            false => [
                "whatsapp",
                "telegram",
                "discord",
                "signal",
                "imessage",
                "bluebubbles",
            ]
            .map(|channel| {
                (
                    format!("channels.{channel}.{id}"),
                    format!("channels: {{ {channel}: {{ {inside} }} }}"),
                )
            })
            .to_vec(),
        };
        for (id, inside) in cases {
            let rig = Rig::new();
            let text = format!("{{\n  // first\n  {inside}, // last\n}}\n");
            rig.config(&text);
            assert!(
                rig.find(&id).is_some_and(|found| found.repair.is_some()),
                "{id}"
            );
            let shown = rig.fix(Some(&id), false);
            assert!(
                !shown.applied && shown.diff.contains("\n-") && shown.diff.contains("\n+"),
                "{id}: {}",
                shown.diff
            );
            assert_eq!(
                fs::read_to_string(rig.path("state/clawdbot.json")).unwrap(),
                text,
                "{id}"
            );
            let done = rig.fix(Some(&id), true);
            assert!(
                done.applied && done.failed.is_empty(),
                "{id}: {:?}",
                done.failed
            );
            assert!(rig.find(&id).is_none(), "{id}");
            let after = fs::read_to_string(rig.path("state/clawdbot.json")).unwrap();
            for comment in ["// first", "/* why */", "// last"] {
                assert!(after.contains(comment), "{id}: {after}");
            }
            assert_eq!(
                fs::read_to_string(done.backup.unwrap()).unwrap(),
                text,
                "{id}"
            );
            assert!(rig.fix(Some(&id), true).changes.is_empty(), "{id}");
            covered.insert(id);
        }
    }
    let all: BTreeSet<String> = { about_rules() }
        .filter(|rule| matches!(rule.cure, Cure::Fix(_)))
        .map(|rule| rule.id.to_owned())
        .collect();
    assert_eq!(covered, all);
}

#[test]
fn everything_at_once_is_fixed_in_one_go_and_only_once() {
    let rig = Rig::new();
    rig.config("{ // a\n channels: { signal: { groupPolicy: 'open', accounts: { b: { groupPolicy: 'open' } } } },\n logging: { redactSensitive: 'off' } }");
    rig.mode("state", 0o777);
    rig.mode("state/clawdbot.json", 0o666);
    rig.mode("state/sessions/main/sessions.json", 0o644);
    // A dry run changes neither a byte nor a mode.
    let before = fs::read(rig.path("state/clawdbot.json")).unwrap();
    let shown = rig.fix(None, false);
    assert_eq!(shown.changes.len(), 6, "{:?}", shown.changes);
    assert_eq!(
        (rig.mode_of("state"), rig.mode_of("state/clawdbot.json")),
        (0o777, 0o666)
    );
    assert_eq!(fs::read(rig.path("state/clawdbot.json")).unwrap(), before);
    let done = rig.fix(None, true);
    assert_eq!(done.changes, shown.changes);
    assert!(done.failed.is_empty(), "{:?}", done.failed);
    assert_eq!(rig.mode_of("state") & 0o066, 0);
    assert_eq!(rig.mode_of("state/clawdbot.json"), 0o600);
    assert_eq!(rig.mode_of("state/sessions/main/sessions.json"), 0o600);
    // Nobody reads from the backup what the file itself does not tell any more.
    let backup = done.backup.unwrap();
    assert_eq!(fs::metadata(&backup).unwrap().mode() & 0o077, 0);
    let again = rig.fix(None, true);
    assert!(again.changes.is_empty() && again.backup.is_none());
    let backups = fs::read_dir(rig.path("state")).unwrap().flatten();
    let backups = backups.filter(|entry| entry.file_name().to_string_lossy().contains(".bak"));
    assert_eq!(backups.count(), 1);
}

#[test]
fn nothing_behind_a_symbolic_link_is_looked_at_or_changed() {
    let rig = Rig::new();
    fs::create_dir(rig.path("theirs")).unwrap();
    fs::write(rig.path("theirs/secret"), "x").unwrap();
    rig.mode("theirs", 0o777);
    rig.mode("theirs/secret", 0o666);
    for (there, here) in [
        ("theirs", "state/secrets"),
        ("theirs", "state/sessions/guest"),
        ("theirs/secret", "state/gateway.log.1"),
        ("theirs/secret", "state/credentials/link"),
    ] {
        symlink(rig.path(there), rig.path(here)).unwrap();
    }
    let links = rig
        .look()
        .iter()
        .filter(|found| found.id.ends_with(".symlink"))
        .count();
    assert_eq!(links, 4);
    let done = rig.fix(None, true);
    assert!(done.changes.is_empty(), "{:?}", done.changes);
    assert_eq!(
        (rig.mode_of("theirs"), rig.mode_of("theirs/secret")),
        (0o777, 0o666)
    );
    // Nor when the link takes the place of a file between looking and changing, at its end or on the way.
    for (swapped, inside) in [
        ("state/audit", ""),
        ("state/sessions/main", "sessions.json"),
    ] {
        let rig = Rig::new();
        fs::create_dir(rig.path("theirs")).unwrap();
        rig.write("theirs/sessions.json", "");
        rig.mode(&format!("{swapped}/{inside}"), 0o777);
        let facts = rig.facts();
        let findings = look(&facts, Style::PLAIN);
        let plan = fix::plan(&findings, None, &facts.place.config, &facts.text);
        assert!(!plan.is_empty());
        rig.mode("theirs", 0o777);
        rig.mode("theirs/sessions.json", 0o777);
        fs::rename(rig.path(swapped), rig.path("away")).unwrap();
        symlink(rig.path("theirs"), rig.path(swapped)).unwrap();
        let done = plan.apply(&facts.place.config);
        assert!(!done.failed.is_empty(), "{swapped}");
        assert_eq!(
            (rig.mode_of("theirs"), rig.mode_of("theirs/sessions.json")),
            (0o777, 0o777)
        );
    }
}

#[test]
fn a_file_with_a_second_name_keeps_its_mode() {
    let rig = Rig::new();
    rig.write("theirs", "");
    rig.mode("theirs", 0o666);
    fs::hard_link(rig.path("theirs"), rig.path("state/credentials/mine")).unwrap();
    let done = rig.fix(None, true);
    assert!(done.changes.is_empty() && !done.failed.is_empty());
    assert!(
        done.failed
            .iter()
            .all(|failed| failed.1.contains("second name")),
        "{:?}",
        done.failed
    );
    assert_eq!(rig.mode_of("theirs"), 0o666);
}

#[test]
fn fix_by_name_refuses_what_is_not_there_and_what_is_for_its_owner_to_decide() {
    assert!(can_fix("logging.redact_off").is_ok() && can_fix("fs.config.perms_writable").is_ok());
    let unknown = can_fix("no.such").unwrap_err();
    assert!(unknown.exit == 2 && unknown.remedy.unwrap().contains("fs.config.perms_writable"));
    let owners = can_fix("gateway.bind_off_loopback").unwrap_err();
    assert!(owners.exit == 2 && owners.message.contains("for you to decide"));
}

const OUT: Out = Out {
    json: true,
    verbose: false,
    style: Style::PLAIN,
    err: Style::PLAIN,
};

#[test]
fn where_nobody_can_be_asked_nobody_agreed() {
    assert!(!agreed(&mut fix::Plan::default(), OUT).unwrap());
}

/// Settings that can be combined at will, each with something that a rule finds and something that none does.
const ANY: &[(&str, [&str; 3])] = &[
    ("logging.redactSensitive", ["'off'", "'all'", "'tools'"]),
    ("discovery.mdns.mode", ["'full'", "'minimal'", "'off'"]),
    (
        "gateway.auth.rateLimit",
        ["false", "{ maxAttempts: 3 }", "{ maxAttempts: 0 }"],
    ),
    ("gateway.bind", ["'lan'", "'loopback'", "7"]),
    (
        "gateway.auth.token",
        [
            "'short'",
            "'${NOT_SET_ANYWHERE}'",
            "'9f8a7b6c5d4e3f2a1b0c9d8e'",
        ],
    ),
    (
        "agents.defaults.verboseDefault",
        ["'full'", "'on'", "'off'"],
    ),
    (
        "agents.defaults.sandbox",
        [
            "{ mode: 'off', docker: { readOnlyRoot: false } }",
            "{ docker: { readOnlyRoot: false, user: 'root' } }",
            "{ perSession: false }",
        ],
    ),
    (
        "agents.list",
        [
            "[{ id: 'a', sandbox: { docker: { readOnlyRoot: false } } }]",
            "[{ id: 'a' }, { id: 'a' }]",
            "[]",
        ],
    ),
    (
        "channels.defaults",
        [
            "{ groupPolicy: 'open' }",
            "{}",
            "{ groupPolicy: 'disabled' }",
        ],
    ),
    (
        "channels.signal",
        [
            "{ groupPolicy: 'open', configWrites: true, groups: { 'group:abcdefghijklmnop': {} } }",
            "{ accounts: { a: { groupPolicy: 'open' }, b: {} } }",
            "{ dm: { policy: 'open', allowFrom: ['*'] } }",
        ],
    ),
    (
        "channels.telegram",
        [
            "{ groupPolicy: 'open', groups: { '*': { requireMention: false } } }",
            "{ allowFrom: [1, '*'], configWrites: true }",
            "{ accounts: { a: { configWrites: true } } }",
        ],
    ),
    (
        "channels.discord",
        [
            "{ guilds: { '1': {}, name: {} }, groupPolicy: 'open' }",
            "{ allowBots: true }",
            "{}",
        ],
    ),
    (
        "tools",
        [
            "{ profile: 'coding', deny: ['web_fetch'] }",
            "{ exec: { security: 'full', ask: 'off' } }",
            "{ elevated: { enabled: true } }",
        ],
    ),
    (
        "dangerous.accept",
        [
            "['security.exposure.open_groups_with_runtime_or_fs']",
            "['sandbox.docker_user_root']",
            "[]",
        ],
    ),
    ("hooks", ["{ token: 'short' }", "{ path: '/' }", "{}"]),
    ("nonsense", ["1", "{}", "[]"]),
];

/// The file with these settings, nested.
fn file(settings: &[(&str, &str)]) -> String {
    let mut text = String::from("{\n");
    let mut tops: Vec<&str> = settings
        .iter()
        .map(|(path, _)| path.split('.').next().unwrap())
        .collect();
    tops.dedup();
    for top in tops {
        let own = settings
            .iter()
            .filter(|(path, _)| path.split('.').next() == Some(top));
        let whole = own.clone().find(|(path, _)| *path == top);
        match whole {
            Some((_, value)) => text.push_str(&format!("  {top}: {value}, // mine\n")),
            None => {
                let inner: Vec<_> = own
                    .map(|(path, value)| (&path[top.len() + 1..], *value))
                    .collect();
                text.push_str(&format!("  {top}: {},\n", file(&inner).trim_end()));
            }
        }
    }
    text + "}\n"
}

#[test]
fn whatever_the_files_fix_has_nothing_to_do_twice_adds_no_finding_and_opens_nothing() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let (mut fixed, mut refused) = (0, 0);
    for case in 0..300 {
        let rig = Rig::new();
        let settings: Vec<(&str, &str)> = ANY
            .iter()
            .filter_map(|(path, values)| {
                let wanted = random(if *path == "nonsense" || *path == "hooks" {
                    12
                } else {
                    3
                }) == 0;
                wanted.then(|| (*path, values[random(3) as usize]))
            })
            .collect();
        rig.config(&file(&settings));
        let places = [
            "state",
            "state/clawdbot.json",
            "state/credentials",
            "state/credentials/vault",
            "state/gateway.log",
            "state/clawdbot.json.bak.1",
        ];
        rig.write("state/clawdbot.json.bak.1", "{}");
        for place in places {
            if random(3) == 0 {
                rig.mode(
                    place,
                    0o600
                        | (random(0o100) as u32)
                        | if place.ends_with("state") || place.ends_with("credentials") {
                            0o100
                        } else {
                            0
                        },
                );
            }
        }
        let modes = places.map(|place| rig.mode_of(place));
        let before = rig.look();
        let told = || format!("{case}: {}", file(&settings));
        let done = rig.fix(None, true);
        let after = rig.look();
        assert!(done.failed.is_empty(), "{:?} {}", done.failed, told());
        assert!(after.len() <= before.len(), "{} {:#?}", told(), after);
        let critical = |found: &[Found]| {
            let found = found
                .iter()
                .filter(|found| found.severity == Severity::Critical);
            found
                .map(|found| (found.id.clone(), found.path.clone()))
                .collect::<BTreeSet<_>>()
        };
        assert!(
            critical(&after).is_subset(&critical(&before)),
            "{} {:#?}",
            told(),
            after
        );
        for (place, mode) in places.into_iter().zip(modes) {
            assert_eq!(rig.mode_of(place) & !mode, 0, "{place} {}", told());
        }
        let again = rig.fix(None, true);
        assert!(
            again.changes.is_empty() && again.failed.is_empty() && again.backup.is_none(),
            "{:?} {}",
            again.changes,
            told()
        );
        fixed += usize::from(!done.changes.is_empty());
        refused += usize::from(rig.facts().config.is_err());
    }
    assert!(fixed > 100 && refused > 20, "{fixed} {refused}");
}
