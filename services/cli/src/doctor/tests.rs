//! Every row both ways, on real files in a folder of their own; what `--fix` does to them; what a script reads.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use clawdbot_config::Severity::{self, Critical, Info, Warn};
use serde_json::{Value, json};

use super::files::What;
use super::version::Version;
use super::*;
use crate::out::Style;

const OUT: Out = Out {
    json: true,
    verbose: false,
    style: Style::PLAIN,
    err: Style::PLAIN,
};

/// A state directory as the assistant makes it, and a configuration that nothing can be said against.
struct Rig {
    folder: tempfile::TempDir,
    names: Vec<String>,
    version: Version,
}

const CLEAN: &str = "{\n  // mine\n  gateway: { port: 18789 },\n}\n";

impl Rig {
    fn new() -> Self {
        let rig = Self {
            folder: tempfile::tempdir().unwrap(),
            names: vec!["PATH".to_owned(), "CLAWDBOT_GATEWAY_PORT".to_owned()],
            version: Version {
                now_s: 200 * 86_400,
                built_s: Some(100 * 86_400),
                ..Version::default()
            },
        };
        for folder in [
            "state",
            "state/credentials",
            "state/sessions",
            "state/sessions/main",
            "state/pairing",
            "state/audit",
            "system",
        ] {
            fs::create_dir(rig.path(folder)).unwrap();
            rig.mode(folder, 0o700);
        }
        // Others pass to where they are kept out, so that each file has to keep them out itself.
        rig.mode("", 0o755);
        for folder in [
            "state",
            "state/credentials",
            "state/sessions",
            "state/sessions/main",
            "state/pairing",
            "state/audit",
        ] {
            rig.mode(folder, 0o711);
        }
        for file in [
            "state/credentials/vault",
            "state/sessions/main/sessions.json",
            "state/gateway.log",
            "system/environment",
        ] {
            rig.write(file, "");
        }
        rig.config(CLEAN);
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        self.mode(name, 0o600);
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode_of(&self, name: &str) -> u32 {
        fs::symlink_metadata(self.path(name)).unwrap().mode() & 0o7777
    }

    fn config(&self, text: &str) {
        self.write("state/clawdbot.json", text);
    }

    fn place(&self) -> Place {
        Place {
            state: self.path("state"),
            config: self.path("state/clawdbot.json"),
        }
    }

    fn facts(&self) -> Facts {
        let names = self.names.iter().cloned();
        Facts::of(
            &self.place(),
            &self.path("system"),
            names,
            self.version.clone(),
        )
    }

    fn look(&self) -> Vec<Found> {
        look(&self.facts(), Style::PLAIN)
    }

    fn find(&self, id: &str) -> Option<Found> {
        self.look().into_iter().find(|found| found.id == id)
    }

    /// `--fix`, done at once or only shown.
    fn fix(&self, only: Option<&str>, apply: bool) -> fix::Outcome {
        let facts = self.facts();
        let findings = look(&facts, Style::PLAIN);
        let plan = fix::plan(&findings, only, &facts.place.config, &facts.text);
        match apply {
            true => plan.apply(&facts.place.config),
            false => plan.dry(),
        }
    }
}

/// Id, how bad, and the smallest thing that raises it.
type Case = (&'static str, Severity, fn(&mut Rig));

/// Swaps a file or folder for a link to it.
fn link(rig: &Rig, name: &str) {
    let (real, here) = (rig.path("elsewhere"), rig.path(name));
    fs::rename(&here, &real).unwrap();
    symlink(&real, &here).unwrap();
}

const CASES: &[Case] = &[
    ("config.invalid", Critical, |rig| rig.config("{ nonsense")),
    ("config.unset", Critical, |rig| {
        rig.config("{ hooks: { token: '${CLAWDBOT_TEST_NOT_SET}' } }")
    }),
    ("fs.state_dir.symlink", Warn, |rig| link(rig, "state")),
    ("fs.state_dir.perms_world_writable", Critical, |rig| {
        rig.mode("state", 0o702)
    }),
    ("fs.state_dir.perms_group_writable", Warn, |rig| {
        rig.mode("state", 0o720)
    }),
    ("fs.state_dir.perms_readable", Warn, |rig| {
        rig.mode("state", 0o755)
    }),
    ("fs.config.symlink", Warn, |rig| {
        link(rig, "state/clawdbot.json")
    }),
    ("fs.config.perms_writable", Critical, |rig| {
        rig.mode("state/clawdbot.json", 0o620)
    }),
    ("fs.config.perms_world_readable", Critical, |rig| {
        rig.mode("state/clawdbot.json", 0o604)
    }),
    ("fs.config.perms_group_readable", Warn, |rig| {
        rig.mode("state/clawdbot.json", 0o640)
    }),
    ("fs.environment.symlink", Warn, |rig| {
        link(rig, "system/environment")
    }),
    ("fs.environment.perms_writable", Critical, |rig| {
        rig.mode("system/environment", 0o602)
    }),
    ("fs.environment.perms_readable", Critical, |rig| {
        rig.mode("system/environment", 0o644)
    }),
    ("fs.credentials_dir.symlink", Warn, |rig| {
        link(rig, "state/credentials")
    }),
    ("fs.credentials_dir.perms_writable", Critical, |rig| {
        rig.mode("state/credentials", 0o730)
    }),
    ("fs.credentials_dir.perms_readable", Warn, |rig| {
        rig.mode("state/credentials", 0o750)
    }),
    ("fs.auth_profiles.symlink", Warn, |rig| {
        link(rig, "state/credentials/vault")
    }),
    ("fs.auth_profiles.perms_writable", Critical, |rig| {
        rig.mode("state/credentials/vault", 0o622)
    }),
    ("fs.auth_profiles.perms_readable", Warn, |rig| {
        rig.mode("state/credentials/vault", 0o644)
    }),
    ("fs.sessions_store.symlink", Warn, |rig| {
        link(rig, "state/sessions/main")
    }),
    ("fs.sessions_store.perms_writable", Critical, |rig| {
        rig.mode("state/sessions/main", 0o777)
    }),
    ("fs.sessions_store.perms_readable", Warn, |rig| {
        rig.mode("state/sessions/main/sessions.json", 0o644)
    }),
    ("fs.log_file.symlink", Warn, |rig| {
        link(rig, "state/gateway.log")
    }),
    ("fs.log_file.perms_writable", Warn, |rig| {
        rig.mode("state/gateway.log", 0o620)
    }),
    ("fs.log_file.perms_readable", Warn, |rig| {
        rig.mode("state/gateway.log", 0o644)
    }),
    ("fs.private_dir.symlink", Warn, |rig| {
        link(rig, "state/audit")
    }),
    ("fs.private_dir.perms_writable", Critical, |rig| {
        rig.mode("state/pairing", 0o777)
    }),
    ("fs.private_dir.perms_readable", Warn, |rig| {
        rig.mode("state/audit", 0o755)
    }),
    ("fs.parents.perms_writable", Critical, |rig| {
        rig.mode("", 0o777)
    }),
    ("fs.parents.perms_group_writable", Warn, |rig| {
        rig.mode("", 0o770)
    }),
    ("config.secrets.environment", Info, |rig| {
        rig.names.push("OPENAI_API_KEY".to_owned())
    }),
    ("channels.telegram.dm.scope_main_multiuser", Warn, |rig| {
        rig.config("{ session: { dmScope: 'main' }, channels: { telegram: { allowFrom: [1] } } }");
        rig.write("state/pairing/people.json", r#"{"version":1,"accounts":[{"channel":"telegram","account":"default","pending":[],"approved":[{"sender":"2","hint":"","approved":1}],"names":{}}]}"#);
    }),
    ("pairing.damaged", Critical, |rig| {
        rig.write("state/pairing/people.json", "{\"version\":1,\"acc")
    }),
    ("models.legacy", Warn, |rig| {
        rig.config("{ agents: { defaults: { model: 'openai/gpt-3.5-turbo' } } }")
    }),
    ("models.weak_tier", Warn, |rig| {
        rig.config("{ agents: { list: [{ id: 'a', model: 'anthropic/claude-haiku-4-5' }] } }")
    }),
    ("models.small_params", Critical, |rig| {
        rig.config("{ agents: { defaults: { model: { fallbacks: ['ollama/llama-3.1-8b'] } } } }")
    }),
    ("config.insecure_or_dangerous_flags", Warn, |rig| {
        rig.config("{ dangerous: { accept: ['sandbox.docker_user_root'] } }")
    }),
    ("security.exposure.open_channels_with_exec", Warn, |rig| {
        rig.config("{ tools: { profile: 'coding' }, channels: { telegram: { dmPolicy: 'open', allowFrom: ['*'] } } }");
    }),
    ("security.trust_model.multi_user_heuristic", Warn, |rig| {
        rig.config("{ agents: { defaults: { sandbox: { scope: 'shared' } } }, channels: { telegram: { allowFrom: [1, 2] } } }");
    }),
    (
        "tools.exec.fs_tools_disabled_but_exec_enabled",
        Warn,
        |rig| rig.config("{ tools: { deny: ['group:fs'] } }"),
    ),
    ("tools.exec.safe_bins_broad_behavior", Warn, |rig| {
        rig.config("{ tools: { exec: { safeBins: ['wc', 'python3.12'] } } }")
    }),
    ("version.outdated", Warn, |rig| {
        rig.version.now_s = 281 * 86_400
    }),
    ("version.outdated", Warn, |rig| {
        rig.version.installed = Some("0.1.0-1".to_owned());
        rig.version.candidate = Some("0.1.1-1".to_owned());
    }),
    ("version.lists_stale", Info, |rig| {
        rig.version.installed = Some("0.1.0-1".to_owned());
        rig.version.lists_s = Some(160 * 86_400);
    }),
];

/// Rows that need another user or another place than a test has; each has a test of its own below, as have those of what runs.
const APART: &[&str] = &[
    "fs.synced_dir",
    "fs.unseen",
    "summary.attack_surface",
    "summary.local_only",
];

#[test]
fn an_orderly_machine_has_nothing_to_worry_about() {
    let found = Rig::new().look();
    let ids: Vec<_> = found.iter().map(|found| found.id.as_str()).collect();
    assert_eq!(ids, ["summary.attack_surface", "summary.local_only"]);
    assert!(found.iter().all(|found| found.severity == Info));
}

#[test]
fn every_row_sees_the_smallest_thing_that_raises_it_and_says_what_the_table_says() {
    for (id, severity, make) in CASES {
        let mut rig = Rig::new();
        make(&mut rig);
        let found = rig.find(id).unwrap_or_else(|| panic!("{id} is not found"));
        assert_eq!(found.severity, *severity, "{id}");
        assert!(!found.detail.is_empty() || found.excerpt.is_some(), "{id}");
        assert!(!found.why.is_empty() && !found.command.is_empty(), "{id}");
        assert!(!found.command.contains("PATH"), "{id}: {}", found.command);
        let somewhere =
            found.spot.is_some() || id.starts_with("version.") || id.contains("environment");
        assert!(somewhere, "{id} has no place");
    }
    for check in check::all() {
        let live = live::CHECKS.iter().any(|row| row.id == check.id);
        let known = CASES
            .iter()
            .any(|(id, _, _)| *id == check.id.replace("<channel>", "telegram"));
        let apart = APART.contains(&check.id) || check.id.ends_with(".owner");
        assert!(known || live || apart, "{} has no case", check.id);
    }
}

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

/// Looking is pure, so that other users can be made up.
fn owners(me: u32, change: impl Fn(&mut Facts)) -> Vec<String> {
    let rig = Rig::new();
    let mut facts = rig.facts();
    facts.me = me;
    for file in &mut facts.files {
        file.uid = if file.what == What::Parent { 0 } else { me };
    }
    change(&mut facts);
    let found = look(&facts, Style::PLAIN).into_iter().map(|found| found.id);
    let ids: BTreeSet<String> = found.filter(|id| id.ends_with(".owner")).collect();
    ids.into_iter().collect()
}

#[test]
fn whose_the_files_are_is_looked_at() {
    let give = |what: What, uid: u32| {
        move |facts: &mut Facts| {
            let of = facts.files.iter_mut().filter(|file| file.what == what);
            of.for_each(|file| file.uid = uid);
        }
    };
    assert_eq!(owners(1000, |_| {}), [""; 0]);
    for (what, id) in [
        (What::State, "fs.state_dir.owner"),
        (What::Config, "fs.config.owner"),
        (What::Environment, "fs.environment.owner"),
        (What::Credentials, "fs.credentials_dir.owner"),
        (What::Secret, "fs.auth_profiles.owner"),
        (What::Private, "fs.private_dir.owner"),
        (What::Parent, "fs.parents.owner"),
    ] {
        assert_eq!(owners(1000, give(what, 1001)), [id], "{id}");
        // Root may own everything.
        assert_eq!(owners(1000, give(what, 0)), [""; 0], "{id}");
    }
    // Root looks at the state of the assistant's own user; whoever else owns something in there is a stranger.
    let served = |facts: &mut Facts| {
        facts
            .files
            .iter_mut()
            .filter(|file| file.what != What::Parent)
            .for_each(|file| file.uid = 990)
    };
    assert_eq!(owners(0, served), [""; 0]);
    assert_eq!(
        owners(0, |facts| {
            served(facts);
            give(What::Private, 1001)(facts)
        }),
        ["fs.private_dir.owner"]
    );
    // In system mode each process has a user of its own.
    let system = |facts: &mut Facts| {
        for file in &mut facts.files {
            let own = matches!(file.what, What::Private | What::Secret | What::Credentials);
            (file.base, file.uid) = ("/var/lib/clawdbot".into(), if own { 991 } else { 0 });
        }
    };
    assert_eq!(owners(1000, system), [""; 0]);
}

#[test]
fn the_systems_own_file_may_be_read_by_its_group_and_by_nobody_else() {
    let ids = |mode: u32| {
        let rig = Rig::new();
        let mut facts = rig.facts();
        for file in facts
            .files
            .iter_mut()
            .filter(|file| file.what == What::Config)
        {
            (file.base, file.uid, file.mode) = ("/etc/clawdbot/clawdbot.json".into(), 0, mode);
        }
        let found = look(&facts, Style::PLAIN).into_iter();
        found
            .map(|found| found.id)
            .filter(|id| id.starts_with("fs.config"))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(0o640), [""; 0]);
    assert_eq!(ids(0o644), ["fs.config.perms_world_readable"]);
    assert_eq!(ids(0o660), ["fs.config.perms_writable"]);
}

#[test]
fn what_a_closed_folder_keeps_from_others_is_half_as_bad() {
    let rig = Rig::new();
    rig.mode("state/clawdbot.json", 0o604);
    rig.mode("state/gateway.log", 0o640);
    let severities = || {
        [
            "fs.config.perms_world_readable",
            "fs.log_file.perms_readable",
        ]
        .map(|id| rig.find(id).unwrap().severity)
    };
    assert_eq!(severities(), [Critical, Warn]);
    rig.mode("state", 0o710);
    assert_eq!(severities(), [Warn, Warn]);
    rig.mode("state", 0o700);
    assert_eq!(severities(), [Warn, Info]);
    assert!(
        rig.find("fs.config.perms_world_readable")
            .unwrap()
            .detail
            .contains("/state is closed")
    );
    // A folder further above does as well, and a writable one can be replaced from where it lies.
    rig.mode("state", 0o777);
    rig.mode("", 0o700);
    assert_eq!(
        rig.find("fs.state_dir.perms_world_writable")
            .unwrap()
            .severity,
        Warn
    );
    rig.mode("", 0o755);
    assert_eq!(
        rig.find("fs.state_dir.perms_world_writable")
            .unwrap()
            .severity,
        Critical
    );
}

#[test]
fn a_folder_that_is_copied_elsewhere_and_one_that_cannot_be_seen_are_told() {
    let rig = Rig::new();
    let mut facts = rig.facts();
    assert!(
        look(&facts, Style::PLAIN)
            .iter()
            .all(|found| found.id != "fs.synced_dir" && found.id != "fs.unseen")
    );
    facts.unseen.push(rig.path("state/credentials"));
    facts.place.state = "/home/u/Dropbox (Personal)/clawdbot".into();
    let found = look(&facts, Style::PLAIN);
    let one = |id: &str| found.iter().find(|found| found.id == id).unwrap();
    assert!(one("fs.synced_dir").detail.contains("Dropbox"));
    assert_eq!(
        (one("fs.synced_dir").severity, one("fs.unseen").severity),
        (Warn, Info)
    );
}

#[test]
fn the_summary_says_what_is_open_and_whether_anything_leaves_the_house() {
    let summary = |config: &str| {
        let rig = Rig::new();
        rig.config(config);
        ["summary.attack_surface", "summary.local_only"].map(|id| rig.find(id).unwrap().detail)
    };
    let [open, away] = summary(
        "{ agents: { defaults: { model: 'anthropic/claude-opus-4-5' } }, channels: { telegram: { groupPolicy: 'open', groups: { '-1': {} } } } }",
    );
    assert!(
        open.contains("open to any group: 1") && open.contains("1 group listed"),
        "{open}"
    );
    assert!(
        away.contains("anthropic") && away.contains("telegram"),
        "{away}"
    );
    let [open, away] = summary("{ agents: { defaults: { model: 'ollama/llama3' } } }");
    assert!(
        open.contains("front door: loopback") && open.contains("0 chat accounts"),
        "{open}"
    );
    assert!(away.starts_with("nothing: "), "{away}");
}

#[test]
fn small_models_are_as_bad_as_what_they_hold() {
    let severity = |model: &str, more: &str| {
        let rig = Rig::new();
        rig.config(&format!("{{ agents: {{ defaults: {{ model: '{model}', {more} }} }}, tools: {{ deny: ['group:web'] }} }}"));
        rig.find("models.small_params").map(|found| found.severity)
    };
    assert_eq!(severity("ollama/llama3:8b", ""), Some(Critical));
    assert_eq!(severity("ollama/llama3", ""), Some(Warn));
    assert_eq!(
        severity("ollama/llama3:8b", "sandbox: { mode: 'all' }"),
        Some(Info)
    );
    assert_eq!(severity("ollama/llama-3.1-405b", ""), None);
    assert_eq!(severity("anthropic/claude-opus-4-5", ""), None);
}

#[test]
fn a_file_that_does_not_load_is_told_mistake_by_mistake_and_the_rest_is_looked_at_all_the_same() {
    let rig = Rig::new();
    rig.config("{\n  gateway: { bind: 'lan' },\n}\n");
    rig.mode("state/audit", 0o755);
    let found = rig.find("gateway.bind_no_auth").unwrap();
    assert_eq!(found.severity, Critical);
    assert_eq!(found.spot.as_ref().unwrap().at, Some((2, 20)));
    assert!(found.excerpt.unwrap().contains("^^^"));
    assert_eq!(
        found.command,
        "clawdbot config set gateway.bind '\"loopback\"'"
    );
    assert!(rig.find("fs.private_dir.perms_readable").is_some());
    rig.config("{\n  gateway: { prot: 1, bind: 7 },\n}\n");
    let mistakes: Vec<_> = rig
        .look()
        .into_iter()
        .filter(|found| found.id == "config.invalid")
        .collect();
    assert_eq!(mistakes.len(), 2);
    assert!(
        mistakes
            .iter()
            .all(|found| found.spot.as_ref().unwrap().at.is_some_and(|at| at.0 == 2))
    );
    // Modes can be fixed all the same.
    assert_eq!(rig.fix(None, true).changes.len(), 1);
    // So with a directory in its place, and without any file.
    fs::remove_file(rig.path("state/clawdbot.json")).unwrap();
    assert!(rig.look().iter().all(|found| found.severity == Info));
    fs::create_dir(rig.path("state/clawdbot.json")).unwrap();
    assert_eq!(rig.find("config.invalid").unwrap().severity, Critical);
}

#[test]
fn findings_say_where_in_the_file_they_are() {
    let rig = Rig::new();
    rig.config("{\n  channels: {\n    signal: {\n      groupPolicy: 'open',\n    },\n  },\n  tools: {\n    deny: ['group:fs'],\n  },\n}\n");
    let at = |id: &str| rig.find(id).unwrap().spot.unwrap();
    let file = rig.path("state/clawdbot.json");
    assert_eq!(
        at("channels.signal.groups.open"),
        Spot {
            file: file.clone(),
            at: Some((4, 20))
        }
    );
    assert_eq!(
        at("tools.exec.fs_tools_disabled_but_exec_enabled").at,
        Some((8, 11))
    );
    assert_eq!(
        at("channels.signal.groups.open").to_string(),
        format!("{}:4:20", file.display())
    );
}

fn diagnosis(rig: &Rig, fix: Option<fix::Outcome>) -> Diagnosis {
    let mut findings = rig.look();
    findings.sort_by_key(|found| Reverse(found.severity));
    Diagnosis {
        findings,
        fix,
        ..Diagnosis::default()
    }
}

#[test]
fn the_exit_status_tells_the_worst_finding() {
    for (config, lenient, strict) in [
        (CLEAN, 0, 0),
        (
            "{ channels: { telegram: { allowFrom: [1, 2], configWrites: true } } }",
            0,
            1,
        ),
        ("{ logging: { redactSensitive: 'off' } }", 2, 2),
        ("{ nonsense", 2, 2),
    ] {
        let rig = Rig::new();
        rig.config(config);
        let diagnosis = diagnosis(&rig, None);
        assert_eq!(
            (diagnosis.exit(false), diagnosis.exit(true)),
            (lenient, strict),
            "{config}"
        );
    }
    let failed = fix::Outcome {
        failed: vec![("a".to_owned(), "b".to_owned())],
        ..fix::Outcome::default()
    };
    assert_eq!(diagnosis(&Rig::new(), Some(failed)).exit(false), 1);
}

#[test]
fn a_person_reads_what_where_why_and_the_command() {
    let rig = Rig::new();
    rig.config("{ channels: { signal: { groupPolicy: 'open', allowFrom: ['+15555550100'] } } }");
    let text = diagnosis(&rig, None).text(Style::PLAIN);
    for line in [
        "critical  Any group [channels.signal.groups.open]\n",
        "clawdbot.json:1:38\n",
        "  why: Strangers in a group that you never saw talk to the assistant.\n",
        "  run: clawdbot config set channels.signal.groupPolicy '\"allowlist\"'\n",
        "  or: clawdbot doctor --fix channels.signal.groups.open\n",
        "\n1 critical, 0 warnings\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(
        diagnosis(&Rig::new(), None)
            .text(Style::PLAIN)
            .ends_with("\nnothing to worry about\n")
    );
}

/// Enough of JSON Schema for the one that is published.
fn conforms(value: &Value, schema: &Value, at: &str) {
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        kinds => kinds
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect(),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(kinds.contains(&kind), "{at} is {kind}, not {kinds:?}");
    if let Some(values) = schema["enum"].as_array() {
        assert!(values.contains(value), "{at}: {value}");
    }
    if let Some(members) = value.as_object() {
        let known = schema["properties"].as_object().unwrap();
        for (name, member) in members {
            let schema = known
                .get(name)
                .unwrap_or_else(|| panic!("{at}.{name} is not in the schema"));
            conforms(member, schema, &format!("{at}.{name}"));
        }
        for name in schema["required"].as_array().unwrap() {
            assert!(
                members.contains_key(name.as_str().unwrap()),
                "{at} lacks {name}"
            );
        }
        assert_eq!(schema["additionalProperties"], json!(false));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        conforms(item, &schema["items"], &format!("{at}[{index}]"));
    }
}

#[test]
fn what_a_script_reads_is_what_is_published() {
    let published = schema();
    for (_, _, make) in CASES {
        let mut rig = Rig::new();
        make(&mut rig);
        for fix in [None, Some(false), Some(true)] {
            let fix = fix.map(|apply| rig.fix(None, apply));
            conforms(
                &diagnosis(&rig, fix).json(&rig.place()),
                &published,
                "report",
            );
        }
    }
}

#[test]
fn ids_are_unique_and_documented_and_none_of_the_originals_is_forgotten() {
    let rows = check::all().map(|check| check.id);
    let all: Vec<&str> = rows.chain(about_rules().map(|rule| rule.id)).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    let page = markdown();
    for id in &all {
        assert!(page.contains(&format!("| `{id}` |")), "{id}");
    }
    for id in ORIGINAL {
        let here = all.contains(id)
            || page::NOT_HERE
                .iter()
                .any(|(known, why)| known == id && !why.is_empty());
        assert!(here, "{id} is neither checked nor explained");
    }
    for check in check::all() {
        assert!(
            check.why.ends_with('.') && !check.why.contains(". "),
            "{}: {}",
            check.id,
            check.why
        );
    }
}

/// The ids of the original, with one channel for all.
const ORIGINAL: &[&str] = &[
    "summary.attack_surface",
    "fs.state_dir.symlink",
    "fs.state_dir.perms_world_writable",
    "fs.state_dir.perms_group_writable",
    "fs.state_dir.perms_readable",
    "fs.config.symlink",
    "fs.config.perms_writable",
    "fs.config.perms_world_readable",
    "fs.config.perms_group_readable",
    "fs.config_include.*",
    "fs.credentials_dir.perms_writable",
    "fs.credentials_dir.perms_readable",
    "fs.auth_profiles.perms_writable",
    "fs.auth_profiles.perms_readable",
    "fs.sessions_store.perms_readable",
    "fs.log_file.perms_readable",
    "fs.synced_dir",
    "gateway.bind_no_auth",
    "gateway.loopback_no_auth",
    "gateway.trusted_proxies_missing",
    "gateway.tailscale_funnel",
    "gateway.tailscale_serve",
    "gateway.control_ui.insecure_auth",
    "gateway.control_ui.device_auth_disabled",
    "gateway.token_too_short",
    "gateway.probe_failed",
    "browser.control_invalid_config",
    "browser.remote_cdp_http",
    "logging.redact_off",
    "tools.elevated.allowFrom.telegram.wildcard",
    "tools.elevated.allowFrom.telegram.large",
    "hooks.token_too_short",
    "hooks.token_reuse_gateway_token",
    "hooks.path_root",
    "config.secrets.gateway_password_in_config",
    "config.secrets.hooks_token_in_config",
    "models.legacy",
    "models.weak_tier",
    "models.small_params",
    "plugins.extensions_no_allowlist",
    "channels.telegram.dm.open",
    "channels.telegram.dm.open_invalid",
    "channels.telegram.dm.disabled",
    "channels.telegram.dm.scope_main_multiuser",
    "channels.discord.commands.native.unrestricted",
    "channels.discord.commands.native.no_allowlists",
    "channels.slack.commands.slash.*",
    "channels.telegram.groups.allowFrom.wildcard",
    "channels.telegram.groups.allowFrom.missing",
    "channels.<channel>.warning.<n>",
    "security.exposure.open_groups_with_elevated",
    "gateway.auth_no_rate_limit",
    "gateway.http.no_auth",
    "gateway.http.session_key_override_enabled",
    "gateway.tools_invoke_http.dangerous_allow",
    "gateway.control_ui.allowed_origins_required",
    "gateway.control_ui.allowed_origins_wildcard",
    "gateway.real_ip_fallback_enabled",
    "gateway.trusted_proxy_*",
    "config.insecure_or_dangerous_flags",
    "discovery.mdns_full_mode",
    "hooks.request_session_key_enabled",
    "hooks.allowed_agent_ids_unrestricted",
    "sandbox.docker_config_mode_off",
    "sandbox.bind_mount_non_absolute",
    "sandbox.dangerous_bind_mount",
    "sandbox.dangerous_network_mode",
    "sandbox.dangerous_seccomp_profile",
    "sandbox.dangerous_apparmor_profile",
    "tools.exec.host_sandbox_no_sandbox_defaults",
    "tools.exec.security_full_configured",
    "tools.exec.fs_tools_disabled_but_exec_enabled",
    "tools.exec.auto_allow_skills_enabled",
    "tools.exec.allowlist_interpreter_without_strict_inline_eval",
    "tools.exec.safe_bins_broad_behavior",
    "security.exposure.open_channels_with_exec",
    "security.exposure.open_groups_with_runtime_or_fs",
    "security.trust_model.multi_user_heuristic",
    "skills.workspace.symlink_escape",
];

#[test]
fn fix_by_name_refuses_what_is_not_there_and_what_is_for_its_owner_to_decide() {
    assert!(can_fix("logging.redact_off").is_ok() && can_fix("fs.config.perms_writable").is_ok());
    let unknown = can_fix("no.such").unwrap_err();
    assert!(unknown.exit == 2 && unknown.remedy.unwrap().contains("fs.config.perms_writable"));
    let owners = can_fix("gateway.bind_off_loopback").unwrap_err();
    assert!(owners.exit == 2 && owners.message.contains("for you to decide"));
}

#[test]
fn where_nobody_can_be_asked_nobody_agreed() {
    assert!(!agreed(&fix::Plan::default(), OUT).unwrap());
}

#[test]
fn no_secret_of_the_file_or_the_environment_is_shown() {
    let mut rig = Rig::new();
    rig.names.push("TELEGRAM_BOT_TOKEN".to_owned());
    let canary = "canary-3f9a8b7c6d5e4f3a2b1c";
    rig.config(&format!("{{ gateway: {{ auth: {{ token: '{canary}' }} }}, channels: {{ signal: {{ groupPolicy: 'open' }} }} }}"));
    let diagnosis = diagnosis(&rig, Some(rig.fix(None, false)));
    let json = diagnosis.json(&rig.place()).to_string();
    let text = diagnosis.text(Style::PLAIN);
    assert!(
        text.contains("config.secrets.gateway_token_in_config") && text.contains("groupPolicy")
    );
    assert!(!json.contains(canary) && !text.contains(canary), "{text}");
    assert!(Path::new(&rig.place().config).exists());
}
