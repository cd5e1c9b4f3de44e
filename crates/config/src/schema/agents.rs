//! `agents` and `bindings`: the assistants, what they run on, and who talks to which.
//! Refuses models without a provider and agents that are named but do not exist.

use std::collections::BTreeMap;
use std::time::Duration;

use clawdbot_identity::{AgentId, ModelRef};
use serde_json::Value as Json;

use super::channels::AccountId;
use super::gateway::FilePath;
use super::sandbox::Sandbox;
use super::tools::{AgentTools, ChannelName};
use crate::json5::{Node, Object, Value};
use crate::section::{self, overlay, section};
use crate::shape::{Cx, Info, Kind, Limits, Shape};
use crate::types::{Amount, Ignored, Int, choice};

choice! {
    /// How much of its tool calls the assistant shows.
    Verbose {
        /// Nothing.
        Off = "off",
        /// One line per call.
        On = "on",
        /// Also the output.
        Full = "full",
    }
}

choice! {
    /// How much the model thinks before it answers.
    Thinking {
        /// Not at all.
        Off = "off",
        /// Hardly.
        Minimal = "minimal",
        /// Little.
        Low = "low",
        /// Some.
        Medium = "medium",
        /// Much.
        High = "high",
        /// As much as it can.
        XHigh = "xhigh",
    }
}

choice! {
    /// How a summary is made.
    CompactionMode {
        /// In one piece.
        Default = "default",
        /// In several pieces, for very long conversations.
        Safeguard = "safeguard",
    }
}

choice! {
    /// When old tool results are left out.
    PruningMode {
        /// Never.
        Off = "off",
        /// After a pause, when the provider's prompt cache has ended anyway.
        CacheTtl = "cache-ttl",
    }
    refuse {
        "adaptive" => "write \"cache-ttl\"",
        "aggressive" => "write \"cache-ttl\"",
    }
}

choice! {
    /// A kind of conversation.
    PeerKind {
        /// A direct conversation.
        Dm = "dm",
        /// A group.
        Group = "group",
        /// A channel of a server.
        Channel = "channel",
    }
}

/// A length of time: `500ms`, `30s`, `5m`, `1h`, `30d`, or several of them as in `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan(Duration);

impl TimeSpan {
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The length.
    pub const fn get(self) -> Duration {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let mut total = Duration::ZERO;
        let mut rest = text;
        loop {
            let count = rest.find(|c: char| !c.is_ascii_digit())?;
            let number: u64 = rest[..count].parse().ok()?;
            rest = &rest[count..];
            let length = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            let millis = match &rest[..length] {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
            rest = &rest[length..];
            if rest.is_empty() {
                return Some(Self(total));
            }
        }
    }
}

impl Shape for TimeSpan {
    fn info() -> Info {
        Info::new(
            &[Kind::String],
            "a length of time (a string such as \"30m\")",
            "\"30m\"",
        )
        .limits(Limits::Pattern("^([0-9]+(ms|s|m|h|d))+$"))
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        let text = cx.text::<Self>(&node)?;
        let span = Self::parse(&text);
        if span.is_none() {
            cx.fail(node.span, "must be a length of time").help =
                Some("a number and ms, s, m, h or d: \"30m\", \"1h30m\", \"0m\"".to_owned());
        }
        span
    }

    fn show(&self) -> Json {
        let millis = self.0.as_millis();
        let units = [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1000),
        ];
        let whole = units
            .iter()
            .find(|(_, size)| millis > 0 && millis.is_multiple_of(*size));
        match whole {
            Some((unit, size)) => format!("{}{unit}", millis / size).into(),
            None if millis == 0 => "0m".into(),
            None => format!("{millis}ms").into(),
        }
    }
}

section! {
    /// The assistants.
    Agents {
        /// What holds for every agent that says nothing else.
        "defaults" defaults: AgentDefaults;
        /// The agents; one with the id `main` exists without being named.
        "list" list: Vec<Agent>;
    }
    before spread_sandbox;
}

section! {
    /// What holds for every agent that says nothing else.
    AgentDefaults {
        /// The model.
        "model" model: ModelChoice;
        /// Models that a chat may switch to; all when empty.
        "models" models: BTreeMap<ModelRef, ModelEntry>;
        /// Where the assistant's own files lie.
        "workspace" workspace: Option<FilePath>;
        /// Longest turn in seconds.
        "timeoutSeconds" timeout_seconds: Int<1, 86400> = Int::new(600);
        /// Turns at the same time.
        "maxConcurrent" max_concurrent: Int<1, 64> = Int::new(4);
        /// How much of its tool calls the assistant shows.
        "verboseDefault" verbose_default: Verbose = Verbose::Off;
        /// How much the model thinks.
        "thinkingDefault" thinking_default: Option<Thinking>;
        /// Size of the model's window in tokens; what is known of the model when unset.
        "contextTokens" context_tokens: Option<Int<1000, 100000000>>;
        /// When the older part of a conversation becomes a summary.
        "compaction" compaction: Compaction;
        /// Old tool results that the model is not shown again.
        "contextPruning" context_pruning: ContextPruning;
        /// What each agent may spend, checked before each call.
        "budget" budget: Budget;
        /// Waking up without being asked.
        "heartbeat" heartbeat: Heartbeat, later "heartbeat";
        /// Where commands and file access run.
        "sandbox" sandbox: Sandbox, later "the tool sandbox";
    }
    refuse {
        "cliBackends" => "other assistants' command lines are not used as models; remove the key",
        "memorySearch" => "there is no memory search; remove the key",
    }
}

