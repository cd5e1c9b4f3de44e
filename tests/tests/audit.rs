//! The audit log of the running product: one trace through all processes, no word of what was said, and whole whatever
//! is killed. Checked by the command line alone, while nothing runs.

use std::collections::BTreeSet;
use std::time::Duration;

use clawdbot_tests::kernel::eventually;
use clawdbot_tests::{Output, Scratch, Start};
use rustix::process::Signal;
use serde_json::Value;

/// Said by the owner, answered, given to a tool: in no record and in no log.
const CANARY: &str = "canary-5e1f8a0b77";
/// Far above what anything takes; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn verify(scratch: &Scratch) -> (Option<i32>, Value) {
    let output = scratch.clawdbot(&["audit", "verify", "--json"]);
    (output.code, output.json())
}

#[track_caller]
fn intact(scratch: &Scratch) -> Value {
    let (code, verdict) = verify(scratch);
    assert_eq!(code, Some(0), "{verdict}");
    assert_eq!(verdict["intact"], true);
    verdict
}

fn records(output: &Output) -> Vec<Value> {
    output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn show(scratch: &Scratch, wanted: &[&str]) -> Vec<Value> {
    let arguments = [&["audit", "show", "--json"], wanted].concat();
    records(&scratch.clawdbot(&arguments).ok())
}

fn texts<'a>(records: &'a [Value], name: &str) -> BTreeSet<&'a str> {
    records
        .iter()
        .filter_map(|one| one[name].as_str())
        .collect()
}

#[test]
fn one_message_has_one_trace_on_record_and_in_the_log_of_every_process_that_handles_it() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    for message in ["run session_status {}", "hello"] {
        scratch.clawdbot(&["chat", "--message", message]).ok();
    }
    let all = show(&scratch, &[]);
    let call = all.iter().find(|one| one["request"] == "tool").unwrap();
    let trace = call["trace"].as_str().unwrap().to_owned();
    let of_message = show(&scratch, &["--trace", &trace]);
    let requests = texts(&of_message, "request");
    for request in ["admit", "resolve", "model", "tool"] {
        assert!(requests.contains(request), "{request}: {of_message:?}");
    }
    let admitted = |records: &[Value]| records.iter().filter(|r| r["request"] == "admit").count();
    assert_eq!((admitted(&of_message), admitted(&all)), (1, 2));
    let handled = || -> BTreeSet<String> {
        let log = product.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = lines.filter(|line| line["trace"] == trace.as_str());
        ours.map(|line| line["role"].as_str().unwrap_or("").to_owned())
            .collect()
    };
    let all = ["agent-main", "executor", "gateway", "model-builtin"];
    let told = eventually(PATIENCE, || {
        all.iter().all(|role| handled().contains(*role))
    });
    assert!(told, "{:?}", handled());

    let of_agent = show(&scratch, &["--role", "agent", "--since", "1h"]);
    assert_eq!(texts(&of_agent, "role"), BTreeSet::from(["agent-main"]));
    for (wrong, word) in [
        (["--since", "yesterday"], "10m"),
        (["--since", "99999999999999y"], "10m"),
        (["--role", "agents"], "agent, "),
        (["--trace", "latest"], "16 digits"),
    ] {
        let arguments = [&["audit", "show"][..], &wrong].concat();
        let refused = scratch.clawdbot(&arguments);
        assert!(
            refused.code == Some(2) && refused.stderr.contains(word) && refused.stdout.is_empty(),
            "{refused:?}"
        );
    }
    let text = scratch.clawdbot(&["audit", "show", "--trace", &trace]).ok();
    assert!(!text.stdout.contains('\u{1b}'), "colours are for terminals");
    assert!(text.stdout.contains("session_status") && text.stdout.contains(&trace));
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn no_word_of_a_message_is_on_record_or_in_the_log() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let question = format!("please remember {CANARY}");
    let answer = scratch.clawdbot(&["chat", "--message", &question]).ok();
    assert!(!answer.stdout.is_empty());
    let call = format!("run session_status {{\"note\": \"{CANARY}\"}}");
    scratch.clawdbot(&["chat", "--message", &call]);
    scratch.clawdbot(&["pairing", "approve", "telegram", CANARY]);
    scratch.clawdbot(&["approvals", "approve", CANARY]);
    let token = scratch.clawdbot(&["token"]).ok();
    assert_eq!(product.stop(), Some(0));
    let said = std::fs::read_dir(scratch.state().join("sessions/main")).unwrap();
    let said = said.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default());
    assert!(said.collect::<String>().contains(CANARY), "it was said");
    let mut looked = 0;
    for entry in std::fs::read_dir(scratch.state().join("audit")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(CANARY), "{}", path.display());
        assert!(!text.contains(token.stdout.trim()), "{}", path.display());
        looked += 1;
    }
    assert!(looked >= 3, "the log, its head, its first key");
    let log = std::fs::read_to_string(scratch.state().join("gateway.log")).unwrap();
    assert!(!log.contains(CANARY));
}

