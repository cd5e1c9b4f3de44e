//! What only root can see of the processes: their descriptors, their environment, their namespaces.

use clawdbot_tests::kernel::Seen;
use clawdbot_tests::{Product, Scratch, Start, finish, runs_as_root};

fn started(scratch: &Scratch) -> Product {
    begun(Start::new(), scratch)
}

fn begun(start: Start, scratch: &Scratch) -> Product {
    assert!(runs_as_root(), "these tests are root's");
    start.argument("--user").argument("nobody").up(scratch)
}

/// Sockets without names, its own files, and nothing else.
fn is_expected(role: &str, target: &str) -> bool {
    let kinds = [
        "socket:",
        "pipe:",
        "anon_inode:[event",
        "anon_inode:inotify",
        "anon_inode:[pidfd",
    ];
    let own: &[&str] = match role {
        "policy" => &[
            "/run",
            "/run/lock",
            "/audit/decisions.jsonl",
            "/memfd:gateway-token",
        ],
        "gateway" => &["/queue/"],
        "agent-main" => &["/sessions/main"],
        "agent-guest" => &["/sessions/guest"],
        "supervisor" => &[
            "/run",
            "/run/lock",
            "/gateway.log",
            "/memfd:environment",
            "/clawdbot-",
        ],
        _ => &[],
    };
    kinds.iter().any(|kind| target.starts_with(kind))
        || target == "/dev/null"
        || own.iter().any(|own| target.contains(own))
}

#[test]
fn no_process_holds_a_descriptor_that_is_not_its_own() {
    let scratch = Scratch::passable();
    let product = started(&scratch);
    for (role, seen) in product.processes() {
        let held = seen.descriptors().unwrap();
        assert!(held.len() > 3, "{role}: {held:?}");
        for target in held {
            assert!(is_expected(&role, &target), "{role} holds {target}");
        }
    }
    assert_eq!(product.stop(), Some(0));
}

/// In a user namespace of its own a process sees root as nobody; it is the operator all the same. Nobody
/// else is: the socket's permissions keep them out.
#[test]
fn root_may_operate_what_another_user_runs_and_a_stranger_may_not() {
    use std::os::unix::process::CommandExt as _;
    assert!(runs_as_root(), "these tests are root's");
    let scratch = Scratch::passable();
    let product = Start::new()
        .argument("--user")
        .argument("daemon")
        .up(&scratch);
    let answer = scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    assert!(answer.stdout.contains("not a language model"), "{answer:?}");
    scratch.clawdbot(&["credentials", "list"]).ok();
    let mut stranger = scratch.program("clawdbot");
    stranger.args(["chat", "--message", "hello"]);
    let refused = finish(stranger.uid(61_234).gid(61_234));
    assert_eq!(refused.code, Some(69), "{refused:?}");
    assert_eq!(product.stop(), Some(0));
}

/// A shell may have left anything open: neither the supervisor nor a child of it takes that over.
#[test]
fn what_the_shell_left_open_is_closed() {
    let scratch = Scratch::passable();
    let product = begun(Start::new().with_a_stray_descriptor(), &scratch);
    for (role, seen) in product.processes() {
        let held = seen.descriptors().unwrap();
        assert!(
            !held.iter().any(|target| target == "/dev/zero"),
            "{role}: {held:?}"
        );
    }
    for process in product.ready["processes"].as_array().unwrap() {
        assert_eq!(process["confinement"]["strayDescriptors"], 0, "{process}");
    }
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn no_process_has_a_variable_and_the_supervisor_has_wiped_its_own() {
    assert!(runs_as_root(), "these tests are root's");
    let scratch = Scratch::passable();
    let canary = "sk-canary-0123456789abcdef0123456789";
    let start = Start::new().argument("--user").argument("nobody");
    let product = start.variable("ANTHROPIC_API_KEY", canary).up(&scratch);
    let listed = scratch.clawdbot(&["credentials", "list"]).ok();
    assert!(listed.stdout.contains("ANTHROPIC_API_KEY"), "{listed:?}");
    for (role, seen) in product.processes() {
        let environment = seen.environment().unwrap();
        assert!(
            environment.iter().all(|byte| *byte == 0),
            "{role}: {environment:?}"
        );
    }
    assert_eq!(product.stop(), Some(0));
}

/// All are where whoever started them is, but for the network, in which each is alone; only the dialer
/// and the supervisor work in the host's.
#[test]
fn each_process_is_alone_in_its_network_and_shares_everything_else() {
    let scratch = Scratch::passable();
    let product = started(&scratch);
    for name in ["net", "mnt", "pid", "user", "ipc", "uts"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let mut seen = vec![own.clone()];
        for (role, Seen(pid)) in product.processes() {
            let theirs = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
            let apart = ["net", "user"].contains(&name)
                && !["dialer", "supervisor"].contains(&role.as_str());
            if apart {
                assert!(!seen.contains(&theirs), "{role} shares its {name}");
                seen.push(theirs);
            } else {
                assert_eq!(own, theirs, "{role} {name}");
            }
        }
    }
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn an_own_network_has_a_loopback_that_is_down_and_nothing_else() {
    let scratch = Scratch::passable();
    let product = started(&scratch);
    let mut alone = 0;
    for (role, Seen(pid)) in product.processes() {
        let read = |leaf: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{leaf}")).unwrap();
        let devices = read("dev");
        let devices: Vec<&str> = { devices.lines().skip(2) }
            .filter_map(|line| Some(line.split_once(':')?.0.trim()))
            .collect();
        if ["dialer", "supervisor"].contains(&role.as_str()) {
            continue;
        }
        assert_eq!(devices, ["lo"], "{role}");
        // A device that is up has an address, and with it a local route.
        assert!(!read("fib_trie").contains("127.0.0.1"), "{role}");
        alone += 1;
    }
    assert!(alone >= 6, "{alone}");
    let hosts = std::fs::read_to_string("/proc/self/net/fib_trie").unwrap();
    assert!(
        hosts.contains("127.0.0.1"),
        "the control: a loopback that is up"
    );
    assert_eq!(product.stop(), Some(0));
}
