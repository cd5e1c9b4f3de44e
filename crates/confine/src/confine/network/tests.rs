#![allow(unsafe_code)]

use super::*;
use crate::confine::confine;
use crate::measure::{Confinement, Level};
use crate::process::{Status, not_dumpable};
use crate::profile::profile;
use crate::test_child::{Ended, as_started, in_child, without};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

fn agent() -> &'static Profile {
    profile("agent").unwrap()
}

fn namespace(name: &str) -> std::path::PathBuf {
    fs::read_link(format!("/proc/self/ns/{name}")).unwrap()
}

/// Whether this kernel permits it, asked without the code under test; other tests show that a refusal
/// is reported.
fn permitted() -> bool {
    let refused = in_child(|| {
        as_started();
        // SAFETY: no memory is passed; the child has one thread.
        unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) }.abs()
    });
    let permitted = refused.exit() == 0;
    if !permitted {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        println!("SKIPPED {test}: this kernel refuses user namespaces");
    }
    permitted
}

#[test]
fn a_process_that_leaves_is_alone_and_has_gained_nothing() {
    if !permitted() {
        return;
    }
    let name =
        SocketAddr::from_abstract_name(format!("clawdbot-test-{}", std::process::id())).unwrap();
    let _abstract = UnixListener::bind_addr(&name).unwrap();
    let status = in_child(|| {
        as_started();
        assert!(UnixStream::connect_addr(&name).is_ok());
        let own = (rustix::process::geteuid(), rustix::process::getegid());
        let (net, user) = (namespace("net"), namespace("user"));
        assert!(
            TcpStream::connect(
                TcpListener::bind("127.0.0.1:0")
                    .unwrap()
                    .local_addr()
                    .unwrap()
            )
            .is_ok()
        );
        let moved = leave(agent(), Mode::Single).unwrap();
        assert_eq!((moved.network, moved.mapped), (Network::Own, true));
        assert_ne!((namespace("net"), namespace("user")), (net, user));
        assert_eq!(devices().unwrap(), ["lo"]);
        assert!(crate::selftest::network(true).is_empty());
        assert!(UnixStream::connect_addr(&name).is_err());
        let now = Status::now().unwrap();
        assert_eq!((now.capabilities(), now.bounding), (0, 0));
        assert_eq!(
            own,
            (rustix::process::geteuid(), rustix::process::getegid())
        );
        // Neither a device nor another namespace can be had with what is left.
        // SAFETY: no memory is passed.
        let again = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(
            (again, io::Error::last_os_error().raw_os_error()),
            (-1, Some(libc::EPERM))
        );
        0
    });
    assert_eq!(status, Ended::Exit(0));
}

#[test]
fn files_and_connections_from_before_stay_what_they_were() {
    if !permitted() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    rustix::fs::chmod(folder.path(), rustix::fs::Mode::from_raw_mode(0o777)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"ping").unwrap();
    let status = in_child(|| {
        as_started();
        let own = rustix::process::geteuid().as_raw();
        let before = folder.path().join("before");
        fs::write(&before, "1").unwrap();
        let mut open = fs::File::open(&before).unwrap();
        leave(agent(), Mode::Single).unwrap();
        fs::write(folder.path().join("after"), "2").unwrap();
        for (name, text) in [("before", "1"), ("after", "2")] {
            let path = folder.path().join(name);
            assert_eq!(fs::metadata(&path).unwrap().uid(), own);
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let mut text = String::new();
        open.read_to_string(&mut text).unwrap();
        assert_eq!(text, "1");
        // A listener stays in the network in which it was made.
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.write_all(b"tcp").unwrap();
        let mut buffer = [0; 4];
        theirs.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"ping");
        // A pair that is made now names its maker as ever.
        let (left, _right) = UnixStream::pair().unwrap();
        let peer = rustix::net::sockopt::socket_peercred(&left).unwrap();
        assert_eq!(peer.uid.as_raw(), own);
        0
    });
    assert_eq!(status, Ended::Exit(0));
    let mut buffer = [0; 3];
    client.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"tcp");
    let owners: Vec<u32> = ["before", "after"]
        .map(|name| fs::metadata(folder.path().join(name)).unwrap().uid())
        .to_vec();
    assert_eq!(owners[0], owners[1], "the host sees the same owner");
}

