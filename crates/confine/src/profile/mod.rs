//! What each process may do, as data: `profiles/NAME.toml`, one file per process, made into tables
//! by the build. The filter, the topology, the documentation and the tests read the same rows.

mod arch;
mod files;
mod limits;

pub use arch::{Arch, Numbers};
pub use files::{FileRow, Place};
pub use limits::Limits;

use std::collections::BTreeSet;

use crate::landlock::Access;

/// How the processes are run, which decides how edges are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All under one user, edges handed out by the supervisor.
    Single,
    /// A user each, edges as named UNIX sockets of the service manager.
    System,
}

impl Mode {
    /// Both.
    pub const ALL: [Mode; 2] = [Mode::Single, Mode::System];

    /// The word of the profiles for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Single => "single",
            Mode::System => "system",
        }
    }
}

/// The value that an argument is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// A constant.
    Number(u64),
    /// The id of the process that the filter is made for.
    OwnPid,
}

/// A demand on one argument of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub argument: u8,
    /// Compare all 64 bits, not the lower 32.
    pub wide: bool,
    /// Bits to compare; only with `equal`.
    pub mask: Option<u64>,
    /// Equal, or different.
    pub equal: bool,
    /// What to compare with.
    pub value: Value,
}

/// A call that is let through, or answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Name of the system call.
    pub call: &'static str,
    /// Its number on each architecture.
    pub numbers: Numbers,
    /// Only in this mode.
    pub mode: Option<Mode>,
    /// The answer, as Linux numbers it; `None` lets the call through.
    pub errno: Option<i32>,
    /// All of them must hold.
    pub conditions: &'static [Condition],
    /// File and line that the row comes from.
    pub source: &'static str,
}

/// Rows that several profiles may share.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    /// File name without ending.
    pub name: &'static str,
    /// Limits; a later section's win.
    pub limits: Limits,
    /// The places.
    pub files: &'static [FileRow],
    /// The calls.
    pub rows: &'static [Row],
}

/// What one process may do.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// File name without ending: the role, or its part before the first `-`.
    pub name: &'static str,
    /// Confined by landlock and filter; false for limits only (the supervisor).
    pub filter: bool,
    /// Gets an empty network namespace of its own where the kernel permits it; false for who works in
    /// the host's.
    pub own_network: bool,
    /// May open TCP connections.
    pub connect_tcp: bool,
    /// Shared sections first, its own last.
    pub sections: &'static [&'static Section],
}

impl Profile {
    /// The rows that hold in a mode.
    pub fn rows(&self, mode: Mode) -> impl Iterator<Item = &'static Row> {
        let rows = self.sections.iter().flat_map(|section| section.rows);
        rows.filter(move |row| row.mode.is_none_or(|only| only == mode))
    }

    /// All places, of both modes.
    pub fn all_files(&self) -> impl Iterator<Item = &'static FileRow> {
        self.sections.iter().flat_map(|section| section.files)
    }

    /// The places that may be reached in a mode.
    pub fn files(&self, mode: Mode) -> impl Iterator<Item = &'static FileRow> {
        self.all_files()
            .filter(move |row| row.mode.is_none_or(|only| only == mode))
    }

    /// Names of the calls that are let through in a mode on an architecture, each once.
    pub fn calls(&self, mode: Mode, arch: Arch) -> BTreeSet<&'static str> {
        self.rows(mode)
            .filter(|row| row.errno.is_none() && row.numbers.on(arch).is_some())
            .map(|row| row.call)
            .collect()
    }

    /// The limits of all sections together.
    pub fn limits(&self) -> Limits {
        self.sections.iter().fold(Limits::NONE, |limits, section| {
            limits.overlaid(section.limits)
        })
    }
}

/// The profile of a role: `agent-main` and `agent-guest` share one, as do all models.
pub fn profile(role: &str) -> Option<&'static Profile> {
    let named = |name: &str| PROFILES.iter().find(|profile| profile.name == name);
    named(role).or_else(|| named(role.split_once('-')?.0))
}

