//! The built program against a broker and a policy on real sockets: a key from a pipe and from a terminal, what is told of
//! it afterwards, and a terminal that always gets its echo back.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "fake/listen.rs"]
mod listen;
#[path = "fake/policy.rs"]
mod policy;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use clawdbot_proto::v1;
use clawdbot_proto::v1::broker_operator_server::{BrokerOperator, BrokerOperatorServer};
use clawdbot_service::Router;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

const VERSION: u64 = u64::MAX - 7;

/// Broker and policy in one: what was stored decides what they say.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    stored: Vec<v1::PutCredentialRequest>,
    asked: u32,
}

impl Fake {
    fn secret(&self) -> String {
        let known = self.0.lock().unwrap();
        let last = known.stored.last().map(|request| request.secret.clone());
        String::from_utf8(last.unwrap_or_default()).unwrap()
    }

    fn only(&self) -> (String, String, String) {
        let known = self.0.lock().unwrap();
        assert_eq!(known.stored.len(), 1);
        let request = &known.stored[0];
        let source = request.key_source.clone();
        (request.owner.clone(), request.profile.clone(), source)
    }
}

#[tonic::async_trait]
impl BrokerOperator for Fake {
    async fn list(
        &self,
        _: Request<v1::ListCredentialsRequest>,
    ) -> Result<Response<v1::ListCredentialsReply>, Status> {
        Ok(Response::new(v1::ListCredentialsReply::default()))
    }

    async fn put(
        &self,
        request: Request<v1::PutCredentialRequest>,
    ) -> Result<Response<v1::PutCredentialReply>, Status> {
        let request = request.into_inner();
        let secret = String::from_utf8(request.secret.clone()).unwrap();
        if secret.ends_with("locked") {
            return Err(Status::failed_precondition(
                "the keyring is locked: unlock it",
            ));
        }
        let mut known = self.0.lock().unwrap();
        let replaced = !known.stored.is_empty();
        known.stored.push(request);
        let shadowed = secret.ends_with("shadowed");
        Ok(Response::new(v1::PutCredentialReply {
            version: VERSION,
            replaced,
            shadowed_by: if shadowed {
                "models.providers.x.apiKey"
            } else {
                ""
            }
            .into(),
            warning: "the vault's key lies in a file".into(),
        }))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveCredentialRequest>,
    ) -> Result<Response<v1::RemoveCredentialReply>, Status> {
        let removed = request.into_inner().profile == "default";
        Ok(Response::new(v1::RemoveCredentialReply {
            removed,
            remaining: "environment".into(),
        }))
    }
}

impl Fake {
    fn health(&self, role: &str) -> policy::Answer<v1::HealthStatus> {
        assert_eq!(role, "model-anthropic");
        let secret = self.secret();
        let mut known = self.0.lock().unwrap();
        known.asked += 1;
        let problem = v1::Problem {
            code: "model.auth".into(),
            message: "anthropic refuses the key\u{1b}[2J".into(),
            ..v1::Problem::default()
        };
        let wrong = secret.ends_with("wrong");
        // First the word on the key before.
        let report = v1::HealthReport {
            lease_version: if known.asked < 3 { 1 } else { VERSION },
            checked: true,
            problems: if wrong { vec![problem] } else { vec![] },
        };
        Ok(Response::new(v1::HealthStatus {
            reported: true,
            report: Some(report),
            planned: true,
        }))
    }
}

struct Rig {
    state: tempfile::TempDir,
    fake: Fake,
}

impl Rig {
    fn new() -> Self {
        Self::listening("run")
    }

    /// With the sockets in this folder of the state.
    fn listening(folder: &str) -> Self {
        let rig = Self {
            state: tempfile::tempdir().unwrap(),
            fake: Fake::default(),
        };
        let socket = |server: &str| rig.state.path().join(format!("{folder}/{server}.sock"));
        let broker = Router::new().add(BrokerOperatorServer::new(rig.fake.clone()));
        listen::listen(&socket("broker"), "broker", broker);
        let fake = rig.fake.clone();
        let policy = policy::router("", move |role| fake.health(role));
        listen::listen(&socket("policy"), "policy", policy);
        rig
    }

