//! Every row of every profile is tried on the kernel: with the arguments it asks for, and with each
//! of them changed. The expected verdict is read off the rows, not off the compiled program.
#![allow(unsafe_code)]

use super::expect::{ANY, MODES, Verdict, attempts, verdict};
use super::*;
use crate::profile::{Arch, PROFILES, Profile, Row};
use crate::test_child::{Ended, in_child};

/// Calls that end or replace the thread, tried in a child of their own.
const LONELY: &[&str] = &["exit", "exit_group", "rt_sigreturn", "clone"];

/// The rows of this machine's calls, with their numbers.
fn own_rows(profile: &Profile, mode: Mode) -> Vec<(&'static Row, i64)> {
    let own = Arch::own().unwrap();
    let number = |row: &'static Row| Some((row, row.numbers.on(own)?));
    profile.rows(mode).filter_map(number).collect()
}

fn call(number: i64, args: [u64; 6]) -> Option<i32> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: pointers among the arguments are invalid on purpose, which the kernel answers with an
    // error; this runs in a child that ends right after.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    (result == -1).then(|| std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// In a child under the filter: the error number of a call, or how the child was ended.
fn under_filter(profile: &Profile, mode: Mode, number: i64, args: [u64; 6]) -> Result<i32, i32> {
    let ended = in_child(|| {
        assert!(apply(&compile(profile, mode).unwrap()).unwrap());
        call(number, args).unwrap_or(0)
    });
    match ended {
        Ended::Exit(errno) => Ok(errno),
        Ended::Signal(signal) => Err(signal),
    }
}

fn named(name: &str) -> &'static Profile {
    crate::profile::profile(name).unwrap()
}

#[test]
fn every_row_gets_the_verdict_that_it_asks_for() {
    for profile in PROFILES.iter().filter(|profile| profile.filter) {
        for mode in MODES {
            let rows = own_rows(profile, mode);
            // Calls that the child survives, in one child, since there are hundreds of rows.
            let ended = in_child(|| {
                apply(&compile(profile, mode).unwrap()).unwrap();
                for (row, number) in &rows {
                    for args in attempts(row) {
                        let expected = verdict(&rows, *number, &args);
                        if expected == Verdict::Kill || LONELY.contains(&row.call) {
                            continue;
                        }
                        let errno = call(*number, args);
                        match expected {
                            Verdict::Errno(expected) => {
                                assert_eq!(errno, Some(expected), "{row:?} {args:?}")
                            }
                            _ => assert!(
                                !matches!(errno, Some(libc::EPERM | libc::EACCES)),
                                "{row:?} {args:?}"
                            ),
                        }
                    }
                }
                0
            });
            assert_eq!(ended, Ended::Exit(0), "{} {mode:?}", profile.name);
        }
    }
}

#[test]
fn a_changed_argument_that_no_row_allows_ends_the_process() {
    for profile in PROFILES.iter().filter(|profile| profile.filter) {
        for mode in MODES {
            let rows = own_rows(profile, mode);
            let mut killed = 0;
            for (row, number) in &rows {
                for args in attempts(row) {
                    let expected = verdict(&rows, *number, &args);
                    if expected != Verdict::Kill && !LONELY.contains(&row.call) {
                        continue;
                    }
                    let got = under_filter(profile, mode, *number, args);
                    assert_eq!(
                        got == Err(libc::SIGSYS),
                        expected == Verdict::Kill,
                        "{row:?} {args:?}: {got:?}"
                    );
                    killed += usize::from(expected == Verdict::Kill);
                }
            }
            assert!(
                killed > 10,
                "{}: only {killed} attempts were to be killed",
                profile.name
            );
        }
    }
}

