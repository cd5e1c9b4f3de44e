//! Why each line of a unit is there: one sentence for each key. The page `docs/hardening.md` shows them, and a test sees
//! that no line goes without and no reason is left over.

/// What a kind of line does for us.
#[derive(Debug)]
pub struct Reason {
    /// The section of the unit file.
    pub section: &'static str,
    /// Left of the `=`.
    pub key: &'static str,
    /// The sentence.
    pub why: &'static str,
    /// It takes something away from a process that somebody has taken over.
    pub confines: bool,
}

const fn row(section: &'static str, key: &'static str, why: &'static str) -> Reason {
    let confines = false;
    Reason {
        section,
        key,
        why,
        confines,
    }
}

const fn confines(key: &'static str, why: &'static str) -> Reason {
    let (section, confines) = ("Service", true);
    Reason {
        section,
        key,
        why,
        confines,
    }
}

/// The reason for a line.
#[must_use]
pub fn reason(section: &str, key: &str) -> Option<&'static Reason> {
    REASONS
        .iter()
        .find(|row| row.section == section && row.key == key)
}

/// All of them, in the order of the page.
pub const REASONS: &[Reason] = &[
    // Who it is, and what it has.
    confines(
        "User",
        "A user for each process: the kernel keeps their files, memory and sockets apart, whatever else fails.",
    ),
    confines(
        "Group",
        "The user's own group and no other. The groups of the sockets say who may call whom.",
    ),
    confines(
        "SupplementaryGroups",
        "The one right of a reader of the log: to open the journal. Nobody else has it, so that operators need not.",
    ),
    confines(
        "UMask",
        "What a process makes is its own. A sandbox lets the group, the agent of its class, read.",
    ),
    confines(
        "NoNewPrivileges",
        "No program with a setuid bit or file capabilities lends it rights.",
    ),
    confines(
        "CapabilityBoundingSet",
        "Empty: there is no capability that it could get back by any means.",
    ),
    confines(
        "AmbientCapabilities",
        "Empty: it starts without capabilities too.",
    ),
    confines(
        "PrivateUsers",
        "A user namespace in which everybody else is nobody. Only where callers are known by their socket alone: a process that also looks at the caller's id would see every caller as nobody.",
    ),
    confines(
        "KeyringMode",
        "No kernel keyring of another session is in reach.",
    ),
    // Files.
    confines(
        "ProtectSystem",
        "The whole file system is read-only; what a process writes is named one by one.",
    ),
    confines(
        "ReadWritePaths",
        "The state folders of this one process, as its profile names them. One that is missing is left to the process, which then says how it is made.",
    ),
    confines(
        "ProtectHome",
        "No home directory, neither people's nor root's.",
    ),
    confines(
        "InaccessiblePaths",
        "Sockets that would be a way to root or to other services (D-Bus, container engines, the service manager), stored credentials, and the configuration for all but policy and the broker.",
    ),
    confines(
        "TemporaryFileSystem",
        "A tool call sees empty folders where the machine keeps data, sockets, homes and mounts; a reader of the log sees no data and no socket.",
    ),
    confines(
        "BindReadOnlyPaths",
        "The journal's files of this machine, for a reader of the log to read.",
    ),
    confines(
        "BindPaths",
        "The one folder that a tool call may change: the workspace of its class. The sandbox narrows it down to the session's.",
    ),
    confines(
        "PrivateTmp",
        "A `/tmp` of its own, so that no file there is somebody else's.",
    ),
    confines(
        "PrivateMounts",
        "A mount that it could make is seen by nobody.",
    ),
    confines("NoExecPaths", "Nothing can be executed,"),
    confines(
        "ExecPaths",
        "but the product's own programs and the system's libraries, and by a reader of the log journalctl.",
    ),
    confines(
        "RemoveIPC",
        "Shared memory and queues of the user go with its last process.",
    ),
    confines(
        "PrivateIPC",
        "Shared memory and message queues are a namespace of its own.",
    ),
    // Devices and the kernel.
    confines(
        "PrivateDevices",
        "No device but null, zero, full, random, urandom and tty.",
    ),
    confines(
        "DevicePolicy",
        "The same list, enforced once more by the control group.",
    ),
    confines("ProtectClock", "The clock cannot be set."),
    confines("ProtectHostname", "The machine's name cannot be changed."),
    confines(
        "ProtectControlGroups",
        "Its own limits, and those of others, cannot be changed.",
    ),
    confines(
        "ProtectKernelLogs",
        "The kernel's log, with its addresses and device names, is out of reach.",
    ),
    confines("ProtectKernelModules", "No module can be loaded."),
    confines(
        "ProtectKernelTunables",
        "`/proc/sys` and `/sys` are read-only.",
    ),
    confines(
        "ProtectProc",
        "Processes of other users do not exist in its `/proc`,",
    ),
    confines("ProcSubset", "nor does anything there that is no process."),
    // Network.
    confines(
        "PrivateNetwork",
        "A network of its own with nothing in it: the boundary for all but the dialer. Sockets that the dialer or the service manager handed over keep working.",
    ),
    confines(
        "IPAddressDeny",
        "Packets of sockets that were made in the unit are dropped, whatever the namespace.",
    ),
    confines(
        "IPAddressAllow",
        "The dialer: everything but link-local, metadata, multicast, broadcast and unused addresses; the list is what is left when those are cut out. Private ranges stay, since a model may run on the next machine: the dialer refuses them itself unless the configuration names them.",
    ),
    confines(
        "SocketBindDeny",
        "The dialer has no reason to listen. Enforced by newer service managers only, see below; its own filter refuses it everywhere.",
    ),
    confines(
        "RestrictAddressFamilies",
        "UNIX sockets, for the edges; Internet sockets for the dialer alone. An attempt is an error at once, where a dropped packet would be a wait.",
    ),
    // Calls.
    confines(
        "SystemCallFilter",
        "Calls that services need, without those for privileges, ids, scheduling, keyrings, asynchronous I/O and shared memory; then by name what the confinement by the own hand needs: older service managers know its calls in no group. The process's own filter is much narrower; this one holds from the first instruction.",
    ),
    confines(
        "SystemCallErrorNumber",
        "What is filtered answers an error, so that libraries which probe go on. The process's own filter kills, and the stricter answer wins.",
    ),
    confines(
        "SystemCallArchitectures",
        "No calls by the numbers of another architecture, which filters would misread.",
    ),
    confines(
        "RestrictNamespaces",
        "No namespace can be made, so no way into the parts of the kernel that trust their owner.",
    ),
    confines(
        "RestrictRealtime",
        "It cannot take the processor for itself.",
    ),
    confines(
        "RestrictSUIDSGID",
        "It cannot make a file that lends its rights to others.",
    ),
    confines(
        "LockPersonality",
        "No old emulations with weaker memory layouts.",
    ),
    confines(
        "MemoryDenyWriteExecute",
        "No memory that is written and then run. Not in the sandbox: interpreters compile while they run.",
    ),
    // Amounts.
    confines(
        "MemoryMax",
        "More ends the process: a leak or a flood hits itself and not the machine.",
    ),
    confines(
        "MemorySwapMax",
        "No page of a process that holds secrets, or of a tool, is written to the disk.",
    ),
    confines(
        "TasksMax",
        "Threads and processes. A flood of them ends there.",
    ),
    confines("CPUQuota", "One processor for one tool call."),
    confines("RuntimeMaxSec", "A tool call that does not end is ended."),
    confines(
        "OOMPolicy",
        "When a part of a tool call is killed for memory, all of it is.",
    ),
    confines(
        "OOMScoreAdjust",
        "Where the machine runs out of memory a tool call goes first.",
    ),
    confines(
        "LimitCORE",
        "No core file, which would hold what the process held.",
    ),
    confines("LimitNOFILE", "Open files, as in the process's profile."),
    confines(
        "LimitMEMLOCK",
        "Locked memory for secrets, as in the process's profile.",
    ),
    // How it runs.
    row(
        "Service",
        "Type",
        "`notify`: the start is over when the process is confined and says so. `exec` for a tool call and a reader of the log, which become another program.",
    ),
    row(
        "Service",
        "NotifyAccess",
        "Only the process itself may say how it is.",
    ),
    row(
        "Service",
        "ExecStart",
        "The program; none of them is on anybody's path. A `-` before it: how a tool or a reader of the log ends is its caller's to judge, and no failure of the unit.",
    ),
    row(
        "Service",
        "SyslogIdentifier",
        "The process's name in the journal, also for what a library prints.",
    ),
    row(
        "Service",
        "StandardInput",
        "A tool call or a reader of the log talks over the connection that asked for it.",
    ),
    row(
        "Service",
        "StandardOutput",
        "Nothing is printed; for a tool call or a reader of the log the connection.",
    ),
    row(
        "Service",
        "StandardError",
        "What is said before the log is there, and a library's last words. Of a reader of the log whoever reads hears it.",
    ),
    row(
        "Service",
        "LogLevelMax",
        "The start and end of a reader of the log are no news: each reading would add to what is read.",
    ),
    row(
        "Service",
        "Slice",
        "Bounds for all processes of a kind together.",
    ),
    row(
        "Service",
        "Sockets",
        "The sockets that start it; a start of the service alone makes them first.",
    ),
    row(
        "Service",
        "Environment",
        "Where things are. The process reads it and wipes it.",
    ),
    row(
        "Service",
        "WatchdogSec",
        "A process that makes no progress for this long is ended and started again.",
    ),
    row(
        "Service",
        "Restart",
        "Restart is the recovery. `always` for who must be up; the others may end when they have nothing to do.",
    ),
    row(
        "Service",
        "RestartSec",
        "The pause before it, so that a loop costs little. A connection that waits starts the process after it at the latest. A channel, which nobody calls, is tried again every 5 seconds, whatever ended it.",
    ),
    row(
        "Service",
        "RestartPreventExitStatus",
        "A start that cannot go better the next time: 78 is our own refusal, such as a failed self-test; 217, 226 and 243 are a user, a folder or a credential that systemd itself could not give. The next connection tries again, and says why it fails; other processes connect to a server that ends at once with pauses of up to 10 seconds.",
    ),
    row("Service", "TimeoutStartSec", "For a slow disk at boot."),
    row(
        "Service",
        "TimeoutStopSec",
        "For what is under way; nothing that was accepted is lost after it either.",
    ),
    row(
        "Service",
        "KillMode",
        "What a tool call started ends with it; in the user unit the supervisor ends the others itself.",
    ),
    row(
        "Service",
        "LoadCredential",
        "Read by the service manager as root and shown to this process alone. One that nobody has made is left out. For policy: `/etc/credstore/clawdbot.gateway-token` and `-password`; for the broker `/etc/clawdbot/environment`.",
    ),
    row(
        "Service",
        "LoadCredentialEncrypted",
        "The vault's key, `/etc/credstore.encrypted/clawdbot.vault-key`, which only this machine can decrypt: a copy of the state folder alone opens nothing.",
    ),
    // Other sections.
    row("Unit", "Description", "For people."),
    row("Unit", "Documentation", "For people."),
    row(
        "Unit",
        "PartOf",
        "Stops and starts again with the target. Not what reads the log, which tells why the rest does not run.",
    ),
    row(
        "Unit",
        "Wants",
        "All sockets, the services that are always up, and the path units. The list is in the target: what a new version brings is there without a link. Who does not want a unit masks it.",
    ),
    row(
        "Unit",
        "StartLimitIntervalSec",
        "0: no number of bad starts takes a unit down for good. A socket that was given up would stay dead after the cause is repaired.",
    ),
    row(
        "Unit",
        "ConditionPathExists",
        "Policy's flag for the channel: without it there is nothing to start.",
    ),
    row(
        "Unit",
        "CollectMode",
        "Nothing is left of a tool call or a reader of the log, not even that it failed.",
    ),
    row(
        "Install",
        "WantedBy",
        "Started with the machine, or with the user's session.",
    ),
    row(
        "Socket",
        "ListenStream",
        "Where it listens. The front door: this machine alone, until the configuration says otherwise and `clawdbotctl apply` writes it into a drop-in. The process itself can bind nothing.",
    ),
    row(
        "Socket",
        "FileDescriptorName",
        "The caller's role: who a connection is, as its server sees it.",
    ),
    row("Socket", "Service", "Who answers."),
    row(
        "Socket",
        "SocketUser",
        "Nobody but root can replace or remove the socket,",
    ),
    row(
        "Socket",
        "SocketGroup",
        "and nobody but the caller's own group can connect.",
    ),
    row(
        "Socket",
        "SocketMode",
        "Everybody else is refused by the kernel, before the server hears of it.",
    ),
    row(
        "Socket",
        "DirectoryMode",
        "The folder is root's: a caller can rely on who is behind a path.",
    ),
    row(
        "Socket",
        "RemoveOnStop",
        "A stopped product leaves no socket behind, so that a caller can tell \"not running\" from \"no answer\".",
    ),
    row(
        "Socket",
        "FlushPending",
        "When the server died, whoever waits is told at once and comes again with its own pauses. Else a connection in the queue would start a server that cannot start, again and again without a pause. In a restart on purpose nobody is sent away.",
    ),
    row(
        "Socket",
        "TriggerLimitIntervalSec",
        "A server that refuses to start takes three seconds for each try, whoever connects how often, and its socket stays: the first connection after the repair starts it. Only a server that the service manager itself cannot start (its user, a folder or a credential is missing) ends faster: then a flood of connections,",
    ),
    row(
        "Socket",
        "TriggerLimitBurst",
        "of this many in that time, takes the socket down, and `clawdbot service start` brings it back. A socket that starts a unit for each connection keeps the limit of systemd.",
    ),
    row("Socket", "Accept", "A process for each connection."),
    row(
        "Socket",
        "MaxConnections",
        "Tool calls at the same time in a class, readers of the log.",
    ),
    row(
        "Socket",
        "MaxConnectionsPerSource",
        "Readers of one operator: the others have some left. Before systemd 257 it counts no users.",
    ),
    row(
        "Socket",
        "ReusePort",
        "A new listener can be bound before the old one goes.",
    ),
    row(
        "Socket",
        "NoDelay",
        "Parts of an answer are sent as they come.",
    ),
    row(
        "Socket",
        "IPAddressDeny",
        "The front door: nothing from anywhere",
    ),
    row(
        "Socket",
        "IPAddressAllow",
        "but this machine. A drop-in that changes the address changes this line too.",
    ),
    row(
        "Path",
        "PathExists",
        "Policy's flag for the channel: it is there while the configuration has an account.",
    ),
    row(
        "Path",
        "TriggerLimitIntervalSec",
        "The service starts a channel again by itself. One that somebody's drop-in ends for good nevertheless",
    ),
    row(
        "Path",
        "TriggerLimitBurst",
        "is started this often in that time, then its path unit fails, for people to see.",
    ),
    row(
        "Slice",
        "MemoryMax",
        "The product never takes all of the machine; the classes of tool calls cannot starve each other or the rest.",
    ),
    row("Slice", "TasksMax", "The same for threads and processes."),
    row(
        "Slice",
        "CPUWeight",
        "Where the processor is scarce decisions come before tool calls, and the owner's before guests'.",
    ),
];
