//! All that can be missing from a confinement, and what that means for whoever runs it. One table, so
//! that `up`, `status`, `doctor` and the topology say the same.

/// A protection that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Stable name.
    pub what: &'static str,
    /// Safety rests on it: the level is not full without it.
    pub floor: bool,
    /// What that means for the operator.
    pub meaning: &'static str,
    /// What the operator can do.
    pub remedy: &'static str,
}

/// For what no kernel explains: the process was not made as it must be.
const OURS: &str = "stop it and report this: no kernel is the reason";

/// The important first.
pub const MISSING: &[Missing] = &[
    Missing {
        what: "landlock",
        floor: true,
        meaning: "the kernel has no landlock (or it is off): files are guarded by this user's permissions alone",
        remedy: "run Linux 5.19 or newer with landlock among its security modules: put it first in `lsm=` of the kernel's command line (`cat /sys/kernel/security/lsm` shows them)",
    },
    Missing {
        what: "landlock-2",
        floor: true,
        meaning: "the kernel's landlock is older than ABI 2 (Linux 5.19): no file can be moved between directories",
        remedy: "run Linux 5.19 or newer",
    },
    Missing {
        what: "seccomp",
        floor: true,
        meaning: "the kernel has no system call filter: sockets and programs are not refused",
        remedy: "run a kernel with CONFIG_SECCOMP_FILTER, and in a container permit the call seccomp",
    },
    Missing {
        what: "no-new-privs",
        floor: true,
        meaning: "a set-id program could give privileges back",
        remedy: OURS,
    },
    Missing {
        what: "capabilities",
        floor: true,
        meaning: "the process has kept capabilities that it should have given up",
        remedy: OURS,
    },
    Missing {
        what: "dumpable",
        floor: true,
        meaning: "other processes of this user can read its memory",
        remedy: OURS,
    },
    Missing {
        what: "core",
        floor: true,
        meaning: "a crash may leave a core file with what the process held",
        remedy: OURS,
    },
    Missing {
        what: "environment",
        floor: true,
        meaning: "variables of whoever started it are left in the process: they may hold secrets of others",
        remedy: OURS,
    },
    Missing {
        what: "descriptors",
        floor: true,
        meaning: "the process has kept descriptors that nobody handed to it",
        remedy: OURS,
    },
    Missing {
        what: "locked-memory",
        floor: true,
        meaning: "the memory for keys can be neither hidden nor locked: a key may be written to swap",
        remedy: "raise the limit of locked memory (`ulimit -l`, LimitMEMLOCK=) to 8 MiB, or encrypt the swap space",
    },
    Missing {
        what: "proc",
        floor: true,
        meaning: "/proc is not mounted: what is in force could not be measured",
        remedy: "mount /proc where Clawdbot is started",
    },
    Missing {
        what: "network-namespace",
        floor: false,
        meaning: "the process is in the host's network, without an empty one of its own: that it opens no socket rests on the filter of system calls alone",
        remedy: "permit user namespaces: `sysctl user.max_user_namespaces=10000`, on Debian also `kernel.unprivileged_userns_clone=1`, on Ubuntu `kernel.apparmor_restrict_unprivileged_userns=0`; a unit has PrivateNetwork=yes instead",
    },
    Missing {
        what: "secret-memory",
        floor: false,
        meaning: "keys lie in locked memory that root and the kernel can read: there is no memory that is hidden from them (memfd_secret)",
        remedy: "run Linux 6.5 or newer, or from 5.14 on put `secretmem.enable=1` on the kernel's command line",
    },
    Missing {
        what: "id-map",
        floor: false,
        meaning: "the process has its own network, but is shown to itself as nobody, as its ids could not be set there: harmless, files belong to it as before",
        remedy: "on Ubuntu: `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or leave it",
    },
    Missing {
        what: "landlock-net",
        floor: true,
        meaning: "a TCP socket that was accepted or handed over could be pointed elsewhere (needs landlock ABI 4)",
        remedy: "run Linux 6.7 or newer",
    },
    Missing {
        what: "socket-lock",
        floor: false,
        meaning: "this kernel wants CAP_NET_ADMIN to nail a handed-over socket to its peer: only the filter and the file rules of the process that gets it keep it from being pointed elsewhere",
        remedy: "none is needed where everything runs as one user, since no process can connect there; for units, run Linux 6.7 or newer, where landlock closes it (ABI 4)",
    },
    Missing {
        what: "landlock-scope",
        floor: false,
        meaning: "abstract sockets of other programs can be reached: neither landlock (ABI 6) nor a network namespace of its own is in the way",
        remedy: "run Linux 6.12 or newer, or give the unit PrivateNetwork=yes",
    },
    Missing {
        what: "landlock-unix",
        floor: false,
        meaning: "UNIX sockets are guarded by their permissions alone (needs landlock ABI 9)",
        remedy: "run Linux 7.1 or newer",
    },
    Missing {
        what: "platform",
        floor: true,
        meaning: "there is no confinement on this system yet",
        remedy: "run Clawdbot on Linux",
    },
];

/// The row of this name.
pub(super) fn row(what: &str) -> Option<&'static Missing> {
    MISSING.iter().find(|missing| missing.what == what)
}
