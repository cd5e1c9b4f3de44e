//! `clawdbot.json(5)`: the settings, from the rows that the file is read with.

use clawdbot_config::{Setting, about_rules, settings};
use clawdbot_service::system;

use crate::File;
use crate::roff::Page;

const EXAMPLE: &str = "{
  agents: { defaults: { model: \"anthropic/claude-sonnet-4-5\" } },
  channels: { telegram: { allowFrom: [\"123456789\"] } },
}";

pub fn page(date: &str) -> File {
    let mut page = Page::new("clawdbot.json", 5, "configuration of Clawdbot", date);
    page.section("DESCRIPTION").paragraph(
        "One file in JSON5: comments, single quotes, keys without quotes and commas at the end are allowed. Every key \
         that is not listed here is a mistake, and so is a value of another type; all mistakes of a file are told at once, \
         with their places. Only `clawdbot-policy`(8) and the command line read it. A change is taken up by itself; a file \
         that does not load changes nothing, and at the start denies everything until it is repaired.",
    );
    page.paragraph(
        "A secret is a string, `\"${NAME}\"` for a variable of the start environment, or `{source, id}` with the source \
         `env`, `file`, `keyring`, `systemd` or `vault`. Better is `clawdbot login`, which keeps it encrypted.",
    );
    page.paragraph(
        "`clawdbot config set` changes the file and keeps its comments, `clawdbot config validate` looks for mistakes.",
    );
    page.section("SETTINGS");
    let settings = settings();
    let mut group = "";
    for setting in &settings {
        let top = setting.path.split(['.', '[']).next().unwrap_or_default();
        if top != group {
            page.part(top);
            group = top;
        }
        page.item(&setting.path, &describe(setting));
    }
    page.section("DANGERS").paragraph(
        "What these rules find is told by `clawdbot doctor`. A rule that refuses the file and can be accepted is named in \
         `dangerous.accept`.",
    );
    for rule in about_rules() {
        let text = format!("`{}`: {}. {}", rule.key, rule.effect, rule.remedy);
        page.item(rule.id, &text);
    }
    page.section("FILES");
    page.item(
        system::CONFIG,
        "The configuration of the installed services.",
    );
    page.item(
        "~/.clawdbot/clawdbot.json",
        "That of `clawdbot up`, run by a person.",
    );
    page.item(
        system::ENVIRONMENT,
        "The start environment of the installed services, NAME=VALUE lines; for the broker alone.",
    );
    page.item(
        system::SECRETS,
        "Secrets of the source `file`, one per file.",
    );
    page.section("EXAMPLES")
        .paragraph("Claude answers, and one person may write over Telegram:")
        .verbatim(EXAMPLE);
    page.see_also(&[
        "clawdbot(1)".into(),
        "clawdbot-config(1)".into(),
        "clawdbot-doctor(1)".into(),
        "clawdbot-policy(8)".into(),
    ]);
    File {
        path: "man5/clawdbot.json.5".into(),
        text: page.text().to_owned(),
    }
}

fn describe(setting: &Setting) -> String {
    let default = match setting.default.as_str() {
        "\u{2013}" => String::new(),
        value => format!(" Default: {value}."),
    };
    let later = setting
        .later
        .map(|later| format!(" Without effect so far ({later})."))
        .unwrap_or_default();
    let kind = setting.kind.trim_end_matches('.');
    let mut first = kind.chars();
    let kind: String = first
        .next()
        .map(|c| c.to_uppercase().chain(first).collect())
        .unwrap_or_default();
    format!("{} {kind}.{default}{later}", setting.doc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_loads_and_every_setting_is_there() {
        assert!(clawdbot_config::parse("example", EXAMPLE.as_bytes()).is_ok());
        let page = page("2026-01-31").text;
        for setting in settings() {
            let last = setting.path.rsplit('.').next().unwrap();
            let last = last.trim_end_matches("[]").replace('-', "\\-");
            assert!(page.contains(&last), "{}", setting.path);
        }
        assert!(page.contains(".SS \"gateway\"") && page.contains("\\fBgateway.\\:port\\fR"));
    }
}
