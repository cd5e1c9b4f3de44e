//! Every rule both ways: a file that breaks it and one, as near as possible, that does not.

use super::*;
use crate::{Loaded, parse};
use cases::CASES;

mod cases;
mod remedies;

/// What a channel's lists can name: somebody, somebody else, and a group.
const PEOPLE: &[(&str, &str, &str, &str)] = &[
    (
        "whatsapp",
        "'+15555550100'",
        "'+15555550101'",
        "'120363000000000000@g.us'",
    ),
    ("telegram", "1", "2", "'-1001'"),
    (
        "discord",
        "'123456789012345678'",
        "'123456789012345679'",
        "'123'",
    ),
    (
        "signal",
        "'+15555550100'",
        "'+15555550101'",
        "'group:abcdefghijklmnop'",
    ),
    (
        "imessage",
        "'+15555550100'",
        "'me@example.org'",
        "'chat_id:1'",
    ),
    (
        "bluebubbles",
        "'+15555550100'",
        "'me@example.org'",
        "'chat_id:1'",
    ),
];

/// The rules that hold on every channel: the part of the id after the channel, and what to write into the channel.
const CHANNEL_CASES: &[(&str, &str, &str)] = &[
    (
        "dm.open_invalid",
        "dmPolicy:'open',allowFrom:[SOMEBODY]",
        "dmPolicy:'open',allowFrom:['*']",
    ),
    (
        "dm.open_invalid",
        "accounts:{work:{dm:{policy:'open'}}}",
        "accounts:{work:{dm:{policy:'open',allowFrom:['*']}}}",
    ),
    (
        "account_default",
        "accounts:{default:{allowFrom:[SOMEBODY]}}",
        "accounts:{work:{allowFrom:[SOMEBODY]}}",
    ),
    (
        "dm.wildcard_without_open",
        "allowFrom:['*']",
        "allowFrom:[SOMEBODY]",
    ),
    (
        "dm.open",
        "dm:{policy:'open',allowFrom:['*']}",
        "dm:{policy:'pairing',allowFrom:[SOMEBODY]}",
    ),
    (
        "dm.disabled",
        "dmPolicy:'disabled'",
        "dmPolicy:'allowlist',allowFrom:[SOMEBODY]",
    ),
    ("dm.allowFrom.missing", "", "allowFrom:[SOMEBODY]"),
    (
        "dm.allowFrom.missing",
        "dmPolicy:'allowlist'",
        "dmPolicy:'disabled'",
    ),
    (
        "groups.open",
        "groupPolicy:'open'",
        "groupPolicy:'allowlist'",
    ),
    (
        "groups.allowFrom.wildcard",
        "groupAllowFrom:['*']",
        "groupAllowFrom:[SOMEBODY]",
    ),
    (
        "groups.allowFrom.missing",
        "groups:{GROUP:{}}",
        "groups:{GROUP:{}},allowFrom:[SOMEBODY]",
    ),
    (
        "groups.no_mention_gate",
        "groups:{'*':{requireMention:false}}",
        "groups:{GROUP:{requireMention:false}}",
    ),
    ("config_writes", "configWrites:true", "configWrites:false"),
];

