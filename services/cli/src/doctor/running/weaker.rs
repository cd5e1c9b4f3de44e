//! Whether a unit was made weaker than it was shipped: the shipped file and every drop-in are read as the service manager
//! reads them, setting by setting, and what permits more afterwards is named with the file that did it. What is stricter
//! is nobody's business but the administrator's.

use std::collections::BTreeSet;

use clawdbot_config::Severity::{self, Critical, Warn};

/// How a setting is read, and which side of it is the strict one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The strict side is yes, or any of its stronger forms.
    Yes,
    /// One of these, the weakest first.
    Rank(&'static [&'static str]),
    /// A list of what is permitted. Unset, it permits everything or nothing, and so after an empty assignment.
    Permits { unset: Rest, empty: Rest },
    /// A list of what is refused.
    Refuses,
    /// The smaller the stricter.
    Least,
    /// Octal; each further bit is stricter.
    Mask,
    /// Every other value is a finding.
    Fixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    All,
    None,
}

/// A setting that protects, and what it means when it is gone.
#[derive(Debug)]
pub struct Class {
    pub name: &'static str,
    kind: Kind,
    pub severity: Severity,
    pub meaning: &'static str,
}

const fn class(name: &'static str, kind: Kind, severity: Severity, meaning: &'static str) -> Class {
    Class {
        name,
        kind,
        severity,
        meaning,
    }
}

const ALL: Kind = Kind::Permits {
    unset: Rest::All,
    empty: Rest::All,
};
const NOTHING: Kind = Kind::Permits {
    unset: Rest::None,
    empty: Rest::None,
};

