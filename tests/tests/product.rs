//! The product as a person meets it: an empty home, one command, a question, an answer, an end that
//! leaves nothing behind.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::time::Duration;

use clawdbot_tests::kernel::{self, Seen};
use clawdbot_tests::{Output, Product, Scratch, Start, free_port};
use rustix::process::Signal;
use serde_json::{Value, json};

const NINE: [&str; 9] = [
    "agent-guest",
    "agent-main",
    "broker",
    "dialer",
    "executor",
    "gateway",
    "model-builtin",
    "policy",
    "supervisor",
];

/// Far above what anything takes; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn sockets(scratch: &Scratch) -> Vec<String> {
    let run = scratch.state().join("run");
    let entries = std::fs::read_dir(run)
        .map(Iterator::collect::<Vec<_>>)
        .unwrap_or_default();
    entries
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn pids(product: &Product) -> Vec<Seen> {
    product
        .processes()
        .into_iter()
        .map(|(_, seen)| seen)
        .collect()
}

#[test]
fn without_any_configuration_nine_processes_come_up_and_a_question_is_answered() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let roles: Vec<String> = product
        .processes()
        .into_iter()
        .map(|(role, _)| role)
        .collect();
    assert_eq!(roles, NINE);
    let ready = &product.ready;
    assert_eq!(ready["url"], format!("http://127.0.0.1:{}/", product.port));
    assert_eq!(ready["stateDir"], scratch.state().to_str().unwrap());

    let answer = scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    assert!(answer.stdout.contains("not a language model"), "{answer:?}");
    assert!(
        !scratch.state().join("clawdbot.json").exists(),
        "no file is made up"
    );

    let token = scratch.state().join("pairing/gateway-token");
    assert_eq!(
        std::fs::metadata(&token).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let shown = scratch.clawdbot(&["token"]).ok();
    assert_eq!(
        shown.stdout.trim(),
        std::fs::read_to_string(&token).unwrap().trim()
    );
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn a_tool_call_crosses_executor_and_policy_and_comes_back() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let answer = scratch
        .clawdbot(&["chat", "--message", "run session_status {}"])
        .ok();
    assert!(answer.stdout.contains("agent:main:main"), "{answer:?}");
    let unknown = scratch
        .clawdbot(&["chat", "--message", "run no_such_tool {}"])
        .ok();
    assert!(unknown.stdout.contains("no_such_tool"), "{unknown:?}");
    let decisions = scratch.state().join("audit/decisions.jsonl");
    let recorded = kernel::eventually(PATIENCE, || {
        std::fs::read_to_string(&decisions).is_ok_and(|text| text.contains("session_status"))
    });
    assert!(recorded, "the decision is on record");
    drop(product);
}

#[test]
fn commands_in_the_chat_are_answered_without_the_model() {
    let scratch = Scratch::new();
    let _product = Start::new().up(&scratch);
    for (command, expected) in [
        ("/status", "agent:main:main"),
        ("/help", "/new"),
        ("/model", "builtin/guide"),
        ("/whoami", "owner"),
    ] {
        let answer = scratch.clawdbot(&["chat", "--message", command]).ok();
        assert!(answer.stdout.contains(expected), "{command}: {answer:?}");
    }
}

#[test]
fn status_names_all_processes_and_is_quick_to_say_that_nothing_runs() {
    let scratch = Scratch::new();
    let nothing = scratch.clawdbot(&["status"]);
    assert_eq!(nothing.code, Some(69), "{nothing:?}");
    assert!(nothing.stderr.contains("clawdbot up"), "{nothing:?}");
    let product = Start::new().up(&scratch);
    let well = |output: &Output| output.code == Some(0);
    let text = scratch.clawdbot_until(&["status"], well).ok();
    for role in NINE {
        assert!(text.stdout.contains(role), "{role}: {text:?}");
    }
    let json = scratch.clawdbot_until(&["status", "--json"], well);
    assert!(json.ok().json().is_object());
    let topology = scratch.clawdbot(&["topology"]).ok();
    assert!(topology.stdout.contains("model-builtin"), "{topology:?}");
    assert_eq!(product.stop(), Some(0));
    let gone = scratch.clawdbot(&["chat", "--message", "hello"]);
    assert_eq!(gone.code, Some(69), "{gone:?}");
}

