//! What policy and the slices need of the configuration, in plain values: no spans, no spellings, no secrets.
//! It is what two configurations are compared by, and what everything else here is computed from.

use std::net::IpAddr;
use std::time::Duration;

use clawdbot_config::mention::Patterns;
use clawdbot_config::{BUILTIN, DmPolicy, DmScope, GroupPolicy, Identity, PeerKind, Sender};
use clawdbot_identity::{AgentId, ModelRef, ProviderId};
use clawdbot_proto::v1;

use crate::budget::Limits;
use crate::questions::Approvals;
use crate::rate::Limit;
use crate::tools::Lists;

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
    pub(crate) tools: Lists,
    pub(crate) budgets: Limits,
    pub(crate) providers: Vec<Provider>,
    /// What is known of the models that the configuration names.
    pub(crate) models: Vec<v1::ModelFacts>,
    pub(crate) cooldowns: Cooldowns,
    pub(crate) compaction: v1::Compaction,
    pub(crate) pruning: v1::Pruning,
    pub(crate) endpoints: v1::Endpoints,
    pub(crate) queue: Vec<v1::QueueRule>,
    pub(crate) response_prefix: String,
    pub(crate) channels: Vec<Channel>,
    /// Channel and account of which nobody knows yet whether the environment has a token for them.
    pub(crate) unsettled: Vec<(&'static str, String)>,
    /// `commands.ownerAllowFrom`; a list without anybody makes nobody the owner.
    pub(crate) owners: Option<Vec<Identity>>,
    /// The first that fits counts; those that say more stand before the others.
    pub(crate) routes: Vec<Route>,
    /// Which direct conversations are one.
    pub(crate) dm_scope: DmScope,
    /// The last part of the main session's key.
    pub(crate) main_key: String,
    /// People who have several identities.
    pub(crate) links: Vec<(String, Vec<Identity>)>,
    /// Whether messages are looked at for commands.
    pub(crate) commands: bool,
    pub(crate) approvals: Approvals,
    /// How long an approval holds; none: for ever.
    pub(crate) approval_ttl: Option<Duration>,
}

impl Settings {
    /// Whether some process can answer for a provider.
    pub(crate) fn answers(&self, provider: &ProviderId) -> bool {
        let known = |known: &&Provider| known.id == *provider && known.endpoint.is_some();
        provider.as_str() == BUILTIN || self.providers.iter().any(|own| known(&own))
    }

    /// The channels that a worker of this build serves.
    pub(crate) fn served(&self) -> impl Iterator<Item = &Channel> {
        self.channels.iter().filter(|channel| channel.served)
    }

    /// A channel that is configured.
    pub(crate) fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    /// Whether it is not known yet if an account runs.
    pub(crate) fn is_unsettled(&self, channel: &str, account: &str) -> bool {
        let mut unsettled = self.unsettled.iter();
        unsettled.any(|(own, name)| *own == channel && name == account)
    }

    /// Which list makes an owner of somebody who is approved of, under the listed name that he came by: the owners', or a
    /// channel's own when nothing else says who the owner is and nobody else is in it.
    pub(crate) fn makes_owner(
        &self,
        channel: &str,
        sender: &str,
        name: Option<&str>,
    ) -> Option<&'static str> {
        let is = |entry: &Sender| match entry {
            Sender::Any => false,
            Sender::Id(id) => id == sender,
            Sender::Name(own) => name == Some(own.as_str()),
        };
        match &self.owners {
            Some(owners) => { owners.iter() }
                .any(|owner| owner.channel() == channel && is(owner.sender()))
                .then_some("commands.ownerAllowFrom"),
            None => match self.channel(channel)?.people.as_slice() {
                [only] if is(only) => Some("allowFrom, where nobody else is"),
                _ => None,
            },
        }
    }
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
    /// What counts as its being mentioned, where the platform marks nothing.
    pub(crate) mention: Patterns,
}

/// A model provider that the configuration describes or names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Provider {
    pub(crate) id: ProviderId,
    /// None when nobody says where it is; nobody can answer for it then.
    pub(crate) endpoint: Option<Endpoint>,
    /// Names of log-in profiles.
    pub(crate) profile_order: Vec<String>,
}