#[test]
fn who_leaves_still_dies_with_its_parent() {
    let status = in_child(|| {
        as_started();
        // SAFETY: no memory is passed.
        let parent = unsafe { libc::getppid() }.unsigned_abs();
        crate::process::die_with_parent(parent).unwrap();
        leave(agent(), Mode::Single).unwrap();
        let signal = rustix::process::parent_process_death_signal().unwrap();
        i32::from(signal != Some(rustix::process::Signal::KILL))
    });
    assert_eq!(status, Ended::Exit(0));
}

/// What a process of the same user gets of another: its memory by name, by call and by tracing, its
/// descriptors, its namespaces.
fn reachable_parts(pid: i32) -> Vec<&'static str> {
    let mut reached = Vec::new();
    let path = |leaf: &str| format!("/proc/{pid}/{leaf}");
    for (name, leaf) in [
        ("mem", "mem"),
        ("environ", "environ"),
        ("user namespace", "ns/user"),
        ("network", "ns/net"),
    ] {
        if fs::File::open(path(leaf)).is_ok() {
            reached.push(name);
        }
    }
    if fs::read_dir(path("fd")).is_ok() {
        reached.push("descriptors");
    }
    let mut byte = 0_u8;
    let local = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    static SEEN: u8 = 7;
    let remote = libc::iovec {
        iov_base: (&raw const SEEN).cast_mut().cast(),
        iov_len: 1,
    };
    // SAFETY: one byte is written to a variable of one byte; the address in the other process, a fork
    // of this one, is that of a constant and only read.
    if unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) } == 1 {
        reached.push("memory");
    }
    // SAFETY: no memory is passed; the process is let go of at once.
    unsafe {
        if libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) == 0 {
            libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0);
            reached.push("ptrace");
        }
    }
    reached
}

/// What a sibling of the same user reaches of a process that has left, dumpable or not.
fn of_a_sibling(dumpable: bool) -> Vec<&'static str> {
    let (mut reading, ready) = io::pipe().unwrap();
    let (kept, keeping) = io::pipe().unwrap();
    // SAFETY: the child runs on this one thread, waits for the end of a pipe and leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop((reading, keeping));
        let moved = leave(agent(), Mode::Single);
        let done = moved.is_ok() && (dumpable || not_dumpable().is_ok());
        let _told = { ready }.write_all(&[u8::from(done)]);
        let _ended = { kept }.read(&mut [0]);
        // SAFETY: ends the child without running the parent's destructors.
        unsafe { libc::_exit(0) };
    }
    drop((ready, kept));
    let mut done = [0];
    reading.read_exact(&mut done).unwrap();
    assert_eq!(done, [1]);
    let reached = reachable_parts(pid);
    drop(keeping);
    // SAFETY: our own child; no status is written.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    reached
}

#[test]
fn siblings_have_all_rights_over_the_namespace_and_none_over_the_process() {
    let status = in_child(|| {
        as_started();
        // Positive control: the same attempts on a process that stayed dumpable.
        let open = of_a_sibling(true);
        assert!(
            open.contains(&"mem") && open.contains(&"user namespace"),
            "{open:?}"
        );
        let closed = of_a_sibling(false);
        assert!(closed.is_empty(), "{closed:?}");
        0
    });
    assert_eq!(status, Ended::Exit(0));
}

/// How a process is confined for whom calls answer errors.
fn confined_without(calls: &[(i64, i32)], check: impl Fn(&Confinement) -> bool) -> Ended {
    in_child(|| {
        as_started();
        without(calls);
        let confinement = confine(agent(), Mode::Single, &[]).unwrap();
        i32::from(!check(&confinement))
    })
}

fn names(confinement: &Confinement) -> Vec<&'static str> {
    confinement.missing.iter().map(|row| row.what).collect()
}

