//! The built launcher, started as it will be: what a tool can do in it, and what it cannot.
#![cfg(target_os = "linux")]
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::RwLock;

use clawdbot_confine::frame::{self, FrameReader, Progress};
use clawdbot_proto::v1;
use prost::Message;

/// Who tools run as when the tests run as root, which the launcher refuses to be.
const NOBODY: u32 = 65_534;

/// A file that a child of another test inherits open for writing cannot be executed: copying excludes
/// forking.
static FORKS: RwLock<()> = RwLock::new(());

fn copy(from: &Path, to: &Path) {
    let _nobody_forks = FORKS.write().unwrap();
    fs::copy(from, to).unwrap();
    fs::set_permissions(to, Permissions::from_mode(0o755)).unwrap();
}

fn spawn(command: &mut Command) -> Child {
    let _nobody_copies = FORKS.read().unwrap();
    command.spawn().unwrap()
}

/// Runs a command to its end outside the sandbox; true and what it wrote when it succeeded.
fn free(command: &mut Command) -> (bool, String) {
    let output = spawn(command.stdout(Stdio::piped()))
        .wait_with_output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs as an ordinary user.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// A folder of the user that tools run as.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    if is_root() {
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    folder
}

struct Rig {
    workspace: tempfile::TempDir,
    _bin: tempfile::TempDir,
    launcher: PathBuf,
}

/// What came of a request.
#[derive(Debug, PartialEq)]
struct Outcome {
    stdout: String,
    stderr: String,
    status: Option<i32>,
    /// The rule of the launcher's refusal; none when a program was started.
    refused: Option<String>,
}

impl Rig {
    fn new() -> Self {
        // A copy that the ordinary user can reach, wherever the build lies.
        let bin = tempfile::tempdir().unwrap();
        fs::set_permissions(bin.path(), Permissions::from_mode(0o755)).unwrap();
        let launcher = bin.path().join("clawdbot-sandbox");
        let built = std::env::var("CARGO_BIN_EXE_clawdbot-sandbox").unwrap();
        copy(Path::new(&built), &launcher);
        Self {
            workspace: folder(),
            _bin: bin,
            launcher,
        }
    }

    fn start(&self) -> (Child, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut shell = unprivileged(Path::new("/bin/sh"));
        // The shell only moves the connection to descriptor 3.
        shell
            .args(["-c", "exec \"$0\" 3<&0 </dev/null"])
            .arg(&self.launcher);
        let child = spawn(shell.stdin(Stdio::from(OwnedFd::from(theirs))));
        (child, ours)
    }

    fn run(&self, request: &v1::SandboxRequest) -> Outcome {
        self.run_in(request, &File::open(self.workspace.path()).unwrap())
    }

    fn run_in(&self, request: &v1::SandboxRequest, workspace: &File) -> Outcome {
        let (child, control) = self.start();
        exchange(child, &control, request, workspace)
    }

    /// As the service manager does it: the connection is the standard input and output, the class the only argument.
    fn managed(&self, mut command: Command) -> (Child, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let output = theirs.try_clone().unwrap();
        command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(OwnedFd::from(output)))
            .stderr(Stdio::null());
        (spawn(&mut command), ours)
    }

    /// Runs a line of shell in the sandbox.
    fn shell(&self, line: &str) -> Outcome {
        self.run(&request(&["/bin/sh", "-c", line]))
    }
}

fn exchange(
    mut child: Child,
    control: &UnixStream,
    request: &v1::SandboxRequest,
    workspace: &File,
) -> Outcome {
    let (mut stdout, stdout_theirs) = std::io::pipe().unwrap();
    let (mut stderr, stderr_theirs) = std::io::pipe().unwrap();
    let (stdin_theirs, mut stdin) = std::io::pipe().unwrap();
    let fds: [BorrowedFd<'_>; 4] = [
        stdin_theirs.as_fd(),
        stdout_theirs.as_fd(),
        stderr_theirs.as_fd(),
        workspace.as_fd(),
    ];
    // One that refuses to be who it is has ended without looking at it.
    let _unread = frame::send(control, &request.encode_to_vec(), &fds);
    drop((stdout_theirs, stderr_theirs, stdin_theirs));
    // A program that reads nothing may be gone already.
    let _unread = stdin.write_all(b"from outside\n");
    drop(stdin);
    let refused = match FrameReader::new().read_from(control).unwrap() {
        Progress::Closed => None,
        Progress::Frame(frame) => Some(
            v1::SandboxReply::decode(frame.payload.as_slice())
                .unwrap()
                .rule,
        ),
    };
    let (mut out, mut err) = (String::new(), String::new());
    stdout.read_to_string(&mut out).unwrap();
    stderr.read_to_string(&mut err).unwrap();
    let status = child.wait().unwrap().code();
    Outcome {
        stdout: out,
        stderr: err,
        status,
        refused,
    }
}

