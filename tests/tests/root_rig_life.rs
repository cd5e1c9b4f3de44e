//! The installed product among the accidents of a machine: processes that are killed or stopped, a file that somebody
//! broke, a disk that is full. Nothing that was accepted is lost, nothing opens, nothing runs in a circle, and what is
//! repaired works again.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use clawdbot_identity::Role;
use clawdbot_proto::v1::chat_event::Event;
use clawdbot_service::system::service_unit;
use clawdbot_tests::binary;
use clawdbot_tests::kernel::{Seen, eventually};
use clawdbot_tests::rig::{ALWAYS, GUIDE, Machine, on_each_installed};

/// Messages of one conversation.
const MESSAGES: usize = 12;
/// Messages after which the process is killed, each time anew.
const KILLS: [usize; 2] = [3, 7];
/// Longest wait for something to heal.
const PATIENCE: Duration = Duration::from_secs(240);

fn unit_of(role: &str) -> String {
    service_unit(&Role::parse(role).unwrap())
}

fn services() -> String {
    ALWAYS.map(unit_of).join(" ")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Whether a question is answered now.
fn answers(machine: &Machine) -> bool {
    let asked = machine.run(&["clawdbot", "chat", "--message", "hello"]);
    asked.code == Some(0) && asked.stdout.contains(GUIDE)
}

#[track_caller]
fn heals(machine: &Machine) {
    let healed = eventually(PATIENCE, || answers(machine));
    assert!(
        healed,
        "{}: {}",
        machine.name(),
        machine.says("systemctl status --no-pager 'clawdbot-*.service'; true")
    );
}

/// How often each process has been started again.
fn restarts(machine: &Machine) -> String {
    machine.says(&format!(
        "systemctl show --property=Id,NRestarts {}",
        services()
    ))
}

#[test]
fn every_process_may_be_killed_and_nothing_accepted_is_lost() {
    on_each_installed("every_process_may_be_killed", |machine| {
        for role in ALWAYS.into_iter().chain(["model-builtin"]) {
            let mut talk = machine.talk();
            runtime().block_on(async {
                for number in 0..MESSAGES {
                    let id = format!("{role}-{number}");
                    let text = format!("question {number} of {role}");
                    if KILLS.contains(&number) {
                        // The message is under way when the process ends.
                        let mut second = talk.clone();
                        let (id, text) = (id.clone(), text.clone());
                        let under_way =
                            tokio::spawn(async move { second.answer(&id, role, &text).await });
                        tokio::task::yield_now().await;
                        machine.kill(&unit_of(role));
                        assert!(!under_way.await.unwrap().is_empty());
                    }
                    assert!(!talk.answer(&id, role, &text).await.is_empty(), "{id}");
                }
                let questions = talk.questions(role).await;
                for number in 0..MESSAGES {
                    let text = format!("question {number} of {role}");
                    let times = questions.iter().filter(|asked| asked.ends_with(&text));
                    assert_eq!(times.count(), 1, "{text}");
                }
            });
        }
        assert_eq!(
            machine.says("systemctl list-units --plain --no-legend --state=failed 'clawdbot*'"),
            ""
        );
    });
}

#[test]
fn without_policy_everything_is_denied_and_with_it_everything_goes_on() {
    on_each_installed("without_policy_everything_is_denied", |machine| {
        assert!(answers(machine));
        // The sockets first: while they listen, whoever calls starts it again.
        machine
            .sh("systemctl stop 'clawdbot-policy-from-*.socket' && systemctl stop clawdbot-policy.service")
            .ok();
        // Refused, or not answered as long as somebody waits.
        let asked = machine.run(&["timeout", "20", "clawdbot", "chat", "--message", "hello"]);
        assert!(
            asked.code != Some(0) && !asked.stdout.contains(GUIDE),
            "{asked:?}"
        );
        machine.sh("systemctl start clawdbot.target").ok();
        heals(machine);
    });
}

/// What a person is told who asks: exit status, and all that was said.
fn said(machine: &Machine, user: &str, command: &str) -> (Option<i32>, String) {
    let words: Vec<&str> = command.split(' ').collect();
    let output = machine.as_user(user, &words);
    (output.code, output.stdout + &output.stderr)
}

/// Waits until root and a member of the group are told all of these words, with this exit status.
#[track_caller]
fn both_are_told(machine: &Machine, command: &str, code: i32, wanted: &[&str]) {
    for user in ["root", "alice"] {
        let told = || {
            let (ended, text) = said(machine, user, command);
            ended == Some(code) && wanted.iter().all(|word| text.contains(word))
        };
        assert!(
            eventually(PATIENCE, told),
            "{}: {user}: {command}: {wanted:?}: {:?}",
            machine.name(),
            said(machine, user, command)
        );
    }
}

/// Waits until neither is told anything of the kind.
#[track_caller]
fn nobody_is_told(machine: &Machine, command: &str, of: &str) {
    for user in ["root", "alice"] {
        let silent = || {
            let (ended, text) = said(machine, user, command);
            ended == Some(0) && !text.contains(of)
        };
        assert!(
            eventually(PATIENCE, silent),
            "{}: {user}: {command}: {of}: {:?}",
            machine.name(),
            said(machine, user, command)
        );
    }
}

/// How status begins about a file that does not load. That it was so is told by the last errors afterwards, too.
const NOT_VALID: &str = "the configuration file is not valid";
const CONFIG_FILE: &str = "/etc/clawdbot/clawdbot.json";
/// What doctor says of a file that does not load, with its place and what helps.
const INVALID: [&str; 3] = [
    "config.invalid",
    "/etc/clawdbot/clawdbot.json:1:",
    "clawdbot config path",
];

#[test]
fn a_broken_configuration_is_shown_denied_and_healed_by_its_repair_alone() {
    on_each_installed("a_broken_configuration", |machine| {
        machine.add_user("alice", true);
        let spoil = format!("sed -i '1i {{{{{{' {CONFIG_FILE}");
        machine
            .sh(&format!("cp -p {CONFIG_FILE} /root/good.json && {spoil}"))
            .ok();
        machine.sh("systemctl restart clawdbot.target").ok();
        machine.ready();
        let status = machine.unit("clawdbot-policy.service", "StatusText,ActiveState");
        assert!(status["StatusText"].contains("clawdbot.json"), "{status:?}");
        let before = restarts(machine);
        let refused = machine.run(&["clawdbot", "chat", "--message", "hello"]);
        assert!(
            refused.code != Some(0) && !refused.stdout.contains(GUIDE),
            "{refused:?}"
        );
        both_are_told(machine, "clawdbotctl doctor", 2, &INVALID);
        let place = "clawdbot.json:1:";
        both_are_told(
            machine,
            "clawdbot status",
            0,
            &["everything is refused until it is", place],
        );
        assert_eq!(restarts(machine), before, "nothing runs in a circle");

        let repair = format!("cp -p /root/good.json {CONFIG_FILE}");
        machine.sh(&repair).ok();
        heals(machine);
        assert_eq!(restarts(machine), before);
        nobody_is_told(machine, "clawdbot status", NOT_VALID);
        nobody_is_told(machine, "clawdbotctl doctor", "config.invalid");

        // Broken while it runs: what was valid last goes on, and that is told.
        machine.sh(&spoil).ok();
        both_are_told(
            machine,
            "clawdbot status",
            0,
            &["the last good one stays in force", place],
        );
        both_are_told(machine, "clawdbotctl doctor", 2, &INVALID);
        assert!(answers(machine));
        machine.sh(&repair).ok();
        nobody_is_told(machine, "clawdbot status", NOT_VALID);
        nobody_is_told(machine, "clawdbotctl doctor", "config.");
        assert!(answers(machine));
        assert_eq!(restarts(machine), before);
    });
}

#[test]
fn a_unit_that_the_administrator_masked_stays_away_and_the_rest_works() {
    on_each_installed("a_masked_unit", |machine| {
        machine
            .sh("systemctl mask --now clawdbot-dialer.service 2>&1")
            .ok();
        machine.sh("systemctl restart clawdbot.target").ok();
        heals(machine);
        assert_eq!(
            machine
                .sh("systemctl is-active clawdbot-dialer.service")
                .stdout,
            "inactive\n"
        );
        machine
            .sh("systemctl unmask clawdbot-dialer.service && systemctl start clawdbot.target")
            .ok();
        machine.ready();
    });
}

#[test]
fn a_folder_of_the_wrong_owner_is_refused_by_name_and_not_again_and_again() {
    on_each_installed("a_folder_of_the_wrong_owner", |machine| {
        machine.sh("chown root:root /var/lib/clawdbot/queue && systemctl restart --no-block clawdbot-gateway.service").ok();
        let unit = "clawdbot-gateway.service";
        let ended = eventually(PATIENCE, || {
            machine.unit(unit, "ActiveState")["ActiveState"] == "failed"
        });
        let shown = machine.unit(unit, "ActiveState,Result,ExecMainStatus,NRestarts");
        assert!(ended, "{shown:?}");
        assert_eq!(shown["ExecMainStatus"], "78", "{shown:?}");
        assert_eq!(shown["NRestarts"], "0", "{shown:?}");
        let said = machine.journal(unit).unwrap();
        assert!(said.contains("/var/lib/clawdbot/queue"), "{said}");
        machine.sh("chown clawdbot-gateway:clawdbot-gateway /var/lib/clawdbot/queue && systemctl start clawdbot.target").ok();
        machine.ready();
        heals(machine);
    });
}

/// Connects to the front door again and again; how often the gateway's process has ended like this meanwhile, and in how
/// long: both looks are part of it, since who was let in last is still served after the last knock.
fn knock(machine: &Machine, seconds: u32, status: u32) -> (u64, Duration) {
    let began = Instant::now();
    let before = ends(machine, status);
    let script = format!(
        "end=$((SECONDS + {seconds})); while [ $SECONDS -lt $end ]; do \
         {{ exec 3<>/dev/tcp/127.0.0.1/18789; }} 2>/dev/null && exec 3>&-; sleep 0.02; done; true"
    );
    machine.run(&["bash", "-c", &script]).ok();
    let ended = ends(machine, status) - before;
    (ended, began.elapsed())
}

/// How often the gateway's process has ended like this until now.
fn ends(machine: &Machine, status: u32) -> u64 {
    let count = format!(
        "journalctl --sync; journalctl --no-pager --unit=clawdbot-gateway.service --output=cat _PID=1 | grep --count 'exited.*status={status}/'; true"
    );
    machine.says(&count).parse().unwrap()
}

#[test]
fn a_damaged_queue_is_shown_with_its_remedy_is_left_alone_and_works_once_it_is_repaired() {
    on_each_installed("a_damaged_queue", |machine| {
        let unit = "clawdbot-gateway.service";
        let ask = || {
            let mut talk = machine.talk();
            runtime().block_on(async { talk.answer("kept", "kept", "kept").await })
        };
        let said = ask();
        let damage = "systemctl stop clawdbot-gateway.socket 'clawdbot-gateway-from-*.socket' && systemctl stop clawdbot-gateway.service \
            && cp -a /var/lib/clawdbot/queue /root/queue \
            && dd if=/dev/zero of=/var/lib/clawdbot/queue/inbox.db bs=4096 count=4 conv=notrunc status=none \
            && systemctl start --no-block clawdbot.target";
        machine.sh(damage).ok();
        let failed = || machine.unit(unit, "ActiveState")["ActiveState"] == "failed";
        let ended = eventually(PATIENCE, failed);
        let shown = machine.unit(unit, "ActiveState,ExecMainStatus,NRestarts,StatusText");
        assert!(ended, "{shown:?}");
        assert_eq!(shown["ExecMainStatus"], "78", "{shown:?}");
        assert_eq!(shown["NRestarts"], "0", "{shown:?}");
        for words in [
            "/var/lib/clawdbot/queue/inbox.db",
            "damaged",
            "put a copy in its place",
        ] {
            assert!(shown["StatusText"].contains(words), "{shown:?}");
        }

        // Whoever connects has it started, and not more often than each refusal lasts.
        let (starts, took) = knock(machine, 12, 78);
        assert!(starts >= 1, "nobody was let in");
        assert!(
            starts <= took.as_secs() / 3 + 1,
            "{starts} starts in {took:?}"
        );
        assert_eq!(
            machine.unit("clawdbot-gateway.socket", "ActiveState")["ActiveState"],
            "active"
        );

        // The repair alone is enough.
        machine
            .sh("rm -r /var/lib/clawdbot/queue && cp -a /root/queue /var/lib/clawdbot/queue")
            .ok();
        heals(machine);
        assert_eq!(ask(), said, "what was accepted is there");
    });
}

#[test]
fn a_service_whose_user_is_gone_is_not_started_without_end_by_who_connects() {
    on_each_installed("a_service_whose_user_is_gone", |machine| {
        machine.write(
            "/etc/systemd/system/clawdbot-gateway.service.d/user.conf",
            "[Service]\nUser=clawdbot-nobody\n",
        );
        machine.sh("systemctl daemon-reload && systemctl restart clawdbot-gateway.service; true");
        let (starts, took) = knock(machine, 12, 217);
        // A hundred in ten seconds, and those of the tens that have begun.
        assert!(
            (1..=100 * (took.as_secs() / 10 + 1)).contains(&starts),
            "{starts} in {took:?}"
        );
        machine
            .sh("rm -r /etc/systemd/system/clawdbot-gateway.service.d && systemctl daemon-reload && clawdbot service start")
            .ok();
        machine.ready();
        heals(machine);
        machine.until("ss --no-header --listening --numeric --tcp | grep --quiet 127.0.0.1:18789");
    });
}

#[test]
fn a_full_disk_loses_nothing_that_was_accepted() {
    on_each_installed("a_full_disk", |machine| {
        let small = "systemctl stop 'clawdbot-gateway-from-*.socket' clawdbot-gateway.socket && systemctl stop clawdbot-gateway.service \
            && mount -t tmpfs -o size=400k,mode=0700,uid=$(id -u clawdbot-gateway),gid=$(id -g clawdbot-gateway) small /var/lib/clawdbot/queue \
            && systemctl start clawdbot.target";
        machine.sh(small).ok();
        let filler = "x".repeat(8000);
        let (mut accepted, mut refused) = (0, None);
        runtime().block_on(async {
            let mut talk = machine.talk();
            for number in 0..100 {
                let sent = talk.send(&format!("full-{number}"), "full", &filler).await;
                match sent {
                    Ok(events) if matches!(events.last(), Some(Event::Answer(_))) => accepted += 1,
                    other => {
                        refused = Some(format!("{other:?}"));
                        break;
                    }
                }
            }
        });
        assert!(refused.is_some(), "{accepted} messages went into 400 kB");
        machine
            .sh("mount -o remount,size=40m /var/lib/clawdbot/queue")
            .ok();
        heals(machine);
        let kept = runtime().block_on(async { machine.talk().questions("full").await.len() });
        assert!(
            kept >= accepted,
            "{kept} of {accepted} are kept; {refused:?}"
        );
    });
}

/// Puts a small disk of its own below a folder of a service that is started again on it, with what the folder has held.
#[track_caller]
fn small_disk(machine: &Machine, unit: &str, sockets: &str, folder: &str) {
    machine
        .sh(&format!(
            "set -e; systemctl stop {sockets}; systemctl stop {unit}; cp -a {folder} /root/kept; \
             mount -t tmpfs -o size=400k,mode=0700,uid=$(stat -c %u {folder}),gid=$(stat -c %g {folder}) small {folder}; \
             cp -a /root/kept/. {folder}/; systemctl start clawdbot.target"
        ))
        .ok();
    machine.ready();
}

/// Leaves no room on it, as somebody else's files do.
#[track_caller]
fn fill(machine: &Machine, folder: &str) {
    machine.sh(&format!(
        "dd if=/dev/zero of={folder}/filler bs=4k status=none"
    ));
}

/// Asks until that is refused; how often it was answered, and what the refusal says.
#[track_caller]
fn ask_until_refused(machine: &Machine, session: &str) -> (usize, String) {
    for number in 0..200 {
        let text = format!("question {number}");
        let asked = machine.run(&["clawdbot", "chat", "--session", session, "--message", &text]);
        if asked.code != Some(0) {
            return (number, asked.stdout + &asked.stderr);
        }
    }
    panic!("{}: everything went into a full disk", machine.name());
}

#[test]
fn without_room_for_the_record_everything_is_denied_and_with_it_everything_goes_on() {
    on_each_installed("without_room_for_the_record", |machine| {
        machine.add_user("alice", true);
        let folder = "/var/lib/clawdbot/audit";
        let sockets = "'clawdbot-policy-from-*.socket'";
        small_disk(machine, "clawdbot-policy.service", sockets, folder);
        assert!(answers(machine));
        fill(machine, folder);
        let (answered, why) = ask_until_refused(machine, "full");
        assert!(why.contains("audit"), "{why}");
        both_are_told(machine, "clawdbot status", 1, &["audit.trouble"]);
        both_are_told(machine, "clawdbotctl doctor", 0, &["audit.trouble"]);
        let before = restarts(machine);

        machine.sh(&format!("rm {folder}/filler")).ok();
        heals(machine);
        machine.run(&["clawdbot", "audit", "verify"]).ok();
        nobody_is_told(machine, "clawdbot status", "audit.trouble");
        assert_eq!(restarts(machine), before);
        let kept = runtime().block_on(async { machine.talk().questions("full").await.len() });
        assert!(kept >= answered, "{kept} of {answered}");
    });
}

#[test]
fn without_room_for_a_conversation_it_is_not_answered_and_goes_on_with_room() {
    on_each_installed("without_room_for_a_conversation", |machine| {
        machine.add_user("alice", true);
        let folder = "/var/lib/clawdbot/sessions/main";
        let sockets = "clawdbot-agent-main-from-gateway.socket";
        small_disk(machine, &unit_of("agent-main"), sockets, folder);
        assert!(answers(machine));
        fill(machine, folder);
        let (answered, why) = ask_until_refused(machine, "full");
        assert!(why.contains("No space left on device"), "{why}");
        let before = restarts(machine);

        machine.sh(&format!("rm {folder}/filler")).ok();
        heals(machine);
        assert_eq!(restarts(machine), before);
        let mut talk = machine.talk();
        runtime().block_on(async {
            assert!(!talk.answer("after", "full", "after").await.is_empty());
            let questions = talk.questions("full").await;
            for number in 0..answered {
                let text = format!("question {number}");
                let times = questions.iter().filter(|asked| asked.ends_with(&text));
                assert_eq!(times.count(), 1, "{questions:?}");
            }
        });
    });
}

#[test]
fn a_port_in_use_closes_the_front_door_alone_until_it_is_free_and_one_says_so() {
    on_each_installed("a_port_in_use", |machine| {
        machine.add_user("alice", true);
        machine.sh("systemctl stop clawdbot-gateway.socket clawdbot-gateway.service && systemd-run --quiet --unit=thief --socket-property=ListenStream=127.0.0.1:18789 sleep 1000").ok();
        machine.sh("systemctl start clawdbot.target");
        let state =
            || machine.unit("clawdbot-gateway.socket", "ActiveState")["ActiveState"].clone();
        assert_eq!(state(), "failed");

        // Everything else works, and who asks learns what is wrong and what to do.
        machine.ready();
        heals(machine);
        let told = ["nothing listens at 127.0.0.1:18789", "sudo clawdbot apply"];
        both_are_told(machine, "clawdbot status", 0, &told);
        let told = ["apply.pending", "127.0.0.1:18789", "sudo clawdbot apply"];
        both_are_told(machine, "clawdbotctl doctor", 2, &told);
        let applied = machine.run(&["clawdbot", "apply"]);
        assert_eq!(applied.code, Some(1), "{applied:?}");
        let remedy = "ss -ltnp 'sport = :18789'";
        assert!(applied.stderr.contains(remedy), "{applied:?}");
        assert!(answers(machine));

        // A free port alone brings nobody back: a socket unit is not tried again. The command does.
        machine.sh("systemctl stop thief.socket").ok();
        assert_eq!(state(), "failed");
        machine.run(&["clawdbot", "apply"]).ok();
        machine.until("ss --no-header --listening --numeric --tcp | grep --quiet 127.0.0.1:18789");
        nobody_is_told(machine, "clawdbot status", "18789; sudo");
        nobody_is_told(machine, "clawdbotctl doctor", "18789");
        heals(machine);
    });
}

/// A service whose kernel lacks this, by a program in front of its own.
#[track_caller]
fn on_a_kernel_without(machine: &Machine, lacks: &str, unit: &str, program: &str) {
    let folder = "/usr/libexec/clawdbot";
    let simulate = format!("{folder}/clawdbot-simulate");
    machine
        .copy_in(&binary("clawdbot-simulate"), &simulate)
        .unwrap();
    machine.write(
        &format!("/etc/systemd/system/{unit}.d/kernel.conf"),
        &format!("[Service]\nExecStart=\nExecStart={simulate} {lacks} -- {folder}/{program}\n"),
    );
    machine.run(&["systemctl", "daemon-reload"]).ok();
}

#[test]
fn on_a_kernel_without_a_wall_a_service_runs_and_tells_it_unless_all_are_required() {
    on_each_installed("on_a_kernel_without_a_wall", |machine| {
        machine.add_user("alice", true);
        let unit = "clawdbot-agent@main.service";
        on_a_kernel_without(machine, "no-landlock", unit, "clawdbot-agent main");
        machine.run(&["systemctl", "restart", unit]).ok();
        let status = machine.unit(unit, "StatusText");
        assert!(
            status["StatusText"].contains("level=partial landlock=0"),
            "{status:?}"
        );
        assert!(answers(machine));
        let told = ["missing: landlock (agent-main)", "partial"];
        both_are_told(machine, "clawdbot status", 0, &told);
        let told = ["confinement.landlock", "agent-main"];
        both_are_told(machine, "clawdbotctl doctor", 2, &told);

        // Required, it does not start, and says what is missing and which line wants it.
        machine
            .run(&["clawdbot", "config", "set", "sandbox.require", "full"])
            .ok();
        machine.sh(&format!("systemctl restart {unit}"));
        machine.until(&format!("systemctl is-failed --quiet {unit}"));
        let shown = machine.unit(unit, "ExecMainStatus,StatusText");
        assert_eq!(shown["ExecMainStatus"], "78", "{shown:?}");
        let log = machine.journal(unit).unwrap();
        for words in ["sandbox.require", "landlock is missing"] {
            assert!(log.contains(words), "{words}: {log}");
        }
        // Accepted, and not answered before the agent is back.
        let asked = machine.run(&["timeout", "20", "clawdbot", "chat", "--message", "hello"]);
        assert!(
            asked.code != Some(0) && !asked.stdout.contains(GUIDE),
            "{asked:?}"
        );
        let told = [
            "agent-main does not run, ended with status 78",
            "sandbox.require",
        ];
        both_are_told(machine, "clawdbot status", 1, &told);
        both_are_told(
            machine,
            "clawdbotctl doctor",
            2,
            &["units.failed", "sandbox.require"],
        );

        machine
            .run(&["clawdbot", "config", "set", "sandbox.require", "available"])
            .ok();
        heals(machine);
    });
}

#[test]
fn a_machine_without_the_second_internet_protocol_is_as_good() {
    on_each_installed("without_ipv6", |machine| {
        machine
            .sh("sysctl --quiet --write net.ipv6.conf.all.disable_ipv6=1")
            .ok();
        assert_eq!(machine.says("ip -6 -brief address"), "");
        machine.sh("systemctl restart clawdbot.target").ok();
        machine.ready();
        heals(machine);
        assert_eq!(machine.complaints(), "");
    });
}

/// What a process takes up by itself and its share of what it shares, in kilobytes.
fn share(machine: &Machine, unit: &str) -> u64 {
    let inside = machine.process(unit).to_string();
    let pid = machine.groups().processes().into_iter().find(|pid| {
        let status = Seen(u32::try_from(*pid).unwrap()).status();
        status
            .get("NSpid")
            .is_some_and(|pids| pids.split_whitespace().last() == Some(&inside))
    });
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.unwrap())).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// In kilobytes, of programs as they are built for tests: half as much again as they have taken.
const MOST_MEMORY: u64 = 100 * 1024;

