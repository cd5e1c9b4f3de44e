//! The chat commands that the agent answers itself, as a table. A word with a slash that is not in it is plain text for the
//! model; `/stop` never comes here, since the gateway ends the turn that waits in front of it. What changes a session is the
//! owner's; others are told so.

mod view;

use clawdbot_identity::ModelRef;
use clawdbot_proto::v1::AgentSlice;

pub use view::{Reply, View};

use crate::transcript::Change;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Status,
    New,
    Model,
    Think,
    Verbose,
    Usage,
    Compact,
    Whoami,
    Help,
}

struct Row {
    command: Command,
    names: &'static [&'static str],
    form: &'static str,
    what: &'static str,
    /// Whether only the owner may use it.
    owner: bool,
}

const ROWS: [Row; 9] = [
    Row {
        command: Command::Status,
        names: &["status"],
        form: "/status",
        what: "the session, its model and what it has used",
        owner: false,
    },
    Row {
        command: Command::New,
        names: &["new", "reset"],
        form: "/new [message]",
        what: "begin a new session; /reset does the same",
        owner: true,
    },
    Row {
        command: Command::Model,
        names: &["model"],
        form: "/model [name]",
        what: "show the model or choose another for this session",
        owner: true,
    },
    Row {
        command: Command::Think,
        names: &["think", "thinking", "t"],
        form: "/think [off|minimal|low|medium|high|xhigh|default]",
        what: "how long the model thinks before it answers",
        owner: true,
    },
    Row {
        command: Command::Verbose,
        names: &["verbose", "v"],
        form: "/verbose [on|off|full]",
        what: "show tool calls while they run",
        owner: true,
    },
    Row {
        command: Command::Usage,
        names: &["usage"],
        form: "/usage [off|tokens|full]",
        what: "add to each answer what it used",
        owner: true,
    },
    Row {
        command: Command::Compact,
        names: &["compact"],
        form: "/compact [what matters]",
        what: "replace the older part of the session by a summary",
        owner: true,
    },
    Row {
        command: Command::Whoami,
        names: &["whoami", "id"],
        form: "/whoami",
        what: "who you are to the assistant",
        owner: false,
    },
    Row {
        command: Command::Help,
        names: &["help", "commands"],
        form: "/help",
        what: "this list",
        owner: false,
    },
];

const VERBOSE: [&str; 3] = ["on", "off", "full"];
const USAGE: [&str; 3] = ["off", "tokens", "full"];
/// What may be said, and the level that is meant; an empty one is the configuration's.
const THINKING: [(&str, &str); 12] = [
    ("off", "off"),
    ("minimal", "minimal"),
    ("min", "minimal"),
    ("low", "low"),
    ("on", "low"),
    ("medium", "medium"),
    ("med", "medium"),
    ("mid", "medium"),
    ("high", "high"),
    ("max", "high"),
    ("xhigh", "xhigh"),
    ("default", ""),
];

/// The command and what follows it; `None` for everything that is for the model.
pub fn parse(text: &str) -> Option<(Command, &str)> {
    let (row, rest) = row(text)?;
    Some((row.command, rest))
}

fn row(text: &str) -> Option<(&'static Row, &str)> {
    let text = text.trim();
    let word = text.strip_prefix('/')?;
    let end = word.find(char::is_whitespace).unwrap_or(word.len());
    let (name, rest) = word.split_at(end);
    let name = name.strip_suffix(':').unwrap_or(name);
    let row = ROWS.iter().find(|row| {
        row.names
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    })?;
    Some((row, rest.trim()))
}

/// Why somebody may not use the command, if so.
pub fn refusal(text: &str, owner: bool) -> Option<String> {
    let (row, _) = row(text)?;
    (row.owner && !owner).then(|| format!("Only the owner can use /{} here.", row.names[0]))
}

/// What stands before a message and holds for this message alone, for instance `/think high` before a question; and the
/// message without it.
pub fn inline<'a>(text: &'a str, slice: &AgentSlice) -> (Change, &'a str) {
    let (mut change, mut rest) = (Change::default(), text);
    while let Some((command, argument)) = parse(rest)
        && let Some((word, message)) = argument.split_once(char::is_whitespace)
        && !message.trim().is_empty()
    {
        let setting = match command {
            Command::Think => thinking(word).map(|level| (&mut change.thinking, level.into())),
            Command::Verbose => {
                level(&VERBOSE, word).map(|level| (&mut change.verbose, level.into()))
            }
            Command::Model => model(slice, word)
                .ok()
                .map(|model| (&mut change.model, model.to_string())),
            _ => None,
        };
        let Some((setting, value)) = setting else {
            break;
        };
        *setting = Some(value);
        rest = message.trim();
    }
    (change, rest)
}

fn level(levels: &[&'static str], word: &str) -> Option<&'static str> {
    let mut levels = levels.iter();
    levels
        .find(|level| level.eq_ignore_ascii_case(word))
        .copied()
}

fn thinking(word: &str) -> Option<&'static str> {
    let mut rows = THINKING.iter();
    rows.find(|row| row.0.eq_ignore_ascii_case(word))
        .map(|row| row.1)
}

/// The model of that name or alias, or why it cannot be chosen.
fn model(slice: &AgentSlice, name: &str) -> Result<ModelRef, String> {
    let alias = slice
        .aliases
        .iter()
        .find(|row| row.alias.eq_ignore_ascii_case(name));
    let wanted = alias.map_or(name, |row| &row.model);
    let model = ModelRef::parse(wanted).map_err(|error| format!("a {error}"))?;
    let provider = model.provider().as_str();
    match slice.providers.iter().any(|known| known == provider) {
        true => Ok(model),
        false => Err(format!("no process runs for the provider {provider}")),
    }
}

fn help(owner: bool) -> String {
    let mut text = String::from("Commands:");
    for row in ROWS.iter().filter(|row| owner || !row.owner) {
        text.push_str(&format!("\n{} — {}", row.form, row.what));
    }
    text.push_str("\n/stop — end what is running and drop what waits");
    text
}

#[cfg(test)]
mod tests;
