use super::*;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

fn shell() -> Program {
    Program::open(&std::fs::canonicalize("/bin/sh").unwrap()).unwrap()
}

fn stderr() -> OwnedFd {
    File::options()
        .write(true)
        .open("/dev/null")
        .unwrap()
        .into()
}

/// Starts a shell with a script that talks over descriptor 3.
fn run(script: &str) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = spawn(
        &shell(),
        &["sh", "-c", script],
        theirs.into(),
        stderr(),
        Leash::Parent,
    )
    .unwrap();
    (child, ours)
}

fn answer(script: &str) -> String {
    let (mut child, mut socket) = run(script);
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(0));
    text
}

#[test]
fn a_child_has_its_control_socket_and_nothing_else() {
    // Positive control: this one would be inherited by an ordinary fork and exec.
    let leak = File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(leak.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    // The shell's own descriptors for its redirections lie at 10 and above.
    let listed = answer(
        "for n in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && printf '%s ' $n; done >&3; true",
    );
    assert_eq!(listed.trim(), "0 1 2 3");
    // Read in a subshell: a redirection of the shell itself would show.
    let null =
        answer("in=$(readlink /proc/$$/fd/0) out=$(readlink /proc/$$/fd/1); echo $in $out >&3");
    assert_eq!(null, "/dev/null /dev/null\n");
}

#[test]
fn a_child_starts_with_an_empty_environment_in_its_own_session() {
    assert!(std::env::vars_os().count() > 0);
    assert_eq!(
        answer("tr '\\0' '\\n' < /proc/$$/environ >&3; pwd >&3"),
        "/\n"
    );
    let session = answer("cut -d' ' -f1,5,6 /proc/$$/stat >&3");
    let ids: Vec<&str> = session.split_whitespace().collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{session}");
}

#[test]
fn ignored_and_blocked_signals_do_not_reach_a_child() {
    // The runtime of this test ignores SIGPIPE; an inherited "ignored" would show in SigIgn.
    // Built-in commands only: while it waits for a child, the shell blocks signals itself.
    let masks = answer("while read key value; do echo $key $value; done < /proc/$$/status >&3");
    for line in masks
        .lines()
        .filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn"))
    {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
}

#[test]
fn a_child_can_be_ended_and_is_reaped_once() {
    let (mut child, mut socket) = run("printf r >&3; read line <&3");
    socket.read_exact(&mut [0]).unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill(Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Signal(libc::SIGTERM));
    assert_eq!(child.try_wait().unwrap(), Some(Exit::Signal(libc::SIGTERM)));
    child.kill(Signal::KILL).unwrap();
    let (mut other, mut socket) = run("read line <&3; exit 7");
    socket.write_all(b"go\n").unwrap();
    assert_eq!(other.wait().unwrap(), Exit::Code(7));
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_descriptor_tells_the_end() {
    use rustix::event::{PollFd, PollFlags, poll};
    let (mut child, mut socket) = run("read line <&3");
    let readable = |child: &Child, wait: Option<&_>| {
        let mut fds = [PollFd::from_borrowed_fd(
            child.pidfd().unwrap(),
            PollFlags::IN,
        )];
        poll(&mut fds, wait).unwrap() == 1
    };
    let at_once = rustix::event::Timespec::default();
    assert!(!readable(&child, Some(&at_once)));
    socket.write_all(b"go\n").unwrap();
    assert!(readable(&child, None));
    assert!(child.try_wait().unwrap().is_some());
}

#[cfg(target_os = "linux")]
#[test]
fn children_die_with_their_parent() {
    use crate::test_child::in_child;
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let status = in_child(|| {
        let script = "printf r >&3; while :; do read line; done";
        let theirs = theirs.try_clone().unwrap();
        spawn(
            &shell(),
            &["sh", "-c", script],
            theirs.into(),
            stderr(),
            Leash::Parent,
        )
        .unwrap();
        ours.read_exact(&mut [0]).unwrap();
        0
    });
    assert_eq!(status.exit(), 0);
    drop(theirs);
    // The grandchild held the last end: the read ends when it is dead.
    assert_eq!(ours.read(&mut [0]).unwrap(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_that_cannot_be_watched_is_an_error_and_is_ended_and_reaped() {
    use crate::test_child::in_child;
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let attempt = |call| {
        in_child(|| {
            let answer = SeccompAction::Errno(libc::EMFILE.unsigned_abs());
            let arch = std::env::consts::ARCH.try_into().unwrap();
            let rules = [(call, Vec::new())].into_iter().collect();
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch).unwrap();
            seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
            let (_ours, theirs) = UnixStream::pair().unwrap();
            let script = ["sh", "-c", "while :; do read line <&3; done"];
            let started = spawn(&shell(), &script, theirs.into(), stderr(), Leash::Control);
            let reaped = rustix::process::wait(WaitOptions::NOHANG);
            match (started, reaped) {
                (Err(error), Err(rustix::io::Errno::CHILD)) => error.raw_os_error().unwrap(),
                (Ok(mut child), Ok(None)) => {
                    child.kill(Signal::KILL).unwrap();
                    child.wait().unwrap();
                    0
                }
                other => panic!("{other:?}"),
            }
        })
    };
    assert_eq!(attempt(libc::SYS_pidfd_open).exit(), libc::EMFILE);
    assert_eq!(attempt(libc::SYS_reboot).exit(), 0, "the control");
}

/// Has another process make a program: a child of another test that inherited it open for writing would keep it from
/// being executed.
fn made_by(script: &str, path: &Path) {
    let mut shell = std::process::Command::new("/bin/sh");
    let shell = shell.args(["-ec", script]).arg(path);
    assert!(shell.status().unwrap().success());
}

#[test]
fn a_program_runs_through_its_descriptor_when_its_path_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    made_by("cp /bin/true \"$0\"", &path);
    let program = Program::open(&path).unwrap();
    std::fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let mut child = spawn(&program, &["true"], theirs.into(), stderr(), Leash::Parent).unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(0));
}

#[test]
fn what_cannot_be_executed_is_an_error_and_leaves_no_child() {
    assert_eq!(
        Program::open(Path::new("/etc/passwd")).unwrap_err().kind(),
        io::ErrorKind::PermissionDenied
    );
    assert!(Program::open(Path::new("/")).is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("garbage");
    made_by("echo not a program >\"$0\"; chmod 755 \"$0\"", &path);
    let program = Program::open(&path).unwrap();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let error = spawn(
        &program,
        &["garbage"],
        theirs.into(),
        stderr(),
        Leash::Parent,
    )
    .unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC));
    let (_ours, theirs) = UnixStream::pair().unwrap();
    assert_eq!(
        spawn(&shell(), &["a\0b"], theirs.into(), stderr(), Leash::Parent)
            .unwrap_err()
            .kind(),
        io::ErrorKind::InvalidInput
    );
}
