//! `clawdbotctl doctor --probe` in single-user mode: beside a running product, as the same user, every role is tried in
//! the confinement that the supervisor gives it here.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clawdbot_tests::kernel::{eventually, of_state};
use clawdbot_tests::{Output, Product, Scratch, Start, binary, finish_within, runs_as_root, skip};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// For some thousand processes of a build that is not optimised, beside other tests.
const PATIENCE: Duration = Duration::from_secs(180);

/// Everything that is confined by a profile.
const ROLES: [&str; 10] = [
    "gateway",
    "policy",
    "broker",
    "dialer",
    "agent-main",
    "agent-guest",
    "model",
    "channel",
    "executor",
    "keyring",
];

/// A folder for temporary files, where anything that is left over is seen.
fn folder(scratch: &Scratch) -> PathBuf {
    let folder = scratch.path().join("tmp");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn probe(mut command: Command, folder: &Path, arguments: &[&str]) -> Output {
    command.args(["doctor", "--probe"]).args(arguments);
    let output = finish_within(PATIENCE, command.env("TMPDIR", folder));
    println!("took {:?}", output.took);
    output
}

#[track_caller]
fn nothing_is_left(folder: &Path) {
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let gone = eventually(PATIENCE, || of_state(folder).is_empty());
    assert!(gone, "{:?}", of_state(folder));
}

fn escapes(report: &Value) -> Vec<&Value> {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .filter(|found| found["id"] == "probe.escape")
        .collect()
}

/// What came of an attempt in a role.
#[track_caller]
fn got<'a>(report: &'a Value, attempt: &str, role: &str) -> &'a str {
    let find = |list: &'a Value, member: &str, name: &str| {
        let found = { list.as_array().unwrap().iter() }.find(|one| one[member] == name);
        found.unwrap_or_else(|| panic!("no {name} in {list}"))
    };
    let row = find(&report["probe"]["attempts"], "attempt", attempt);
    find(&row["outcomes"], "role", role)["got"]
        .as_str()
        .unwrap()
}

/// The product that runs meanwhile answers as if nothing had been.
#[track_caller]
fn answers(scratch: &Scratch, product: &Product) {
    let answer = scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    assert!(!answer.stdout.trim().is_empty(), "{answer:?}");
    for (role, process) in product.processes() {
        assert!(process.lives(), "{role} did not survive");
    }
}

#[test]
fn beside_a_running_product_every_role_is_tried_and_nothing_is_left_of_it() {
    if runs_as_root() {
        return skip("doctor_probe", "processes refuse to be root");
    }
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let folder = folder(&scratch);
    let output = probe(scratch.program("clawdbotctl"), &folder, &["-v"]);
    println!("{}", output.stdout);
    let output = output.ok();
    let letters = |name: &str| {
        let line = { output.stdout.lines() }.find(|line| line.trim_start().starts_with(name));
        line.unwrap().split_whitespace().skip(1).collect::<String>()
    };
    // In the order of the roles above.
    assert_eq!(letters("file.queue "), "+AAAAAAAAA");
    assert_eq!(letters("file.credentials "), "AA+AAAAAAA");
    assert_eq!(letters("process.ptrace "), "KKKKKKKKKK");
    for word in ["probe.escape", "probe.failed", "not tried: "] {
        assert!(!output.stdout.contains(word), "{word}: {}", output.stdout);
    }
    assert!(
        output.stdout.contains("all as they must be"),
        "{}",
        output.stdout
    );
    assert!(output.stderr.is_empty(), "{}", output.stderr);
    nothing_is_left(&folder);
    answers(&scratch, &product);
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn where_the_kernel_judges_no_files_the_attempts_that_work_are_found_and_reported() {
    if runs_as_root() {
        return skip("doctor_probe", "processes refuse to be root");
    }
    let scratch = Scratch::new();
    scratch.configure("{}");
    let folder = folder(&scratch);
    let mut command = scratch.program("clawdbot-simulate");
    command
        .args(["no-landlock", "--"])
        .arg(binary("clawdbotctl"));
    let output = probe(command, &folder, &["--json"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    let report = output.json();
    let found = escapes(&report);
    assert_eq!(found.len(), ROLES.len(), "{found:?}");
    for (role, found) in ROLES.iter().zip(&found) {
        assert_eq!(found["severity"], "critical");
        let detail = found["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("{role}: file.")), "{detail}");
        assert!(
            detail.ends_with("(it is confined partial here)"),
            "{detail}"
        );
    }
    let processes = report["probe"]["processes"].as_array().unwrap();
    assert_eq!(processes.len(), ROLES.len());
    for (role, process) in ROLES.iter().zip(processes) {
        assert_eq!(process["role"], *role);
        assert_eq!(process["state"], "tried");
        let confinement = process["confinement"].as_str().unwrap();
        assert!(confinement.contains("missing=landlock"), "{confinement}");
        assert_eq!(got(&report, "file.passwd", role), "worked");
        // What the filter refuses is refused here as well.
        assert_eq!(got(&report, "process.ptrace", role), "killed");
    }
    nothing_is_left(&folder);
}

#[test]
fn whoever_ends_it_leaves_nothing_behind() {
    if runs_as_root() {
        return skip("doctor_probe", "processes refuse to be root");
    }
    let scratch = Scratch::new();
    let folder = folder(&scratch);
    let mut command = scratch.program("clawdbotctl");
    command.args(["doctor", "--probe"]).env("TMPDIR", &folder);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let begun = eventually(PATIENCE, || of_state(&folder).len() > 2);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let code = child.wait().unwrap().code();
    assert!(begun, "no supervisor was started");
    assert_eq!(code, Some(130));
    nothing_is_left(&folder);
}
