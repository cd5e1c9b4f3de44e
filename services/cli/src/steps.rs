//! What comes first after the package was installed: the commands that its installation tells, for whoever did not see it.

/// Each with what it does; none where the command says it itself.
pub const STEPS: [(&str, &str); 3] = [
    (
        "sudo usermod -aG clawdbot \"$USER\"",
        "you may talk to it; log in again afterwards",
    ),
    (
        "clawdbot login --provider anthropic",
        "a model; without one the built-in guide answers",
    ),
    ("clawdbot chat", ""),
];

const ELSEWHERE: &str =
    "First steps: `clawdbot up --chat` starts everything here and opens a chat.";
const MORE: &str = "\
Where the package is installed, commands are for the services of the machine, unless a `clawdbot up` of yours is running or \
--config, --state-dir or their variables name something else; `clawdbot status` says which it is.\n\
Exit status: 0 done, 1 failed, 2 wrong usage or critical finding, 69 nothing is running, 77 needs root or the group clawdbot, \
78 invalid configuration.";

/// One line for each.
pub fn lines() -> String {
    let line = |(command, what): &(&str, &str)| match *what {
        "" => format!("  {command}\n"),
        what => format!("  {command:<35}  # {what}\n"),
    };
    STEPS.iter().map(line).collect()
}

/// What stands below the help, wherever it is read.
pub fn below_help() -> String {
    let commands = STEPS.map(|(command, _)| format!("`{command}`"));
    let [member, model, chat] = commands;
    format!(
        "{ELSEWHERE} After the package was installed: {member} and a new log-in, {model}, {chat}.\n{MORE}"
    )
}

/// What stands below the help on a machine that has the package.
pub fn below_help_here() -> String {
    format!("First steps:\n{}\n{MORE}", lines())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_tells_the_same_steps() {
        let postinst = include_str!("../../../packaging/deb/postinst");
        let told = postinst.split_once("next_steps() {").unwrap().1;
        for (command, what) in STEPS {
            let command = command.trim_end_matches(" \"$USER\"");
            let line = told.lines().find(|line| line.contains(command));
            assert!(line.is_some_and(|line| line.contains(what)), "{command}");
            assert!(below_help().contains(command) && below_help_here().contains(command));
        }
    }
}
