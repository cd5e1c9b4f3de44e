//! Chat commands: the one table of their names, who may use them and which process answers. Policy refuses by it, gateway
//! and agent answer by it. A word with a slash that is not in it is plain text.

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// What is known of the session.
    Status,
    /// Begins a session anew.
    New,
    /// Ends what runs.
    Stop,
    /// Chooses the model.
    Model,
    /// Chooses how long the model thinks.
    Think,
    /// Shows tool calls.
    Verbose,
    /// Shows what answers used.
    Usage,
    /// Summarises the older part.
    Compact,
    /// Chooses what messages do that come while a turn runs.
    Queue,
    /// Who somebody is.
    Whoami,
    /// Allows a call that waits.
    Approve,
    /// Refuses a call that waits.
    Deny,
    /// The list of commands.
    Help,
}

/// Who may use a command. Each may also use what those after him may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The owner, in a direct conversation.
    Owner,
    /// Whoever is in `allowFrom` or was approved.
    Approved,
    /// Whoever is answered at all.
    Anybody,
}

impl Who {
    /// Of somebody whose standing policy words so: `owner`, `approved`, anything else.
    pub fn of(standing: &str) -> Self {
        match standing {
            "owner" => Self::Owner,
            "approved" => Self::Approved,
            _ => Self::Anybody,
        }
    }
}

/// Which process answers a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// It never leaves policy.
    Policy,
    /// The gateway, since it holds what waits.
    Gateway,
    /// The agent, since it holds the session.
    Agent,
}

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// What it does.
    pub command: Command,
    /// Its names without the slash; the first is the usual one.
    pub names: &'static [&'static str],
    /// Who may use it.
    pub who: Who,
    /// Who answers.
    pub by: By,
    /// A word of it may stand before a message and holds for that message alone.
    pub before: bool,
    /// As it is typed.
    pub form: &'static str,
    /// What it is for.
    pub what: &'static str,
}

/// All commands, as help lists them.
pub const COMMANDS: &[Row] = &[
    Row {
        command: Command::Status,
        names: &["status"],
        who: Who::Anybody,
        by: By::Agent,
        before: false,
        form: "/status",
        what: "the session, its model and what it has used",
    },
    Row {
        command: Command::New,
        names: &["new", "reset"],
        who: Who::Approved,
        by: By::Agent,
        before: false,
        form: "/new [message]",
        what: "begin a new session; /reset does the same",
    },
    Row {
        command: Command::Stop,
        names: &["stop"],
        who: Who::Approved,
        by: By::Gateway,
        before: false,
        form: "/stop",
        what: "end what is running and drop what waits",
    },
    Row {
        command: Command::Model,
        names: &["model"],
        who: Who::Owner,
        by: By::Agent,
        before: true,
        form: "/model [name]",
        what: "show the model or choose another for this session",
    },
    Row {
        command: Command::Think,
        names: &["think", "thinking", "t"],
        who: Who::Owner,
        by: By::Agent,
        before: true,
        form: "/think [off|minimal|low|medium|high|xhigh|default]",
        what: "how long the model thinks before it answers",
    },
    Row {
        command: Command::Verbose,
        names: &["verbose", "v"],
        who: Who::Owner,
        by: By::Agent,
        before: true,
        form: "/verbose [on|off|full]",
        what: "show tool calls while they run",
    },
    Row {
        command: Command::Usage,
        names: &["usage"],
        who: Who::Owner,
        by: By::Agent,
        before: false,
        form: "/usage [off|tokens|full]",
        what: "add to each answer what it used",
    },
    Row {
        command: Command::Compact,
        names: &["compact"],
        who: Who::Approved,
        by: By::Agent,
        before: false,
        form: "/compact [what matters]",
        what: "replace the older part of the session by a summary",
    },
    Row {
        command: Command::Queue,
        names: &["queue"],
        who: Who::Owner,
        by: By::Gateway,
        before: false,
        form: "/queue [collect|followup|steer|steer-backlog|interrupt] [debounce:2s] [cap:20] [drop:summarize|old|new], or /queue default",
        what: "what happens to messages of this session that come while it is busy",
    },
    Row {
        command: Command::Whoami,
        names: &["whoami", "id"],
        who: Who::Anybody,
        by: By::Agent,
        before: false,
        form: "/whoami",
        what: "who you are to the assistant",
    },
    Row {
        command: Command::Approve,
        names: &["approve"],
        who: Who::Owner,
        by: By::Policy,
        before: false,
        form: "/approve ID",
        what: "allow a call that you were asked about, once",
    },
    Row {
        command: Command::Deny,
        names: &["deny"],
        who: Who::Owner,
        by: By::Policy,
        before: false,
        form: "/deny ID",
        what: "refuse a call that you were asked about",
    },
    Row {
        command: Command::Help,
        names: &["help", "commands"],
        who: Who::Anybody,
        by: By::Agent,
        before: false,
        form: "/help",
        what: "this list",
    },
];

