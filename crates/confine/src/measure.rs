//! How far a process is confined, as measured and not as meant: what the kernel reports after the
//! last step. One line of text for the status line, read back by the supervisor.

mod missing;

use std::fmt::Write as _;

use crate::memory::Backing;

use missing::row;
pub use missing::{MISSING, Missing};

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

/// Whose network a process is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own with nothing in it but a loopback device.
    Own,
    /// The one in which it was started.
    Host,
}

impl Network {
    const ALL: [Network; 2] = [Network::Own, Network::Host];

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Network::Own => "own",
            Network::Host => "host",
        }
    }
}

/// The measured confinement of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// The sum of it.
    pub level: Level,
    /// Landlock ABI in force, 0 for none.
    pub landlock_abi: u8,
    /// A system call filter is in force.
    pub seccomp: bool,
    /// Filter programs in force, whoever set them; 0 also where the kernel does not count.
    pub filters: u32,
    /// No exec gives privileges.
    pub no_new_privs: bool,
    /// A capability is left in a set that matters.
    pub capabilities: bool,
    /// Others of the same user may read the memory.
    pub dumpable: bool,
    /// Bytes of a core file; `u64::MAX` for no limit.
    pub core_limit: u64,
    /// Variables in the environment.
    pub variables: u32,
    /// Descriptors that nobody handed over.
    pub strays: u32,
    /// Whose network it is in.
    pub network: Network,
    /// What memory keys lie in; `None` for who gets none.
    pub memory: Option<Backing>,
    /// What is not there, the important first.
    pub missing: Vec<Missing>,
}

/// What was found, and what was asked for; the level and the missing things follow from it.
#[cfg(any(target_os = "linux", test))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub landlock_abi: u8,
    pub seccomp: bool,
    pub filters: u32,
    pub no_new_privs: bool,
    pub capabilities: bool,
    pub dumpable: bool,
    pub core_limit: u64,
    pub variables: u32,
    pub strays: u32,
    pub network: Network,
    pub memory: Option<Backing>,
    /// Its ids have their numbers in its user namespace.
    pub mapped: bool,
    /// The kernel's report was readable.
    pub measured: bool,
    /// Files and calls are to be bounded (not for the supervisor).
    pub filter: bool,
    /// It is to have a network of its own.
    pub own_network: bool,
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
        let in_hosts = found.network == Network::Host;
        let absent = [
            ("landlock", filter && abi == 0),
            ("landlock-2", filter && abi == 1),
            ("seccomp", filter && !found.seccomp),
            ("no-new-privs", !found.no_new_privs),
            ("capabilities", found.capabilities),
            ("dumpable", found.dumpable),
            ("core", found.core_limit != 0),
            ("environment", found.variables != 0),
            ("descriptors", found.strays != 0),
            ("locked-memory", found.memory == Some(Backing::Unlocked)),
            ("proc", !found.measured),
            ("network-namespace", found.own_network && in_hosts),
            ("secret-memory", found.memory == Some(Backing::Locked)),
            ("id-map", !found.mapped),
            ("landlock-net", old(4)),
            ("socket-lock", !found.socket_lock),
            ("landlock-scope", in_hosts && old(6)),
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
            filters: found.filters,
            no_new_privs: found.no_new_privs,
            capabilities: found.capabilities,
            dumpable: found.dumpable,
            core_limit: found.core_limit,
            variables: found.variables,
            strays: found.strays,
            network: found.network,
            memory: found.memory,
            missing,
        }
    }

    /// No confinement at all, where there is none for the platform.
    pub fn none(core_limit: u64) -> Self {
        Self {
            level: Level::None,
            landlock_abi: 0,
            seccomp: false,
            filters: 0,
            no_new_privs: false,
            capabilities: false,
            dumpable: true,
            core_limit,
            variables: 0,
            strays: 0,
            network: Network::Host,
            memory: None,
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
            "level={} landlock={} seccomp={} filters={} nnp={} caps={} dumpable={} core={} env={} strays={} net={} memory={}",
            self.level.as_str(),
            self.landlock_abi,
            on(self.seccomp),
            self.filters,
            on(self.no_new_privs),
            on(self.capabilities),
            on(self.dumpable),
            self.core_limit,
            self.variables,
            self.strays,
            self.network.as_str(),
            self.memory.map_or("none", Backing::as_str),
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
        let (level, network, memory) = (value("level")?, value("net")?, value("memory")?);
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
            filters: value("filters")?.parse().ok()?,
            no_new_privs: switch("nnp")?,
            capabilities: switch("caps")?,
            dumpable: switch("dumpable")?,
            core_limit: value("core")?.parse().ok()?,
            variables: value("env")?.parse().ok()?,
            strays: value("strays")?.parse().ok()?,
            network: Network::ALL
                .into_iter()
                .find(|known| known.as_str() == network)?,
            memory: match memory {
                "none" => None,
                kind => Some(
                    Backing::ALL
                        .into_iter()
                        .find(|known| known.as_str() == kind)?,
                ),
            },
            missing,
        })
    }
}

#[cfg(test)]
mod tests;
