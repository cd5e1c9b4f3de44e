//! The chat commands that the agent answers itself, by the table of all. Everything else is plain text for the model: other
//! words with a slash, commands that another process answers, and those of somebody who may not use them.

mod view;

use clawdbot_identity::ModelRef;
pub use clawdbot_identity::command::Command;
use clawdbot_identity::command::{By, COMMANDS, Who, read};
use clawdbot_proto::v1::AgentSlice;

pub use view::{Reply, View};

use crate::transcript::Change;

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
pub fn parse<'a>(text: &'a str, standing: &str, slice: &AgentSlice) -> Option<(Command, &'a str)> {
    let (row, rest) = read(text).filter(|_| !slice.commands_off)?;
    let ours = row.by == By::Agent && row.is_for(Who::of(standing));
    ours.then_some((row.command, rest))
}

/// What stands before a message and holds for this message alone, for instance `/think high` before a question; and the
/// message without it.
pub fn inline<'a>(text: &'a str, slice: &AgentSlice) -> (Change, &'a str) {
    let (mut change, mut rest) = (Change::default(), text);
    while let Some((command, argument)) = parse(rest, "owner", slice)
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

fn help(standing: &str) -> String {
    let mut text = String::from("Commands:");
    for row in { COMMANDS.iter() }.filter(|row| row.is_for(Who::of(standing))) {
        text.push_str(&format!("\n{} — {}", row.form, row.what));
    }
    text
}

#[cfg(test)]
mod tests;
