//! Every row both ways, on real files in a folder of their own; what `--fix` does to them; what a script reads.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use super::version::Version;
use super::*;
use crate::out::Style;
use clawdbot_config::Severity::{self, Critical, Info, Warn};

mod files;
mod fixing;
mod reporting;

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
            ..Place::default()
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
    ("fs.config_backup.symlink", Warn, |rig| {
        rig.write("state/clawdbot.json.bak.1", CLEAN);
        link(rig, "state/clawdbot.json.bak.1")
    }),
    ("fs.config_backup.perms_writable", Critical, |rig| {
        rig.write("state/clawdbot.json.bak", CLEAN);
        rig.mode("state/clawdbot.json.bak", 0o620)
    }),
    ("fs.config_backup.perms_readable", Critical, |rig| {
        rig.write("state/clawdbot.json.new.1", CLEAN);
        rig.mode("state/clawdbot.json.new.1", 0o604)
    }),
    ("config.secrets.backup", Warn, |rig| {
        rig.write(
            "state/clawdbot.json.bak.7",
            "{ gateway: { auth: { token: '9f8a7b6c5d4e3f2a1b0c9d8e' } } }",
        )
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
    "fs.unchecked",
    "probe.escape",
    "probe.failed",
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
        let live = check::of_what_runs().any(|row| row.id == check.id);
        let known = CASES
            .iter()
            .any(|(id, _, _)| *id == check.id.replace("<channel>", "telegram"));
        let apart = APART.contains(&check.id) || check.id.ends_with(".owner");
        assert!(known || live || apart, "{} has no case", check.id);
    }
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
