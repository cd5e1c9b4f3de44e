//! `doctor --probe` where the package is installed, on Debian 12 and 13: every service holds, one that was opened is
//! found with the file that opened it, and nothing of the probes is left.

use std::collections::BTreeSet;

use clawdbot_attempts::all;
use clawdbot_service::system;
use clawdbot_tests::Output;
use clawdbot_tests::rig::{GUIDE, Machine, on_each_installed};
use serde_json::Value;

const DROP_IN: &str = "/etc/systemd/system/clawdbot-agent@guest.service.d/group.conf";

fn doctor(machine: &Machine, more: &[&str]) -> Output {
    let words: Vec<&str> = ["clawdbotctl", "doctor", "--json"]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    machine.run(&words)
}

fn report(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// What was found about the probes.
fn findings(report: &Value) -> Vec<(String, String)> {
    let text = |found: &Value, key: &str| found[key].as_str().unwrap().to_owned();
    let all = report["findings"].as_array().unwrap().iter();
    all.filter(|found| text(found, "id").starts_with("probe."))
        .map(|found| (text(found, "id"), found.to_string()))
        .collect()
}

fn nothing_is_left(machine: &Machine) {
    let files = "ls -d /run/clawdbot-probe /run/systemd/system/clawdbot-probe-* 2>/dev/null";
    assert_eq!(machine.sh(files).stdout.trim(), "");
    // The service manager forgets a unit a moment after its file.
    machine.until("test -z \"$(systemctl list-units --all --no-legend 'clawdbot-probe-*')\"");
}

#[test]
fn every_installed_service_holds_and_one_that_was_opened_is_found_with_its_file() {
    on_each_installed("every_installed_service_holds", |machine| {
        machine.add_user("alice", true);
        machine.add_user("bob", false);
        for user in ["alice", "bob"] {
            let refused = machine.as_user(user, &["clawdbotctl", "doctor", "--probe"]);
            assert_eq!(refused.code, Some(77), "{refused:?}");
            assert!(refused.stderr.contains("needs root"), "{refused:?}");
        }

        // The model runs: a process that is just being started is not confined yet.
        let ask = ["clawdbot", "chat", "--message", "hello"];
        machine.as_user("alice", &ask).ok();
        let before = doctor(machine, &[]);
        // What a killed run has left does not matter.
        machine.write(
            "/run/systemd/system/clawdbot-probe-policy.service",
            "[Service]\n",
        );
        machine.write("/run/clawdbot-probe/policy/x", "");
        let (probed, answer) = std::thread::scope(|scope| {
            let probing = scope.spawn(|| doctor(machine, &["--probe"]));
            let answer = machine.as_user("alice", &ask).ok();
            (probing.join().unwrap(), answer)
        });
        assert!(answer.stdout.contains(GUIDE), "{answer:?}");
        assert_eq!(probed.code, before.code, "{probed:?}");
        let told = report(&probed);
        assert_eq!(findings(&told), []);
        let processes = told["probe"]["processes"].as_array().unwrap();
        let tried = processes
            .iter()
            .filter(|process| process["state"] == "tried");
        let tried: BTreeSet<String> = tried
            .map(|process| process["role"].as_str().unwrap().to_owned())
            .collect();
        let roles = system::roles().into_iter();
        let roles: BTreeSet<String> = roles.map(|role| role.to_string()).collect();
        assert_eq!(tried, roles);
        let attempts = told["probe"]["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), all().count());
        for attempt in attempts {
            let made = attempt["outcomes"].as_array().unwrap().len();
            assert_eq!(made, roles.len(), "{attempt}");
        }
        nothing_is_left(machine);
        machine.ready();

        // Somebody ends it while probes run.
        let ended = "clawdbotctl doctor --probe >/dev/null 2>&1 & doctor=$!; \
            until ls /run/systemd/system/clawdbot-probe-*; do sleep 0.1; done; kill -TERM $doctor; wait $doctor";
        assert_eq!(machine.sh(ended).code, Some(130));
        nothing_is_left(machine);

        // Whoever is in the group may use the operator's sockets, and no process can make up for that by itself.
        machine.write(DROP_IN, "[Service]\nSupplementaryGroups=clawdbot\n");
        machine.says("systemctl daemon-reload");
        let probed = doctor(machine, &["--probe"]);
        assert_eq!(probed.code, Some(2), "{probed:?}");
        let found = findings(&report(&probed));
        let [(id, text)] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(id, "probe.escape");
        for word in [
            "agent-guest: ",
            "unix.operator-policy worked instead of EACCES",
            DROP_IN,
            "clawdbot-agent@guest.service",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }

        // One that cannot even start is told, too.
        machine.write(DROP_IN, "[Service]\nUser=root\nGroup=root\n");
        machine.says("systemctl daemon-reload");
        let found = findings(&report(&doctor(machine, &["--probe"])));
        assert!(
            matches!(found.as_slice(), [(id, text)]
                if id == "probe.failed" && text.contains("agent-guest: ") && text.contains("root")),
            "{found:?}"
        );
        nothing_is_left(machine);
        machine.says(&format!("rm {DROP_IN} && systemctl daemon-reload"));
    });
}
