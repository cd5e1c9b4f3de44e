//! Rules about the assistants, their sandboxes and the agents that other settings name.

use clawdbot_identity::AgentId;

use super::{CRITICAL, Cure, Facts, Grade, Hits, Rule, WARN, at};
use crate::edit;
use crate::mask::looks_secret;
use crate::path::ConfigPath;
use crate::schema::{
    FilePath, GroupPolicy, NetworkMode, Sandbox, SandboxMode, SandboxScope, Verbose,
    WorkspaceAccess,
};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "agents.workspace_in_state",
        grade: Grade::Error,
        key: "agents.defaults.workspace",
        title: "Workspace among the program's own files",
        why: "An assistant that can rewrite its own rules has none.",
        remedy: "choose a directory of its own, for instance ~/clawd",
        cure: Cure::Set("\"~/clawd\""),
        check: |facts, hits| {
            let defaults = facts.settings.agents.defaults.workspace.as_ref();
            let own = facts.settings.agents.list.iter().enumerate();
            let own = own.map(|(index, agent)| {
                (
                    entry("agents.list", index).join("workspace"),
                    agent.workspace.as_ref(),
                )
            });
            for (path, workspace) in own.chain([(at("agents.defaults.workspace"), defaults)]) {
                let inside = workspace.is_some_and(|workspace| is_state(workspace, facts));
                hits.add_if(inside, path, "lies in the state directory or is all of it, so the assistant could change its own configuration");
            }
        },
    },
    Rule {
        id: "agents.verbose_full",
        grade: WARN,
        key: "agents.defaults.verboseDefault",
        title: "Output of tools in chats",
        why: "What commands print can hold secrets, and chat services keep what is sent.",
        remedy: "write verboseDefault: \"on\" or \"off\", and /verbose full where you want it",
        cure: Cure::Fix("\"on\""),
        check: |facts, hits| {
            let full = facts.settings.agents.defaults.verbose_default == Verbose::Full;
            hits.add_if(
                full,
                "agents.defaults.verboseDefault",
                "is \"full\": what commands print is sent to the chat",
            );
        },
    },
    Rule {
        id: "agents.heartbeat_no_budget",
        grade: WARN,
        key: "agents.defaults.heartbeat.every",
        title: "Heartbeat without a budget",
        why: "A loop at night costs until somebody looks.",
        remedy: "set agents.defaults.budget.dailyUsd or dailyTokens",
        cure: Cure::Run("clawdbot config set agents.defaults.budget.dailyUsd 5"),
        check: |facts, hits| {
            let defaults = &facts.settings.agents.defaults;
            let budget = &defaults.budget;
            let limited = budget.daily_usd.is_some()
                || budget.monthly_usd.is_some()
                || budget.daily_tokens.is_some();
            let beats = !defaults.heartbeat.every.get().is_zero();
            hits.add_if(
                beats && !limited,
                "agents.defaults.heartbeat.every",
                "costs money around the clock and nothing limits it",
            );
        },
    },
    Rule {
        id: "agents.duplicate_id",
        grade: Grade::Error,
        key: "agents.list[].id",
        title: "Two agents with one id",
        why: "Sessions and rules of the two would mix.",
        remedy: "give each agent an id of its own",
        cure: Cure::Set("\"ID\""),
        check: |facts, hits| {
            let list = &facts.settings.agents.list;
            for (index, agent) in list.iter().enumerate() {
                let again = list[..index].iter().any(|other| other.id == agent.id);
                hits.add_if(
                    again,
                    entry("agents.list", index).join("id"),
                    format!("is \"{}\" again", agent.id),
                );
            }
        },
    },
    Rule {
        id: "agents.two_defaults",
        grade: Grade::Error,
        key: "agents.list[].default",
        title: "Two default agents",
        why: "Which of them answers would be left to chance.",
        remedy: "keep default: true for one agent",
        cure: Cure::Set("false"),
        check: |facts, hits| {
            let defaults = facts
                .settings
                .agents
                .list
                .iter()
                .enumerate()
                .filter(|(_, agent)| agent.default);
            for (index, _) in defaults.skip(1) {
                hits.add(
                    entry("agents.list", index).join("default"),
                    "is true for a second agent",
                );
            }
        },
    },
    Rule {
        id: "agents.unknown_id",
        grade: Grade::Error,
        key: "bindings[].agentId",
        title: "Unknown agent",
        why: "What is bound to nobody would fall to somebody who is not meant.",
        remedy: "name an agent of agents.list, or main",
        cure: Cure::Set("\"main\""),
        check: |facts, hits| {
            let settings = facts.settings;
            for (index, binding) in settings.bindings.iter().enumerate() {
                known(
                    &binding.agent_id,
                    facts,
                    entry("bindings", index).join("agentId"),
                    hits,
                );
            }
            for (index, mapping) in settings.hooks.mappings.iter().enumerate() {
                if let Some(agent) = &mapping.agent_id {
                    known(
                        agent,
                        facts,
                        entry("hooks.mappings", index).join("agentId"),
                        hits,
                    );
                }
            }
            for (index, agent) in settings.approvals.exec.agent_filter.iter().enumerate() {
                known(
                    agent,
                    facts,
                    entry("approvals.exec.agentFilter", index),
                    hits,
                );
            }
        },
    },
    Rule {
        id: "sandbox.mode_off",
        grade: WARN,
        key: "agents.defaults.sandbox.mode",
        title: "No sandbox",
        why: "A command that some message talked the assistant into would meet this machine itself.",
        remedy: "write mode: \"non-main\" or \"all\"",
        cure: Cure::Set("\"non-main\""),
        check: |facts, hits| {
            sandboxes(facts, |path, sandbox| {
                let off = sandbox.mode == SandboxMode::Off;
                let groups = facts.accounts.iter().any(|(_, _, view)| {
                    view.group_policy == GroupPolicy::Open || !view.groups.is_empty() || {
                        view.group_allow_from.as_ref()
                    }
                    .is_some_and(|list| !list.is_empty())
                });
                match off {
                    true if groups => hits.add_as(
                        CRITICAL,
                        path.join("mode"),
                        "is \"off\": people in groups can have commands run on this machine",
                    ),
                    true => hits.add(
                        path.join("mode"),
                        "is \"off\": tools that need the sandbox are refused",
                    ),
                    false => {}
                }
            })
        },
    },
    Rule {
        id: "sandbox.docker_config_mode_off",
        grade: WARN,
        key: "agents.defaults.sandbox.docker",
        title: "Container settings without a sandbox",
        why: "The file promises a container and there is none.",
        remedy: "write mode: \"non-main\" or \"all\"",
        cure: Cure::Beside("mode", "\"non-main\""),
        check: |facts, hits| {
            sandboxes(facts, |path, sandbox| {
                let set = facts.set.contains(&path.join("docker"));
                hits.add_if(
                    set && sandbox.mode == SandboxMode::Off,
                    path.join("docker"),
                    "has no effect while mode is \"off\"",
                );
            })
        },
    },
    Rule {
        id: "sandbox.scope_shared",
        grade: WARN,
        key: "agents.defaults.sandbox.scope",
        title: "One sandbox for everybody",
        why: "What one guest leaves behind lies open to the next.",
        remedy: "write scope: \"session\"",
        cure: Cure::Set("\"session\""),
        check: |facts, hits| {
            sandboxes(facts, |path, sandbox| {
                let shared = sandbox.scope == SandboxScope::Shared;
                let detail = "is \"shared\": what one conversation writes, all others read";
                let (scope, old) = (path.join("scope"), path.join("perSession"));
                match shared {
                    // Two words for one thing may not differ.
                    true if facts.set.contains(&old) => {
                        let cure = Cure::set_instead(&old, &scope, "\"session\"");
                        hits.add_with(cure, scope, detail);
                    }
                    shared => hits.add_if(shared, scope, detail),
                }
            })
        },
    },
    Rule {
        id: "sandbox.workspace_rw",
        grade: WARN,
        key: "agents.defaults.sandbox.workspaceAccess",
        title: "Guests change the workspace",
        why: "A guest can leave instructions that the assistant later takes for its own.",
        remedy: "write workspaceAccess: \"none\" or \"ro\"",
        cure: Cure::Set("\"ro\""),
        check: |facts, hits| {
            sandboxes(facts, |path, sandbox| {
                let open = sandbox.workspace_access == WorkspaceAccess::ReadWrite
                    && sandbox.mode == SandboxMode::NonMain;
                hits.add_if(
                    open,
                    path.join("workspaceAccess"),
                    "is \"rw\": conversations other than the owner's change the assistant's files",
                );
            })
        },
    },
    Rule {
        id: "sandbox.limits_off",
        grade: WARN,
        key: "agents.defaults.sandbox.limits",
        title: "No limit",
        why: "One command that runs away can bring the whole machine to a halt.",
        remedy: "remove the line to get the default limit",
        cure: Cure::Unset,
        check: |facts, hits| {
            sandboxes(facts, |path, sandbox| {
                let limits = &sandbox.limits;
                let path = path.join("limits");
                hits.add_if(
                    limits.memory.bytes() == 0,
                    path.join("memory"),
                    "is 0: a command can use all memory",
                );
                hits.add_if(
                    limits.pids.get() == 0,
                    path.join("pids"),
                    "is 0: a command can start processes without end",
                );
                hits.add_if(
                    limits.cpus.get() == 0.0,
                    path.join("cpus"),
                    "is 0: a command can use all processors",
                );
            })
        },
    },
    Rule {
        id: "sandbox.allowlist_empty",
        grade: Grade::Error,
        key: "agents.defaults.sandbox.network.allow",
        title: "Allow list without entries",
        why: "It reads as if something were reachable, and guessing what could open too much.",
        remedy: "name hosts in allow, or write mode: \"none\"",
        cure: Cure::Run("clawdbot config set PATH.mode '\"none\"'"),
        check: |facts, hits| {
            sandboxes(facts, |path, sandbox| {
                let empty = sandbox.network.mode == NetworkMode::Allowlist
                    && sandbox.network.allow.is_empty();
                hits.add_if(
                    empty,
                    path.join("network"),
                    "is \"allowlist\" and allows nothing",
                );
            })
        },
    },
    Rule {
        id: "sandbox.network_bridge",
        grade: WARN,
        key: "agents.defaults.sandbox.network.mode",
        title: "Network in the sandbox",
        why: "Whatever a command reads can leave the machine.",
        remedy: "write mode: \"allowlist\" and name the hosts",
        cure: Cure::Run("clawdbot config set PATH.mode '\"none\"'"),
        check: |facts, hits| {
            sandboxes(facts, |path, sandbox| {
                let bridge = sandbox.network.mode == NetworkMode::Bridge;
                hits.add_if(
                    bridge,
                    path.join("network"),
                    "is \"bridge\": commands can send what they read anywhere",
                );
            })
        },
    },
    Rule {
        id: "sandbox.docker_user_root",
        grade: Grade::Accept,
        key: "agents.defaults.sandbox.docker.user",
        title: "Root in the container",
        why: "Root in a container is one mistake of the kernel away from root outside.",
        remedy: "write user: \"1000:1000\"",
        cure: Cure::Set("\"1000:1000\""),
        check: |facts, hits| {
            sandboxes(facts, |path, sandbox| {
                let user = sandbox.docker.user.as_str();
                let name = user.split(':').next().unwrap_or(user);
                let root = name == "root" || name.bytes().all(|b| b == b'0');
                hits.add_if(
                    root,
                    path.join("docker").join("user"),
                    "is root, one kernel mistake away from this machine's root",
                );
            })
        },
    },
    Rule {
        id: "sandbox.docker_root_writable",
        grade: WARN,
        key: "agents.defaults.sandbox.docker.readOnlyRoot",
        title: "Container can be changed",
        why: "A program that was replaced runs for whoever comes next.",
        remedy: "remove the line",
        cure: Cure::Fix("true"),
        check: |facts, hits| {
            sandboxes(facts, |path, sandbox| {
                let path = path.join("docker").join("readOnlyRoot");
                hits.add_if(
                    !sandbox.docker.read_only_root,
                    path,
                    "is false: a command can replace the programs of later ones",
                );
            })
        },
    },
    Rule {
        id: "sandbox.docker_env_secrets",
        grade: WARN,
        key: "agents.defaults.sandbox.docker.env",
        title: "Secret in the sandbox",
        why: "Every command in the sandbox can print it.",
        remedy: "keep secrets out of the sandbox: every command there can read them",
        cure: Cure::Unset,
        check: |facts, hits| {
            sandboxes(facts, |path, sandbox| {
                for name in sandbox
                    .docker
                    .env
                    .keys()
                    .filter(|name| looks_secret(name.as_str()))
                {
                    hits.add(
                        path.join("docker").join("env").join(name.as_str()),
                        "looks like a secret",
                    );
                }
            })
        },
    },
    Rule {
        id: "sandbox.bind_mount_non_absolute",
        grade: Grade::Error,
        key: "agents.defaults.sandbox.docker.binds",
        title: "Relative mount",
        why: "What a relative path means depends on who starts the program.",
        remedy: "write absolute paths without ..",
        cure: Cure::Set("\"/HOST:/INSIDE:ro\""),
        check: |facts, hits| {
            mounts(facts, |path, mount| {
                let plain =
                    |text: &str| text.starts_with('/') && !text.split('/').any(|part| part == "..");
                hits.add_if(
                    !plain(mount.inside())
                        || !(plain(mount.host()) || mount.host().starts_with("~/")),
                    path,
                    "is not made of absolute paths",
                );
            })
        },
    },
    Rule {
        id: "sandbox.dangerous_bind_mount",
        grade: Grade::Error,
        key: "agents.defaults.sandbox.docker.binds",
        title: "Mount that ends the sandbox",
        why: "With it a command owns the machine, sandbox or not.",
        remedy: "mount only the directory that commands need",
        cure: Cure::Unset,
        check: |facts, hits| {
            mounts(facts, |path, mount| {
                let host = clean(mount.host());
                hits.add_if(
                    is_dangerous(&host) || is_own(&host, facts),
                    path,
                    format!("shows {host} to commands"),
                );
            })
        },
    },
    Rule {
        id: "sandbox.bind_mount_writable",
        grade: WARN,
        key: "agents.defaults.sandbox.docker.binds",
        title: "Writable mount",
        why: "What a command writes there stays when the sandbox is gone.",
        remedy: "leave :rw out where reading is enough",
        cure: Cure::Set("\"/HOST:/INSIDE:ro\""),
        check: |facts, hits| {
            mounts(facts, |path, mount| {
                if mount.writable() {
                    let same = format!("{}:{}:ro", mount.host(), mount.inside());
                    let same = edit::in_quotes(&same);
                    let cure = Cure::set(&path.to_string(), &same);
                    hits.add_with(cure, path, "lets commands change files of this machine");
                }
            })
        },
    },
    Rule {
        id: "sandbox.dangerous_seccomp_profile",
        grade: Grade::Error,
        key: "agents.defaults.sandbox.docker.seccompProfile",
        title: "No system call filter",
        why: "Without the filter a command reaches every mistake of the kernel.",
        remedy: "remove the line to get the built-in profile",
        cure: Cure::Unset,
        check: |facts, hits| {
            sandboxes(facts, |path, sandbox| {
                let profile = sandbox.docker.seccomp_profile.as_ref();
                let off = profile
                    .is_some_and(|profile| profile.as_str().eq_ignore_ascii_case("unconfined"));
                hits.add_if(
                    off,
                    path.join("docker").join("seccompProfile"),
                    "is \"unconfined\"",
                );
            })
        },
    },
    Rule {
        id: "sandbox.dangerous_apparmor_profile",
        grade: Grade::Error,
        key: "agents.defaults.sandbox.docker.apparmorProfile",
        title: "No AppArmor profile",
        why: "Without the profile one wall fewer stands between a command and the machine.",
        remedy: "remove the line to get the built-in profile",
        cure: Cure::Unset,
        check: |facts, hits| {
            sandboxes(facts, |path, sandbox| {
                let profile = sandbox.docker.apparmor_profile.as_ref();
                let off = profile
                    .is_some_and(|profile| profile.as_str().eq_ignore_ascii_case("unconfined"));
                hits.add_if(
                    off,
                    path.join("docker").join("apparmorProfile"),
                    "is \"unconfined\"",
                );
            })
        },
    },
];