#[test]
fn doctor_measures_what_runs_and_finds_nothing_and_the_one_that_is_gone_is_missed() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let ids = |report: &Value| -> Vec<String> {
        let findings = report["findings"].as_array().unwrap().iter();
        let ids = findings.map(|found| found["id"].as_str().unwrap().to_owned());
        let live = [
            "running.", "gateway.", "probe.", "queue.", "sockets.", "units.",
        ];
        ids.filter(|id| live.iter().any(|head| id.starts_with(head)))
            .collect()
    };
    let finds = |expected: &str| {
        let settled = |output: &Output| ids(&output.json()) == [expected];
        let output = scratch.clawdbot_until(&["doctor", "--deep", "--json"], settled);
        let report = output.ok().json();
        assert_eq!(ids(&report), [expected]);
        report
    };
    let report = finds("running.unseen");
    let measured = report["processes"].as_array().unwrap();
    let roles: Vec<_> = measured
        .iter()
        .map(|row| row["role"].as_str().unwrap())
        .collect();
    for (role, ..) in product.processes() {
        assert!(roles.contains(&role.as_str()), "{role} was not measured");
    }
    for row in measured {
        let supervisor = row["role"] == "supervisor";
        assert_eq!(row["capabilities"], "0x0", "{row}");
        assert_eq!(row["noNewPrivs"], true, "{row}");
        assert_eq!(row["seccomp"], if supervisor { 0 } else { 2 }, "{row}");
        assert_eq!(row["dumpable"], false, "{row}");
        assert!(row["confinement"]["level"].is_string(), "{row}");
        // Nobody may look into them, this user neither.
        assert!(
            row["sockets"].is_null() && row["program"].is_null(),
            "{row}"
        );
    }
    assert_eq!(product.stop(), Some(0));
    let report = finds("running.none");
    assert_eq!(report["processes"], json!([]));
}

#[test]
fn doctor_has_nothing_against_what_the_product_itself_made_and_sees_what_somebody_opened_up() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    let files = || {
        let report = scratch.clawdbot(&["doctor", "--json"]).json();
        let findings = report["findings"].as_array().unwrap();
        let ids = findings
            .iter()
            .map(|found| found["id"].as_str().unwrap().to_owned());
        let is_file = |id: &String| id.starts_with("fs.") || id.starts_with("pairing.");
        ids.filter(is_file).collect::<Vec<_>>()
    };
    assert_eq!(files(), [""; 0]);
    let pairing = scratch.state().join("pairing");
    let mode = |wanted| {
        std::fs::set_permissions(&pairing, std::fs::Permissions::from_mode(wanted)).unwrap()
    };
    mode(0o777);
    assert_eq!(
        files(),
        [
            "fs.private_dir.perms_writable",
            "fs.private_dir.perms_readable"
        ]
    );
    let well = |output: &Output| output.code == Some(0);
    let fix = ["doctor", "--fix", "--yes"];
    scratch.clawdbot_until(&fix, well).ok();
    assert_eq!(files(), [""; 0]);
    let now = std::fs::metadata(&pairing).unwrap().permissions().mode();
    assert_eq!(now & 0o7777, 0o700);
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn a_stop_comes_to_its_end_and_leaves_no_process_and_no_socket() {
    for signal in [Signal::TERM, Signal::INT] {
        let scratch = Scratch::new();
        let mut product = Start::new().up(&scratch);
        let all = pids(&product);
        assert_eq!(sockets(&scratch).len(), 4, "{:?}", sockets(&scratch));
        product.supervisor().signal(signal);
        assert_eq!(product.wait(), Some(0));
        assert!(all.iter().all(|seen| !seen.lives()));
        assert_eq!(sockets(&scratch), Vec::<String>::new());
    }
}

