//! What kernels lack, as rows of calls and the answers that such a kernel gives. A name that is not in
//! the list is refused: a test must not go on believing that it runs on another kernel.

use libc::{c_int, c_long};

/// What a call is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An error number; 0 is the answer 0.
    Errno(c_int),
    /// Somebody decides, by the call and its arguments.
    Ask,
}

/// A call that does not reach the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) call: c_long,
    /// Only if these bits of the lower half of this argument have this value.
    pub(crate) only: Option<(u32, u32, u32)>,
    pub(crate) answer: Answer,
}

/// A kernel that lacks something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) lacks: &'static str,
    pub(crate) rows: &'static [Row],
    /// The answer to landlock's question for its version.
    pub(crate) landlock: Option<i64>,
    /// `/proc` is an empty folder.
    pub(crate) no_proc: bool,
}

const fn errno(call: c_long, errno: c_int) -> Row {
    Row {
        call,
        only: None,
        answer: Answer::Errno(errno),
    }
}

const fn only(row: Row, argument: u32, mask: u32, value: u32) -> Row {
    Row {
        only: Some((argument, mask, value)),
        ..row
    }
}

const fn never(call: c_long) -> Row {
    only(errno(call, 0), 0, 0, 1)
}

const fn ask(call: c_long) -> Row {
    Row {
        call,
        only: None,
        answer: Answer::Ask,
    }
}

const fn kernel(name: &'static str, lacks: &'static str, rows: &'static [Row]) -> Kernel {
    Kernel {
        name,
        lacks,
        rows,
        landlock: None,
        no_proc: false,
    }
}

const fn landlock(name: &'static str, lacks: &'static str, version: i64) -> Kernel {
    Kernel {
        landlock: Some(version),
        ..kernel(name, lacks, OLD_LANDLOCK)
    }
}

const NEW_USER: u32 = libc::CLONE_NEWUSER.cast_unsigned();
const SET_SECCOMP: u32 = libc::PR_SET_SECCOMP.cast_unsigned();

/// Of `landlock_create_ruleset`, the question for the version (flag 1); errata (flag 2) are none.
const OLD_LANDLOCK: &[Row] = &[
    only(ask(libc::SYS_landlock_create_ruleset), 2, 3, 1),
    only(errno(libc::SYS_landlock_create_ruleset, 0), 2, 3, 2),
];

/// All of them.
pub(crate) const KERNELS: &[Kernel] = &[
    kernel(
        "no-landlock",
        "built without landlock",
        &[
            errno(libc::SYS_landlock_create_ruleset, libc::ENOSYS),
            errno(libc::SYS_landlock_add_rule, libc::ENOSYS),
            errno(libc::SYS_landlock_restrict_self, libc::ENOSYS),
        ],
    ),
    kernel(
        "landlock-off",
        "landlock is not among the security modules",
        &[
            errno(libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP),
            errno(libc::SYS_landlock_add_rule, libc::EOPNOTSUPP),
            errno(libc::SYS_landlock_restrict_self, libc::EOPNOTSUPP),
        ],
    ),
    landlock("landlock-1", "landlock of Linux 5.13", 1),
    landlock("landlock-2", "landlock of Linux 5.19", 2),
    landlock("landlock-3", "landlock of Linux 6.2", 3),
    landlock("landlock-4", "landlock of Linux 6.7", 4),
    landlock("landlock-5", "landlock of Linux 6.10", 5),
    landlock("landlock-6", "landlock of Linux 6.12", 6),
    kernel(
        "no-seccomp",
        "built without filters of system calls",
        &[
            errno(libc::SYS_seccomp, libc::ENOSYS),
            only(
                errno(libc::SYS_prctl, libc::EINVAL),
                0,
                u32::MAX,
                SET_SECCOMP,
            ),
        ],
    ),
    kernel(
        "no-seccomp-filter",
        "has the strict mode of seccomp only",
        &[
            errno(libc::SYS_seccomp, libc::EINVAL),
            only(
                errno(libc::SYS_prctl, libc::EINVAL),
                0,
                u32::MAX,
                SET_SECCOMP,
            ),
        ],
    ),
    kernel(
        "no-userns",
        "ordinary users may make no user namespace",
        &[
            only(errno(libc::SYS_unshare, libc::EPERM), 0, NEW_USER, NEW_USER),
            only(errno(libc::SYS_clone, libc::EPERM), 0, NEW_USER, NEW_USER),
        ],
    ),
    kernel(
        "userns-limit",
        "there are as many user namespaces as may be",
        &[
            only(
                errno(libc::SYS_unshare, libc::ENOSPC),
                0,
                NEW_USER,
                NEW_USER,
            ),
            only(errno(libc::SYS_clone, libc::ENOSPC), 0, NEW_USER, NEW_USER),
        ],
    ),
    kernel(
        "userns-unmapped",
        "a user namespace may be made, but its ids may not be set (AppArmor)",
        // Short texts only: the rest of what is written concerns nobody.
        &[only(ask(libc::SYS_write), 2, !63, 0)],
    ),
    kernel(
        "no-memfd-secret",
        "no memory that is hidden from the kernel",
        &[errno(libc::SYS_memfd_secret, libc::ENOSYS)],
    ),
    kernel(
        "no-mlock",
        "no memory may be locked",
        &[
            errno(libc::SYS_mlock, libc::ENOMEM),
            errno(libc::SYS_mlock2, libc::ENOMEM),
        ],
    ),
    // For comparisons: every call passes as many rows as on the kernel that lacks everything to confine a process with,
    // and none is answered. No value has a bit where the mask has none.
    kernel(
        "complete",
        "nothing; as quick as no-landlock,no-seccomp,no-userns",
        &[
            never(libc::SYS_landlock_create_ruleset),
            never(libc::SYS_landlock_add_rule),
            never(libc::SYS_landlock_restrict_self),
            never(libc::SYS_seccomp),
            never(libc::SYS_prctl),
            never(libc::SYS_unshare),
            never(libc::SYS_clone),
        ],
    ),
    Kernel {
        no_proc: true,
        ..kernel("no-proc", "/proc is not mounted", &[])
    },
];

/// The kernels of a list of names with commas.
///
/// # Errors
/// The name that none has.
pub(crate) fn parse(names: &str) -> Result<Vec<Kernel>, String> {
    names
        .split(',')
        .map(|name| {
            let found = KERNELS.iter().find(|kernel| kernel.name == name);
            found.copied().ok_or_else(|| name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_named_one_by_one_and_an_unknown_one_is_refused() {
        let several = parse("no-landlock,no-userns").unwrap();
        let names: Vec<_> = several.iter().map(|kernel| kernel.name).collect();
        assert_eq!(names, ["no-landlock", "no-userns"]);
        assert_eq!(parse("no-landlok"), Err("no-landlok".to_owned()));
        assert_eq!(parse(""), Err(String::new()));
    }

    #[test]
    fn each_kernel_has_a_name_of_its_own_and_lacks_something() {
        for (index, kernel) in KERNELS.iter().enumerate() {
            assert!(!kernel.rows.is_empty() || kernel.no_proc, "{}", kernel.name);
            let first = KERNELS.iter().position(|other| other.name == kernel.name);
            assert_eq!(first, Some(index), "{}", kernel.name);
        }
    }
}
