//! From the parsed file to what policy works with: the settings, how to log in, and the secrets of other processes. The
//! only place here that knows the schema; what it leaves out, nobody gets.

use std::path::Path;
use std::time::Duration;

use clawdbot_config::{self as config, AuthSecret, Config, Loaded};
use clawdbot_identity::AgentId;
use clawdbot_proto::v1;
use clawdbot_secrets::{Secret, owner};
use tracing::{info, warn};

use crate::credential::{Auth, Given};
use crate::policy::{HeldSecret, HeldValue, Trouble};
use crate::rate::Limit;
use crate::settings::{Agent, AuthMode, Bind, Reload, Settings, ToolRules};

mod channels;
mod models;

pub(crate) use channels::DEFAULT_ACCOUNT;

/// A file that loaded.
pub(crate) struct Reading {
    /// Whether there is a file; without one the defaults hold.
    pub(crate) from_file: bool,
    pub(crate) settings: Settings,
    pub(crate) auth: Auth,
    pub(crate) secrets: Vec<HeldSecret>,
}

/// The variable that gives a Telegram bot's token without a word in the file.
pub(crate) const TELEGRAM_TOKEN: &str = "TELEGRAM_BOT_TOKEN";

impl Reading {
    /// Whether it depends on the environment which accounts run.
    pub(crate) fn depends_on_environment(&self) -> bool {
        let mut accounts = self
            .settings
            .channels
            .iter()
            .flat_map(|channel| &channel.accounts);
        accounts.any(|account| !account.certain)
    }

    /// Decides which accounts run, by whether [`TELEGRAM_TOKEN`] is set.
    pub(crate) fn settle(&mut self, is_set: bool) {
        for channel in &mut self.settings.channels {
            channel.accounts.retain(|account| account.certain || is_set);
        }
        self.settings
            .channels
            .retain(|channel| !channel.accounts.is_empty());
    }

    /// The settings that name an environment variable of the broker's, and that name.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.secrets
            .iter()
            .filter_map(|secret| match &secret.value {
                HeldValue::Reference { source: "env", id } => {
                    Some((secret.path.as_str(), id.as_str()))
                }
                _ => None,
            })
    }
}

/// Reads the file. Without one the defaults hold.
pub(crate) fn read(path: &Path) -> Result<Reading, Trouble> {
    let loaded = config::load(path).map_err(|error| Trouble {
        first: error.first(),
        rendered: error.render(false),
    })?;
    info!(
        findings = loaded.findings.len(),
        inactive = loaded.inactive().len(),
        "read the configuration; `clawdbot doctor` explains"
    );
    distil(loaded)
}

fn distil(loaded: Loaded) -> Result<Reading, Trouble> {
    let from_file = loaded.source.is_some();
    let mut config = loaded.config;
    let auth = auth(&config);
    let secrets = secrets(&mut config)
        .map_err(|error| Trouble::line(format!("no memory for a secret: {error}")))?;
    Ok(Reading {
        from_file,
        settings: settings(&config),
        auth,
        secrets,
    })
}

fn auth(config: &Config) -> Auth {
    let given = |secret: AuthSecret<'_>| match secret {
        AuthSecret::Unset => Given::Nothing,
        AuthSecret::Literal(bytes) => Given::Literal(bytes.to_vec().into()),
        AuthSecret::Reference(reference) => match reference.source {
            config::Source::Env => Given::Environment(reference.id.clone()),
            config::Source::File => Given::Elsewhere("a file"),
            config::Source::Keyring => Given::Elsewhere("the keyring"),
            config::Source::Systemd => Given::Elsewhere("systemd"),
            config::Source::Vault => Given::Elsewhere("the vault"),
        },
    };
    Auth {
        mode: auth_mode(config),
        token: given(config.gateway_token()),
        password: given(config.gateway_password()),
    }
}