/// All cases: (rule, a file that breaks it, a file that does not).
fn cases() -> Vec<(String, String, String)> {
    let mut cases: Vec<_> = CASES
        .iter()
        .map(|(id, bad, good)| (id.to_string(), bad.to_string(), good.to_string()))
        .collect();
    for (channel, a, b, group) in PEOPLE {
        let file = |inside: &str| {
            let inside = inside.replace("SOMEBODY", a).replace("GROUP", group);
            format!("{{channels:{{{channel}:{{{inside}}}}}}}")
        };
        for (id, bad, good) in CHANNEL_CASES {
            cases.push((format!("channels.{channel}.{id}"), file(bad), file(good)));
        }
        let scope = |scope: &str| {
            format!(
                "{{session:{{dmScope:'{scope}'}},channels:{{{channel}:{{allowFrom:[{a},{b}]}}}}}}"
            )
        };
        cases.push((
            format!("channels.{channel}.dm.scope_main_multiuser"),
            scope("main"),
            scope("per-peer"),
        ));
        let elevated =
            |people: &str| format!("{{tools:{{elevated:{{allowFrom:{{{channel}:[{people}]}}}}}}}}");
        let many = |count: usize| elevated(&vec![*a; count].join(","));
        let id = |end: &str| format!("tools.elevated.allowFrom.{channel}.{end}");
        cases.push((id("wildcard"), elevated("'*'"), elevated(a)));
        cases.push((id("large"), many(26), many(25)));
    }
    for (bad, good) in [
        ("/var/run/docker.sock", "/srv/run"),
        ("/", "/srv"),
        ("/etc", "/srv/etc"),
        ("/etc/ssl", "/etcetera"),
        ("/proc/1", "/process"),
        ("/sys", "/system"),
        ("/dev", "/development"),
        ("/root", "/rooted"),
        ("~/.ssh", "~/ssh"),
        ("/home/u/.aws", "/home/u/aws"),
        ("~/.gnupg/x", "~/gnupg"),
        ("~/.clawdbot", "~/clawd"),
        ("/var/lib/clawdbot/credentials", "/var/lib/other"),
        ("/home/u", "/home/u/data"),
        ("//etc//", "/opt"),
        ("/var/lib", "/var/cache"),
    ] {
        let file = |host: &str| {
            format!("{{agents:{{defaults:{{sandbox:{{docker:{{binds:['{host}:/data']}}}}}}}}}}")
        };
        cases.push((
            "sandbox.dangerous_bind_mount".to_owned(),
            file(bad),
            file(good),
        ));
    }
    cases
}

/// The ids of all rules that a file breaks, refused or not.
fn broken(file: &str) -> Vec<String> {
    let loaded = parse("test", file.as_bytes());
    match loaded {
        Ok(loaded) => loaded
            .findings
            .iter()
            .map(|finding| finding.id.to_owned())
            .collect(),
        Err(error) => {
            let ids = error
                .mistakes()
                .iter()
                .map(|mistake| mistake.rule.unwrap_or(&mistake.message).to_owned());
            ids.collect()
        }
    }
}

fn loaded(file: &str) -> Loaded {
    parse("test", file.as_bytes()).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

#[test]
fn every_rule_holds_both_ways() {
    let cases = cases();
    for (id, bad, good) in &cases {
        let rule = all()
            .find(|rule| rule.id == id)
            .unwrap_or_else(|| panic!("no rule {id}"));
        assert!(
            broken(bad).contains(id),
            "{id} does not see {bad}: {:?}",
            broken(bad)
        );
        assert!(!broken(good).contains(id), "{id} refuses {good}");
        // What refuses a file does so, what only reports lets it load.
        let refuses = matches!(rule.grade, Grade::Error | Grade::Accept);
        assert_eq!(
            parse("test", bad.as_bytes()).is_err(),
            refuses,
            "{id} {bad}"
        );
        // The other file is good altogether, so that it shows this rule and no other.
        loaded(good);
    }
    for rule in all() {
        assert!(
            cases.iter().any(|(id, _, _)| id == rule.id),
            "{} has no case",
            rule.id
        );
    }
}

#[test]
fn ids_are_unique_and_rows_are_complete() {
    let mut ids: Vec<_> = all().map(|rule| rule.id).collect();
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count);
    let rows = crate::schema::rows();
    for rule in all() {
        assert!(
            !rule.title.is_empty() && !rule.remedy.is_empty(),
            "{}",
            rule.id
        );
        let key = rule.key.replace("<name>", "responses");
        assert!(
            rows.iter().any(|row| row.shown == key),
            "{}: the schema has no {}",
            rule.id,
            rule.key
        );
    }
}

