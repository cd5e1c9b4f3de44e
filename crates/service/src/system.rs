//! System mode by name: users, units, sockets, folders and the settings file, as functions of the role.
//! Units, packages, processes and the command line all take them from here, so that a name is made once.

use std::path::{Path, PathBuf};

use clawdbot_identity::{Class, InstanceName, Role};
use clawdbot_proto::edges::{EDGES, PROCESSES, Starts};

mod reading;
mod settings;

pub use reading::{ACCEPTED, ASIDE, OVERLAP, REQUEST_MAX, Reading, WHOLE};
pub use settings::{Settings, text as settings_text};

/// State of all processes, `CLAWDBOT_STATE_DIR` of the units.
pub const STATE: &str = "/var/lib/clawdbot";
/// The parents in [`STATE`] that are root's: each process has a leaf in them.
pub const SHARED_PARENTS: [&str; 3] = ["sessions", "agents", "channels"];
/// Parent of the workspaces, outside of the state.
pub const WORKSPACES: &str = "/var/lib/clawdbot-work";
/// Configuration, conffile included.
pub const ETC: &str = "/etc/clawdbot";
/// `CLAWDBOT_CONFIG_PATH` of the units.
pub const CONFIG: &str = "/etc/clawdbot/clawdbot.json";
/// Names and values that go to the broker as the start environment.
pub const ENVIRONMENT: &str = "/etc/clawdbot/environment";
/// What `file` ids of secrets are names in.
pub const SECRETS: &str = "/etc/clawdbot/secrets";
/// Sockets and the plan, `CLAWDBOT_RUNTIME_DIR` of the units.
pub const RUNTIME: &str = "/run/clawdbot";

/// Variables of the units.
pub const STATE_VARIABLE: &str = "CLAWDBOT_STATE_DIR";
/// See [`CONFIG`].
pub const CONFIG_VARIABLE: &str = "CLAWDBOT_CONFIG_PATH";
/// See [`RUNTIME`].
pub const RUNTIME_VARIABLE: &str = "CLAWDBOT_RUNTIME_DIR";
/// The workspaces of an agent's class, between colons.
pub const WORKSPACES_VARIABLE: &str = "CLAWDBOT_WORKSPACES";

/// What everything is started and stopped by.
pub const TARGET: &str = "clawdbot.target";
/// The front door's listening socket.
pub const LISTENER_UNIT: &str = "clawdbot-gateway.socket";
/// `FileDescriptorName` of the front door's listening sockets; all others are named after a role.
pub const LISTENER: &str = "listener";
/// Members use the operator sockets.
pub const OPERATORS: &str = "clawdbot";
/// Credentials that the service manager may provide, by the name a process asks for.
pub const CREDENTIALS: [&str; 4] = [
    "environment",
    "gateway-token",
    "gateway-password",
    "vault-key",
];

/// Providers whose workers have a user and sockets as installed: those of the table in
/// `crates/config/src/providers.rs`, and the one that needs none. Any other is made by `clawdbotctl apply`.
pub const MODELS: [&str; 9] = [
    "anthropic",
    "builtin",
    "cerebras",
    "groq",
    "mistral",
    "ollama",
    "openai",
    "openrouter",
    "xai",
];

/// Longest name of a user that every tool takes, bytes: utmp has 32 with the final zero.
pub const USER_MAX: usize = 31;

/// Who runs the process, and a group of the same name: `clawdbot-agent-main`.
#[must_use]
pub fn user_of(role: &Role) -> String {
    format!("clawdbot-{role}")
}

/// Whether the name of the role's user is short enough; only a provider of somebody's own can be too long.
#[must_use]
pub fn has_user_name(role: &Role) -> bool {
    user_of(role).len() <= USER_MAX
}

/// Servers that are started anew for each connection, with who connects.
#[must_use]
pub fn per_connection() -> Vec<(Role, Role)> {
    let tools = Class::ALL.map(|class| (Role::sandbox(class), Role::executor()));
    let log = (Role::journal(), Role::operator());
    tools.into_iter().chain([log]).collect()
}

/// Whether the role's service is a template with an instance for each connection.
#[must_use]
pub fn is_per_connection(role: &Role) -> bool {
    per_connection().iter().any(|(server, _)| server == role)
}

