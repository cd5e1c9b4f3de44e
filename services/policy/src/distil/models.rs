//! Providers and models: who answers for which model, what is known of it, and what is asked of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use clawdbot_config::{self as config, Config};
use clawdbot_identity::{ModelRef, ProviderId};
use clawdbot_proto::v1;

use super::narrow;
use crate::destinations;
use crate::facts;
use crate::settings::{Agent, Cooldowns, Endpoint, Provider};

/// A window from which a model is no small one, wherever it runs. Tokens.
const LARGE_WINDOW: u32 = 100_000;
/// What Ollama is asked to open when nobody says more: its own figure is smaller than a prompt with tools. Tokens.
const OLLAMA_WINDOW: u32 = 8_192;

/// Providers that are described, and those that only a model names.
pub(super) fn providers(config: &Config, agents: &[Agent]) -> Vec<Provider> {
    let described = config.models.providers.keys().cloned();
    let named: BTreeSet<ProviderId> = agents
        .iter()
        .flat_map(|agent| agent.model.iter().chain(&agent.fallbacks))
        .chain(config.agents.defaults.models.keys())
        .map(|model| model.provider().clone())
        .chain(described)
        .collect();
    named
        .into_iter()
        .map(|id| {
            let described = config.models.providers.get(&id);
            let endpoint = config.models.endpoint(&id).map(|endpoint| Endpoint {
                api: endpoint.api.as_str(),
                api_version: match endpoint.api {
                    config::Api::AnthropicMessages => described
                        .map(|p| p.api_version)
                        .unwrap_or(config::ApiVersion::V20230601)
                        .as_str(),
                    _ => "",
                },
                base_url: endpoint.base_url,
                named: endpoint.named,
            });
            Provider {
                endpoint,
                profile_order: profile_order(config, &id),
                id,
            }
        })
        .collect()
}

/// The names of a provider's profiles in the order to try; without an order a log-in comes before a key.
fn profile_order(config: &Config, provider: &ProviderId) -> Vec<String> {
    let of_provider = |profile: &config::ProfileId| {
        let (owner, name) = profile.as_str().split_once(':')?;
        (owner == provider.as_str()).then(|| name.to_owned())
    };
    if let Some(order) = config.auth.order.get(provider) {
        return order.iter().filter_map(of_provider).collect();
    }
    let mut profiles: Vec<_> = config.auth.profiles.iter().collect();
    profiles.sort_by_key(|(_, profile)| profile.mode != config::AuthKind::OAuth);
    profiles
        .into_iter()
        .filter_map(|(id, _)| of_provider(id))
        .collect()
}

/// What is known of every model that the configuration names.
pub(super) fn facts(
    config: &Config,
    agents: &[Agent],
    providers: &[Provider],
) -> Vec<v1::ModelFacts> {
    let described = config.models.providers.iter().flat_map(|(id, provider)| {
        let name = move |model: &config::Model| ModelRef::parse(&format!("{id}/{}", model.id)).ok();
        provider.models.iter().filter_map(name)
    });
    let named: BTreeSet<ModelRef> = agents
        .iter()
        .flat_map(|agent| agent.model.iter().chain(&agent.fallbacks))
        .chain(config.agents.defaults.models.keys())
        .cloned()
        .chain(described)
        .collect();
    named
        .iter()
        .filter_map(|model| {
            let provider = providers
                .iter()
                .find(|provider| provider.id == *model.provider())?;
            Some(of(config, model, provider.endpoint.as_ref()?))
        })
        .collect()
}

fn of(config: &Config, model: &ModelRef, endpoint: &Endpoint) -> v1::ModelFacts {
    let own = config
        .models
        .providers
        .get(model.provider())
        .and_then(|provider| provider.models.iter().find(|own| own.id == model.model()));
    let known = facts::known(model.provider().as_str(), model.model());
    let ollama = endpoint.api == config::Api::Ollama.as_str();
    let window = own
        .and_then(|own| own.context_window)
        .map(|tokens| narrow(tokens.get()))
        .or(known.map(|known| known.window));
    let limit = config
        .agents
        .defaults
        .context_tokens
        .map(|tokens| narrow(tokens.get()));
    let window = match (window, limit) {
        (Some(window), Some(limit)) => Some(window.min(limit)),
        (window, limit) => window.or(limit),
    };
    let context_window = window.unwrap_or(if ollama { OLLAMA_WINDOW } else { 0 });
    v1::ModelFacts {
        model: model.to_string(),
        context_window,
        max_output_tokens: own
            .and_then(|own| own.max_tokens)
            .map(|tokens| narrow(tokens.get()))
            .or(known.map(|known| known.output))
            .unwrap_or_default(),
        reasoning: own
            .and_then(|own| own.reasoning)
            .or(known.map(|known| known.reasoning))
            .unwrap_or_default(),
        price: match own.and_then(|own| own.cost.as_ref()) {
            Some(cost) => Some(facts::price(
                [cost.input, cost.output, cost.cache_read, cost.cache_write]
                    .map(config::Amount::get),
            )),
            None => known.and_then(|known| known.price),
        },
        parameters: Some(parameters(config, model)),
        small_prompt: (ollama || is_near(&endpoint.base_url)) && context_window < LARGE_WINDOW,
    }
}

