//! Cuts the configuration into one slice for each role. A role gets what it needs to do its job and no secret; a role
//! without a row gets nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clawdbot_identity::{Class, DEFAULT_WORKSPACE, ModelRef, Role, workspace};
use clawdbot_proto::v1;
use clawdbot_proto::v1::snapshot::Slice;

use crate::destinations;
use crate::settings::{Agent, Bind, Settings};

/// Providers whose worker exists in this build.
const ACTIVE: &[&str] = &["builtin"];
/// What answers when no active provider is configured.
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
}

/// The slice of a role, if it has one.
pub(crate) fn of(role: &Role, settings: &Settings, place: &Place) -> Option<Slice> {
    let name = role.name();
    Some(match (role.family(), role.class(), &name) {
        ("supervisor", ..) => Slice::Plan(plan(settings, place)),
        ("gateway", ..) => Slice::Gateway(gateway(settings, place)),
        ("agent", Some(class), _) => Slice::Agent(agent(settings, place, class)),
        ("model", _, Some(name)) => Slice::Model(model(settings, name.as_str())),
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

/// The model that an agent really gets: the first of its own that is active, else the guide.
pub(crate) fn effective_model(agent: &Agent) -> String {
    let mut wanted = agent.model.iter().chain(&agent.fallbacks);
    wanted
        .find(|model| is_active(model))
        .map_or_else(|| GUIDE.to_owned(), ToString::to_string)
}

/// The models that agents name and that no worker of this build serves, for a warning.
pub(crate) fn inactive_models(settings: &Settings) -> Vec<String> {
    let named = settings
        .agents
        .iter()
        .flat_map(|agent| agent.model.iter().chain(&agent.fallbacks));
    let mut models: Vec<_> = named
        .filter(|model| !is_active(model))
        .map(ToString::to_string)
        .collect();
    models.sort();
    models.dedup();
    models
}

fn is_active(model: &ModelRef) -> bool {
    ACTIVE.contains(&model.provider().as_str())
}

fn plan(settings: &Settings, place: &Place) -> v1::Plan {
    v1::Plan {
        instances: ACTIVE
            .iter()
            .map(|provider| format!("model-{provider}"))
            .collect(),
        listeners: listeners(settings, place),
        log_level: settings.log_level.to_owned(),
        sandbox_require: settings.sandbox_require.to_owned(),
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
    }
}

fn agent(settings: &Settings, place: &Place, class: Class) -> v1::AgentSlice {
    let profile = |agent: &Agent| {
        let model = effective_model(agent);
        let fallbacks = agent
            .fallbacks
            .iter()
            .filter(|other| is_active(other))
            .map(ToString::to_string);
        v1::AgentProfile {
            id: agent.id.to_string(),
            name: agent.name.clone(),
            fallbacks: fallbacks.filter(|other| *other != model).collect(),
            model,
            workspace: workspace(
                agent.workspace.as_deref().unwrap_or(DEFAULT_WORKSPACE),
                &place.home,
                class,
            ),
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
        providers: ACTIVE.iter().map(|&provider| provider.to_owned()).collect(),
    }
}

fn model(settings: &Settings, name: &str) -> v1::ModelSlice {
    let configured = settings
        .providers
        .iter()
        .find(|provider| provider.id.as_str() == name);
    let base_url = configured.and_then(|provider| provider.base_url.as_deref());
    v1::ModelSlice {
        provider: name.to_owned(),
        base_url: base_url
            .or(destinations::default_url(name))
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_owned(),
        api: configured
            .map(|provider| provider.api.clone())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{agent, defaults, provider};

    fn place() -> Place {
        Place {
            port: 0,
            home: "/home/ann".to_owned(),
        }
    }

    fn cut(role: &str, settings: &Settings) -> Option<Slice> {
        of(&Role::parse(role).unwrap(), settings, &place())
    }

    fn models(texts: &[&str]) -> Vec<ModelRef> {
        texts
            .iter()
            .map(|text| ModelRef::parse(text).unwrap())
            .collect()
    }

    #[test]
    fn each_role_gets_its_own_kind_of_slice_and_others_get_none() {
        let kind = |role| match cut(role, &defaults()) {
            Some(Slice::Plan(_)) => "plan",
            Some(Slice::Gateway(_)) => "gateway",
            Some(Slice::Agent(_)) => "agent",
            Some(Slice::Model(_)) => "model",
            Some(Slice::Executor(_)) => "executor",
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
            ("channel-telegram", "none"),
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
    fn a_model_without_a_worker_falls_back_and_is_reported() {
        for (model, fallbacks, effective, rest, inactive) in [
            (None, vec![], GUIDE, vec![], vec![]),
            (
                Some("anthropic/claude"),
                vec![],
                GUIDE,
                vec![],
                vec!["anthropic/claude"],
            ),
            (
                Some("builtin/guide"),
                vec!["openai/gpt"],
                GUIDE,
                vec![],
                vec!["openai/gpt"],
            ),
            (
                Some("ollama/x"),
                vec!["builtin/other", "builtin/guide"],
                "builtin/other",
                vec![GUIDE],
                vec!["ollama/x"],
            ),
        ] {
            let model = model.map(|text| ModelRef::parse(text).unwrap());
            let agent = Agent {
                model,
                fallbacks: models(&fallbacks),
                ..agent("main")
            };
            let settings = Settings {
                agents: vec![agent],
                ..defaults()
            };
            let Some(Slice::Agent(slice)) = cut("agent-main", &settings) else {
                panic!("no slice")
            };
            assert_eq!(slice.agents[0].model, effective);
            assert_eq!(slice.agents[0].fallbacks, rest);
            assert_eq!(inactive_models(&settings), inactive);
            assert_eq!(slice.providers, ["builtin"]);
        }
    }

    #[test]
    fn a_model_worker_learns_its_own_address_only() {
        let mut ollama = provider("ollama", Some("http://10.0.0.5:11434/"));
        ollama.api = "ollama".to_owned();
        let settings = Settings {
            providers: vec![ollama, provider("openai", None)],
            ..defaults()
        };
        for (role, base_url, api) in [
            ("model-ollama", "http://10.0.0.5:11434", "ollama"),
            ("model-openai", "https://api.openai.com", ""),
            ("model-builtin", "", ""),
        ] {
            let Some(Slice::Model(slice)) = cut(role, &settings) else {
                panic!("no slice")
            };
            assert_eq!(
                (slice.base_url.as_str(), slice.api.as_str()),
                (base_url, api)
            );
            assert_eq!(format!("model-{}", slice.provider), role);
        }
    }
}