fn request(argv: &[&str]) -> v1::SandboxRequest {
    v1::SandboxRequest {
        argv: argv.iter().map(ToString::to_string).collect(),
        env: vec![v1::SandboxVariable {
            name: "PATH".into(),
            value: "/usr/bin:/bin".into(),
        }],
        cwd: String::new(),
        limits: Some(v1::SandboxLimits {
            cpu_seconds: 20,
            memory_bytes: 4 << 30,
            processes: 10_000,
            file_bytes: 1 << 20,
        }),
    }
}

fn started(stdout: &str) -> Outcome {
    Outcome {
        stdout: stdout.into(),
        stderr: String::new(),
        status: Some(0),
        refused: None,
    }
}

#[test]
fn a_program_runs_and_its_streams_are_the_ones_handed_over() {
    let rig = Rig::new();
    assert_eq!(
        rig.run(&request(&["/bin/echo", "hello", "$HOME *"])),
        started("hello $HOME *\n")
    );
    assert_eq!(rig.run(&request(&["/bin/cat"])), started("from outside\n"));
    assert_eq!(rig.shell("echo bad >&2; exit 3").stderr, "bad\n");
    assert_eq!(rig.shell("exit 3").status, Some(3));
}

#[test]
fn the_environment_is_the_one_of_the_request_and_nothing_is_open_beside_the_streams() {
    let rig = Rig::new();
    assert_eq!(
        rig.run(&request(&["/usr/bin/env"])),
        started("PATH=/usr/bin:/bin\n")
    );
    let line = "for n in 3 4 5 6 7 8 9; do (eval \": <&$n\") 2>/dev/null && echo $n; done; :";
    assert_eq!(rig.shell(line), started(""));
}

#[test]
fn the_workspace_is_where_it_works_and_its_folders_can_be_chosen() {
    let rig = Rig::new();
    let line = "mkdir sub && echo text > sub/file && printf '#!/bin/sh\\necho ran' > run && chmod +x run && ./run";
    assert_eq!(rig.shell(line), started("ran\n"));
    assert_eq!(
        fs::read_to_string(rig.workspace.path().join("sub/file")).unwrap(),
        "text\n"
    );
    let below = |cwd: &str| v1::SandboxRequest {
        cwd: cwd.into(),
        ..request(&["/bin/ls"])
    };
    assert_eq!(rig.run(&below("sub")), started("file\n"));
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, rig.workspace.path().join(name)).unwrap();
    };
    link("/usr", "out");
    link("sub", "link");
    fs::create_dir(rig.workspace.path().join("sub/below")).unwrap();
    for folder in ["out", "out/bin", "link", "link/below", "none", "sub/file"] {
        assert_eq!(
            rig.run(&below(folder)).refused.as_deref(),
            Some("sandbox.request"),
            "{folder}"
        );
    }
    assert_eq!(rig.run(&below("sub/below")), started(""));
}

#[test]
fn files_outside_can_be_neither_read_nor_written() {
    let rig = Rig::new();
    let home = folder();
    fs::set_permissions(home.path(), Permissions::from_mode(0o777)).unwrap();
    let secret = home.path().join("secret");
    fs::write(&secret, "private").unwrap();
    let shown = secret.display();
    let lines = [
        (format!("cat {shown}"), "private"),
        (
            format!("echo x > {}", home.path().join("new").display()),
            "",
        ),
        ("cat /etc/profile > /dev/null".into(), ""),
        ("ls / > /dev/null".into(), ""),
        ("cat /proc/self/status > /dev/null".into(), ""),
    ];
    for (line, says) in &lines {
        let mut shell = unprivileged(Path::new("/bin/sh"));
        let outside = free(shell.args(["-c", line]).current_dir("/"));
        assert_eq!(outside, (true, (*says).into()), "the control: {line}");
    }
    fs::remove_file(home.path().join("new")).unwrap();
    for (line, _) in &lines {
        let boxed = rig.shell(line);
        assert_ne!(boxed.status, Some(0), "{line}: {boxed:?}");
        assert!(
            boxed.stdout.is_empty() && boxed.refused.is_none(),
            "{line}: {boxed:?}"
        );
        assert!(
            boxed.stderr.contains("ermission denied"),
            "{line}: {boxed:?}"
        );
    }
    assert!(!home.path().join("new").exists());
    assert_ne!(rig.shell("cat /etc/shadow").status, Some(0));
}

