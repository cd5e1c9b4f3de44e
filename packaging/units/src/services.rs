//! One file per kind of process: a service, or a template where there are several instances.

use std::collections::BTreeSet;
use std::path::Path;

use clawdbot_confine::landlock::Access;
use clawdbot_confine::profile::{Arch, Limits, Mode, Place, Profile, profile};
use clawdbot_identity::{Class, Role};
use clawdbot_proto::edges::PROCESSES;
use clawdbot_service::system;

use crate::Generated;
use crate::addresses::permitted;
use crate::hardening::{COMMON, Who};
use crate::unit::Unit;

/// Exit statuses of a start that cannot go better by itself: our own refusal, and systemd's when it cannot give the user
/// (217), the folders (226) or the credentials (243).
const HOPELESS: &str = "78 217 226 243";

/// Where the programs are; none of them is for a person to call.
pub(crate) const PROGRAMS: &str = "/usr/libexec/clawdbot";

/// The journal's own reader.
const JOURNALCTL: &str = "/usr/bin/journalctl";

/// What only the service manager needs to know of a kind of process.
struct Kind {
    family: &'static str,
    what: &'static str,
    /// Ends it when it has taken more: several times what it was seen to need.
    memory: &'static str,
    tasks: u32,
    again: Again,
    /// A user namespace of its own: everybody else is nobody there. Not for who tells callers apart by their ids.
    user_namespace: bool,
    own: &'static [(&'static str, &'static str)],
}

/// When it is started again after its end.
#[derive(Clone, Copy)]
enum Again {
    /// It is up at all times, and whoever calls it starts it after a refusal.
    Always,
    /// It ends by itself when nobody has called for a while.
    OnFailure,
    /// It ends by itself when the plan has it no more. Nobody calls it, so after a bad end, whatever it was, nobody but the
    /// service manager can find out that it works again.
    WhilePlanned,
}

const KINDS: &[Kind] = &[
    Kind {
        family: "policy",
        what: "Clawdbot: decides who may talk and what a session may do",
        // One password check at a time takes what argon2id asks for.
        memory: "256M",
        tasks: 32,
        again: Again::Always,
        user_namespace: false,
        own: &[
            // Only policy writes there; everybody reads it at the start.
            ("ReadWritePaths", "-/run/clawdbot/plan"),
            ("ReadWritePaths", "-/var/lib/clawdbot/plan"),
            // Names without a folder: a credential that nobody has made is left out, with a folder it would be fatal.
            ("LoadCredential", "gateway-token:clawdbot.gateway-token"),
            (
                "LoadCredential",
                "gateway-password:clawdbot.gateway-password",
            ),
        ],
    },
    Kind {
        family: "broker",
        what: "Clawdbot: keeps credentials and leases each to the one process it belongs to",
        memory: "128M",
        tasks: 32,
        again: Again::Always,
        user_namespace: false,
        own: &[
            ("LoadCredentialEncrypted", "vault-key:clawdbot.vault-key"),
            // tmpfiles.d makes the link to /etc/clawdbot/environment.
            ("LoadCredential", "environment:clawdbot.environment"),
        ],
    },
    Kind {
        family: "dialer",
        what: "Clawdbot: the only process that opens connections to the Internet",
        memory: "128M",
        tasks: 32,
        again: Again::Always,
        user_namespace: true,
        own: &[],
    },
    Kind {
        family: "gateway",
        what: "Clawdbot: front door, inbox and outbox",
        memory: "512M",
        tasks: 64,
        again: Again::Always,
        user_namespace: false,
        own: &[],
    },
    Kind {
        family: "executor",
        what: "Clawdbot: runs tool calls that policy permits",
        memory: "256M",
        tasks: 64,
        again: Again::Always,
        user_namespace: false,
        own: &[],
    },
    Kind {
        family: "agent",
        what: "Clawdbot: the agent loop of class %i",
        memory: "1G",
        tasks: 64,
        again: Again::Always,
        user_namespace: true,
        own: &[],
    },
    Kind {
        family: "model",
        what: "Clawdbot: speaks the protocol of model provider %i",
        memory: "256M",
        tasks: 32,
        again: Again::OnFailure,
        user_namespace: false,
        own: &[],
    },
    Kind {
        family: "channel",
        what: "Clawdbot: chat channel %i",
        memory: "512M",
        tasks: 64,
        again: Again::WhilePlanned,
        user_namespace: true,
        own: &[],
    },
];

