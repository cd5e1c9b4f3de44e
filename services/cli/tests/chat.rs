//! The built program against a gateway on a real socket: one message, lines from a pipe, a person at a terminal, and
//! `up --chat` with a supervisor that is a few lines of shell.

#![allow(clippy::unwrap_used, clippy::panic)]

mod fake;
#[path = "fake/listen.rs"]
mod listen;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::Ordering;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::{Value, json};

/// Where cargo or `cargo xtask test` put a program. A path that was compiled in may be closed to whoever runs the test.
fn program(name: &str) -> String {
    std::env::var(format!("CARGO_BIN_EXE_{name}")).unwrap()
}

struct Rig {
    state: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        Self {
            state: tempfile::tempdir().unwrap(),
        }
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.state.path().join("run").join(name)
    }

    fn clawdbot(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("HOME", self.state.path())
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm");
        command
            .arg("--state-dir")
            .arg(self.state.path())
            .args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        given(self.clawdbot(program("clawdbot"), arguments), input)
    }
}

fn given(mut command: Command, input: &str) -> (i32, String, String) {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // Who ended already reads nothing; what it said is looked at all the same.
    let _ended = child.stdin.take().unwrap().write_all(input.as_bytes());
    told(child.wait_with_output().unwrap())
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

fn answers(out: &str) -> Vec<Value> {
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn one_message_prints_the_answer_and_nothing_else() {
    let rig = Rig::new();
    let sent = fake::start(&rig.socket("gateway.sock"));
    let (exit, out, err) = rig.run(&["chat", "--message", "hello"], "");
    assert_eq!(
        (exit, out.as_str(), err.as_str()),
        (0, "main heard hello\n", "")
    );
    let (exit, out, _) = rig.run(
        &["chat", "--session", "work", "--message", "-"],
        "two\nlines",
    );
    assert_eq!((exit, out.as_str()), (0, "work heard two\nlines\n"));
    let (exit, out, _) = rig.run(&["chat", "--json", "--message", "hello"], "");
    let mut answer = answers(&out).remove(0);
    assert!(answer["messageId"].take().is_string());
    let usage = json!({ "inputTokens": 1, "outputTokens": 2 });
    assert_eq!(
        (exit, answer),
        (
            0,
            json!({ "messageId": null, "text": "main heard hello", "model": "fake/echo", "usage": usage })
        )
    );
    assert_eq!(sent.load(Ordering::Relaxed), 3);
}

#[test]
fn a_message_without_an_answer_is_a_failure_with_its_reason() {
    let rig = Rig::new();
    fake::start(&rig.socket("gateway.sock"));
    for (message, reason, code) in [
        ("fail", "it went wrong", "turn.timeout"),
        ("refuse", "not this", "invalid"),
    ] {
        let (exit, out, err) = rig.run(&["chat", "--message", message], "");
        assert!(exit == 1 && out.is_empty() && err.contains(reason), "{err}");
        let (exit, out, err) = rig.run(&["chat", "--json", "--message", message], "");
        assert_eq!((exit, err.as_str()), (1, ""));
        assert_eq!(answers(&out)[0]["error"]["code"], code);
    }
}

#[test]
fn each_line_of_a_pipe_is_a_message_and_one_that_fails_does_not_stop_the_next() {
    let rig = Rig::new();
    let sent = fake::start(&rig.socket("gateway.sock"));
    let (exit, out, err) = rig.run(&["chat"], "one\n\n/help\nfail\ntwo");
    assert_eq!(
        (exit, out.as_str()),
        (1, "main heard one\nmain heard two\n")
    );
    assert!(
        err.contains("it went wrong") && err.contains("/whoami"),
        "{err}"
    );
    assert_eq!(sent.load(Ordering::Relaxed), 3);
    let (exit, out, err) = rig.run(&["chat", "--json"], "one\nfail\n/quit\ntwo\n");
    assert_eq!((exit, err.as_str()), (1, ""));
    let answers = answers(&out);
    assert_eq!(
        (answers.len(), &answers[0]["text"]),
        (2, &json!("main heard one"))
    );
    assert_eq!(answers[1]["error"]["code"], "turn.timeout");
    assert!(answers[1]["messageId"].is_string());
    assert_eq!(rig.run(&["chat"], "fine\n").0, 0);
}

#[test]
fn what_could_act_on_a_terminal_is_shown_as_an_escape() {
    let rig = Rig::new();
    fake::start(&rig.socket("gateway.sock"));
    let evil = "\u{1b}[2Jx\u{202e}y";
    let (_, out, _) = rig.run(&["chat", "--message", evil], "");
    assert_eq!(out, "main heard \\u{1b}[2Jx\\u{202e}y\n");
    let (_, out, _) = rig.run(&["chat", "--json", "--message", evil], "");
    assert!(!out.contains(['\u{1b}', '\u{202e}']));
    assert_eq!(answers(&out)[0]["text"], format!("main heard {evil}"));
}

#[test]
fn sessions_and_status_come_from_whoever_answers() {
    let rig = Rig::new();
    fake::start(&rig.socket("gateway.sock"));
    let (exit, out, _) = rig.run(&["sessions"], "");
    assert!(exit == 0 && out.contains("agent:main:main"), "{out}");
    // Who does not answer within a moment is asked again: the machine may be busy.
    let told = |_| {
        let (exit, out, _) = rig.run(&["status", "--json"], "");
        let status: Value = serde_json::from_str(&out).unwrap();
        (exit, out, status)
    };
    let answered = |(_, _, status): &(i32, String, Value)| status["urls"][0].is_string();
    // Policy does not answer, which is a problem; that there is no supervisor is none.
    let (exit, out, status) = (0..50).map(told).find(answered).unwrap();
    assert_eq!(
        (exit, &status["urls"]),
        (1, &json!(["http://127.0.0.1:18789"]))
    );
    assert_eq!(status["problems"].as_array().unwrap().len(), 1, "{out}");
}

/// A person at a terminal.
struct Person {
    child: Child,
    terminal: File,
    /// How the terminal was before the program had it.
    before: LocalModes,
    seen: String,
}

impl Person {
    fn sit_down(mut command: Command) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let open = || -> OwnedFd {
            File::options()
                .read(true)
                .write(true)
                .open(name.to_str().unwrap())
                .unwrap()
                .into()
        };
        command.stdin(open()).stdout(open()).stderr(open());
        let before = tcgetattr(&terminal).unwrap().local_modes;
        Self {
            child: command.spawn().unwrap(),
            terminal: terminal.into(),
            before,
            seen: String::new(),
        }
    }

    fn modes(&self) -> LocalModes {
        tcgetattr(&self.terminal).unwrap().local_modes
    }

    fn types(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until `text` has appeared.
    fn sees(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        while !self.seen.contains(text) {
            let read = self.terminal.read(&mut buffer).unwrap_or(0);
            assert!(
                read > 0,
                "the program left without showing {text:?}: {}",
                self.seen
            );
            self.seen
                .push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        let after = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..after);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn leaves(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

#[test]
fn a_person_talks_stops_an_answer_and_leaves() {
    let rig = Rig::new();
    fake::start(&rig.socket("gateway.sock"));
    let mut person = Person::sit_down(rig.clawdbot(program("clawdbot"), &["chat"]));
    person.sees("/help lists the commands");
    person.sees("> ");
    person.types("hello\r");
    person.sees("main heard hello");
    person.sees("> ");
    person.types("half a line\u{3}");
    person.sees("> ");
    person.types("/verbose\r");
    person.sees("look around");
    person.sees("main heard /verbose on");
    person.sees("> ");
    person.types("wait\r");
    person.sees("waiting");
    person.signal(Signal::INT);
    person.sees("it went wrong");
    person.sees("> ");
    person.types("\u{4}");
    assert_eq!(person.leaves(), 0);
    let history = rig.state.path().join("cli-history");
    assert_eq!(
        fs::metadata(&history).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(fs::read_to_string(&history).unwrap().contains("hello"));
}

/// Programs in one directory: this one, and a supervisor that says what is told and notes its end.
fn installed(rig: &Rig, script: &str) -> PathBuf {
    let directory = rig.state.path().join("bin");
    // Written by another process: a file that this one has open for writing, if only in the moment of another test's
    // fork, cannot be executed.
    let write = "mkdir $1 && cp $2 $1/clawdbot && printf '#!/bin/sh\\nstate=$2\\n%s\\n' \"$3\" > $1/clawdbot-supervisor \
                 && chmod 755 $1/clawdbot-supervisor";
    let written = Command::new("sh")
        .args(["-c", write, "sh"])
        .args([
            directory.as_os_str(),
            program("clawdbot").as_ref(),
            script.as_ref(),
        ])
        .status()
        .unwrap();
    assert!(written.success());
    directory.join("clawdbot")
}

/// Becomes ready with the gateway that waits under another name, and ends on SIGTERM.
const WELL: &str = r#"
echo "$@" > $state/arguments
trap 'echo stopped > $state/end; exit 0' TERM
mv $state/run/pending.sock $state/run/gateway.sock
echo '{"event":"starting"}'
echo "{\"event\":\"ready\",\"url\":\"http://127.0.0.1:18789\",\"stateDir\":\"$state\"}"
while :; do sleep 1 & wait $!; done
"#;

#[test]
fn up_becomes_the_supervisor_and_passes_on_what_was_asked() {
    let rig = Rig::new();
    let program = installed(&rig, r#"echo "$@"; echo "$CLAWDBOT_TEST"; exit 7"#);
    let mut up = rig.clawdbot(&program, &["up", "--user", "somebody", "--json"]);
    let (exit, out, _) = told(
        up.env("CLAWDBOT_TEST", "kept")
            .env("CLAWDBOT_GATEWAY_PORT", "20001")
            .output()
            .unwrap(),
    );
    let state = rig.state.path().display();
    let expected = format!(
        "--state-dir {state} --config {state}/clawdbot.json --port 20001 --user somebody --workspace ~/clawd --json\nkept\n"
    );
    assert_eq!((exit, out), (7, expected));
}

#[test]
fn up_with_chat_opens_the_chat_when_ready_and_stops_everything_afterwards() {
    let rig = Rig::new();
    let program = installed(&rig, WELL);
    fake::start(&rig.socket("pending.sock"));
    let (exit, out, err) = given(rig.clawdbot(&program, &["up", "--chat"]), "hello\n");
    assert_eq!((exit, out.as_str()), (0, "main heard hello\n"), "{err}");
    assert!(err.contains("ready: http://127.0.0.1:18789"), "{err}");
    assert_eq!(
        fs::read_to_string(rig.state.path().join("end")).unwrap(),
        "stopped\n"
    );
    assert!(
        fs::read_to_string(rig.state.path().join("arguments"))
            .unwrap()
            .ends_with("--json\n")
    );
}

#[test]
fn up_with_chat_uses_what_runs_already_and_leaves_it_alone() {
    let rig = Rig::new();
    let program = installed(&rig, "echo never > $state/started");
    fake::start(&rig.socket("gateway.sock"));
    let (exit, out, _) = given(rig.clawdbot(&program, &["up", "--chat"]), "hello\n");
    assert_eq!((exit, out.as_str()), (0, "main heard hello\n"));
    assert!(!rig.state.path().join("started").exists());
}

#[test]
fn up_with_chat_tells_why_the_start_failed_with_the_supervisors_status() {
    let rig = Rig::new();
    let program = installed(
        &rig,
        r#"echo '{"event":"error","message":"the port is taken","remedy":"take another"}'; exit 78"#,
    );
    let (exit, out, err) = given(rig.clawdbot(&program, &["up", "--chat"]), "hello\n");
    assert_eq!((exit, out.as_str()), (78, ""));
    assert!(
        err.contains("error: the port is taken\nhelp: take another\n"),
        "{err}"
    );
}

#[test]
fn a_hang_up_while_the_person_types_stops_everything_and_gives_the_terminal_back() {
    let rig = Rig::new();
    let program = installed(&rig, WELL);
    fake::start(&rig.socket("pending.sock"));
    let mut person = Person::sit_down(rig.clawdbot(&program, &["up", "--chat"]));
    person.sees("> ");
    person.types("half");
    person.sees("half");
    assert_ne!(person.modes(), person.before);
    person.signal(Signal::HUP);
    assert_eq!(person.leaves(), 129);
    assert_eq!(person.modes(), person.before);
    assert_eq!(
        fs::read_to_string(rig.state.path().join("end")).unwrap(),
        "stopped\n"
    );
}
