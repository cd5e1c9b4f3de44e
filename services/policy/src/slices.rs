//! Cuts the configuration into one slice for each role. A role gets what it needs to do its job and no secret; a role
//! without a row gets nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clawdbot_config::BUILTIN;
use clawdbot_identity::{AgentId, Class, DEFAULT_WORKSPACE, Role, workspace, workspace_within};
use clawdbot_proto::v1;
use clawdbot_proto::v1::snapshot::Slice;
use clawdbot_service::system;

use crate::settings::{Agent, Bind, Channel, Settings};
use crate::{audience, destinations};

/// What answers when nobody else can.
pub(crate) const GUIDE: &str = "builtin/guide";
/// Characters of each bootstrap file that reach the prompt, as in the original.
const BOOTSTRAP_MAX_CHARS: u32 = 20_000;

/// What the supervisor said at the start, and what it decides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// Wins over `gateway.port` unless zero.
    pub(crate) port: u16,
    /// What `~` stands for.
    pub(crate) home: String,
    /// A service manager starts the processes, each as a user of its own.
    pub(crate) managed: bool,
}

impl Place {
    /// Where an agent of a class works; in system mode as a path from the class's own folder.
    fn workspace(&self, agent: &Agent, class: Class) -> String {
        let configured = agent.workspace.as_deref().unwrap_or(DEFAULT_WORKSPACE);
        match self.managed {
            // Where it cannot work, it works where it does without a word of the configuration.
            true => workspace_within(configured, system::WORKSPACES).unwrap_or_default(),
            false => workspace(configured, &self.home, class),
        }
    }

    /// The folders that agents are to work in and that no process reaches.
    pub(crate) fn out_of_reach<'a>(&self, settings: &'a Settings) -> BTreeSet<&'a str> {
        let named = settings.agents.iter().filter(|_| self.managed);
        let named = named.filter_map(|agent| agent.workspace.as_deref());
        named
            .filter(|folder| workspace_within(folder, system::WORKSPACES).is_none())
            .collect()
    }
}

/// The slice of a role, if it has one.
pub(crate) fn of(role: &Role, settings: &Settings, place: &Place) -> Option<Slice> {
    let name = role.name();
    Some(match (role.family(), role.class(), &name) {
        ("supervisor", ..) => Slice::Plan(plan(settings, place)),
        ("gateway", ..) => Slice::Gateway(gateway(settings, place)),
        ("agent", Some(class), _) => Slice::Agent(agent(settings, place, class)),
        ("model", _, Some(name)) => Slice::Model(model(settings, name.as_str())),
        ("channel", _, Some(name)) => Slice::Channel(
            settings
                .channel(name.as_str())
                .map(channel)
                .unwrap_or_default(),
        ),
        ("executor", ..) => Slice::Executor(v1::ExecutorSlice {
            sandbox_mode: settings.sandbox_mode.to_owned(),
            sandbox_scope: settings.sandbox_scope.to_owned(),
        }),
        _ => return None,
    })
}

/// Addresses of the front door.
pub(crate) fn listeners(settings: &Settings, place: &Place) -> Vec<String> {
    let ip = match settings.bind {
        Bind::Loopback => Ipv4Addr::LOCALHOST.into(),
        Bind::Lan => Ipv4Addr::UNSPECIFIED.into(),
        Bind::Custom(ip) => ip,
    };
    let port = if place.port == 0 {
        settings.port
    } else {
        place.port
    };
    vec![SocketAddr::new(ip, port).to_string()]
}

/// The model that an agent really gets: the first of its own that somebody can answer for, else the guide.
pub(crate) fn effective_model(settings: &Settings, agent: &Agent) -> String {
    let mut wanted = agent.model.iter().chain(&agent.fallbacks);
    wanted
        .find(|model| settings.answers(model.provider()))
        .map_or_else(|| GUIDE.to_owned(), ToString::to_string)
}

