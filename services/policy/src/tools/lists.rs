//! The lists of the configuration, in plain values with the paths that people find them under.

use std::collections::BTreeMap;

use clawdbot_config::{Profile, Sender, ToolPattern};
use clawdbot_identity::AgentId;

/// All of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lists {
    /// `tools`.
    pub(crate) base: Policy,
    /// `tools.byProvider`, by the provider's id.
    pub(crate) by_provider: BTreeMap<String, Policy>,
    /// `tools.sandbox.tools`.
    pub(crate) sandbox_lists: SandboxLists,
    /// `agents.defaults.sandbox`.
    pub(crate) sandbox: Sandbox,
    /// Agents of `agents.list`.
    pub(crate) agents: BTreeMap<AgentId, AgentLists>,
    /// Groups with lists of their own.
    pub(crate) places: Vec<PlaceLists>,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            base: Policy::at("tools"),
            by_provider: BTreeMap::new(),
            sandbox_lists: SandboxLists::at("tools.sandbox.tools"),
            sandbox: Sandbox::default(),
            agents: BTreeMap::new(),
            places: Vec::new(),
        }
    }
}

impl Lists {
    /// Whether any list depends on whose model asks.
    pub(crate) fn knows_providers(&self) -> bool {
        let mut agents = self.agents.values();
        !self.by_provider.is_empty() || agents.any(|agent| !agent.by_provider.is_empty())
    }
}

/// One choice of tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Where the configuration has it.
    pub(crate) path: String,
    pub(crate) profile: Option<Profile>,
    /// Empty: no restriction.
    pub(crate) allow: Vec<ToolPattern>,
    /// Besides the profile.
    pub(crate) also: Vec<ToolPattern>,
    pub(crate) deny: Vec<ToolPattern>,
}

impl Policy {
    /// One that says nothing.
    pub(crate) fn at(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            profile: None,
            allow: Vec::new(),
            also: Vec::new(),
            deny: Vec::new(),
        }
    }
}

/// What may be used inside the sandbox. Nothing said: the usual lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SandboxLists {
    pub(crate) path: String,
    /// Empty: everything.
    pub(crate) allow: Option<Vec<ToolPattern>>,
    pub(crate) also: Vec<ToolPattern>,
    pub(crate) deny: Option<Vec<ToolPattern>>,
}

impl SandboxLists {
    /// Those that say nothing.
    pub(crate) fn at(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            allow: None,
            also: Vec::new(),
            deny: None,
        }
    }
}

/// Which sessions are in the sandbox and what they see there, in the configuration's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sandbox {
    pub(crate) mode: &'static str,
    pub(crate) scope: &'static str,
    pub(crate) access: &'static str,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            mode: "non-main",
            scope: "session",
            access: "none",
        }
    }
}

/// What the configuration says of one agent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AgentLists {
    pub(crate) own: Policy,
    pub(crate) by_provider: BTreeMap<String, Policy>,
    pub(crate) sandbox_lists: SandboxLists,
    pub(crate) sandbox: Sandbox,
}

/// What the configuration says of one group or topic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlaceLists {
    pub(crate) channel: &'static str,
    /// None: the account without a name.
    pub(crate) account: Option<String>,
    /// `*` stands for every group.
    pub(crate) id: String,
    /// Empty: the whole group.
    pub(crate) topic: String,
    pub(crate) own: Option<Policy>,
    pub(crate) senders: Vec<(Sender, Policy)>,
}