/// What runs the process: `clawdbot-policy.service`, `clawdbot-agent@main.service`; the template where each
/// connection has an instance.
#[must_use]
pub fn service_unit(role: &Role) -> String {
    let family = role.family();
    match role.as_str().strip_prefix(family) {
        Some(_) if is_per_connection(role) => format!("clawdbot-{role}@.service"),
        Some(rest) if !rest.is_empty() => {
            format!("clawdbot-{family}@{}.service", rest.trim_start_matches('-'))
        }
        _ => format!("clawdbot-{family}.service"),
    }
}

/// The slice of the processes of a kind: `clawdbot-agent.slice`; those of a tool call have one for each class.
#[must_use]
pub fn slice_of(role: &Role) -> String {
    match role.family() {
        "sandbox" => format!("clawdbot-{role}.slice"),
        family => format!("clawdbot-{family}.slice"),
    }
}

/// What listens for `client`: `clawdbot-policy-from-gateway.socket`. A server with a process for each connection has one
/// caller, and its own name, as systemd wants it.
#[must_use]
pub fn socket_unit(server: &Role, client: &Role) -> String {
    match is_per_connection(server) {
        true => format!("clawdbot-{server}.socket"),
        false => format!("clawdbot-{server}-from-{client}.socket"),
    }
}

/// Starts a channel when the plan has its flag.
#[must_use]
pub fn path_unit(channel: &InstanceName) -> String {
    format!("clawdbot-channel@{channel}.path")
}

/// Where `server` listens for `client`, as installed.
#[must_use]
pub fn socket_path(server: &Role, client: &Role) -> PathBuf {
    socket_in(Path::new(RUNTIME), server, client)
}

/// The same below another runtime folder. The operator's sockets have a folder of their own, so that the
/// folders of servers hold nothing for a person.
#[must_use]
pub fn socket_in(runtime: &Path, server: &Role, client: &Role) -> PathBuf {
    match client.family() {
        "operator" => operator_folder(runtime).join(format!("{server}.sock")),
        _ => runtime.join(server.as_str()).join(format!("{client}.sock")),
    }
}

/// Group that may connect there.
#[must_use]
pub fn socket_group(client: &Role) -> String {
    match client.family() {
        "operator" => OPERATORS.to_owned(),
        _ => user_of(client),
    }
}

/// Folder of the operator's sockets.
#[must_use]
pub fn operator_folder(runtime: &Path) -> PathBuf {
    runtime.join("operator")
}

/// What policy wants to run, for those who only look whether a file is there. The one in the state directory holds the
/// settings alone.
#[must_use]
pub fn plan_folder(place: &Path) -> PathBuf {
    place.join("plan")
}

/// The empty file that says that the plan names an instance: `plan/channel-telegram`.
#[must_use]
pub fn plan_flag(runtime: &Path, role: &Role) -> PathBuf {
    plan_folder(runtime).join(role.as_str())
}

/// The settings that everybody reads at the start, in the runtime folder and, for the time before policy has said anything
/// since the machine started, in the state directory; [`Settings`] is what is in it.
#[must_use]
pub fn settings_file(place: &Path) -> PathBuf {
    plan_folder(place).join("settings")
}

/// Where a class works.
#[must_use]
pub fn workspace_folder(class: Class) -> PathBuf {
    Path::new(WORKSPACES).join(class.as_str())
}

/// The roles that have a user and units as installed, in the order of the process table.
#[must_use]
pub fn roles() -> Vec<Role> {
    let started = PROCESSES
        .iter()
        .filter(|process| matches!(process.starts, Starts::Always | Starts::Plan));
    let names = started.flat_map(|process| match process.role.strip_suffix("NAME") {
        Some(family) => MODELS.map(|name| format!("{family}{name}")).to_vec(),
        None => vec![process.role.to_owned()],
    });
    names.filter_map(|name| Role::parse(&name).ok()).collect()
}

