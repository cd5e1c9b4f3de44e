//! Started by root: everything becomes an ordinary user at once and for good.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::time::Duration;

use clawdbot_confine::process::lookup_user;
use clawdbot_tests::{Scratch, Start, runs_as_root};

fn nobody() -> clawdbot_confine::process::User {
    assert!(runs_as_root(), "these tests are root's");
    lookup_user("nobody").unwrap().unwrap()
}

#[test]
fn every_process_has_all_ids_of_the_ordinary_user_and_no_group_of_root() {
    let user = nobody();
    let scratch = Scratch::passable();
    let product = Start::new()
        .argument("--user")
        .argument("nobody")
        .up(&scratch);
    for (role, seen) in product.processes() {
        let status = seen.status();
        let uid = user.uid.to_string();
        let gid = user.gid.to_string();
        assert!(
            status["Uid"].split_whitespace().all(|id| id == uid),
            "{role}: {}",
            status["Uid"]
        );
        assert!(
            status["Gid"].split_whitespace().all(|id| id == gid),
            "{role}: {}",
            status["Gid"]
        );
        assert!(
            status["Groups"].split_whitespace().all(|id| id == gid),
            "{role}"
        );
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&status[set], 16), Ok(0), "{role} {set}");
        }
    }
    let state = std::fs::metadata(scratch.state()).unwrap();
    assert_eq!((state.uid(), state.mode() & 0o777), (user.uid, 0o700));
    scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    assert_eq!(product.stop(), Some(0));
    // The next start goes on where this one ended.
    let product = Start::new()
        .argument("--user")
        .argument("nobody")
        .up(&scratch);
    scratch.clawdbot(&["chat", "--message", "hello again"]).ok();
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn a_state_directory_of_root_is_refused_with_a_remedy_that_works() {
    let user = nobody();
    let scratch = Scratch::passable();
    std::fs::create_dir(scratch.state()).unwrap();
    let refused = scratch.clawdbot(&["up", "--user", "nobody"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("chown -R nobody"), "{refused:?}");
    chown(scratch.state(), Some(user.uid), Some(user.gid)).unwrap();
    rustix::fs::chmod(scratch.state(), rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
    let product = Start::new()
        .argument("--user")
        .argument("nobody")
        .up(&scratch);
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn root_under_another_name_and_unknown_users_are_refused() {
    let _user = nobody();
    for (name, expected) in [("root", "root"), ("no-such-user", "no-such-user")] {
        let scratch = Scratch::passable();
        let refused = scratch.clawdbot(&["up", "--user", name]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(expected), "{refused:?}");
        assert!(!scratch.state().exists());
    }
}

#[test]
fn another_user_can_use_none_of_the_operator_sockets() {
    let user = nobody();
    let scratch = Scratch::passable();
    let product = Start::new()
        .argument("--user")
        .argument("nobody")
        .up(&scratch);
    let run = scratch.state().join("run");
    for name in ["gateway", "policy", "broker", "supervisor"] {
        let found = std::fs::metadata(run.join(format!("{name}.sock"))).unwrap();
        assert_eq!(
            (found.uid(), found.mode() & 0o777),
            (user.uid, 0o600),
            "{name}"
        );
    }
    assert_eq!(std::fs::metadata(&run).unwrap().mode() & 0o777, 0o700);
    // A third user, who is neither the ordinary one nor root, is stopped at the first directory.
    let third = "daemon";
    let path = run.join("gateway.sock");
    let script = format!("test -e {} && echo reached", path.display());
    let mut command = std::process::Command::new("setpriv");
    command.args([
        "--reuid",
        third,
        "--regid",
        third,
        "--clear-groups",
        "sh",
        "-c",
        &script,
    ]);
    let output = command.output().unwrap();
    assert!(
        !String::from_utf8_lossy(&output.stdout).contains("reached"),
        "{output:?}"
    );
    // The positive control: the same look as root.
    let looked = std::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&looked.stdout).contains("reached"),
        "{looked:?}"
    );
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn a_killed_supervisor_of_root_takes_everything_with_it() {
    let _user = nobody();
    let scratch = Scratch::passable();
    let product = Start::new()
        .argument("--user")
        .argument("nobody")
        .up(&scratch);
    product.supervisor().signal(rustix::process::Signal::KILL);
    for (role, seen) in product.processes() {
        assert!(
            role == "supervisor" || seen.ends_within(Duration::from_secs(60)),
            "{role}"
        );
    }
}