fn parameters(config: &Config, model: &ModelRef) -> v1::Parameters {
    let defaults = &config.agents.defaults;
    let own = defaults.models.get(model).map(|entry| &entry.params);
    let thinking = own
        .and_then(|own| own.thinking)
        .or(defaults.thinking_default);
    v1::Parameters {
        temperature: own.and_then(|own| own.temperature).map(config::Amount::get),
        top_p: own.and_then(|own| own.top_p).map(config::Amount::get),
        max_output_tokens: own
            .and_then(|own| own.max_tokens)
            .map(|tokens| narrow(tokens.get()))
            .unwrap_or_default(),
        thinking: thinking
            .map(|level| level.as_str().to_owned())
            .unwrap_or_default(),
    }
}

/// Whether an address lies on this machine or in the local network.
fn is_near(base_url: &str) -> bool {
    let Some(host) = destinations::host(base_url) else {
        return false;
    };
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
        Err(_) => !host.contains('.') || host.ends_with(".local") || host.ends_with(".localhost"),
    }
}

/// Pauses after a failure.
pub(super) fn cooldowns(config: &Config) -> Cooldowns {
    let cooldowns = &config.auth.cooldowns;
    // Half a million years are enough for everybody, so the type bounds it.
    let seconds = |hours: config::Amount| (hours.get() * 3600.0).round() as u32;
    Cooldowns {
        billing_backoff: seconds(cooldowns.billing_backoff_hours),
        billing_max: seconds(cooldowns.billing_max_hours),
        failure_window: seconds(cooldowns.failure_window_hours),
    }
}

/// When the older part of a conversation becomes a summary.
pub(super) fn compaction(config: &Config) -> v1::Compaction {
    let compaction = &config.agents.defaults.compaction;
    v1::Compaction {
        enabled: compaction.enabled,
        reserve_tokens: narrow(
            compaction
                .reserve_tokens
                .get()
                .max(compaction.reserve_tokens_floor.get()),
        ),
        keep_tokens: narrow(compaction.keep_recent_tokens.get()),
    }
}

/// Old tool results that the model is not shown again.
pub(super) fn pruning(config: &Config) -> v1::Pruning {
    let pruning = &config.agents.defaults.context_pruning;
    v1::Pruning {
        enabled: pruning.mode == config::PruningMode::CacheTtl,
        ttl_seconds: narrow(pruning.ttl.get().as_secs()),
        keep_assistants: narrow(pruning.keep_last_assistants.get()),
    }
}

#[cfg(test)]
mod tests {
    use crate::distil::tests::reading;

    use super::*;

    fn known(file: &str, model: &str) -> v1::ModelFacts {
        let facts = reading(file).settings.models;
        let found = facts.iter().find(|facts| facts.model == model);
        found.unwrap_or_else(|| panic!("{file}: {facts:?}")).clone()
    }

