//! `tools` and `approvals`: what the assistant may use, and whom it has to ask.
//! Refuses names of tools that do not exist: a slip in a deny list would otherwise allow what it meant to forbid.

use std::collections::BTreeMap;

use clawdbot_identity::{AgentId, ProviderId};
use serde_json::Value as Json;

use crate::json5::Node;
use crate::nearest::nearest;
use crate::secret::SecretField;
use crate::section::section;
use crate::senders::Identity;
use crate::shape::{Cx, Info, Kind, Shape};
use crate::types::{Int, MapKey, choice, texts};

/// The tools by group; `group:fs` stands for all of its row.
pub const TOOL_GROUPS: &[(&str, &[&str])] = &[
    ("group:fs", &["read", "write", "edit", "apply_patch"]),
    ("group:runtime", &["exec", "process"]),
    (
        "group:sessions",
        &[
            "sessions_list",
            "sessions_history",
            "sessions_send",
            "sessions_spawn",
            "session_status",
        ],
    ),
    ("group:memory", &["memory_search", "memory_get"]),
    ("group:web", &["web_search", "web_fetch"]),
    ("group:ui", &["browser", "canvas"]),
    ("group:automation", &["cron", "gateway"]),
    ("group:messaging", &["message"]),
    ("group:nodes", &["nodes"]),
    ("group:plugins", &[]),
    (
        "group:clawdbot",
        &[
            "image",
            "agents_list",
            "whatsapp",
            "whatsapp_login",
            "telegram",
            "discord",
            "signal",
            "imessage",
        ],
    ),
];

/// Other names that people know tools by.
const TOOL_ALIASES: &[(&str, &str)] = &[("bash", "exec"), ("apply-patch", "apply_patch")];

/// A tool, a group of tools (`group:fs`), or a pattern with `*`; in its normal form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolPattern(String);

impl ToolPattern {
    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it covers the tool. `group:clawdbot` covers every tool of [`tool_names`], `group:plugins` every other one.
    pub fn matches(&self, tool: &str) -> bool {
        let known = || tool_names().any(|name| name == tool);
        match self.0.as_str() {
            "group:clawdbot" => known(),
            "group:plugins" => !known(),
            pattern => match TOOL_GROUPS.iter().find(|(group, _)| *group == pattern) {
                Some((_, tools)) => tools.contains(&tool),
                None => glob(pattern, tool),
            },
        }
    }

    /// The pattern of a text, if it names something.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.trim().to_ascii_lowercase();
        let alias = TOOL_ALIASES.iter().find(|(alias, _)| *alias == lower);
        let pattern = Self(alias.map_or(lower, |(_, name)| (*name).to_owned()));
        let group = TOOL_GROUPS.iter().any(|(group, _)| *group == pattern.0);
        (group || tool_names().any(|tool| pattern.matches(tool))).then_some(pattern)
    }
}

/// The names of all tools.
pub fn tool_names() -> impl Iterator<Item = &'static str> {
    TOOL_GROUPS
        .iter()
        .flat_map(|(_, tools)| tools.iter().copied())
}

/// `*` stands for any part; everything else for itself.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    while let Some((middle, after)) = rest.split_once('*') {
        match text.find(middle) {
            Some(at) => text = &text[at + middle.len()..],
            None => return false,
        }
        rest = after;
    }
    text.ends_with(rest)
}

impl Shape for ToolPattern {
    fn info() -> Info {
        Info::new(
            &[Kind::String],
            "the name of a tool or group of tools (a string)",
            "\"exec\"",
        )
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        let text = cx.text::<Self>(&node)?;
        let pattern = Self::parse(&text);
        if pattern.is_none() {
            let groups = TOOL_GROUPS.iter().map(|(group, _)| *group);
            let known: Vec<_> = tool_names().chain(groups).collect();
            let help = match nearest(&text, known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("tools and groups: {}", known.join(", ")),
            };
            let shown = crate::json5::shorten(&text);
            cx.fail(
                node.span,
                format!("names the tool \"{shown}\", which does not exist"),
            )
            .help = Some(help);
        }
        pattern
    }

