//! The page of commands: those that are typed in a terminal, from the definition that parses them, and those that are
//! written in a chat, from the table that decides who may use them.

use std::fmt::Write as _;

use clawdbot_identity::command::{COMMANDS, Who};

use super::cell;

/// The page.
pub fn page() -> String {
    let mut command = clawdbot_cli::command();
    command.build();
    let mut page = String::from(
        "# Commands\n\n## In a terminal\n\n`clawdbot` and `clawdbotctl` are the same program. These flags go with every command:\n\n\
         | Flag | What |\n|---|---|\n",
    );
    for argument in command
        .get_arguments()
        .filter(|argument| argument.is_global_set())
    {
        flag(&mut page, argument);
    }
    if let Some(more) = command.get_after_help() {
        writeln!(page, "\n{}", more.to_string().trim()).unwrap();
    }
    below(&mut page, &mut command);
    chat(&mut page);
    page
}

fn chat(page: &mut String) {
    page.push_str(
        "\n## In a chat\n\n\
         Whoever may not use a command gets no answer to it; inside of a longer message it is plain text. *Before* says \
         whether it may stand before a message and then holds for that message alone.\n\n\
         | Command | Other names | Who | Before | What |\n|---|---|---|---|---|\n",
    );
    for row in COMMANDS {
        let others: Vec<String> = row
            .names
            .iter()
            .skip(1)
            .map(|name| format!("`/{name}`"))
            .collect();
        let who = match row.who {
            Who::Owner => "the owner",
            Who::Approved => "approved people",
            Who::Anybody => "everybody who is answered",
        };
        let before = if row.before { "yes" } else { "no" };
        let (form, what) = (cell(row.form), cell(row.what));
        writeln!(
            page,
            "| `{form}` | {} | {who} | {before} | {what} |",
            others.join(", ")
        )
        .unwrap();
    }
}

fn below(page: &mut String, command: &mut clap::Command) {
    for command in command
        .get_subcommands_mut()
        .filter(|command| !command.is_hide_set())
    {
        if command.get_name() == "help" {
            continue;
        }
        if command.has_subcommands() {
            below(page, command);
            continue;
        }
        let usage = command.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").trim().to_owned();
        let words = usage
            .split(" [")
            .next()
            .unwrap_or_default()
            .split(" <")
            .next()
            .unwrap_or_default();
        write!(page, "\n### {words}\n\n").unwrap();
        let about = command.get_long_about().or(command.get_about());
        writeln!(
            page,
            "{}\n\n`{usage}`",
            about.map(ToString::to_string).unwrap_or_default()
        )
        .unwrap();
        let own = |argument: &&clap::Arg| {
            !argument.is_global_set()
                && !argument.is_hide_set()
                && argument.get_id() != "help"
                && argument.get_id() != "version"
        };
        if command.get_arguments().any(|argument| own(&argument)) {
            page.push_str("\n| Argument | What |\n|---|---|\n");
        }
        for argument in command.get_arguments().filter(own) {
            flag(page, argument);
        }
    }
}

fn flag(page: &mut String, argument: &clap::Arg) {
    let names = argument.get_value_names().unwrap_or_default();
    let takes = argument.get_action().takes_values();
    let values: String = names
        .iter()
        .filter(|_| takes)
        .map(|name| format!(" {name}"))
        .collect();
    let shown = match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}{values}"),
        (None, Some(long)) => format!("--{long}{values}"),
        (Some(short), None) => format!("-{short}{values}"),
        (None, None) => values.trim().to_owned(),
    };
    let mut what = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let choices: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| takes)
        .map(|value| value.get_name().to_owned())
        .collect();
    if !choices.is_empty() {
        write!(what, " ({})", choices.join(", ")).unwrap();
    }
    let default = argument
        .get_default_values()
        .iter()
        .filter(|_| takes)
        .map(|value| value.to_string_lossy());
    let default = default.collect::<Vec<_>>().join(", ");
    if !default.is_empty() {
        write!(what, "; {default} when left out").unwrap();
    }
    writeln!(page, "| `{}` | {} |", cell(&shown), cell(&what)).unwrap();
}