/// Where a provider answers and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) base_url: String,
    pub(crate) api: &'static str,
    /// Empty but for Anthropic's protocol.
    pub(crate) api_version: &'static str,
    /// The configuration names the address, which permits it to be a private one.
    pub(crate) named: bool,
}

/// `auth.cooldowns`, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cooldowns {
    pub(crate) billing_backoff: u32,
    pub(crate) billing_max: u32,
    pub(crate) failure_window: u32,
}

/// A channel that is configured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Channel {
    /// For instance `telegram`.
    pub(crate) name: &'static str,
    /// Whether this build has a worker for it.
    pub(crate) served: bool,
    /// The channel's own `allowFrom`: a single entry is the owner when nothing else says who is. A conversation is nobody.
    pub(crate) people: Vec<Sender>,
    pub(crate) accounts: Vec<Account>,
}

impl Channel {
    /// One of its accounts.
    pub(crate) fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|own| own.wire.account == name)
    }
}

/// An account of a channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Account {
    /// What the worker is told.
    pub(crate) wire: v1::ChannelAccount,
    /// It runs even if the environment holds no token.
    pub(crate) certain: bool,
    /// The configuration names the server, which permits it to be a private one.
    pub(crate) api_root_named: bool,
    pub(crate) rules: AccountRules,
}

/// Who may talk through an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountRules {
    pub(crate) dm: DmPolicy,
    pub(crate) allow_from: Vec<Sender>,
    pub(crate) group: GroupPolicy,
    /// `allowFrom` when the file has no list for groups.
    pub(crate) group_allow_from: Vec<Sender>,
    pub(crate) groups: Vec<Group>,
    pub(crate) trust_names: bool,
}

/// A group or topic, a server or one of its channels, with rules of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// `*` stands for every one without a row.
    pub(crate) id: String,
    pub(crate) enabled: bool,
    pub(crate) require_mention: bool,
    /// Without one: as in what is around it, then as in the account.
    pub(crate) allow_from: Option<Vec<Sender>>,
    /// Topics, or channels.
    pub(crate) inside: Vec<Group>,
    /// Whether everything inside is ignored that has no row.
    pub(crate) only_listed: bool,
}

/// Gives conversations to an agent; all that is said has to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) agent: AgentId,
    pub(crate) channel: &'static str,
    /// None: every account.
    pub(crate) account: Option<String>,
    pub(crate) peer: Option<(PeerKind, String)>,
    /// A Discord server.
    pub(crate) server: Option<String>,
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
            tools: Lists::default(),
            budgets: Limits::default(),
            providers: Vec::new(),
            models: Vec::new(),
            cooldowns: Cooldowns {
                billing_backoff: 18_000,
                billing_max: 86_400,
                failure_window: 86_400,
            },
            compaction: v1::Compaction {
                enabled: true,
                reserve_tokens: 20_000,
                keep_tokens: 20_000,
            },
            pruning: v1::Pruning {
                enabled: false,
                ttl_seconds: 300,
                keep_assistants: 3,
            },
            endpoints: v1::Endpoints::default(),
            queue: vec![v1::QueueRule {
                mode: "collect".to_owned(),
                debounce_ms: 1000,
                cap: 20,
                drop: "summarize".to_owned(),
                ..v1::QueueRule::default()
            }],
            response_prefix: String::new(),
            channels: Vec::new(),
            unsettled: Vec::new(),
            owners: None,
            routes: Vec::new(),
            dm_scope: DmScope::PerChannelPeer,
            main_key: "main".to_owned(),
            links: Vec::new(),
            commands: true,
            approvals: Approvals {
                enabled: true,
                in_session: false,
                at_targets: true,
                agents: Vec::new(),
                sessions: Vec::new(),
                targets: Vec::new(),
                timeout: Duration::from_secs(120),
                approvers: Vec::new(),
            },
            approval_ttl: None,
        }
    }

    pub(crate) fn agent(id: &str) -> Agent {
        Agent {
            id: AgentId::parse(id).unwrap(),
            name: String::new(),
            model: None,
            fallbacks: Vec::new(),
            workspace: None,
            mention: Patterns::default(),
        }
    }
}