    fn show(&self) -> Json {
        self.0.as_str().into()
    }
}

choice! {
    /// A set of tools to begin with.
    Profile {
        /// Only `session_status`.
        Minimal = "minimal",
        /// Files, commands, sessions, memory, images.
        Coding = "coding",
        /// Messages and sessions.
        Messaging = "messaging",
        /// No restriction.
        Full = "full",
    }
}

choice! {
    /// Where commands run.
    ExecHost {
        /// In the sandbox.
        Sandbox = "sandbox",
        /// On this machine, outside the sandbox, with approval.
        Gateway = "gateway",
    }
    refuse { "node" => "there are no remote nodes; write \"sandbox\" or \"gateway\"" }
}

choice! {
    /// Which commands run.
    ExecSecurity {
        /// None.
        Deny = "deny",
        /// Those that were approved.
        Allowlist = "allowlist",
        /// All.
        Full = "full",
    }
}

choice! {
    /// When the owner is asked.
    ExecAsk {
        /// Never.
        Off = "off",
        /// When a command is not in the list.
        OnMiss = "on-miss",
        /// Always.
        Always = "always",
    }
}

choice! {
    /// Who searches the web.
    SearchProvider {
        /// Brave.
        Brave = "brave",
        /// Perplexity.
        Perplexity = "perplexity",
    }
}

choice! {
    /// Where questions about calls go.
    ApprovalMode {
        /// To the owner who wrote the message; of a call of somebody else's session, to the owners.
        Session = "session",
        /// To `targets`.
        Targets = "targets",
        /// To both.
        Both = "both",
    }
}

texts! {
    /// A variable of the environment.
    EnvName: "the name of a variable: A-Z, a-z, 0-9 and _, not starting with a digit", "LANG", is_variable;
    /// The name of a program without a path.
    BinaryName: "the name of a program without a path", "jq", |text| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+'))
            && !text.starts_with(['-', '.'])
    };
}