/// The models that agents name and that nobody can answer for, for a warning.
pub(crate) fn inactive_models(settings: &Settings) -> Vec<String> {
    let named = settings
        .agents
        .iter()
        .flat_map(|agent| agent.model.iter().chain(&agent.fallbacks));
    let mut models: Vec<_> = named
        .filter(|model| !settings.answers(model.provider()))
        .map(ToString::to_string)
        .collect();
    models.sort();
    models.dedup();
    models
}

/// The providers that have a process: all that are named and can be reached, and the guide where it is somebody's model.
fn running(settings: &Settings) -> Vec<String> {
    let guide = settings
        .agents
        .iter()
        .any(|agent| effective_model(settings, agent) == GUIDE);
    let mut running: Vec<_> = settings
        .providers
        .iter()
        .filter(|provider| settings.answers(&provider.id))
        .map(|provider| provider.id.to_string())
        .chain(guide.then(|| BUILTIN.to_owned()))
        .collect();
    running.sort();
    running.dedup();
    running
}

/// Whether the configuration starts a worker.
pub(crate) fn is_planned(settings: &Settings, role: &str) -> bool {
    instances(settings).iter().any(|instance| instance == role)
}

fn instances(settings: &Settings) -> Vec<String> {
    let models = running(settings)
        .into_iter()
        .map(|provider| format!("model-{provider}"));
    let channels = { settings.served() }.map(|channel| format!("channel-{}", channel.name));
    models.chain(channels).collect()
}

fn plan(settings: &Settings, place: &Place) -> v1::Plan {
    v1::Plan {
        instances: instances(settings),
        listeners: listeners(settings, place),
        log_level: settings.log_level.to_owned(),
        sandbox_require: settings.sandbox_require.to_owned(),
        reaches: destinations::reaches(settings),
    }
}

fn gateway(settings: &Settings, place: &Place) -> v1::GatewaySlice {
    let mut allowed_hosts: Vec<_> = settings
        .allowed_origins
        .iter()
        .filter_map(|origin| destinations::host(origin))
        .filter(|host| host.parse::<IpAddr>().is_err())
        .collect();
    allowed_hosts.sort();
    allowed_hosts.dedup();
    v1::GatewaySlice {
        allowed_origins: settings.allowed_origins.clone(),
        allowed_hosts,
        listeners: listeners(settings, place),
        auth_mode: settings.auth_mode.as_str().to_owned(),
        max_concurrent: settings.max_concurrent,
        endpoints: Some(settings.endpoints),
        queue: settings.queue.clone(),
        agents: agents_default_first(settings)
            .map(ToString::to_string)
            .collect(),
        response_prefix: settings.response_prefix.clone(),
        commands_off: !settings.commands,
    }
}

fn agents_default_first(settings: &Settings) -> impl Iterator<Item = &AgentId> {
    let others = settings.agents.iter().map(|agent| &agent.id);
    std::iter::once(&settings.default_agent)
        .chain(others.filter(|id| **id != settings.default_agent))
}

fn agent(settings: &Settings, place: &Place, class: Class) -> v1::AgentSlice {
    let profile = |agent: &Agent| {
        let model = effective_model(settings, agent);
        let fallbacks = agent
            .fallbacks
            .iter()
            .filter(|other| settings.answers(other.provider()))
            .map(ToString::to_string);
        v1::AgentProfile {
            id: agent.id.to_string(),
            name: agent.name.clone(),
            fallbacks: fallbacks.filter(|other| *other != model).collect(),
            model,
            workspace: place.workspace(agent, class),
        }
    };
    v1::AgentSlice {
        agents: settings.agents.iter().map(profile).collect(),
        default_agent: settings.default_agent.to_string(),
        aliases: settings
            .aliases
            .iter()
            .map(|(alias, model)| v1::ModelAlias {
                alias: alias.clone(),
                model: model.to_string(),
            })
            .collect(),
        bootstrap_max_chars: BOOTSTRAP_MAX_CHARS,
        timeout_seconds: settings.timeout_seconds,
        verbose_default: settings.verbose_default,
        providers: running(settings),
        models: settings.models.clone(),
        compaction: Some(settings.compaction),
        pruning: Some(settings.pruning),
        commands_off: !settings.commands,
    }
}