#[test]
fn what_can_be_accepted_loads_when_it_is_named_and_is_reported() {
    for rule in all().filter(|rule| rule.grade == Grade::Accept) {
        let (_, bad, _) = cases()
            .into_iter()
            .find(|(id, _, _)| id == rule.id)
            .unwrap();
        let accepting = |id: &str| format!("{{dangerous:{{accept:['{id}']}},{}", &bad[1..]);
        let loaded = loaded(&accepting(rule.id));
        let finding = loaded
            .findings
            .iter()
            .find(|finding| finding.id == rule.id)
            .unwrap();
        assert_eq!(finding.severity, Severity::Critical, "{}", rule.id);
        // Accepting another rule does not help.
        let other = all()
            .find(|other| other.grade == Grade::Accept && other.id != rule.id)
            .unwrap();
        assert!(
            parse("test", accepting(other.id).as_bytes()).is_err(),
            "{}",
            rule.id
        );
    }
}

#[test]
fn what_cannot_be_accepted_is_refused_by_name() {
    for (id, help) in [
        (
            "gateway.trusted_proxies_any",
            "name the addresses of your proxies",
        ),
        ("logging.redact_off", "nothing to accept"),
        (
            "sandbox.docker_user_rot",
            "did you mean \"sandbox.docker_user_root\"?",
        ),
        ("banana", "rules that can be accepted: "),
    ] {
        let file = format!("{{dangerous:{{accept:['{id}']}}}}");
        let error = parse("test", file.as_bytes()).err().unwrap();
        let given = error.mistakes()[0].help.clone().unwrap();
        assert!(given.contains(help), "{id}: {given}");
    }
}

#[test]
fn short_secrets_refuse_the_file_only_where_others_can_try_them() {
    for secret in [
        "token:'short'",
        "token:'aaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
        "password:'short'",
    ] {
        let file = |bind: &str| format!("{{gateway:{{bind:'{bind}',auth:{{{secret}}}}}}}");
        assert!(parse("test", file("lan").as_bytes()).is_err(), "{secret}");
        let worst = loaded(&file("loopback")).findings[0].clone();
        assert_eq!(worst.severity, Severity::Critical, "{secret}");
    }
}

#[test]
fn sandbox_off_is_critical_as_soon_as_groups_are_admitted() {
    let severity = |channels: &str| {
        let file =
            format!("{{agents:{{defaults:{{sandbox:{{mode:'off'}}}}}},channels:{{{channels}}}}}");
        let findings = loaded(&file).findings;
        findings
            .iter()
            .find(|finding| finding.id == "sandbox.mode_off")
            .unwrap()
            .severity
    };
    assert_eq!(severity(""), Severity::Warn);
    assert_eq!(severity("signal:{}"), Severity::Warn);
    assert_eq!(severity("signal:{groups:{'*':{}}}"), Severity::Critical);
    assert_eq!(severity("discord:{guilds:{'1':{}}}"), Severity::Critical);
}

#[test]
fn a_mistake_that_accounts_inherit_is_reported_once() {
    let file = "{channels:{signal:{dmPolicy:'open',accounts:{a:{},b:{},c:{dmPolicy:'pairing'}}}}}";
    let error = parse("test", file.as_bytes()).err().unwrap();
    assert_eq!(error.mistakes().len(), 1, "{}", error.render(false));
    assert_eq!(error.mistakes()[0].path, "channels.signal.dmPolicy");
}

#[test]
fn the_configurations_own_directory_is_no_workspace() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clawdbot.json");
    let write = |workspace: &std::path::Path| {
        std::fs::write(
            &path,
            format!("{{agents:{{defaults:{{workspace:{workspace:?}}}}}}}"),
        )
        .unwrap();
        crate::load(&path)
    };
    assert!(write(&directory.path().join("work")).is_err());
    assert!(write(std::path::Path::new("/srv/work")).is_ok());
}
