//! What several settings mean together: who gets in and what he finds there. Each of these files is valid and may be meant;
//! whether it is, only its owner knows.

use clawdbot_config::Severity::{Critical, Warn};
use clawdbot_config::{
    AgentTools, DmPolicy, ExecSecurity, GroupPolicy, Loaded, Profile, Sandbox, SandboxMode,
    SandboxScope, TOOL_GROUPS, ToolPattern, Tools, WorkspaceAccess,
};

use super::check::{Check, Hit, Hits};
use super::facts::Facts;

pub const CHECKS: &[Check] = &[
    Check {
        id: "config.insecure_or_dangerous_flags",
        severity: Warn,
        title: "A danger was accepted",
        why: "What was worth it when it was written may not be any more.",
        help: "end what it accepts and take the entry out, which is refused as long as it is needed",
        command: "clawdbot config unset PATH",
        fixes: false,
        look: |facts, hits| {
            let Ok(loaded) = &facts.config else { return };
            for (index, id) in loaded.config.dangerous.accept.iter().enumerate() {
                let path = format!("dangerous.accept[{index}]");
                hits.add(Hit::setting(path, format!("accepts {}", id.as_str())));
            }
        },
    },
    Check {
        id: "security.exposure.open_channels_with_exec",
        severity: Warn,
        title: "Strangers and commands",
        why: "Whoever may write without being known can try to have commands run.",
        help: "deny commands, or name the people who may write",
        command: "clawdbot config set tools.exec.security '\"deny\"'",
        fixes: false,
        look: open_with_exec,
    },
    Check {
        id: "security.trust_model.multi_user_heuristic",
        severity: Warn,
        title: "Several people and one workspace",
        why: "The assistant is made for one owner; what he has it keep, guests could reach.",
        help: "give guests a sandbox of their own without the workspace",
        command: "clawdbot config set agents.defaults.sandbox.mode '\"non-main\"' && clawdbot config set agents.defaults.sandbox.scope '\"session\"'",
        fixes: false,
        look: several_people,
    },
    Check {
        id: "tools.exec.fs_tools_disabled_but_exec_enabled",
        severity: Warn,
        title: "Files are denied and commands are not",
        why: "A command writes files as well as the tools that the file denies.",
        help: "deny exec too, or run everything in the sandbox",
        command: "clawdbot config set agents.defaults.sandbox.mode '\"all\"'",
        fixes: false,
        look: |facts, hits| {
            let Ok(loaded) = &facts.config else { return };
            let tools = &loaded.config.tools;
            let denied = |tool: &str| tools.deny.iter().any(|pattern| pattern.matches(tool));
            let files = ["write", "edit"].iter().all(|tool| denied(tool));
            let all = sandboxes(loaded).all(|sandbox| sandbox.mode == SandboxMode::All);
            let commands = may(loaded, "exec") && tools.exec.security != ExecSecurity::Deny;
            if files && commands && !all {
                hits.add(Hit::setting(
                    "tools.deny",
                    "denies to write files, and commands run outside the sandbox",
                ));
            }
        },
    },
    Check {
        id: "tools.exec.safe_bins_broad_behavior",
        severity: Warn,
        title: "A program that can more than read",
        why: "It runs without a question, and its arguments make it write files, start programs or reach the network.",
        help: "leave only programs that read their standard input and nothing else",
        command: "clawdbot config unset PATH",
        fixes: false,
        look: |facts, hits| {
            let Ok(loaded) = &facts.config else { return };
            for (index, name) in loaded.config.tools.exec.safe_bins.iter().enumerate() {
                if let Some(what) = broad(name.as_str()) {
                    let path = format!("tools.exec.safeBins[{index}]");
                    hits.add(Hit::setting(
                        path,
                        format!("is {}, which {what}", name.as_str()),
                    ));
                }
            }
        },
    },
];

/// Whether the lists let the owner's talk with some agent use a tool; the lists of groups and senders can only take away.
pub fn may(loaded: &Loaded, tool: &str) -> bool {
    some_agent(loaded, tool, Profile::Coding)
}

/// The same for whoever is not the owner.
fn guests_may(loaded: &Loaded, tool: &str) -> bool {
    some_agent(loaded, tool, Profile::Messaging)
}

fn some_agent(loaded: &Loaded, tool: &str, usual: Profile) -> bool {
    let agents = loaded.config.agents.list.iter();
    let mut own = agents.map(|agent| Some(&agent.tools)).chain([None]);
    own.any(|own| allowed(&loaded.config.tools, own, tool, usual))
}

