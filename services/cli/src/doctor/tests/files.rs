//! Whose the files are, and who gets to them.

use std::collections::BTreeSet;
use std::fs;

use clawdbot_config::Severity::{Critical, Info, Warn};

use super::super::*;
use super::Rig;
use crate::doctor::files::What;
use crate::out::Style;

/// Looking is pure, so that other users can be made up.
fn owners(me: u32, change: impl Fn(&mut Facts)) -> Vec<String> {
    let rig = Rig::new();
    rig.write("state/clawdbot.json.bak.1", "{}");
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
        (What::Backup, "fs.config_backup.owner"),
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
fn the_systems_own_secrets_may_be_read_by_the_brokers_group_and_by_nobody_else() {
    let ids = |what: What, mode: u32| {
        let rig = Rig::new();
        let mut facts = rig.facts();
        let files = facts.files.iter_mut();
        for file in files.filter(|file| file.what == what) {
            (file.base, file.uid, file.mode) = ("/etc/clawdbot/secrets".into(), 0, mode);
        }
        let found = look(&facts, Style::PLAIN).into_iter();
        let ids = found.map(|found| found.id);
        ids.filter(|id| id.starts_with("fs.credentials") || id.starts_with("fs.auth"))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(What::Credentials, 0o750), [""; 0]);
    assert_eq!(ids(What::Secret, 0o640), [""; 0]);
    let folder = ids(What::Credentials, 0o755);
    assert_eq!(folder, ["fs.credentials_dir.perms_readable"]);
    assert_eq!(
        ids(What::Secret, 0o660),
        ["fs.auth_profiles.perms_writable"]
    );
}

#[test]
fn of_a_configuration_that_this_user_may_not_read_nothing_is_said_but_that() {
    let rig = Rig::new();
    rig.config("{ nonsense");
    let mut facts = rig.facts();
    let ids = |facts: &Facts| {
        let found = look(facts, Style::PLAIN).into_iter();
        found.map(|found| found.id).collect::<Vec<_>>()
    };
    assert!(ids(&facts).contains(&"config.invalid".to_owned()));
    facts.config_unseen = true;
    facts.unseen.push(facts.place.config.clone());
    assert_eq!(ids(&facts), ["fs.unseen"]);
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
fn what_was_not_looked_at_is_counted() {
    let rig = Rig::new();
    let fill = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            rig.write(&format!("state/credentials/{number}"), "");
        }
    };
    fill(0..1000);
    rig.mode("state/credentials/999", 0o644);
    assert!(rig.find("fs.unchecked").is_none());
    assert!(rig.find("fs.auth_profiles.perms_readable").is_some());
    fill(1000..4200);
    let found = rig.find("fs.unchecked").unwrap();
    // With the vault there are 4201.
    assert_eq!(
        (found.detail.as_str(), found.severity),
        ("holds 105 more, which were not looked at", Info)
    );
    assert_eq!(found.spot.unwrap().file, rig.path("state/credentials"));
}

#[test]
fn an_old_copy_tells_its_secret_and_a_reference_is_none() {
    let rig = Rig::new();
    rig.write(
        "state/clawdbot.json.bak.1",
        "{ gateway: { auth: { token: '${T}' } } }",
    );
    rig.write("state/clawdbot.json.bak.2", "\u{fffd}{{{ nothing");
    rig.write(
        "state/other.json.bak.1",
        "{ hooks: { token: 'abcdefghijkl' } }",
    );
    fs::create_dir(rig.path("state/clawdbot.json.bak.3")).unwrap();
    assert!(rig.find("config.secrets.backup").is_none());
    // Also where it stands in a file that never was whole.
    rig.write(
        "state/clawdbot.json.bak.4",
        "{ hooks: { token: 'abcdefghijkl'",
    );
    let found = rig.find("config.secrets.backup").unwrap();
    let copy = rig.path("state/clawdbot.json.bak.4");
    assert_eq!(found.command, format!("rm {}", copy.display()));
    assert!(!found.detail.contains("abcdef"));
    // The copies are those of the file that a link beside it means.
    let rig = Rig::new();
    fs::rename(rig.path("state/clawdbot.json"), rig.path("state/real.json")).unwrap();
    std::os::unix::fs::symlink("real.json", rig.path("state/clawdbot.json")).unwrap();
    rig.write(
        "state/real.json.bak.1",
        "{ hooks: { token: 'abcdefghijkl' } }",
    );
    rig.mode("state/real.json.bak.1", 0o640);
    assert!(rig.find("config.secrets.backup").is_some());
    assert!(rig.find("fs.config_backup.perms_readable").is_some());
}
