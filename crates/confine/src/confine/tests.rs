#![allow(unsafe_code)]

use super::*;
use crate::landlock::Access;
use crate::measure::Level;
use crate::memory::{Backing, LockedBytes};
use crate::process::Status;
use crate::profile::{PROFILES, profile};
use crate::test_child::{Ended, as_started, in_child, without};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn named(name: &str) -> &'static Profile {
    profile(name).unwrap()
}

fn has_section(profile: &Profile, name: &str) -> bool {
    profile.sections.iter().any(|section| section.name == name)
}

/// What the kernel of this machine can give at most.
fn best() -> Level {
    let status = in_child(|| {
        as_started();
        i32::from(
            confine(named("model"), Mode::Single, &[])
                .unwrap()
                .is_full(),
        )
    });
    if status.exit() == 1 {
        Level::Full
    } else {
        Level::Partial
    }
}

#[test]
fn every_process_is_confined_as_its_kernel_says_itself() {
    let best = best();
    for profile in PROFILES {
        for mode in [Mode::Single, Mode::System] {
            let report = Status::open().unwrap();
            let status = in_child(|| {
                as_started();
                // What some shells allow.
                let core = getrlimit(Resource::Core);
                let (current, maximum) = (core.maximum.or(Some(1 << 20)), core.maximum);
                setrlimit(Resource::Core, Rlimit { current, maximum }).unwrap();
                let report = Status::open().unwrap();
                let confinement = confine(profile, mode, &[]).unwrap();
                let expected = if profile.filter { best } else { Level::Limits };
                assert_eq!(confinement.level, expected, "{}", confinement.to_line());
                let now = Status::read(&report).unwrap();
                assert!(now.no_new_privs);
                assert_eq!(now.seccomp == 2, profile.filter);
                assert_eq!(confinement.core_limit, 0);
                i32::from(confinement.dumpable)
            });
            assert_eq!(status, Ended::Exit(0), "{} {mode:?}", profile.name);
            // The parent has stayed as it was.
            assert_eq!(
                Status::read(&report).unwrap().seccomp,
                Status::now().unwrap().seccomp
            );
        }
    }
}

/// What a real process does all day: runtime, timer, edges, threads, and what its sections are for.
async fn work(profile: &Profile, mode: Mode, folder: &Path, edge: &Path, peer: &TcpListener) {
    let (mut left, mut right) = tokio::net::UnixStream::pair().unwrap();
    let echo = tokio::spawn(async move {
        let mut buffer = [0; 4];
        right.read_exact(&mut buffer).await.unwrap();
        right.write_all(&buffer).await.unwrap();
    });
    left.write_all(b"ping").await.unwrap();
    left.read_exact(&mut [0; 4]).await.unwrap();
    echo.await.unwrap();
    tokio::time::timeout(
        Duration::from_secs(60),
        tokio::time::sleep(Duration::from_millis(1)),
    )
    .await
    .unwrap();
    let doubled = tokio::task::spawn_blocking(|| vec![1_u8; 4 << 20].len() * 2)
        .await
        .unwrap();
    assert_eq!(doubled, 8 << 20);
    // A map with a random seed, a thread with a name, the clock.
    std::thread::Builder::new()
        .name("queue".into())
        .spawn(|| ())
        .unwrap()
        .join()
        .unwrap();
    assert!(std::time::SystemTime::now().elapsed().is_ok());
    assert_eq!(std::collections::HashMap::from([(1, 2)]).len(), 1);

    if has_section(profile, "files") {
        fs::write(folder.join("new"), "text").unwrap();
        fs::rename(folder.join("new"), folder.join("state")).unwrap();
        let file = fs::File::options()
            .append(true)
            .open(folder.join("state"))
            .unwrap();
        file.sync_data().unwrap();
        file.try_lock().unwrap();
        file.set_len(1).unwrap();
        assert_eq!(fs::metadata(folder.join("state")).unwrap().len(), 1);
        fs::remove_file(folder.join("state")).unwrap();
    } else {
        assert!(fs::write(folder.join("new"), "text").is_err());
    }
    if has_section(profile, "secrets") {
        let secret = LockedBytes::from_zeroizing(zeroize::Zeroizing::new(b"key".to_vec())).unwrap();
        assert!(secret.expose(|bytes| bytes == b"key"));
        assert_ne!(secret.kind(), Backing::Unlocked);
    }
    if profile.name == "gateway" {
        peer.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(peer.try_clone().unwrap()).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"hello").await.unwrap();
    }
    if profile.name == "dialer" {
        let address = peer.local_addr().unwrap();
        let stream = tokio::net::TcpSocket::new_v4()
            .unwrap()
            .connect(address)
            .await
            .unwrap();
        let locked = crate::socket_filter::lock_to_peer(&stream, address);
        assert_eq!(locked.is_ok(), crate::socket_filter::permitted());
        let (left, right) = tokio::net::UnixStream::pair().unwrap();
        let (left, right) = (left.into_std().unwrap(), right.into_std().unwrap());
        crate::frame::send(&left, b"socket", &[std::os::fd::AsFd::as_fd(&stream)]).unwrap();
        let frame = crate::frame::FrameReader::new().read_from(&right).unwrap();
        assert!(matches!(frame, crate::frame::Progress::Frame(frame) if frame.fds.len() == 1));
    }
    let reached = tokio::net::UnixStream::connect(edge).await;
    let expected = mode == Mode::System && profile.name != "dialer";
    assert_eq!(reached.is_ok(), expected);
}

