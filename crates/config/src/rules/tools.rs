//! Rules about what the assistant may do, and who says yes to it.

use super::agents::sandboxes;
use super::{BY_HAND, CRITICAL, Cure, Facts, Grade, Hits, Rule, WARN, at};
use crate::path::ConfigPath;
use crate::schema::{
    AgentTools, ExecAsk, ExecHost, ExecSecurity, GroupPolicy, GroupView, Profile, SandboxMode,
    ToolPattern, ToolPolicy, Tools,
};
use crate::senders::Sender;

macro_rules! elevated {
    ($($channel:literal $field:ident),+) => {
        &[$(
            Rule {
                id: concat!("tools.elevated.allowFrom.", $channel, ".wildcard"),
                grade: Grade::Error,
                key: concat!("tools.elevated.allowFrom.", $channel),
                title: "Everybody outside the sandbox",
                why: "Anybody could have commands run on this machine itself.",
                remedy: "name the people",
                cure: Cure::Name("\"ID\""),
                check: |facts, hits| {
                    let list = &facts.settings.tools.elevated.allow_from.$field;
                    let any = list.iter().any(|entry| *entry.sender() == Sender::Any);
                    hits.add_if(any, concat!("tools.elevated.allowFrom.", $channel), "contains \"*\"");
                },
            },
            Rule {
                id: concat!("tools.elevated.allowFrom.", $channel, ".large"),
                grade: WARN,
                key: concat!("tools.elevated.allowFrom.", $channel),
                title: "Many people outside the sandbox",
                why: "Every entry is an account that can be stolen.",
                remedy: "name only those who need it",
                cure: Cure::Run(BY_HAND),
                check: |facts, hits| {
                    let count = facts.settings.tools.elevated.allow_from.$field.len();
                    hits.add_if(count > 25, concat!("tools.elevated.allowFrom.", $channel), format!("has {count} entries"));
                },
            },
        )+]
    };
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "tools.allow_and_also_allow",
        grade: Grade::Error,
        key: "tools.alsoAllow",
        title: "Two allow lists",
        why: "Whoever reads the file believes that both count.",
        remedy: "put everything into allow, or use only alsoAllow",
        cure: Cure::Run(BY_HAND),
        check: |facts, hits| {
            let tools = &facts.settings.tools;
            both(&tools.allow, &tools.also_allow, &at("tools"), hits);
            for (index, agent) in facts.settings.agents.list.iter().enumerate() {
                let mut path = at("agents.list");
                path.push_index(index);
                let tools = &agent.tools;
                both(&tools.allow, &tools.also_allow, &path.join("tools"), hits);
            }
            policies(facts, |path, policy| {
                both(&policy.allow, &policy.also_allow, &path, hits)
            });
        },
    },
    Rule {
        id: "security.exposure.open_groups_with_elevated",
        grade: Grade::Accept,
        key: "tools.elevated.enabled",
        title: "Open groups and commands outside the sandbox",
        why: "A stranger needs no more than a group to run commands on this machine.",
        remedy: "write groupPolicy: \"allowlist\", or switch tools.elevated off",
        cure: Cure::Set("false"),
        check: |facts, hits| {
            let dangerous = facts.settings.tools.elevated.enabled && open_groups(facts);
            hits.add_if(
                dangerous,
                "tools.elevated.enabled",
                "is true while a channel takes any group",
            );
        },
    },
    Rule {
        id: "security.exposure.open_groups_with_runtime_or_fs",
        grade: Grade::Accept,
        key: "tools.profile",
        title: "Open groups and commands",
        why: "A stranger needs no more than a group to run commands and change files.",
        remedy: "write groupPolicy: \"allowlist\", or deny \"group:runtime\" and \"group:fs\"",
        cure: Cure::Add("tools.deny", &["\"group:runtime\"", "\"group:fs\""]),
        check: |facts, hits| {
            let dangerous = groups_may_exec(facts) && open_groups(facts);
            hits.add_if(
                dangerous,
                "tools",
                "lets groups run commands while a channel takes any group",
            );
        },
    },
    Rule {
        id: "tools.exec.security_full_configured",
        grade: CRITICAL,
        key: "tools.exec.security",
        title: "Every command runs",
        why: "One sentence in a mail can then start any program.",
        remedy: "write security: \"allowlist\"",
        cure: Cure::Set("\"allowlist\""),
        check: |facts, hits| {
            let full = facts.settings.tools.exec.security == ExecSecurity::Full;
            hits.add_if(
                full,
                "tools.exec.security",
                "is \"full\": no list limits which commands run",
            );
        },
    },
    Rule {
        id: "tools.exec.full_without_asking",
        grade: Grade::Accept,
        key: "tools.exec.ask",
        title: "Every command runs and nobody is asked",
        why: "Nobody sees a command before it has run.",
        remedy: "write ask: \"on-miss\" or security: \"allowlist\"",
        cure: Cure::Set("\"on-miss\""),
        check: |facts, hits| {
            let exec = &facts.settings.tools.exec;
            let blind = exec.security == ExecSecurity::Full && exec.ask == ExecAsk::Off;
            hits.add_if(
                blind,
                "tools.exec.ask",
                "is \"off\" while tools.exec.security is \"full\"",
            );
        },
    },
    Rule {
        id: "tools.exec.host_sandbox_no_sandbox_defaults",
        grade: WARN,
        key: "tools.exec.host",
        title: "Commands need a sandbox that is off",
        why: "Every command is refused, which looks like a fault of the model.",
        remedy: "write agents.defaults.sandbox.mode: \"non-main\" or \"all\"",
        cure: Cure::Run("clawdbot config set agents.defaults.sandbox.mode '\"non-main\"'"),
        check: |facts, hits| {
            let host = facts.settings.tools.exec.host == ExecHost::Sandbox
                && facts.is_set("tools.exec.host");
            sandboxes(facts, |path, sandbox| {
                let detail =
                    format!("is \"sandbox\" and {path}.mode is \"off\", so commands are refused");
                if host && sandbox.mode == SandboxMode::Off {
                    let mode = Cure::set(&path.join("mode").to_string(), "\"non-main\"");
                    hits.add_with(mode, "tools.exec.host", detail);
                }
            });
        },
    },
    Rule {
        id: "approvals.exec.target_group",
        grade: WARN,
        key: "approvals.exec.targets",
        title: "Questions in a group",
        why: "Everybody there learns what the assistant is about to do, with names of files and hosts.",
        remedy: "send questions to a direct conversation",
        cure: Cure::Set("\"ID\""),
        check: |facts, hits| {
            for (index, target) in facts.settings.approvals.exec.targets.iter().enumerate() {
                let mut path = at("approvals.exec.targets");
                path.push_index(index);
                let group = target.to.ends_with("@g.us")
                    || ["-", "channel:", "group:", "signal:group:", "chat_"]
                        .iter()
                        .any(|head| target.to.starts_with(head));
                hits.add_if(
                    group,
                    path.join("to"),
                    "is a group: everybody there sees the commands",
                );
            }
        },
    },
    Rule {
        id: "approvals.exec.approver_not_owner",
        grade: Grade::Error,
        key: "approvals.exec.approvers",
        title: "Somebody else approves commands",
        why: "Whoever approves commands decides what happens on this machine.",
        remedy: "add them to commands.ownerAllowFrom, or remove them here",
        cure: Cure::Unset,
        check: |facts, hits| {
            let owners = facts.owners();
            for (index, approver) in facts.settings.approvals.exec.approvers.iter().enumerate() {
                let mut path = at("approvals.exec.approvers");
                path.push_index(index);
                hits.add_if(
                    !owners.contains(approver),
                    path,
                    format!(
                        "names {}, who is not in commands.ownerAllowFrom",
                        approver.as_str()
                    ),
                );
            }
        },
    },
];

