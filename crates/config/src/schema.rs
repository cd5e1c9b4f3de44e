//! The schema: one row per key, from which decoding, defaults, messages, `config get` and the reference come.
//! What no row names does not exist; what the original knows and we do not is refused with its reason.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::path::ConfigPath;
use crate::section::section;
use crate::shape::{Child, Info, Key, Shape, Step};
use crate::types::Ignored;

mod agents;
mod channels;
mod commands;
mod gateway;
mod models;
mod sandbox;
mod services;
mod session;
mod system;
mod tools;

pub use agents::*;
pub use channels::*;
pub use commands::*;
pub use gateway::*;
pub use models::*;
pub use sandbox::*;
pub use services::*;
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
        "channels" channels: Channels;
        /// The assistants: model, workspace, sandbox.
        "agents" agents: Agents;
        /// How sure the confinement of our own processes has to be.
        "sandbox" sandbox: Confinement;
        /// Model providers.
        "models" models: Models;
        /// How conversations are kept apart, reset and kept.
        "session" session: Session;
        /// What the assistant may use.
        "tools" tools: Tools;
        /// Commands in a chat, and who the owner is.
        "commands" commands: Commands;
        /// How messages are collected and answered.
        "messages" messages: Messages;
        /// Approval of senders.
        "pairing" pairing: Pairing;
        /// Approval of commands.
        "approvals" approvals: Approvals;
        /// Which agent answers whom. What says more counts: somebody or a group, then a server, then an account; else the first.
        "bindings" bindings: Vec<Binding>;
        /// Log-in profiles of the model providers; no secrets.
        "auth" auth: Auth;
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
                let mut info = (child.info)();
                let later = child.key.and_then(|key| key.later).or(later);
                let children = std::mem::take(&mut info.children);
                let row = self.rows.len();
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
                if child.key.is_some() {
                    self.rows[row].info.children = children;
                }
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

/// What is known about keys of one name, wherever they stand.
pub(crate) struct Name {
    /// One of them holds a secret.
    pub secret: bool,
    /// Where it belongs, if there is only one such place.
    pub place: Option<String>,
}

/// Every key of the schema by name. Only needed for messages about mistakes, so made at the first one.
pub(crate) fn names() -> &'static BTreeMap<&'static str, Name> {
    static NAMES: LazyLock<BTreeMap<&'static str, Name>> = LazyLock::new(|| {
        let mut names: BTreeMap<&'static str, Name> = BTreeMap::new();
        for row in rows() {
            let secret = row.info.secret;
            match names.entry(row.key.name) {
                Entry::Vacant(entry) => {
                    let place = Some(row.shown);
                    entry.insert(Name { secret, place });
                }
                Entry::Occupied(mut entry) => {
                    let name = entry.get_mut();
                    name.secret |= secret;
                    name.place = None;
                }
            }
        }
        names
    });
    &NAMES
}

/// Where a key belongs that somebody put elsewhere.
pub(crate) fn elsewhere(key: &str) -> Option<&'static str> {
    names().get(key)?.place.as_deref()
}

/// What the whole configuration is.
pub(crate) fn root() -> Info {
    Settings::info()
}

/// What the schema has at a path in canonical spelling, set or not.
pub(crate) fn info_at(path: &ConfigPath) -> Option<Info> {
    root().far_below(path.segments())
}

/// Whether the schema has such a setting, set or not.
pub(crate) fn knows(path: &ConfigPath) -> bool {
    info_at(path).is_some()
}

/// The reference of all settings as a Markdown document.
pub fn reference_markdown() -> String {
    crate::reference::markdown(&rows(), Settings::SECTION)
}

/// A setting as the reference shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its place: `channels.telegram.groups.<id|*>.requireMention`.
    pub path: String,
    /// What it accepts.
    pub kind: String,
    /// What holds when it is not set; `–` for nothing.
    pub default: String,
    /// What it does.
    pub doc: &'static str,
    /// The feature that is missing, so that it has no effect yet.
    pub later: Option<&'static str>,
}

/// The reference of all settings as rows, each section before what lies in it.
pub fn settings() -> Vec<Setting> {
    let setting = |row: Row| Setting {
        default: default_text(&row),
        path: row.shown,
        kind: row.info.name,
        doc: row.key.doc.trim(),
        later: row.later,
    };
    rows().into_iter().map(setting).collect()
}

/// The schema for editors and other programs: JSON Schema, draft 2020-12.
pub fn json_schema() -> Json {
    crate::json_schema::document(&root())
}

/// The settings that are held to a range: key, what it accepts, default.
pub fn bounds() -> Vec<(String, String, String)> {
    let bounded = |row: &Row| {
        row.info.name.contains(" from ") && row.info.kinds.contains(&crate::shape::Kind::Number)
    };
    { rows().into_iter().filter(bounded) }
        .map(|row| {
            let default = default_text(&row);
            (row.shown, row.info.name, default)
        })
        .collect()
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

#[cfg(test)]
mod tests;