fn model(settings: &Settings, name: &str) -> v1::ModelSlice {
    let provider = settings
        .providers
        .iter()
        .find(|provider| provider.id.as_str() == name);
    let endpoint = provider.and_then(|provider| provider.endpoint.as_ref());
    let own = |facts: &v1::ModelFacts| {
        let model = facts
            .model
            .strip_prefix(name)?
            .strip_prefix('/')?
            .to_owned();
        Some(v1::ModelFacts {
            model,
            ..facts.clone()
        })
    };
    v1::ModelSlice {
        provider: name.to_owned(),
        base_url: endpoint.map(|end| end.base_url.clone()).unwrap_or_default(),
        api: endpoint.map(|end| end.api.to_owned()).unwrap_or_default(),
        api_version: endpoint
            .map(|end| end.api_version.to_owned())
            .unwrap_or_default(),
        profile_order: provider
            .map(|provider| provider.profile_order.clone())
            .unwrap_or_default(),
        billing_backoff_seconds: settings.cooldowns.billing_backoff,
        billing_max_seconds: settings.cooldowns.billing_max,
        failure_window_seconds: settings.cooldowns.failure_window,
        models: settings.models.iter().filter_map(own).collect(),
        audience: endpoint.map(audience::of_model).unwrap_or_default(),
    }
}