fn entry(list: &str, index: usize) -> ConfigPath {
    let mut path = at(list);
    path.push_index(index);
    path
}

fn known(agent: &AgentId, facts: &Facts, path: ConfigPath, hits: &mut Hits) {
    let list = &facts.settings.agents.list;
    let exists = *agent == AgentId::main() || list.iter().any(|entry| entry.id == *agent);
    hits.add_if(
        !exists,
        path,
        format!("names the agent \"{agent}\", which does not exist"),
    );
}

/// Calls `look` with the sandbox of the defaults and of every agent that has one of its own.
pub(super) fn sandboxes(facts: &Facts, mut look: impl FnMut(ConfigPath, &Sandbox)) {
    look(
        at("agents.defaults.sandbox"),
        &facts.settings.agents.defaults.sandbox,
    );
    for (index, agent) in facts.settings.agents.list.iter().enumerate() {
        if let Some(sandbox) = &agent.sandbox {
            look(entry("agents.list", index).join("sandbox"), sandbox);
        }
    }
}

fn mounts(facts: &Facts, mut look: impl FnMut(ConfigPath, &crate::schema::Mount)) {
    sandboxes(facts, |path, sandbox| {
        for (index, mount) in sandbox.docker.binds.iter().enumerate() {
            let mut path = path.join("docker").join("binds");
            path.push_index(index);
            look(path, mount);
        }
    });
}

