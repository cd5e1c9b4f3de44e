//! `clawdbot config` as a person or a script meets it: what changes the file, what is refused, what is printed.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where cargo or `cargo xtask test` put the program. A path that was compiled in may be closed to whoever runs the test.
fn program() -> String {
    std::env::var("CARGO_BIN_EXE_clawdbot").unwrap()
}

fn run(state: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(program());
    let command = command.env_clear().env("HOME", state).arg("--state-dir");
    let command = command.arg(state).args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let exit = output.status.code().unwrap();
    (exit, text(output.stdout), text(output.stderr))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// As the assistant makes it: closed to others.
fn state() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let closed = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new()
        .permissions(closed)
        .tempdir()
        .unwrap()
}

#[test]
fn a_setting_is_changed_in_the_file_with_a_diff_and_a_backup_and_comments_stay() {
    let state = state();
    let file = state.path().join("clawdbot.json");
    let (exit, shown, _) = run(state.path(), &["config", "set", "gateway.port", "4000"]);
    assert_eq!(exit, 0);
    assert!(shown.contains("+  gateway: { port: 4000 },"), "{shown}");
    let text = "{\n  // mine\n  gateway: { port: 4000 }, // ours\n}\n";
    fs::write(&file, text).unwrap();
    let (exit, shown, _) = run(state.path(), &["config", "set", "gateway.bind", "loopback"]);
    assert_eq!(exit, 0);
    let wanted = text.replace("4000 }", "4000, bind: \"loopback\" }");
    assert_eq!(fs::read_to_string(&file).unwrap(), wanted);
    let backup = state.path().join("clawdbot.json.bak.1");
    assert!(shown.contains("clawdbot.json.bak.1"), "{shown}");
    assert_eq!(fs::read_to_string(backup).unwrap(), text);
    let (exit, shown, _) = run(
        state.path(),
        &["config", "set", "gateway.bind", "loopback", "--json"],
    );
    assert_eq!((exit, &json(&shown)["changed"]), (0, &Value::Bool(false)));
    let (exit, _, _) = run(state.path(), &["config", "unset", "gateway.bind"]);
    assert_eq!(
        (exit, fs::read_to_string(&file).unwrap()),
        (0, text.to_owned())
    );
    let (exit, shown, _) = run(state.path(), &["config", "get", "gateway.port"]);
    assert_eq!((exit, shown.trim()), (0, "4000"));
}

#[test]
fn a_change_that_is_wrong_or_holds_a_secret_is_refused_and_nothing_is_written() {
    let state = state();
    let file = state.path().join("clawdbot.json");
    for (arguments, exit, said) in [
        (["set", "gateway.port", "70000"], 78, "from 1 to 65535"),
        (
            ["set", "gateway.bind", "all"],
            78,
            "help: this would expose",
        ),
        (
            ["set", "gateway.prot", "1"],
            2,
            "did you mean gateway.port?",
        ),
        (["set", "gateway.port", "{"], 2, "not JSON5"),
        (["set", "gateway..port", "1"], 2, "not a configuration path"),
        (
            [
                "set",
                "gateway.auth.token",
                "0123456789abcdef0123456789abcdef",
            ],
            2,
            " login`",
        ),
    ] {
        let arguments = [&["config"], arguments.as_slice()].concat();
        let (found, _, error) = run(state.path(), &arguments);
        assert_eq!(found, exit, "{arguments:?} {error}");
        assert!(error.contains(said), "{arguments:?} {error}");
        assert!(!error.contains("0123456789"), "{error}");
        assert!(!file.exists());
    }
    // The same as a reference is no secret; that nobody set it is said.
    let token = ["config", "set", "gateway.auth.token", "${SOME_TOKEN}"];
    let (exit, shown, _) = run(state.path(), &token);
    assert_eq!(exit, 0);
    assert!(shown.contains("SOME_TOKEN is not set"), "{shown}");
}

#[test]
fn settings_that_need_each_other_are_given_together_or_not_at_all() {
    let state = state();
    let file = state.path().join("clawdbot.json");
    let open = ["channels.telegram.dmPolicy", "open"];
    let everybody = ["channels.telegram.allowFrom", "[\"*\"]"];
    for alone in [open, everybody] {
        let (exit, _, error) = run(state.path(), &[&["config", "set"], &alone[..]].concat());
        assert_eq!(exit, 78, "{error}");
        assert!(!file.exists());
    }
    let both = [&["config", "set"], &open[..], &everybody[..], &["--json"]].concat();
    let (exit, shown, error) = run(state.path(), &both);
    assert_eq!(exit, 0, "{error}");
    let paths = "channels.telegram.dmPolicy, channels.telegram.allowFrom";
    assert_eq!(json(&shown)["path"], paths);
    let (_, shown, _) = run(state.path(), &["config", "get", everybody[0]]);
    assert_eq!(json(&shown), serde_json::json!(["*"]));
    let text = fs::read_to_string(&file).unwrap();
    for (more, said) in [
        (
            ["gateway.port", "4000", "gateway.bind"],
            "gateway.bind has no value",
        ),
        (["gateway.port", "4000", "gateway.prot"], "has no value"),
    ] {
        let (exit, _, error) = run(state.path(), &[&["config", "set"], &more[..]].concat());
        assert_eq!(exit, 2);
        assert!(error.contains(said), "{error}");
    }
    let wrong = [
        "config",
        "set",
        "gateway.port",
        "4000",
        "gateway.bind",
        "all",
    ];
    assert_eq!(run(state.path(), &wrong).0, 78);
    assert_eq!(fs::read_to_string(&file).unwrap(), text, "all or none");
}

#[test]
fn a_change_tells_what_it_makes_dangerous() {
    let state = state();
    let (exit, shown, _) = run(
        state.path(),
        &["config", "set", "logging.redactSensitive", "off"],
    );
    assert_eq!(exit, 0, "{shown}");
    assert!(shown.contains("[logging.redact_off]"), "{shown}");
}

#[test]
fn the_schema_and_the_reference_are_printed() {
    let state = state();
    let (exit, shown, _) = run(state.path(), &["config", "schema"]);
    assert_eq!(exit, 0);
    let schema = json(&shown);
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let (_, shown, _) = run(state.path(), &["config", "schema", "--markdown"]);
    assert!(shown.starts_with("# Configuration"), "{shown}");
}
