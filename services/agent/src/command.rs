//! The chat commands that the agent answers itself, as a table. A word with a slash that is not in it is plain text for the
//! model; `/stop` never comes here, since the gateway ends the turn that waits in front of it.

use clawdbot_identity::{ModelRef, SessionKey};
use clawdbot_proto::v1::{self, AgentSlice};

use crate::text::shortened;
use crate::transcript::{Change, Settings, Totals};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Status,
    New,
    Model,
    Verbose,
    Whoami,
    Help,
}

/// Command, its names, how it is written, what it does.
type Row = (Command, &'static [&'static str], &'static str, &'static str);

const ROWS: [Row; 6] = [
    (
        Command::Status,
        &["status"],
        "/status",
        "the session, its model and what it has used",
    ),
    (
        Command::New,
        &["new", "reset"],
        "/new [message]",
        "begin a new session; /reset does the same",
    ),
    (
        Command::Model,
        &["model"],
        "/model [name]",
        "show the model or choose another for this session",
    ),
    (
        Command::Verbose,
        &["verbose", "v"],
        "/verbose [on|off|full]",
        "show tool calls while they run",
    ),
    (
        Command::Whoami,
        &["whoami", "id"],
        "/whoami",
        "who you are to the assistant",
    ),
    (Command::Help, &["help", "commands"], "/help", "this list"),
];

const LEVELS: [&str; 3] = ["on", "off", "full"];

/// The command and what follows it; `None` for everything that is for the model.
pub fn parse(text: &str) -> Option<(Command, &str)> {
    let text = text.trim();
    let word = text.strip_prefix('/')?;
    let end = word.find(char::is_whitespace).unwrap_or(word.len());
    let (name, rest) = word.split_at(end);
    let name = name.strip_suffix(':').unwrap_or(name);
    let row = ROWS
        .iter()
        .find(|row| row.1.iter().any(|known| known.eq_ignore_ascii_case(name)))?;
    Some((row.0, rest.trim()))
}

/// What a command is answered from.
pub struct View<'a> {
    pub slice: &'a AgentSlice,
    pub profile: &'a v1::AgentProfile,
    pub key: &'a SessionKey,
    pub standing: &'a str,
    pub class: &'a str,
    pub session_id: &'a str,
    pub settings: &'a Settings,
    pub totals: Totals,
}

/// The answer, and what changes for the rest of the session.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub text: String,
    pub change: Change,
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self {
            text,
            change: Change::default(),
        }
    }
}

impl View<'_> {
    /// Answers a command. For `new` the caller has begun the new session already.
    pub fn answer(&self, command: Command, argument: &str) -> Reply {
        match command {
            Command::Status => self.status().into(),
            Command::New => format!("A new session has begun. Model: {}.", self.model()).into(),
            Command::Model => self.choose_model(argument),
            Command::Verbose => self.choose_verbose(argument),
            Command::Whoami => self.whoami().into(),
            Command::Help => help().into(),
        }
    }

    /// provider/model that the next turn asks.
    pub fn model(&self) -> &str {
        self.settings
            .model
            .as_deref()
            .unwrap_or(&self.profile.model)
    }

    /// off, on or full.
    pub fn verbose(&self) -> &str {
        let default = if self.slice.verbose_default {
            "on"
        } else {
            "off"
        };
        self.settings.verbose.as_deref().unwrap_or(default)
    }

    fn name(&self) -> &str {
        match self.profile.name.as_str() {
            "" => &self.profile.id,
            name => name,
        }
    }

    fn status(&self) -> String {
        let Totals {
            messages,
            input_tokens,
            output_tokens,
        } = self.totals;
        format!(
            "Clawdbot {}\nAgent: {}\nModel: {}\nSession: {} (class {})\nSession id: {}\nMessages: {messages}\n\
             Tokens: {input_tokens} in, {output_tokens} out\nTool calls shown: {}",
            env!("CARGO_PKG_VERSION"),
            self.name(),
            self.model(),
            self.key,
            self.class,
            self.session_id,
            self.verbose(),
        )
    }

    fn whoami(&self) -> String {
        format!(
            "You are {} to {}, in session {} (class {}).",
            match self.standing {
                "owner" => "the owner",
                "approved" => "an approved sender",
                _ => "a stranger",
            },
            self.name(),
            self.key,
            self.class,
        )
    }

    fn choose_verbose(&self, argument: &str) -> Reply {
        if argument.is_empty() {
            return format!(
                "Tool calls shown: {}. Change it with /verbose on, off or full.",
                self.verbose()
            )
            .into();
        }
        let Some(level) = LEVELS
            .into_iter()
            .find(|level| level.eq_ignore_ascii_case(argument))
        else {
            return format!(
                "There is no level {:?}. Use /verbose on, off or full.",
                shortened(argument, 40)
            )
            .into();
        };
        Reply {
            text: format!("Tool calls shown: {level}."),
            change: Change {
                verbose: Some(level.into()),
                ..Change::default()
            },
        }
    }

    fn choose_model(&self, argument: &str) -> Reply {
        if argument.is_empty() {
            return format!("Model: {}. {}", self.model(), self.choices()).into();
        }
        if argument.eq_ignore_ascii_case("default") {
            return self.set_model("", &self.profile.model);
        }
        let alias = self
            .slice
            .aliases
            .iter()
            .find(|row| row.alias.eq_ignore_ascii_case(argument));
        let wanted = alias.map_or(argument, |row| &row.model);
        let refused = |why: String| Reply::from(format!("{why} {}", self.choices()));
        match ModelRef::parse(wanted) {
            Err(error) => refused(format!("No change: a {error}.")),
            Ok(model)
                if !self
                    .slice
                    .providers
                    .iter()
                    .any(|known| known == model.provider().as_str()) =>
            {
                refused(format!(
                    "No change: no process runs for the provider {}.",
                    model.provider()
                ))
            }
            Ok(model) => self.set_model(model.as_str(), model.as_str()),
        }
    }

    fn set_model(&self, setting: &str, shown: &str) -> Reply {
        Reply {
            text: format!("Model for this session: {shown}."),
            change: Change {
                model: Some(setting.into()),
                ..Change::default()
            },
        }
    }

    /// What /model takes.
    fn choices(&self) -> String {
        let providers = self.slice.providers.iter().map(|name| format!("{name}/…"));
        let usable = |row: &&v1::ModelAlias| {
            let provider = row.model.split('/').next().unwrap_or_default();
            self.slice.providers.iter().any(|known| known == provider)
        };
        let aliases = self
            .slice
            .aliases
            .iter()
            .filter(usable)
            .map(|row| row.alias.clone());
        let all: Vec<_> = ["default".into()]
            .into_iter()
            .chain(aliases)
            .chain(providers)
            .collect();
        format!("Choose with /model and one of: {}.", all.join(", "))
    }
}

