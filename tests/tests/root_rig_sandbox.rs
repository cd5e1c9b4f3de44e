//! The boxes of tool calls as the service manager starts them: one for each connection, as its class's user, with its class's
//! workspace and nothing else of the machine. They are called as the executor would call them, by its user and with
//! descriptors; everybody else is kept out by the socket.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use clawdbot_confine::frame::{self, FrameReader, Progress};
use clawdbot_identity::Role;
use clawdbot_proto::v1;
use clawdbot_service::system;
use clawdbot_tests::Output;
use clawdbot_tests::rig::{Machine, on_each_installed};
use prost::Message as _;
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};

/// Class, and the other one.
const CLASSES: [(&str, &str); 2] = [("main", "guest"), ("guest", "main")];
/// Boxes of one class at a time, as its socket has it.
const MOST: usize = 4;
/// This test program inside, where it plays the executor.
const EXECUTOR: &str = "/usr/local/libexec/executor-of-the-tests";

/// What is no tool's to reach, as lines of shell that succeed outside of the box, as the user beside them. `OWN` is the
/// class's user, `OTHER` the other class.
const CLOSED: [(&str, &str); 14] = [
    ("ls WORK/OTHER", "clawdbot-sandbox-OTHER"),
    ("echo x >WORK/OTHER/x", "clawdbot-sandbox-OTHER"),
    ("echo x >WORK/x", "root"),
    ("cat /etc/clawdbot/clawdbot.json", "clawdbot-policy"),
    ("cat /var/lib/clawdbot/plan/*", "OWN"),
    ("ls /var/lib/clawdbot/sessions/main", "root"),
    ("ls /home/alice", "alice"),
    ("ls /run/clawdbot", "OWN"),
    ("ls /run/systemd/system", "OWN"),
    ("test -d /proc/$(MANAGER)", "OWN"),
    (
        "perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => q(/run/clawdbot/operator/gateway.sock)) or exit 1'",
        "root",
    ),
    (
        "perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => q(/run/clawdbot/sandbox-OTHER/executor.sock)) or exit 1'",
        "root",
    ),
    (
        "perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => q(/run/systemd/journal/stdout)) or exit 1'",
        "OWN",
    ),
    (
        "perl -MIO::Socket::INET -e 'IO::Socket::INET->new(q(127.0.0.1:18789)) or exit 1'",
        "OWN",
    ),
];

fn attempts(class: &str, other: &str) -> Vec<(String, String)> {
    let fill = |text: &str| {
        text.replace("$(MANAGER)", "1")
            .replace("WORK", "/var/lib/clawdbot-work")
            .replace("OTHER", other)
            .replace("OWN", &user(class))
    };
    CLOSED.map(|(line, who)| (fill(line), fill(who))).to_vec()
}

/// One script that makes all attempts and says of each that succeeded that it did.
fn script(attempts: &[(String, String)]) -> String {
    let lines = attempts
        .iter()
        .enumerate()
        .map(|(number, (line, _))| format!("( {line} ) >/dev/null 2>&1 && echo open {number}\n"));
    lines.chain(["echo tried all\n".to_owned()]).collect()
}

fn user(class: &str) -> String {
    format!("clawdbot-sandbox-{class}")
}

fn workspace(class: &str) -> String {
    format!("/var/lib/clawdbot-work/{class}")
}

fn socket(class: &str) -> String {
    let role = |name: &str| Role::parse(name).unwrap();
    let path = system::socket_path(&role(&format!("sandbox-{class}")), &role("executor"));
    path.to_string_lossy().into_owned()
}

