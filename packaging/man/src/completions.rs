//! Completions: the same as `clawdbot completions SHELL` prints, for both names of the program.

use clap_complete::Shell;

use crate::File;

const NAMES: [&str; 2] = ["clawdbot", "clawdbotctl"];

pub fn scripts() -> Vec<File> {
    let mut files = Vec::new();
    for name in NAMES {
        // Each shell finds a script by the name that it gives to it.
        for (shell, path) in [
            (Shell::Bash, format!("bash/{name}")),
            (Shell::Zsh, format!("zsh/_{name}")),
            (Shell::Fish, format!("fish/{name}.fish")),
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut clawdbot_cli::command(), name, &mut script);
            let text = String::from_utf8_lossy(&script).into_owned();
            files.push(File { path, text });
        }
    }
    files
}
