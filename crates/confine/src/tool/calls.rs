//! The calls that the box refuses. A list of what is refused, since a tool is any program; therefore
//! three programs: calls newer than this list do not exist (that covers the x32 numbers as well), a
//! program of another architecture is killed, and the list is answered with EPERM.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use super::ToolError;

/// The newest call that was weighed for the list below.
pub(super) const NEWEST: c_long = libc::SYS_mseal;

/// The same numbers on all architectures; not in libc.
const STATMOUNT: c_long = 457;
const LISTMOUNT: c_long = 458;

/// Refused whatever the arguments.
pub(super) const REFUSED: &[c_long] = &[
    // Sockets. A pair is the exception, below.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Other processes: their memory, their descriptors, their hints.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    // Memory and queues that all processes of a user share.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    // What is mounted where, which the file rules hide.
    STATMOUNT,
    LISTMOUNT,
    // The kernel's insides, and much of its attack surface.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_lookup_dcookie,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_vhangup,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_nfsservctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
];

type Condition = (u8, SeccompCmpArgLen, SeccompCmpOp, u64);

const fn flag(flag: libc::c_int) -> Condition {
    let flag = flag.cast_unsigned() as u64;
    (0, Qword, MaskedEq(flag), flag)
}

const fn fast_open(argument: u8) -> Condition {
    let flag = libc::MSG_FASTOPEN.cast_unsigned() as u64;
    (argument, Dword, MaskedEq(flag), flag)
}

/// Refused when all conditions of a row hold: argument, its width, comparison, value.
const REFUSED_IF: &[(c_long, &[Condition])] = &[
    // A pair of streams stays what it is; a pair of datagram sockets could be aimed elsewhere, with
    // an address that a filter cannot see. RAW is another name for DGRAM here.
    (
        libc::SYS_socketpair,
        &[(0, Dword, Ne, libc::AF_UNIX as u64)],
    ),
    (
        libc::SYS_socketpair,
        &[(1, Dword, MaskedEq(0xf), libc::SOCK_DGRAM as u64)],
    ),
    (
        libc::SYS_socketpair,
        &[(1, Dword, MaskedEq(0xf), libc::SOCK_RAW as u64)],
    ),
    // A child of whoever started the tool, who knows nothing of it and never collects it.
    (libc::SYS_clone, &[flag(libc::CLONE_PARENT)]),
    // A connect in disguise.
    (libc::SYS_sendto, &[fast_open(3)]),
    (libc::SYS_sendmsg, &[fast_open(2)]),
    (libc::SYS_sendmmsg, &[fast_open(3)]),
    (libc::SYS_clone, &[flag(libc::CLONE_NEWNS)]),
    (libc::SYS_clone, &[flag(libc::CLONE_NEWCGROUP)]),
    (libc::SYS_clone, &[flag(libc::CLONE_NEWUTS)]),
    (libc::SYS_clone, &[flag(libc::CLONE_NEWIPC)]),
    (libc::SYS_clone, &[flag(libc::CLONE_NEWUSER)]),
    (libc::SYS_clone, &[flag(libc::CLONE_NEWPID)]),
    (libc::SYS_clone, &[flag(libc::CLONE_NEWNET)]),
    // Everybody that this user could signal. One at a time is left to landlock's scope (ABI 6).
    (libc::SYS_kill, &[(0, Dword, Eq, u32::MAX as u64)]),
    // Another process's limits.
    (libc::SYS_prlimit64, &[(0, Dword, Ne, 0), (2, Qword, Ne, 0)]),
    // Typing into a terminal.
    (libc::SYS_ioctl, &[(1, Dword, Eq, libc::TIOCSTI)]),
    (libc::SYS_ioctl, &[(1, Dword, Eq, TIOCLINUX)]),
    // Only the question which one it is.
    (libc::SYS_personality, &[(0, Dword, Ne, u32::MAX as u64)]),
];

/// linux/tiocl.h, not in libc.
const TIOCLINUX: u64 = 0x541c;

/// The programs, in the order in which they are put in force.
pub(super) fn compile() -> Result<Vec<BpfProgram>, ToolError> {
    let failed = |error: &dyn ToString| ToolError::Calls(error.to_string());
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| failed(&e))?;
    let program = |rules, errno: libc::c_int| {
        let answer = SeccompAction::Errno(errno.unsigned_abs());
        SeccompFilter::new(rules, SeccompAction::Allow, answer, arch)
            .and_then(BpfProgram::try_from)
            .map_err(|e| failed(&e))
    };
    let mut refused: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    for (call, conditions) in REFUSED_IF {
        let conditions: Result<Vec<_>, _> = conditions
            .iter()
            .map(|(argument, width, operator, value)| {
                SeccompCondition::new(*argument, width.clone(), operator.clone(), *value)
            })
            .collect();
        let rule = conditions
            .and_then(SeccompRule::new)
            .map_err(|e| failed(&e))?;
        refused.entry(*call).or_default().push(rule);
    }
    // No rule means no condition.
    refused.extend(REFUSED.iter().map(|call| (*call, Vec::new())));
    // Its flags lie in memory that a filter cannot read; the C library falls back to clone.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok(vec![
        newer(),
        program(clone3, libc::ENOSYS)?,
        program(refused, libc::EPERM)?,
    ])
}

/// Answers ENOSYS to every number above [`NEWEST`], as an older kernel would. The numbers count up to
/// the same on all architectures; what is no number of theirs (x32: bit 30) lies above.
fn newer() -> BpfProgram {
    let line = |code: u32, jf: u8, k: u32| sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt: 0,
        jf,
        k,
    };
    let newest = u32::try_from(NEWEST).unwrap_or(0);
    vec![
        line(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        line(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 1, newest),
        line(
            libc::BPF_RET,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
        line(libc::BPF_RET, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

/// Puts them in force for this thread and all that it starts.
pub(super) fn apply(programs: &[BpfProgram]) -> Result<(), ToolError> {
    for program in programs {
        seccompiler::apply_filter(program).map_err(|e| ToolError::Calls(e.to_string()))?;
    }
    Ok(())
}