/// Everything that is compared. Limits on memory and processor are the administrator's to choose.
pub const CLASSES: &[Class] = &[
    class("User", Kind::Fixed, Critical, "it runs as somebody else"),
    class("Group", Kind::Fixed, Critical, "it runs in another group"),
    class(
        "DynamicUser",
        Kind::Fixed,
        Warn,
        "its user changes from start to start",
    ),
    class(
        "SupplementaryGroups",
        NOTHING,
        Critical,
        "it is in a further group",
    ),
    class(
        "NoNewPrivileges",
        Kind::Yes,
        Critical,
        "programs can give it rights",
    ),
    // An empty list is the empty set here.
    class(
        "CapabilityBoundingSet",
        Kind::Permits {
            unset: Rest::All,
            empty: Rest::None,
        },
        Critical,
        "it may hold rights of root",
    ),
    class(
        "AmbientCapabilities",
        NOTHING,
        Critical,
        "it starts with rights of root",
    ),
    class(
        "SystemCallFilter",
        ALL,
        Critical,
        "it may make further system calls",
    ),
    class(
        "SystemCallArchitectures",
        ALL,
        Warn,
        "calls of other architectures pass the filter",
    ),
    class(
        "SystemCallErrorNumber",
        Kind::Fixed,
        Warn,
        "a forbidden call does not end it",
    ),
    class(
        "RestrictAddressFamilies",
        ALL,
        Critical,
        "it may make further kinds of sockets",
    ),
    class(
        "PrivateNetwork",
        Kind::Yes,
        Critical,
        "it is in the machine's network",
    ),
    class(
        "IPAddressDeny",
        Kind::Refuses,
        Critical,
        "it may speak to addresses that were closed",
    ),
    class(
        "IPAddressAllow",
        NOTHING,
        Critical,
        "it may speak to further addresses",
    ),
    class("SocketBindDeny", Kind::Refuses, Warn, "it may listen"),
    class(
        "SocketBindAllow",
        NOTHING,
        Warn,
        "it may listen at further ports",
    ),
    class(
        "ProtectSystem",
        Kind::Rank(&["no", "yes", "full", "strict"]),
        Critical,
        "it may write to the system",
    ),
    class(
        "ProtectHome",
        Kind::Rank(&["no", "read-only", "tmpfs", "yes"]),
        Critical,
        "it sees people's files",
    ),
    class(
        "ReadWritePaths",
        NOTHING,
        Critical,
        "it may write to further places",
    ),
    class(
        "BindPaths",
        NOTHING,
        Critical,
        "it may write to further places",
    ),
    class("BindReadOnlyPaths", NOTHING, Warn, "it sees further places"),
    class(
        "InaccessiblePaths",
        Kind::Refuses,
        Critical,
        "it sees what was hidden",
    ),
    class(
        "ReadOnlyPaths",
        Kind::Refuses,
        Critical,
        "it may write to what was read-only",
    ),
    class(
        "TemporaryFileSystem",
        Kind::Refuses,
        Critical,
        "it sees what was hidden",
    ),
    class(
        "NoExecPaths",
        Kind::Refuses,
        Warn,
        "it may execute what lies there",
    ),
    class("ExecPaths", NOTHING, Warn, "it may execute what lies there"),
    class("RootDirectory", Kind::Fixed, Warn, "it sees other files"),
    class("PrivateDevices", Kind::Yes, Critical, "it sees devices"),
    class("DeviceAllow", NOTHING, Critical, "it may use a device"),
    class(
        "DevicePolicy",
        Kind::Rank(&["auto", "closed", "strict"]),
        Warn,
        "it may use devices",
    ),
    class(
        "PrivateUsers",
        Kind::Yes,
        Warn,
        "its user is one of the machine's",
    ),
    class(
        "PrivateTmp",
        Kind::Yes,
        Warn,
        "it sees everybody's temporary files",
    ),
    class(
        "PrivateIPC",
        Kind::Yes,
        Warn,
        "it shares memory and queues with others",
    ),
    class(
        "RestrictNamespaces",
        ALL,
        Critical,
        "it may make namespaces",
    ),
    class(
        "MemoryDenyWriteExecute",
        Kind::Yes,
        Critical,
        "it may make code at run time",
    ),
    class(
        "ProtectProc",
        Kind::Rank(&["default", "ptraceable", "noaccess", "invisible"]),
        Warn,
        "it sees other processes",
    ),
    class(
        "ProcSubset",
        Kind::Rank(&["all", "pid"]),
        Warn,
        "it sees the kernel's tables",
    ),
    class(
        "ProtectKernelTunables",
        Kind::Yes,
        Warn,
        "it may change the kernel's settings",
    ),
    class(
        "ProtectKernelModules",
        Kind::Yes,
        Warn,
        "it may load parts of the kernel",
    ),
    class(
        "ProtectKernelLogs",
        Kind::Yes,
        Warn,
        "it may read the kernel's log",
    ),
    class(
        "ProtectControlGroups",
        Kind::Yes,
        Warn,
        "it may change limits",
    ),
    class("ProtectClock", Kind::Yes, Warn, "it may set the clock"),
    class(
        "ProtectHostname",
        Kind::Yes,
        Warn,
        "it may rename the machine",
    ),
    class(
        "RestrictSUIDSGID",
        Kind::Yes,
        Warn,
        "it may make programs that give rights",
    ),
    class(
        "RestrictRealtime",
        Kind::Yes,
        Warn,
        "it may take the processor for itself",
    ),
    class(
        "LockPersonality",
        Kind::Yes,
        Warn,
        "it may behave as another system",
    ),
    class("RemoveIPC", Kind::Yes, Warn, "it leaves memory behind"),
    class(
        "KeyringMode",
        Kind::Rank(&["shared", "inherit", "private"]),
        Warn,
        "it shares the kernel's key ring",
    ),
    class(
        "NotifyAccess",
        Kind::Rank(&["all", "exec", "main", "none"]),
        Warn,
        "others may speak for it",
    ),
    class("Delegate", Kind::Fixed, Warn, "it may change limits"),
    class(
        "LimitCORE",
        Kind::Least,
        Warn,
        "its memory is written down when it dies",
    ),
    class("UMask", Kind::Mask, Warn, "others may read what it writes"),
    class(
        "ExecStart",
        Kind::Fixed,
        Critical,
        "another program runs in its place",
    ),
    class(
        "ExecStartPre",
        NOTHING,
        Critical,
        "a further program runs before it",
    ),
    class(
        "ExecStartPost",
        NOTHING,
        Critical,
        "a further program runs beside it",
    ),
    class(
        "ExecCondition",
        NOTHING,
        Warn,
        "a further program runs before it",
    ),
    class(
        "ExecReload",
        NOTHING,
        Warn,
        "a further program runs beside it",
    ),
    class("ExecStop", NOTHING, Warn, "a further program runs after it"),
    class(
        "ExecStopPost",
        NOTHING,
        Warn,
        "a further program runs after it",
    ),
    class("Environment", NOTHING, Warn, "it gets further variables"),
    class(
        "EnvironmentFile",
        NOTHING,
        Warn,
        "it gets further variables",
    ),
    class(
        "PassEnvironment",
        NOTHING,
        Warn,
        "it gets further variables",
    ),
];