include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_its_profile() {
        let roles = [
            ("gateway", "gateway"),
            ("policy", "policy"),
            ("broker", "broker"),
            ("dialer", "dialer"),
            ("agent-main", "agent"),
            ("agent-guest", "agent"),
            ("model-builtin", "model"),
            ("model-open-ai", "model"),
            ("executor", "executor"),
            ("supervisor", "supervisor"),
        ];
        for (role, name) in roles {
            assert_eq!(profile(role).map(|profile| profile.name), Some(name));
        }
        for unknown in ["", "base", "offline", "operator", "-main", "gatewa"] {
            assert_eq!(profile(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn places_are_named_as_the_profiles_name_them() {
        let shown = |name: &str, mode| -> Vec<String> {
            let rows = profile(name).unwrap().files(mode);
            rows.map(ToString::to_string).collect()
        };
        let policy = ["own STATE/pairing", "own STATE/audit"];
        let (single, system) = (shown("policy", Mode::Single), shown("policy", Mode::System));
        assert!(policy.iter().all(|row| single.iter().any(|one| one == row)));
        assert!(single.contains(&"single: remove RUN".to_owned()));
        assert!(!system.contains(&"single: remove RUN".to_owned()));
        // In single-user mode its folder is that of all state.
        assert!(system.contains(&"system: read CONFIG".to_owned()));
        assert!(!single.iter().any(|row| row.contains("CONFIG")));
        assert!(system.contains(&"system: connect EDGES".to_owned()));
        // What the service manager is told there is policy's word alone.
        let plan = "system: own PLAN".to_owned();
        assert!(system.contains(&plan) && !single.contains(&plan));
        let others = PROFILES.iter().filter(|other| other.name != "policy");
        for other in others {
            let rows = other.all_files();
            assert!(rows.into_iter().all(|row| row.place != Place::Plan));
        }
        let broker = |mode| shown("broker", mode);
        assert!(broker(Mode::Single).contains(&"single: read STATE/secrets".to_owned()));
        for row in ["system: read SECRETS", "system: read CREDENTIALS"] {
            assert!(broker(Mode::System).contains(&row.to_owned()));
            assert!(!broker(Mode::Single).contains(&row.to_owned()));
        }
        // The dialer has no socket to connect to one with.
        let dialer = ["read /etc/resolv.conf", "read /etc/hosts"];
        assert_eq!(shown("dialer", Mode::System), dialer);
    }

    #[test]
    fn nobody_leaves_a_core_file_and_only_the_supervisor_goes_without_filter() {
        for profile in PROFILES {
            assert_eq!(profile.limits().core, Some(0), "{}", profile.name);
            assert_eq!(profile.filter, profile.name != "supervisor");
            assert_eq!(profile.connect_tcp, profile.name == "dialer");
            let in_the_hosts = ["dialer", "supervisor"].contains(&profile.name);
            assert_eq!(profile.own_network, !in_the_hosts, "{}", profile.name);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_constants_that_rows_name_are_those_of_the_c_library() {
        macro_rules! constants {
            ($($name:ident = $value:expr,)*) => {
                [$((stringify!($name), $value as u64, libc::$name as u64)),*]
            };
        }
        for (name, ours, theirs) in include!("../../build/constants.rs") {
            assert_eq!(ours, theirs, "{name}");
        }
    }

    #[test]
    fn no_row_lets_a_dangerous_call_through() {
        // Neither with nor without conditions, for nobody and in no mode.
        const NEVER: &[&str] = &[
            "bind",
            "listen",
            "execve",
            "execveat",
            "fork",
            "vfork",
            "clone3",
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "pidfd_open",
            "pidfd_getfd",
            "unshare",
            "setns",
            "mount",
            "umount2",
            "pivot_root",
            "chroot",
            "setuid",
            "setgid",
            "setresuid",
            "setresgid",
            "capset",
            "keyctl",
            "add_key",
            "request_key",
            "bpf",
            "io_uring_setup",
            "io_uring_enter",
            "userfaultfd",
            "perf_event_open",
            "personality",
            "seccomp",
            "mknod",
            "mknodat",
            "link",
            "linkat",
            "symlink",
            "symlinkat",
            "chmod",
            "fchmodat",
            "chown",
            "truncate",
            "setrlimit",
            "sendmmsg",
            "memfd_create",
            "init_module",
            "kexec_load",
            "reboot",
            "swapon",
            "modify_ldt",
            "name_to_handle_at",
            "open_by_handle_at",
            "process_madvise",
            "kcmp",
            "pkey_mprotect",
            "remap_file_pages",
            "shmat",
        ];
        for profile in PROFILES {
            for mode in [Mode::Single, Mode::System] {
                let allowed: Vec<_> = profile
                    .rows(mode)
                    .filter(|row| row.errno.is_none())
                    .collect();
                assert_eq!(allowed.is_empty(), !profile.filter);
                for row in &allowed {
                    assert!(
                        !NEVER.contains(&row.call),
                        "{} allows {}",
                        row.source,
                        row.call
                    );
                }
                let calls = |name: &str| allowed.iter().filter(|row| row.call == name).count();
                let (socket, connect) = (calls("socket") > 0, calls("connect") > 0);
                let expected = profile.name == "dialer" || (profile.filter && mode == Mode::System);
                assert_eq!(
                    (socket, connect),
                    (expected, expected),
                    "{} {mode:?}",
                    profile.name
                );
            }
        }
    }
}
