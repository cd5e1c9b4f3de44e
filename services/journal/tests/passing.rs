//! The built program on a connection, with a script in the place of journalctl.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use clawdbot_service::system::Reading;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A script, written by a process of its own: one that a child of another test holds open could not be started.
    fn script(&self, body: &str) -> PathBuf {
        let path = self.0.path().join("journalctl");
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$1\"", "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = writer.stdin.take().unwrap();
        write!(input, "#!/bin/sh\n{body}\n").unwrap();
        drop(input);
        assert!(writer.wait().unwrap().success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

/// The program on one end of a pair, and the other. What is said to it is there before it is: its patience is short.
fn start(journalctl: &PathBuf, said: &str) -> (Child, UnixStream) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(said.as_bytes()).unwrap();
    let theirs = OwnedFd::from(theirs);
    let child = Command::new(std::env::var("CARGO_BIN_EXE_clawdbot-journal").unwrap())
        .arg(journalctl)
        .env("SYSTEMD_LOG_LEVEL", "debug")
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs)
        .spawn()
        .unwrap();
    (child, ours)
}

fn answer(journalctl: &PathBuf, request: &str) -> (Option<i32>, String) {
    let (mut child, mut stream) = start(journalctl, request);
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn journalctl_gets_the_arguments_of_the_reading_and_no_other_input() {
    let place = Place::new();
    let script = place
        .script("for word; do echo \"$word\"; done; env | grep SYSTEMD; cat; echo >&2 complaint");
    for reading in [
        Reading::Back { since: None },
        Reading::Back { since: Some(7) },
        Reading::Follow,
    ] {
        let (status, said) = answer(&script, &reading.request());
        let mut expected = vec!["ok".to_owned()];
        expected.extend((reading == Reading::Follow).then(|| "--merge".to_owned()));
        expected.extend(reading.arguments());
        expected.push("complaint".to_owned());
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            (status, lines),
            (Some(0), expected.iter().map(String::as_str).collect())
        );
    }
}

#[test]
fn a_request_that_is_none_starts_nothing_and_is_told_why() {
    let place = Place::new();
    let script = place.script("echo started");
    for request in [
        "--unit=ssh.service\n",
        "back --unit=ssh.service\n",
        "follow\nfollow\n",
        "back 18446744073709551616\n",
        "back                                   1\n",
    ] {
        let (status, said) = answer(&script, request);
        assert_eq!(status, Some(65), "{request}: {said}");
        assert!(said.starts_with("the request is none"), "{request}: {said}");
        assert!(
            !said.contains("started") && said.lines().count() == 1,
            "{said}"
        );
    }
    // The end of the line never comes.
    let (mut child, mut stream) = start(&script, "follow");
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(65));
    assert!(
        said.contains("in time") && !said.contains("started"),
        "{said}"
    );
}

#[test]
fn one_that_says_nothing_is_not_waited_for() {
    let place = Place::new();
    let (mut child, mut stream) = start(&place.script("echo started"), "");
    let mut said = String::new();
    // Ends by the program's own patience.
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(65));
    assert!(said.contains("in time"), "{said}");
}

#[test]
fn a_journalctl_that_is_not_there_is_named() {
    let place = Place::new();
    let (status, said) = answer(&place.0.path().join("none"), "back\n");
    assert_eq!(status, Some(78));
    assert!(
        said.starts_with("ok\n") && said.contains("none: "),
        "{said}"
    );
}

#[test]
fn without_a_connection_it_refuses() {
    let output = Command::new(std::env::var("CARGO_BIN_EXE_clawdbot-journal").unwrap())
        .arg("/bin/echo")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty() && !output.stderr.is_empty());
}