pub(super) const ELEVATED: &[Rule] = elevated!(
    "whatsapp" whatsapp, "telegram" telegram, "discord" discord,
    "signal" signal, "imessage" imessage, "bluebubbles" bluebubbles
);

fn both(allow: &[ToolPattern], also: &[ToolPattern], path: &ConfigPath, hits: &mut Hits) {
    let set = !allow.is_empty() && !also.is_empty();
    hits.add_if(
        set,
        path.join("alsoAllow"),
        "is set beside allow, so one of them would have no effect",
    );
}

/// Calls `look` with every narrower choice of tools.
fn policies(facts: &Facts, mut look: impl FnMut(ConfigPath, &ToolPolicy)) {
    let settings = facts.settings;
    for (provider, policy) in &settings.tools.by_provider {
        look(at("tools.byProvider").join(provider.as_str()), policy);
    }
    for (index, agent) in settings.agents.list.iter().enumerate() {
        let mut path = at("agents.list");
        path.push_index(index);
        for (provider, policy) in &agent.tools.by_provider {
            look(
                path.join("tools")
                    .join("byProvider")
                    .join(provider.as_str()),
                policy,
            );
        }
    }
    for (channel, account, view) in &facts.accounts {
        let path = at("channels").join(channel);
        let path = account.map_or(path.clone(), |id| path.join("accounts").join(id.as_str()));
        for group in &view.groups {
            let path = path.join(group.section).join(group.id);
            for inner in &group.inside {
                of_group(&path.join(inner.section).join(inner.id), inner, &mut look);
            }
            of_group(&path, group, &mut look);
        }
    }
}

fn of_group(path: &ConfigPath, group: &GroupView, look: &mut impl FnMut(ConfigPath, &ToolPolicy)) {
    if let Some(policy) = group.tools {
        look(path.join("tools"), policy);
    }
    for (sender, policy) in &group.tools_by_sender {
        look(path.join("toolsBySender").join(sender.as_str()), policy);
    }
}

fn open_groups(facts: &Facts) -> bool {
    facts
        .accounts
        .iter()
        .any(|(_, _, view)| view.group_policy == GroupPolicy::Open)
}

/// Whether the lists of some agent let groups run commands or change files. An agent's profile stands in place of the
/// common one; all other lists can only take away.
fn groups_may_exec(facts: &Facts) -> bool {
    let tools = &facts.settings.tools;
    let agents = facts.settings.agents.list.iter();
    let own = agents.map(|agent| Some(&agent.tools)).chain([None]);
    own.into_iter().any(|own| guests_may_exec(tools, own))
}

fn guests_may_exec(tools: &Tools, own: Option<&AgentTools>) -> bool {
    let lists = |list: &[ToolPattern], tool: &str| list.iter().any(|pattern| pattern.matches(tool));
    let open = |allow: &[ToolPattern], tool: &str| allow.is_empty() || lists(allow, tool);
    // Without a profile groups begin with `messaging`.
    let profile = own.and_then(|own| own.profile).or(tools.profile);
    let begins = matches!(profile, Some(Profile::Coding | Profile::Full));
    let also = own
        .map(|own| &own.also_allow)
        .filter(|also| !also.is_empty());
    let also = also.unwrap_or(&tools.also_allow);
    ["exec", "process", "write", "edit", "apply_patch"]
        .iter()
        .any(|tool| {
            (begins || lists(also, tool))
                && open(&tools.allow, tool)
                && !lists(&tools.deny, tool)
                && own.is_none_or(|own| open(&own.allow, tool) && !lists(&own.deny, tool))
        })
}
