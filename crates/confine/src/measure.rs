//! How far a process is confined, as measured and not as meant: what the kernel reports after the
//! last step. One line of text for the status line, read back by the supervisor.

use std::fmt::Write as _;

/// How much of the confinement is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Everything that safety rests on.
    Full,
    /// Something is missing that safety rests on: see [`Confinement::missing`].
    Partial,
    /// Limits, no dumps, no new privileges; neither files nor calls are bounded.
    Limits,
    /// Nothing (macOS for now).
    None,
}

impl Level {
    const ALL: [Level; 4] = [Level::Full, Level::Partial, Level::Limits, Level::None];

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Full => "full",
            Level::Partial => "partial",
            Level::Limits => "limits",
            Level::None => "none",
        }
    }
}

/// A protection that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Stable name.
    pub what: &'static str,
    /// What that means for the operator.
    pub meaning: &'static str,
    /// Safety rests on it: the level is not full without it.
    pub floor: bool,
}

const fn missing(what: &'static str, floor: bool, meaning: &'static str) -> Missing {
    Missing {
        what,
        meaning,
        floor,
    }
}

/// All that can be missing.
pub const MISSING: &[Missing] = &[
    missing(
        "landlock",
        true,
        "the kernel has no landlock (or it is off): files are guarded by this user's permissions alone",
    ),
    missing(
        "landlock-2",
        true,
        "the kernel's landlock is older than ABI 2 (Linux 5.19)",
    ),
    missing(
        "seccomp",
        true,
        "the kernel has no system call filter: sockets and programs are not refused",
    ),
    missing(
        "no-new-privs",
        true,
        "a set-id program could give privileges back",
    ),
    missing(
        "dumpable",
        true,
        "other processes of this user can read its memory",
    ),
    missing(
        "core",
        true,
        "a crash may leave a core file with what the process held",
    ),
    missing(
        "proc",
        true,
        "/proc is not mounted: what is in force could not be measured",
    ),
    missing(
        "landlock-net",
        false,
        "an inherited TCP socket could be pointed elsewhere unless it is locked (needs landlock ABI 4, Linux 6.7)",
    ),
    missing(
        "socket-lock",
        false,
        "this kernel wants CAP_NET_ADMIN to nail a handed-over socket to its peer: only the filter and the file rules of the process that gets it keep it from being pointed elsewhere",
    ),
    missing(
        "landlock-scope",
        false,
        "abstract sockets of other programs can be reached (needs landlock ABI 6, Linux 6.12) unless the unit has a network namespace of its own",
    ),
    missing(
        "landlock-unix",
        false,
        "UNIX sockets are guarded by their permissions alone (needs landlock ABI 9, Linux 7.1)",
    ),
    missing(
        "platform",
        true,
        "there is no confinement on this system yet",
    ),
];

/// The measured confinement of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// The sum of it.
    pub level: Level,
    /// Landlock ABI in force, 0 for none.
    pub landlock_abi: u8,
    /// A system call filter is in force.
    pub seccomp: bool,
    /// No exec gives privileges.
    pub no_new_privs: bool,
    /// Others of the same user may read the memory.
    pub dumpable: bool,
    /// Bytes of a core file; `u64::MAX` for no limit.
    pub core_limit: u64,
    /// What is not there, the important first.
    pub missing: Vec<Missing>,
}

/// What was found; the level and the missing things follow from it.
#[cfg(any(target_os = "linux", test))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub landlock_abi: u8,
    pub seccomp: bool,
    pub no_new_privs: bool,
    pub dumpable: bool,
    pub core_limit: u64,
    /// The kernel's report was readable.
    pub measured: bool,
    /// Files and calls are to be bounded (not for the supervisor).
    pub filter: bool,
    /// Edges are named sockets: connect is open.
    pub sockets: bool,
    /// Sockets that are handed over can be nailed to their peer; true for who hands over none.
    pub socket_lock: bool,
}

impl Confinement {
    #[cfg(any(target_os = "linux", test))]
    pub(crate) fn of(found: Found) -> Self {
        let Found {
            landlock_abi: abi,
            filter,
            ..
        } = found;
        let old = |newest: u8| filter && found.sockets && abi < newest;
        let absent = [
            ("landlock", filter && abi == 0),
            ("landlock-2", filter && abi == 1),
            ("seccomp", filter && !found.seccomp),
            ("no-new-privs", !found.no_new_privs),
            ("dumpable", found.dumpable),
            ("core", found.core_limit != 0),
            ("proc", !found.measured),
            ("landlock-net", old(4)),
            ("socket-lock", !found.socket_lock),
            ("landlock-scope", old(6)),
            ("landlock-unix", old(9)),
        ];
        let missing: Vec<Missing> = absent
            .iter()
            .filter(|(_, absent)| *absent)
            .filter_map(|(what, _)| row(what).copied())
            .collect();
        let level = if !filter || (abi == 0 && !found.seccomp) {
            Level::Limits
        } else if missing.iter().any(|missing| missing.floor) {
            Level::Partial
        } else {
            Level::Full
        };
        Self {
            level,
            landlock_abi: abi,
            seccomp: found.seccomp,
            no_new_privs: found.no_new_privs,
            dumpable: found.dumpable,
            core_limit: found.core_limit,
            missing,
        }
    }

    /// No confinement at all, where there is none for the platform.
    pub fn none(core_limit: u64) -> Self {
        Self {
            level: Level::None,
            landlock_abi: 0,
            seccomp: false,
            no_new_privs: false,
            dumpable: true,
            core_limit,
            missing: row("platform").copied().into_iter().collect(),
        }
    }

    /// Nothing is missing that safety rests on.
    pub fn is_full(&self) -> bool {
        self.level == Level::Full
    }

    /// One line of `key=value` pairs for the status line.
    pub fn to_line(&self) -> String {
        let on = |value: bool| if value { "on" } else { "off" };
        let mut line = format!(
            "level={} landlock={} seccomp={} nnp={} dumpable={} core={}",
            self.level.as_str(),
            self.landlock_abi,
            on(self.seccomp),
            on(self.no_new_privs),
            on(self.dumpable),
            self.core_limit,
        );
        let names: Vec<&str> = self.missing.iter().map(|missing| missing.what).collect();
        if !names.is_empty() {
            let _ = write!(line, " missing={}", names.join(","));
        }
        line
    }

    /// Reads a line back. Words that are none of ours are passed over, so that a status line may say
    /// more; a word that is missing or wrong makes it no confinement line.
    pub fn parse_line(line: &str) -> Option<Self> {
        let value = |key: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        };
        let switch = |key: &str| match value(key)? {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        };
        let level = value("level")?;
        let missing = match value("missing") {
            Some(names) => names
                .split(',')
                .map(|name| row(name).copied())
                .collect::<Option<_>>()?,
            None => Vec::new(),
        };
        Some(Self {
            level: Level::ALL
                .into_iter()
                .find(|known| known.as_str() == level)?,
            landlock_abi: value("landlock")?.parse().ok()?,
            seccomp: switch("seccomp")?,
            no_new_privs: switch("nnp")?,
            dumpable: switch("dumpable")?,
            core_limit: value("core")?.parse().ok()?,
            missing,
        })
    }
}

fn row(what: &str) -> Option<&'static Missing> {
    MISSING.iter().find(|missing| missing.what == what)
}

#[cfg(test)]
mod tests;
