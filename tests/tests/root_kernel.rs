//! What only root can see of the processes: their descriptors, their environment, their namespaces.

use std::collections::BTreeMap;
use std::time::Duration;

use clawdbot_proto::edges::edge;
use clawdbot_tests::kernel::{Seen, eventually};
use clawdbot_tests::{Product, Scratch, Start, finish, runs_as_root};

fn started(scratch: &Scratch) -> Product {
    begun(Start::new(), scratch)
}

fn begun(start: Start, scratch: &Scratch) -> Product {
    assert!(runs_as_root(), "these tests are root's");
    start.argument("--user").argument("nobody").up(scratch)
}

/// What the descriptors of a process lead to, and how many lead there. Files are named below the state directory.
fn held(seen: Seen, state: &std::path::Path) -> BTreeMap<String, usize> {
    let mut held = BTreeMap::new();
    for target in seen.descriptors().unwrap_or_default() {
        let kind = ["socket:", "pipe:"]
            .into_iter()
            .find(|kind| target.starts_with(kind));
        let name = kind.map_or(target.as_str(), |kind| kind);
        let below = std::path::Path::new(name).strip_prefix(state);
        let name = below.map_or(name.to_owned(), |path| path.to_string_lossy().into_owned());
        *held.entry(name).or_default() += 1;
    }
    held
}

/// Files that a process holds open, beside what all have.
const FILES: [(&str, &[&str]); 2] = [
    // It removes the operator's sockets when the supervisor was killed, and holds the lock until then.
    (
        "policy",
        &[
            "anon_inode:inotify",
            "audit/decisions.jsonl",
            "audit/head",
            "pairing/taint.jsonl",
            "run",
            "run/lock",
        ],
    ),
    ("gateway", &["queue/inbox.db", "queue/inbox.db-wal"]),
];

/// Sockets that are no edges: the control descriptor, a copy to notify with and one to wait for room; of the runtime, a pair
/// for signals, one end twice.
const OWN_SOCKETS: usize = 6;

/// Exactly what a process should hold, beside these others.
fn expected(role: &str, roles: &[String]) -> BTreeMap<String, usize> {
    let others = roles.iter().map(String::as_str).chain(["operator"]);
    let edges = others.filter(|other| *other != role).map(|other| {
        let calls = usize::from(edge(role, other).is_some());
        calls + usize::from(edge(other, role).is_some())
    });
    let listeners = usize::from(role == "gateway");
    let mut held = BTreeMap::from([
        ("/dev/null".to_owned(), 2),
        ("pipe:".to_owned(), 1),
        ("anon_inode:[eventfd]".to_owned(), 1),
        ("anon_inode:[eventpoll]".to_owned(), 2),
        (
            "socket:".to_owned(),
            OWN_SOCKETS + listeners + edges.sum::<usize>(),
        ),
    ]);
    let files = FILES.iter().filter(|(owner, _)| *owner == role);
    held.extend(
        files
            .flat_map(|(_, files)| *files)
            .map(|file| ((*file).to_owned(), 1)),
    );
    held
}

#[test]
fn every_process_holds_exactly_its_own_descriptors() {
    let scratch = Scratch::passable();
    let product = started(&scratch);
    let state = scratch.state();
    let roles: Vec<String> = product
        .processes()
        .into_iter()
        .map(|(role, _)| role)
        .collect();
    for (role, seen) in product.processes() {
        if role == "supervisor" {
            continue;
        }
        let wanted = expected(&role, &roles);
        let exact = eventually(Duration::from_secs(60), || held(seen, &state) == wanted);
        assert!(
            exact,
            "{role} holds {:#?} and should hold {wanted:#?}",
            held(seen, &state)
        );
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

/// The supervisor is not confined and has no secret but the sealed files that it hands on after a restart.
#[test]
fn the_supervisor_holds_programs_its_log_and_what_it_hands_on() {
    let scratch = Scratch::passable();
    let product = started(&scratch);
    let known = [
        "/dev/null",
        "pipe:",
        "socket:",
        "anon_inode:[eventfd]",
        "anon_inode:[eventpoll]",
        "anon_inode:[pidfd]",
        "gateway.log",
        "run",
        "run/lock",
        "/memfd:environment (deleted)",
    ];
    // What it opens for a moment is not what it holds.
    let look = || held(product.supervisor(), &scratch.state());
    let exact = eventually(Duration::from_secs(60), || {
        let mut held = look();
        let all = known.iter().all(|name| held.remove(*name).is_some());
        all && held.keys().all(|name| name.contains("/clawdbot-"))
    });
    assert!(exact, "{:#?}", look());
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
