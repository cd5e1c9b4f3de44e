//! What a typed line means: a few commands are the terminal's own, everything else goes to the assistant as it is.

/// A line, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Nothing to do.
    Nothing,
    /// List the commands.
    Help,
    /// Leave.
    Quit,
    /// End the running turn and drop what waits.
    Stop,
    /// The word on a call that waits: its id, and whether it may happen.
    Word(String, bool),
    /// Show tool calls or not, or the other way round; the assistant is told as well.
    Verbose(Option<bool>, String),
    /// For the assistant.
    Message(String),
}

/// The commands, as `/help` lists them.
pub const HELP: &str = "\
/status          what the assistant knows about this conversation
/new, /reset     begin a new conversation
/model [NAME]    show or change the model
/verbose on|off  show tool calls or not
/whoami          who the assistant takes you for
/approve ID      allow a call that you are asked about, once
/deny ID         refuse it
/stop            end what runs and drop what waits
/help            this list
/quit            leave (also Ctrl-D)
Ctrl-C while an answer comes stops it; at the prompt it clears the line.
";

/// Understands `line`.
pub fn typed(line: &str) -> Typed {
    let text = line.trim();
    let mut words = text.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (None, ..) => Typed::Nothing,
        (Some("/help"), None, _) => Typed::Help,
        (Some("/quit" | "/exit"), None, _) => Typed::Quit,
        (Some("/stop"), None, _) => Typed::Stop,
        (Some("/approve"), Some(id), None) => Typed::Word(id.to_owned(), true),
        (Some("/deny"), Some(id), None) => Typed::Word(id.to_owned(), false),
        (Some("/verbose"), None, _) => Typed::Verbose(None, text.to_owned()),
        (Some("/verbose"), Some("on" | "full"), None) => {
            Typed::Verbose(Some(true), text.to_owned())
        }
        (Some("/verbose"), Some("off"), None) => Typed::Verbose(Some(false), text.to_owned()),
        _ => Typed::Message(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminals_own_commands_stay_here() {
        for (line, meaning) in [
            ("", Typed::Nothing),
            (" \t ", Typed::Nothing),
            ("/help", Typed::Help),
            (" /quit ", Typed::Quit),
            ("/exit", Typed::Quit),
            ("/stop", Typed::Stop),
            ("/approve ABCD2345", Typed::Word("ABCD2345".into(), true)),
            (" /deny ABCD2345 ", Typed::Word("ABCD2345".into(), false)),
            ("/verbose", Typed::Verbose(None, "/verbose".into())),
            (
                "/verbose full",
                Typed::Verbose(Some(true), "/verbose full".into()),
            ),
            (
                "/verbose off",
                Typed::Verbose(Some(false), "/verbose off".into()),
            ),
        ] {
            assert_eq!(typed(line), meaning, "{line:?}");
        }
    }

    #[test]
    fn everything_else_is_for_the_assistant() {
        for line in [
            "hello",
            "/status",
            "/new what now",
            "/stop it",
            "/approve",
            "/approve A B",
            "/verbose maybe",
            "/nonsense",
            "help",
        ] {
            assert_eq!(typed(line), Typed::Message(line.into()), "{line:?}");
        }
    }
}
