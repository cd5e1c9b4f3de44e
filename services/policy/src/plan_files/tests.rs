//! What stands in the folder after each turn of events.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::bench::Bench;
use crate::credential::StartCredentials;
use crate::distil::tests::settings_of;

const INFO: &str = "log_level=info\nsandbox_require=available\n";

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn telegram(more: &str) -> Settings {
    settings_of(&format!(
        "{{channels: {{telegram: {{botToken: '1:abcdefghijklmnopqrstuvwxyz'}}}}, {more}}}"
    ))
}

fn nothing() -> Settings {
    settings_of("{}")
}

struct Rig {
    _scratch: tempfile::TempDir,
    folder: PathBuf,
    files: PlanFiles,
}

impl Rig {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("plan");
        fs::create_dir(&folder).unwrap();
        let files = PlanFiles::new(vec![folder.clone()]);
        Self {
            _scratch: scratch,
            folder,
            files,
        }
    }

    fn there(&self) -> Vec<String> {
        look(&self.folder).unwrap().names.into_iter().collect()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.folder.join(SETTINGS)).unwrap()
    }
}

#[test]
fn whatever_was_there_the_steps_lead_to_what_is_wanted() {
    let flags = ["channel-telegram", "channel-old"];
    let others = [FRESH, "notes", SETTINGS];
    let all: Vec<&str> = flags.iter().chain(&others).copied().collect();
    for bits in 0..1u32 << all.len() {
        let there = all.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
        let found = Found {
            settings: (bits & 16 != 0).then(|| "old".to_owned()),
            names: there.map(|(_, name)| (*name).to_owned()).collect(),
        };
        for wanted in [names(&[]), names(&["channel-telegram"])] {
            let wanted = Wanted {
                settings: Some("new".to_owned()),
                flags: wanted,
            };
            let mut after = found.names.clone();
            let mut removing = true;
            for step in steps(&wanted, &found) {
                match step {
                    Step::Remove(name) => assert!(removing && after.remove(name), "{name}"),
                    Step::Flag(name) => assert!(after.insert(name.to_owned()), "{name}"),
                    Step::Settings(text) => {
                        assert_eq!(text, "new");
                        after.insert(SETTINGS.to_owned());
                    }
                }
                removing &= matches!(step, Step::Remove(_));
            }
            let mut expected = wanted.flags.clone();
            expected.insert(SETTINGS.to_owned());
            expected.extend(found.names.get("notes").cloned());
            assert_eq!(after, expected);
        }
    }
    let same = Found {
        settings: Some("new".to_owned()),
        names: names(&[SETTINGS, "channel-telegram"]),
    };
    let wanted = Wanted {
        settings: Some("new".to_owned()),
        flags: names(&["channel-telegram"]),
    };
    assert_eq!(steps(&wanted, &same), []);
}

#[test]
fn a_flag_goes_before_the_slice_and_comes_after_it() {
    let rig = Rig::new();
    rig.files.withdraw(Some(&telegram("")), 1);
    assert_eq!(rig.there(), [""; 0], "not before it is in force");
    rig.files.publish(&telegram(""), 1);
    assert_eq!(rig.there(), ["channel-telegram", SETTINGS]);
    assert_eq!(rig.text(), INFO);
    let quieter = settings_of("{logging: {level: 'silent'}, sandbox: {require: 'full'}}");
    rig.files.withdraw(Some(&quieter), 2);
    assert_eq!(rig.there(), [SETTINGS], "the worker still has its slice");
    assert_eq!(rig.text(), INFO, "not before it is in force");
    rig.files.publish(&quieter, 2);
    assert_eq!(rig.text(), "log_level=error\nsandbox_require=full\n");
    rig.files.publish(&telegram(""), 3);
    // No configuration is in force any more, as after a start with a bad one.
    rig.files.withdraw(None, 4);
    assert_eq!(
        (rig.there(), rig.text().as_str()),
        (vec![SETTINGS.to_owned()], INFO)
    );
    assert_eq!(rig.files.trouble(), None);
}

#[test]
fn what_is_required_is_kept_beyond_the_machine_s_end_and_flags_are_not() {
    let scratch = tempfile::tempdir().unwrap();
    let folders = ["memory", "disk"].map(|name| scratch.path().join(name));
    for folder in &folders {
        fs::create_dir(folder).unwrap();
    }
    let strict = settings_of("{sandbox: {require: 'full'}}");
    PlanFiles::new(folders.to_vec()).publish(&strict, 1);
    let text = |at: usize| fs::read_to_string(folders[at].join(SETTINGS)).unwrap();
    assert!(text(1).contains("sandbox_require=full"));
    // The machine starts again with a configuration that cannot be read, then with one that can.
    fs::remove_file(folders[0].join(SETTINGS)).unwrap();
    let files = PlanFiles::new(folders.to_vec());
    files.withdraw(None, 2);
    assert!(text(1).contains("sandbox_require=full"));
    files.publish(&telegram(""), 3);
    assert_eq!((text(0).as_str(), text(1).as_str()), (INFO, INFO));
    assert!(folders[0].join("channel-telegram").exists());
    assert!(!folders[1].join("channel-telegram").exists());
    assert_eq!(files.trouble(), None);
    fs::remove_dir_all(&folders[1]).unwrap();
    files.publish(&strict, 4);
    assert!(files.trouble().unwrap().1.contains("/disk: "));
    assert!(
        text(0).contains("sandbox_require=full"),
        "the other is done"
    );
}