section! {
    /// A model and what to try when it fails.
    ModelChoice {
        /// The model as `provider/model`.
        "primary" primary: Option<ModelRef>;
        /// What to try next.
        "fallbacks" fallbacks: Vec<ModelRef>;
    }
    string "primary";
}

section! {
    /// A model that a chat may switch to.
    ModelEntry {
        /// Its short name.
        "alias" alias: Option<String>;
        /// What is asked of it with every call.
        "params" params: ModelParams;
    }
}

section! {
    /// Parameters of a model; what is not said is left to its provider.
    ModelParams {
        /// How freely it chooses its words.
        "temperature" temperature: Option<Amount>;
        /// The part of the likely words that it chooses from.
        "topP" top_p: Option<Amount>;
        /// Its longest answer in tokens.
        "maxTokens" max_tokens: Option<Int<1, 10000000>>;
        /// How much it thinks; `thinkingDefault` when unset.
        "thinking" thinking: Option<Thinking>;
        /// How long its provider keeps a prompt ready.
        "cacheControlTtl" cache_control_ttl: Ignored, later "prompt cache settings";
    }
}

section! {
    /// When the older part of a conversation becomes a summary.
    Compaction {
        /// Do it at all.
        "enabled" enabled: bool = true;
        /// How the summary is made.
        "mode" mode: CompactionMode = CompactionMode::Default;
        /// Tokens of the window that stay free.
        "reserveTokens" reserve_tokens: Int<0, 10000000> = Int::new(16384);
        /// The same, as the least that any setting gives.
        "reserveTokensFloor" reserve_tokens_floor: Int<0, 10000000> = Int::new(20000);
        /// Tokens of the newest part that stay as they are.
        "keepRecentTokens" keep_recent_tokens: Int<0, 10000000> = Int::new(20000);
        /// A turn before the summary in which notes are kept.
        "memoryFlush" memory_flush: Ignored, later "notes before a summary";
    }
}

section! {
    /// Old tool results that the model is not shown again; the transcript keeps them.
    ContextPruning {
        /// When it begins.
        "mode" mode: PruningMode = PruningMode::Off;
        /// Idle time after which it begins.
        "ttl" ttl: TimeSpan = TimeSpan::seconds(300);
        /// Newest answers whose results stay.
        "keepLastAssistants" keep_last_assistants: Int<0, 1000> = Int::new(3);
        /// Part of the window from which results are shortened.
        "softTrimRatio" soft_trim_ratio: Ignored, later "shortened tool results";
        /// Part of the window from which results are left out.
        "hardClearRatio" hard_clear_ratio: Ignored, later "shortened tool results";
        /// Least characters of results that make it worth while.
        "minPrunableToolChars" min_prunable_tool_chars: Ignored, later "shortened tool results";
        /// How results are shortened.
        "softTrim" soft_trim: Ignored, later "shortened tool results";
        /// What stands in place of a result.
        "hardClear" hard_clear: Ignored, later "shortened tool results";
        /// Which tools' results it is about.
        "tools" tools: Ignored, later "pruning by tool";
    }
}

section! {
    /// What may be spent; no limit where nothing is set. Days and months are those of UTC; money counts where a model's
    /// price is known.
    Budget {
        /// In US dollars per day.
        "dailyUsd" daily_usd: Option<Amount>;
        /// In US dollars per month.
        "monthlyUsd" monthly_usd: Option<Amount>;
        /// In tokens per day.
        "dailyTokens" daily_tokens: Option<Int<0, 1000000000000>>;
        /// In tokens for one message and all that comes of it.
        "runTokens" run_tokens: Option<Int<0, 1000000000000>>;
        /// In calls of tools for one message.
        "runCalls" run_calls: Option<Int<0, 10000>>;
        /// In seconds for one message, from its first request to a model.
        "runSeconds" run_seconds: Option<Int<0, 604800>>;
        /// What each sender may use, the owner apart.
        "perSender" per_sender: SenderBudget;
    }
}

section! {
    /// What each sender may use, the owner apart.
    SenderBudget {
        /// In US dollars per day.
        "dailyUsd" daily_usd: Option<Amount>;
        /// In tokens per day.
        "dailyTokens" daily_tokens: Option<Int<0, 1000000000000>>;
    }
}

section! {
    /// Waking up without being asked.
    Heartbeat {
        /// How often; never with `0m`.
        "every" every: TimeSpan = TimeSpan::seconds(0);
    }
}