fn auth_mode(config: &Config) -> AuthMode {
    match config.gateway.auth.mode {
        config::AuthMode::Token => AuthMode::Token,
        config::AuthMode::Password => AuthMode::Password,
    }
}

/// The secrets that belong to workers. What belongs to policy or to the command line elsewhere goes nowhere.
fn secrets(config: &mut Config) -> std::io::Result<Vec<HeldSecret>> {
    let wanted = |path: &str| {
        owner::of_path(path).is_some_and(|owner| matches!(owner.family(), "model" | "channel"))
    };
    let mut held = Vec::new();
    for (path, literal) in config.take_literals() {
        let path = path.to_string();
        if wanted(&path) {
            held.push(HeldSecret {
                path,
                value: HeldValue::Literal(Secret::new(literal)?),
            });
        }
    }
    for (path, reference) in config.references() {
        let path = path.to_string();
        if wanted(&path) {
            let value = HeldValue::Reference {
                source: reference.source.as_str(),
                id: reference.id.clone(),
            };
            held.push(HeldSecret { path, value });
        }
    }
    Ok(held)
}

fn settings(config: &Config) -> Settings {
    let defaults = &config.agents.defaults;
    let agents = agents(config);
    let default_agent = config
        .agents
        .list
        .iter()
        .find(|agent| agent.default)
        .or(config.agents.list.first());
    let sandbox = &defaults.sandbox;
    let providers = models::providers(config, &agents);
    let http = &config.gateway.http.endpoints;
    Settings {
        models: models::facts(config, &agents, &providers),
        cooldowns: models::cooldowns(config),
        compaction: models::compaction(config),
        pruning: models::pruning(config),
        endpoints: v1::Endpoints {
            chat_completions: http.chat_completions.enabled,
            responses: http.responses.enabled,
        },
        queue: channels::queue(config),
        response_prefix: config.messages.response_prefix.clone().unwrap_or_default(),
        channels: channels::channels(config),
        owners: config.commands.owner_allow_from.clone(),
        routes: channels::routes(config),
        approval_ttl: config.pairing.approval_ttl.map(config::TimeSpan::get),
        bind: bind(config),
        port: config.gateway.port.get(),
        auth_mode: auth_mode(config),
        limit: config.gateway.auth.rate_limit.on().map(|limit| Limit {
            max_attempts: narrow(limit.max_attempts.get()),
            window: Duration::from_secs(limit.window_seconds.get()),
            lockout: Duration::from_secs(limit.lockout_seconds.get()),
        }),
        allowed_origins: config
            .gateway
            .allowed_origins
            .iter()
            .map(|origin| origin.as_str().to_owned())
            .collect(),
        reload: Reload {
            live: matches!(
                config.gateway.reload.mode,
                config::ReloadMode::Hybrid | config::ReloadMode::Hot
            ),
            debounce: Duration::from_millis(config.gateway.reload.debounce_ms.get()),
        },
        providers,
        agents,
        default_agent: default_agent.map_or_else(AgentId::main, |agent| agent.id.clone()),
        aliases: defaults
            .models
            .iter()
            .filter_map(|(model, entry)| Some((entry.alias.clone()?, model.clone())))
            .collect(),
        timeout_seconds: narrow(defaults.timeout_seconds.get()),
        max_concurrent: narrow(defaults.max_concurrent.get()),
        verbose_default: defaults.verbose_default != config::Verbose::Off,
        log_level: log_level(config.logging.level),
        sandbox_require: match config.sandbox.require {
            config::Require::Available => "available",
            config::Require::Full => "full",
        },
        sandbox_mode: sandbox.mode.as_str(),
        sandbox_scope: sandbox.scope.as_str(),
        tools: ToolRules {
            allow: config.tools.allow.clone(),
            deny: config.tools.deny.clone(),
        },
    }
}

