//! The built program, as a person or a script meets it when nothing runs.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// Where cargo or `cargo xtask test` put a program. A path that was compiled in may be closed to whoever runs the test.
fn program(name: &str) -> String {
    std::env::var(format!("CARGO_BIN_EXE_{name}")).unwrap()
}

fn clawdbot(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("clawdbot"));
    command
        .env_clear()
        .env("HOME", state)
        .arg("--state-dir")
        .arg(state)
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn run(state: &Path, arguments: &[&str]) -> (i32, String, String) {
    told(clawdbot(state, arguments).output().unwrap())
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
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
fn help_names_every_command_and_both_programs_say_their_own_name() {
    let state = state();
    let (exit, help, _) = run(state.path(), &["--help"]);
    assert_eq!(exit, 0);
    for command in [
        "up",
        "chat",
        "status",
        "topology",
        "open",
        "token",
        "config",
        "doctor",
        "login",
        "logout",
        "credentials",
        "sessions",
        "logs",
        "completions",
    ] {
        assert!(
            help.lines()
                .any(|line| line.trim_start().starts_with(&format!("{command} "))),
            "{command}\n{help}"
        );
    }
    assert!(help.contains("Usage: clawdbot "), "{help}");
    let other = Command::new(program("clawdbotctl"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(told(other).1.contains("Usage: clawdbotctl "));
}

#[test]
fn commands_that_are_not_there_are_refused_by_name_with_exit_status_2() {
    let state = state();
    for command in [
        "pairing",
        "approvals",
        "service",
        "sandbox",
        "audit",
        "import",
        "nonsense",
    ] {
        let (exit, out, err) = run(state.path(), &[command]);
        assert_eq!((exit, out.as_str()), (2, ""), "{command}");
        assert!(err.contains(command), "{err}");
    }
    assert_eq!(run(state.path(), &["doctor", "--fix", "no.such"]).0, 2);
    assert_eq!(run(state.path(), &["doctor", "--yes"]).0, 2);
}

#[test]
fn help_tells_the_first_steps() {
    let state = state();
    let (exit, out, _) = run(state.path(), &["--help"]);
    assert_eq!(exit, 0);
    // Where the package is installed only its own.
    let here = ["usr/lib", "etc"].map(|folder| {
        let unit = format!("/{folder}/systemd/system/clawdbot.target");
        std::path::Path::new(&unit).is_file()
    });
    assert_eq!(
        out.contains("clawdbot up --chat"),
        here == [false; 2],
        "{out}"
    );
    for step in [
        "sudo usermod -aG clawdbot",
        "clawdbot login --provider",
        "clawdbot chat",
    ] {
        assert!(out.contains(step), "{step}: {out}");
    }
}

#[test]
fn wrong_usage_is_json_where_json_was_asked_for() {
    let state = state();
    let (exit, out, err) = run(state.path(), &["up", "--port", "70000", "--json"]);
    assert_eq!((exit, err.as_str()), (2, ""));
    let error = &json(&out)["error"];
    assert_eq!(error["code"], "usage");
    assert!(error["message"].as_str().unwrap().contains("70000"));
    assert_eq!(run(state.path(), &["up", "--port", "0"]).0, 2);
    assert_eq!(run(state.path(), &["chat", "--session", "No Such"]).0, 2);
}

#[test]
fn what_needs_the_assistant_ends_with_69_and_says_how_to_start_it() {
    let state = state();
    for arguments in [
        &["status"][..],
        &["chat"],
        &["chat", "--message", "hello"],
        &["open"],
        &["token"],
        &["token", "--rotate"],
        &["sessions"],
        &["credentials", "list"],
        &["login", "--provider", "anthropic"],
        &["logout", "--channel", "telegram"],
    ] {
        let (exit, out, err) = run(state.path(), arguments);
        assert_eq!((exit, out.as_str()), (69, ""), "{arguments:?}");
        assert!(
            err.contains("nothing is running") && err.contains(" up`"),
            "{err}"
        );

        let (exit, out, err) = run(state.path(), &[arguments, &["--json"]].concat());
        assert_eq!((exit, err.as_str()), (69, ""), "{arguments:?}");
        assert_eq!(json(&out)["error"]["code"], "not_running");
        let place = state.path().display();
        let remedy = format!("start it with `clawdbot --state-dir {place} up`");
        assert_eq!(json(&out)["error"]["remedy"], remedy);
    }
}

#[test]
fn status_does_not_wait_for_what_hangs_and_tells_what_the_log_says() {
    let state = state();
    let line = |ago: u64, level: &str, message: &str| {
        let time = SystemTime::now() - Duration::from_secs(ago);
        let time = humantime::format_rfc3339_millis(time).to_string();
        let role = "dialer";
        let line =
            serde_json::json!({ "time": time, "role": role, "level": level, "message": message });
        format!("{line}\n")
    };
    let text = [
        line(25 * 3600, "error", "long ago"),
        line(3600, "error", "one\u{1b}"),
        line(60, "warn", "two"),
        line(1, "info", "three"),
    ];
    fs::write(state.path().join("gateway.log"), text.concat()).unwrap();
    fs::create_dir(state.path().join("run")).unwrap();
    let hanging: Vec<UnixListener> = ["supervisor", "gateway", "policy"]
        .iter()
        .map(|name| {
            UnixListener::bind(state.path().join("run").join(format!("{name}.sock"))).unwrap()
        })
        .collect();
    let (exit, out, _) = run(state.path(), &["status", "--json"]);
    let status = json(&out);
    assert_eq!(
        (exit, status["problems"].as_array().unwrap().len()),
        (1, hanging.len())
    );
    let errors = status["errors"].as_array().unwrap();
    let told: Vec<&str> = errors
        .iter()
        .map(|error| error["message"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["two", "one\u{1b}"]);
    assert_eq!(errors[0]["process"], "dialer");
    assert_eq!(status["sessions"], Value::Null);
    let (exit, out, _) = run(state.path(), &["status"]);
    assert!(
        exit == 1 && out.contains("dialer   one\\u{1b}\n") && out.contains("sessions  unknown\n"),
        "{out}"
    );
}

#[test]
fn a_message_that_cannot_be_one_is_refused_before_anything_is_asked() {
    use std::os::unix::ffi::OsStrExt;

    let state = state();
    let (exit, _, err) = run(state.path(), &["chat", "--message", " "]);
    assert!(exit == 2 && err.contains("empty"), "{err}");

    let invalid = std::ffi::OsStr::from_bytes(b"a\xff");
    let (exit, _, err) = told(
        clawdbot(state.path(), &["chat", "--message"])
            .arg(invalid)
            .output()
            .unwrap(),
    );
    assert!(exit == 2 && err.contains("UTF-8"), "{err}");

    for (bytes, reason) in [
        (vec![b'x'; 256 * 1024 + 1], "256 KiB"),
        (b"\xff".to_vec(), "UTF-8"),
    ] {
        let mut child = clawdbot(state.path(), &["chat", "--message", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let (exit, _, err) = told(child.wait_with_output().unwrap());
        assert!(exit == 2 && err.contains(reason), "{err}");
    }
}

#[test]
fn a_valid_configuration_and_a_missing_one_validate() {
    let state = state();
    let (exit, out, _) = run(state.path(), &["config", "validate"]);
    assert!(
        exit == 0 && out.starts_with("valid:") && out.contains("defaults"),
        "{out}"
    );
    fs::write(
        state.path().join("clawdbot.json"),
        "{ gateway: { port: 20000 } }",
    )
    .unwrap();
    let (exit, out, _) = run(state.path(), &["config", "validate", "--json"]);
    assert_eq!(exit, 0);
    assert_eq!(
        (&json(&out)["valid"], &json(&out)["exists"]),
        (&Value::Bool(true), &Value::Bool(true))
    );
}

#[test]
fn an_invalid_configuration_ends_with_78_everywhere_and_shows_every_mistake() {
    let state = state();
    let file = state.path().join("clawdbot.json");
    fs::write(&file, "{\n  gateway: { prot: 20000 },\n  agents: 3,\n}\n").unwrap();
    for arguments in [
        &["config", "validate"][..],
        &["config", "get"],
        &["up"],
        &["up", "--chat"],
    ] {
        let (exit, out, err) = run(state.path(), arguments);
        assert_eq!((exit, out.as_str()), (78, ""), "{arguments:?}");
        assert!(
            err.contains("clawdbot.json:2:14:") && err.contains("clawdbot.json:3:"),
            "{err}"
        );
        assert!(err.contains("gateway: { prot"), "{err}");
    }
    let (exit, out, err) = run(state.path(), &["config", "validate", "--json"]);
    assert_eq!((exit, err.as_str()), (78, ""));
    let error = &json(&out)["error"];
    assert_eq!(error["code"], "config.invalid");
    assert_eq!(error["errors"].as_array().unwrap().len(), 2);
    assert_eq!(error["errors"][0]["line"], 2);
}

#[test]
fn a_directory_in_the_place_of_the_file_is_refused() {
    let state = state();
    let (exit, _, err) = run(state.path(), &["config", "validate", "--config", "/"]);
    assert!(exit == 78 && err.contains("directory"), "{err}");
}

#[test]
fn config_get_shows_what_is_in_force_and_never_a_secret() {
    let state = state();
    let text =
        r#"{ gateway: { port: 20000, auth: { token: "canary-canary-canary-canary-canary" } } }"#;
    fs::write(state.path().join("clawdbot.json"), text).unwrap();
    assert_eq!(
        run(state.path(), &["config", "get", "gateway.port"]),
        (0, "20000\n".into(), String::new())
    );
    assert_eq!(
        run(state.path(), &["config", "get", "gateway.bind"]).1,
        "loopback\n"
    );
    assert_eq!(
        run(state.path(), &["config", "get", "gateway.bind", "--json"]).1,
        "\"loopback\"\n"
    );
    let (exit, all, _) = run(state.path(), &["config", "get", "--json"]);
    assert_eq!(
        (exit, &json(&all)["gateway"]["port"]),
        (0, &Value::from(20000))
    );
    assert!(all.contains("[secret]") && !all.contains("canary"));
    let (exit, out, err) = run(state.path(), &["config", "get", "gateway.prot"]);
    assert!(
        exit == 1 && out.is_empty() && err.contains("gateway.prot"),
        "{err}"
    );
}

#[test]
fn config_path_follows_flag_and_environment() {
    let state = state();
    let (exit, out, _) = run(state.path(), &["config", "path"]);
    assert_eq!(
        (exit, out.trim_end()),
        (0, state.path().join("clawdbot.json").to_str().unwrap())
    );
    let (_, out, _) = run(
        state.path(),
        &["config", "path", "--json", "--config", "/some/where.json"],
    );
    assert_eq!(
        json(&out),
        serde_json::json!({ "path": "/some/where.json", "exists": false })
    );
    let other = Command::new(program("clawdbot"))
        .env_clear()
        .env("CLAWDBOT_CONFIG_PATH", "/from/environment.json")
        .env("CLAWDBOT_STATE_DIR", state.path())
        .args(["config", "path"])
        .output()
        .unwrap();
    assert_eq!(told(other).1, "/from/environment.json\n");
}

#[test]
fn doctor_tells_findings_and_what_has_no_effect_yet() {
    let state = state();
    let file = state.path().join("clawdbot.json");
    fs::write(
        &file,
        r#"{ channels: { telegram: { botToken: "123456:literal-literal-literal-literal", historyLimit: 9 } } }"#,
    )
    .unwrap();
    let (exit, out, _) = run(state.path(), &["doctor", "--json"]);
    let report = json(&out);
    assert_eq!((exit, &report["running"]), (0, &Value::Bool(false)));
    let findings = report["findings"].as_array().unwrap();
    assert!(
        findings.iter().any(|found| found["severity"] == "warn"),
        "{out}"
    );
    for member in ["id", "severity", "path", "title", "detail", "remedy"] {
        assert!(
            findings.iter().all(|found| found[member].is_string()),
            "{member}"
        );
    }
    let inactive = report["inactive"].as_array().unwrap();
    assert!(
        inactive.iter().any(|key| key["path"]
            .as_str()
            .unwrap()
            .starts_with("channels.telegram.")),
        "{out}"
    );
    assert!(!out.contains("literal-literal"));
    assert_eq!(run(state.path(), &["doctor", "--strict"]).0, 1);
    assert_eq!(run(state.path(), &["security", "audit", "--strict"]).0, 1);

    fs::write(&file, "{ nonsense").unwrap();
    let (exit, out, _) = run(state.path(), &["doctor"]);
    assert!(
        exit == 2 && out.contains("clawdbot.json:1:") && out.contains("1 critical"),
        "{out}"
    );
}

#[test]
fn doctor_shows_first_what_it_would_fix_and_does_it_once_when_told() {
    let state = state();
    let file = state.path().join("clawdbot.json");
    let text = "{\n  // mine\n  channels: { signal: { groupPolicy: \"open\", allowFrom: [\"+15555550100\"] } },\n}\n";
    fs::write(&file, text).unwrap();
    let mode = |wanted: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&file, fs::Permissions::from_mode(wanted)).unwrap();
    };
    mode(0o644);
    let report = |arguments: &[&str]| {
        let (exit, out, err) = run(state.path(), &[&["doctor", "--json"], arguments].concat());
        assert_eq!(err, "");
        (exit, json(&out))
    };
    let has = |report: &Value, id: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().any(|found| found["id"] == id)
    };
    let (exit, before) = report(&[]);
    assert!(
        exit == 2
            && has(&before, "channels.signal.groups.open")
            && has(&before, "fs.config.perms_world_readable")
    );
    assert!(before.get("fix").is_none());
    // Shown, not done: nobody can be asked here.
    let (exit, shown) = report(&["--fix"]);
    assert_eq!((exit, &shown["fix"]["applied"]), (2, &Value::Bool(false)));
    assert!(
        shown["fix"]["diff"]
            .as_str()
            .unwrap()
            .contains("groupPolicy")
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    // One finding, and the rest stays.
    let (exit, one) = report(&["--fix", "fs.config.perms_world_readable", "--yes"]);
    assert!(
        exit == 2
            && !has(&one, "fs.config.perms_world_readable")
            && has(&one, "channels.signal.groups.open")
    );
    let (exit, done) = report(&["--fix", "--yes"]);
    assert_eq!((exit, &done["fix"]["applied"]), (0, &Value::Bool(true)));
    let after = fs::read_to_string(&file).unwrap();
    assert!(
        after.contains("// mine") && after.contains("groupPolicy: \"allowlist\""),
        "{after}"
    );
    let backup = done["fix"]["backup"].as_str().unwrap();
    assert_eq!(fs::read_to_string(backup).unwrap(), text);
    let (exit, again) = report(&["--fix", "--yes"]);
    assert_eq!(
        (exit, &again["fix"]["changes"]),
        (0, &serde_json::json!([]))
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), after);
    let (exit, out, _) = run(state.path(), &["security", "audit", "--fix"]);
    assert!(exit == 0 && out.contains("nothing to fix"), "{out}");
}

#[test]
fn topology_is_told_also_when_nothing_runs() {
    let state = state();
    let (exit, out, _) = run(state.path(), &["topology", "--json"]);
    let topology = json(&out);
    assert_eq!((exit, &topology["running"]), (0, &Value::Bool(false)));
    let edges = topology["edges"].as_array().unwrap();
    assert!(
        edges
            .iter()
            .any(|edge| edge["client"] == "operator" && edge["server"] == "gateway")
    );
    let (exit, out, _) = run(state.path(), &["topology"]);
    assert!(
        exit == 0
            && out.contains("\nmodel-NAME\n")
            && out.contains("\n└─ dialer  frames\n      Dial\n")
            && !out.contains('\u{1b}'),
        "{out}"
    );
}

#[test]
fn logs_are_filtered_and_sanitised() {
    let state = state();
    let (exit, _, err) = run(state.path(), &["logs"]);
    assert!(
        exit == 1 && err.contains("gateway.log") && err.contains(" up` has run"),
        "{err}"
    );
    let line = |role: &str, level: &str, message: &str| {
        let time = "2026-01-31T12:00:00.000Z";
        let line =
            serde_json::json!({ "time": time, "role": role, "level": level, "message": message });
        format!("{line}\n")
    };
    let text = [
        line("gateway", "info", "one"),
        line("policy", "warn", "two\u{202e}"),
        line("agent-main", "error", "three"),
    ]
    .concat();
    fs::write(state.path().join("gateway.log"), text).unwrap();
    let messages = |arguments: &[&str]| {
        let (exit, out, _) = run(state.path(), &[&["logs", "--json"], arguments].concat());
        assert_eq!(exit, 0);
        out.lines()
            .map(|line| json(line)["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(messages(&["--limit", "2"]), ["two\u{202e}", "three"]);
    assert_eq!(
        messages(&["--level", "warn", "--service", "agent"]),
        ["three"]
    );
    assert_eq!(messages(&["--grep", "one"]), ["one"]);
    assert_eq!(messages(&["--since", "2027-01-01T00:00:00Z"]), [""; 0]);
    assert_eq!(run(state.path(), &["logs", "--since", "yesterday"]).0, 2);
    for arguments in [&["logs"][..], &["logs", "--json"]] {
        assert!(!run(state.path(), arguments).1.contains('\u{202e}'));
    }
}

#[test]
fn completions_are_for_the_name_that_was_called() {
    let script = |program: &str| {
        told(
            Command::new(program)
                .args(["completions", "bash"])
                .output()
                .unwrap(),
        )
    };
    let (exit, out, _) = script(&program("clawdbotctl"));
    assert!(exit == 0 && out.contains("clawdbotctl") && out.contains("topology"));
    assert!(script(&program("clawdbot")).1.contains("_clawdbot()"));
}

#[test]
fn a_reader_that_leaves_is_no_panic() {
    let state = state();
    let mut child = clawdbot(state.path(), &["topology"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let (_, _, err) = told(child.wait_with_output().unwrap());
    assert_eq!(err, "");
}