#[test]
fn everybody_may_read_what_policy_alone_may_write() {
    let rig = Rig::new();
    rig.files.publish(&telegram(""), 1);
    for name in ["channel-telegram", SETTINGS] {
        let meta = fs::metadata(rig.folder.join(name)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o644, "{name}");
    }
}

#[test]
fn what_others_put_there_is_left_and_what_they_took_comes_back() {
    let rig = Rig::new();
    fs::write(rig.folder.join("notes"), "mine").unwrap();
    fs::write(rig.folder.join("channel-forged"), "").unwrap();
    fs::write(rig.folder.join(FRESH), "half").unwrap();
    symlink("/etc/passwd", rig.folder.join(SETTINGS)).unwrap();
    rig.files.publish(&telegram(""), 1);
    assert_eq!(rig.there(), ["channel-telegram", "notes", SETTINGS]);
    assert_eq!(rig.text(), INFO);
    assert!(!rig.folder.join(SETTINGS).is_symlink());
    assert_eq!(
        fs::read_to_string(rig.folder.join("notes")).unwrap(),
        "mine"
    );
    fs::remove_file(rig.folder.join("channel-telegram")).unwrap();
    fs::write(rig.folder.join(SETTINGS), "").unwrap();
    rig.files.again(2);
    assert_eq!(rig.there(), ["channel-telegram", "notes", SETTINGS]);
    assert_eq!(rig.text(), INFO);
}

#[test]
fn a_write_that_fails_is_told_with_its_place_and_mended_later() {
    let rig = Rig::new();
    fs::create_dir(rig.folder.join(SETTINGS)).unwrap();
    fs::write(rig.folder.join(SETTINGS).join("x"), "").unwrap();
    rig.files.publish(&telegram(""), 7);
    let (since, why) = rig.files.trouble().unwrap();
    assert_eq!(since, 7);
    assert!(why.contains("/plan/settings: "), "{why}");
    assert!(
        rig.folder.join("channel-telegram").exists(),
        "the others are done"
    );
    rig.files.again(8);
    assert_eq!(rig.files.trouble().unwrap().0, 7);
    fs::remove_dir_all(rig.folder.join(SETTINGS)).unwrap();
    rig.files.again(9);
    assert_eq!((rig.files.trouble(), rig.text().as_str()), (None, INFO));
    fs::remove_dir_all(&rig.folder).unwrap();
    rig.files.publish(&nothing(), 10);
    assert!(rig.files.trouble().unwrap().1.contains("/plan: "));
}

#[test]
fn without_a_folder_nothing_is_written_and_before_a_word_nothing_is_touched() {
    let none = PlanFiles::new(Vec::new());
    none.publish(&telegram(""), 1);
    assert_eq!(none.trouble(), None);
    let rig = Rig::new();
    fs::write(rig.folder.join("channel-telegram"), "").unwrap();
    rig.files.again(1);
    assert_eq!(rig.there(), ["channel-telegram"]);
}

const BOT: &str = "{channels: {telegram: {botToken: '1:abcdefghijklmnopqrstuvwxyz'}}}";

#[tokio::test]
async fn the_folder_follows_what_is_in_force_over_restarts_and_mistakes() {
    let bench = Bench::unloaded(StartCredentials::default());
    let plan = bench.folder.path().join("plan");
    fs::create_dir(&plan).unwrap();
    let flag = plan.join("channel-telegram");
    let bench = bench.restarted().await;
    assert!(!flag.exists() && plan.join(SETTINGS).exists());
    bench.write(BOT);
    bench.load().await;
    assert!(flag.exists());
    bench.write("{channels: ");
    bench.load().await;
    assert!(flag.exists(), "the last good configuration is in force");
    // With the file still wrong, a start has nothing to go by.
    let bench = bench.restarted_unloaded();
    assert!(flag.exists(), "nothing was judged yet");
    bench.load().await;
    assert!(!flag.exists());
    assert_eq!(fs::read_to_string(plan.join(SETTINGS)).unwrap(), INFO);
    bench.write(BOT);
    bench.load().await;
    assert!(flag.exists());
    fs::write(plan.join("channel-gone"), "").unwrap();
    let bench = bench.restarted().await;
    assert!(flag.exists() && !plan.join("channel-gone").exists());

    // A folder that is gone keeps nothing from being decided, and is told.
    fs::remove_dir_all(&plan).unwrap();
    bench.write("{gateway: {port: 4000}}");
    bench.load().await;
    assert_eq!(bench.policy.current().ok().unwrap().settings.port, 4000);
    let problems = bench.policy.problems().borrow().clone();
    let told = problems.iter().find(|one| one.code == "plan.unwritten");
    assert!(told.unwrap().message.contains("systemd-tmpfiles"));
    fs::create_dir(&plan).unwrap();
    bench.policy.renew_plan();
    bench.policy.renew_problems();
    assert!(
        !bench
            .policy
            .problems()
            .borrow()
            .iter()
            .any(|one| one.code == "plan.unwritten")
    );
}
