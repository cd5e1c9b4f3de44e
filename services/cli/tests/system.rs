//! The built program where the service manager starts the assistant: `systemctl` and `journalctl` are scripts on PATH that
//! answer as systemd 252 and 257 do and note what they were asked. Each run is an ordinary user's.

#![allow(clippy::unwrap_used, clippy::panic)]

mod fake;
#[path = "fake/listen.rs"]
mod listen;
#[path = "fake/policy.rs"]
mod policy;

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Whom root becomes, so that a test means the same whoever runs it.
const NOBODY: u32 = 65534;

struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        let machine = Self { folder };
        for name in ["bin", "run/operator", "state", "home"] {
            let path = machine.path(name);
            fs::create_dir_all(&path).unwrap();
        }
        if is_root() {
            for name in ["", "run", "run/operator", "state", "home"] {
                chown(machine.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that notes its arguments. Written by a process of its own: one that a child of another test holds open
    /// for writing could not be started.
    fn program(&self, name: &str, body: &str) {
        let log = self.path(&format!("{name}.log"));
        fs::write(&log, "").unwrap();
        fs::set_permissions(&log, Permissions::from_mode(0o666)).unwrap();
        let script = format!("#!/bin/sh\necho \"$*\" >> '{}'\n{body}\n", log.display());
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"])
            .arg(self.path("bin").join(name))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        assert!(writer.wait().unwrap().success());
    }

    /// What the program was asked.
    fn asked(&self, name: &str) -> Vec<String> {
        let log = fs::read_to_string(self.path(&format!("{name}.log"))).unwrap();
        log.lines().map(str::to_owned).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let program = std::env::var("CARGO_BIN_EXE_clawdbot").unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.path("home"))
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.path("bin").display()),
            )
            .args(arguments)
            .stdin(Stdio::null());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// As the system's assistant is reached.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        told(
            self.command(arguments)
                .env("CLAWDBOT_RUNTIME_DIR", self.path("run"))
                .env("CLAWDBOT_STATE_DIR", self.path("state"))
                .env("CLAWDBOT_CONFIG_PATH", self.path("clawdbot.json")),
        )
    }

    /// The same for what gives everybody a moment to answer, asked again until something holds: a machine may be busy. What
    /// the service manager was asked before is forgotten.
    fn run_until(&self, arguments: &[&str], holds: impl Fn(&str) -> bool) -> (i32, String, String) {
        let mut told = (0..50).map(|_| {
            fs::write(self.path("systemctl.log"), "").unwrap();
            self.run(arguments)
        });
        told.find(|(_, out, _)| holds(out)).unwrap()
    }

    /// As one's own is.
    fn run_single(&self, arguments: &[&str]) -> (i32, String, String) {
        told(&mut self.command(arguments))
    }

    /// Policy answers, with these settings.
    fn has_policy(&self, settings: &'static str) {
        let unasked = |_: &str| policy::unasked();
        let socket = self.socket("policy");
        listen::listen(&socket, "policy", policy::router(settings, unasked));
        fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    }

    /// And the gateway, which tells of one conversation.
    fn has_gateway(&self) {
        fake::start(&self.socket("gateway"));
        fs::set_permissions(self.socket("gateway"), Permissions::from_mode(0o666)).unwrap();
    }

    fn socket(&self, server: &str) -> PathBuf {
        self.path(&format!("run/operator/{server}.sock"))
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn told(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
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

/// A block of `systemctl show`.
fn unit(name: &str, active: &str, sub: &str, pid: u32, more: &str) -> String {
    format!(
        "MainPID={pid}\nNRestarts=0\nExecMainStatus=0\nResult=success\nStatusText=\nId={name}\nLoadState=loaded\nActiveState={active}\nSubState={sub}\nUnitFileState=static\nStateChangeTimestampMonotonic=1000000\n{more}\n"
    )
}

fn systemctl(units: &str) -> String {
    format!(
        "case \"$*\" in\n*list-units*) echo '[]' ;;\n*' show '*) cat <<'END'\n{units}END\n;;\nesac"
    )
}

#[test]
fn status_shows_what_runs_and_starts_nothing_by_looking() {
    let machine = Machine::new();
    let units = [
        unit("clawdbot.target", "active", "active", 0, ""),
        unit(
            "clawdbot-gateway.service",
            "active",
            "running",
            71,
            "StatusText=Serving | level=full landlock=6 seccomp=on filters=5 nnp=on caps=off dumpable=off core=0 env=0 strays=0 net=own memory=none\n",
        ),
        unit(
            "clawdbot-policy.service",
            "failed",
            "failed",
            0,
            "Result=exit-code\nExecMainStatus=78\nFragmentPath=/usr/lib/systemd/system/clawdbot-policy.service\n",
        ),
    ];
    // A property that comes twice would be two lines of one.
    let units = units.map(|unit| {
        let mut seen = std::collections::BTreeSet::new();
        let lines: Vec<&str> = unit
            .lines()
            .rev()
            .filter(|line| {
                let name = line.split_once('=').map_or("", |(name, _)| name);
                name.is_empty() || seen.insert(name.to_owned())
            })
            .collect();
        lines.join("\n") + "\n\n"
    });
    machine.program("systemctl", &systemctl(&units.concat()));
    machine.program("journalctl", "exit 9");
    machine.has_gateway();
    let policy = UnixListener::bind(machine.socket("policy")).unwrap();
    policy.set_nonblocking(true).unwrap();
    fs::set_permissions(machine.socket("policy"), Permissions::from_mode(0o666)).unwrap();
    // Both the service manager and the gateway have answered.
    let whole = |out: &str| {
        let status = json(out);
        status["urls"][0].is_string() && status["processes"][0].is_object()
    };
    let (exit, out, err) = machine.run_until(&["status", "--json"], whole);
    assert_eq!((exit, err.as_str()), (1, ""), "{out}");
    let status = json(&out);
    assert_eq!(
        (&status["mode"], &status["well"]),
        (&"system".into(), &false.into())
    );
    assert_eq!(status["urls"][0], "http://127.0.0.1:18789");
    let gateway = &status["processes"][0];
    assert_eq!(
        (&gateway["role"], &gateway["pid"], &gateway["state"]),
        (&"gateway".into(), &71.into(), &"ready".into())
    );
    assert_eq!(gateway["confinement"]["level"], "full");
    assert_eq!(status["processes"][1]["status"], "ended with status 78");
    assert!(
        status["problems"][0]
            .as_str()
            .unwrap()
            .contains("systemctl status clawdbot-policy.service"),
        "{out}"
    );
    // Who would be needed for them does not run, and a log that cannot be read is nothing wrong with what runs.
    assert_eq!(
        (&status["sessions"], &status["errors"]),
        (&Value::Null, &Value::Null)
    );
    // Its socket would have started it.
    assert_eq!(policy.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let questions = || {
        let mut asked = machine.asked("systemctl");
        // What it was built with is no question about units.
        asked.retain(|call| call != "--version");
        asked.sort_by_key(|call| !call.contains(" show "));
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert!(
            asked[0].contains("clawdbot-*.service") && !asked[0].contains("clawdbot-*.socket"),
            "{asked:?}"
        );
        assert!(asked[1].contains(" list-units "), "{asked:?}");
        assert!(
            asked.iter().all(|call| !call.contains(" start ")),
            "{asked:?}"
        );
    };
    questions();
    // The doctor looks the same way, and tells one fault once.
    machine.program("systemctl", &systemctl(&units.concat()));
    let (exit, out, err) = machine.run(&["doctor", "--json"]);
    assert_eq!((exit, err.as_str()), (2, ""), "{out}");
    questions();
    let report = json(&out);
    let about: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding.to_string().contains("clawdbot-policy.service"))
        .map(|finding| finding["id"].as_str().unwrap())
        .collect();
    assert_eq!(about, ["units.failed"], "{out}");
    let live = |out: &str| json(out)["processes"][0]["live"][0].is_object();
    let (exit, out, _) = machine.run_until(&["topology", "--json"], live);
    let topology = json(&out);
    assert_eq!(
        (exit, &topology["mode"], &topology["running"]),
        (0, &"system".into(), &true.into())
    );
    assert_eq!(topology["processes"][0]["live"][0]["pid"], 71);
    let (exit, out, _) = machine.run(&["service", "status"]);
    assert_eq!(exit, 1);
    assert!(
        out.contains("clawdbot-policy.service") && out.contains("ended with status 78"),
        "{out}"
    );
}

#[test]
fn status_shows_the_last_conversations_and_what_went_wrong_lately() {
    let machine = Machine::new();
    let units = ["gateway", "policy", "agent@main", "agent@guest"];
    let units = units.map(|name| {
        let name = format!("clawdbot-{name}.service");
        unit(&name, "active", "running", 71, "")
    });
    machine.program("systemctl", &systemctl(&units.concat()));
    machine.program("journalctl", "exit 9");
    machine.has_gateway();
    machine.has_policy("");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let entry = |n: u64, level: &str, message: &str| {
        // Each a minute older than the one before.
        let micros = now.as_secs() - 60 * n;
        let micros = format!("{micros}000000");
        entry(0, "clawdbot-dialer.service", level, message).replace("1769860800000000", &micros)
    };
    let long = "x".repeat(1000);
    let lines = [
        entry(1, "info", "all is well"),
        entry(2, "warn", "odd \\u001b[2J"),
        entry(3, "error", &long),
        entry(4, "warn", "3"),
        entry(5, "warn", "4"),
        entry(6, "warn", "5"),
        entry(7, "warn", "6"),
    ];
    let back = format!("ok\n{}\n-- cursor: s=1\n", lines.join("\n"));
    let passed = passes(&machine, &[&back]);
    let (_, out, err) = machine.run(&["status", "--json"]);
    assert_eq!(err, "");
    let status = json(&out);
    let sessions = &status["sessions"];
    assert_eq!(sessions["count"], 1, "{out}");
    let latest = &sessions["latest"][0];
    assert_eq!(
        (&latest["sessionKey"], &latest["agent"]),
        (&"agent:main:main".into(), &"main".into())
    );
    let errors = status["errors"].as_array().unwrap();
    let messages: Vec<&str> = errors
        .iter()
        .map(|error| error["message"].as_str().unwrap())
        .collect();
    let cut = format!("{}…", "x".repeat(200));
    assert_eq!(messages, ["odd \u{1b}[2J", &cut, "3", "4", "5"]);
    assert_eq!(
        (&errors[1]["process"], &errors[1]["level"]),
        (&"dialer".into(), &"error".into())
    );
    let request = passed.join().unwrap().concat();
    let since: u64 = request.trim_start_matches("back ").trim().parse().unwrap();
    assert!(since >= now.as_secs() - 24 * 3600, "{request}");

    // For a person. What could act on the terminal does not, and nothing is coloured that is not for one.
    let passed = passes(&machine, &[&back]);
    let (_, out, err) = machine.run(&["status"]);
    assert_eq!(err, "");
    for shown in [
        "\nsessions  1\n",
        "\nCONVERSATION     AGENT  LAST USED\nagent:main:main  main   ",
        "\nLAST ERRORS ",
        "warn   dialer   odd \\u{1b}[2J\n",
    ] {
        assert!(out.contains(shown), "{shown}: {out}");
    }
    assert!(!out.contains('\u{1b}') && !out.contains(&long), "{out}");
    passed.join().unwrap();

    // A log without any is told, one that was not read to its end is not believed.
    let quiet = format!("ok\n{}\n", lines[0]);
    for (answer, told) in [
        (quiet.clone() + "-- cursor: s=1\n", "none lately"),
        (quiet, "unknown"),
        ("no\n".to_owned(), "unknown"),
    ] {
        let passed = passes(&machine, &[&answer]);
        let (_, out, _) = machine.run(&["status"]);
        assert!(out.contains(&format!("\nerrors    {told}\n")), "{out}");
        passed.join().unwrap();
    }
    assert!(machine.asked("journalctl").is_empty());
}

#[test]
fn a_member_sees_tool_calls_where_the_configuration_wants_it() {
    for (wish, file, seen) in [
        (
            r#"{"agents":{"defaults":{"verboseDefault":"on"}}}"#,
            0o000,
            true,
        ),
        (
            r#"{"agents":{"defaults":{"verboseDefault":"off"}}}"#,
            0o000,
            false,
        ),
        // One that does not load.
        ("", 0o000, false),
        // Where the file can be read it is what counts.
        (
            r#"{"agents":{"defaults":{"verboseDefault":"on"}}}"#,
            0o644,
            false,
        ),
    ] {
        let machine = Machine::new();
        let config = machine.path("clawdbot.json");
        fs::write(&config, "{}").unwrap();
        fs::set_permissions(&config, Permissions::from_mode(file)).unwrap();
        machine.has_gateway();
        machine.has_policy(wish);
        let (exit, out, err) = machine.run(&["chat", "--message", "hello"]);
        assert_eq!(exit, 0, "{err}");
        assert!(out.contains("main heard hello"), "{out}");
        assert_eq!(err.contains("look around"), seen, "{wish} {file:o}: {err}");
    }
}

#[test]
fn the_doctor_asks_policy_for_a_configuration_that_is_closed_to_this_person() {
    let machine = Machine::new();
    let config = machine.path("clawdbot.json");
    fs::write(&config, "{ gateway: { prot: 1 } }").unwrap();
    fs::set_permissions(&config, Permissions::from_mode(0o000)).unwrap();
    if !is_root() {
        // It is this person's own then, and closed all the same.
        fs::File::open(&config).unwrap_err();
    }
    machine.has_policy("");
    let ids = |active: &str, sub: &str, pid: u32, awaited: &str| {
        let units = unit("clawdbot-policy.service", active, sub, pid, "")
            + &unit(
                "clawdbot-gateway.service",
                "activating",
                "auto-restart",
                0,
                "",
            );
        machine.program("systemctl", &systemctl(&units));
        let has_come = |out: &str| out.contains(awaited);
        let (_, out, err) = machine.run_until(&["doctor", "--json"], has_come);
        assert_eq!(err, "");
        let report = json(&out);
        let about = report["findings"].as_array().unwrap().iter();
        let about = about.filter(|finding| finding.to_string().contains("clawdbot.json"));
        let about = about.map(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            (text("id"), text("title"), text("detail"))
        });
        let mut about: Vec<_> = about.collect();
        about.retain(|(id, ..)| id == "fs.unseen" || id.starts_with("config."));
        about
    };
    let found = ids("active", "running", 1, "config.invalid");
    let names: Vec<_> = found.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(names, ["config.invalid", "fs.unseen"], "{found:?}");
    assert!(found[0].1.starts_with("unknown key prot"), "{found:?}");
    assert!(found[1].2.contains("policy told"), "{found:?}");
    // It does not run, and is not started by the question.
    let found = ids("inactive", "dead", 0, "fs.unseen");
    let names: Vec<_> = found.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(names, ["fs.unseen"], "{found:?}");
    assert!(!found[0].2.contains("policy told"), "{found:?}");
}

#[test]
fn what_was_stopped_is_told_with_the_command_that_starts_it() {
    let machine = Machine::new();
    let units = unit("clawdbot-gateway.service", "inactive", "dead", 0, "");
    machine.program("systemctl", &systemctl(&units));
    let heard = |out: &str| out.contains("systemctl start clawdbot.target");
    let (exit, out, _) = machine.run_until(&["status", "--json"], heard);
    assert_eq!(exit, 69);
    let error = &json(&out)["error"];
    assert_eq!(error["code"], "not_running");
    assert!(
        error["remedy"]
            .as_str()
            .unwrap()
            .contains("systemctl start clawdbot.target"),
        "{out}"
    );
    let (exit, out, _) = machine.run(&["service", "status"]);
    assert_eq!(exit, 69);
    assert!(out.contains("sudo clawdbot service start"), "{out}");
    // No socket, and one that nobody listens at.
    let (exit, _, err) = machine.run(&["token"]);
    assert_eq!(exit, 69);
    assert!(
        err.contains("is not running") && err.contains("systemctl start"),
        "{err}"
    );
    drop(UnixListener::bind(machine.socket("policy")).unwrap());
    fs::set_permissions(machine.socket("policy"), Permissions::from_mode(0o666)).unwrap();
    let (exit, _, err) = machine.run(&["token"]);
    assert_eq!(exit, 69);
    assert!(
        err.contains("nobody listens") && err.contains("service restart"),
        "{err}"
    );
}

#[test]
fn who_is_not_in_the_group_gets_one_sentence_and_the_command() {
    let machine = Machine::new();
    let _policy = UnixListener::bind(machine.socket("policy")).unwrap();
    fs::set_permissions(machine.path("run/operator"), Permissions::from_mode(0o000)).unwrap();
    // Where the package is installed whoever runs this may be in its group.
    let groups = String::from_utf8_lossy(&fs::read("/etc/group").unwrap()).into_owned();
    let outsider = is_root() || !groups.lines().any(|line| line.starts_with("clawdbot:"));
    for command in [
        "token",
        "pairing list",
        "approvals list",
        "credentials list",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        let (exit, out, err) = machine.run(&words);
        assert_eq!((exit, out.as_str()), (77, ""), "{command}: {err}");
        assert!(err.contains("the group clawdbot"), "{command}: {err}");
        if outsider {
            assert!(
                err.contains("is not in the group clawdbot")
                    && err.contains("sudo usermod -aG clawdbot "),
                "{command}: {err}"
            );
        }
        assert_eq!(err.lines().count(), 2, "{err}");
    }
    fs::set_permissions(machine.path("run/operator"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_needs_root_says_so_and_changes_nothing() {
    let machine = Machine::new();
    machine.program("systemctl", &systemctl(""));
    let config = machine.path("clawdbot.json");
    fs::write(&config, "{}\n").unwrap();
    fs::set_permissions(&config, Permissions::from_mode(0o644)).unwrap();
    for (command, sudo) in [
        (
            "config set gateway.port 4000",
            "sudo clawdbot config set gateway.port 4000",
        ),
        (
            "config unset gateway.port",
            "sudo clawdbot config unset gateway.port",
        ),
        ("doctor --fix --yes", "sudo clawdbot doctor --fix --yes"),
        ("apply", "sudo clawdbot apply"),
        ("service install", "sudo clawdbot service install"),
        ("service uninstall", "sudo clawdbot service uninstall"),
        ("service start", "sudo clawdbot service start"),
        ("service stop", "sudo clawdbot service stop"),
        ("service restart", "sudo clawdbot service restart"),
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        let (exit, _, err) = machine.run(&words);
        assert_eq!(exit, 77, "{command}: {err}");
        assert!(
            err.lines().any(|line| line == format!("help: {sudo}")),
            "{command}: {err}"
        );
    }
    assert_eq!(fs::read_to_string(&config).unwrap(), "{}\n");
    assert_eq!(machine.asked("systemctl"), [""; 0]);
    // What only looks needs nobody's leave.
    assert_eq!(machine.run(&["config", "get", "gateway.port"]).1, "18789\n");
    assert_eq!(machine.run(&["config", "path"]).0, 0);
}

/// Whether this machine has something that `clawdbot apply` wrote and that would go without a setting for it. Its folder is
/// the one thing of the machine that no variable moves.
fn was_applied() -> bool {
    let units = Path::new("/etc/systemd/system");
    let sockets = fs::read_dir(units).into_iter().flatten().flatten();
    let sockets = sockets.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("clawdbot-") && name.contains("-from-") && !path.is_symlink()
    });
    let others = [
        "clawdbot-gateway.socket.d/50-clawdbot-apply.conf",
        "clawdbot.target.d/50-clawdbot-apply.conf",
        "/etc/sysusers.d/clawdbot-instances.conf",
    ];
    let others = others.map(|path| units.join(path));
    sockets.chain(others).any(|path| {
        let text = fs::read(path).unwrap_or_default();
        text.starts_with(b"# Written by `clawdbot apply`")
    })
}

#[test]
fn what_is_to_be_applied_is_told_by_check_and_by_its_exit_status() {
    let machine = Machine::new();
    machine.program("systemctl", &systemctl(""));
    let config = machine.path("clawdbot.json");
    let write = |text: &str| {
        fs::write(&config, text).unwrap();
        fs::set_permissions(&config, Permissions::from_mode(0o644)).unwrap();
    };
    write("{}");
    let (exit, out, _) = machine.run(&["apply", "--check"]);
    assert_eq!(exit, i32::from(was_applied()), "{out}");
    assert_eq!(out.contains("nothing to do"), !was_applied(), "{out}");
    // What no machine has.
    write(
        "{gateway: {port: 64123}, models: {providers: {'box-of-a-test': {baseUrl: 'http://10.0.0.9/v1'}}}}",
    );
    let (exit, out, _) = machine.run(&["apply", "--check", "--json"]);
    assert_eq!(exit, 1);
    let told = json(&out);
    assert_eq!(
        (&told["pending"], &told["applied"]),
        (&true.into(), &false.into())
    );
    let steps = told["steps"].to_string();
    assert!(
        steps.contains("50-clawdbot-apply.conf")
            && steps.contains("clawdbot-model-box-of-a-test-from-agent-main.socket"),
        "{out}"
    );
    assert!(
        !Path::new("/etc/systemd/system/clawdbot-model-box-of-a-test-from-agent-main.socket")
            .exists()
    );
    write("{nonsense");
    assert_eq!(machine.run(&["apply", "--check"]).0, 78);
    let (exit, out, _) = machine.run_single(&["apply"]);
    assert_eq!(exit, 0);
    assert!(out.contains("nothing to apply"), "{out}");
}

/// An entry of the journal.
fn entry(n: u32, unit: &str, level: &str, message: &str) -> String {
    // Tenths of a second after noon.
    let at = n * 100_000;
    format!(
        r#"{{"__CURSOR":"c{n}","__REALTIME_TIMESTAMP":"1769860800{at:06}","MESSAGE":"{message}","PRIORITY":"6","CLAWDBOT_LEVEL":"{level}","_SYSTEMD_UNIT":"{unit}","_PID":"7"}}"#
    )
}

#[test]
fn the_journal_is_read_as_one_log_with_every_filter() {
    let machine = Machine::new();
    let entries = [
        entry(1, "clawdbot-gateway.service", "info", "one"),
        entry(2, "clawdbot-agent@main.service", "warn", "two"),
        entry(3, "clawdbot-gateway.service", "error", "three \\u001b[2J"),
    ];
    let [one, two, three] = &entries;
    let four = entry(4, "clawdbot-policy.service", "info", "four");
    let back = entry(
        0,
        "clawdbot-policy.service",
        "info",
        "the clock was set back",
    );
    machine.program(
        "journalctl",
        &format!(
            "case \"$*\" in\n*--reverse*) cat <<'END'\n{three}\n{two}\n{one}\nEND\n;;\n*--follow*) cat <<'END'\n{two}\n{three}\n{four}\n{back}\nEND\n;;\nesac"
        ),
    );
    let (exit, out, err) = machine.run(&["logs"]);
    assert_eq!((exit, err.as_str()), (0, ""));
    let messages: Vec<&str> = out
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3))
        .collect();
    assert_eq!(messages, ["one", "two", "three"], "{out}");
    assert!(
        out.contains("three \\u{1b}[2J") && !out.contains('\u{1b}'),
        "{out}"
    );
    for (filter, expected) in [
        ("--service agent", &["two"][..]),
        ("--level warn", &["two", "three \u{1b}[2J"]),
        ("--grep one", &["one"]),
        ("--limit 1", &["three \u{1b}[2J"]),
        (
            "--since 2026-01-31T12:00:00.2Z",
            &["two", "three \u{1b}[2J"],
        ),
        ("--service policy", &[]),
    ] {
        let mut words = vec!["logs", "--json"];
        words.extend(filter.split(' '));
        let (exit, out, err) = machine.run(&words);
        assert_eq!(exit, 0, "{err}");
        let found: Vec<String> = out
            .lines()
            .map(|line| json(line)["message"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(found, expected, "{filter}");
    }
    // What was shown does not come again when it is followed.
    let (exit, out, _) = machine.run(&["logs", "--json", "--follow"]);
    let found: Vec<String> = out
        .lines()
        .map(|line| json(line)["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(exit, 0);
    assert_eq!(
        found,
        [
            "one",
            "two",
            "three \u{1b}[2J",
            "four",
            "the clock was set back"
        ]
    );
    let asked = machine.asked("journalctl");
    assert!(
        asked[0].contains("--output=json") && asked[0].contains("--unit=clawdbot-policy.service"),
        "{asked:?}"
    );
}

#[test]
fn a_closed_journal_is_one_sentence_with_the_command() {
    let machine = Machine::new();
    machine.program(
        "journalctl",
        "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1",
    );
    let (exit, out, err) = machine.run(&["logs", "--level", "warn"]);
    assert_eq!((exit, out.as_str()), (77, ""));
    assert!(
        err.contains("may not read the journal")
            && err.contains("help: sudo clawdbot logs --level warn;"),
        "{err}"
    );
    let (exit, _, err) = machine.run(&["logs", "--since", "yesterday"]);
    assert_eq!(exit, 2, "{err}");
}

/// Passes the journal on as `clawdbot-journal` does: one answer for each connection. The requests, once all came.
fn passes(machine: &Machine, answers: &[&str]) -> std::thread::JoinHandle<Vec<String>> {
    let path = machine.socket("journal");
    // Gone when it was used up before.
    let _none = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    if is_root() {
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
    std::thread::spawn(move || {
        let answer = |answer: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            // The client may have seen enough.
            let _enough = stream.write_all(answer.as_bytes());
            request
        };
        answers.into_iter().map(answer).collect()
    })
}

#[test]
fn an_operator_is_passed_the_log_over_a_socket_and_opens_no_journal() {
    let machine = Machine::new();
    machine.program("journalctl", "exit 9");
    let one = entry(1, "clawdbot-gateway.service", "info", "one");
    let two = entry(2, "clawdbot-policy.service", "warn", "two");
    let three = entry(3, "clawdbot-policy.service", "warn", "three");
    let part = format!("ok\n{two}\n{one}\n");
    let back = format!("{part}-- cursor: s=1\n");
    let messages = |out: &str| -> Vec<String> {
        // What a command ends with is no entry.
        let message = |line| json(line)["message"].as_str().map(str::to_owned);
        out.lines().filter_map(message).collect()
    };

    let passed = passes(&machine, &[&back]);
    let since = ["--since", "2026-01-31T12:00:00.1Z"];
    let (exit, out, err) = machine.run(&[&["logs", "--json"][..], &since].concat());
    assert_eq!((exit, err.as_str()), (0, ""));
    assert_eq!(messages(&out), ["one", "two"]);
    assert_eq!(passed.join().unwrap(), ["back 1769860800\n"]);

    // Filters are this side's, and so is the end of a reading that has enough.
    let passed = passes(&machine, &[&back]);
    let (exit, out, _) = machine.run(&["logs", "--json", "--limit", "1", "--level", "info"]);
    assert_eq!((exit, messages(&out)), (0, vec!["two".to_owned()]));
    assert_eq!(passed.join().unwrap(), ["back\n"]);

    // A reader that was ended early is told behind what it gave; where nothing was ever said there is no mark.
    let passed = passes(&machine, &[&part, "ok\n"]);
    let (exit, out, err) = machine.run(&["logs", "--level", "info"]);
    assert_eq!((exit, out.lines().count()), (1, 2), "{out}");
    assert!(err.contains("what is older is missing"), "{err}");
    let (exit, out, err) = machine.run(&["logs", "--json"]);
    assert_eq!((exit, out.as_str(), err.as_str()), (0, "", ""));
    passed.join().unwrap();

    // Following goes on until the reader ends, which is told.
    let passed = passes(&machine, &[&back, &format!("ok\n{two}\n{three}\n")]);
    let (exit, out, _) = machine.run(&["logs", "--json", "--follow"]);
    assert_eq!(exit, 1);
    assert_eq!(messages(&out), ["one", "two", "three"]);
    assert!(out.contains("has ended"), "{out}");
    assert_eq!(passed.join().unwrap(), ["back\n", "follow\n"]);
    assert!(machine.asked("journalctl").is_empty());
}

/// A log of three records, the last of them a checkpoint; its hash.
fn audit_log(state: &Path) -> String {
    use clawdbot_audit::{CURRENT, Chain, HEAD, Head, Key, to_hex};

    let zeros = "0".repeat(64);
    let mut log = String::new();
    let mut chain = Chain::default();
    for fields in [
        format!("\"request\":\"audit-file\",\"file\":1,\"after\":\"{zeros}\""),
        "\"request\":\"tool\",\"decision\":\"allow\"".to_owned(),
        format!("\"request\":\"audit-checkpoint\",\"checkpoint\":1,\"seal\":\"{zeros}\""),
    ] {
        let (line, next) = chain.next(1, &fields);
        log.push_str(&line);
        chain = next;
    }
    let head = Head {
        chain,
        offset: log.len() as u64,
        checkpoint: 2,
        ..Head::new(Key::new([7; 32]))
    };
    fs::create_dir(state.join("audit")).unwrap();
    fs::write(state.join("audit").join(CURRENT), &log).unwrap();
    fs::write(state.join("audit").join(HEAD), head.text().as_bytes()).unwrap();
    to_hex(&chain.hash)
}

/// What policy, or whoever else is in this unit, tells of a checkpoint.
fn told_checkpoint(n: u32, unit: &str, more: &str, hash: &str) -> String {
    let fields = format!(r#"{{\"checkpoint\":1,\"record\":3,\"hash\":\"{hash}\"}}"#);
    let entry = entry(n, unit, "info", "audit checkpoint");
    let entry = entry.strip_suffix('}').unwrap();
    format!(r#"{entry},"CLAWDBOT_FIELDS":"{fields}"{more}}}"#)
}

#[test]
fn the_audit_log_is_compared_with_the_checkpoints_that_policy_told_the_journal() {
    const POLICY: &str = "clawdbot-policy.service";
    let machine = Machine::new();
    let right = audit_log(&machine.path("state"));
    let wrong = "ab".repeat(32);
    let genuine = told_checkpoint(1, POLICY, "", &right);
    let forged = told_checkpoint(2, POLICY, "", &wrong);
    let by_gateway = told_checkpoint(3, "clawdbot-gateway.service", "", &wrong);
    let about = r#","UNIT":"clawdbot-policy.service","_PID":"1""#;
    let by_manager = told_checkpoint(4, "init.scope", about, &wrong).replace(r#""_PID":"7","#, "");
    let verify = |entries: &[&str]| {
        let all = entries.join("\n");
        machine.program("journalctl", &format!("cat <<'END'\n{all}\nEND"));
        let (exit, out, err) = machine.run(&["audit", "verify", "--json"]);
        assert_eq!(err, "");
        let report = json(&out);
        let compared = report["copiesCompared"].as_u64().unwrap();
        assert!(report["copiesUnread"].is_null(), "{out}");
        (exit, compared, report["problems"].to_string())
    };
    assert_eq!(verify(&[]), (0, 0, "[]".to_owned()));
    assert_eq!(verify(&[&genuine]), (0, 1, "[]".to_owned()));
    // Nobody else's word counts, nor what policy says later.
    for others in [&by_gateway, &by_manager] {
        assert_eq!(verify(&[others]), (0, 0, "[]".to_owned()));
        assert_eq!(verify(&[others, &genuine]), (0, 1, "[]".to_owned()));
    }
    assert_eq!(verify(&[&forged, &genuine]), (0, 1, "[]".to_owned()));
    let (exit, compared, problems) = verify(&[&by_gateway, &genuine, &forged]);
    assert_eq!((exit, compared), (1, 1));
    assert!(
        problems.contains("is not the one that the log of the processes shows"),
        "{problems}"
    );
    // What was told before there was a folder is not asked for.
    let asked = machine.asked("journalctl");
    assert!(asked[0].contains("--since=@"), "{asked:?}");

    // A member is passed them, and the file that is named counts alone.
    machine.program("journalctl", "exit 9");
    let passed = passes(&machine, &[&format!("ok\n{forged}\n-- cursor: s=1\n")]);
    let (exit, out, _) = machine.run(&["audit", "verify"]);
    assert!(exit == 1 && out.contains("is not the one"), "{out}");
    passed.join().unwrap();
    assert!(machine.asked("journalctl").is_empty());
    fs::write(machine.path("a.log"), "").unwrap();
    let log = machine.path("a.log").display().to_string();
    let (exit, out, _) = machine.run(&["audit", "verify", "--log", &log]);
    assert!(
        exit == 0 && out.contains("no checkpoint was found"),
        "{out}"
    );
}

#[test]
fn copies_that_may_not_be_read_are_said_to_be_uncompared_in_one_line() {
    let machine = Machine::new();
    audit_log(&machine.path("state"));
    machine.program(
        "journalctl",
        "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1",
    );
    let (exit, out, err) = machine.run(&["audit", "verify"]);
    assert_eq!((exit, err.as_str()), (0, ""), "{out}");
    let about: Vec<&str> = out.lines().filter(|line| line.contains("copies")).collect();
    assert_eq!(about.len(), 1, "{out}");
    assert!(
        about[0].contains("may not read the journal")
            && about[0].contains("sudo clawdbot audit verify"),
        "{out}"
    );
    assert!(!out.contains("no checkpoint was found"), "{out}");
}

#[test]
fn what_the_reader_of_the_log_has_to_say_is_told_in_one_line() {
    let machine = Machine::new();
    machine.program("journalctl", "exit 9");
    for (answer, told) in [
        ("", "it ended the connection"),
        (
            "the request is none\u{1b}\n",
            "gave nothing: the request is none\\u{1b}",
        ),
        (
            "ok\nFailed to open\u{1b} it\n",
            "journalctl: Failed to open\\u{1b} it",
        ),
    ] {
        let passed = passes(&machine, &[answer]);
        let (exit, out, err) = machine.run(&["logs"]);
        assert_eq!((exit, out.as_str()), (1, ""), "{answer}");
        assert!(err.contains(told), "{answer}: {err}");
        passed.join().unwrap();
    }
    assert!(machine.asked("journalctl").is_empty());
}

#[test]
fn a_stranger_is_told_of_the_group_and_a_reader_of_the_journal_needs_none() {
    let machine = Machine::new();
    let listener = UnixListener::bind(machine.socket("journal")).unwrap();
    fs::set_permissions(machine.socket("journal"), Permissions::from_mode(0o000)).unwrap();
    machine.program(
        "journalctl",
        "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1",
    );
    let (exit, out, err) = machine.run(&["logs"]);
    assert_eq!((exit, out.as_str()), (77, ""), "{err}");
    assert!(err.contains("group clawdbot"), "{err}");

    let one = entry(1, "clawdbot-gateway.service", "info", "one");
    machine.program("journalctl", &format!("cat <<'END'\n{one}\nEND"));
    let (exit, out, err) = machine.run(&["logs", "--json"]);
    assert_eq!(
        (exit, json(&out)["message"].as_str()),
        (0, Some("one")),
        "{err}"
    );
    drop(listener);
}

#[test]
fn without_the_package_the_service_is_a_unit_of_ones_own() {
    let machine = Machine::new();
    machine.program("systemctl", &systemctl("ActiveState=inactive\n"));
    machine.program("loginctl", "echo no");
    let path = machine.path("home/.config/systemd/user/clawdbot.service");
    let (exit, _, err) = machine.run_single(&["service", "start"]);
    assert_eq!(exit, 69);
    assert!(err.contains("clawdbot service install"), "{err}");
    let (exit, out, err) = machine.run_single(&["service", "install"]);
    assert_eq!(exit, 0, "{err}");
    assert!(out.contains("loginctl enable-linger"), "{out}");
    let unit = fs::read_to_string(&path).unwrap();
    assert!(
        unit.contains("NoNewPrivileges=yes") && unit.contains("RestartPreventExitStatus=78"),
        "{unit}"
    );
    let acts = |calls: &[String]| -> Vec<String> {
        let calls = calls.iter().filter(|call| !call.contains(" show "));
        calls
            .map(|call| {
                call.replace("--user --no-ask-password ", "")
                    .replace(" -- clawdbot.service", "")
            })
            .collect()
    };
    assert_eq!(
        acts(&machine.asked("systemctl")),
        ["daemon-reload", "enable", "reset-failed", "start"]
    );
    // The doctor names it where it runs this place.
    let starts = |flags: &[&str]| {
        let (_, out, _) = machine.run_single(&[flags, &["doctor", "--json"]].concat());
        let report = json(&out);
        let mut found = report["findings"].as_array().unwrap().iter();
        let none = found.find(|found| found["id"] == "running.none");
        none.unwrap()["remedy"].as_str().unwrap().to_owned()
    };
    let other = machine.path("other").display().to_string();
    assert_eq!(starts(&[]), "clawdbot service start");
    assert_eq!(
        starts(&["--state-dir", &other]),
        format!("clawdbot --state-dir {other} up")
    );
    // Nothing is started with a configuration that does not load.
    let state = machine.path("home/.clawdbot");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("clawdbot.json"), "{nonsense").unwrap();
    machine.program("systemctl", &systemctl("ActiveState=inactive\n"));
    for act in ["install", "start", "restart"] {
        assert_eq!(machine.run_single(&["service", act]).0, 78, "{act}");
    }
    assert_eq!(acts(&machine.asked("systemctl")), [""; 0]);
    fs::remove_file(state.join("clawdbot.json")).unwrap();
    // What somebody changed stays.
    let mine = unit.replace("RestartSec=2s", "RestartSec=9s");
    fs::write(&path, &mine).unwrap();
    let (exit, _, err) = machine.run_single(&["service", "install"]);
    assert_eq!(exit, 1);
    assert!(
        err.contains("was changed by hand") && err.contains("drop-in"),
        "{err}"
    );
    let (exit, out, _) = machine.run_single(&["service", "uninstall"]);
    assert_eq!(exit, 0);
    assert!(out.contains("stays"), "{out}");
    assert_eq!(fs::read_to_string(&path).unwrap(), mine);
    fs::write(&path, &unit).unwrap();
    assert_eq!(machine.run_single(&["service", "uninstall"]).0, 0);
    assert!(!path.exists());
}

#[test]
fn without_a_service_manager_it_says_what_to_do() {
    let machine = Machine::new();
    machine.program(
        "systemctl",
        "echo 'Failed to connect to bus: No medium found' >&2; exit 1",
    );
    let (exit, _, err) = machine.run_single(&["service", "install"]);
    assert_eq!(exit, 1);
    assert!(
        err.contains("no service manager") && err.contains("clawdbot up"),
        "{err}"
    );
    // In system mode root may ask without a bus.
    let (exit, _, err) = machine.run(&["service", "status"]);
    assert_eq!(exit, 1);
    assert!(err.contains("sudo clawdbot service status"), "{err}");
}
