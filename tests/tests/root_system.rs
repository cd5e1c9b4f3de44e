//! System mode with a user for each role, as only root can start it: who may use a socket whatever its
//! mode says, whose the state directory has to be, and what a user namespace hides. The users are rows
//! of a passwd file that only these processes see.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::chown;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_service::system;
use clawdbot_tests::kernel::eventually;
use clawdbot_tests::{Scratch, binary, log_pipe, runs_as_root};
use rustix::fs::Mode;

const GATEWAY: u32 = 61_101;
const POLICY: u32 = 61_102;
const AGENT: u32 = 61_103;
/// Has no row.
const EXECUTOR: u32 = 61_104;
const PERSON: u32 = 61_105;

const USERS: [(&str, u32); 3] = [
    ("gateway", GATEWAY),
    ("policy", POLICY),
    ("agent-main", AGENT),
];

/// Where listeners stand until they get their numbers.
const ASIDE: usize = 500;

struct Machine {
    scratch: Scratch,
    notify: UnixDatagram,
    running: Vec<Child>,
}

fn role(text: &str) -> Role {
    Role::parse(text).unwrap()
}

fn mode(path: &Path, mode: u32) {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode)).unwrap();
}

/// A folder of the given user.
fn folder(path: &Path, owner: u32, access: u32) {
    std::fs::create_dir_all(path).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
    mode(path, access);
}

impl Machine {
    /// As the package leaves it, for policy and the owner's agent.
    fn new() -> Self {
        assert!(runs_as_root(), "these tests are root's");
        let scratch = Scratch::passable();
        let path = |name: &str| scratch.path().join(name);
        for (name, owner, access) in [
            ("runtime", 0, 0o755),
            ("runtime/policy", 0, 0o755),
            ("runtime/agent-main", 0, 0o755),
            ("runtime/operator", 0, 0o755),
            ("etc", 0, 0o755),
            ("work", AGENT, 0o750),
            ("state", 0, 0o711),
            ("state/pairing", POLICY, 0o700),
            ("state/audit", POLICY, 0o700),
            ("state/sessions", 0, 0o711),
            ("state/sessions/main", AGENT, 0o700),
        ] {
            folder(&path(name), owner, access);
        }
        std::fs::write(path("etc/clawdbot.json"), "{}").unwrap();
        let mut passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        for (name, uid) in USERS {
            let name = system::user_of(&role(name));
            passwd.push_str(&format!(
                "{name}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n"
            ));
        }
        std::fs::write(path("passwd"), passwd).unwrap();
        mode(&path("passwd"), 0o644);
        let notify = UnixDatagram::bind(path("notify")).unwrap();
        mode(&path("notify"), 0o666);
        notify
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self {
            scratch,
            notify,
            running: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn socket(&self, server: &str, client: &str) -> PathBuf {
        system::socket_in(&self.path("runtime"), &role(server), &role(client))
    }

    /// Starts the program of a role as its user. `apart`: in a user namespace that has numbers for root
    /// and this user alone, as `PrivateUsers=yes` makes it.
    fn start(&mut self, name: &str, clients: &[&str], apart: bool) {
        let (_, uid) = *USERS.iter().find(|(user, _)| *user == name).unwrap();
        let mut script = format!(
            "mount --bind {} /etc/passwd; ",
            self.path("passwd").display()
        );
        let mut listeners = Vec::new();
        for (index, client) in clients.iter().enumerate() {
            let path = self.socket(name, client);
            let listener = UnixListener::bind(&path).unwrap();
            // Anybody reaches it, so that only the second check is in the way.
            mode(&path, 0o666);
            rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
            let at = ASIDE + index;
            script.push_str(&format!("exec {at}<&{}; ", listener.as_raw_fd()));
            listeners.push(listener);
        }
        let (family, instance) = name.split_once('-').unwrap_or((name, ""));
        let mut started = String::new();
        for index in 0..clients.len() {
            let at = ASIDE + index;
            started.push_str(&format!("exec {}<&{at} {at}<&-; ", 3 + index));
        }
        started.push_str(&format!(
            "export LISTEN_PID=$$; exec setpriv --reuid={uid} --regid={uid} --clear-groups --inh-caps=-all --bounding-set=-all {} {instance}",
            binary(&format!("clawdbot-{family}")).display()
        ));
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "bash", "-c"]);
        match apart {
            true => command
                .arg(format!("{script} exec unshare --user bash -c \"$0\""))
                .arg(format!("echo; read -r _; {started}")),
            false => command.arg(script + &started),
        };
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LISTEN_FDS", clients.len().to_string())
            .env("LISTEN_FDNAMES", clients.join(":"))
            .env("NOTIFY_SOCKET", self.path("notify"))
            .env(system::STATE_VARIABLE, self.path("state"))
            .env(system::CONFIG_VARIABLE, self.path("etc/clawdbot.json"))
            .env(system::RUNTIME_VARIABLE, self.path("runtime"))
            .env(system::WORKSPACES_VARIABLE, self.path("work"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_pipe(&self.path(&format!("log-{}", self.running.len()))));
        let mut child = command.spawn().unwrap();
        if apart {
            let mut line = String::new();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            assert_eq!(stdout.read_line(&mut line).unwrap(), 1, "{}", self.log());
            for file in ["uid_map", "gid_map"] {
                let file = format!("/proc/{}/{file}", child.id());
                std::fs::write(file, format!("0 0 1\n{uid} {uid} 1\n")).unwrap();
            }
            child.stdin.take().unwrap().write_all(b"\n").unwrap();
        }
        self.running.push(child);
    }

    fn ready(&self) {
        let mut buffer = [0; 4096];
        loop {
            let length = self.notify.recv(&mut buffer);
            let length = length.unwrap_or_else(|error| panic!("no READY: {error}\n{}", self.log()));
            if buffer[..length].starts_with(b"READY=1") {
                return;
            }
        }
    }

    /// Waits for a start that is refused, whose log and status line have these words.
    fn refused(&mut self, words: &[&str]) {
        let child = self.running.last_mut().unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(78), "{}", self.log());
        let mut buffer = [0; 4096];
        // Another process may say that it is alive.
        let status = loop {
            let length = self.notify.recv(&mut buffer).unwrap();
            let lines = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if lines.contains(words[0]) {
                break lines;
            }
        };
        for word in words {
            self.logged(word);
            assert!(
                status.starts_with("STATUS=") && status.contains(word),
                "{word}: {status}"
            );
        }
    }