    #[test]
    fn what_the_file_says_of_a_model_wins_over_the_table_and_limits_bind_both() {
        let plain = known(
            "{agent: {model: 'anthropic/claude-sonnet-4-5'}}",
            "anthropic/claude-sonnet-4-5",
        );
        assert_eq!(
            (
                plain.context_window,
                plain.max_output_tokens,
                plain.reasoning
            ),
            (200_000, 64_000, true)
        );
        assert_eq!(plain.price.unwrap().output, 15_000_000);
        assert!(!plain.small_prompt);
        let own = known(
            "{agents: {defaults: {model: 'anthropic/claude-sonnet-4-5', contextTokens: 50000, thinkingDefault: 'low',
                models: {'anthropic/claude-sonnet-4-5': {params: {temperature: 0.2, topP: 0.9, maxTokens: 100, thinking: 'high'}}}}},
              models: {providers: {anthropic: {models: [{id: 'claude-sonnet-4-5', contextWindow: 1000000, maxTokens: 5, reasoning: false, cost: {input: 1.5}}]}}}}",
            "anthropic/claude-sonnet-4-5",
        );
        assert_eq!(
            (own.context_window, own.max_output_tokens, own.reasoning),
            (50_000, 5, false)
        );
        assert_eq!(own.price.unwrap(), facts::price([1.5, 0.0, 0.0, 0.0]));
        let parameters = own.parameters.unwrap();
        assert_eq!(
            (
                parameters.temperature,
                parameters.top_p,
                parameters.max_output_tokens
            ),
            (Some(0.2), Some(0.9), 100)
        );
        assert_eq!(parameters.thinking, "high");
        let other = known(
            "{agents: {defaults: {model: 'openai/gpt-5', thinkingDefault: 'low'}}}",
            "openai/gpt-5",
        );
        assert_eq!(other.parameters.unwrap().thinking, "low");
    }

    #[test]
    fn a_model_nearby_gets_the_short_prompt_unless_its_window_is_large() {
        for (provider, model, small, window) in [
            ("ollama: {}", "ollama/x", true, 8_192),
            (
                "ollama: {models: [{id: 'x', contextWindow: 131072}]}",
                "ollama/x",
                false,
                131_072,
            ),
            (
                "box: {baseUrl: 'http://127.0.0.1:8080/v1'}",
                "box/x",
                true,
                0,
            ),
            ("box: {baseUrl: 'http://[::1]:8080/v1'}", "box/x", true, 0),
            ("box: {baseUrl: 'http://192.168.1.9/v1'}", "box/x", true, 0),
            ("box: {baseUrl: 'http://llm.local/v1'}", "box/x", true, 0),
            (
                "box: {baseUrl: 'https://llm.example.org/v1'}",
                "box/x",
                false,
                0,
            ),
            ("box: {baseUrl: 'https://8.8.8.8/v1'}", "box/x", false, 0),
        ] {
            let file =
                format!("{{agent: {{model: '{model}'}}, models: {{providers: {{{provider}}}}}}}");
            let facts = known(&file, model);
            assert_eq!(
                (facts.small_prompt, facts.context_window),
                (small, window),
                "{provider}"
            );
            assert_eq!(facts.price, None);
        }
    }

    #[test]
    fn models_that_only_a_provider_lists_are_known_and_those_of_nobody_are_not() {
        let settings = reading(
            "{agent: {model: 'nobody/x'}, models: {providers: {box: {baseUrl: 'http://127.0.0.1:1', models: [{id: 'a/b'}, {id: 'no spaces'}]}}}}",
        )
        .settings;
        let names: Vec<_> = settings
            .models
            .iter()
            .map(|facts| facts.model.as_str())
            .collect();
        assert_eq!(names, ["box/a/b"]);
    }

    #[test]
    fn profiles_come_in_the_files_order_else_log_ins_first() {
        let order = |file: &str| {
            let settings = reading(&format!(
                "{{agent: {{model: 'anthropic/x'}}, auth: {{{file}}}}}"
            ))
            .settings;
            settings.providers[0].profile_order.clone()
        };
        let profiles = "profiles: {'anthropic:a': {provider: 'anthropic', mode: 'api_key'}, 'anthropic:b': {provider: 'anthropic', mode: 'oauth'},
            'openai:c': {provider: 'openai', mode: 'api_key'}}";
        assert_eq!(order(profiles), ["b", "a"]);
        assert_eq!(
            order(&format!(
                "{profiles}, order: {{anthropic: ['anthropic:a', 'openai:c']}}"
            )),
            ["a"]
        );
        assert!(order("").is_empty());
    }

    #[test]
    fn figures_keep_their_floor_and_their_unit() {
        let settings = reading("{}").settings;
        assert_eq!(
            settings.compaction,
            v1::Compaction {
                enabled: true,
                reserve_tokens: 20_000,
                keep_tokens: 20_000
            }
        );
        assert_eq!(
            settings.pruning,
            v1::Pruning {
                enabled: false,
                ttl_seconds: 300,
                keep_assistants: 3
            }
        );
        assert_eq!(
            settings.cooldowns,
            Cooldowns {
                billing_backoff: 18_000,
                billing_max: 86_400,
                failure_window: 86_400
            }
        );
        let settings = reading(
            "{agents: {defaults: {compaction: {enabled: false, reserveTokens: 30000}, contextPruning: {mode: 'cache-ttl', ttl: '1h'}}},
              auth: {cooldowns: {billingBackoffHours: 0.5, billingMaxHours: 1e300}}}",
        )
        .settings;
        assert_eq!(
            (
                settings.compaction.enabled,
                settings.compaction.reserve_tokens
            ),
            (false, 30_000)
        );
        assert_eq!(
            (settings.pruning.enabled, settings.pruning.ttl_seconds),
            (true, 3_600)
        );
        assert_eq!(
            (
                settings.cooldowns.billing_backoff,
                settings.cooldowns.billing_max
            ),
            (1_800, u32::MAX)
        );
    }
}