/// The clients that `server` has as installed, the operator last: each is a socket unit.
#[must_use]
pub fn clients_of(server: &Role) -> Vec<Role> {
    let rows = EDGES.iter().filter(|edge| server.matches(edge.server));
    let patterns: Vec<_> = rows.map(|edge| edge.client).collect();
    let mut clients = roles();
    clients.push(Role::operator());
    clients.retain(|client| patterns.iter().any(|pattern| client.matches(pattern)));
    clients
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(text: &str) -> Role {
        Role::parse(text).unwrap()
    }

    #[test]
    fn the_names_of_each_kind_of_process() {
        for (text, user, unit) in [
            ("gateway", "clawdbot-gateway", "clawdbot-gateway.service"),
            (
                "agent-main",
                "clawdbot-agent-main",
                "clawdbot-agent@main.service",
            ),
            (
                "model-my-llm",
                "clawdbot-model-my-llm",
                "clawdbot-model@my-llm.service",
            ),
            (
                "channel-telegram",
                "clawdbot-channel-telegram",
                "clawdbot-channel@telegram.service",
            ),
            (
                "sandbox-guest",
                "clawdbot-sandbox-guest",
                "clawdbot-sandbox-guest@.service",
            ),
            ("journal", "clawdbot-journal", "clawdbot-journal@.service"),
        ] {
            let role = role(text);
            assert_eq!(
                (user_of(&role).as_str(), service_unit(&role).as_str()),
                (user, unit)
            );
        }
        let telegram = role("channel-telegram");
        assert_eq!(
            path_unit(&telegram.name().unwrap()),
            "clawdbot-channel@telegram.path"
        );
        assert_eq!(
            plan_flag(Path::new(RUNTIME), &telegram),
            Path::new("/run/clawdbot/plan/channel-telegram")
        );
        assert_eq!(
            settings_file(Path::new("/r")),
            Path::new("/r/plan/settings")
        );
        assert_eq!(
            workspace_folder(Class::Guest),
            Path::new("/var/lib/clawdbot-work/guest")
        );
    }

    #[test]
    fn a_socket_is_named_after_both_ends_and_lies_with_its_server() {
        for (server, client, unit, path, group) in [
            (
                "policy",
                "gateway",
                "clawdbot-policy-from-gateway.socket",
                "/run/clawdbot/policy/gateway.sock",
                "clawdbot-gateway",
            ),
            (
                "model-anthropic",
                "agent-main",
                "clawdbot-model-anthropic-from-agent-main.socket",
                "/run/clawdbot/model-anthropic/agent-main.sock",
                "clawdbot-agent-main",
            ),
            (
                "broker",
                "operator",
                "clawdbot-broker-from-operator.socket",
                "/run/clawdbot/operator/broker.sock",
                "clawdbot",
            ),
            (
                "sandbox-main",
                "executor",
                "clawdbot-sandbox-main.socket",
                "/run/clawdbot/sandbox-main/executor.sock",
                "clawdbot-executor",
            ),
            (
                "journal",
                "operator",
                "clawdbot-journal.socket",
                "/run/clawdbot/operator/journal.sock",
                "clawdbot",
            ),
        ] {
            let (server, client) = (role(server), role(client));
            assert_eq!(socket_unit(&server, &client), unit);
            assert_eq!(socket_path(&server, &client), Path::new(path));
            assert_eq!(socket_group(&client), group);
        }
    }

    #[test]
    fn every_user_that_is_installed_has_a_name_that_every_tool_takes() {
        let mut all = roles();
        all.extend(per_connection().into_iter().map(|(server, _)| server));
        assert!(all.len() > 10, "{all:?}");
        for role in all {
            assert!(has_user_name(&role), "{}", user_of(&role));
        }
        let longest = "a".repeat(USER_MAX - "clawdbot-model-".len());
        assert!(has_user_name(&role(&format!("model-{longest}"))));
        assert!(!has_user_name(&role(&format!("model-{longest}a"))));
    }

    #[test]
    fn the_sockets_are_those_of_the_edge_table() {
        let clients = |server: &str| {
            let clients = clients_of(&role(server));
            let names: Vec<String> = clients.iter().map(Role::to_string).collect();
            names.join(" ")
        };
        assert_eq!(clients("executor"), "agent-main agent-guest");
        assert_eq!(clients("agent-main"), "gateway");
        assert_eq!(clients("model-xai"), "agent-main agent-guest");
        assert_eq!(clients("gateway"), "channel-telegram operator");
        assert_eq!(clients("channel-telegram"), "");
        // The supervisor is an edge of policy's, but nobody in system mode.
        let policy = clients("policy");
        assert!(
            policy.starts_with("gateway ") && policy.ends_with(" operator"),
            "{policy}"
        );
        assert!(!policy.contains("supervisor"), "{policy}");
    }

    #[test]
    fn nobody_who_is_started_otherwise_is_installed() {
        let roles = roles();
        for absent in ["supervisor", "operator", "keyring", "journal"] {
            assert!(!roles.contains(&role(absent)), "{absent}");
        }
        for present in [
            "gateway",
            "agent-guest",
            "model-builtin",
            "channel-telegram",
        ] {
            assert!(roles.contains(&role(present)), "{present}");
        }
    }
}