    /// What the last one that was started has written.
    fn log(&self) -> String {
        let last = self.running.len().saturating_sub(1);
        std::fs::read_to_string(self.path(&format!("log-{last}"))).unwrap_or_default()
    }

    /// Waits for a line of the log: it comes over a pipe, behind what the process does.
    fn logged(&self, text: &str) {
        let said = || self.log().contains(text);
        assert!(
            eventually(Duration::from_secs(60), said),
            "no {text:?}: {}",
            self.log()
        );
    }

    /// Whether a server answers who connects as this user.
    fn serves(&self, server: &str, client: &str, user: u32) -> bool {
        let path = self.socket(server, client);
        // Only this thread becomes the user.
        let thread = std::thread::spawn(move || {
            let (uid, gid) = (
                rustix::process::Uid::from_raw(user),
                rustix::process::Gid::from_raw(user),
            );
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            let mut stream = UnixStream::connect(path).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            // HTTP/2's first words, and empty settings. Whoever is refused may not get to say them.
            let _refused =
                stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
            match stream.read(&mut [0; 16]) {
                Ok(count) => count > 0,
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                    false
                }
            }
        });
        thread.join().unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

#[test]
fn a_socket_is_served_to_the_one_user_of_its_role_whatever_its_mode_says() {
    let mut machine = Machine::new();
    machine.start(
        "policy",
        &["gateway", "agent-main", "executor", "operator"],
        false,
    );
    machine.ready();
    for (client, served) in [("gateway", GATEWAY), ("agent-main", AGENT)] {
        for user in [0, GATEWAY, POLICY, AGENT, EXECUTOR, PERSON, 65_534] {
            let answered = machine.serves("policy", client, user);
            assert_eq!(answered, user == served, "{client} as {user}");
        }
    }
    // Its user is not installed.
    for user in [0, POLICY, EXECUTOR] {
        assert!(!machine.serves("policy", "executor", user), "{user}");
    }
    machine.logged("there is no user clawdbot-executor");
    machine.logged("refused a connection of another user");
    // The group of the socket says who is an operator.
    for user in [0, PERSON] {
        assert!(machine.serves("policy", "operator", user), "{user}");
    }
}

#[test]
fn who_cannot_see_its_callers_has_the_socket_alone_or_does_not_start() {
    let mut machine = Machine::new();
    machine.start("agent-main", &["gateway"], true);
    machine.ready();
    for user in [GATEWAY, EXECUTOR] {
        assert!(machine.serves("agent-main", "gateway", user), "{user}");
    }
    for user in [0, AGENT] {
        assert!(!machine.serves("agent-main", "gateway", user), "{user}");
    }
    machine.start("policy", &["gateway"], true);
    machine.refused(&["clawdbot-gateway", "PrivateUsers="]);
}

#[test]
fn a_state_directory_that_others_could_change_ends_the_start_with_the_remedy() {
    type Break = fn(&Machine);
    let rows: [(Break, &[&str]); 6] = [
        (
            |m| chown(m.path("state/audit"), Some(0), Some(0)).unwrap(),
            &["state/audit belongs to user 0", "chown -R 61102 "],
        ),
        (
            |m| std::fs::remove_dir(m.path("state/audit")).unwrap(),
            &[
                "state/audit is missing",
                "systemd-tmpfiles --create clawdbot.conf",
            ],
        ),
        (
            |m| mode(&m.path("state"), 0o731),
            &[
                "/state can be written by others than root (mode 0731)",
                "chmod 0711",
            ],
        ),
        (
            |m| mode(&m.path("state"), 0o700),
            &["/state cannot be passed", "chmod 0711"],
        ),
        (
            |m| chown(m.path("state"), Some(PERSON), None).unwrap(),
            &["/state belongs to user 61105", "chown root:root"],
        ),
        (
            |m| mode(&m.path("runtime"), 0o775),
            &[
                "/runtime can be written by others (mode 0775)",
                "systemd-tmpfiles",
            ],
        ),
    ];
    for (damage, words) in rows {
        let mut machine = Machine::new();
        damage(&machine);
        machine.start("policy", &["gateway"], false);
        machine.refused(words);
    }
    // A parent of several leaves.
    let mut machine = Machine::new();
    chown(machine.path("state/sessions"), Some(GATEWAY), None).unwrap();
    machine.start("agent-main", &["gateway"], false);
    machine.refused(&["/state/sessions belongs to user 61101"]);
}
