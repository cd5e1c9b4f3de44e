//! Each row of the box is tried in a forked child, and what a tool needs is tried as well.
#![allow(unsafe_code)]

use super::*;
use crate::test_child::in_child;
use std::fs::{self, File};
use std::os::fd::AsFd;

const LIMITS: ToolLimits = ToolLimits {
    cpu_seconds: 20,
    memory_bytes: 1 << 40,
    processes: 10_000,
    file_bytes: 1 << 20,
};

/// Runs `body` in a box whose workspace is a new folder, and fails if it says false.
#[track_caller]
fn boxed(body: impl FnOnce(&std::path::Path) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let workspace = File::open(folder.path()).unwrap();
    let status = in_child(|| {
        confine(workspace.as_fd(), &LIMITS).unwrap();
        i32::from(!body(folder.path()))
    });
    assert_eq!(status.exit(), 0);
}

fn call(number: libc::c_long, arguments: [libc::c_long; 3]) -> Option<i32> {
    let [a, b, c] = arguments;
    // SAFETY: the calls tried here are refused before they look at an argument, or take no pointer.
    let answer = unsafe { libc::syscall(number, a, b, c, 0, 0, 0) };
    if answer == -1 {
        io::Error::last_os_error().raw_os_error()
    } else {
        None
    }
}

#[test]
fn the_box_has_an_empty_network_of_its_own_where_that_is_permitted() {
    let network = || fs::read_link("/proc/self/ns/net").unwrap();
    let permitted = in_child(|| i32::from(network::unshare().unwrap().is_some())).exit() == 1;
    let outside = network();
    boxed(|_| (network() != outside) == permitted);
}

#[test]
fn every_call_of_the_list_is_refused() {
    boxed(|_| {
        let passed: Vec<_> = calls::REFUSED
            .iter()
            .filter(|number| call(**number, [-1, -1, -1]) != Some(libc::EPERM))
            .collect();
        assert!(passed.is_empty(), "{passed:?}");
        true
    });
}

#[test]
fn calls_that_nobody_weighed_do_not_exist() {
    boxed(|_| {
        for number in [
            calls::NEWEST + 1,
            1000,
            0x4000_0000,
            0x4000_0029,
            libc::SYS_clone3,
        ] {
            assert_eq!(call(number, [0, 0, 0]), Some(libc::ENOSYS), "{number:#x}");
        }
        true
    });
}

#[test]
fn arguments_decide_where_a_call_has_both_uses() {
    boxed(|_| {
        let new = |flag: libc::c_int| libc::c_long::from(flag | libc::SIGCHLD);
        for (number, refused) in [
            (
                libc::SYS_socketpair,
                [libc::c_long::from(libc::AF_INET), 1, 0],
            ),
            (
                libc::SYS_socketpair,
                [
                    1,
                    libc::c_long::from(libc::SOCK_DGRAM | libc::SOCK_CLOEXEC),
                    0,
                ],
            ),
            (
                libc::SYS_socketpair,
                [1, libc::c_long::from(libc::SOCK_RAW), 0],
            ),
            (libc::SYS_clone, [new(libc::CLONE_NEWUSER), 0, 0]),
            (
                libc::SYS_clone,
                [new(libc::CLONE_NEWNET | libc::CLONE_NEWNS), 0, 0],
            ),
            (libc::SYS_clone, [new(libc::CLONE_NEWPID), 0, 0]),
            (libc::SYS_kill, [-1, 0, 0]),
            (libc::SYS_prlimit64, [1, 0, 1]),
            (libc::SYS_ioctl, [0, 0x5412, 0]),
            (libc::SYS_ioctl, [0, 0x541c, 0]),
            (libc::SYS_personality, [0x0004_0000, 0, 0]),
        ] {
            assert_eq!(
                call(number, refused),
                Some(libc::EPERM),
                "{number} {refused:?}"
            );
        }
        let own = libc::c_long::from(std::process::id());
        assert_eq!(
            call(libc::SYS_kill, [own, 0, 0]),
            None,
            "a signal to itself"
        );
        assert_eq!(call(libc::SYS_personality, [0xffff_ffff, 0, 0]), None);
        assert!(std::os::unix::net::UnixStream::pair().is_ok());
        assert!(std::thread::spawn(|| 7).join().unwrap() == 7, "a thread");
        rustix::process::getrlimit(rustix::process::Resource::Core).current == Some(0)
    });
}

#[test]
fn the_workspace_can_be_worked_in_and_nothing_beside_it() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, "text").unwrap();
    assert!(
        fs::read(&secret).is_ok() && File::open("/proc/self/status").is_ok(),
        "the control"
    );
    boxed(|workspace| {
        let made = workspace.join("sub/file");
        fs::create_dir(workspace.join("sub")).unwrap();
        fs::write(&made, "1").unwrap();
        fs::rename(&made, workspace.join("file")).unwrap();
        std::os::unix::fs::symlink(&secret, workspace.join("link")).unwrap();
        fs::write("/dev/null", "x").unwrap();
        assert!(fs::read_dir("/usr").is_ok() && fs::read("/etc/passwd").is_ok());
        let refused = |result: io::Result<()>| {
            result.is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
        };
        refused(fs::read(&secret).map(drop))
            && refused(fs::read(workspace.join("link")).map(drop))
            && refused(fs::read("/etc/shadow").map(drop))
            && refused(fs::read("/etc/profile").map(drop))
            && refused(fs::read_dir("/").map(drop))
            && refused(fs::read_dir("/home").map(drop))
            && refused(fs::read("/proc/self/status").map(drop))
            && refused(fs::write(outside.path().join("new"), "1"))
            && fs::rename(workspace.join("file"), outside.path().join("file")).is_err()
            && fs::hard_link(&secret, workspace.join("hard")).is_err()
    });
}

#[test]
fn limits_are_in_force_on_both_sides() {
    use rustix::process::{Resource, getrlimit};
    boxed(|_| {
        for (resource, most) in [
            (Resource::Core, 0),
            (Resource::Memlock, 0),
            (Resource::Cpu, LIMITS.cpu_seconds),
            (Resource::Fsize, LIMITS.file_bytes),
        ] {
            let limit = getrlimit(resource);
            assert_eq!(
                (limit.current, limit.maximum),
                (Some(most), Some(most)),
                "{resource:?}"
            );
        }
        true
    });
}