/// A file with the lines of a unit.
pub struct UnitText<'a> {
    pub path: &'a str,
    pub text: &'a str,
}

/// One setting that permits more than it was shipped with.
#[derive(Debug)]
pub struct Weakening {
    pub class: &'static Class,
    /// The files that did it.
    pub by: Vec<String>,
    /// What it is now, and what it was.
    pub is: String,
    pub was: String,
}

/// What of a unit is weaker than shipped. `replaced`: what stands in place of the shipped file, where something does.
pub fn weakenings(
    shipped: &str,
    replaced: Option<&UnitText>,
    drop_ins: &[UnitText],
) -> Vec<Weakening> {
    let shipped = assignments(shipped);
    let base = replaced.map_or_else(|| shipped.clone(), |unit| assignments(unit.text));
    let read: Vec<_> = drop_ins
        .iter()
        .map(|unit| (unit.path, assignments(unit.text)))
        .collect();
    let compare = |class: &'static Class| {
        let was = values(&shipped, class.name);
        let mut now = values(&base, class.name);
        let mut by = Vec::new();
        if let Some(unit) = replaced.filter(|_| is_weaker(class.kind, &was, &now)) {
            by.push(unit.path.to_owned());
        }
        for (path, rows) in &read {
            let more = values(rows, class.name);
            if more.is_empty() {
                continue;
            }
            now.extend(more);
            match is_weaker(class.kind, &was, &now) {
                true => by.push((*path).to_owned()),
                // It makes good what another one did.
                false => by.clear(),
            }
        }
        is_weaker(class.kind, &was, &now).then(|| Weakening {
            class,
            by,
            is: show(class.kind, &now),
            was: show(class.kind, &was),
        })
    };
    CLASSES.iter().filter_map(compare).collect()
}

/// The assignments of `[Service]`, in order; a comment is none, and a line that ends in `\` goes on.
fn assignments(text: &str) -> Vec<(String, String)> {
    let (mut rows, mut section, mut open) = (Vec::new(), String::new(), String::new());
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) || (line.is_empty() && open.is_empty()) {
            continue;
        }
        if let Some(rest) = line.strip_suffix('\\') {
            open.push_str(rest);
            open.push(' ');
            continue;
        }
        let whole = std::mem::take(&mut open) + line;
        if let Some(name) = whole
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name.to_owned();
        } else if let (true, Some((name, value))) = (section == "Service", whole.split_once('=')) {
            rows.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    rows
}

fn values(rows: &[(String, String)], name: &str) -> Vec<String> {
    let mine = rows.iter().filter(|(known, _)| known == name);
    mine.map(|(_, value)| value.clone()).collect()
}

fn is_weaker(kind: Kind, was: &[String], now: &[String]) -> bool {
    match kind {
        Kind::Yes => is_yes(was) && !is_yes(now),
        Kind::Rank(ranks) => rank(ranks, now) < rank(ranks, was),
        Kind::Permits { unset, empty } => {
            !permitted(now, unset, empty).is_within(&permitted(was, unset, empty))
        }
        Kind::Refuses => {
            let (was, now) = (words(was), words(now));
            was.iter().any(|word| !now.contains(word))
        }
        Kind::Least => limit(now) > limit(was),
        Kind::Mask => mask(was) & !mask(now) != 0,
        Kind::Fixed => effective(was).last() != effective(now).last(),
    }
}

