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
        "an inherited TCP socket could be pointed elsewhere (needs landlock ABI 4, Linux 6.7); the lock on it and the unit's network namespace remain",
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
}

impl Confinement {
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
mod tests {
    use super::*;

    const GOOD: Found = Found {
        landlock_abi: 7,
        seccomp: true,
        no_new_privs: true,
        dumpable: false,
        core_limit: 0,
        measured: true,
        filter: true,
        sockets: false,
    };

    #[test]
    fn full_means_that_nothing_is_missing_that_safety_rests_on() {
        let rows: [(Found, Level, &[&str]); 11] = [
            (GOOD, Level::Full, &[]),
            // The floor: Debian 12's stock kernel.
            (
                Found {
                    landlock_abi: 2,
                    ..GOOD
                },
                Level::Full,
                &[],
            ),
            (
                Found {
                    landlock_abi: 1,
                    ..GOOD
                },
                Level::Partial,
                &["landlock-2"],
            ),
            (
                Found {
                    landlock_abi: 0,
                    ..GOOD
                },
                Level::Partial,
                &["landlock"],
            ),
            (
                Found {
                    seccomp: false,
                    ..GOOD
                },
                Level::Partial,
                &["seccomp"],
            ),
            (
                Found {
                    landlock_abi: 0,
                    seccomp: false,
                    ..GOOD
                },
                Level::Limits,
                &["landlock", "seccomp"],
            ),
            (
                Found {
                    dumpable: true,
                    ..GOOD
                },
                Level::Partial,
                &["dumpable"],
            ),
            (
                Found {
                    core_limit: 1,
                    no_new_privs: false,
                    ..GOOD
                },
                Level::Partial,
                &["no-new-privs", "core"],
            ),
            (
                Found {
                    measured: false,
                    ..GOOD
                },
                Level::Partial,
                &["proc"],
            ),
            (
                Found {
                    filter: false,
                    landlock_abi: 0,
                    seccomp: false,
                    ..GOOD
                },
                Level::Limits,
                &[],
            ),
            (
                Found {
                    landlock_abi: 2,
                    sockets: true,
                    ..GOOD
                },
                Level::Full,
                &["landlock-net", "landlock-scope", "landlock-unix"],
            ),
        ];
        for (found, level, missing) in rows {
            let confinement = Confinement::of(found);
            let names: Vec<&str> = confinement.missing.iter().map(|row| row.what).collect();
            assert_eq!(
                (confinement.level, names.as_slice()),
                (level, missing),
                "{found:?}"
            );
            assert_eq!(confinement.is_full(), level == Level::Full);
        }
    }

    #[test]
    fn a_line_is_read_back_as_it_was_written() {
        let all = [
            Confinement::of(GOOD),
            Confinement::of(Found {
                landlock_abi: 0,
                dumpable: true,
                ..GOOD
            }),
            Confinement::of(Found {
                core_limit: u64::MAX,
                ..GOOD
            }),
            Confinement::none(5),
        ];
        for confinement in all {
            let line = confinement.to_line();
            assert!(!line.contains('\n'));
            assert_eq!(Confinement::parse_line(&line), Some(confinement.clone()));
            let longer = format!("serving {line} sessions=3");
            assert_eq!(Confinement::parse_line(&longer), Some(confinement));
        }
        assert_eq!(
            Confinement::of(GOOD).to_line(),
            "level=full landlock=7 seccomp=on nnp=on dumpable=off core=0"
        );
    }

    #[test]
    fn what_is_no_confinement_line_is_not_taken_for_one() {
        let line = Confinement::of(GOOD).to_line();
        let wrong = [
            String::new(),
            "ready".to_owned(),
            line.replace("full", "fuller"),
            line.replace("landlock=7", "landlock=700"),
            line.replace("nnp=on", "nnp=1"),
            line.replace("core=0", ""),
            format!("{line} missing=nonsense"),
        ];
        for line in wrong {
            assert_eq!(Confinement::parse_line(&line), None, "{line}");
        }
    }
}