#[test]
fn everything_is_ready_once_the_target_is_started_and_what_it_takes_is_shown() {
    let table = std::cell::RefCell::new(String::from(
        "| System | Target to ready | Memory of all units |\n|---|---|---|\n",
    ));
    on_each_installed("what_a_start_takes", |machine| {
        assert!(answers(machine));
        machine.sh("systemctl stop clawdbot.target 'clawdbot-*.socket' 'clawdbot-*.path' && systemctl stop 'clawdbot-*.service'").ok();
        assert_eq!(machine.sh("pgrep ^clawdbot").stdout, "");
        let began = Instant::now();
        machine.sh("systemctl start clawdbot.target").ok();
        // Started means ready: nothing has to be waited for.
        machine
            .sh(&format!("systemctl is-active --quiet {}", services()))
            .ok();
        let took = began.elapsed();
        assert!(answers(machine));
        let mut units = ALWAYS.map(unit_of).to_vec();
        units.push(unit_of("model-builtin"));
        let shares: u64 = units.iter().map(|unit| share(machine, unit)).sum();
        assert!((1000..MOST_MEMORY).contains(&shares), "{shares} kB");
        let system = machine.says("systemctl --version | head -n 1 | cut -d ' ' -f 1,2");
        writeln!(
            table.borrow_mut(),
            "| {system} | {:.2} s | {:.1} MB PSS |",
            took.as_secs_f64(),
            shares as f64 / 1024.0
        )
        .unwrap();
    });
    if let Some(path) = std::env::var_os("CLAWDBOT_MATRIX") {
        std::fs::write(path, table.into_inner()).unwrap();
    }
}
