//! The settings of a unit that protect: how each is read, which side is the strict one, and what it means when it is gone.

use clawdbot_config::Severity::{self, Critical, Warn};

/// How a setting is read, and which side of it is the strict one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The strict side is yes.
    Yes,
    /// One of these, the weakest first.
    Rank(&'static [&'static str]),
    /// A list of what is permitted. Unset, it permits everything or nothing, and so after an empty assignment.
    Permits { unset: Rest, empty: Rest },
    /// A list of what is refused.
    Refuses,
    /// The strict side is no, which is also what stands there when nothing does.
    No,
    /// The smaller the stricter.
    Least,
    /// Any limit is a limit; with one of these, or nothing, there is none.
    Limit(&'static [&'static str]),
    /// Octal; each further bit is stricter.
    Mask,
    /// Octal; each further bit permits more.
    Mode,
    /// Every other value is a finding.
    Fixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    All,
    None,
}

/// A setting that protects, and what it means when it is gone.
#[derive(Debug)]
pub struct Class {
    pub name: &'static str,
    pub kind: Kind,
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

/// The one setting of `[Unit]` that opens something.
pub const JOINS: &str = "JoinsNamespaceOf";
const SHARE: Kind = Kind::Limit(&["infinity", "100%"]);
const TIME: Kind = Kind::Limit(&["infinity", "0"]);

/// What is compared of a unit of this name; nothing of a unit that protects nobody.
pub fn table(unit: &str) -> Option<(&'static str, &'static [Class])> {
    match unit.rsplit_once('.')?.1 {
        "service" => Some(("Service", CLASSES)),
        "socket" => Some(("Socket", SOCKETS)),
        "slice" => Some(("Slice", SLICES)),
        _ => None,
    }
}

/// Of services. How much memory and processor a service gets is the administrator's to choose, as long as there is a limit.
pub const CLASSES: &[Class] = &[
    class("User", Kind::Fixed, Critical, "it runs as somebody else"),
    class("Group", Kind::Fixed, Critical, "it runs in another group"),
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
        "NetworkNamespacePath",
        Kind::Fixed,
        Critical,
        "it is in another network",
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
    class(
        "StateDirectory",
        NOTHING,
        Critical,
        "it may write to further places",
    ),
    class(
        "CacheDirectory",
        NOTHING,
        Critical,
        "it may write to further places",
    ),
    class(
        "LogsDirectory",
        NOTHING,
        Critical,
        "it may write to further places",
    ),
    class(
        "RuntimeDirectory",
        NOTHING,
        Critical,
        "it may write to further places",
    ),
    class(
        "ConfigurationDirectory",
        NOTHING,
        Critical,
        "it may write to further places",
    ),
    class("OpenFile", NOTHING, Critical, "it is given an open file"),
    class(
        "MountImages",
        NOTHING,
        Critical,
        "it may write to further places",
    ),
    class(
        "ExtensionImages",
        NOTHING,
        Critical,
        "other files lie over its programs",
    ),
    class(
        "ExtensionDirectories",
        NOTHING,
        Critical,
        "other files lie over its programs",
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
    class(
        "RootImage",
        Kind::Fixed,
        Critical,
        "it lives among other files, its program among them",
    ),
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
        Kind::Rank(&["no", "full", "identity", "yes", "self"]),
        Warn,
        "its user is one of the machine's",
    ),
    class(
        "PrivateTmp",
        Kind::Rank(&["no", "yes", "disconnected"]),
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
        Kind::Rank(&["no", "private", "yes", "strict"]),
        Warn,
        "it may change limits",
    ),
    class("ProtectClock", Kind::Yes, Warn, "it may set the clock"),
    class(
        "ProtectHostname",
        Kind::Rank(&["no", "yes", "private"]),
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
    class(
        "PrivateMounts",
        Kind::Yes,
        Warn,
        "what it mounts others see",
    ),
    class(
        "LoadCredential",
        NOTHING,
        Warn,
        "it is given further secrets",
    ),
    class(
        "LoadCredentialEncrypted",
        NOTHING,
        Warn,
        "it is given further secrets",
    ),
    class(
        "ImportCredential",
        NOTHING,
        Warn,
        "it is given further secrets",
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
    class("Delegate", Kind::No, Warn, "it may change limits"),
    class(
        "Slice",
        Kind::Fixed,
        Warn,
        "the limits of its group do not hold",
    ),
    class("MemoryMax", SHARE, Warn, "it may take all memory"),
    class(
        "TasksMax",
        SHARE,
        Warn,
        "it may start any number of processes",
    ),
    class(
        "CPUQuota",
        Kind::Limit(&["infinity"]),
        Warn,
        "it may take the processor for itself",
    ),
    class(
        "MemorySwapMax",
        Kind::Least,
        Warn,
        "its memory is written to the disk",
    ),
    class("RuntimeMaxSec", TIME, Warn, "it may run for ever"),
    class(
        "WatchdogSec",
        TIME,
        Warn,
        "nobody ends it when it stands still",
    ),
    class(
        "KillMode",
        Kind::Rank(&["none", "process", "mixed", "control-group"]),
        Warn,
        "what it started outlives it",
    ),
    class(
        JOINS,
        NOTHING,
        Critical,
        "it shares network and temporary files with another",
    ),
    class("PAMName", Kind::Fixed, Warn, "it is a session of a person"),
    class(
        "SecureBits",
        NOTHING,
        Critical,
        "it may hold rights of root",
    ),
    class(
        "SetCredential",
        NOTHING,
        Warn,
        "it is given further secrets",
    ),
    class(
        "SetCredentialEncrypted",
        NOTHING,
        Warn,
        "it is given further secrets",
    ),
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

/// Of sockets: who calls follows from who may connect.
pub const SOCKETS: &[Class] = &[
    class("SocketUser", Kind::Fixed, Critical, "somebody else owns it"),
    class(
        "SocketGroup",
        Kind::Fixed,
        Critical,
        "others than its caller may connect",
    ),
    class(
        "SocketMode",
        Kind::Mode,
        Critical,
        "others than its caller may connect",
    ),
    class(
        "DirectoryMode",
        Kind::Mode,
        Warn,
        "others may put sockets beside it",
    ),
    class(
        "ListenStream",
        NOTHING,
        Critical,
        "it is open at further places",
    ),
    class(
        "ListenDatagram",
        NOTHING,
        Critical,
        "it is open at further places",
    ),
    class(
        "ListenSequentialPacket",
        NOTHING,
        Critical,
        "it is open at further places",
    ),
    class("Symlinks", NOTHING, Warn, "it is reached by further names"),
    class("Service", Kind::Fixed, Critical, "another service answers"),
    class(
        "IPAddressDeny",
        Kind::Refuses,
        Critical,
        "addresses that were closed may connect",
    ),
    class(
        "IPAddressAllow",
        NOTHING,
        Critical,
        "further addresses may connect",
    ),
    class(
        "MaxConnections",
        Kind::Least,
        Warn,
        "more of its services run at a time",
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
        "a further program runs after it",
    ),
    class(
        "ExecStopPre",
        NOTHING,
        Warn,
        "a further program runs before it ends",
    ),
    class(
        "ExecStopPost",
        NOTHING,
        Warn,
        "a further program runs after it",
    ),
];

/// Of slices: the limits of several services together.
pub const SLICES: &[Class] = &[
    class("MemoryMax", SHARE, Warn, "they may take all memory"),
    class(
        "TasksMax",
        SHARE,
        Warn,
        "they may start any number of processes",
    ),
];
