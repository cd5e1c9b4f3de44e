//! The schema: one row per key, from which decoding, defaults, messages, `config get` and the reference come.
//! What no row names does not exist; what the original knows and we do not is refused with its reason.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::path::{ConfigPath, Segment};
use crate::section::section;
use crate::shape::{Child, Info, Key, Shape, Step};
use crate::types::Ignored;

mod agents;
mod channels;
mod commands;
mod gateway;
mod models;
mod sandbox;
mod session;
mod system;
mod tools;

pub use agents::*;
pub use channels::*;
pub use commands::*;
pub use gateway::*;
pub use models::*;
pub use sandbox::*;
pub use session::*;
pub use system::*;
pub use tools::*;

section! {
    /// The whole configuration.
    Settings {
        /// Names a schema for editors; not used.
        "$schema" editor_schema: Option<String>;
        /// The front door: address, port, log-in.
        "gateway" gateway: Gateway;
        /// The chat channels; a channel that is not named does not run.
        "channels" channels: Channels, later "chat channels";
        /// The assistants: model, workspace, sandbox.
        "agents" agents: Agents;
        /// How sure the confinement of our own processes has to be.
        "sandbox" sandbox: Confinement;
        /// Model providers.
        "models" models: Models, later "model providers";
        /// How conversations are kept apart, reset and kept.
        "session" session: Session, later "session settings";
        /// What the assistant may use.
        "tools" tools: Tools, later "tools";
        /// Commands in a chat, and who the owner is.
        "commands" commands: Commands, later "chat commands";
        /// How messages are collected and answered.
        "messages" messages: Messages, later "message settings";
        /// Approval of senders.
        "pairing" pairing: Pairing, later "pairing";
        /// Approval of commands.
        "approvals" approvals: Approvals, later "approvals";
        /// Which agent answers whom; the first match counts.
        "bindings" bindings: Vec<Binding>, later "bindings";
        /// Log-in profiles of the model providers; no secrets.
        "auth" auth: Auth, later "log-in profiles";
        /// Logs.
        "logging" logging: Logging;
        /// Timed jobs.
        "cron" cron: Cron, later "timed jobs";
        /// Web hooks.
        "hooks" hooks: Hooks, later "web hooks";
        /// Variables for the tools' environment.
        "env" env: Env, later "tool environment";
        /// Announcing the gateway in the local network.
        "discovery" discovery: Discovery, later "discovery";
        /// Accepted so that a file of the original loads; not used.
        "meta" meta: Ignored;
        /// Accepted so that a file of the original loads; not used.
        "wizard" wizard: Ignored;
        /// Accepted so that a file of the original loads; not used.
        "update" update: Ignored;
        /// Accepted so that a file of the original loads; not used.
        "ui" ui: Ignored;
        /// Dangerous settings that are wanted.
        "dangerous" dangerous: Dangerous;
    }
    also {
        "agent" => "agents.defaults",
        "session.owner" => "commands.ownerAllowFrom",
    }
    refuse {
        "$include" => "a configuration is one file; copy the included settings into it",
        "secrets" => "there are no secret providers: a secret setting takes \"${NAME}\" or {source, id} with source \"env\", \"file\", \"keyring\", \"systemd\" or \"vault\"",
        "browser" => "the assistant cannot control a browser; remove the key",
        "canvasHost" => "there is no canvas; remove the key",
        "talk" => "there is no voice mode; remove the key",
        "nodeHost" => "there are no remote nodes; remove the key",
        "skills" => "there are no skills; remove the key",
        "plugins" => "there are no plug-ins, since they would run inside a process that holds secrets; remove the key",
        "audio" => "voice messages are not transcribed; remove the key",
        "media" => "media are not analysed; remove the key",
        "web" => "there is no separate web provider; the web chat is part of the gateway, WhatsApp is set under channels.whatsapp",
        "broadcast" => "one message goes to one agent; use bindings instead of broadcast",
    }
}