    fn clawdbot(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var("CARGO_BIN_EXE_clawdbot").unwrap());
        command
            .env_clear()
            .env("HOME", self.state.path())
            .arg("--state-dir")
            .arg(self.state.path())
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        finish(self.clawdbot(arguments), input)
    }
}

/// Runs it to its end with this on its standard input.
fn finish(mut command: Command, input: &str) -> (i32, String, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    told(child.wait_with_output().unwrap())
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

const LOGIN: [&str; 3] = ["login", "--provider", "anthropic"];

#[test]
fn a_key_from_a_pipe_is_stored_and_its_owner_says_that_it_works() {
    let rig = Rig::new();
    let (exit, out, err) = rig.run(&LOGIN, "sk-ant-canary-works\n");
    assert_eq!(
        (exit, out.as_str()),
        (0, "stored the key for anthropic\nit works\n")
    );
    assert_eq!(err, "warning: the vault's key lies in a file\n");
    assert_eq!(rig.fake.secret(), "sk-ant-canary-works");
    assert_eq!(
        rig.fake.only(),
        ("model-anthropic".into(), "default".into(), String::new())
    );
    let json_of = |out: &str| serde_json::from_str::<Value>(out).unwrap();
    let (exit, out, err) = rig.run(&[&LOGIN[..], &["--json"]].concat(), "sk-ant-canary");
    assert_eq!((exit, err.as_str()), (0, ""));
    assert_eq!(
        json_of(&out),
        json!({
            "owner": "model-anthropic", "profile": "default", "replaced": true,
            "shadowedBy": null, "warning": "the vault's key lies in a file",
            "check": { "state": "works" },
        })
    );
}

#[test]
fn where_the_worker_sleeps_until_somebody_asks_it_that_is_said_at_once() {
    let rig = Rig::listening("run/operator");
    let state = rig.state.path();
    // Written by a process of its own: what a child of another test holds open could not be started.
    let script = "mkdir bin && printf '#!/bin/sh\\necho ActiveState=inactive\\n' > bin/systemctl && chmod 755 bin/systemctl";
    let mut written = Command::new("sh");
    written.args(["-c", script]).current_dir(state);
    assert!(written.status().unwrap().success());
    let mut command = Command::new(std::env::var("CARGO_BIN_EXE_clawdbot").unwrap());
    command
        .env_clear()
        .env("HOME", state)
        .env("PATH", format!("{}/bin:/bin:/usr/bin", state.display()))
        .env("CLAWDBOT_RUNTIME_DIR", state.join("run"))
        .env("CLAWDBOT_STATE_DIR", state)
        .args(LOGIN);
    let (exit, out, _) = finish(command, "sk-ant-canary-works");
    assert_eq!(exit, 1);
    for words in [
        "stored the key for anthropic\n",
        "it could not be tried: model-anthropic, which tries it, does not run until",
        "help: `clawdbot chat --message hello` asks",
    ] {
        assert!(out.contains(words), "{out}");
    }
}

#[test]
fn a_stored_key_that_does_not_work_or_is_not_used_ends_with_1_and_the_reason() {
    let rig = Rig::new();
    let (exit, out, _) = rig.run(&LOGIN, "sk-ant-canary-wrong");
    assert_eq!(
        (exit, out.as_str()),
        (
            1,
            "stored the key for anthropic\n\
             it does not work: anthropic refuses the key\\u{1b}[2J\n"
        )
    );
    let (exit, out, _) = rig.run(&LOGIN, "sk-ant-canary-shadowed");
    assert_eq!(exit, 1);
    assert!(
        out.contains("models.providers.x.apiKey in the configuration wins"),
        "{out}"
    );
    let (exit, out, _) = rig.run(
        &[&LOGIN[..], &["--no-check"]].concat(),
        "sk-ant-canary-wrong",
    );
    assert_eq!(exit, 0);
    assert!(out.contains("it was not tried"), "{out}");
}

#[test]
fn what_is_not_stored_says_why_and_a_secret_is_never_repeated() {
    let rig = Rig::new();
    for (input, exit, part) in [
        ("", 2, "nothing was given"),
        ("canary\nsecond", 2, "line break"),
        ("sk-ant-canary-locked", 1, "unlock it"),
    ] {
        let (status, out, err) = rig.run(&LOGIN, input);
        assert_eq!((status, out.as_str()), (exit, ""), "{input}");
        assert!(err.contains(part) && !err.contains("canary"), "{err}");
    }
    assert!(rig.fake.0.lock().unwrap().stored.is_empty());
    let odd = ["login", "--provider", "anthropic", "--profile", "work"];
    let (exit, out, err) = rig.run(&[&odd[..], &["--key-source", "file"]].concat(), "canary");
    assert_eq!((exit, out.contains("canary")), (0, false));
    assert!(err.contains("usually begin with sk-ant-"), "{err}");
    assert!(!err.contains("canary"), "{err}");
    let only = ("model-anthropic".into(), "work".into(), "file".into());
    assert_eq!(rig.fake.only(), only);
}

#[test]
fn a_removed_credential_says_what_takes_its_place() {
    let rig = Rig::new();
    let (exit, out, _) = rig.run(&["logout", "--channel", "telegram"], "");
    assert_eq!(
        (exit, out.as_str()),
        (
            0,
            "removed the token for telegram; the one of the environment is used now\n"
        )
    );
    let other = ["logout", "--channel", "telegram", "--profile", "work"];
    let (exit, _, err) = rig.run(&other, "");
    assert_eq!(exit, 1);
    assert!(err.contains("the vault has no token for telegram, work"));
}

/// A person at a terminal, whose settings are looked at from the other side.
struct Person {
    child: Child,
    terminal: File,
    /// Keeps the terminal alive when the program has left.
    _seat: OwnedFd,
    before: Termios,
    seen: String,
}

impl Person {
    fn sit_down(mut command: Command) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let open = || -> OwnedFd {
            let name = name.to_str().unwrap();
            let file = File::options().read(true).write(true).open(name);
            file.unwrap().into()
        };
        let seat = open();
        let before = tcgetattr(&seat).unwrap();
        assert!(before.local_modes.contains(LocalModes::ECHO));
        command.stdin(open()).stdout(open()).stderr(open());
        Self {
            child: command.spawn().unwrap(),
            terminal: terminal.into(),
            _seat: seat,
            before,
            seen: String::new(),
        }
    }

    fn types(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    fn sees(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        while !self.seen.contains(text) {
            let read = self.terminal.read(&mut buffer).unwrap();
            let shown = String::from_utf8_lossy(&buffer[..read]);
            self.seen.push_str(&shown);
        }
    }

    /// Waits for the end; its exit status, with the terminal as it was before.
    fn leaves(&mut self) -> Option<i32> {
        let exit = self.child.wait().unwrap().code();
        let after = tcgetattr(&self._seat).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert!(!self.seen.contains("canary"), "{}", self.seen);
        exit
    }
}

#[test]
fn a_key_that_is_typed_is_not_shown() {
    let rig = Rig::new();
    let mut person = Person::sit_down(rig.clawdbot(&LOGIN));
    person.sees("Key for anthropic (not shown): ");
    if cfg!(target_os = "linux") && !rustix::process::geteuid().is_root() {
        // Closed to other programs of the same user, too.
        let environment = format!("/proc/{}/environ", person.child.id());
        assert!(std::fs::read(environment).is_err());
    }
    person.types("sk-ant-canary-worky\u{7f}s\r");
    person.sees("it works");
    assert_eq!(person.leaves(), Some(0));
    assert_eq!(rig.fake.secret(), "sk-ant-canary-works");
}

#[test]
fn the_terminal_gets_its_echo_back_however_it_ends() {
    for (keys, signal, exit) in [
        ("canary\u{3}", None, Some(130)),
        ("\u{4}", None, Some(130)),
        ("canary", Some(Signal::INT), Some(130)),
        ("canary", Some(Signal::TERM), Some(143)),
        ("canary", Some(Signal::HUP), Some(129)),
    ] {
        let rig = Rig::new();
        let mut person = Person::sit_down(rig.clawdbot(&LOGIN));
        person.sees("(not shown): ");
        person.types(keys);
        if let Some(signal) = signal {
            kill_process(Pid::from_child(&person.child), signal).unwrap();
        }
        assert_eq!(person.leaves(), exit, "{keys:?} {signal:?}");
        assert!(rig.fake.0.lock().unwrap().stored.is_empty());
    }
}