#[tokio::test]
async fn the_log_is_whole_however_often_its_writer_is_killed() {
    let scratch = Scratch::new();
    let mut product = Start::new().up(&scratch);
    let mut victim = product.process("policy");
    let (tick, mut ticks) = tokio::sync::mpsc::unbounded_channel();
    let mut streams = Vec::new();
    for session in ["main", "second", "third"] {
        let (mut talk, tick) = (product.talk(), tick.clone());
        streams.push(tokio::spawn(async move {
            for number in 0..20 {
                let id = format!("{session}-{number}");
                let answer = talk.answer(&id, session, "run session_status {}").await;
                assert!(!answer.is_empty());
                let _over = tick.send(());
            }
        }));
    }
    drop(tick);
    let mut answered = 0;
    while ticks.recv().await.is_some() {
        answered += 1;
        if answered % 5 == 0 && answered <= 40 {
            // Beside the streams, which go on meanwhile.
            let killed = tokio::task::spawn_blocking(move || {
                let next = product.kill("policy", victim);
                (product, next)
            });
            (product, victim) = killed.await.unwrap();
        }
    }
    for stream in streams {
        stream.await.unwrap();
    }
    let running = intact(&scratch);
    assert_eq!(
        running["torn"], false,
        "while it runs, every record is whole"
    );
    product.supervisor().signal(Signal::KILL);
    for (_, seen) in product.processes() {
        assert!(seen.ends_within(PATIENCE));
    }
    assert!(victim.ends_within(PATIENCE), "the last one that wrote");
    drop(product);
    let verdict = intact(&scratch);
    assert!(verdict["records"].as_u64() > Some(200), "{verdict}");
    let starts = show(&scratch, &[]);
    let starts = starts.iter().filter(|one| one["request"] == "start");
    assert_eq!(starts.count(), 9);
}

#[test]
fn what_is_done_to_the_log_while_nothing_runs_is_named_then_and_after_the_next_start() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    let key = scratch.clawdbot(&["audit", "key"]).ok().stdout;
    assert_eq!(
        scratch.clawdbot(&["audit", "key"]).code,
        Some(1),
        "shown once"
    );
    assert_eq!(product.stop(), Some(0));
    let verdict = intact(&scratch);
    assert_eq!(
        (&verdict["keyBesideLog"], &verdict["sealsCompared"]),
        (&false.into(), &0.into())
    );
    assert!(verdict["copiesCompared"].as_u64() > Some(0), "{verdict}");
    let kept = scratch.path().join("kept");
    std::fs::write(&kept, &key).unwrap();
    let with_key = ["audit", "verify", "--json", "--key", kept.to_str().unwrap()];
    let verdict = scratch.clawdbot(&with_key).ok().json();
    assert!(verdict["sealsCompared"].as_u64() > Some(0), "{verdict}");

    let path = scratch.state().join("audit/decisions.jsonl");
    let before = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = before.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains("\"admit\""))
        .unwrap();
    lines.remove(at);
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let (code, verdict) = verify(&scratch);
    assert_eq!(
        (code, &verdict["problems"][0]["line"]),
        (Some(1), &(at + 1).into())
    );
    // The end cut off, in between whole lines.
    let lines: Vec<&str> = before.lines().collect();
    std::fs::write(&path, lines[..lines.len() - 2].join("\n") + "\n").unwrap();
    let text = scratch.clawdbot(&["audit", "verify"]);
    assert!(
        text.code == Some(1) && text.stdout.contains("cut off"),
        "{text:?}"
    );

    // It starts all the same, and says so to whoever looks, until somebody has taken note of it.
    let alarm = || {
        let doctor = scratch.clawdbot(&["doctor"]);
        doctor.stdout.contains("the audit log: ")
    };
    for _ in 0..2 {
        let product = Start::new().up(&scratch);
        assert!(eventually(PATIENCE, alarm));
        scratch.clawdbot(&["chat", "--message", "hello again"]).ok();
        assert_eq!(product.stop(), Some(0));
    }
    let accept = ["audit", "verify", "--accept"];
    assert_eq!(scratch.clawdbot(&accept).code, Some(69), "nothing runs");
    for expected in ["the alarm has ended", "there is no alarm"] {
        let product = Start::new().up(&scratch);
        let accepted = scratch.clawdbot(&accept).ok();
        assert!(accepted.stderr.contains(expected), "{accepted:?}");
        assert!(accepted.stdout.contains("cut off") && !alarm());
        assert_eq!(product.stop(), Some(0));
    }
    let operator = show(&scratch, &["--role", "operator"]);
    assert!(texts(&operator, "request").contains("audit-accepted"));
    let (code, verdict) = verify(&scratch);
    assert_eq!(code, Some(1));
    let problems = verdict["problems"].as_array().unwrap();
    let told = |words: &str| {
        problems
            .iter()
            .any(|one| one["problem"].as_str().unwrap().contains(words))
    };
    assert!(
        told("are missing at the end of the file before") && told("cut off"),
        "{verdict}"
    );
}

#[test]
fn changes_of_the_configuration_and_of_the_token_are_on_record() {
    let scratch = Scratch::new();
    scratch.configure("{}");
    let product = Start::new().up(&scratch);
    let configs = || {
        let all = show(&scratch, &[]);
        let ours = all.into_iter().filter(|one| one["request"] == "config");
        ours.map(|one| one["rule"].as_str().unwrap_or("allow").to_owned())
            .collect::<Vec<_>>()
    };
    let grows = |expected: &[&str]| {
        assert!(
            eventually(PATIENCE, || configs() == expected),
            "{:?} instead of {expected:?}",
            configs()
        );
    };
    grows(&["allow"]);
    scratch.configure("{");
    grows(&["allow", "config.invalid"]);
    scratch.configure("{logging: {level: 'info'}}");
    grows(&["allow", "config.invalid", "allow"]);
    std::fs::remove_file(scratch.state().join("clawdbot.json")).unwrap();
    grows(&["allow", "config.invalid", "allow", "config.gone"]);
    scratch.clawdbot(&["token", "--rotate"]).ok();
    let operator = show(&scratch, &["--role", "operator"]);
    assert!(
        texts(&operator, "request").contains("rotate-token"),
        "{operator:?}"
    );
    assert_eq!(product.stop(), Some(0));
    intact(&scratch);
}