#[test]
fn a_kernel_that_refuses_the_namespace_is_reported_and_no_failure() {
    for errno in [
        libc::EPERM,
        libc::ENOSPC,
        libc::ENOSYS,
        libc::EUSERS,
        libc::EINVAL,
        libc::ENOMEM,
    ] {
        let status = confined_without(&[(libc::SYS_unshare, errno)], |confinement| {
            confinement.network == Network::Host && names(confinement) == ["network-namespace"]
        });
        assert_eq!(status, Ended::Exit(0), "{errno}");
    }
    if permitted() {
        let status = confined_without(&[], |confinement| {
            confinement.network == Network::Own && names(confinement).is_empty()
        });
        assert_eq!(status, Ended::Exit(0));
    }
}

#[test]
fn a_namespace_without_ids_is_as_empty_and_its_process_as_able() {
    if !permitted() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    rustix::fs::chmod(folder.path(), rustix::fs::Mode::from_raw_mode(0o777)).unwrap();
    let file = folder.path().join("state");
    let status = in_child(|| {
        as_started();
        fs::write(&file, "before").unwrap();
        // Nothing else of the start writes; the answer is AppArmor's.
        without(&[(libc::SYS_write, libc::EPERM)]);
        let rules = [crate::landlock::FileRule::path(
            folder.path(),
            crate::landlock::Access::ReadWriteDir,
        )];
        let confinement = confine(agent(), Mode::Single, &rules).unwrap();
        let outcome = (confinement.level, confinement.network, names(&confinement));
        let expected = (Level::Full, Network::Own, vec!["id-map"]);
        let opened = fs::File::options().read(true).write(true).open(&file);
        i32::from(outcome != expected) + 2 * i32::from(opened.is_err())
    });
    assert_eq!(status, Ended::Exit(0));
}

#[test]
fn without_proc_less_is_measured_and_that_is_said() {
    if !permitted() {
        return;
    }
    let status = in_child(|| {
        as_started();
        let ids = [
            ("uid_map", rustix::process::geteuid().as_raw()),
            ("gid_map", rustix::process::getegid().as_raw()),
        ];
        // SAFETY: no memory is passed; the child has one thread.
        let apart = unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) };
        assert_eq!(apart, 0);
        map(ids).unwrap();
        // SAFETY: strings with a NUL at their end, no data.
        let hidden = unsafe {
            let kind = c"tmpfs".as_ptr();
            libc::mount(kind, c"/proc".as_ptr(), kind, 0, std::ptr::null())
        };
        assert_eq!(hidden, 0);
        give_up_all_capabilities().unwrap();
        let confinement = confine(agent(), Mode::Single, &[]).unwrap();
        let expected = ["proc", "network-namespace", "id-map"];
        i32::from((confinement.level, names(&confinement)) != (Level::Partial, expected.to_vec()))
    });
    assert_eq!(status, Ended::Exit(0));
}

#[test]
fn the_units_network_is_measured_and_not_taken_on_trust() {
    // Whatever the tests' network is, system mode stays in it.
    let status = in_child(|| {
        as_started();
        let before = namespace("net");
        let moved = leave(agent(), Mode::System).unwrap();
        assert_eq!(namespace("net"), before);
        let alone = devices().unwrap() == ["lo"];
        i32::from((moved.network == Network::Own) != alone)
    });
    assert_eq!(status, Ended::Exit(0));
    if permitted() {
        let status = in_child(|| {
            as_started();
            leave(agent(), Mode::Single).unwrap();
            let moved = leave(agent(), Mode::System).unwrap();
            i32::from(moved.network != Network::Own)
        });
        assert_eq!(status, Ended::Exit(0));
    }
}

#[test]
fn the_dialer_stays_in_the_hosts_network() {
    let status = in_child(|| {
        as_started();
        let before = namespace("net");
        let moved = leave(profile("dialer").unwrap(), Mode::Single).unwrap();
        i32::from(moved.network != Network::Host || namespace("net") != before)
    });
    assert_eq!(status, Ended::Exit(0));
}
