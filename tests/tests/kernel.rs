//! What `up --json` claims about each process is what the kernel says.

use clawdbot_tests::kernel::Seen;
use clawdbot_tests::{Scratch, Start};
use serde_json::Value;

#[test]
fn the_kernel_agrees_with_what_is_claimed() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    for process in product.ready["processes"].as_array().unwrap() {
        let role = process["role"].as_str().unwrap();
        let seen = product.process(role);
        agrees(role, seen, &process["confinement"]);
    }
    assert_eq!(product.stop(), Some(0));
}

fn agrees(role: &str, seen: Seen, claimed: &Value) {
    let status = seen.status();
    let confined = role != "supervisor";
    let level = claimed["level"].as_str().unwrap();
    assert_eq!(
        level,
        if confined { "full" } else { "limits" },
        "{role}: {claimed}"
    );

    assert_eq!(status["NoNewPrivs"], "1", "{role}");
    assert_eq!(claimed["noNewPrivs"], true, "{role}: {claimed}");
    assert_eq!(
        status["Seccomp"],
        if confined { "2" } else { "0" },
        "{role}"
    );
    assert_eq!(claimed["seccomp"], confined, "{role}: {claimed}");
    if confined {
        // More than one program, and as many as are claimed.
        let filters: u64 = status["Seccomp_filters"].parse().unwrap();
        assert!(filters >= 2, "{role}: {filters}");
        assert_eq!(claimed["filters"], filters, "{role}: {claimed}");
        assert!(
            claimed["landlock"].as_u64().unwrap() >= 2,
            "{role}: {claimed}"
        );
    }
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status[set], 16), Ok(0), "{role} {set}");
    }
    assert_eq!(claimed["capabilities"], false, "{role}: {claimed}");
    if claimed["network"] == "own" {
        assert_eq!(u64::from_str_radix(&status["CapBnd"], 16), Ok(0), "{role}");
    }
    assert_eq!(claimed["variables"], 0, "{role}: {claimed}");
    assert_eq!(claimed["strayDescriptors"], 0, "{role}: {claimed}");
    let ids: Vec<&str> = status["Uid"].split_whitespace().collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{role}: {ids:?}");
    assert_ne!(ids[0], "0", "{role}");

    let core = seen.limit("Max core file size").unwrap();
    assert_eq!(core, ("0".into(), "0".into()), "{role}");
    assert_eq!(claimed["core"], 0, "{role}: {claimed}");
    // A process that is not dumpable belongs to root in /proc and is closed to its own user.
    assert_eq!(claimed["dumpable"], false, "{role}: {claimed}");
    let own = rustix::process::geteuid().as_raw();
    let entry = rustix::fs::stat(format!("/proc/{}/environ", seen.0)).unwrap();
    assert_eq!(entry.st_uid, 0, "{role}");
    if own != 0 {
        assert!(seen.descriptors().is_err(), "{role}");
    }
    // One thread works; others wait for the disk or compute a password hash. An agent has one that appends to transcripts,
    // one that reads old ones and two that sync.
    let threads: u32 = status["Threads"].parse().unwrap();
    let most = if role.starts_with("agent-") { 5 } else { 2 };
    assert!(threads <= most, "{role}: {threads} threads");
}

/// Who works in the network of the host.
const IN_THE_HOSTS: [&str; 2] = ["dialer", "supervisor"];

#[test]
fn everybody_but_the_dialer_and_the_supervisor_claims_an_empty_network() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    for process in product.ready["processes"].as_array().unwrap() {
        let role = process["role"].as_str().unwrap();
        let expected = if IN_THE_HOSTS.contains(&role) {
            "host"
        } else {
            "own"
        };
        assert_eq!(process["confinement"]["network"], expected, "{role}");
    }
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn who_holds_keys_says_in_what_memory_and_the_others_have_none() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    for process in product.ready["processes"].as_array().unwrap() {
        let role = process["role"].as_str().unwrap();
        let memory = &process["confinement"]["secretMemory"];
        let holds = ["broker", "policy"].contains(&role) || role.starts_with("model-");
        assert_eq!(memory.is_string(), holds, "{role}: {memory}");
        assert_ne!(*memory, "unlocked", "{role}");
    }
    assert_eq!(product.stop(), Some(0));
}