#[test]
fn calls_without_a_row_end_the_process() {
    let unlisted = [
        libc::SYS_ptrace,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_process_vm_readv,
        libc::SYS_pidfd_getfd,
        libc::SYS_keyctl,
        libc::SYS_bpf,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_seccomp,
        libc::SYS_setresuid,
        libc::SYS_personality,
        libc::SYS_truncate,
        libc::SYS_wait4,
    ];
    for number in unlisted {
        for mode in MODES {
            assert_eq!(
                under_filter(named("gateway"), mode, number, [ANY; 6]),
                Err(libc::SIGSYS),
                "{number}"
            );
        }
        // Positive control: without the filter the kernel answers in its own way.
        assert_ne!(
            in_child(|| call(number, [ANY; 6]).unwrap_or(0)),
            Ended::Signal(libc::SIGSYS)
        );
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_through_the_other_doors_of_the_architecture_end_the_process() {
    const X32: i64 = 0x4000_0000;
    let getpid = X32 | libc::SYS_getpid;
    assert_eq!(
        under_filter(named("agent"), Mode::Single, getpid, [0; 6]),
        Err(libc::SIGSYS)
    );
    let thirty_two_bit = || {
        // SAFETY: getpid (20) of the 32-bit table takes no argument and changes no memory.
        unsafe { std::arch::asm!("int 0x80", inout("rax") 20_u64 => _, options(nostack)) };
        0
    };
    let ended = in_child(|| {
        apply(&compile(named("agent"), Mode::Single).unwrap()).unwrap();
        thirty_two_bit()
    });
    // SIGSEGV where the kernel has no 32-bit door at all.
    assert!(
        matches!(ended, Ended::Signal(libc::SIGSYS | libc::SIGSEGV)),
        "{ended:?}"
    );
}

#[test]
fn sockets_are_made_by_the_dialer_alone_and_only_plain_ones() {
    const MPTCP: i32 = 262;
    const ALLOWED: Result<i32, i32> = Ok(0);
    const EPERM: Result<i32, i32> = Ok(libc::EPERM);
    const KILLED: Result<i32, i32> = Err(libc::SIGSYS);
    let (stream, datagram) = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::SOCK_DGRAM);
    // family, type, protocol: dialer, others in single-user mode, others in system mode
    let rows = [
        (libc::AF_INET, stream, 0, KILLED, EPERM, EPERM),
        (
            libc::AF_INET,
            stream,
            libc::IPPROTO_TCP,
            ALLOWED,
            EPERM,
            EPERM,
        ),
        (libc::AF_INET, datagram, 0, ALLOWED, EPERM, EPERM),
        (
            libc::AF_INET,
            datagram,
            libc::IPPROTO_UDP,
            KILLED,
            EPERM,
            EPERM,
        ),
        (libc::AF_INET, stream, MPTCP, KILLED, EPERM, EPERM),
        (
            libc::AF_INET,
            stream,
            libc::IPPROTO_SCTP,
            KILLED,
            EPERM,
            EPERM,
        ),
        (
            libc::AF_INET,
            libc::SOCK_RAW,
            libc::IPPROTO_ICMP,
            KILLED,
            EPERM,
            EPERM,
        ),
        (libc::AF_INET, libc::SOCK_SEQPACKET, 0, KILLED, EPERM, EPERM),
        (libc::AF_UNIX, stream, 0, EPERM, EPERM, ALLOWED),
        (libc::AF_UNIX, datagram, 0, EPERM, EPERM, KILLED),
        (libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, EPERM, EPERM, KILLED),
        (libc::AF_NETLINK, libc::SOCK_RAW, 0, EPERM, EPERM, EPERM),
        (libc::AF_VSOCK, stream, 0, EPERM, EPERM, EPERM),
        (libc::AF_PACKET, libc::SOCK_RAW, 0, EPERM, EPERM, EPERM),
        (libc::AF_ALG, libc::SOCK_SEQPACKET, 0, EPERM, EPERM, EPERM),
    ];
    let wide = |value: i32| u64::from(value.unsigned_abs());
    for (family, kind, protocol, dialer, single, system) in rows {
        let args = [wide(family), wide(kind), wide(protocol), 0, 0, 0];
        let trials = [
            ("dialer", Mode::Single, dialer),
            ("dialer", Mode::System, dialer),
            ("model", Mode::Single, single),
            ("gateway", Mode::System, system),
        ];
        for (profile, mode, expected) in trials {
            // The child ends with the error number; zero for a socket that was made.
            let got = under_filter(named(profile), mode, libc::SYS_socket, args);
            assert_eq!(
                got, expected,
                "{profile} {mode:?}: {family} {kind} {protocol}"
            );
        }
    }
}

#[test]
fn pairs_are_streams_which_cannot_be_aimed_anew() {
    const KILLED: Result<i32, i32> = Err(libc::SIGSYS);
    // An address that cannot be written to: what the filter lets through gets the kernel's EFAULT.
    const REACHED: Result<i32, i32> = Ok(libc::EFAULT);
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let rows = [
        (libc::AF_UNIX, libc::SOCK_STREAM, 0, REACHED),
        (libc::AF_UNIX, libc::SOCK_STREAM | flags, 0, REACHED),
        (libc::AF_UNIX, libc::SOCK_STREAM | flags, 1, KILLED),
        (libc::AF_UNIX, libc::SOCK_DGRAM, 0, KILLED),
        (libc::AF_UNIX, libc::SOCK_DGRAM | flags, 0, KILLED),
        (libc::AF_UNIX, libc::SOCK_RAW, 0, KILLED),
        (libc::AF_UNIX, libc::SOCK_SEQPACKET | flags, 0, KILLED),
        (libc::AF_INET, libc::SOCK_STREAM, 0, KILLED),
    ];
    let wide = |value: i32| u64::from(value.unsigned_abs());
    for profile in ["dialer", "model", "policy"] {
        for mode in MODES {
            for (family, kind, protocol, expected) in rows {
                let args = [wide(family), wide(kind), wide(protocol), ANY, 0, 0];
                assert_eq!(
                    under_filter(named(profile), mode, libc::SYS_socketpair, args),
                    expected,
                    "{profile} {mode:?}: {family} {kind} {protocol}"
                );
            }
        }
    }
}

#[test]
fn no_process_changes_the_mode_of_a_file() {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    for profile in ["gateway", "agent", "policy", "broker"] {
        for mode in [0o600, 0o644, 0o4755] {
            let ended = in_child(|| {
                let file = tempfile::tempfile().unwrap();
                let change = || file.set_permissions(Permissions::from_mode(mode));
                change().unwrap(); // The control.
                apply(&compile(named(profile), Mode::Single).unwrap()).unwrap();
                change().unwrap_err().raw_os_error().unwrap_or(0)
            });
            assert_eq!(ended, Ended::Exit(libc::EPERM), "{profile} {mode:o}");
        }
    }
}

#[test]
fn only_a_kernel_without_filters_excuses_a_process_without_one() {
    let answer = |errno| {
        let error = std::io::Error::from_raw_os_error(errno);
        linux::missing(&seccompiler::Error::Seccomp(error))
    };
    for errno in [libc::ENOSYS, libc::EINVAL] {
        assert!(matches!(answer(errno), Ok(false)), "{errno}");
    }
    for errno in [libc::ENOMEM, libc::EACCES, libc::EPERM, libc::EFAULT] {
        let refused = matches!(answer(errno), Err(SeccompError::Refused(_)));
        assert!(refused, "{errno}");
    }
    let others = [
        seccompiler::Error::EmptyFilter,
        seccompiler::Error::ThreadSync(1),
        seccompiler::Error::Prctl(std::io::Error::from_raw_os_error(libc::EINVAL)),
    ];
    for error in others {
        assert!(linux::missing(&error).is_err(), "{error}");
    }
}

#[test]
fn a_connection_cannot_be_made_by_the_way() {
    let fast_open = u64::from(libc::MSG_FASTOPEN.unsigned_abs());
    let send = [ANY, ANY, ANY, fast_open, 0, 0];
    let message = [ANY, ANY, fast_open, 0, 0, 0];
    let tcp = u64::from(libc::IPPROTO_TCP.unsigned_abs());
    for profile in ["dialer", "model", "gateway", "executor"] {
        let attempt = |number, args| under_filter(named(profile), Mode::System, number, args);
        let killed = Err(libc::SIGSYS);
        assert_eq!(attempt(libc::SYS_sendto, send), killed, "{profile}");
        assert_eq!(attempt(libc::SYS_sendmsg, message), killed, "{profile}");
        for option in [libc::TCP_FASTOPEN, libc::TCP_FASTOPEN_CONNECT] {
            let args = [ANY, tcp, u64::from(option.unsigned_abs()), ANY, 4, 0];
            assert_eq!(attempt(libc::SYS_setsockopt, args), killed, "{profile}");
        }
        // Positive control: the same calls without the flag reach the kernel, which knows no such
        // descriptor; an address is nobody's business.
        assert_eq!(
            attempt(libc::SYS_sendto, [ANY, 0, 0, 0, 0, 0]),
            Ok(libc::EBADF)
        );
        assert_eq!(
            attempt(libc::SYS_sendto, [ANY, ANY, ANY, 0, ANY, 16]),
            Err(libc::SIGSYS)
        );
        let no_delay = [
            ANY,
            tcp,
            u64::from(libc::TCP_NODELAY.unsigned_abs()),
            ANY,
            4,
            0,
        ];
        assert_eq!(attempt(libc::SYS_setsockopt, no_delay), Ok(libc::EBADF));
    }
    let connect = |profile, mode| under_filter(named(profile), mode, libc::SYS_connect, [ANY; 6]);
    assert_eq!(connect("model", Mode::Single), Err(libc::SIGSYS));
    assert_eq!(connect("model", Mode::System), Ok(libc::EBADF));
    assert_eq!(connect("dialer", Mode::Single), Ok(libc::EBADF));
}

#[test]
fn a_filter_holds_for_threads_that_start_later() {
    let ended = in_child(|| {
        apply(&compile(named("gateway"), Mode::Single).unwrap()).unwrap();
        let thread = std::thread::spawn(|| call(libc::SYS_socket, [2, 1, 0, 0, 0, 0]));
        i32::from(thread.join().unwrap() != Some(libc::EPERM))
    });
    assert_eq!(ended, Ended::Exit(0));
}