#[test]
fn every_process_can_do_its_work_inside_its_confinement() {
    for profile in PROFILES.iter().filter(|profile| profile.filter) {
        for mode in [Mode::Single, Mode::System] {
            let folder = tempfile::tempdir().unwrap();
            let edges = tempfile::tempdir().unwrap();
            let edge = edges.path().join("edge.sock");
            let _listener = UnixListener::bind(&edge).unwrap();
            let peer = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(peer.local_addr().unwrap()).unwrap();
            let status = in_child(|| {
                let rules = [
                    FileRule::path(folder.path(), Access::ReadWriteDir),
                    FileRule::path(edges.path(), Access::Connect),
                ];
                // Who has no files to write has no rule that permits it.
                let rules = if has_section(profile, "files") {
                    &rules[..]
                } else {
                    &rules[1..]
                };
                confine(profile, mode, rules).unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(work(profile, mode, folder.path(), &edge, &peer));
                0
            });
            assert_eq!(status, Ended::Exit(0), "{} {mode:?}", profile.name);
            drop(client);
        }
    }
}

/// A call's number and the error that a kernel without it answers.
type Absent = (i64, i32);

#[test]
fn a_kernel_without_a_feature_gives_less_and_says_so() {
    let landlock = libc::SYS_landlock_create_ruleset;
    let rows: [(&[Absent], Level, &[&str]); 5] = [
        (&[(landlock, libc::ENOSYS)], Level::Partial, &["landlock"]),
        (
            &[(landlock, libc::EOPNOTSUPP)],
            Level::Partial,
            &["landlock"],
        ),
        (&[(landlock, libc::EPERM)], Level::Partial, &["landlock"]),
        (
            &[(libc::SYS_seccomp, libc::EINVAL)],
            Level::Partial,
            &["seccomp"],
        ),
        (
            &[(landlock, libc::ENOSYS), (libc::SYS_seccomp, libc::ENOSYS)],
            Level::Limits,
            &["landlock", "seccomp"],
        ),
    ];
    if best() != Level::Full {
        return;
    }
    for (calls, level, missing) in rows {
        let status = in_child(|| {
            as_started();
            without(calls);
            let confinement = confine(named("agent-main"), Mode::Single, &[]).unwrap();
            let names: Vec<&str> = confinement.missing.iter().map(|row| row.what).collect();
            assert_eq!((confinement.level, names.as_slice()), (level, missing));
            i32::from(confinement.is_full())
        });
        assert_eq!(status, Ended::Exit(0), "{missing:?}");
    }
}

#[test]
fn what_a_start_should_have_taken_away_is_reported() {
    let leave_open = || {
        let null = fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&null, rustix::io::FdFlags::empty()).unwrap();
        std::mem::forget(null);
    };
    // Not by the standard library, whose lock another thread may have held at the fork.
    // SAFETY: two strings with a NUL at their end, which are copied; the child has one thread.
    let set_variable = || unsafe {
        let done = libc::setenv(c"SECRET_LEFTOVER".as_ptr(), c"canary".as_ptr(), 1);
        assert_eq!(done, 0);
    };
    let rows: [(&dyn Fn(), &[&str]); 3] = [
        (&|| (), &[]),
        (&leave_open, &["descriptors"]),
        (&set_variable, &["environment"]),
    ];
    for (neglect, expected) in rows {
        let status = in_child(|| {
            as_started();
            neglect();
            let confinement = confine(named("agent"), Mode::Single, &[]).unwrap();
            let floor = confinement.missing.iter().filter(|row| row.floor);
            let names: Vec<&str> = floor.map(|row| row.what).collect();
            i32::from(names != expected)
        });
        assert_eq!(status, Ended::Exit(0), "{expected:?}");
    }
}

