//! From the parsed file to what policy works with: the settings, how to log in, and the secrets of other processes. The
//! only place here that knows the schema; what it leaves out, nobody gets.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use clawdbot_config::mention::Patterns;
use clawdbot_config::{self as config, AuthSecret, Config, Loaded};
use clawdbot_identity::AgentId;
use clawdbot_proto::v1;
use clawdbot_secrets::{Secret, owner};
use tracing::{info, warn};

use crate::credential::{Auth, Given};
use crate::notices::Recipient;
use crate::policy::{HeldSecret, HeldValue};
use crate::questions::Approvals;
use crate::rate::Limit;
use crate::settings::{Agent, AuthMode, Bind, Reload, Settings};
use crate::trouble::Trouble;

mod budget;
mod channels;
mod models;
mod tools;

pub(crate) use channels::{DEFAULT_ACCOUNT, is_chat};

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

    /// Decides which accounts run, by whether [`TELEGRAM_TOKEN`] is set. While nobody knows, those go on that run already;
    /// of the others it is remembered that they are not decided.
    pub(crate) fn settle(&mut self, is_set: Option<bool>, before: Option<&Settings>) {
        let runs = |channel: &str, account: &str| {
            let channel = before.and_then(|before| before.channel(channel));
            channel.is_some_and(|channel| channel.account(account).is_some())
        };
        let mut unsettled = Vec::new();
        for channel in &mut self.settings.channels {
            let name = channel.name;
            channel.accounts.retain(|account| {
                let own = &account.wire.account;
                let stays = account.certain || is_set.unwrap_or_else(|| runs(name, own));
                if !stays && is_set.is_none() {
                    unsettled.push((name, own.clone()));
                }
                stays
            });
        }
        self.settings.unsettled = unsettled;
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
pub(crate) fn read(path: &Path, opened: io::Result<File>) -> Result<Reading, Trouble> {
    let loaded = config::load_opened(path, opened).map_err(|error| Trouble {
        first: error.first(),
        rendered: error.render(false),
        rule: None,
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
        unsettled: Vec::new(),
        owners: config.commands.owner_allow_from.clone(),
        routes: channels::routes(config),
        dm_scope: config.session.dm_scope,
        main_key: config.session.main_key.as_str().to_owned(),
        links: { config.session.identity_links.iter() }
            .map(|(person, identities)| (person.as_str().to_owned(), identities.clone()))
            .collect(),
        commands: config.commands.text,
        approvals: approvals(&config.approvals.exec),
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
            live: config.gateway.reload.mode != config::ReloadMode::Off,
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
        tools: tools::lists(config),
        budgets: budget::limits(config),
    }
}

/// Whom a call needs the word of, and where they are asked.
fn approvals(exec: &config::ExecApprovals) -> Approvals {
    let target = |target: &config::ApprovalTarget| Recipient {
        channel: target.channel.as_str().to_owned(),
        accounts: vec![
            { target.account_id.as_ref() }
                .map_or(DEFAULT_ACCOUNT, |account| account.as_str())
                .to_owned(),
        ],
        person: target.to.clone(),
        thread: target.thread_id.clone().unwrap_or_default(),
    };
    Approvals {
        enabled: exec.enabled,
        in_session: exec.mode != config::ApprovalMode::Targets,
        at_targets: exec.mode != config::ApprovalMode::Session,
        agents: exec.agent_filter.clone(),
        sessions: exec.session_filter.clone(),
        targets: exec.targets.iter().map(target).collect(),
        timeout: Duration::from_secs(exec.timeout_seconds.get()),
        approvers: exec.approvers.clone(),
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
                mention: Patterns::of(Some(agent), &config.messages.group_chat),
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
            mention: Patterns::of(None, &config.messages.group_chat),
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
pub(crate) mod tests;