fn help() -> String {
    let mut text = String::from("Commands:");
    for (_, _, form, what) in ROWS {
        text.push_str(&format!("\n{form} — {what}"));
    }
    text.push_str("\n/stop — end what is running and drop what waits");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice() -> AgentSlice {
        AgentSlice {
            agents: vec![v1::AgentProfile {
                id: "main".into(),
                model: "builtin/guide".into(),
                ..Default::default()
            }],
            aliases: vec![
                v1::ModelAlias {
                    alias: "helper".into(),
                    model: "builtin/guide".into(),
                },
                v1::ModelAlias {
                    alias: "opus".into(),
                    model: "anthropic/claude-opus-4-5".into(),
                },
            ],
            providers: vec!["builtin".into()],
            ..Default::default()
        }
    }

    fn answer(settings: &Settings, text: &str) -> Reply {
        let slice = slice();
        let key = SessionKey::parse("agent:main:main").unwrap();
        let view = View {
            slice: &slice,
            profile: &slice.agents[0],
            key: &key,
            standing: "owner",
            class: "main",
            session_id: "s-1",
            settings,
            totals: Totals {
                messages: 4,
                input_tokens: 10,
                output_tokens: 20,
            },
        };
        let (command, argument) = parse(text).unwrap();
        view.answer(command, argument)
    }

    #[test]
    fn every_name_of_every_row_is_a_command() {
        for (command, names, _, _) in ROWS {
            for name in names {
                for text in [
                    format!("/{name}"),
                    format!(" /{}\n", name.to_uppercase()),
                    format!("/{name}:"),
                ] {
                    assert_eq!(parse(&text), Some((command, "")), "{text}");
                }
                assert_eq!(parse(&format!("/{name}  a b ")), Some((command, "a b")));
            }
        }
    }

    #[test]
    fn everything_else_is_for_the_model() {
        for text in [
            "",
            "/",
            "/ status",
            "/stop",
            "/statusx",
            "/usr/bin/env",
            "status",
            "a /status",
            "//status",
            "/new/x",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_model_is_chosen_by_reference_alias_or_default() {
        let none = Settings::default();
        for (text, model) in [
            ("/model builtin/guide", "builtin/guide"),
            ("/model Builtin/guide", "builtin/guide"),
            ("/model HELPER", "builtin/guide"),
            ("/model default", ""),
        ] {
            assert_eq!(
                answer(&none, text).change.model.as_deref(),
                Some(model),
                "{text}"
            );
        }
        for text in [
            "/model",
            "/model opus",
            "/model gpt",
            "/model openai/gpt-5",
            "/model a b",
        ] {
            let reply = answer(&none, text);
            assert_eq!(reply.change, Change::default(), "{text}");
            assert!(
                reply.text.contains("default, helper, builtin/…"),
                "{}",
                reply.text
            );
            assert!(
                !reply.text.contains("opus,"),
                "only what can be used is offered"
            );
        }
        let set = Settings {
            model: Some("builtin/other".into()),
            verbose: None,
        };
        assert!(
            answer(&set, "/model")
                .text
                .starts_with("Model: builtin/other.")
        );
    }

    #[test]
    fn verbose_takes_its_three_levels_only() {
        let none = Settings::default();
        for level in LEVELS {
            let reply = answer(&none, &format!("/verbose {}", level.to_uppercase()));
            assert_eq!(reply.change.verbose.as_deref(), Some(level));
        }
        let reply = answer(&none, "/verbose loud");
        assert!(reply.change == Change::default() && reply.text.contains("on, off or full"));
        let full = Settings {
            verbose: Some("full".into()),
            model: None,
        };
        assert!(answer(&full, "/verbose").text.contains("full"));
    }

    #[test]
    fn status_whoami_and_help_say_what_they_promise() {
        let none = Settings::default();
        let status = answer(&none, "/status").text;
        for part in [
            "builtin/guide",
            "agent:main:main",
            "class main",
            "s-1",
            "Messages: 4",
            "10 in, 20 out",
            "shown: off",
        ] {
            assert!(status.contains(part), "{part}: {status}");
        }
        assert!(answer(&none, "/whoami").text.contains("the owner"));
        let help = answer(&none, "/help").text;
        assert!(ROWS.iter().all(|row| help.contains(row.2)) && help.contains("/stop"));
    }
}
