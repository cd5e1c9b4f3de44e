//! What a new user meets who has something odd in the place of the file: one sentence with a remedy, an exit status, and JSON
//! where that was asked for. And that the printed commands work as they are printed.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn program() -> String {
    std::env::var("CARGO_BIN_EXE_clawdbot").unwrap()
}

/// Root has no place in its home directory, so the environment names it.
fn run(state: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    let command = command.env_clear().env("CLAWDBOT_STATE_DIR", state);
    let command = command.args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    let out = text(&output.stdout);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn folder() -> tempfile::TempDir {
    let closed = Permissions::from_mode(0o700);
    tempfile::Builder::new()
        .permissions(closed)
        .tempdir()
        .unwrap()
}

/// A name, what lies in the place of the file, and a word of what is said about it.
type Odd = (&'static str, fn(&Path), &'static str);

const ODD: &[Odd] = &[
    (
        "a folder",
        |file| fs::create_dir(file).unwrap(),
        "directory",
    ),
    (
        "a pipe",
        |file| {
            let made = Command::new("mkfifo")
                .args(["-m", "600"])
                .arg(file)
                .status();
            assert!(made.unwrap().success());
        },
        "regular file",
    ),
    (
        "a link to itself",
        |file| symlink("clawdbot.json", file).unwrap(),
        "symbolic links",
    ),
    (
        "ten megabytes of nothing",
        |file| fs::write(file, vec![0xff; 10 << 20]).unwrap(),
        "larger than",
    ),
    (
        "no text",
        |file| fs::write(file, b"{ \xff }").unwrap(),
        "UTF-8",
    ),
];

#[test]
fn something_odd_in_the_place_of_the_file_is_told_in_one_sentence_with_a_remedy() {
    for (name, make, word) in ODD {
        let home = folder();
        let state = home.path().join(".clawdbot");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
        make(&state.join("clawdbot.json"));
        for (arguments, exit) in [
            (&["doctor"][..], 2),
            (&["doctor", "--fix", "--yes"], 2),
            (&["config", "validate"], 78),
            (&["config", "get", "gateway.port"], 78),
            (&["config", "set", "gateway.port", "4000"], 1),
            (&["config", "unset", "gateway.port"], 1),
        ] {
            let shown = run(&state, arguments);
            let all = text(&shown.stdout) + &text(&shown.stderr);
            assert_eq!(
                shown.status.code(),
                Some(exit),
                "{name} {arguments:?} {all}"
            );
            assert!(
                all.contains(word) && all.contains("help: "),
                "{name} {arguments:?} {all}"
            );
            let told = run(&state, &[arguments, &["--json"]].concat());
            assert_eq!(told.status.code(), Some(exit), "{name} {arguments:?}");
            let value = json(&told);
            match exit {
                2 => assert_eq!(value["counts"]["critical"], 1, "{name} {value}"),
                _ => assert!(value["error"]["remedy"].is_string(), "{name} {value}"),
            }
        }
    }
}

#[test]
fn every_printed_command_works_as_it_is_printed_wherever_the_file_lies() {
    let home = folder();
    let state = home.path().join("it's my state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
    let file = state.join("my config.json");
    fs::write(
        &file,
        "{\n  // mine\n  hooks: { path: '/' },\n  gateway: { trustedProxies: ['10.0.0.1', '0.0.0.0/0'] },\n  tools: { profile: 'coding', deny: ['web_fetch'] },\n  channels: { signal: { groupPolicy: 'open', allowFrom: ['+15555550100'] } },\n}\n",
    )
    .unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let (state, config) = (state.to_str().unwrap(), file.to_str().unwrap());
    let report = || {
        let place = ["--state-dir", state, "--config", config];
        json(&run(
            home.path(),
            &[&place[..], &["doctor", "--json"]].concat(),
        ))
    };
    let programs = Path::new(&program()).parent().unwrap().to_owned();
    let path = format!("{}:/usr/bin:/bin", programs.display());
    // The file loads after the first three, and then says the rest.
    for round in 0..2 {
        let found = report();
        let found = found["findings"].as_array().unwrap();
        let commands = found.iter().filter(|one| one["severity"] != "info");
        let commands: Vec<_> = commands
            .map(|one| one["remedy"].as_str().unwrap())
            .collect();
        assert!(round == 1 || commands.len() == 4, "{commands:?}");
        for command in commands {
            let mut shell = Command::new("/bin/sh");
            shell
                .env_clear()
                .env("PATH", &path)
                .env("HOME", home.path());
            let done = shell.args(["-c", command]).stdin(Stdio::null()).output();
            let done = done.unwrap();
            assert!(done.status.success(), "{command} {}", text(&done.stderr));
        }
    }
    assert_eq!(report()["counts"]["critical"], 0);
    let after = fs::read_to_string(&file).unwrap();
    for kept in ["// mine", "'10.0.0.1'", "'web_fetch'", "+15555550100"] {
        assert!(after.contains(kept), "{kept}: {after}");
    }
}

#[test]
fn a_change_says_what_is_still_wrong_and_that_the_old_file_keeps_a_secret() {
    let home = folder();
    let file = home.path().join("c.json");
    let config = file.to_str().unwrap();
    let secret = "9f8a7b6c5d4e3f2a1b0c9d8e";
    fs::write(&file, format!("{{ gateway: {{ auth: {{ token: '{secret}' }}, prot: 1 }}, logging: {{ level: 'loud' }} }}\n")).unwrap();
    let change = |arguments: &[&str]| {
        let place = ["--config", config, "config"];
        let done = run(home.path(), &[&place[..], arguments].concat());
        let out = text(&done.stdout) + &text(&done.stderr);
        assert!(!out.contains(secret), "{out}");
        (done.status.code(), out)
    };
    let (exit, out) = change(&["set", "logging.level", "info"]);
    assert!(exit == Some(0) && out.contains("1 mistake left"), "{out}");
    assert!(out.contains("prot") && !out.contains("secret"), "{out}");
    let (exit, out) = change(&["set", "gateway.auth.token", "${SOME_TOKEN}"]);
    assert!(exit == Some(0) && out.contains("holds the secret"), "{out}");
    assert!(out.contains(&format!("rm {config}.bak.2")), "{out}");
    // A mistake more is refused, and the file stays as it is.
    let before = fs::read(&file).unwrap();
    let (exit, out) = change(&["set", "gateway.bind", "7", "--json"]);
    assert!(exit == Some(78) && out.contains("\"error\""), "{out}");
    assert_eq!(fs::read(&file).unwrap(), before);
    let (exit, out) = change(&["unset", "gateway.prot", "--json"]);
    let done: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(exit, Some(0));
    assert_eq!(
        (&done["mistakes"], &done["backupHoldsSecret"]),
        (&Value::Null, &false.into())
    );
}
