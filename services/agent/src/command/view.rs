//! The answers to commands, and what they change for the rest of the session.

use clawdbot_identity::SessionKey;
use clawdbot_proto::v1::{self, AgentSlice};

use super::{Command, USAGE, VERBOSE, help, level, model, thinking};
use crate::text::shortened;
use crate::tokens;
use crate::transcript::{Change, Thread};

/// What a command is answered from.
pub struct View<'a> {
    pub slice: &'a AgentSlice,
    pub profile: &'a v1::AgentProfile,
    pub key: &'a SessionKey,
    pub standing: &'a str,
    pub class: &'a str,
    pub thread: &'a Thread,
    /// What is left of the budgets.
    pub means: &'a [v1::BudgetRow],
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
    /// Answers a command. `done` says what has been done about `new` and `compact` already.
    pub fn answer(&self, command: Command, argument: &str, done: &str) -> Reply {
        match command {
            Command::Status => self.status().into(),
            Command::New => format!("A new session has begun. Model: {}.", self.model()).into(),
            Command::Model => self.choose_model(argument),
            Command::Think => self.choose_thinking(argument),
            Command::Verbose => self.choose_verbose(argument),
            Command::Usage => self.choose_usage(argument),
            Command::Compact => done.to_owned().into(),
            Command::Whoami => self.whoami().into(),
            Command::Help => help(self.standing).into(),
            // The table gives these to other processes.
            Command::Stop | Command::Queue | Command::Approve | Command::Deny => {
                "This command is not answered here.".to_owned().into()
            }
        }
    }

    /// provider/model that the next turn asks.
    fn model(&self) -> &str {
        let settings = &self.thread.settings;
        settings.model.as_deref().unwrap_or(&self.profile.model)
    }

    /// off, on or full.
    fn verbose(&self) -> &str {
        let default = if self.slice.verbose_default {
            "on"
        } else {
            "off"
        };
        self.thread.settings.verbose.as_deref().unwrap_or(default)
    }

    fn thinking(&self) -> &str {
        if let Some(level) = &self.thread.settings.thinking {
            return level;
        }
        let facts = self.facts().and_then(|facts| facts.parameters.as_ref());
        match facts.map(|parameters| parameters.thinking.as_str()) {
            None | Some("") => "the model's default",
            Some(level) => level,
        }
    }

    fn facts(&self) -> Option<&v1::ModelFacts> {
        let mut rows = self.slice.models.iter();
        rows.find(|row| row.model == self.model())
    }

    fn name(&self) -> &str {
        match self.profile.name.as_str() {
            "" => &self.profile.id,
            name => name,
        }
    }

    fn status(&self) -> String {
        let thread = self.thread;
        let usage = thread.totals.usage;
        let mut model = self.model().to_owned();
        if let Some(other) = thread.answered_by.as_ref().filter(|other| **other != model) {
            model.push_str(&format!(" (the last answer is from {other})"));
        }
        let mut used = format!("{} in, {} out", usage.input_tokens, usage.output_tokens);
        if usage.cache_read_tokens > 0 {
            used.push_str(&format!(
                ", {} of them from the cache",
                usage.cache_read_tokens
            ));
        }
        if let Some(cost) = usage.cost_microusd {
            used.push_str(&format!(", {}", tokens::dollars(cost)));
        }
        let mut context = format!("about {} tokens", thread.window.tokens(0));
        if let Some(window) = self.facts().map(|f| f.context_window).filter(|w| *w > 0) {
            context.push_str(&format!(" of {window}"));
        }
        if thread.totals.compactions > 0 {
            context.push_str(&format!(", summarised {} times", thread.totals.compactions));
        }
        let budget = match self.means {
            [] => String::new(),
            rows => format!(
                "\nBudget: {}",
                rows.iter().map(budget).collect::<Vec<_>>().join("; ")
            ),
        };
        format!(
            "Clawdbot {}\nAgent: {}\nModel: {model}\nSession: {} (class {})\nSession id: {}\nMessages: {}\n\
             Tokens: {used}{budget}\nContext: {context}\nThinking: {}\nTool calls shown: {}",
            env!("CARGO_PKG_VERSION"),
            self.name(),
            self.key,
            self.class,
            thread.header.id,
            thread.totals.messages,
            self.thinking(),
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

    fn choose_thinking(&self, argument: &str) -> Reply {
        let levels = "off, minimal, low, medium, high, xhigh or default";
        if argument.is_empty() {
            let now = self.thinking();
            return format!("Thinking: {now}. Change it with /think {levels}.").into();
        }
        let Some(level) = thinking(argument) else {
            return no_level(argument, "/think", levels);
        };
        let shown = if level.is_empty() {
            "as configured"
        } else {
            level
        };
        Reply {
            text: format!("Thinking: {shown}."),
            change: Change {
                thinking: Some(level.into()),
                ..Change::default()
            },
        }
    }

    fn choose_verbose(&self, argument: &str) -> Reply {
        let levels = "on, off or full";
        if argument.is_empty() {
            let now = self.verbose();
            return format!("Tool calls shown: {now}. Change it with /verbose {levels}.").into();
        }
        let Some(level) = level(&VERBOSE, argument) else {
            return no_level(argument, "/verbose", levels);
        };
        Reply {
            text: format!("Tool calls shown: {level}."),
            change: Change {
                verbose: Some(level.into()),
                ..Change::default()
            },
        }
    }

    fn choose_usage(&self, argument: &str) -> Reply {
        let levels = "off, tokens or full";
        if argument.is_empty() {
            let now = self.thread.settings.usage.as_deref().unwrap_or("off");
            return format!("Usage after answers: {now}. Change it with /usage {levels}.").into();
        }
        let Some(level) = level(&USAGE, argument) else {
            return no_level(argument, "/usage", levels);
        };
        Reply {
            text: format!("Usage after answers: {level}."),
            change: Change {
                usage: Some(level.into()),
                ..Change::default()
            },
        }
    }

    fn choose_model(&self, argument: &str) -> Reply {
        if argument.is_empty() {
            return format!("Model: {}. {}", self.model(), self.choices()).into();
        }
        if argument.eq_ignore_ascii_case("default") {
            return set_model("", &self.profile.model);
        }
        match model(self.slice, argument) {
            Ok(model) => set_model(model.as_str(), model.as_str()),
            Err(why) => format!("No change: {why}. {}", self.choices()).into(),
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

/// How much of a budget is used.
fn budget(row: &v1::BudgetRow) -> String {
    let (used, most) = match row.what.as_str() {
        "microusd" => (tokens::dollars(row.used), tokens::dollars(row.limit)),
        what => (row.used.to_string(), format!("{} {what}", row.limit)),
    };
    match row.of.as_str() {
        "day" => format!("{used} of {most} today"),
        "month" => format!("{used} of {most} this month"),
        "sender" => format!("{used} of your {most} today"),
        // The command itself is the message that is counted now.
        _ => format!("{most} for one message"),
    }
}

fn set_model(setting: &str, shown: &str) -> Reply {
    Reply {
        text: format!("Model for this session: {shown}."),
        change: Change {
            model: Some(setting.into()),
            ..Change::default()
        },
    }
}

fn no_level(argument: &str, command: &str, levels: &str) -> Reply {
    format!(
        "There is no level {:?}. Use {command} {levels}.",
        shortened(argument, 40)
    )
    .into()
}
