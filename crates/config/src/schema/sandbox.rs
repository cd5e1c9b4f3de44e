//! `agents.defaults.sandbox`: where commands and file access of an assistant run, and `sandbox.require`.
//! Tight by default: everything but the owner's own session is sandboxed, without network, with limits.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value as Json;

use super::gateway::FilePath;
use super::tools::EnvName;
use crate::json5::{Member, Node, Object, Value};
use crate::section::section;
use crate::shape::{Cx, Info, Kind, Shape};
use crate::types::{Amount, Int, choice, texts};

choice! {
    /// Which sessions are sandboxed.
    SandboxMode {
        /// None.
        Off = "off",
        /// All but the owner's own.
        NonMain = "non-main",
        /// All.
        All = "all",
    }
}

choice! {
    /// What shares a sandbox.
    SandboxScope {
        /// Nothing: one per session.
        Session = "session",
        /// The sessions of an agent.
        Agent = "agent",
        /// Everything.
        Shared = "shared",
    }
}

choice! {
    /// What a sandbox sees of the workspace.
    WorkspaceAccess {
        /// Nothing.
        None = "none",
        /// It can read it.
        ReadOnly = "ro",
        /// It can change it.
        ReadWrite = "rw",
    }
}

choice! {
    /// What makes the sandbox.
    Backend {
        /// The service manager in system mode, otherwise the kernel's own means.
        Auto = "auto",
        /// Namespaces, landlock and seccomp.
        Native = "native",
        /// A unit of the service manager.
        Systemd = "systemd",
        /// Containers.
        Docker = "docker",
    }
    refuse { "podman" => "write \"docker\" and point it at podman's socket" }
}

choice! {
    /// What a sandbox reaches of the network.
    NetworkMode {
        /// Nothing.
        None = "none",
        /// The hosts in `allow`.
        Allowlist = "allowlist",
        /// What this machine reaches.
        Bridge = "bridge",
    }
    refuse {
        "host" => "with the host's network a command reaches every service of this machine; write \"none\" or \"allowlist\"",
    }
}

choice! {
    /// How sure the confinement of our own processes has to be.
    Require {
        /// What this system offers; what is missing is reported.
        Available = "available",
        /// Everything, or nothing starts.
        Full = "full",
    }
}

texts! {
    /// A host and port that a sandbox may reach.
    Egress: "a host, or host:port", "pypi.org:443", |text| super::gateway::host(text).is_some();
    /// A container image.
    Image: "the name of a container image", "clawdbot-sandbox:bookworm-slim", |text| {
        !text.is_empty() && !text.starts_with('-') && text.chars().all(|c| c.is_ascii_alphanumeric() || "./:_-@".contains(c))
    };
    /// A user and group by number or name.
    UserGroup: "a user, or user:group", "1000:1000", |text| {
        let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let (user, group) = text.split_once(':').unwrap_or((text, "0"));
        part(user) && part(group)
    };
    /// A directory that the sandbox sees: `host:inside[:ro|:rw]`.
    Mount: "HOST:INSIDE, HOST:INSIDE:ro or HOST:INSIDE:rw", "/srv/data:/data:ro", |text| Mount::split(text).is_some();
    /// A POSIX capability or `ALL`.
    Capability: "a capability or ALL", "ALL", |text| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    /// A name and an address.
    ExtraHost: "NAME:ADDRESS", "db.internal:10.0.0.5", |text| {
        text.split_once(':').is_some_and(|(name, ip)| clawdbot_identity::HostName::parse(name).is_ok() && ip.parse::<IpAddr>().is_ok())
    };
    /// A profile of the kernel's confinement, by name or path.
    ProfileName: "the name or path of a profile", "clawdbot-tools", |text| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
    };
}

