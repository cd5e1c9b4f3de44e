//! The lines that confine, the same in every service: key, value, and whom it holds for. Why each of them is there is in
//! `reasons.rs`. A key may come several times, as the service manager reads them: in order.

/// Which services have a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Every service.
    Every,
    /// Every service but the sandboxes, whose programs are not ours.
    Ours,
    /// The sandboxes.
    Sandboxes,
}

/// One line.
pub struct Common {
    /// Left of the `=`.
    pub key: &'static str,
    /// Right of it.
    pub value: &'static str,
    /// Which services have it.
    pub who: Who,
}

const fn every(key: &'static str, value: &'static str) -> Common {
    let who = Who::Every;
    Common { key, value, who }
}

const fn ours(key: &'static str, value: &'static str) -> Common {
    let who = Who::Ours;
    Common { key, value, who }
}

const fn sandboxes(key: &'static str, value: &'static str) -> Common {
    let who = Who::Sandboxes;
    Common { key, value, who }
}

/// The block.
pub const COMMON: &[Common] = &[
    every("NoNewPrivileges", "yes"),
    every("CapabilityBoundingSet", ""),
    every("AmbientCapabilities", ""),
    every("ProtectSystem", "strict"),
    every("ProtectHome", "yes"),
    every("PrivateTmp", "yes"),
    every("PrivateDevices", "yes"),
    every("DevicePolicy", "closed"),
    every("PrivateMounts", "yes"),
    every("PrivateIPC", "yes"),
    every("ProtectClock", "yes"),
    every("ProtectHostname", "yes"),
    every("ProtectControlGroups", "yes"),
    every("ProtectKernelLogs", "yes"),
    every("ProtectKernelModules", "yes"),
    every("ProtectKernelTunables", "yes"),
    every("ProtectProc", "invisible"),
    every("ProcSubset", "pid"),
    every("LockPersonality", "yes"),
    ours("MemoryDenyWriteExecute", "yes"),
    every("RestrictRealtime", "yes"),
    every("RestrictSUIDSGID", "yes"),
    every("RestrictNamespaces", "yes"),
    every("RemoveIPC", "yes"),
    every("KeyringMode", "private"),
    ours("NoExecPaths", "/"),
    ours("ExecPaths", "/usr/libexec/clawdbot /usr/lib /lib -/lib64"),
    ours(
        "InaccessiblePaths",
        "-/run/dbus -/run/docker.sock -/run/containerd -/run/podman -/run/systemd/private -/run/user -/run/credstore -/etc/credstore -/etc/credstore.encrypted",
    ),
    sandboxes(
        "TemporaryFileSystem",
        "/var:ro /run:ro /home:ro /root:ro /srv:ro /mnt:ro /media:ro /opt:ro",
    ),
    sandboxes(
        "InaccessiblePaths",
        "-/etc/clawdbot -/etc/credstore -/etc/credstore.encrypted",
    ),
    every("SystemCallArchitectures", "native"),
    every("SystemCallFilter", "@system-service"),
    ours(
        "SystemCallFilter",
        "~@privileged @resources @obsolete @aio @keyring @memlock @setuid @ipc",
    ),
    // Without @ipc there is no pipe and no memfd_create, which every shell and many programs need.
    sandboxes(
        "SystemCallFilter",
        "~@privileged @resources @obsolete @aio @keyring @memlock @setuid",
    ),
    every(
        "SystemCallFilter",
        "landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp",
    ),
    every("SystemCallErrorNumber", "EPERM"),
    every("LimitCORE", "0"),
];
