//! Two notes that say what there is, not what is wrong: how much of the assistant lies open, and whether anything of what is
//! written to it leaves this house.

use std::collections::BTreeSet;
use std::net::IpAddr;

use clawdbot_config::Severity::Info;
use clawdbot_config::{BUILTIN, DmPolicy, GroupPolicy};
use clawdbot_identity::ProviderId;

use super::check::{Check, Hit, Hits};
use super::facts::Facts;
use crate::out::count;

pub const CHECKS: &[Check] = &[
    Check {
        id: "summary.attack_surface",
        severity: Info,
        title: "What lies open",
        why: "Every way in is one that has to be guarded.",
        help: "",
        command: "clawdbot status",
        fixes: false,
        look: attack_surface,
    },
    Check {
        id: "summary.local_only",
        severity: Info,
        title: "What leaves this house",
        why: "What is sent to a provider or a chat service is kept there by its rules.",
        help: "",
        command: "clawdbot config set agents.defaults.model '\"ollama/MODEL\"'",
        fixes: false,
        look: local_only,
    },
];

fn attack_surface(facts: &Facts, hits: &mut Hits) {
    let Ok(loaded) = &facts.config else { return };
    let config = &loaded.config;
    let accounts = config.channels.accounts();
    let number = |is: &dyn Fn(&clawdbot_config::AccountView) -> bool| {
        accounts.iter().filter(|(_, _, view)| is(view)).count()
    };
    let open_dms = number(&|view| view.dm_policy == DmPolicy::Open);
    let open_groups = number(&|view| view.group_policy == GroupPolicy::Open);
    let listed: usize = accounts.iter().map(|(_, _, view)| view.groups.len()).sum();
    let endpoints = &config.gateway.http.endpoints;
    let interfaces = [
        endpoints.chat_completions.enabled,
        endpoints.responses.enabled,
        endpoints.tools_invoke.enabled,
    ];
    let interfaces = interfaces.into_iter().filter(|on| *on).count();
    let on = |on: bool| if on { "on" } else { "off" };
    let detail = format!(
        "front door: {}; {}; open to strangers: {open_dms}; open to any group: {open_groups}; {} listed; {}; \
         commands outside the sandbox: {}; web hooks: {}",
        config.gateway.bind.as_str(),
        count(accounts.len(), "chat account"),
        count(listed, "group"),
        count(interfaces, "HTTP interface"),
        on(config.tools.elevated.enabled),
        on(config.hooks.enabled),
    );
    hits.add(Hit::setting("", detail));
}

fn local_only(facts: &Facts, hits: &mut Hits) {
    let Ok(loaded) = &facts.config else { return };
    let config = &loaded.config;
    let agents = &config.agents;
    let own = agents.list.iter().filter_map(|agent| agent.model.as_ref());
    let chosen = own.chain([&agents.defaults.model]);
    let models = chosen.flat_map(|choice| choice.primary.iter().chain(&choice.fallbacks));
    let providers: BTreeSet<&ProviderId> = { models.chain(agents.defaults.models.keys()) }
        .map(|model| model.provider())
        .collect();
    let away = providers.iter().filter(|provider| {
        provider.as_str() != BUILTIN
            && config
                .models
                .endpoint(provider)
                .is_none_or(|endpoint| !is_near(&endpoint.base_url))
    });
    let away: Vec<_> = away.map(|provider| provider.as_str()).collect();
    let channels: BTreeSet<_> = config
        .channels
        .accounts()
        .iter()
        .map(|account| account.0)
        .collect();
    let channels: Vec<_> = channels.into_iter().collect();
    let mut because = Vec::new();
    if providers.is_empty() {
        because.push("no model is named, so whichever provider has a key answers".to_owned());
    }
    if !away.is_empty() {
        because.push(format!("what is written goes to {}", away.join(", ")));
    }
    if !channels.is_empty() {
        because.push(format!("chats pass through {}", channels.join(", ")));
    }
    let detail = match because.is_empty() {
        true => {
            "nothing: every model answers in this house and no chat service is set up".to_owned()
        }
        false => because.join("; "),
    };
    hits.add(Hit::setting("", detail));
}

/// Whether an http address is of this machine or of a private network.
pub fn is_near(address: &str) -> bool {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
        Err(_) => {
            let host = host.to_ascii_lowercase();
            host == "localhost"
                || [".localhost", ".local", ".internal", ".lan"]
                    .iter()
                    .any(|end| host.ends_with(end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_this_machine_and_a_private_network() {
        for (address, near) in [
            ("http://127.0.0.1:11434", true),
            ("http://[::1]:8080/v1", true),
            ("http://localhost/v1", true),
            ("http://10.0.0.5:11434", true),
            ("http://box.local:8000", true),
            ("http://[fd00::1]/", true),
            ("https://api.anthropic.com", false),
            ("https://127.0.0.1@evil.example", false),
            ("http://localhost.evil.example", false),
            ("http://8.8.8.8", false),
        ] {
            assert_eq!(is_near(address), near, "{address}");
        }
    }
}
