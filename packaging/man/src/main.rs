//! `clawdbot-man FOLDER YYYY-MM-DD`: writes all pages and completions for a package, as of that day.
#![allow(clippy::print_stderr)] // Talks to whoever builds a package.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, date] = arguments.as_slice() else {
        eprintln!("usage: clawdbot-man FOLDER YYYY-MM-DD");
        return ExitCode::from(2);
    };
    match clawdbot_man::write(Path::new(folder), date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clawdbot-man: {folder}: {error}");
            ExitCode::FAILURE
        }
    }
}