/// A role of a kind, or of a template's first instance.
fn example(family: &str) -> Option<Role> {
    system::roles()
        .into_iter()
        .find(|role| role.family() == family)
}

/// What follows the family in a role, `main` of `agent-main`; nothing where there is one process.
fn instance(role: &Role) -> Option<&str> {
    role.as_str().strip_prefix(role.family())?.strip_prefix('-')
}

/// `agent@` of `agent-main`.
fn unit_stem(role: &Role) -> String {
    let at = if instance(role).is_some() { "@" } else { "" };
    format!("clawdbot-{}{at}", role.family())
}

/// `agent-%i` of `agent-main`.
fn role_pattern(role: &Role) -> String {
    let rest = if instance(role).is_some() { "-%i" } else { "" };
    format!("{}{rest}", role.family())
}

pub(crate) fn files() -> Vec<Generated> {
    let kinds = KINDS.iter().filter_map(|kind| {
        let role = example(kind.family)?;
        let profile = profile(role.as_str())?;
        let name = format!("{}.service", unit_stem(&role));
        Some(Generated::system(name, service(kind, &role, profile)))
    });
    let mut files: Vec<_> = kinds.collect();
    files.extend(Class::ALL.map(sandbox));
    files.push(journal());
    files
}

fn service(kind: &Kind, role: &Role, profile: &Profile) -> String {
    let pattern = role_pattern(role);
    let user = format!("clawdbot-{pattern}");
    let unit = Unit::new()
        .section("Unit")
        .set("Description", kind.what)
        .set("Documentation", format!("man:{}(8)", program(role).0))
        .set("PartOf", system::TARGET)
        .set("StartLimitIntervalSec", "0");
    let unit = match kind.again {
        Again::WhilePlanned => unit.set("ConditionPathExists", flag(&pattern)),
        Again::Always | Again::OnFailure => unit,
    };
    let unit = unit
        .section("Service")
        .set("Type", "notify")
        .set("NotifyAccess", "main")
        .set("ExecStart", exec_start(role))
        .set("User", &user)
        .set("Group", &user)
        .set("UMask", "0077")
        .set("SyslogIdentifier", &user)
        .set("StandardOutput", "null")
        .set("StandardError", "journal")
        .set("Slice", system::slice_of(role))
        .set_all("Sockets", own_sockets(role))
        .set_all("Environment", environment(role))
        .set("WatchdogSec", "30s");
    let unit = again(unit, kind.again)
        .set("TimeoutStartSec", "60s")
        .set("TimeoutStopSec", "15s")
        .set("MemoryMax", kind.memory)
        .set("TasksMax", kind.tasks.to_string());
    let unit = match holds_secrets(profile) {
        true => unit.set("MemorySwapMax", "0"),
        false => unit,
    };
    let unit = limits(unit, profile.limits());
    let unit = writable(role, profile)
        .into_iter()
        .fold(unit, |unit, path| unit.set("ReadWritePaths", path));
    let unit = kind
        .own
        .iter()
        .fold(unit, |unit, (key, value)| unit.set(key, value));
    let unit = common(unit, false);
    let unit = match reads_configuration(profile) {
        true => unit,
        false => unit.set("InaccessiblePaths", format!("-{}", system::ETC)),
    };
    let calls = back(profile);
    let unit = match calls.is_empty() {
        true => unit,
        false => unit.set("SystemCallFilter", calls.join(" ")),
    };
    let unit = match kind.user_namespace {
        true => unit.set("PrivateUsers", "yes"),
        false => unit,
    };
    network(unit, profile).text()
}

/// Where policy says that it wants an instance.
pub(crate) fn flag(pattern: &str) -> String {
    let flag = system::plan_folder(Path::new(system::RUNTIME)).join(pattern);
    flag.display().to_string()
}

fn again(unit: Unit, again: Again) -> Unit {
    let restart = |unit: Unit, when: &str| {
        unit.set("Restart", when)
            .set("RestartSec", "500ms")
            .set("RestartPreventExitStatus", HOPELESS)
    };
    match again {
        Again::Always => restart(unit, "always"),
        Again::OnFailure => restart(unit, "on-failure"),
        Again::WhilePlanned => unit.set("Restart", "on-failure").set("RestartSec", "5s"),
    }
}

