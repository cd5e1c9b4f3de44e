//! Real files under a real inotify. A test waits for what the process says of itself, never for a time.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use clawdbot_service::testing::Link;
use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::*;
use crate::bench::{Bench, role, secret};
use crate::credential::StartCredentials;
use crate::slices;

#[tokio::test]
async fn a_file_that_appears_takes_the_place_of_the_defaults() {
    let bench = Bench::unloaded(StartCredentials::default());
    bench.load().await;
    assert_eq!(bench.policy.current().ok().unwrap().settings.port, 18789);
    bench.write(&quick(4000));
    bench.load().await;
    assert_eq!(bench.policy.current().ok().unwrap().settings.port, 4000);
}

#[tokio::test]
async fn a_token_in_the_environment_is_enough_for_a_channel_to_run() {
    for (set, expected) in [(vec![], 0), (vec!["TELEGRAM_BOT_TOKEN".to_owned()], 1)] {
        let bench = Bench::unloaded(StartCredentials::default());
        *bench.broker.set.lock().unwrap() = set;
        bench.load().await;
        assert_eq!(
            bench.policy.current().ok().unwrap().settings.channels.len(),
            expected
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_late_keeps_nothing_waiting_that_needs_no_variable() {
    let bench = Bench::unloaded(StartCredentials::default());
    bench.write(&quick(4000));
    let link = Link::new(&role("policy"), &role("broker"));
    assert_eq!(
        load(&bench.policy, &link.edge()).await,
        Outcome::BrokerMissing
    );
    let waits = |bench: &Bench| {
        let current = bench.policy.current().ok().unwrap();
        current.settings.is_unsettled("telegram", "default")
    };
    assert_eq!(bench.policy.current().ok().unwrap().settings.port, 4000);
    assert!(waits(&bench), "a message is not dropped meanwhile");
    *bench.broker.set.lock().unwrap() = vec!["TELEGRAM_BOT_TOKEN".to_owned()];
    link.reconnect(bench.broker.router()).await.unwrap();
    assert_eq!(load(&bench.policy, &link.edge()).await, Outcome::Judged);
    assert_eq!(
        bench.policy.current().ok().unwrap().settings.channels.len(),
        1
    );
    assert!(!waits(&bench));

    // A channel that runs does not end because the broker is away while the file changes.
    bench.write(&quick(4001));
    let away = Link::new(&role("policy"), &role("broker"));
    assert_eq!(
        load(&bench.policy, &away.edge()).await,
        Outcome::BrokerMissing
    );
    let current = bench.policy.current().ok().unwrap();
    assert_eq!(current.settings.port, 4001);
    assert_eq!(current.settings.channels.len(), 1);
    assert!(!waits(&bench));
}

/// A policy that follows its file; each load sends the status line.
pub(super) struct Following {
    pub(super) bench: Bench,
    said: mpsc::UnboundedReceiver<String>,
}

impl Following {
    fn start(bench: Bench, broker: Edge, before: Before, outcome: Outcome) -> Self {
        let (sender, said) = mpsc::unbounded_channel();
        let (policy, watch) = (Arc::clone(&bench.policy), bench.watch());
        tokio::spawn(async move {
            let watch = Some(watch.run().unwrap());
            let line = || drop(sender.send(policy.status_line()));
            follow(&policy, &broker, watch, before, outcome, line).await;
        });
        Self { bench, said }
    }

    pub(super) async fn new(config: &str) -> Self {
        let bench = Bench::unloaded(StartCredentials::default());
        bench.write(config);
        let broker = bench.broker.edge();
        let before = Before::now(&bench.policy, &broker);
        let outcome = bench.load().await;
        Self::start(bench, broker, before, outcome)
    }

    pub(super) async fn next(&mut self) -> String {
        self.said.recv().await.unwrap()
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.bench
            .policy
            .current()
            .ok()
            .map(|current| current.settings.port)
    }
}

pub(super) fn quick(port: u16) -> String {
    format!("{{gateway: {{port: {port}, reload: {{debounceMs: 1}}}}}}")
}

#[tokio::test]
async fn a_bad_file_leaves_the_last_good_one_in_force_until_the_next_good_one() {
    let mut run = Following::new(&quick(4000)).await;
    assert_eq!(run.port(), Some(4000));
    run.bench.write("{gateway: {port: 70000}}");
    let line = run.next().await;
    assert!(
        line.starts_with("configuration 1; the changed file is refused: ")
            && line.contains("70000"),
        "{line}"
    );
    assert_eq!(run.port(), Some(4000));
    run.bench.write(&quick(5000));
    assert_eq!(run.next().await, "configuration 2");
    assert_eq!(run.port(), Some(5000));
    assert_eq!(run.bench.policy.trouble(), None);
}

#[tokio::test]
async fn a_file_that_was_never_good_denies_everything_until_it_is() {
    let mut run = Following::new("{gateway: ").await;
    assert!(
        run.bench
            .policy
            .status_line()
            .starts_with("denying everything: ")
    );
    assert_eq!(run.port(), None);
    run.bench.write(&quick(4000));
    assert_eq!(run.next().await, "configuration 1");
    assert_eq!(run.port(), Some(4000));
}

#[tokio::test]
async fn a_file_that_is_gone_at_the_start_denies_everything_until_there_is_one_again() {
    let bench = Bench::new("{gateway: {port: 4000}}").await;
    let path = bench.policy.config.path().to_owned();
    fs::rename(&path, path.with_extension("away")).unwrap();
    let bench = bench.restarted().await;
    assert!(bench.policy.current().is_err());
    let line = bench.policy.status_line();
    for part in [
        "denying everything",
        "the file is gone",
        "put it back",
        "clawdbot config set",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // Another start helps as little; the file, or a new one, does.
    let bench = bench.restarted().await;
    assert!(bench.policy.current().is_err());
    bench.write("{}");
    bench.load().await;
    assert_eq!(bench.policy.current().ok().unwrap().settings.port, 18789);

    // Where there never was one the defaults hold, over restarts as well.
    let fresh = Bench::unloaded(StartCredentials::default());
    fresh.load().await;
    let fresh = fresh.restarted().await;
    assert!(fresh.policy.current().is_ok());

    // Whether there was one must be known.
    let broken = fresh.folder.path().join("config-seen");
    fs::create_dir(&broken).unwrap();
    let fresh = fresh.restarted().await;
    assert!(fresh.policy.current().is_err());
    fresh.write("{}");
    fresh.load().await;
    assert!(
        fresh.policy.current().is_err(),
        "nobody would notice that it is gone"
    );
}

#[tokio::test]
async fn editors_that_rename_and_files_that_go_and_come_back_are_seen() {
    let mut run = Following::new(&quick(4000)).await;
    let path = run.bench.policy.config.path().to_owned();
    let beside = path.with_extension("new");
    fs::write(&beside, quick(4001)).unwrap();
    fs::rename(&beside, &path).unwrap();
    run.next().await;
    assert_eq!(run.port(), Some(4001));
    fs::rename(&path, &beside).unwrap();
    assert!(run.next().await.contains("the file is gone"));
    assert_eq!(run.port(), Some(4001), "what was in force stays in force");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(&beside, &path).unwrap();
    assert_eq!(run.next().await, "configuration 3");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    while !run.next().await.contains("directory") {}
    assert_eq!(
        run.bench
            .policy
            .trouble()
            .map(|trouble| trouble.first.contains("directory")),
        Some(true)
    );
}

#[tokio::test]
async fn a_symbolic_link_is_followed_to_its_file() {
    let bench = Bench::unloaded(StartCredentials::default());
    let elsewhere = tempfile::tempdir().unwrap();
    let real = elsewhere.path().join("real.json");
    fs::write(&real, quick(4000)).unwrap();
    symlink(&real, bench.policy.config.path()).unwrap();
    let folders = clawdbot_service::config_folders(bench.policy.config.path());
    assert_eq!(
        folders,
        [
            bench.folder.path().to_owned(),
            elsewhere.path().canonicalize().unwrap()
        ]
    );
    let broker = bench.broker.edge();
    let before = Before::now(&bench.policy, &broker);
    let outcome = bench.load().await;
    let mut run = Following::start(bench, broker, before, outcome);
    fs::write(&real, quick(4001)).unwrap();
    run.next().await;
    assert_eq!(run.port(), Some(4001));
}

#[tokio::test]
async fn with_reload_off_a_change_waits_for_the_next_start() {
    let off = |port: u16| {
        format!("{{gateway: {{port: {port}, reload: {{mode: 'off', debounceMs: 1}}}}}}")
    };
    let mut run = Following::new(&off(4000)).await;
    run.bench.write(&off(4001));
    // Waits until the change was looked at.
    let seen = "takes effect with the next start";
    while !crate::bench::captured().lock().unwrap().contains(seen) {
        tokio::task::yield_now().await;
    }
    assert!(run.said.try_recv().is_err());
    assert_eq!(run.port(), Some(4000));
    assert_eq!(
        run.bench
            .restarted()
            .await
            .policy
            .current()
            .ok()
            .unwrap()
            .settings
            .port,
        4001
    );
}

const NEEDS_A_KEY: &str =
    "{models: {providers: {openai: {apiKey: '${MY_KEY}'}}}, gateway: {reload: {debounceMs: 1}}}";

#[tokio::test]
async fn a_variable_that_is_not_set_is_an_error_of_the_configuration() {
    let bench = Bench::new(NEEDS_A_KEY).await;
    let trouble = bench.policy.trouble().unwrap();
    for part in [
        "clawdbot.json",
        "models.providers.openai.apiKey",
        "MY_KEY is not set",
    ] {
        assert!(trouble.first.contains(part), "{}", trouble.first);
    }
    bench.broker.set.lock().unwrap().push("MY_KEY".to_owned());
    bench.load().await;
    assert!(bench.policy.trouble().is_none() && bench.policy.current().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_comes_late_is_asked_again() {
    let bench = Bench::unloaded(StartCredentials::default());
    bench.write(NEEDS_A_KEY);
    bench.broker.set.lock().unwrap().push("MY_KEY".to_owned());
    let link = Link::new(&role("policy"), &role("broker"));
    let before = Before::now(&bench.policy, &link.edge());
    let outcome = load(&bench.policy, &link.edge()).await;
    assert_eq!(outcome, Outcome::BrokerMissing);
    let trouble = bench.policy.trouble().unwrap();
    assert!(
        trouble.first.contains("MY_KEY") && trouble.first.contains("does not answer"),
        "{}",
        trouble.first
    );
    link.reconnect(bench.broker.router()).await.unwrap();
    let mut run = Following::start(bench, link.edge(), before, outcome);
    assert_eq!(run.next().await, "configuration 1");
}

#[tokio::test]
async fn a_credential_that_cannot_be_had_refuses_the_file_and_changes_nothing() {
    let bench = Bench::unloaded(StartCredentials {
        token: secret("fedcba9876543210fedcba9876543210"),
        password: None,
    });
    bench.write("{gateway: {port: 4000}}");
    bench.load().await;
    bench.write("{gateway: {port: 4001, auth: {mode: 'password'}}}");
    bench.load().await;
    assert_eq!(bench.policy.current().ok().unwrap().settings.port, 4000);
    assert!(
        bench
            .policy
            .trouble()
            .unwrap()
            .first
            .contains("CLAWDBOT_GATEWAY_PASSWORD")
    );
}

#[tokio::test]
async fn the_owner_is_told_once_of_a_bad_file_and_again_only_after_a_good_one() {
    let owned = |port: &str| {
        format!(
            "{{gateway: {{port: {port}}}, channels: {{telegram: {{botToken: '${{T}}', allowFrom: [42]}}}}}}"
        )
    };
    let bench = Bench::unloaded(StartCredentials::default());
    bench.broker.set.lock().unwrap().push("T".to_owned());
    let step = async |port: &str| {
        bench.write(&owned(port));
        bench.load().await;
    };
    let mut telegram = bench.policy.notices.attach("telegram");
    let mut told = || {
        let notice = bench
            .policy
            .notices
            .wait(&mut telegram, || 0)
            .now_or_never();
        notice.map(|notice| notice.unwrap())
    };
    step("4000").await;
    assert_eq!(told(), None);
    step("70000").await;
    let notice = told().unwrap();
    assert_eq!(notice.person, "42");
    for part in [
        "stays in force",
        "70000",
        "clawdbot.json:1:",
        "config validate",
    ] {
        assert!(notice.text.contains(part), "{}", notice.text);
    }
    step("70001").await;
    assert_eq!(told(), None, "it is still the same alarm");
    step("4001").await;
    assert_eq!(told(), None);
    step("x").await;
    assert!(told().is_some());
}

#[tokio::test]
async fn a_change_reaches_only_those_whose_part_it_changes() {
    const ROLES: &[&str] = &[
        "supervisor",
        "gateway",
        "agent-main",
        "agent-guest",
        "executor",
        "model-ollama",
        "model-openai",
        "channel-telegram",
    ];
    let file = |more: &str| {
        format!(
            "{{channels: {{telegram: {{allowFrom: [1]}}}}, agents: {{defaults: {{model: 'ollama/a'}}}},
              models: {{providers: {{openai: {{}}, ollama: {{baseUrl: 'http://127.0.0.1:1'}}}}}} {more}}}"
        )
    };
    let base = file("");
    let bench = Bench::unloaded(StartCredentials::default());
    bench
        .broker
        .set
        .lock()
        .unwrap()
        .push("TELEGRAM_BOT_TOKEN".to_owned());
    let parts = async |text: &str| {
        bench.write(text);
        bench.load().await;
        assert_eq!(bench.policy.trouble(), None, "{text}");
        let current = bench.policy.current().ok().unwrap();
        let part = |name: &&str| slices::of(&role(name), &current.settings, &bench.policy.place);
        ROLES.iter().map(part).collect::<Vec<_>>()
    };
    for (changed, reached) in [
        (format!("// a comment\n{base}"), vec![]),
        (base.replace("[1]", "[1, 2]"), vec![]),
        (file(", session: {dmScope: 'main'}"), vec![]),
        (file(", logging: {level: 'debug'}"), vec!["supervisor"]),
        (file(", gateway: {reload: {debounceMs: 7}}"), vec![]),
        (
            base.replace(":1'", ":2'"),
            vec!["supervisor", "model-ollama"],
        ),
        (file(", messages: {responsePrefix: '>'}"), vec!["gateway"]),
    ] {
        let before = parts(&base).await;
        let after = parts(&changed).await;
        let differs = |index: &usize| before[*index] != after[*index];
        let found: Vec<_> = (0..ROLES.len())
            .filter(differs)
            .map(|index| ROLES[index])
            .collect();
        assert_eq!(found, reached, "{changed}");
    }
}