fn bind(config: &Config) -> Bind {
    match config.gateway.bind {
        config::Bind::Loopback => Bind::Loopback,
        config::Bind::Lan => Bind::Lan,
        config::Bind::Custom => config
            .gateway
            .custom_bind_host
            .map_or(Bind::Loopback, Bind::Custom),
        later @ (config::Bind::Tailnet | config::Bind::Auto) => {
            warn!(
                bind = later.as_str(),
                "this kind of gateway.bind is not there yet; listening on loopback only"
            );
            Bind::Loopback
        }
    }
}

/// The agents of the list, and `main`, which exists without being named.
fn agents(config: &Config) -> Vec<Agent> {
    let defaults = &config.agents.defaults;
    let path = |own: Option<&config::FilePath>| {
        own.or(defaults.workspace.as_ref())
            .map(|path| path.as_str().to_owned())
    };
    let mut agents: Vec<_> = config
        .agents
        .list
        .iter()
        .map(|agent| {
            let own = agent.model.as_ref();
            let fallbacks = own
                .map(|model| &model.fallbacks)
                .filter(|own| !own.is_empty());
            Agent {
                id: agent.id.clone(),
                name: agent
                    .name
                    .clone()
                    .or_else(|| agent.identity.name.clone())
                    .unwrap_or_default(),
                model: own
                    .and_then(|model| model.primary.clone())
                    .or_else(|| defaults.model.primary.clone()),
                fallbacks: fallbacks.unwrap_or(&defaults.model.fallbacks).clone(),
                workspace: path(agent.workspace.as_ref()),
            }
        })
        .collect();
    let main = AgentId::main();
    if !agents.iter().any(|agent| agent.id == main) {
        agents.push(Agent {
            id: main,
            name: String::new(),
            model: defaults.model.primary.clone(),
            fallbacks: defaults.model.fallbacks.clone(),
            workspace: path(None),
        });
    }
    agents
}

/// There is no level below `error`: why a process cannot work is always told.
fn log_level(level: config::LogLevel) -> &'static str {
    match level {
        config::LogLevel::Silent | config::LogLevel::Fatal | config::LogLevel::Error => "error",
        config::LogLevel::Warn => "warn",
        config::LogLevel::Info => "info",
        config::LogLevel::Debug => "debug",
        config::LogLevel::Trace => "trace",
    }
}

