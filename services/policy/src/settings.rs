//! What policy and the slices need of the configuration, in plain values: no spans, no spellings, no secrets.
//! It is what two configurations are compared by, and what everything else here is computed from.

use std::net::IpAddr;
use std::time::Duration;

use clawdbot_config::ToolPattern;
use clawdbot_identity::{AgentId, ModelRef, ProviderId};

use crate::rate::Limit;

/// A validated configuration in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub(crate) bind: Bind,
    pub(crate) port: u16,
    pub(crate) auth_mode: AuthMode,
    /// None when the owner switched it off.
    pub(crate) limit: Option<Limit>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) reload: Reload,
    pub(crate) agents: Vec<Agent>,
    pub(crate) default_agent: AgentId,
    pub(crate) aliases: Vec<(String, ModelRef)>,
    pub(crate) timeout_seconds: u32,
    pub(crate) max_concurrent: u32,
    pub(crate) verbose_default: bool,
    pub(crate) log_level: &'static str,
    pub(crate) sandbox_require: &'static str,
    pub(crate) sandbox_mode: &'static str,
    pub(crate) sandbox_scope: &'static str,
    pub(crate) tools: ToolRules,
    pub(crate) providers: Vec<Provider>,
}

/// Where the front door listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bind {
    Loopback,
    Lan,
    Custom(IpAddr),
}

/// How a client proves that it may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthMode {
    Token,
    Password,
}

impl AuthMode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Password => "password",
        }
    }
}

/// `gateway.reload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reload {
    /// Whether a changed file takes effect before the next start.
    pub(crate) live: bool,
    pub(crate) debounce: Duration,
}

/// One agent as configured; the defaults are already in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) name: String,
    /// None: whatever works without a provider.
    pub(crate) model: Option<ModelRef>,
    pub(crate) fallbacks: Vec<ModelRef>,
    /// As written, `~/` included.
    pub(crate) workspace: Option<String>,
}

/// A model provider that the configuration describes or names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Provider {
    pub(crate) id: ProviderId,
    pub(crate) base_url: Option<String>,
    pub(crate) api: String,
}

/// `tools.allow` and `tools.deny`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ToolRules {
    /// Empty: everything that nothing else forbids.
    pub(crate) allow: Vec<ToolPattern>,
    pub(crate) deny: Vec<ToolPattern>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What an empty configuration means.
    pub(crate) fn defaults() -> Settings {
        Settings {
            bind: Bind::Loopback,
            port: 18789,
            auth_mode: AuthMode::Token,
            limit: Some(Limit::default()),
            allowed_origins: Vec::new(),
            reload: Reload {
                live: true,
                debounce: Duration::from_millis(300),
            },
            agents: vec![agent("main")],
            default_agent: AgentId::main(),
            aliases: Vec::new(),
            timeout_seconds: 600,
            max_concurrent: 4,
            verbose_default: false,
            log_level: "info",
            sandbox_require: "available",
            sandbox_mode: "non-main",
            sandbox_scope: "session",
            tools: ToolRules::default(),
            providers: Vec::new(),
        }
    }

    pub(crate) fn agent(id: &str) -> Agent {
        Agent {
            id: AgentId::parse(id).unwrap(),
            name: String::new(),
            model: None,
            fallbacks: Vec::new(),
            workspace: None,
        }
    }

    pub(crate) fn provider(id: &str, base_url: Option<&str>) -> Provider {
        Provider {
            id: ProviderId::parse(id).unwrap(),
            base_url: base_url.map(str::to_owned),
            api: String::new(),
        }
    }
}
