//! The lists of tools, with the paths that people find them under.

use std::collections::BTreeMap;

use clawdbot_config::{self as config, Config, Sender, ToolPolicy};
use clawdbot_identity::ProviderId;

use crate::tools::{AgentLists, Lists, PlaceLists, Policy, Sandbox, SandboxLists};

/// All lists of the configuration.
pub(super) fn lists(config: &Config) -> Lists {
    let tools = &config.tools;
    let agents = config.agents.list.iter().enumerate();
    let agent = |(at, agent): (usize, &config::Agent)| {
        let (path, tools) = (format!("agents.list[{at}].tools"), &agent.tools);
        let sandbox = agent.sandbox.as_ref();
        let lists = AgentLists {
            by_provider: by_provider(&path, &tools.by_provider),
            sandbox_lists: sandbox_lists(&path, &tools.sandbox.tools),
            sandbox: words(sandbox.unwrap_or(&config.agents.defaults.sandbox)),
            own: Policy {
                path,
                profile: tools.profile,
                allow: tools.allow.clone(),
                also: tools.also_allow.clone(),
                deny: tools.deny.clone(),
            },
        };
        (agent.id.clone(), lists)
    };
    Lists {
        base: Policy {
            path: "tools".to_owned(),
            profile: tools.profile,
            allow: tools.allow.clone(),
            also: tools.also_allow.clone(),
            deny: tools.deny.clone(),
        },
        by_provider: by_provider("tools", &tools.by_provider),
        sandbox_lists: sandbox_lists("tools", &tools.sandbox.tools),
        sandbox: words(&config.agents.defaults.sandbox),
        agents: agents.map(agent).collect(),
        places: places(config),
    }
}

fn words(sandbox: &config::Sandbox) -> Sandbox {
    Sandbox {
        mode: sandbox.mode.as_str(),
        scope: sandbox.scope.as_str(),
        access: sandbox.workspace_access.as_str(),
    }
}

fn policy(path: String, policy: &ToolPolicy) -> Policy {
    Policy {
        path,
        profile: policy.profile,
        allow: policy.allow.clone(),
        also: policy.also_allow.clone(),
        deny: policy.deny.clone(),
    }
}

fn by_provider(path: &str, rows: &BTreeMap<ProviderId, ToolPolicy>) -> BTreeMap<String, Policy> {
    let row = |(id, own): (&ProviderId, &ToolPolicy)| {
        (
            id.to_string(),
            policy(format!("{path}.byProvider.{id}"), own),
        )
    };
    rows.iter().map(row).collect()
}

fn sandbox_lists(path: &str, lists: &config::SandboxLists) -> SandboxLists {
    SandboxLists {
        path: format!("{path}.sandbox.tools"),
        allow: lists.allow.clone(),
        also: lists.also_allow.clone(),
        deny: lists.deny.clone(),
    }
}

/// One group, topic, server or channel of a server.
fn place<'a>(
    (channel, account, path): (&'static str, Option<&str>, &str),
    (id, topic): (&str, &str),
    own: Option<&ToolPolicy>,
    senders: impl Iterator<Item = (&'a Sender, &'a ToolPolicy)>,
) -> Option<PlaceLists> {
    let sender = |(who, own): (&Sender, &ToolPolicy)| {
        let path = format!("{path}.toolsBySender.{}", who.as_str());
        (who.clone(), policy(path, own))
    };
    let row = PlaceLists {
        channel,
        account: account.map(str::to_owned),
        id: id.to_owned(),
        topic: topic.to_owned(),
        own: own.map(|own| policy(format!("{path}.tools"), own)),
        senders: senders.map(sender).collect(),
    };
    (row.own.is_some() || !row.senders.is_empty()).then_some(row)
}

fn places(config: &Config) -> Vec<PlaceLists> {
    let mut places = Vec::new();
    for (channel, account, view) in config.channels.accounts() {
        let account = account.map(config::AccountId::as_str);
        for group in view.groups {
            let path = format!("{}.{}.{}", base(channel, account), group.section, group.id);
            for inner in group.inside {
                let path = format!("{path}.{}.{}", inner.section, inner.id);
                let whole = format!("{}/{}", group.id, inner.id);
                let place_id = match channel {
                    "discord" => (whole.as_str(), ""),
                    _ => (group.id, inner.id),
                };
                let senders = inner.tools_by_sender.into_iter();
                places.extend(place(
                    (channel, account, &path),
                    place_id,
                    inner.tools,
                    senders,
                ));
            }
            let senders = group.tools_by_sender.into_iter();
            places.extend(place(
                (channel, account, &path),
                (group.id, ""),
                group.tools,
                senders,
            ));
        }
    }
    places
}

fn base(channel: &str, account: Option<&str>) -> String {
    match account {
        None => format!("channels.{channel}"),
        Some(account) => format!("channels.{channel}.accounts.{account}"),
    }
}