#[test]
fn the_program_is_in_an_empty_network_where_that_is_permitted() {
    let mut control = unprivileged(Path::new("/usr/bin/unshare"));
    let (permitted, _) = free(control.args(["--user", "--net", "/bin/true"]));
    let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
    let rig = Rig::new();
    let seen = rig.run(&request(&["/usr/bin/readlink", "/proc/self/ns/net"]));
    assert!(seen.stdout.starts_with("net:["), "{seen:?}");
    let same = Path::new(seen.stdout.trim()) == outside;
    assert_eq!(same, !permitted, "{seen:?}");
    // Whose files the workspace's are is as before.
    assert_eq!(
        rig.shell("test -O . && touch new && test -O new").status,
        Some(0)
    );
}

#[test]
fn no_socket_can_be_made() {
    let rig = Rig::new();
    // This test program again, as a tool that tries.
    let probe = rig.workspace.path().join("probe");
    copy(&std::env::current_exe().unwrap(), &probe);
    let path = probe.to_str().unwrap();
    let mut request = request(&[path, "--exact", "tool_that_tries_to_listen", "--nocapture"]);
    request.env.push(v1::SandboxVariable {
        name: "TRY".into(),
        value: "1".into(),
    });
    let boxed = rig.run(&request);
    assert!(
        boxed.stdout.contains("tried: PermissionDenied"),
        "{boxed:?}"
    );
    let (_, outside) = free(
        Command::new(&probe)
            .args(["--exact", "tool_that_tries_to_listen", "--nocapture"])
            .env("TRY", "1"),
    );
    assert!(
        outside.contains("tried: it listens"),
        "the control: {outside}"
    );
}

/// Not a test but a tool for the one above.
#[test]
fn tool_that_tries_to_listen() {
    if std::env::var_os("TRY").is_some() {
        match TcpListener::bind("127.0.0.1:0") {
            Ok(_) => println!("tried: it listens"),
            Err(error) => println!("tried: {:?}", error.kind()),
        }
    }
}

#[test]
fn limits_hold_in_the_program() {
    let rig = Rig::new();
    assert_eq!(
        rig.shell("ulimit -t; ulimit -v; ulimit -c"),
        started("20\n4194304\n0\n")
    );
    assert_ne!(rig.shell("head -c 2000000 /dev/zero > big").status, Some(0));
    let length = fs::metadata(rig.workspace.path().join("big"))
        .unwrap()
        .len();
    assert_eq!(length, 1 << 20, "the file stops growing where its limit is");
}

#[test]
fn a_pipe_that_nobody_reads_ends_a_program_as_usual() {
    let rig = Rig::new();
    assert_eq!(rig.shell("yes | head -n 1"), started("y\n"));
}

#[test]
fn what_is_wrong_is_refused_by_name_and_nothing_runs() {
    let rig = Rig::new();
    let refused = |argv: &[&str]| {
        let outcome = rig.run(&request(argv));
        (outcome.refused.unwrap(), outcome.status.unwrap())
    };
    assert_eq!(refused(&["echo", "x"]), ("sandbox.request".into(), 65));
    assert_eq!(
        refused(&["/bin/no-such-program"]),
        ("sandbox.exec".into(), 127)
    );
    assert_eq!(refused(&["/etc/passwd"]), ("sandbox.exec".into(), 127));
    for (workspace, why) in [("/usr", "of somebody else"), ("/dev/null", "no folder")] {
        let outcome = rig.run_in(&request(&["/bin/echo"]), &File::open(workspace).unwrap());
        assert_eq!(outcome.refused.as_deref(), Some("sandbox.request"), "{why}");
        assert_eq!(outcome.stdout, "");
    }
    // A text without #! is no program, and no shell is asked to guess.
    fs::write(rig.workspace.path().join("text"), "echo guessed").unwrap();
    fs::set_permissions(
        rig.workspace.path().join("text"),
        Permissions::from_mode(0o755),
    )
    .unwrap();
    let text = rig.workspace.path().join("text");
    assert_eq!(
        refused(&[text.to_str().unwrap()]),
        ("sandbox.exec".into(), 127)
    );
}