/// The program's name and, for a template, how its instance is told.
fn program(role: &Role) -> (String, Option<&'static str>) {
    let row = PROCESSES
        .iter()
        .find(|row| row.role == role.as_str() || row.role == format!("{}-NAME", role.family()));
    let binary = row.map_or("", |row| row.binary);
    match instance(role) {
        // Each channel is a program of its own.
        Some(name) if binary.ends_with(name) => (
            format!("{}%i", binary.strip_suffix(name).unwrap_or(binary)),
            None,
        ),
        Some(_) => (binary.to_owned(), Some("%i")),
        None => (binary.to_owned(), None),
    }
}

fn exec_start(role: &Role) -> String {
    let (program, argument) = program(role);
    match argument {
        Some(argument) => format!("{PROGRAMS}/{program} {argument}"),
        None => format!("{PROGRAMS}/{program}"),
    }
}

/// The socket units that start the service. They are named here too, so that a start of the service alone has them.
fn own_sockets(role: &Role) -> Vec<String> {
    let (ours, pattern) = (format!("clawdbot-{role}-"), role_pattern(role));
    let clients = system::clients_of(role);
    let units = clients.iter().map(|client| {
        let unit = system::socket_unit(role, client);
        match unit.strip_prefix(&ours) {
            Some(rest) => format!("clawdbot-{pattern}-{rest}"),
            None => unit,
        }
    });
    let listener = (role.family() == "gateway").then(|| system::LISTENER_UNIT.to_owned());
    listener.into_iter().chain(units).collect()
}

fn environment(role: &Role) -> Vec<String> {
    let mut variables = vec![
        format!("{}={}", system::STATE_VARIABLE, system::STATE),
        format!("{}={}", system::CONFIG_VARIABLE, system::CONFIG),
        format!("{}={}", system::RUNTIME_VARIABLE, system::RUNTIME),
    ];
    if role.family() == "agent" {
        variables.push(format!(
            "{}={}/%i",
            system::WORKSPACES_VARIABLE,
            system::WORKSPACES
        ));
    }
    variables
}

fn holds_secrets(profile: &Profile) -> bool {
    profile.sections.iter().any(|part| part.name == "secrets")
}

/// The process sets the same limits once more by itself.
fn limits(unit: Unit, limits: Limits) -> Unit {
    let rows = [
        ("LimitNOFILE", limits.nofile),
        ("LimitMEMLOCK", limits.memlock),
    ];
    rows.into_iter()
        .fold(unit, |unit, (key, value)| match value {
            Some(value) => unit.set(key, value.to_string()),
            None => unit,
        })
}

/// The folders in the state directory that the process writes. One that is missing is left to the process, which says
/// how it is made.
fn writable(role: &Role, profile: &Profile) -> Vec<String> {
    let rows = profile.files(Mode::System);
    let own = rows.filter(|row| row.access == Access::ReadWriteDir);
    own.filter_map(|row| match row.place {
        Place::State(leaf) => Some(leaf),
        _ => None,
    })
    .map(|leaf| match instance(role) {
        Some(_) => leaf.replace("INSTANCE", "%i"),
        None => leaf.to_owned(),
    })
    .map(|leaf| format!("-{}/{leaf}", system::STATE))
    .collect()
}

/// Whether a row leads into the folder of the configuration.
fn reads_configuration(profile: &Profile) -> bool {
    let mut rows = profile.files(Mode::System);
    rows.any(|row| ["CONFIG", "SECRETS"].contains(&row.place.to_string().as_str()))
}

/// Calls of the profile that the groups of the common block take away.
fn back(profile: &Profile) -> Vec<&'static str> {
    const TAKEN: &[&str] = &["memfd_secret", "mlock", "munlock"];
    let calls: BTreeSet<_> = Arch::ALL
        .into_iter()
        .flat_map(|arch| profile.calls(Mode::System, arch))
        .collect();
    calls
        .into_iter()
        .filter(|call| TAKEN.contains(call))
        .collect()
}

fn common(unit: Unit, sandbox: bool) -> Unit {
    let lines = COMMON.iter().filter(|line| match line.who {
        Who::Every => true,
        Who::Ours => !sandbox,
        Who::Sandboxes => sandbox,
    });
    lines.fold(unit, |unit, line| unit.set(line.key, line.value))
}

/// Addresses in a line of the dialer's unit.
const ADDRESSES: usize = 8;