fn is_variable(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

impl MapKey for EnvName {
    const SHOWN: &'static str = "<NAME>";
    const SAMPLE: &'static str = "LANG";

    fn parse_key(text: &str) -> Result<Self, String> {
        let rule = "must be the name of a variable: A-Z, a-z, 0-9 and _, not starting with a digit";
        is_variable(text)
            .then(|| Self::from_checked(text))
            .ok_or_else(|| rule.to_owned())
    }

    fn as_key(&self) -> &str {
        self.as_str()
    }
}

section! {
    /// What the assistant may use. Each further list can only take away, and deny beats allow.
    Tools {
        /// The set to begin with: `coding` for the owner and `messaging` in groups when unset.
        "profile" profile: Option<Profile>;
        /// Only these.
        "allow" allow: Vec<ToolPattern>;
        /// These besides the profile.
        "alsoAllow" also_allow: Vec<ToolPattern>;
        /// Never these.
        "deny" deny: Vec<ToolPattern>;
        /// The same for single model providers.
        "byProvider" by_provider: BTreeMap<ProviderId, ToolPolicy>;
        /// Commands.
        "exec" exec: Exec, later "commands";
        /// Commands outside the sandbox.
        "elevated" elevated: Elevated, later "commands";
        /// The web.
        "web" web: Web, later "the web";
        /// Inside the sandbox.
        "sandbox" sandbox: SandboxTools;
    }
}

section! {
    /// What an agent may use. A profile and `alsoAllow` stand in place of those of `tools`; the rest can only take away.
    AgentTools {
        /// The set to begin with, in place of `tools.profile`.
        "profile" profile: Option<Profile>;
        /// Only these.
        "allow" allow: Vec<ToolPattern>;
        /// These besides the profile, in place of `tools.alsoAllow`.
        "alsoAllow" also_allow: Vec<ToolPattern>;
        /// Never these.
        "deny" deny: Vec<ToolPattern>;
        /// The same for single model providers.
        "byProvider" by_provider: BTreeMap<ProviderId, ToolPolicy>;
        /// Inside the sandbox.
        "sandbox" sandbox: SandboxTools;
    }
}

section! {
    /// A narrower choice of tools.
    ToolPolicy {
        /// The set to begin with.
        "profile" profile: Option<Profile>;
        /// Only these.
        "allow" allow: Vec<ToolPattern>;
        /// These besides the profile.
        "alsoAllow" also_allow: Vec<ToolPattern>;
        /// Never these.
        "deny" deny: Vec<ToolPattern>;
    }
}

section! {
    /// What may be used inside the sandbox.
    SandboxTools {
        /// The lists.
        "tools" tools: SandboxLists;
    }
}

section! {
    /// What may be used inside the sandbox.
    SandboxLists {
        /// Only these, in place of the usual ones: commands, files, images and sessions. All when empty.
        "allow" allow: Option<Vec<ToolPattern>>;
        /// These besides.
        "alsoAllow" also_allow: Vec<ToolPattern>;
        /// Never these, in place of the usual ones: `group:ui`, `group:nodes`, `group:automation` and the channels.
        "deny" deny: Option<Vec<ToolPattern>>;
    }
}

section! {
    /// Commands.
    Exec {
        /// Where they run. With the sandbox off, `sandbox` means that they are refused.
        "host" host: ExecHost = ExecHost::Sandbox;
        /// Which of them run.
        "security" security: ExecSecurity = ExecSecurity::Allowlist;
        /// When the owner is asked.
        "ask" ask: ExecAsk = ExecAsk::OnMiss;
        /// Longest run in seconds.
        "timeoutSec" timeout_sec: Int<1, 86400> = Int::new(1800);
        /// After this time a command goes on in the background, in milliseconds.
        "backgroundMs" background_ms: Int<0, 600000> = Int::new(10000);
        /// Programs that run without a question, as long as they only read their standard input.
        "safeBins" safe_bins: Vec<BinaryName>;
        /// Variables that commands see.
        "envPass" env_pass: Vec<EnvName>;
    }
}

section! {
    /// Commands outside the sandbox on demand.
    Elevated {
        /// Allow it.
        "enabled" enabled: bool = false;
        /// Who may demand it.
        "allowFrom" allow_from: ElevatedSenders;
    }
}

section! {
    /// Who may demand commands outside the sandbox; nobody when empty.
    ElevatedSenders {
        /// On WhatsApp.
        "whatsapp" whatsapp: Vec<crate::senders::WhatsAppSender>;
        /// On Telegram.
        "telegram" telegram: Vec<crate::senders::TelegramSender>;
        /// On Discord.
        "discord" discord: Vec<crate::senders::DiscordSender>;
        /// On Signal.
        "signal" signal: Vec<crate::senders::SignalSender>;
        /// On iMessage.
        "imessage" imessage: Vec<crate::senders::IMessageSender>;
        /// On BlueBubbles.
        "bluebubbles" bluebubbles: Vec<crate::senders::IMessageSender>;
    }
}

section! {
    /// The web.
    Web {
        /// Searching.
        "search" search: WebSearch;
        /// Fetching pages. Private addresses are always refused.
        "fetch" fetch: WebFetch;
    }
}

section! {
    /// Searching the web.
    WebSearch {
        /// Allow it; on when a key is there.
        "enabled" enabled: Option<bool>;
        /// Who searches.
        "provider" provider: SearchProvider = SearchProvider::Brave;
        /// The provider's key.
        "apiKey" api_key: Option<SecretField>;
        /// Results per search.
        "maxResults" max_results: Int<1, 20> = Int::new(5);
        /// Longest wait in seconds.
        "timeoutSeconds" timeout_seconds: Int<1, 300> = Int::new(30);
        /// How long an answer is reused, in minutes.
        "cacheTtlMinutes" cache_ttl_minutes: Int<0, 10080> = Int::new(15);
    }
}

section! {
    /// Fetching pages.
    WebFetch {
        /// Allow it. Sessions that have seen text of strangers may not.
        "enabled" enabled: bool = true;
        /// Longest text in characters.
        "maxChars" max_chars: Int<100, 1000000> = Int::new(50000);
        /// Longest wait in seconds.
        "timeoutSeconds" timeout_seconds: Int<1, 300> = Int::new(30);
        /// How long a page is reused, in minutes.
        "cacheTtlMinutes" cache_ttl_minutes: Int<0, 10080> = Int::new(15);
        /// Redirects that are followed.
        "maxRedirects" max_redirects: Int<0, 3> = Int::new(3);
    }
}

section! {
    /// Approval.
    Approvals {
        /// Of calls that need the owner's word.
        "exec" exec: ExecApprovals;
    }
}

section! {
    /// Approval of calls.
    ExecApprovals {
        /// Ask at all; without it what would be asked is refused.
        "enabled" enabled: bool = true;
        /// Where questions go.
        "mode" mode: ApprovalMode = ApprovalMode::Targets;
        /// Only of these agents' calls a chat is told; `clawdbot approvals` has all.
        "agentFilter" agent_filter: Vec<AgentId>;
        /// Only of sessions whose key contains one of these a chat is told.
        "sessionFilter" session_filter: Vec<String>;
        /// The conversations that are asked; the owner's own when empty.
        "targets" targets: Vec<ApprovalTarget>;
        /// How long a question stays open, in seconds.
        "timeoutSeconds" timeout_seconds: Int<5, 3600> = Int::new(120);
        /// Who may answer: owners, all of them when empty.
        "approvers" approvers: Vec<Identity>;
    }
}

section! {
    /// A conversation that is asked.
    ApprovalTarget {
        /// The channel.
        @required "channel" channel: ChannelName = ChannelName::Telegram;
        /// The conversation on it.
        @required "to" to: String;
        /// The account of the channel.
        "accountId" account_id: Option<super::channels::AccountId>;
        /// The thread in the conversation.
        "threadId" thread_id: Option<String>;
    }
}

choice! {
    /// A channel.
    ChannelName {
        /// WhatsApp.
        WhatsApp = "whatsapp",
        /// Telegram.
        Telegram = "telegram",
        /// Discord.
        Discord = "discord",
        /// Signal.
        Signal = "signal",
        /// iMessage.
        IMessage = "imessage",
        /// BlueBubbles.
        BlueBubbles = "bluebubbles",
    }
}

impl MapKey for ChannelName {
    const SHOWN: &'static str = "<channel>";
    const SAMPLE: &'static str = "telegram";

    fn parse_key(text: &str) -> Result<Self, String> {
        let all = [
            Self::WhatsApp,
            Self::Telegram,
            Self::Discord,
            Self::Signal,
            Self::IMessage,
            Self::BlueBubbles,
        ];
        let found = all.into_iter().find(|channel| channel.as_str() == text);
        found.ok_or_else(|| {
            "must be whatsapp, telegram, discord, signal, imessage or bluebubbles".to_owned()
        })
    }

    fn as_key(&self) -> &str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_they_say_and_unknown_tools_are_refused() {
        for (text, tool, covers) in [
            ("exec", "exec", true),
            ("Bash", "exec", true),
            ("group:runtime", "process", true),
            ("group:fs", "exec", false),
            ("group:clawdbot", "exec", true),
            ("group:clawdbot", "send_money", false),
            ("group:plugins", "send_money", true),
            ("group:plugins", "exec", false),
            ("*", "send_money", true),
            ("sessions_*", "sessions_list", true),
            ("sessions_*", "session_status", false),
            ("*", "exec", true),
            ("*_p*ch", "apply_patch", true),
        ] {
            assert_eq!(
                ToolPattern::parse(text).unwrap().matches(tool),
                covers,
                "{text} {tool}"
            );
        }
        for text in ["exce", "group:x", "", "x*", "send_money"] {
            assert_eq!(ToolPattern::parse(text), None, "{text}");
        }
    }
}