#[test]
fn too_few_descriptors_or_no_request_start_nothing() {
    let rig = Rig::new();
    let (mut child, control) = rig.start();
    frame::send(&control, &request(&["/bin/echo"]).encode_to_vec(), &[]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(65));
    let (mut child, control) = rig.start();
    drop(control);
    assert_eq!(child.wait().unwrap().code(), Some(65));
}

#[test]
fn root_is_not_who_a_tool_runs_as() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "exec \"$0\" 3<&0 </dev/null"])
        .arg(&rig.launcher);
    let mut child = spawn(shell.stdin(Stdio::from(OwnedFd::from(theirs))));
    assert_eq!(child.wait().unwrap().code(), Some(78));
    drop(ours);
}

#[test]
fn as_a_unit_it_is_nobody_but_its_class_s_user() {
    let rig = Rig::new();
    let mut command = unprivileged(&rig.launcher);
    command.arg("main");
    let (child, control) = rig.managed(command);
    let workspace = File::open(rig.workspace.path()).unwrap();
    let outcome = exchange(child, &control, &request(&["/bin/echo", "ran"]), &workspace);
    assert_eq!(
        (
            outcome.refused.as_deref(),
            outcome.status,
            outcome.stdout.as_str()
        ),
        (Some("sandbox.confinement"), Some(78), "")
    );
    for arguments in [&["main"][..], &["root"], &["main", "guest"]] {
        let mut command = unprivileged(&rig.launcher);
        command.args(arguments).stdin(Stdio::null());
        let output = spawn(command.stderr(Stdio::piped())).wait_with_output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(65), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

/// The users of the package are in a list of users that this test alone sees, which needs root.
#[test]
fn the_classes_users_run_programs_in_their_own_workspace_and_not_in_each_others() {
    if !is_root() {
        return;
    }
    const USERS: [(&str, u32); 2] = [("main", 64_101), ("guest", 64_102)];
    let rig = Rig::new();
    let list = rig.workspace.path().join("passwd");
    let row = |(class, uid): (&str, u32)| {
        format!("clawdbot-sandbox-{class}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n")
    };
    let system = fs::read_to_string("/etc/passwd").unwrap();
    fs::write(&list, system + &USERS.map(row).concat()).unwrap();
    fs::set_permissions(&list, Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(rig.workspace.path(), Permissions::from_mode(0o755)).unwrap();
    for (class, uid) in USERS {
        let workspace = tempfile::tempdir().unwrap();
        chown(workspace.path(), Some(uid), Some(uid)).unwrap();
        let folder = File::open(workspace.path()).unwrap();
        for (runs, own) in USERS {
            let mut command = Command::new("unshare");
            let script = "mount --bind \"$1\" /etc/passwd && \
                exec setpriv --reuid \"$2\" --regid \"$2\" --clear-groups -- \"$0\" \"$3\"";
            command
                .args(["--mount", "/bin/sh", "-c", script])
                .arg(&rig.launcher)
                .arg(&list)
                .args([&own.to_string(), class]);
            let (child, control) = rig.managed(command);
            let call = request(&["/bin/sh", "-c", "echo $$ >file && /usr/bin/id -u"]);
            let outcome = exchange(child, &control, &call, &folder);
            if runs == class {
                assert_eq!(
                    (outcome.stdout.trim(), outcome.status, outcome.refused),
                    (uid.to_string().as_str(), Some(0), None),
                    "{}",
                    outcome.stderr
                );
                assert!(workspace.path().join("file").exists());
            } else {
                assert_eq!(outcome.refused.as_deref(), Some("sandbox.confinement"));
                assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(78), ""));
            }
        }
    }
}