impl Mount {
    fn split(text: &str) -> Option<(&str, &str, bool)> {
        let mut parts = text.split(':');
        let (host, inside, mode) = (parts.next()?, parts.next()?, parts.next());
        let writable = match mode {
            None | Some("ro") => false,
            Some("rw") => true,
            Some(_) => return None,
        };
        let plain = |path: &str| !path.is_empty() && !path.chars().any(char::is_control);
        (plain(host) && plain(inside) && parts.next().is_none()).then_some((host, inside, writable))
    }

    /// The path on this machine.
    pub fn host(&self) -> &str {
        Self::split(self.as_str()).map_or("", |(host, _, _)| host)
    }

    /// The path that commands see.
    pub fn inside(&self) -> &str {
        Self::split(self.as_str()).map_or("", |(_, inside, _)| inside)
    }

    /// Whether commands can write there; only when `:rw` says so.
    pub fn writable(&self) -> bool {
        Self::split(self.as_str()).is_some_and(|(_, _, writable)| writable)
    }
}

/// An amount of memory; 0 for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory(u64);

impl Memory {
    const UNITS: [(char, u64); 4] = [('g', 1 << 30), ('m', 1 << 20), ('k', 1 << 10), ('b', 1)];

    /// Bytes; 0 for no limit.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let unit = Self::UNITS
            .iter()
            .find_map(|&(unit, size)| Some((lower.strip_suffix(unit)?, size)));
        let (number, size) = unit.unwrap_or((&lower, 1));
        number.parse::<u64>().ok()?.checked_mul(size).map(Self)
    }
}

impl Shape for Memory {
    fn info() -> Info {
        Info::new(
            &[Kind::String, Kind::Number],
            "an amount of memory (a string such as \"1g\", or bytes as an integer)",
            "\"1g\"",
        )
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        let memory = match &node.value {
            Value::Number { integer, .. } => integer
                .and_then(|bytes| u64::try_from(bytes).ok())
                .map(Self),
            _ => Self::parse(&cx.text::<Self>(&node)?),
        };
        if memory.is_none() {
            cx.fail(node.span, "must be an amount of memory").help =
                Some("for instance \"512m\" or \"2g\"; 0 for no limit".to_owned());
        }
        memory
    }

    fn show(&self) -> Json {
        let unit = Self::UNITS
            .iter()
            .find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size));
        unit.map_or(Json::from(0), |(unit, size)| {
            format!("{}{unit}", self.0 / size).into()
        })
    }
}

section! {
    /// How sure the confinement of our own processes has to be.
    Confinement {
        /// `full`: nothing starts unless every layer of the confinement is in force.
        "require" require: Require = Require::Available;
    }
}

section! {
    /// Where commands and file access of an assistant run.
    Sandbox {
        /// Which sessions are sandboxed.
        "mode" mode: SandboxMode = SandboxMode::NonMain;
        /// What shares a sandbox.
        "scope" scope: SandboxScope = SandboxScope::Session;
        /// What it sees of the workspace.
        "workspaceAccess" workspace_access: WorkspaceAccess = WorkspaceAccess::None;
        /// Where the sandboxes' own files lie.
        "workspaceRoot" workspace_root: Option<FilePath>;
        /// Largest sandbox on disk, in MB.
        "workspaceLimitMb" workspace_limit_mb: Int<1, 1000000> = Int::new(1024);
        /// What makes the sandbox.
        "backend" backend: Backend = Backend::Auto;
        /// Memory, processes, processor time.
        "limits" limits: SandboxLimits;
        /// What it reaches of the network.
        "network" network: SandboxNetwork;
        /// Containers.
        "docker" docker: Docker;
        /// When unused sandboxes go away.
        "prune" prune: Prune;
    }
    also {
        "docker.memory" => "limits.memory",
        "docker.pidsLimit" => "limits.pids",
        "docker.cpus" => "limits.cpus",
        "docker.network" => "network",
    }
    refuse {
        "sessionToolsVisibility" => "a sandboxed session always sees only the sessions that it started; remove the key",
        "browser" => "the assistant cannot control a browser; remove the key",
    }
    old "perSession";
    before per_session_means_scope;
}

