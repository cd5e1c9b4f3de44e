//! `cargo xtask up`: builds the product and becomes it. The release build takes longer the first time and is the real
//! thing: what a person sees is as fast and as small as what would be installed.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;

use crate::{Done, cargo};

pub fn run(arguments: &[&str]) -> Done {
    let built = cargo::build_release(&[])?;
    let clawdbot = built
        .iter()
        .find(|built| built.target == "clawdbot")
        .ok_or("cargo built no program clawdbot")?;
    let mut command = cargo::clean(&clawdbot.path);
    command.arg("up");
    // A chat needs somebody who types.
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        command.arg("--chat");
    }
    let error = command.args(arguments).exec();
    Err(format!(
        "{} cannot be started: {error}",
        clawdbot.path.display()
    ))
}
