//! System mode: the same programs with named sockets from a service manager. A shell plays the manager:
//! it passes listening sockets from descriptor 3 on and sets the variables.

use std::fs::File;
use std::io::{PipeReader, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_service::system;
use clawdbot_tests::kernel::eventually;
use clawdbot_tests::solo::call_raw;
use clawdbot_tests::{Scratch, binary};

/// A runtime directory with the sockets of the processes, and the manager's notify socket.
struct Manager {
    scratch: Scratch,
    notify: UnixDatagram,
    /// Where the journal listens; without one, lines go to the error stream.
    journal: Option<PathBuf>,
    running: Vec<Running>,
    /// Each tells the end once nobody holds the other end, which is left open for a process.
    leftovers: Vec<PipeReader>,
}

/// A process, and the thread that writes its lines into a file until their end.
struct Running(Child, JoinHandle<()>);

impl Running {
    /// Waits for the end of the process and of its lines.
    fn ended(mut self) -> ExitStatus {
        let status = self.0.wait().unwrap();
        self.1.join().unwrap();
        status
    }
}

/// Where listeners stand until they get their numbers: beyond all that the tests have open.
const ASIDE: usize = 500;

impl Manager {
    fn new() -> Self {
        let scratch = Scratch::new();
        scratch.configure("{}");
        let runtime = scratch.path().join("runtime");
        std::fs::create_dir(&runtime).unwrap();
        rustix::fs::chmod(&runtime, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        let notify = UnixDatagram::bind(scratch.path().join("notify")).unwrap();
        notify
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self {
            scratch,
            notify,
            journal: None,
            running: Vec::new(),
            leftovers: Vec::new(),
        }
    }

    fn runtime(&self) -> PathBuf {
        self.scratch.path().join("runtime")
    }

    fn socket(&self, server: &str, client: &str) -> PathBuf {
        let path = system::socket_in(&self.runtime(), &role(server), &role(client));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Starts the program of a role with one listening socket for each client.
    fn start(&mut self, role: &str, clients: &[&str]) {
        self.start_on("", role, clients);
    }

    /// The same on a kernel that lacks something: names that `clawdbot-simulate` knows.
    fn start_on(&mut self, kernel: &str, role: &str, clients: &[&str]) {
        let listeners: Vec<UnixListener> = clients
            .iter()
            .map(|client| UnixListener::bind(self.socket(role, client)).unwrap())
            .collect();
        let (leftover, held) = std::io::pipe().unwrap();
        rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
        self.leftovers.push(leftover);
        let mut script = String::new();
        for (index, listener) in listeners.iter().enumerate() {
            let flags = rustix::io::FdFlags::empty();
            rustix::io::fcntl_setfd(listener, flags).unwrap();
            script.push_str(&format!(
                "exec {}<&{}; ",
                ASIDE + index,
                listener.as_raw_fd()
            ));
        }
        for (index, _) in listeners.iter().enumerate() {
            script.push_str(&format!(
                "exec {}<&{} {}<&-; ",
                3 + index,
                ASIDE + index,
                ASIDE + index
            ));
        }
        // A channel has a program of its own; the others take their instance as an argument.
        let (family, instance) = match role.split_once('-') {
            Some((family, instance)) if family != "channel" => (family, instance),
            _ => (role, ""),
        };
        let program = binary(&format!("clawdbot-{family}"));
        let through = match kernel {
            "" => String::new(),
            lacks => format!("{} {lacks} -- ", binary("clawdbot-simulate").display()),
        };
        script.push_str(&format!(
            "export LISTEN_PID=$$; exec {through}{} {instance}",
            program.display()
        ));
        let state = self.scratch.state();
        let mut command = Command::new("/bin/bash");
        command
            .args(["-c", &script])
            .env_clear()
            .stdin(Stdio::null());
        command
            .env("LISTEN_FDS", clients.len().to_string())
            .env("LISTEN_FDNAMES", clients.join(":"));
        command.env("NOTIFY_SOCKET", self.scratch.path().join("notify"));
        command.env(system::STATE_VARIABLE, &state);
        command.env(system::CONFIG_VARIABLE, state.join("clawdbot.json"));
        command.env(system::WORKSPACES_VARIABLE, self.scratch.home());
        command.env(system::RUNTIME_VARIABLE, self.runtime());
        command.env("SECRET_LEFTOVER", "canary");
        if let Some(journal) = &self.journal {
            command.env("CLAWDBOT_JOURNAL", journal);
        }
        let (mut lines, end) = std::io::pipe().unwrap();
        let mut log = File::create(self.scratch.path().join(format!("{role}.log"))).unwrap();
        let written = std::thread::spawn(move || {
            std::io::copy(&mut lines, &mut log).unwrap();
        });
        command.stdout(Stdio::null()).stderr(end);
        self.running
            .push(Running(command.spawn().unwrap(), written));
    }

    /// Waits for the next READY and returns its lines.
    fn ready(&self) -> String {
        self.hears("READY=1")
    }

    /// Waits for the next lines that say this.
    fn hears(&self, words: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.notify.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("no {words}: {error}\n{}", self.logs());
            });
            let lines = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if lines.contains(words) {
                return lines;
            }
        }
    }

    /// Ends the process that was started last as a manager does, and waits for it.
    fn stop(&mut self) -> ExitStatus {
        let running = self.running.pop().unwrap();
        let pid = rustix::process::Pid::from_child(&running.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        running.ended()
    }

    /// Waits for the end of the process that was started last.
    fn ended(&mut self) -> ExitStatus {
        self.running.pop().unwrap().ended()
    }

    fn logs(&self) -> String {
        let entries = std::fs::read_dir(self.scratch.path())
            .unwrap()
            .filter_map(Result::ok);
        let logs = entries
            .map(|entry| entry.path())
            .filter(|path| is_log(path));
        logs.map(|path| std::fs::read_to_string(path).unwrap_or_default())
            .collect()
    }

    /// Waits for a start that is refused, and whose log and status line say these words.
    fn refused(&mut self, words: &[&str]) {
        let code = self.ended().code();
        assert_eq!(code, Some(78), "{}", self.logs());
        let mut buffer = [0; 4096];
        // What an earlier process said last may still lie there.
        loop {
            let length = self.notify.recv(&mut buffer).unwrap();
            let status = String::from_utf8_lossy(&buffer[..length]);
            let said = |word: &&str| status.contains(*word);
            if status.starts_with("STATUS=") && words.iter().all(said) {
                break;
            }
        }
        for word in words {
            self.logged(word);
        }
    }

    /// Waits for a line of a log: it comes over a pipe, behind what the process does.
    fn logged(&self, text: &str) {
        let said = || self.logs().contains(text);
        assert!(
            eventually(Duration::from_secs(60), said),
            "no {text:?}: {}",
            self.logs()
        );
    }

    fn connect(&self, server: &str, client: &str) -> UnixStream {
        UnixStream::connect(self.socket(server, client)).unwrap()
    }
}

fn role(text: &str) -> Role {
    Role::parse(text).unwrap()
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

impl Drop for Manager {
    fn drop(&mut self) {
        for Running(child, _) in &mut self.running {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

#[tokio::test]
async fn the_name_of_the_socket_is_the_role_of_whoever_connects() {
    let mut manager = Manager::new();
    manager.start("policy", &["gateway", "executor"]);
    let ready = manager.ready();
    let (words, confinement) = clawdbot_service::split_status(ready.trim_end());
    assert!(words.ends_with("\nSTATUS=configuration 1"), "{ready}");
    assert_eq!(confinement.and_then(clawdbot_service::level), Some("full"));
    let verify = "/clawdbot.v1.Access/Verify";
    let (status, message) = call_raw(&manager.connect("policy", "gateway"), verify).await;
    assert_ne!(status, 7, "{message}");
    let (status, message) = call_raw(&manager.connect("policy", "executor"), verify).await;
    assert_eq!(status, 7, "{message}");
    // A second connection to the same socket has the same role.
    let (status, _) = call_raw(&manager.connect("policy", "gateway"), verify).await;
    assert_ne!(status, 7);
}

#[tokio::test]
async fn processes_find_each_other_by_path_and_again_after_a_restart() {
    let mut manager = Manager::new();
    // The executor asks policy over policy/executor.sock.
    manager.start(
        "policy",
        &["gateway", "executor", "agent-main", "supervisor"],
    );
    manager.ready();
    manager.start("executor", &["agent-main"]);
    manager.ready();
    let list = "/clawdbot.v1.Executor/ListTools";
    let (status, message) = call_raw(&manager.connect("executor", "agent-main"), list).await;
    assert_ne!(status, 14, "policy was reached: {message}");

    let mut policy = manager.running.remove(0);
    policy.0.kill().unwrap();
    policy.ended();
    for client in ["gateway", "executor", "agent-main", "supervisor"] {
        std::fs::remove_file(manager.socket("policy", client)).unwrap();
    }
    manager.start(
        "policy",
        &["gateway", "executor", "agent-main", "supervisor"],
    );
    manager.ready();
    let (status, message) = call_raw(&manager.connect("executor", "agent-main"), list).await;
    assert_ne!(status, 14, "policy was reached again: {message}");
}

#[test]
fn what_the_manager_left_open_is_closed() {
    let mut manager = Manager::new();
    manager.start("policy", &["gateway"]);
    manager.ready();
    for leftover in &mut manager.leftovers {
        rustix::fs::fcntl_setfl(&*leftover, rustix::fs::OFlags::NONBLOCK).unwrap();
        // Without an end it is told to come again. What another test starts meanwhile has one, too, until it closes it.
        let closed = || leftover.read(&mut [0]).is_ok_and(|count| count == 0);
        assert!(eventually(Duration::from_secs(60), closed));
    }
}

#[test]
fn the_manager_s_variables_do_not_stay() {
    let mut manager = Manager::new();
    manager.start("policy", &["gateway"]);
    let ready = manager.ready();
    assert!(ready.contains("READY=1"), "{ready}");
    // What the kernel shows of its environment is nothing, as the process has measured itself.
    assert!(ready.contains(" env=0 "), "{ready}");
    assert!(!manager.logs().contains("canary"));
}

#[test]
fn a_manager_ends_every_process_in_good_order() {
    let roles: [(&str, &[&str]); 8] = [
        ("policy", &["gateway"]),
        ("broker", &["policy"]),
        ("dialer", &["policy"]),
        ("executor", &["agent-main"]),
        ("gateway", &["operator"]),
        ("agent-guest", &["gateway"]),
        ("model-builtin", &["agent-guest"]),
        ("channel-telegram", &[]),
    ];
    for (role, clients) in roles {
        let mut manager = Manager::new();
        manager.start(role, clients);
        manager.ready();
        // The process itself, not its group; a signal that the filter does not know would show here.
        let status = manager.stop();
        assert_eq!(
            status.code(),
            Some(0),
            "{role}: {status}\n{}",
            manager.logs()
        );
        manager.hears("STOPPING=1");
    }
}

#[test]
fn records_go_to_the_journal_and_to_the_error_stream_when_it_is_gone() {
    let mut manager = Manager::new();
    let path = manager.scratch.path().join("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    let patience = Some(Duration::from_secs(60));
    journal.set_read_timeout(patience).unwrap();
    manager.journal = Some(path);
    manager.start("dialer", &["policy"]);
    manager.ready();
    let mut record = [0; 65_536];
    let text = loop {
        let length = journal.recv(&mut record).unwrap();
        let text = String::from_utf8_lossy(&record[..length]).into_owned();
        if text.starts_with("MESSAGE=ready\n") {
            break text;
        }
    };
    assert_eq!(
        text,
        "MESSAGE=ready\nPRIORITY=6\nSYSLOG_IDENTIFIER=clawdbot-dialer\nCLAWDBOT_ROLE=dialer\nCLAWDBOT_LEVEL=info\n"
    );
    assert_eq!(manager.logs(), "", "once is enough");
    drop(journal);
    assert!(manager.stop().success());
    manager.logged("the service manager ends this process");
    let log = manager.logs();
    let line: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(line["message"], "the service manager ends this process");
    assert!(
        line["journal"].as_str().unwrap().contains("refused"),
        "{line}"
    );
}

#[test]
fn a_journal_that_is_not_there_is_said_and_stops_nobody() {
    let mut manager = Manager::new();
    manager.journal = Some(manager.scratch.path().join("nothing"));
    manager.start("dialer", &["policy"]);
    manager.ready();
    assert!(manager.stop().success());
    manager.logged("the journal cannot be reached");
    manager.logged("the service manager ends");
}

#[test]
fn the_front_door_opens_before_anybody_else_runs_and_says_what_it_waits_for() {
    let mut manager = Manager::new();
    manager.start("gateway", &["operator"]);
    let ready = manager.ready();
    assert!(ready.contains("STATUS=waiting for policy"), "{ready}");
    manager.start("policy", &["gateway"]);
    manager.hears("STATUS=not listening yet");
}

#[test]
fn a_channel_without_an_account_ends_by_itself() {
    let mut manager = Manager::new();
    manager.start("policy", &["channel-telegram"]);
    manager.ready();
    manager.start("channel-telegram", &[]);
    let status = manager.ended();
    assert_eq!(status.code(), Some(0), "{}", manager.logs());
    manager.hears("STATUS=the configuration has no Telegram account");
    manager.logged("has no Telegram account");
}

#[test]
fn who_lacks_confinement_ends_when_the_configuration_asks_for_all_of_it() {
    let mut manager = Manager::new();
    manager.start("policy", &["executor", "gateway"]);
    manager.ready();
    manager.start("gateway", &["operator"]);
    manager.hears("STATUS=not listening yet");
    manager.start_on("no-landlock", "executor", &["agent-main"]);
    let ready = manager.ready();
    assert!(ready.contains("level=partial"), "{ready}");
    manager
        .scratch
        .configure("{ sandbox: { require: 'full' } }");
    let status = manager.ended();
    assert_eq!(status.code(), Some(78), "{}", manager.logs());
    manager.hears("STATUS=sandbox.require is \"full\", but executor");
    // Who has all of it goes on.
    assert!(manager.stop().success(), "{}", manager.logs());
}

#[test]
fn the_configuration_s_log_level_reaches_a_running_process() {
    for (level, is_heard) in [("info", true), ("error", false)] {
        let mut manager = Manager::new();
        let config = format!("{{ logging: {{ level: '{level}' }} }}");
        manager.scratch.configure(&config);
        manager.start("gateway", &["operator"]);
        manager.ready();
        manager.start("policy", &["gateway"]);
        // Said with its part of the configuration.
        manager.hears("STATUS=not listening yet");
        let policy = manager.running.pop().unwrap();
        manager.stop();
        manager.running.push(policy);
        let ended = r#""role":"gateway","level":"info","message":"the service manager ends"#;
        if is_heard {
            manager.logged(ended);
        }
        let log = manager.logs();
        assert_eq!(log.contains(ended), is_heard, "{log}");
    }
}

#[test]
fn sockets_without_names_are_refused() {
    let scratch = Scratch::new();
    let script = format!(
        "export LISTEN_PID=$$; exec {}",
        binary("clawdbot-policy").display()
    );
    let mut command = Command::new("/bin/bash");
    command
        .args(["-c", &script])
        .env_clear()
        .env("LISTEN_FDS", "1");
    command.stdin(Stdio::null()).current_dir(scratch.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        log.contains("FileDescriptorName") || log.contains("LISTEN_FDS"),
        "{log}"
    );
}

#[test]
fn a_program_started_by_hand_says_who_starts_it() {
    for program in ["gateway", "policy", "broker", "dialer", "executor"] {
        let mut command = Command::new(binary(&format!("clawdbot-{program}")));
        let output = command.env_clear().stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(log.contains("clawdbot up"), "{log}");
    }
}

#[tokio::test]
async fn the_operator_has_a_folder_of_its_own() {
    let mut manager = Manager::new();
    manager.start("policy", &["operator"]);
    manager.ready();
    let path = manager.runtime().join("operator/policy.sock");
    let status = "/clawdbot.v1.PolicyOperator/Status";
    let (code, message) = call_raw(&UnixStream::connect(path).unwrap(), status).await;
    assert_eq!(code, 0, "{message}");
}

#[test]
fn a_server_without_its_sockets_does_not_start_and_names_them() {
    let mut manager = Manager::new();
    manager.start("executor", &[]);
    manager.refused(&[
        "clawdbot-executor-from-agent-main.socket, clawdbot-executor-from-agent-guest.socket",
        "systemctl start clawdbot.target",
    ]);
}

#[test]
fn sockets_that_others_could_replace_are_not_served() {
    let mut manager = Manager::new();
    rustix::fs::chmod(manager.runtime(), rustix::fs::Mode::from_raw_mode(0o770)).unwrap();
    manager.start("policy", &["gateway"]);
    manager.refused(&[
        "runtime can be written by others (mode 0770)",
        "systemd-tmpfiles --create",
    ]);
}

#[test]
fn a_state_directory_that_others_can_write_is_refused() {
    let mut manager = Manager::new();
    let state = manager.scratch.state();
    rustix::fs::chmod(&state, rustix::fs::Mode::from_raw_mode(0o777)).unwrap();
    manager.start("policy", &["gateway"]);
    manager.refused(&["can be written by others (mode 0777)", "chmod 0700"]);
}

/// What policy has written for the start of the others, in the runtime folder or in the state directory.
fn plan(place: &Path, settings: &str) {
    let path = system::settings_file(place);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, settings).unwrap();
}

#[test]
fn full_confinement_is_required_by_what_policy_has_written_or_by_a_file_that_says_nothing() {
    let lacking = "no-landlock";
    let (available, full) = (
        "log_level=info\nsandbox_require=available\n",
        "log_level=info\nsandbox_require=full\n",
    );
    // Said since the machine started, and before.
    for (said, kept, starts) in [
        (Some(available), None, true),
        (Some(full), None, false),
        (Some("log_level=info\nsandbox_re"), None, false),
        (None, Some(full), false),
        (None, Some(available), true),
        (Some(available), Some(full), true),
        (Some(full), Some(available), false),
    ] {
        let mut manager = Manager::new();
        for (place, settings) in [(manager.runtime(), said), (manager.scratch.state(), kept)] {
            if let Some(settings) = settings {
                plan(&place, settings);
            }
        }
        manager.start_on(lacking, "executor", &["agent-main"]);
        match starts {
            true => assert!(manager.ready().contains("level=partial")),
            false => manager.refused(&["sandbox.require", "landlock is missing"]),
        }
        // It says itself what is required, whatever it said when it ended.
        manager.start_on(lacking, "policy", &["gateway"]);
        assert!(
            manager.ready().contains("level=partial"),
            "{said:?} {kept:?}"
        );
    }
}

#[test]
fn what_the_configuration_requires_holds_after_a_restart_of_the_machine_before_policy_runs() {
    let mut manager = Manager::new();
    for place in [manager.runtime(), manager.scratch.state()] {
        std::fs::create_dir(system::plan_folder(&place)).unwrap();
    }
    manager
        .scratch
        .configure("{ sandbox: { require: 'full' } }");
    manager.start("policy", &["executor"]);
    manager.ready();
    assert!(manager.stop().success(), "{}", manager.logs());
    std::fs::remove_dir_all(system::plan_folder(&manager.runtime())).unwrap();
    manager.start_on("no-landlock", "executor", &["agent-main"]);
    manager.refused(&["sandbox.require", "landlock is missing"]);
}

#[test]
fn a_settings_file_that_cannot_be_read_right_is_named() {
    let mut manager = Manager::new();
    plan(
        &manager.runtime(),
        "log_level=loud\nsandbox_require=available\n",
    );
    manager.start("executor", &["agent-main"]);
    manager.ready();
    manager.logged("plan/settings: its log_level has no value of this version");
}

#[test]
fn the_log_level_of_the_plan_counts_from_the_start() {
    let mut manager = Manager::new();
    plan(
        &manager.runtime(),
        "log_level=error\nsandbox_require=available\n",
    );
    manager.start("executor", &["agent-main"]);
    manager.ready();
    assert!(!manager.logs().contains("confined"), "{}", manager.logs());
    let mut manager = Manager::new();
    manager.start("executor", &["agent-main"]);
    manager.ready();
    manager.logged("confined");
}