section! {
    /// What one sandbox may use.
    SandboxLimits {
        /// Memory.
        "memory" memory: Memory = Memory(1 << 30);
        /// Processes and threads; 0 for no limit.
        "pids" pids: Int<0, 100000> = Int::new(256);
        /// Processors; 0 for no limit.
        "cpus" cpus: Amount = Amount::new(1.0);
    }
}

section! {
    /// What a sandbox reaches of the network.
    SandboxNetwork {
        /// The way.
        "mode" mode: NetworkMode = NetworkMode::None;
        /// The hosts for `allowlist`.
        "allow" allow: Vec<Egress>;
    }
    string "mode";
}

section! {
    /// Containers, for the docker backend.
    Docker {
        /// The image.
        "image" image: Image = Image::from_checked("clawdbot-sandbox:bookworm-slim");
        /// Who commands run as.
        "user" user: UserGroup = UserGroup::from_checked("1000:1000");
        /// The image itself cannot be changed.
        "readOnlyRoot" read_only_root: bool = true;
        /// Directories in memory.
        "tmpfs" tmpfs: Vec<FilePath> = ["/tmp", "/var/tmp", "/run"].map(FilePath::from_checked).to_vec();
        /// Capabilities that are taken away.
        "capDrop" cap_drop: Vec<Capability> = vec![Capability::from_checked("ALL")];
        /// Variables.
        "env" env: BTreeMap<EnvName, String>;
        /// Limits by name.
        "ulimits" ulimits: BTreeMap<EnvName, Int<0, 9007199254740992>>;
        /// Name servers.
        "dns" dns: Vec<IpAddr>;
        /// Names with fixed addresses.
        "extraHosts" extra_hosts: Vec<ExtraHost>;
        /// Runs once in a new container.
        "setupCommand" setup_command: Option<String>;
        /// Directories of this machine that commands see; read only unless `:rw` is added.
        "binds" binds: Vec<Mount>;
        /// Seccomp profile; the built-in one when unset.
        "seccompProfile" seccomp_profile: Option<ProfileName>;
        /// AppArmor profile; the built-in one when unset.
        "apparmorProfile" apparmor_profile: Option<ProfileName>;
    }
    refuse {
        "capAdd" => "a sandbox gets no capabilities, on purpose; remove the key",
        "containerPrefix" => "names of containers are chosen by the program; remove the key",
        "workdir" => "commands start in the workspace; remove the key",
        "memorySwap" => "a sandbox has no swap beyond its memory limit; remove the key",
    }
}

section! {
    /// When unused sandboxes go away.
    Prune {
        /// After so many hours without use.
        "idleHours" idle_hours: Int<1, 8760> = Int::new(24);
        /// At this age in days.
        "maxAgeDays" max_age_days: Int<1, 365> = Int::new(7);
    }
}

/// `perSession` is the older word for `scope`.
fn per_session_means_scope(sandbox: &mut Object, cx: &mut Cx) {
    let Some(old) = sandbox.remove("perSession") else {
        return;
    };
    cx.set.add(cx.path.join("perSession"), old.node.span);
    let scope = match old.node.value {
        Value::Bool(true) => SandboxScope::Session,
        Value::Bool(false) => SandboxScope::Shared,
        _ => return cx.below("perSession", |cx| cx.wrong_type::<bool>(&old.node)),
    };
    let same =
        |node: &Node| matches!(&node.value, Value::String(text) if text.as_str() == scope.as_str());
    match sandbox.get("scope") {
        None => sandbox.0.push(Member {
            key: "scope".to_owned(),
            node: Node {
                value: Value::String(scope.as_str().to_owned().into()),
                ..old.node
            },
            ..old
        }),
        Some(present) if same(&present.node) => {}
        Some(present) => {
            let other = present.node.span;
            let problem = cx.fail(
                old.key_span,
                "sets `perSession` and `scope` to different things",
            );
            problem.note = Some(Box::new((other, "the other value")));
            problem.help = Some("keep `scope`".to_owned());
        }
    }
}