#[test]
fn a_capability_that_was_kept_is_reported() {
    // Only root has one to keep.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let status = in_child(|| {
        let confinement = confine(named("agent"), Mode::System, &[]).unwrap();
        let kept = confinement
            .missing
            .iter()
            .any(|row| row.what == "capabilities");
        i32::from(!confinement.capabilities || !kept)
    });
    assert_eq!(status, Ended::Exit(0));
}

#[test]
fn a_process_with_two_threads_is_not_confined_by_half() {
    let status = in_child(|| {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || receiver.recv());
        let refused = matches!(
            confine(named("agent"), Mode::Single, &[]),
            Err(ConfineError::Threads(2))
        );
        drop(sender);
        let _ = thread.join();
        i32::from(!refused)
    });
    assert_eq!(status.exit(), 0);
}

#[test]
fn rules_that_cover_everything_are_refused() {
    let status = in_child(|| {
        let rules = [FileRule::path("/", Access::ReadDir)];
        i32::from(!matches!(
            confine(named("agent"), Mode::Single, &rules),
            Err(ConfineError::Untestable)
        ))
    });
    assert_eq!(status.exit(), 0);
}

#[test]
fn siblings_of_the_same_user_are_out_of_reach() {
    // The parent of the child stands for a sibling: same user, dumpable, outside the confinement.
    let parent = std::process::id();
    let status = in_child(|| {
        assert!(fs::read(format!("/proc/{parent}/environ")).is_ok());
        confine(named("agent"), Mode::Single, &[]).unwrap();
        i32::from(fs::read(format!("/proc/{parent}/environ")).is_ok())
    });
    assert_eq!(status.exit(), 0);
    let ended = in_child(|| {
        confine(named("agent"), Mode::Single, &[]).unwrap();
        // SAFETY: signal 0 is only a question.
        unsafe { libc::kill(parent.cast_signed(), 0) };
        0
    });
    assert_eq!(ended, Ended::Signal(libc::SIGSYS));
}

#[test]
fn an_inherited_connection_goes_on_working() {
    use std::io::{Read, Write};
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    // Written first, so that the child finds it: the pair keeps it.
    ours.write_all(b"ping").unwrap();
    let status = in_child(|| {
        confine(named("executor"), Mode::Single, &[]).unwrap();
        let mut buffer = [0; 4];
        theirs.read_exact(&mut buffer).unwrap();
        theirs.write_all(&buffer).unwrap();
        0
    });
    assert_eq!(status.exit(), 0);
    let mut buffer = [0; 4];
    ours.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"ping");
}

/// Takes a connected socket apart and points it at another address: the two answers.
fn re_aim(socket: &TcpStream, to: std::net::SocketAddr) -> [Result<(), i32>; 2] {
    // SAFETY: a zeroed address means AF_UNSPEC; the kernel reads its given length.
    let apart = unsafe {
        let nobody: libc::sockaddr_in = std::mem::zeroed();
        let length = libc::socklen_t::try_from(size_of_val(&nobody)).unwrap();
        let raw = std::os::fd::AsRawFd::as_raw_fd(socket);
        match libc::connect(raw, (&raw const nobody).cast(), length) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        }
    };
    let elsewhere = rustix::net::connect(socket, &to).map_err(rustix::io::Errno::raw_os_error);
    [apart, elsewhere]
}

#[test]
fn who_gets_a_socket_cannot_point_it_elsewhere_even_if_it_is_not_locked() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = second.local_addr().unwrap();
    let connected = || TcpStream::connect(first.local_addr().unwrap()).unwrap();
    // Positive control: nothing but the confinement is in the way.
    let free = connected();
    assert_eq!(
        in_child(|| i32::from(re_aim(&free, elsewhere) != [Ok(()), Ok(())])).exit(),
        0
    );
    let receivers = PROFILES
        .iter()
        .filter(|profile| profile.filter && !profile.connect_tcp);
    for profile in receivers {
        let socket = connected();
        let status = in_child(|| {
            confine(profile, Mode::Single, &[]).unwrap();
            let _unreached = re_aim(&socket, elsewhere);
            0
        });
        assert_eq!(status, Ended::Signal(libc::SIGSYS), "{}", profile.name);
        assert!(socket.peer_addr().is_ok());
        // Where edges are sockets, connect is there, and landlock must know TCP (ABI 4).
        let socket = connected();
        let status = in_child(|| {
            if confine(profile, Mode::System, &[]).unwrap().landlock_abi < 4 {
                return 0;
            }
            i32::from(re_aim(&socket, elsewhere) != [Ok(()), Err(libc::EACCES)])
        });
        assert_eq!(status, Ended::Exit(0), "{}", profile.name);
    }
}