fn network(unit: Unit, profile: &Profile) -> Unit {
    if !profile.connect_tcp {
        return unit
            .set("PrivateNetwork", "yes")
            .set("IPAddressDeny", "any")
            .set("RestrictAddressFamilies", "AF_UNIX");
    }
    let permitted: Vec<String> = permitted().iter().map(ToString::to_string).collect();
    unit.set("IPAddressDeny", "any")
        .set_all(
            "IPAddressAllow",
            permitted.chunks(ADDRESSES).map(|line| line.join(" ")),
        )
        .set("SocketBindDeny", "any")
        .set("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6")
}

/// One process for each tool call, on the connection that asked for it.
fn sandbox(class: Class) -> Generated {
    let role = Role::sandbox(class);
    let user = system::user_of(&role);
    let unit = Unit::new()
        .section("Unit")
        .set(
            "Description",
            format!("Clawdbot: one tool call of class {class}"),
        )
        .set("Documentation", "man:clawdbot-sandbox(8)")
        .set("PartOf", system::TARGET)
        .set("CollectMode", "inactive-or-failed")
        .section("Service")
        .set("Type", "exec")
        // With `-`: how a tool ends is for whoever called it, and no failure of the unit.
        .set("ExecStart", format!("-{PROGRAMS}/clawdbot-sandbox {class}"))
        .set("User", &user)
        .set("Group", &user)
        .set("UMask", "0027")
        .set("SyslogIdentifier", &user)
        .set("StandardInput", "socket")
        .set("StandardOutput", "socket")
        .set("StandardError", "journal")
        .set("Slice", system::slice_of(&role))
        .set("RuntimeMaxSec", "300s")
        .set("TimeoutStopSec", "2s")
        .set("KillMode", "control-group")
        .set("OOMPolicy", "kill")
        .set("OOMScoreAdjust", "500")
        .set("MemoryMax", "512M")
        .set("MemorySwapMax", "0")
        .set("TasksMax", "128")
        .set("CPUQuota", "100%")
        .set("LimitNOFILE", "1024")
        .set(
            "BindPaths",
            system::workspace_folder(class).display().to_string(),
        );
    let unit = common(unit, true)
        .set("PrivateUsers", "yes")
        .set("PrivateNetwork", "yes")
        .set("IPAddressDeny", "any")
        .set("RestrictAddressFamilies", "AF_UNIX");
    Generated::system(system::service_unit(&role), unit.text())
}

/// One process for each operator that reads the log, on the connection that asked. It becomes journalctl, so there is no
/// profile, and the unit alone confines it.
fn journal() -> Generated {
    let role = Role::journal();
    let user = system::user_of(&role);
    let unit = Unit::new()
        .section("Unit")
        .set("Description", "Clawdbot: one reader of the log")
        .set("Documentation", "man:clawdbot-journal(8)")
        .set("CollectMode", "inactive-or-failed")
        .section("Service")
        .set("Type", "exec")
        // With `-`: a reader that goes away in the middle is no failure.
        .set(
            "ExecStart",
            format!("-{PROGRAMS}/clawdbot-journal {JOURNALCTL}"),
        )
        .set("User", &user)
        .set("Group", &user)
        .set("SupplementaryGroups", "systemd-journal")
        .set("UMask", "0077")
        .set("SyslogIdentifier", &user)
        .set("StandardInput", "socket")
        .set("StandardOutput", "socket")
        .set("StandardError", "socket")
        // Else each reading would add lines to what is read.
        .set("LogLevelMax", "notice")
        .set("Slice", system::slice_of(&role))
        .set("TimeoutStopSec", "2s")
        .set("MemoryMax", "128M")
        .set("TasksMax", "4")
        .set("LimitNOFILE", "1024")
        .set("TemporaryFileSystem", "/var:ro /run:ro")
        // This machine's alone: not what others sent it.
        .set(
            "BindReadOnlyPaths",
            "-/var/log/journal/%m -/run/log/journal/%m",
        )
        .set("ExecPaths", JOURNALCTL)
        .set("InaccessiblePaths", format!("-{}", system::ETC));
    let unit = common(unit, false)
        .set("PrivateUsers", "yes")
        .set("PrivateNetwork", "yes")
        .set("IPAddressDeny", "any")
        .set("RestrictAddressFamilies", "none");
    Generated::system(system::service_unit(&role), unit.text())
}