fn channel(channel: &Channel) -> v1::ChannelSlice {
    v1::ChannelSlice {
        accounts: channel
            .accounts
            .iter()
            .map(|account| account.wire.clone())
            .collect(),
        audience: audience::of_channel(channel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distil::tests::settings_of;
    use crate::settings::tests::defaults;

    fn place() -> Place {
        Place {
            port: 0,
            home: "/home/ann".to_owned(),
            managed: false,
        }
    }

    fn cut(role: &str, settings: &Settings) -> Option<Slice> {
        of(&Role::parse(role).unwrap(), settings, &place())
    }

    #[test]
    fn each_role_gets_its_own_kind_of_slice_and_others_get_none() {
        let kind = |role| match cut(role, &defaults()) {
            Some(Slice::Plan(_)) => "plan",
            Some(Slice::Gateway(_)) => "gateway",
            Some(Slice::Agent(_)) => "agent",
            Some(Slice::Model(_)) => "model",
            Some(Slice::Executor(_)) => "executor",
            Some(Slice::Channel(_)) => "channel",
            None => "none",
        };
        for (role, expected) in [
            ("supervisor", "plan"),
            ("gateway", "gateway"),
            ("agent-main", "agent"),
            ("agent-guest", "agent"),
            ("model-builtin", "model"),
            ("model-ollama", "model"),
            ("executor", "executor"),
            ("broker", "none"),
            ("dialer", "none"),
            ("policy", "none"),
            ("operator", "none"),
            ("sandbox-main", "none"),
            ("channel-telegram", "channel"),
            ("keyring", "none"),
            ("docker", "none"),
        ] {
            assert_eq!(kind(role), expected, "{role}");
        }
    }

    #[test]
    fn the_plan_names_the_guide_the_listener_and_the_levels() {
        let Some(Slice::Plan(plan)) = cut("supervisor", &defaults()) else {
            panic!("no plan")
        };
        assert_eq!(plan.instances, ["model-builtin"]);
        assert_eq!(plan.listeners, ["127.0.0.1:18789"]);
        assert_eq!(
            (plan.log_level.as_str(), plan.sandbox_require.as_str()),
            ("info", "available")
        );
    }

    #[test]
    fn the_listener_follows_bind_and_the_port_of_the_command_line_wins() {
        for (bind, port, expected) in [
            (Bind::Loopback, 0, "127.0.0.1:18789"),
            (Bind::Lan, 0, "0.0.0.0:18789"),
            (
                Bind::Custom("192.168.1.9".parse().unwrap()),
                0,
                "192.168.1.9:18789",
            ),
            (
                Bind::Custom("fd00::1".parse().unwrap()),
                8080,
                "[fd00::1]:8080",
            ),
        ] {
            let place = Place { port, ..place() };
            assert_eq!(
                listeners(&Settings { bind, ..defaults() }, &place),
                [expected]
            );
        }
    }

    #[test]
    fn the_gateway_learns_the_host_names_behind_its_allowed_origins() {
        let origins = [
            "https://chat.example.org",
            "http://chat.example.org:8080",
            "https://10.0.0.1",
            "https://[::1]:9",
        ];
        let settings = Settings {
            allowed_origins: origins.map(str::to_owned).to_vec(),
            ..defaults()
        };
        let Some(Slice::Gateway(slice)) = cut("gateway", &settings) else {
            panic!("no slice")
        };
        assert_eq!(slice.allowed_hosts, ["chat.example.org"]);
        assert_eq!(slice.allowed_origins, origins);
        assert_eq!(
            (slice.auth_mode.as_str(), slice.max_concurrent),
            ("token", 4)
        );
    }

    #[test]
    fn in_system_mode_workspaces_are_below_the_classs_own_and_others_are_told() {
        let settings = settings_of(
            "{agents: {defaults: {workspace: '~/work'}, list: [{id: 'main'},
              {id: 'helper', workspace: '/var/lib/clawdbot-work/main/helper'}, {id: 'plain', workspace: '~/clawd'}]}}",
        );
        let folders = |place: &Place, class| -> Vec<String> {
            let slice = agent(&settings, place, class);
            let rows = slice.agents.into_iter();
            rows.map(|agent| agent.workspace).collect()
        };
        let single = place();
        let managed = Place {
            managed: true,
            ..place()
        };
        for class in Class::ALL {
            assert_eq!(folders(&managed, class), ["", "helper", ""]);
        }
        assert_eq!(folders(&single, Class::Main)[0], "/home/ann/work");
        let told: Vec<_> = managed.out_of_reach(&settings).into_iter().collect();
        assert_eq!(told, ["~/work"]);
        assert!(single.out_of_reach(&settings).is_empty());
    }

    fn agents(settings: &Settings) -> v1::AgentSlice {
        let Some(Slice::Agent(slice)) = cut("agent-main", settings) else {
            panic!("no slice")
        };
        slice
    }

    #[test]
    fn a_model_that_nobody_answers_for_falls_back_and_is_reported() {
        for (models, effective, rest, inactive, providers) in [
            ("", GUIDE, vec![], vec![], vec!["builtin"]),
            (
                "primary: 'nobody/x'",
                GUIDE,
                vec![],
                vec!["nobody/x"],
                vec!["builtin"],
            ),
            (
                "primary: 'anthropic/claude'",
                "anthropic/claude",
                vec![],
                vec![],
                vec!["anthropic"],
            ),
            (
                "primary: 'builtin/guide', fallbacks: ['nobody/x']",
                GUIDE,
                vec![],
                vec!["nobody/x"],
                vec!["builtin"],
            ),
            (
                "primary: 'nobody/x', fallbacks: ['ollama/a', 'openai/b']",
                "ollama/a",
                vec!["openai/b"],
                vec!["nobody/x"],
                vec!["ollama", "openai"],
            ),
        ] {
            let settings = settings_of(&format!(
                "{{agents: {{defaults: {{model: {{{models}}}}}}}}}"
            ));
            let slice = agents(&settings);
            assert_eq!(slice.agents[0].model, effective, "{models}");
            assert_eq!(slice.agents[0].fallbacks, rest, "{models}");
            assert_eq!(inactive_models(&settings), inactive, "{models}");
            assert_eq!(slice.providers, providers, "{models}");
        }
    }

    #[test]
    fn the_plan_names_every_provider_and_channel_that_is_used() {
        for (file, expected) in [
            ("", vec!["model-builtin"]),
            (
                "agent: {model: 'ollama/llama3', models: {'openai/gpt-5': {}}}, channels: {telegram: {}}",
                vec!["model-ollama", "model-openai", "channel-telegram"],
            ),
            (
                "models: {providers: {box: {baseUrl: 'http://127.0.0.1:1/v1'}, void: {}}}",
                vec!["model-box", "model-builtin"],
            ),
            (
                "agents: {defaults: {model: 'ollama/x'}, list: [{id: 'main'}, {id: 'shy', model: 'nobody/y'}]}, channels: {telegram: {enabled: false}}",
                vec!["model-builtin", "model-ollama"],
            ),
        ] {
            let settings = settings_of(&format!("{{{file}}}"));
            let Some(Slice::Plan(plan)) = cut("supervisor", &settings) else {
                panic!("no plan")
            };
            assert_eq!(plan.instances, expected, "{file}");
            for role in expected {
                assert!(is_planned(&settings, role));
            }
            assert!(!is_planned(&settings, "model-void") && !is_planned(&settings, "gateway"));
        }
    }

    #[test]
    fn a_model_worker_learns_its_own_address_order_and_models_only() {
        let settings = settings_of(
            "{agents: {defaults: {model: 'openai/gpt-5', models: {'ollama/a': {}, 'ollama/b/c': {}}}},
              models: {providers: {ollama: {baseUrl: 'http://10.0.0.5:11434/'}, proxy: {baseUrl: 'https://p.example', api: 'anthropic-messages', apiVersion: '2026-10-21'}}},
              auth: {order: {openai: ['openai:b', 'openai:a']}}}",
        );
        for (role, base_url, api, version, order, models) in [
            (
                "model-ollama",
                "http://10.0.0.5:11434",
                "ollama",
                "",
                vec![],
                vec!["a", "b/c"],
            ),
            (
                "model-openai",
                "https://api.openai.com/v1",
                "openai-responses",
                "",
                vec!["b", "a"],
                vec!["gpt-5"],
            ),
            (
                "model-proxy",
                "https://p.example",
                "anthropic-messages",
                "2026-10-21",
                vec![],
                vec![],
            ),
            ("model-builtin", "", "", "", vec![], vec![]),
        ] {
            let Some(Slice::Model(slice)) = cut(role, &settings) else {
                panic!("no slice")
            };
            assert_eq!(
                (
                    slice.base_url.as_str(),
                    slice.api.as_str(),
                    slice.api_version.as_str()
                ),
                (base_url, api, version)
            );
            let names: Vec<_> = slice
                .models
                .iter()
                .map(|facts| facts.model.as_str())
                .collect();
            assert_eq!(
                (slice.profile_order.clone(), names),
                (order.into_iter().map(str::to_owned).collect(), models)
            );
            assert_eq!(slice.billing_backoff_seconds, 18_000);
            assert_eq!(format!("model-{}", slice.provider), role);
        }
    }

    #[test]
    fn a_channel_worker_learns_its_accounts_and_nothing_of_another_channel() {
        let settings = settings_of(
            "{channels: {telegram: {accounts: {work: {name: 'Work'}}, botToken: '${T}'}}}",
        );
        let accounts = |role: &str| match cut(role, &settings) {
            Some(Slice::Channel(slice)) => {
                slice.accounts.iter().map(|a| a.account.clone()).collect()
            }
            _ => vec!["no slice".to_owned()],
        };
        assert_eq!(accounts("channel-telegram"), ["default", "work"]);
        assert_eq!(accounts("channel-discord"), [""; 0]);
    }

    #[test]
    fn the_gateway_learns_its_interfaces_queues_and_agents() {
        let settings = settings_of(
            "{gateway: {http: {endpoints: {responses: {enabled: true}}}}, agents: {list: [{id: 'a'}, {id: 'b', default: true}]}, messages: {responsePrefix: '>'}}",
        );
        let Some(Slice::Gateway(slice)) = cut("gateway", &settings) else {
            panic!("no slice")
        };
        assert_eq!(slice.agents, ["b", "a", "main"]);
        let endpoints = slice.endpoints.unwrap();
        assert_eq!(
            (endpoints.chat_completions, endpoints.responses),
            (false, true)
        );
        assert_eq!(
            (slice.response_prefix.as_str(), slice.queue.len()),
            (">", 1)
        );
    }
}
