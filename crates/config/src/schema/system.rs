//! The rest: `logging`, `cron`, `hooks`, `env`, `discovery`, `dangerous`.
//! Logs blank secrets by default; hooks are off; nothing is announced in the network.

use std::collections::BTreeMap;

use clawdbot_identity::{AgentId, ModelRef};

use super::agents::Thinking;
use super::gateway::FilePath;
use super::tools::{ChannelName, EnvName};
use crate::secret::SecretField;
use crate::section::section;
use crate::types::{Ignored, Int, choice, texts};

choice! {
    /// How much is logged.
    LogLevel {
        /// Nothing.
        Silent = "silent",
        /// What ends the program.
        Fatal = "fatal",
        /// What failed.
        Error = "error",
        /// What may fail.
        Warn = "warn",
        /// What happens.
        Info = "info",
        /// How it happens.
        Debug = "debug",
        /// Every step.
        Trace = "trace",
    }
}

choice! {
    /// How the terminal shows log lines.
    ConsoleStyle {
        /// For people.
        Pretty = "pretty",
        /// Short.
        Compact = "compact",
        /// For programs.
        Json = "json",
    }
}

choice! {
    /// Where secrets are blanked.
    Redact {
        /// Nowhere.
        Off = "off",
        /// In what tools print.
        Tools = "tools",
        /// Everywhere.
        All = "all",
    }
}

choice! {
    /// What a hook does.
    HookAction {
        /// Wakes the assistant.
        Wake = "wake",
        /// Starts a turn.
        Agent = "agent",
    }
}

choice! {
    /// When a woken assistant acts.
    WakeMode {
        /// At once.
        Now = "now",
        /// At its next heartbeat.
        NextHeartbeat = "next-heartbeat",
    }
}

choice! {
    /// What is announced in the local network.
    MdnsMode {
        /// Nothing.
        Off = "off",
        /// That there is a gateway.
        Minimal = "minimal",
        /// Everything about it.
        Full = "full",
    }
}

texts! {
    /// The path of a web hook.
    HookPath: "a path that starts with /", "/hooks", |text| {
        text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '\\')) && !text.contains("..")
    };
}

section! {
    /// Logs.
    Logging {
        /// How much is logged.
        "level" level: LogLevel = LogLevel::Info;
        /// The file; `gateway.log` in the state directory when unset.
        "file" file: Option<FilePath>, later "own log file";
        /// How much the terminal shows.
        "consoleLevel" console_level: LogLevel = LogLevel::Info, later "own level for the terminal";
        /// How the terminal shows it.
        "consoleStyle" console_style: ConsoleStyle = ConsoleStyle::Pretty, later "log styles";
        /// Where secrets are blanked.
        "redactSensitive" redact_sensitive: Redact = Redact::All, later "configurable redaction";
        /// Regular expressions of more that is blanked.
        "redactPatterns" redact_patterns: Vec<String>, later "configurable redaction";
    }
}

section! {
    /// Timed jobs.
    Cron {
        /// Run them.
        "enabled" enabled: bool = true;
        /// Jobs at the same time.
        "maxConcurrentRuns" max_concurrent_runs: Int<1, 64> = Int::new(1);
    }
}

section! {
    /// Web hooks: other programs wake the assistant.
    Hooks {
        /// Serve them.
        "enabled" enabled: bool = false;
        /// What callers have to show, in a header; at least 24 characters and not the gateway's.
        "token" token: Option<SecretField>;
        /// Where they are served.
        "path" path: HookPath = HookPath::from_checked("/hooks");
        /// Largest call in bytes.
        "maxBodyBytes" max_body_bytes: Int<1, 16777216> = Int::new(262144);
        /// What each path does.
        "mappings" mappings: Vec<HookMapping>;
    }
    refuse {
        "transformsDir" => "no code of the file system is run on calls; use messageTemplate",
        "gmail" => "Gmail is not supported; remove the key",
        "internal" => "no code of the file system is run on events; remove the key",
    }
}

section! {
    /// What one path does. A caller chooses neither session nor agent.
    HookMapping {
        /// Its name.
        "id" id: Option<String>;
        /// Which calls it is for.
        "match" r#match: HookMatch;
        /// What it does.
        "action" action: HookAction = HookAction::Agent;
        /// When a woken assistant acts.
        "wakeMode" wake_mode: WakeMode = WakeMode::Now;
        /// What the message calls itself.
        "name" name: Option<String>;
        /// The agent.
        "agentId" agent_id: Option<AgentId>;
        /// The session.
        "sessionKey" session_key: Option<String>;
        /// The message, with `{{fields}}` of the call.
        "messageTemplate" message_template: Option<String>;
        /// The text for `wake`, with `{{fields}}` of the call.
        "textTemplate" text_template: Option<String>;
        /// Send the answer on.
        "deliver" deliver: bool = false;
        /// Where to: the channel.
        "channel" channel: Option<ChannelName>;
        /// Where to: the conversation.
        "to" to: Option<String>;
        /// The model.
        "model" model: Option<ModelRef>;
        /// How much the model thinks.
        "thinking" thinking: Option<Thinking>;
        /// Longest turn in seconds.
        "timeoutSeconds" timeout_seconds: Option<Int<1, 86400>>;
    }
    refuse {
        "transform" => "no code of the file system is run on calls; use messageTemplate",
        "allowUnsafeExternalContent" => "what a call brings is always marked as coming from outside; remove the key",
    }
}

section! {
    /// Which calls a mapping is for.
    HookMatch {
        /// Their path below `hooks.path`.
        "path" path: Option<String>;
        /// What their field `source` says.
        "source" source: Option<String>;
    }
}

section! {
    /// Variables for the tools' environment.
    Env {
        /// Name and value; secrets do not belong here.
        "vars" vars: BTreeMap<EnvName, String>;
    }
    refuse {
        "shellEnv" => "no log-in shell is run to get its environment; pass variables at the start, or write \"${NAME}\" in the settings that need them",
    }
}

section! {
    /// Announcing the gateway in the local network.
    Discovery {
        /// By multicast DNS.
        "mdns" mdns: Mdns;
        /// Accepted so that a file of the original loads; not used.
        "wideArea" wide_area: Ignored;
    }
}

section! {
    /// Announcing by multicast DNS.
    Mdns {
        /// What is announced.
        "mode" mode: MdnsMode = MdnsMode::Off;
    }
    string "mode";
}

section! {
    /// Dangerous settings that are wanted.
    Dangerous {
        /// Rules that would refuse the file and are to be reported instead.
        "accept" accept: Vec<crate::rules::Accepted>;
    }
}