#[test]
fn a_killed_supervisor_takes_everything_with_it() {
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let all = pids(&product);
    product.supervisor().signal(Signal::KILL);
    for seen in &all {
        let corpse_of_the_test = *seen == product.supervisor();
        assert!(corpse_of_the_test || seen.ends_within(PATIENCE), "{seen:?}");
    }
    assert!(kernel::eventually(PATIENCE, || sockets(&scratch).is_empty()));
    drop(product);
    // The same state serves the next start, at once.
    let product = Start::new().up(&scratch);
    scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn a_restarted_gateway_keeps_its_port() {
    let scratch = Scratch::new();
    let mut product = Start::new().up(&scratch);
    let gateway = product.process("gateway");
    product.kill("gateway", gateway);
    let answered = kernel::eventually(PATIENCE, || healthz(product.port));
    assert!(answered, "{}", product.log());
}

#[test]
fn a_state_directory_behind_a_link_is_used_where_it_leads() {
    let scratch = Scratch::new();
    scratch.configure("{}");
    let moved = scratch.path().join("elsewhere");
    std::fs::rename(scratch.state(), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, scratch.state()).unwrap();
    let product = Start::new().up(&scratch);
    let answer = scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    assert!(answer.stdout.contains("not a language model"), "{answer:?}");
    assert!(moved.join("queue").is_dir());
    assert_eq!(product.stop(), Some(0));
}

/// The database cannot make its files beside itself then; a process that dies of its own filter would say nothing.
#[test]
fn a_queue_that_cannot_be_written_is_said() {
    let scratch = Scratch::new();
    Start::new().up(&scratch).stop();
    let queue = scratch.state().join("queue");
    for file in std::fs::read_dir(&queue).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    rustix::fs::chmod(&queue, rustix::fs::Mode::from_raw_mode(0o500)).unwrap();
    let mut product = Start::new().begin(&scratch);
    product.event_where("process", |e| {
        e["role"] == "gateway" && e["state"] == "ended"
    });
    let names_it = |line: &str| line.contains("\"level\":\"error\"") && line.contains("queue");
    let is_said = kernel::eventually(PATIENCE, || product.log().lines().any(names_it));
    rustix::fs::chmod(&queue, rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
    let said = product.said();
    assert!(
        is_said && !said.contains("signal"),
        "{said}{}",
        product.log()
    );
}

fn healthz(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let ask = || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        let request =
            format!("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        // A listener that is closed ends what waits at it, at any moment.
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[test]
fn the_configuration_is_followed_while_it_runs() {
    let scratch = Scratch::new();
    scratch.configure("{ gateway: { bind: 'loopback' } }");
    let product = Start::new().up(&scratch);
    let with_levels =
        "{ logging: { level: 'debug' }, agents: { defaults: { timeoutSeconds: 77 } } }";
    scratch.configure(with_levels);
    let shown = |needle: &str| {
        let status = scratch.clawdbot(&["status", "--json"]);
        status.stdout.contains(needle)
    };
    let well = |output: &Output| output.code == Some(0);
    scratch.clawdbot_until(&["status", "--json"], well).ok();
    scratch.configure("{ gateway: { prot: 1 } }");
    assert!(
        kernel::eventually(PATIENCE, || shown("prot")),
        "the error is shown"
    );
    scratch
        .clawdbot(&["chat", "--message", "still there?"])
        .ok();
    scratch.configure("{}");
    assert!(
        kernel::eventually(PATIENCE, || !shown("prot")),
        "good again"
    );
    assert_eq!(product.stop(), Some(0));
}

#[test]
fn the_port_follows_the_configuration_and_the_old_one_is_let_go() {
    let scratch = Scratch::new();
    let (first, second) = (free_port(), free_port());
    scratch.configure(&format!("{{ gateway: {{ port: {first} }} }}"));
    let mut command = scratch.program("clawdbot");
    command
        .args(["up", "--json"])
        .stdout(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    assert!(kernel::eventually(PATIENCE, || healthz(first)));
    scratch.configure(&format!("{{ gateway: {{ port: {second} }} }}"));
    assert!(kernel::eventually(PATIENCE, || healthz(second)));
    assert!(kernel::eventually(PATIENCE, || !healthz(first)));
    Seen(child.id()).signal(Signal::TERM);
    assert!(child.wait().unwrap().success());
}

#[test]
fn no_child_has_an_environment_or_a_key_in_its_arguments() {
    let canary = "sk-canary-0123456789abcdef0123456789";
    let scratch = Scratch::new();
    let product = Start::new()
        .variable("ANTHROPIC_API_KEY", canary)
        .variable("CLAWDBOT_GATEWAY_TOKEN", "gateway-canary-0123456789abcdef")
        .up(&scratch);
    let listed = scratch.clawdbot(&["credentials", "list"]).ok();
    assert!(listed.stdout.contains("ANTHROPIC_API_KEY"), "{listed:?}");
    assert!(!listed.stdout.contains(canary));
    scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    for (role, seen) in product.processes() {
        assert!(!seen.arguments().join(" ").contains("canary"), "{role}");
        // Not dumpable, so closed to this user; root sees what there is.
        match seen.environment() {
            Ok(bytes) if role == "supervisor" => drop(bytes),
            Ok(bytes) => assert_eq!(bytes, b"", "{role}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{role}"),
        }
    }
    let mut files = vec![scratch.path().to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.is_file() {
            let bytes = match std::fs::read(&path) {
                // Of what was renamed meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.unwrap(),
            };
            let found = bytes
                .windows(canary.len())
                .any(|window| window == canary.as_bytes());
            assert!(!found, "{} holds the key", path.display());
        }
    }
    assert_eq!(product.stop(), Some(0));
}

/// Agents may read the workspaces that were configured at the start, and no other, whatever a running
/// process says later.
#[test]
fn a_configured_workspace_is_within_reach_and_one_that_is_named_later_is_not() {
    let scratch = Scratch::new();
    let configured = |folder: &str| {
        let path = scratch.home().join(folder);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("AGENTS.md"), "be brief").unwrap();
        scratch.configure(&format!(
            "{{ agents: {{ defaults: {{ workspace: '~/{folder}' }} }} }}"
        ));
    };
    configured("first");
    let product = Start::new().up(&scratch);
    scratch.clawdbot(&["chat", "--message", "hello"]).ok();
    assert!(
        !product.log().contains("named after the start"),
        "{}",
        product.log()
    );
    configured("second");
    let refused = kernel::eventually(PATIENCE, || {
        scratch.clawdbot(&["chat", "--message", "hello"]).ok();
        product.log().contains("named after the start")
    });
    assert!(refused, "{}", product.log());
    assert_eq!(product.stop(), Some(0));
}

/// Clients that hang up at once make the gateway give up calls; that must not cost it the connection.
#[test]
fn a_flood_of_clients_that_hang_up_does_not_cut_the_gateway_off_from_policy() {
    use std::io::Write as _;
    let scratch = Scratch::new();
    let product = Start::new().up(&scratch);
    let request = format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nCookie: clawdbot_session=junk\r\n\r\n",
        product.port
    );
    for _ in 0..3 {
        let clients: Vec<_> = (0..60)
            .filter_map(|_| {
                let mut client = std::net::TcpStream::connect(("127.0.0.1", product.port)).ok()?;
                client.write_all(request.as_bytes()).ok()?;
                Some(client)
            })
            .collect();
        assert!(clients.len() > 30, "{}", clients.len());
        drop(clients);
    }
    scratch
        .clawdbot(&["chat", "--message", "still there?"])
        .ok();
    assert_eq!(product.stop(), Some(0));
}

/// Nobody reads the output: a terminal that was stopped, a pipe that is full.
#[cfg(target_os = "linux")]
#[test]
fn a_screen_that_nobody_reads_holds_up_nothing() {
    let scratch = Scratch::new();
    let mut product = Start::new().begin_unread(&scratch);
    let status = || scratch.clawdbot(&["status", "--json"]);
    let dialer = || {
        let all = status().json()["processes"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let dialer = all
            .into_iter()
            .find(|p| p["role"] == "dialer" && p["state"] == "ready")?;
        u32::try_from(dialer["pid"].as_u64()?).ok().map(Seen)
    };
    // Each death is an event or more; the pipe is as small as a pipe can be.
    for _ in 0..12 {
        let killed = kernel::eventually(PATIENCE, || {
            dialer().is_some_and(|dialer| {
                dialer.signal(Signal::KILL);
                true
            })
        });
        assert!(killed, "{}", product.log());
    }
    product.supervisor().signal(Signal::TERM);
    assert_eq!(product.wait(), Some(0));
}