/// An agent's profile stands in place of the common one; all other lists take away from what is left.
fn allowed(tools: &Tools, own: Option<&AgentTools>, tool: &str, usual: Profile) -> bool {
    let lists = |list: &[ToolPattern]| list.iter().any(|pattern| pattern.matches(tool));
    let open = |allow: &[ToolPattern]| allow.is_empty() || lists(allow);
    let group = |name: &str| {
        let mut groups = TOOL_GROUPS.iter();
        groups.any(|(group, tools)| *group == name && tools.contains(&tool))
    };
    let profile = own.and_then(|own| own.profile).or(tools.profile);
    let begins = match profile.unwrap_or(usual) {
        Profile::Full => true,
        Profile::Coding => {
            let groups = [
                "group:fs",
                "group:runtime",
                "group:sessions",
                "group:memory",
            ];
            tool == "image" || groups.into_iter().any(group)
        }
        Profile::Messaging => ["group:messaging", "group:sessions"].into_iter().any(group),
        Profile::Minimal => tool == "session_status",
    };
    let also = own
        .map(|own| &own.also_allow)
        .filter(|also| !also.is_empty());
    (begins || lists(also.unwrap_or(&tools.also_allow)))
        && open(&tools.allow)
        && !lists(&tools.deny)
        && own.is_none_or(|own| open(&own.allow) && !lists(&own.deny))
}

fn sandboxes(loaded: &Loaded) -> impl Iterator<Item = &Sandbox> {
    let agents = &loaded.config.agents;
    let own = agents
        .list
        .iter()
        .filter_map(|agent| agent.sandbox.as_ref());
    own.chain([&agents.defaults.sandbox])
}

fn open_with_exec(facts: &Facts, hits: &mut Hits) {
    let Ok(loaded) = &facts.config else { return };
    let tools = &loaded.config.tools;
    if tools.exec.security == ExecSecurity::Deny || !guests_may(loaded, "exec") {
        return;
    }
    for (channel, account, view) in loaded.config.channels.accounts() {
        let path = match account {
            Some(account) => format!("channels.{channel}.accounts.{}", account.as_str()),
            None => format!("channels.{channel}"),
        };
        let open = [
            (view.dm_policy == DmPolicy::Open, "dmPolicy"),
            (view.group_policy == GroupPolicy::Open, "groupPolicy"),
        ];
        for (_, key) in open.into_iter().filter(|(open, _)| *open) {
            let full = tools.exec.security == ExecSecurity::Full;
            let detail = "is \"open\", and the lists of tools let everybody try commands";
            hits.add(Hit {
                severity: full.then_some(Critical),
                ..Hit::setting(format!("{path}.{key}"), detail)
            });
        }
    }
}

fn several_people(facts: &Facts, hits: &mut Hits) {
    let Ok(loaded) = &facts.config else { return };
    let accounts = loaded.config.channels.accounts();
    let many = accounts.iter().any(|(_, _, view)| {
        view.allow_from.len() > 1
            || view.dm_policy == DmPolicy::Open
            || view.group_policy == GroupPolicy::Open
            || !view.groups.is_empty()
            || { view.group_allow_from.as_ref() }.is_some_and(|list| !list.is_empty())
    });
    let sandbox = &loaded.config.agents.defaults.sandbox;
    let shared = [
        (sandbox.mode == SandboxMode::Off, "mode", "is \"off\""),
        (
            sandbox.scope == SandboxScope::Shared,
            "scope",
            "is \"shared\"",
        ),
        (
            sandbox.workspace_access == WorkspaceAccess::ReadWrite
                && sandbox.mode != SandboxMode::Off,
            "workspaceAccess",
            "is \"rw\"",
        ),
    ];
    for (_, key, detail) in shared.into_iter().filter(|(shared, _, _)| many && *shared) {
        let path = format!("agents.defaults.sandbox.{key}");
        hits.add(Hit::setting(
            path,
            format!("{detail} while more than one person may write"),
        ));
    }
}

/// Programs that are no mere filters, and what they can.
const BROAD: &[(&[&str], &str)] = &[
    (
        &[
            "sh", "bash", "dash", "zsh", "fish", "ksh", "busybox", "env", "xargs", "nohup", "nice",
            "timeout", "watch", "parallel", "sudo", "doas",
        ],
        "runs any other program",
    ),
    (
        &[
            "python",
            "python2",
            "python3",
            "perl",
            "ruby",
            "node",
            "deno",
            "bun",
            "php",
            "lua",
            "awk",
            "gawk",
            "mawk",
            "nawk",
            "osascript",
            "tclsh",
        ],
        "runs any code that it is given",
    ),
    (
        &["sed", "tee", "dd", "split", "csplit", "install", "patch"],
        "writes files",
    ),
    (
        &[
            "find", "fd", "tar", "rsync", "git", "make", "vim", "vi", "ed", "emacs", "less",
            "more", "man", "zip",
        ],
        "starts programs that its arguments name",
    ),
    (
        &[
            "curl", "wget", "nc", "ncat", "socat", "ssh", "scp", "sftp", "ftp", "telnet",
            "openssl", "rclone",
        ],
        "reaches the network",
    ),
    (&["jq", "printenv"], "prints the environment"),
];

fn broad(name: &str) -> Option<&'static str> {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let row = BROAD
        .iter()
        .find(|(names, _)| names.contains(&name) || names.contains(&plain));
    row.map(|(_, what)| *what)
}
