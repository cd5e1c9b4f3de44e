//! A simulated kernel answers as a real one would, to the command and to what the command starts.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io;
use std::process::{Command, Output, Stdio};

/// Makes this test program, in its place as the command, try one thing and say the outcome.
const TRY: &str = "CLAWDBOT_SIMULATE_TRY";

/// Where it lies now: tests may have been moved to where everybody can run them.
fn program() -> String {
    std::env::var("CARGO_BIN_EXE_clawdbot-simulate").unwrap()
}

fn outcome(answer: libc::c_long) -> String {
    match answer {
        -1 => format!(
            "errno {}",
            io::Error::last_os_error().raw_os_error().unwrap_or(0)
        ),
        other => other.to_string(),
    }
}

/// Tries what the variable names; a test like any other where there is none.
#[test]
fn attempt() {
    let Ok(what) = std::env::var(TRY) else { return };
    let null = std::ptr::null::<libc::c_void>();
    // SAFETY: no memory is passed but null, and a page that the call itself may refuse.
    let said = unsafe {
        match what.as_str() {
            "landlock" => outcome(libc::syscall(libc::SYS_landlock_create_ruleset, null, 0, 1)),
            "seccomp" => outcome(libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                null,
            )),
            "prctl" => outcome(libc::syscall(
                libc::SYS_prctl,
                libc::PR_SET_SECCOMP,
                2,
                null,
                0,
                0,
            )),
            "name" => outcome(libc::syscall(
                libc::SYS_prctl,
                libc::PR_GET_DUMPABLE,
                0,
                0,
                0,
                0,
            )),
            "userns" => outcome(libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER)),
            "files" => outcome(libc::syscall(libc::SYS_unshare, libc::CLONE_FILES)),
            "secret" => outcome(libc::syscall(libc::SYS_memfd_secret, 0)),
            "mlock" => outcome(libc::syscall(libc::SYS_mlock, null, 0)),
            "proc" => format!("{}", std::path::Path::new("/proc/self").exists()),
            other => panic!("{other}"),
        }
    };
    println!("said:{said}");
}

fn run(kernel: &str, what: &str) -> String {
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new(program());
    command
        .args([kernel, "--"])
        .arg(own)
        .args(["--exact", "attempt", "--nocapture", "--test-threads=1"])
        .env(TRY, what);
    let output = finish(&mut command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.split_once("said:"));
    line.unwrap_or_else(|| panic!("{output:?}")).1.to_owned()
}

fn finish(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn errno(number: i32) -> String {
    format!("errno {number}")
}

#[test]
fn each_kernel_answers_as_it_is_named_and_nothing_else_is_touched() {
    let rows = [
        ("no-landlock", "landlock", errno(libc::ENOSYS)),
        ("landlock-off", "landlock", errno(libc::EOPNOTSUPP)),
        ("landlock-1", "landlock", "1".into()),
        ("landlock-5", "landlock", "5".into()),
        ("no-seccomp", "seccomp", errno(libc::ENOSYS)),
        ("no-seccomp", "prctl", errno(libc::EINVAL)),
        ("no-seccomp", "name", "1".into()),
        ("no-seccomp-filter", "seccomp", errno(libc::EINVAL)),
        ("no-userns", "userns", errno(libc::EPERM)),
        ("no-userns", "files", "0".into()),
        ("userns-limit", "userns", errno(libc::ENOSPC)),
        ("no-memfd-secret", "secret", errno(libc::ENOSYS)),
        ("no-mlock", "mlock", errno(libc::ENOMEM)),
        ("no-landlock", "mlock", "0".into()),
        ("landlock-3,no-userns,no-mlock", "landlock", "3".into()),
        (
            "landlock-3,no-userns,no-mlock",
            "userns",
            errno(libc::EPERM),
        ),
        (
            "landlock-3,no-userns,no-mlock",
            "mlock",
            errno(libc::ENOMEM),
        ),
    ];
    for (kernel, what, expected) in rows {
        assert_eq!(run(kernel, what), expected, "{kernel}: {what}");
    }
}

#[test]
fn without_proc_there_is_no_proc() {
    assert_eq!(run("no-mlock", "proc"), "true");
    assert_eq!(run("no-proc", "proc"), "false");
}

#[test]
fn a_wrong_name_and_a_missing_command_are_refused() {
    for (arguments, word) in [
        (&["no-landlok", "--", "true"][..], "no kernel `no-landlok`"),
        (&["no-landlock"], "usage:"),
        (&["no-landlock", "true", "x"], "behind `--`"),
    ] {
        let mut command = Command::new(program());
        let output = finish(command.args(arguments));
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(word), "{text}");
    }
    let mut command = Command::new(program());
    let output = finish(command.args(["landlock-2", "--", "/nowhere"]));
    assert_eq!(output.status.code(), Some(127));
}

#[test]
fn the_command_takes_the_place_of_the_program() {
    let mut command = Command::new(program());
    command
        .args(["landlock-2", "--", "/bin/sh", "-c", "echo $$; exit 7"])
        .stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id().to_string();
    // The output ends with the command: whoever answers questions does not hold it.
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), pid);
    assert_eq!(output.status.code(), Some(7));
}