/// As a person reads it.
fn show(kind: Kind, values: &[String]) -> String {
    let shown = match kind {
        Kind::Permits { .. } | Kind::Refuses => effective(values).join(" "),
        _ => values.last().cloned().unwrap_or_default(),
    };
    const MOST: usize = 120;
    match shown.char_indices().nth(MOST) {
        Some((end, _)) => format!("\"{}…\"", shown.get(..end).unwrap_or_default()),
        None if shown.is_empty() => "not set".to_owned(),
        None => format!("\"{shown}\""),
    }
}

/// What is left after the last empty assignment, which forgets all before it.
fn effective(values: &[String]) -> Vec<&str> {
    let last = values.iter().rposition(String::is_empty);
    let left = last.map_or(values, |at| values.get(at + 1..).unwrap_or_default());
    left.iter().map(String::as_str).collect()
}

fn words(values: &[String]) -> BTreeSet<&str> {
    let left = effective(values).into_iter();
    left.flat_map(str::split_whitespace).collect()
}

/// The last value counts; what is neither known as off nor empty is one of the stronger forms of yes.
fn is_yes(values: &[String]) -> bool {
    let last = values.last().map(|value| boolean(value));
    !matches!(last, None | Some("" | "no"))
}

fn boolean(value: &str) -> &str {
    match value {
        "1" | "y" | "yes" | "t" | "true" | "on" => "yes",
        "0" | "n" | "no" | "f" | "false" | "off" => "no",
        other => other,
    }
}

fn rank(ranks: &[&str], values: &[String]) -> usize {
    let last = values.last().map_or("", |value| boolean(value));
    ranks.iter().position(|rank| *rank == last).unwrap_or(0)
}

fn limit(values: &[String]) -> u64 {
    let last = values.last().map_or("infinity", String::as_str);
    let hard = last.rsplit(':').next().unwrap_or(last);
    hard.parse().unwrap_or(u64::MAX)
}

fn mask(values: &[String]) -> u32 {
    let last = values.last().map_or("0022", String::as_str);
    u32::from_str_radix(last, 8).unwrap_or(0)
}

/// A set of names that is finite, or everything but some; and names that were taken out of groups among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names<'a> {
    all: bool,
    /// What is in it, or with `all`, what is not.
    listed: BTreeSet<&'a str>,
    without: BTreeSet<&'a str>,
}

impl Names<'_> {
    fn is_within(&self, other: &Self) -> bool {
        let members = match (self.all, other.all) {
            (false, false) => self.listed.is_subset(&other.listed),
            (true, true) => other.listed.is_subset(&self.listed),
            (false, true) => self.listed.is_disjoint(&other.listed),
            (true, false) => false,
        };
        members && other.without.is_subset(&self.without)
    }
}

/// What a list permits, read as the service manager does: names add up, `~` takes away, and the first one decides whether
/// it is a list of what is permitted or of what is not.
fn permitted(values: &[String], unset: Rest, empty: Rest) -> Names<'_> {
    let rest = |rest: Rest| Names {
        all: rest == Rest::All,
        ..Names::default()
    };
    let (mut names, mut begun) = (rest(unset), false);
    for value in values {
        match boolean(value) {
            "" => {
                (names, begun) = (rest(empty), false);
                continue;
            }
            // Everything again.
            "~" => {
                (names, begun) = (rest(Rest::All), false);
                continue;
            }
            // All namespaces, or none at all.
            "no" => {
                (names, begun) = (rest(Rest::All), true);
                continue;
            }
            "yes" | "none" => {
                (names, begun) = (rest(Rest::None), true);
                continue;
            }
            _ => {}
        }
        let (inverted, list) = match value.strip_prefix('~') {
            Some(list) => (true, list),
            None => (false, value.as_str()),
        };
        if !begun {
            names = rest(if inverted { Rest::All } else { Rest::None });
        }
        begun = true;
        for name in list.split_whitespace() {
            // The errno behind a call is not what it is about.
            let name = name.split(':').next().unwrap_or(name);
            if inverted == names.all {
                names.listed.insert(name);
                names.without.remove(name);
            } else if !names.listed.remove(name) && inverted {
                names.without.insert(name);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests;
