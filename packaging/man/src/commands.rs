//! `clawdbot(1)` and a page for each command, from the definition that parses them.

use clap::Command;
use clap_mangen::Man;
use clawdbot_service::system;

use crate::File;
use crate::roff::{self, Page};

/// What the exit status says, of every command.
const ENDS: &[(&str, &str)] = &[
    ("0", "Done."),
    ("1", "It failed; standard error says why and what to do."),
    ("2", "Wrong usage, or a critical finding of `doctor`."),
    ("69", "Nothing is running."),
    (
        "77",
        "It needs root, or membership in the group `clawdbot`.",
    ),
    ("78", "The configuration does not load."),
];

pub fn pages(date: &str) -> Vec<File> {
    let mut command = clawdbot_cli::command();
    command.build();
    let mut pages = Vec::new();
    below(&command, None, date, &mut pages);
    pages
}

fn below(command: &Command, above: Option<&str>, date: &str, pages: &mut Vec<File>) {
    let name = name(command);
    pages.push(File {
        path: format!("man1/{name}.1"),
        text: page(command, &name, above, date),
    });
    for inner in shown(command) {
        below(inner, Some(&name), date, pages);
    }
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    let inner = command.get_subcommands();
    inner.filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
}

/// `clawdbot-config-set`.
fn name(command: &Command) -> String {
    command
        .get_display_name()
        .unwrap_or(command.get_name())
        .to_owned()
}

fn page(command: &Command, name: &str, above: Option<&str>, date: &str) -> String {
    let about = command.get_about().map(ToString::to_string);
    let mut page = Page::new(name, 1, &lower(&about.unwrap_or_default()), date);
    let mut rest = Vec::new();
    let man = Man::new(command.clone()).section("1");
    // Writing to memory does not fail.
    let _ = man.render_synopsis_section(&mut rest);
    let _ = man.render_description_section(&mut rest);
    let _ = man.render_options_section(&mut rest);
    if shown(command).next().is_some() {
        let _ = man.render_subcommands_section(&mut rest);
    }
    page.raw(&roff::bold(&tidy(&String::from_utf8_lossy(&rest))));
    page.section("EXIT STATUS");
    for (status, meaning) in ENDS {
        page.item(status, meaning);
    }
    page.section("FILES");
    page.item(
        system::CONFIG,
        "The configuration of the installed services; `~/.clawdbot/clawdbot.json` is that of `clawdbot up`.",
    );
    page.item(
        system::STATE,
        "What the installed services keep; `~/.clawdbot` is that of `clawdbot up`.",
    );
    let mut beside: Vec<String> = above
        .map(|above| format!("{above}(1)"))
        .into_iter()
        .collect();
    beside.extend(shown(command).map(|inner| format!("{}(1)", self::name(inner))));
    beside.push("clawdbot.json(5)".into());
    if above.is_none() {
        beside.extend(crate::daemons::names().map(|name| format!("{name}(8)")));
    }
    page.see_also(&beside);
    page.text().to_owned()
}

/// Without breaks of a line where a paragraph ends anyway.
fn tidy(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let gap = |at: Option<usize>| {
        at.and_then(|at| lines.get(at))
            .is_some_and(|line| matches!(*line, ".sp" | ""))
    };
    let kept = lines.iter().enumerate().filter(|(at, line)| {
        **line != ".br" || !(gap(at.checked_sub(1)) || gap(at.checked_add(1)))
    });
    kept.flat_map(|(_, line)| [line, "\n"]).collect()
}

/// As the lists of pages have it: no capital at the beginning.
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(char::to_lowercase);
    first.into_iter().flatten().chain(chars).collect()
}