/// A row of the schema with its place.
pub(crate) struct Row {
    /// How the reference shows the path: `channels.telegram.groups.<id|*>.requireMention`.
    pub shown: String,
    pub key: &'static Key,
    pub info: Info,
    /// The missing feature, also when a section above names it.
    pub later: Option<&'static str>,
    /// A concrete path that the row covers.
    #[cfg(test)]
    pub sample: ConfigPath,
}

/// All rows, each section before what lies in it.
pub(crate) fn rows() -> Vec<Row> {
    struct Walk {
        rows: Vec<Row>,
        sample: ConfigPath,
    }
    impl Walk {
        fn down(&mut self, shown: &str, later: Option<&'static str>, children: &[Child]) {
            for child in children {
                let below = match child.step {
                    Step::Key(name) if shown.is_empty() => name.to_owned(),
                    Step::Key(name) | Step::Entry(name, _) => format!("{shown}.{name}"),
                    Step::Item => format!("{shown}[]"),
                };
                match child.step {
                    Step::Key(name) | Step::Entry(_, name) => self.sample.push_key(name),
                    Step::Item => self.sample.push_index(0),
                }
                let info = (child.info)();
                let later = child.key.and_then(|key| key.later).or(later);
                let children = (child.info)().children;
                if let Some(key) = child.key {
                    self.rows.push(Row {
                        shown: below.clone(),
                        key,
                        info,
                        later,
                        #[cfg(test)]
                        sample: self.sample.clone(),
                    });
                }
                self.down(&below, later, &children);
                self.sample.pop();
            }
        }
    }
    let mut walk = Walk {
        rows: Vec::new(),
        sample: ConfigPath::default(),
    };
    walk.down("", None, &Settings::info().children);
    walk.rows
}

/// The paths of all settings that hold a secret: `models.providers.<id>.apiKey`. A map of secrets ends in its key:
/// `models.providers.<id>.headers.<name>`.
pub fn secret_paths() -> Vec<String> {
    let path = |row: Row| match row.info.children.first().map(|child| child.step) {
        Some(Step::Entry(shown, _)) => format!("{}.{shown}", row.shown),
        _ => row.shown,
    };
    rows()
        .into_iter()
        .filter(|row| row.info.secret)
        .map(path)
        .collect()
}

/// Every key of the schema and whether one of that name holds a secret.
pub(crate) fn leaf_names() -> BTreeMap<&'static str, bool> {
    let mut names = BTreeMap::new();
    for row in rows() {
        *names.entry(row.key.name).or_default() |= row.info.secret;
    }
    names
}

/// Where a key belongs that somebody put elsewhere; nothing when there is none or more than one such place.
pub(crate) fn elsewhere(key: &str) -> Option<String> {
    let mut places = rows().into_iter().filter(|row| row.key.name == key);
    let place = places.next()?;
    places.next().is_none().then_some(place.shown)
}

/// Whether the schema has such a setting, set or not.
pub(crate) fn knows(path: &ConfigPath) -> bool {
    let mut info = Settings::info();
    for segment in path.segments() {
        let next = info
            .children
            .iter()
            .find(|child| match (segment, child.step) {
                (Segment::Key(key), Step::Key(name)) => key == name,
                (Segment::Key(_), Step::Entry(..)) | (Segment::Index(_), Step::Item) => true,
                _ => false,
            });
        match next {
            Some(child) => info = (child.info)(),
            None => return false,
        }
    }
    true
}

/// The reference of all settings as a Markdown document.
pub fn reference_markdown() -> String {
    crate::reference::markdown(&rows(), Settings::SECTION)
}

impl Settings {
    const SECTION: &'static crate::section::Spec = <Self as crate::section::Section>::SPEC;
}

/// A default as the reference shows it.
pub(crate) fn default_text(row: &Row) -> String {
    match (row.key.default)() {
        Json::Null | Json::Object(_) => "–".to_owned(),
        value => format!("`{value}`"),
    }
}
