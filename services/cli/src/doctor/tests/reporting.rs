//! What a person and a script read, and that no check of the original is forgotten.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::super::*;
use super::{CASES, CLEAN, Rig};
use crate::out::Style;

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
fn what_could_not_be_fixed_is_said_and_never_called_fixed() {
    let change = || fix::Change {
        id: "a".to_owned(),
        target: "t".to_owned(),
        from: String::new(),
        to: "x".to_owned(),
    };
    for (changes, failed, expected) in [
        (0, false, "nothing to fix"),
        (0, true, "nothing was fixed"),
        (1, false, "fixed"),
        (1, true, "not all of it was fixed"),
    ] {
        for shown in [false, true] {
            let outcome = fix::Outcome {
                applied: true,
                shown,
                changes: (0..changes).map(|_| change()).collect(),
                failed: failed
                    .then(|| ("config".to_owned(), "the disk is full".to_owned()))
                    .into_iter()
                    .collect(),
                ..fix::Outcome::default()
            };
            let text = outcome.text(Style::PLAIN);
            assert_eq!(text.trim_end().lines().next_back(), Some(expected));
            assert_eq!(text.contains("not fixed: config: the disk is full"), failed);
        }
    }
}

#[test]
fn every_command_looks_where_this_one_did() {
    let rig = Rig::new();
    rig.config("{ channels: { signal: { groupPolicy: 'open' } } }");
    let mut place = rig.place();
    place.flags = " --state-dir '/my state'".to_owned();
    let mut diagnosis = diagnosis(&rig, None);
    diagnosis.aim(&place);
    let text = diagnosis.text(&place, Style::PLAIN, false);
    for line in [
        "  run: clawdbot --state-dir '/my state' config set channels.signal.groupPolicy '\"allowlist\"'\n",
        "  or: clawdbot --state-dir '/my state' doctor --fix channels.signal.groups.open\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(
        text.matches("clawdbot ").count(),
        text.matches("clawdbot --state-dir '/my state' ").count(),
        "{text}"
    );
}

#[test]
fn a_person_reads_what_where_why_and_the_command() {
    let rig = Rig::new();
    rig.config("{ channels: { signal: { groupPolicy: 'open', allowFrom: ['+15555550100'] } } }");
    let text = diagnosis(&rig, None).text(&rig.place(), Style::PLAIN, false);
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
            .text(&rig.place(), Style::PLAIN, false)
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
fn no_secret_of_the_file_or_the_environment_is_shown() {
    let mut rig = Rig::new();
    rig.names.push("TELEGRAM_BOT_TOKEN".to_owned());
    let canary = "canary-3f9a8b7c6d5e4f3a2b1c";
    rig.config(&format!("{{ gateway: {{ auth: {{ token: '{canary}' }} }}, channels: {{ signal: {{ groupPolicy: 'open' }} }} }}"));
    let diagnosis = diagnosis(&rig, Some(rig.fix(None, false)));
    let json = diagnosis.json(&rig.place()).to_string();
    let text = diagnosis.text(&rig.place(), Style::PLAIN, false);
    assert!(
        text.contains("config.secrets.gateway_token_in_config") && text.contains("groupPolicy")
    );
    assert!(!json.contains(canary) && !text.contains(canary), "{text}");
    assert!(Path::new(&rig.place().config).exists());
}