/// Without doubled and trailing slashes and `.` parts.
fn clean(path: &str) -> String {
    let parts: Vec<_> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_dangerous(path: &str) -> bool {
    const TREES: &[&str] = &[
        "/etc",
        "/proc",
        "/sys",
        "/dev",
        "/root",
        "/boot",
        "/run",
        "/var/run",
        "/var/lib/docker",
    ];
    const HIDDEN: &[&str] = &[
        ".ssh",
        ".aws",
        ".gnupg",
        ".kube",
        ".docker",
        ".config",
        ".netrc",
        ".azure",
        ".clawdbot",
    ];
    let parts: Vec<_> = path.split('/').collect();
    // A home directory as a whole contains everything that is listed here.
    let home = matches!(
        parts[..],
        ["~"] | ["", "home"] | ["", "home", _] | ["", "Users"] | ["", "Users", _]
    );
    path == "/"
        || home
        || path == "/var"
        || TREES.iter().any(|tree| within(path, tree))
        || parts
            .iter()
            .any(|part| HIDDEN.contains(part) || part.ends_with(".sock"))
}

/// Whether a path is, holds or lies in the directories of the program itself.
fn is_own(path: &str, facts: &Facts) -> bool {
    let directory = facts
        .directory
        .and_then(|directory| directory.to_str())
        .filter(|text| text.starts_with('/'));
    let own = ["~/.clawdbot", "/var/lib/clawdbot", "/etc/clawdbot"]
        .into_iter()
        .chain(directory);
    let mut own = own.map(clean);
    own.any(|own| within(path, &own) || within(&own, path))
}

fn is_state(workspace: &FilePath, facts: &Facts) -> bool {
    let path = clean(workspace.as_str());
    // `..` could lead anywhere.
    path == "/" || path == "~" || path.split('/').any(|part| part == "..") || is_own(&path, facts)
}