section! {
    /// An agent. What it does not say is as in `agents.defaults`.
    Agent {
        /// Its id.
        @required "id" id: AgentId = AgentId::main();
        /// It answers what no binding gives to another one.
        "default" default: bool = false;
        /// What people see.
        "name" name: Option<String>;
        /// Where its own files lie.
        "workspace" workspace: Option<FilePath>;
        /// Its model.
        "model" model: Option<ModelChoice>;
        /// Where its commands run; what is not said here is as in `agents.defaults.sandbox`.
        "sandbox" sandbox: Option<Sandbox>, later "the tool sandbox";
        /// What it may use.
        "tools" tools: AgentTools;
        /// Its groups.
        "groupChat" group_chat: GroupChat;
        /// Who it is.
        "identity" identity: AgentIdentity;
        /// What it may spend; what is not said here is as in `agents.defaults.budget`.
        "budget" budget: Option<Budget>;
    }
}

section! {
    /// How an agent or all of them behave in groups.
    GroupChat {
        /// Texts that count as a mention, as regular expressions; from the agent's name when unset.
        "mentionPatterns" mention_patterns: Option<Vec<String>>;
        /// Skipped messages that the next answer sees.
        "historyLimit" history_limit: Option<Int<0, 1000>>, later "group history";
    }
}

section! {
    /// Who an agent is.
    AgentIdentity {
        /// Its name, which counts as a mention in groups when there are no patterns.
        "name" name: Option<String>;
        /// Its manner.
        "theme" theme: Option<String>, later "agent identity";
        /// Its emoji, which counts as a mention like the name.
        "emoji" emoji: Option<String>;
    }
}

section! {
    /// Gives conversations to an agent.
    Binding {
        /// The agent.
        @required "agentId" agent_id: AgentId = AgentId::main();
        /// The conversations.
        @required "match" r#match: BindingMatch;
    }
}

section! {
    /// Conversations; all that is said has to fit.
    BindingMatch {
        /// The channel.
        @required "channel" channel: ChannelName = ChannelName::Telegram;
        /// The account of the channel, `*` for all; only the one without a name when unset.
        "accountId" account_id: Option<AccountOrAny>;
        /// One conversation.
        "peer" peer: Option<Peer>;
        /// A Discord server.
        "guildId" guild_id: Option<String>, later "Discord";
    }
    refuse { "teamId" => "Slack is not supported; remove the key" }
}

section! {
    /// One conversation.
    Peer {
        /// Its kind.
        @required "kind" kind: PeerKind = PeerKind::Dm;
        /// Its id.
        @required "id" id: String;
    }
}

/// An account of a channel, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountOrAny {
    /// `*`.
    Any,
    /// One.
    Account(AccountId),
}

impl Shape for AccountOrAny {
    fn info() -> Info {
        Info::new(
            &[Kind::String],
            "the name of an account or \"*\" (a string)",
            "\"work\"",
        )
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        match &node.value {
            Value::String(text) if text.as_str() == "*" => Some(Self::Any),
            Value::String(_) => AccountId::decode(node, cx).map(Self::Account),
            _ => {
                cx.wrong_type::<Self>(&node);
                None
            }
        }
    }

    fn show(&self) -> Json {
        match self {
            Self::Any => "*".into(),
            Self::Account(account) => account.show(),
        }
    }
}

/// An agent's sandbox says only what differs from the defaults.
fn spread_sandbox(agents: &mut Object, cx: &mut Cx) {
    let Some(defaults) = agents.object_mut("defaults") else {
        return;
    };
    let Some(under) = defaults.object_mut("sandbox") else {
        return;
    };
    cx.below("defaults", |cx| {
        cx.below("sandbox", |cx| section::normalise::<Sandbox>(under, cx))
    });
    let under = under.clone();
    let Some(list) = agents.get_mut("list") else {
        return;
    };
    let Value::Array(entries) = &mut list.node.value else {
        return;
    };
    let span = list.key_span;
    cx.below("list", |cx| {
        if !section::affordable(&under, entries.len(), span, cx) {
            return;
        }
        for (index, entry) in entries.iter_mut().enumerate() {
            if let Value::Object(agent) = &mut entry.value
                && let Some(over) = agent.object_mut("sandbox")
            {
                cx.path.push_index(index);
                cx.below("sandbox", |cx| section::normalise::<Sandbox>(over, cx));
                cx.path.pop();
                overlay(&under, over);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_shown() {
        for (text, millis, shown) in [
            ("30m", 1_800_000, "30m"),
            ("1h30m", 5_400_000, "90m"),
            ("0m", 0, "0m"),
            ("500ms", 500, "500ms"),
            ("48h", 172_800_000, "2d"),
        ] {
            let span = TimeSpan::parse(text).unwrap();
            assert_eq!(span.get().as_millis(), millis, "{text}");
            assert_eq!(span.show(), shown, "{text}");
        }
        for text in [
            "",
            "30",
            "m",
            "1.5h",
            "-1m",
            "30 m",
            "99999999999999999999d",
            "1w",
        ] {
            assert_eq!(TimeSpan::parse(text), None, "{text}");
        }
    }
}