impl Row {
    /// Whether somebody of this standing may use it.
    pub fn is_for(&self, who: Who) -> bool {
        who <= self.who
    }

    /// Whether what follows its name is a setting and then a message, for instance `high why?`.
    pub fn is_before_a_message(&self, rest: &str) -> bool {
        self.before && rest.split_whitespace().nth(1).is_some()
    }
}

/// The command that a text begins with, and what follows its name; `None` for plain text. A colon may follow the name.
pub fn read(text: &str) -> Option<(&'static Row, &str)> {
    let word = text.trim().strip_prefix('/')?;
    let end = word.find(char::is_whitespace).unwrap_or(word.len());
    let (name, rest) = word.split_at(end);
    let name = name.strip_suffix(':').unwrap_or(name);
    let row = COMMANDS.iter().find(|row| {
        let mut names = row.names.iter();
        names.any(|known| known.eq_ignore_ascii_case(name))
    })?;
    Some((row, rest.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_every_row_is_that_command_and_no_other_ones() {
        let mut names = Vec::new();
        for row in COMMANDS {
            assert!(row.form.starts_with(&format!("/{}", row.names[0])));
            for name in row.names {
                assert!(!names.contains(name), "{name}");
                names.push(name);
                for text in [
                    format!("/{name}"),
                    format!(" /{}\n", name.to_uppercase()),
                    format!("/{name}:"),
                ] {
                    assert_eq!(read(&text), Some((row, "")), "{text}");
                }
                let text = format!("/{name}  a b ");
                assert_eq!(read(&text), Some((row, "a b")));
                assert_eq!(row.is_before_a_message("a b"), row.before);
                assert!(!row.is_before_a_message("a"));
            }
        }
    }

    #[test]
    fn everything_else_is_plain_text() {
        for text in [
            "",
            "/",
            "/ status",
            "/statusx",
            "/usr/bin/env",
            "status",
            "a /status",
            "//status",
            "/new/x",
            "/bash ls",
            "/config show",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn each_may_what_those_below_may_and_settings_are_the_owners() {
        for row in COMMANDS {
            assert!(row.is_for(Who::of("owner")), "{}", row.form);
            assert!(row.is_for(Who::Approved) >= row.is_for(Who::Anybody));
        }
        let of = |name: &str| read(name).map(|(row, _)| row.who);
        for (name, who) in [
            ("/approve x", Who::Owner),
            ("/deny x", Who::Owner),
            ("/queue", Who::Owner),
            ("/model", Who::Owner),
            ("/new", Who::Approved),
            ("/stop", Who::Approved),
            ("/status", Who::Anybody),
        ] {
            assert_eq!(of(name), Some(who), "{name}");
        }
        for standing in ["stranger", "", "Owner"] {
            assert_eq!(Who::of(standing), Who::Anybody);
        }
    }
}