/// A number that the schema has bounded far below 2^32.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::settings::Route;
    use crate::settings::tests::{agent, defaults};

    pub(crate) fn reading(text: &str) -> Reading {
        let loaded = config::parse("test.json", text.as_bytes());
        distil(loaded.unwrap_or_else(|error| panic!("{}", error.render(false))))
            .ok()
            .unwrap()
    }

    /// The settings where the environment holds nothing.
    pub(crate) fn settings_of(text: &str) -> Settings {
        let mut reading = reading(text);
        reading.settle(false);
        reading.settings
    }

    fn value(secret: &HeldSecret) -> String {
        match &secret.value {
            HeldValue::Literal(literal) => {
                literal.expose(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
            }
            HeldValue::Reference { source, id } => format!("{source}:{id}"),
        }
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let Reading { auth, secrets, .. } = reading("{}");
        assert_eq!(settings_of("{}"), defaults());
        assert!(matches!(
            (auth.mode, auth.token, auth.password),
            (AuthMode::Token, Given::Nothing, Given::Nothing)
        ));
        assert!(secrets.is_empty());
    }

    #[test]
    fn every_setting_that_policy_uses_arrives() {
        let settings = reading(
            r#"{
            gateway: {
                port: 2000, bind: "custom", customBindHost: "10.0.0.1", allowedOrigins: ["https://a.example"],
                auth: { token: "5f8e1c0a9b7d4632f1e0c9d8a7b6e5f4", rateLimit: { maxAttempts: 3, windowSeconds: 30, lockoutSeconds: 90 } },
                reload: { mode: "off", debounceMs: 7 }, http: { endpoints: { chatCompletions: { enabled: true } } },
            },
            agents: {
                defaults: {
                    model: { primary: "ollama/llama3", fallbacks: ["openai/gpt"] }, workspace: "~/work", timeoutSeconds: 60,
                    maxConcurrent: 2, verboseDefault: "full", models: { "anthropic/claude": { alias: "best" } },
                    sandbox: { mode: "all", scope: "agent" },
                },
                list: [{ id: "helper", name: "Helper", model: "builtin/guide", workspace: "/srv/helper" }, { id: "second" }],
            },
            models: { providers: { ollama: { baseUrl: "http://10.0.0.5:11434", api: "openai-completions" } } },
            tools: { allow: ["group:fs"], deny: ["exec"] },
            logging: { level: "debug" },
            sandbox: { require: "full" },
            messages: { responsePrefix: "[bot]" },
            commands: { ownerAllowFrom: ["telegram:42"] },
            pairing: { approvalTtl: "1h" },
            bindings: [
                { agentId: "second", match: { channel: "telegram", peer: { kind: "group", id: "-5" } } },
                { agentId: "helper", match: { channel: "telegram", accountId: "*" } },
                { agentId: "helper", match: { channel: "telegram", accountId: "work" } },
                { agentId: "helper", match: { channel: "discord", guildId: "1" } },
            ],
        }"#,
        )
        .settings;
        let defaults_of = |id: &str| {
            let model = |text| clawdbot_identity::ModelRef::parse(text).unwrap();
            Agent {
                model: Some(model("ollama/llama3")),
                fallbacks: vec![model("openai/gpt")],
                workspace: Some("~/work".to_owned()),
                ..agent(id)
            }
        };
        let helper = Agent {
            name: "Helper".to_owned(),
            model: Some(clawdbot_identity::ModelRef::parse("builtin/guide").unwrap()),
            workspace: Some("/srv/helper".to_owned()),
            ..defaults_of("helper")
        };
        assert_eq!(
            settings.agents,
            [helper, defaults_of("second"), defaults_of("main")]
        );
        assert_eq!(settings.default_agent.as_str(), "helper");
        let answers: Vec<_> = settings
            .providers
            .iter()
            .map(|own| {
                (
                    own.id.as_str(),
                    own.endpoint
                        .as_ref()
                        .map(|end| (end.base_url.as_str(), end.api, end.named)),
                )
            })
            .collect();
        assert_eq!(
            answers,
            [
                (
                    "anthropic",
                    Some(("https://api.anthropic.com", "anthropic-messages", false))
                ),
                ("builtin", None),
                (
                    "ollama",
                    Some(("http://10.0.0.5:11434", "openai-completions", true))
                ),
                (
                    "openai",
                    Some(("https://api.openai.com/v1", "openai-responses", false))
                ),
            ]
        );
        assert_eq!(
            settings.providers[0].endpoint.as_ref().unwrap().api_version,
            "2023-06-01"
        );
        assert_eq!(
            (
                settings.endpoints.chat_completions,
                settings.endpoints.responses,
                settings.response_prefix.as_str()
            ),
            (true, false, "[bot]")
        );
        assert_eq!(settings.owners[0].as_str(), "telegram:42");
        assert_eq!(settings.approval_ttl, Some(Duration::from_secs(3600)));
        let route =
            |agent: &str, account: Option<&str>, peer: Option<(config::PeerKind, &str)>| Route {
                agent: AgentId::parse(agent).unwrap(),
                channel: "telegram",
                account: account.map(str::to_owned),
                peer: peer.map(|(kind, id)| (kind, id.to_owned())),
            };
        assert_eq!(
            settings.routes,
            [
                route(
                    "second",
                    Some("default"),
                    Some((config::PeerKind::Group, "-5"))
                ),
                route("helper", None, None),
                route("helper", Some("work"), None),
            ]
        );
        assert_eq!(settings.bind, Bind::Custom("10.0.0.1".parse().unwrap()));
        let limit = Limit {
            max_attempts: 3,
            window: Duration::from_secs(30),
            lockout: Duration::from_secs(90),
        };
        assert_eq!((settings.port, settings.limit), (2000, Some(limit)));
        assert_eq!(
            settings.reload,
            Reload {
                live: false,
                debounce: Duration::from_millis(7)
            }
        );
        assert_eq!(settings.allowed_origins, ["https://a.example"]);
        assert_eq!(
            (
                settings.timeout_seconds,
                settings.max_concurrent,
                settings.verbose_default
            ),
            (60, 2, true)
        );
        assert_eq!(
            (settings.log_level, settings.sandbox_require),
            ("debug", "full")
        );
        assert_eq!(
            (settings.sandbox_mode, settings.sandbox_scope),
            ("all", "agent")
        );
        assert_eq!(
            (
                settings.aliases[0].0.as_str(),
                settings.aliases[0].1.as_str()
            ),
            ("best", "anthropic/claude")
        );
        assert_eq!(
            (settings.tools.allow.len(), settings.tools.deny.len()),
            (1, 1)
        );
    }

    #[test]
    fn the_log_in_comes_from_where_the_file_says() {
        let token = |text: &str| {
            reading(&format!("{{gateway: {{auth: {{token: {text}}}}}}}"))
                .auth
                .token
        };
        assert!(
            matches!(token(r#""5f8e1c0a9b7d4632f1e0c9d8a7b6e5f4""#), Given::Literal(bytes) if bytes.len() == 32)
        );
        assert!(
            matches!(token(r#""${CLAWDBOT_GATEWAY_TOKEN}""#), Given::Environment(name) if name == "CLAWDBOT_GATEWAY_TOKEN")
        );
        assert!(matches!(
            token(r#"{source: "vault", id: "x"}"#),
            Given::Elsewhere("the vault")
        ));
        let auth = reading(r#"{gateway: {auth: {password: "a long password"}}}"#).auth;
        assert!(matches!(
            (auth.mode, auth.password),
            (AuthMode::Password, Given::Literal(_))
        ));
    }

    #[test]
    fn workers_secrets_leave_and_policys_own_stay() {
        let reading = reading(
            r#"{
            gateway: { auth: { token: "5f8e1c0a9b7d4632f1e0c9d8a7b6e5f4" } },
            models: { providers: { openai: { apiKey: "sk-1" }, anthropic: { apiKey: "${MY_KEY}" } } },
            channels: { telegram: { botToken: { source: "file", id: "bot" } } },
            hooks: { token: "a5f8e1c0a9b7d4632f1e0c9d8a7b6e5f" },
        }"#,
        );
        let shown: Vec<_> = reading
            .secrets
            .iter()
            .map(|secret| (secret.path.as_str(), value(secret)))
            .collect();
        let expected = [
            ("models.providers.openai.apiKey", "sk-1"),
            ("channels.telegram.botToken", "file:bot"),
            ("models.providers.anthropic.apiKey", "env:MY_KEY"),
        ];
        assert!(
            expected
                .iter()
                .all(|(path, value)| shown.contains(&(path, (*value).to_owned()))),
            "{shown:?}"
        );
        assert_eq!(shown.len(), expected.len());
        assert_eq!(
            reading.names().collect::<Vec<_>>(),
            [("models.providers.anthropic.apiKey", "MY_KEY")]
        );
    }

    #[test]
    fn a_bad_file_gives_the_first_error_in_one_line_and_all_of_them_rendered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clawdbot.json");
        std::fs::write(&path, "{ gatway: {}, agnts: {} }").unwrap();
        let trouble = read(&path).err().unwrap();
        assert!(
            trouble.first.contains("clawdbot.json:1:3") && !trouble.first.contains('\n'),
            "{}",
            trouble.first
        );
        assert!(
            trouble.rendered.contains("gatway") && trouble.rendered.contains("agnts"),
            "{}",
            trouble.rendered
        );
        assert!(read(&folder.path().join("none.json")).is_ok());
    }
}