/// Has the executor's user start a line of shell in a box of the class, with this folder as its workspace.
fn call(machine: &Machine, class: &str, folder: &str, line: &str) -> Value {
    let order = json!({ "socket": socket(class), "workspace": folder, "line": line });
    let order = format!("ORDER={order}");
    let part = "tool_that_plays_the_executor";
    let words = ["env", &order, EXECUTOR, "--exact", part, "--nocapture"];
    let output = machine.as_user("clawdbot-executor", &words).ok();
    // The test harness has the standard output.
    serde_json::from_str(&output.stderr).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The same in the class's own workspace; what it printed.
#[track_caller]
fn runs(machine: &Machine, class: &str, line: &str) -> String {
    let came = call(machine, class, &workspace(class), line);
    assert_eq!(came["refused"], Value::Null, "{line}: {came}");
    came["stdout"].as_str().unwrap().to_owned()
}

/// Not a test but a tool for those below: the executor's end of a connection, inside the machine.
#[test]
fn tool_that_plays_the_executor() {
    let Some(order) = std::env::var_os("ORDER") else {
        return;
    };
    let order: Value = serde_json::from_slice(order.as_encoded_bytes()).unwrap();
    let text = |key: &str| order[key].as_str().unwrap();
    let request = v1::SandboxRequest {
        argv: ["/bin/sh", "-c", text("line")].map(String::from).to_vec(),
        env: vec![v1::SandboxVariable {
            name: "PATH".into(),
            value: "/usr/bin:/bin".into(),
        }],
        cwd: String::new(),
        limits: Some(v1::SandboxLimits {
            cpu_seconds: 60,
            memory_bytes: 1 << 30,
            processes: 1000,
            file_bytes: 1 << 20,
        }),
    };
    // It may neither list nor enter the folder that it hands over.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(text("workspace"), flags, Mode::empty()).unwrap();
    let control = UnixStream::connect(text("socket")).unwrap();
    let null = File::open("/dev/null").unwrap();
    let (mut stdout, stdout_theirs) = std::io::pipe().unwrap();
    let (mut stderr, stderr_theirs) = std::io::pipe().unwrap();
    let fds = [
        null.as_fd(),
        stdout_theirs.as_fd(),
        stderr_theirs.as_fd(),
        folder.as_fd(),
    ];
    // A socket that has enough connections hangs up.
    let _unread = frame::send(&control, &request.encode_to_vec(), &fds);
    drop((stdout_theirs, stderr_theirs));
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let mut printed = String::new();
    stdout.read_to_string(&mut printed).unwrap();
    let refused = match FrameReader::new().read_from(&control) {
        Ok(Progress::Frame(frame)) => {
            let reply = v1::SandboxReply::decode(frame.payload.as_slice()).unwrap();
            Some(format!("{}: {}", reply.rule, reply.message))
        }
        Ok(Progress::Closed) | Err(_) => None,
    };
    let stderr = errors.join().unwrap();
    let came = json!({ "stdout": printed, "stderr": stderr, "refused": refused });
    eprintln!("{came}");
}

/// Machines with the product, somebody who uses it, and this program.
#[track_caller]
fn on_each_ready(test: &str, check: impl Fn(&Machine)) {
    on_each_installed(test, |machine| {
        machine.add_user("alice", true);
        machine.add_user("bob", false);
        let this = std::env::current_exe().unwrap();
        machine.copy_in(&this, EXECUTOR).unwrap();
        check(machine);
    });
}

/// Nothing runs any more, the service manager knows of nothing, and what is left belongs into the workspaces.
#[track_caller]
fn nothing_remains(machine: &Machine) {
    machine.until(
        "test -z \"$(systemctl list-units --all --plain --no-legend 'clawdbot-sandbox-*@*')\"",
    );
    for (class, _) in CLASSES {
        let user = user(class);
        machine.until(&format!("! pgrep -u {user}"));
        let left = format!(
            "find / -path /proc -prune -o -path {} -prune -o -user {user} -print",
            workspace(class)
        );
        assert_eq!(machine.says(&left), "");
        let socket = format!("clawdbot-sandbox-{class}.socket");
        assert_eq!(
            machine.unit(&socket, "SubState")["SubState"],
            "listening",
            "{socket}"
        );
    }
    let private = "find /tmp /var/tmp -name '*clawdbot-sandbox*'";
    assert_eq!(machine.says(private), "");
    let failed = "systemctl list-units --plain --no-legend --state=failed";
    assert_eq!(machine.says(failed), "");
}

#[test]
fn a_tool_call_runs_as_its_class_in_its_workspace_and_reaches_nothing_else() {
    on_each_ready("a_tool_call_runs_as_its_class", |machine| {
        for (class, other) in CLASSES {
            let folder = workspace(class);
            let uid = machine.says(&format!("id -u {}", user(class)));
            let line = "id -u; pwd; umask; echo text >file && cat file; \
                setsid sleep 100000 >/dev/null 2>&1 & echo $PATH";
            assert_eq!(
                runs(machine, class, line),
                format!("{uid}\n{folder}\n0027\ntext\n/usr/bin:/bin\n")
            );
            nothing_remains(machine);

            // What it wrote is read by the agent of the class and by nobody else's.
            let file = format!("{folder}/file");
            assert_eq!(
                machine.says(&format!("stat -c '%U %G %a' {file}")),
                format!("{} clawdbot-agent-{class} 640", user(class))
            );
            let read = |agent: &str| {
                let agent = format!("clawdbot-agent-{agent}");
                machine.as_user(&agent, &["cat", &file])
            };
            assert_eq!(read(class).ok().stdout, "text\n");
            assert_ne!(read(other).code, Some(0));

            let attempts = attempts(class, other);
            let control = |(line, who): &(String, String)| {
                let output = machine.as_user(who, &["sh", "-c", line]);
                (output.code != Some(0)).then(|| format!("{who}: {line}: {output:?}"))
            };
            let controls: Vec<String> = attempts.iter().filter_map(control).collect();
            assert_eq!(controls, [""; 0], "{class}");
            let tried = runs(machine, class, &script(&attempts));
            assert_eq!(tried, "tried all\n", "{class}: {attempts:#?}");
            // Nor from the folder in hand upwards.
            assert_eq!(runs(machine, class, "cd ../../../.. && pwd -P"), "/\n");
            let up = "cd ../../../..; for p in etc/clawdbot/clawdbot.json home/alice var/lib/clawdbot run/clawdbot; \
                do [ ! -e $p ] || echo $p; done";
            assert_eq!(runs(machine, class, up), "");

            // Who has a folder of the other class in hand is not helped by it.
            let refused = call(machine, class, &workspace(other), "echo ran");
            let rule = refused["refused"].as_str().unwrap_or_default();
            assert!(rule.starts_with("sandbox.request: "), "{refused}");
            assert_eq!(refused["stdout"], "");
            nothing_remains(machine);
        }
    });
}

/// Writes a script over a connection and prints what comes until its end.
const TELL: &str = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die \"refused: $!\"; \
    $s->autoflush(1); print $s $ARGV[1]; $s->shutdown(1); local $/; print <$s>";

fn tell(machine: &Machine, who: &str, class: &str, script: &str) -> Output {
    machine.as_user(who, &["perl", "-e", TELL, &socket(class), script])
}

#[test]
fn the_unit_alone_closes_as_much_to_a_program_that_confines_itself_in_nothing() {
    on_each_ready("the_unit_alone_closes_as_much", |machine| {
        for (class, other) in CLASSES {
            // A shell in the launcher's place, with the connection for its input and output.
            machine.write(
                &format!("/etc/systemd/system/clawdbot-sandbox-{class}@.service.d/shell.conf"),
                "[Service]\nExecStart=\nExecStart=-/bin/sh\n",
            );
            machine.run(&["systemctl", "daemon-reload"]).ok();
            let attempts = attempts(class, other);
            let say = |script: &str| {
                let said = tell(machine, "clawdbot-executor", class, script).ok();
                said.stdout
            };
            let tried = say(&script(&attempts));
            assert_eq!(tried, "tried all\n", "{class}: {attempts:#?}");
            let walls = "grep -E '^(NoNewPrivs|CapBnd|CapEff|Seccomp):' /proc/self/status | tr -d '\\t'; \
                ls /sys/class/net; ls /home /root /srv /opt /mnt | grep -v :; unshare --user true || echo none";
            let said = say(walls);
            assert_eq!(
                said.split_whitespace().collect::<Vec<_>>(),
                [
                    "CapEff:0000000000000000",
                    "CapBnd:0000000000000000",
                    "NoNewPrivs:1",
                    "Seccomp:2",
                    "lo",
                    "none"
                ],
                "{class}"
            );
            // Its own temporary files, and what it left running, go with it.
            assert_eq!(
                say("echo x >/tmp/x; setsid sleep 100000 & cat /tmp/x\n"),
                "x\n"
            );
            nothing_remains(machine);
            assert_ne!(machine.run(&["test", "-e", "/tmp/x"]).code, Some(0));
        }
    });
}

#[test]
fn nobody_but_the_executor_starts_a_box_and_he_four_of_a_class_at_a_time() {
    on_each_ready("nobody_but_the_executor_starts_a_box", |machine| {
        for (class, other) in CLASSES {
            let (own, others) = (user(class), user(other));
            for who in [
                "alice",
                "bob",
                "daemon",
                "clawdbot-gateway",
                "clawdbot-policy",
                "clawdbot-agent-main",
                "clawdbot-agent-guest",
                &own,
                &others,
            ] {
                let refused = tell(machine, who, class, "");
                assert!(
                    refused.code != Some(0)
                        && refused.stderr.contains("refused: Permission denied"),
                    "{who}: {refused:?}"
                );
            }
            four_at_a_time(machine, class, other);
            nothing_remains(machine);
        }
    });
}

fn four_at_a_time(machine: &Machine, class: &str, other: &str) {
    let folder = workspace(class);
    let (fifth, elsewhere, slices, ended) = std::thread::scope(|scope| {
        let started: Vec<_> = (0..MOST)
            .map(|number| {
                let line = format!(
                    "echo >started-{number}; until [ -e stop ]; do sleep 0.1; done; echo ended"
                );
                scope.spawn(move || runs(machine, class, &line))
            })
            .collect();
        machine.until(&format!("[ $(ls {folder}/started-* | wc -l) = {MOST} ]"));
        let fifth = runs(machine, class, "echo ran");
        let elsewhere = runs(machine, other, "echo ran");
        let units =
            format!("systemctl show --property=ControlGroup --value 'clawdbot-sandbox-{class}@*'");
        let slices = machine.says(&units);
        machine.says(&format!("touch {folder}/stop"));
        let ended: Vec<String> = started
            .into_iter()
            .map(|call| call.join().unwrap())
            .collect();
        (fifth, elsewhere, slices, ended)
    });
    assert_eq!(fifth, "", "{class}");
    assert_eq!(elsewhere, "ran\n", "the {other}'s are others");
    let slice = format!("/clawdbot-sandbox-{class}.slice/");
    let inside = slices.lines().filter(|group| group.contains(&slice));
    assert_eq!(inside.count(), MOST, "{slices}");
    assert_eq!(ended, ["ended\n"; MOST]);
    // One that has ended makes room.
    let room = || runs(machine, class, "echo ran") == "ran\n";
    assert!(clawdbot_tests::kernel::eventually(
        std::time::Duration::from_secs(60),
        room
    ));
    machine.says(&format!("rm {folder}/stop {folder}/started-*"));
}

#[test]
fn a_box_that_does_not_end_is_ended_with_all_that_it_started() {
    on_each_ready("a_box_that_does_not_end", |machine| {
        for (class, _) in CLASSES {
            machine.write(
                &format!("/etc/systemd/system/clawdbot-sandbox-{class}@.service.d/sooner.conf"),
                "[Service]\nRuntimeMaxSec=2s\n",
            );
            machine.run(&["systemctl", "daemon-reload"]).ok();
            let line = "trap '' TERM; (trap '' TERM; setsid sleep 100000) & echo begun; sleep 100000; sleep 100000";
            assert_eq!(runs(machine, class, line), "begun\n");
            nothing_remains(machine);
        }
    });
}
