//! `clawdbot doctor --fix` at a terminal: it shows what it would change, asks, and does what is answered.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// What is shown when the question is answered like this, and the exit status.
fn answered(answer: &str, text: &str) -> (String, i32, String) {
    let closed = Permissions::from_mode(0o700);
    let state = tempfile::Builder::new()
        .permissions(closed)
        .tempdir()
        .unwrap();
    let file = state.path().join("clawdbot.json");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let open = || -> OwnedFd {
        let file = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap());
        file.unwrap().into()
    };
    let _seat = open();
    let mut child = Command::new(std::env::var("CARGO_BIN_EXE_clawdbot").unwrap())
        .env_clear()
        .args(["doctor", "--fix", "--no-color", "--state-dir"])
        .arg(state.path())
        .stdin(open())
        .stdout(open())
        .stderr(open())
        .spawn()
        .unwrap();
    let mut terminal = File::from(master);
    let mut seen = String::new();
    let mut sees = |terminal: &mut File, text: &str| {
        let mut buffer = [0; 4096];
        while !seen.contains(text) {
            let read = terminal.read(&mut buffer).unwrap();
            seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    };
    sees(&mut terminal, "Do it? [y/N] ");
    terminal.write_all(answer.as_bytes()).unwrap();
    for end in ["[running.none]", "critical, "] {
        sees(&mut terminal, end);
    }
    let exit = child.wait().unwrap().code().unwrap();
    (seen, exit, fs::read_to_string(file).unwrap())
}

#[test]
fn at_a_terminal_it_shows_the_change_asks_and_does_what_is_answered() {
    let text = "{ channels: { signal: { groupPolicy: 'open', /* mine */ } } }\n";
    for (answer, done) in [
        ("y\n", true),
        ("\n", false),
        ("n\n", false),
        ("\u{4}", false),
    ] {
        let (seen, exit, after) = answered(answer, text);
        assert!(seen.contains("+{ channels"), "{seen}");
        assert_eq!(seen.contains("nothing was changed yet"), !done, "{seen}");
        assert_eq!(exit, if done { 0 } else { 2 }, "{seen}");
        assert_eq!(after == text, !done, "{after}");
        assert!(after.contains("/* mine */"));
    }
}
