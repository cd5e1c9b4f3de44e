//! `cargo xtask bench`: builds the product as it is shipped, has it measured, and shows or writes down the table.

use std::process::Stdio;

use crate::cargo::{self, Built};
use crate::marks::Part;
use crate::stage::Stage;
use crate::{Done, orphans};

/// The packages that the product does not have: who measures, and who plays another kernel.
const PACKAGES: [&str; 2] = ["clawdbot-tests", "clawdbot-simulate"];
const PROGRAM: &str = "clawdbot-bench";
const PART: Part = Part {
    page: "docs/performance.md",
    command: "cargo xtask bench --write",
};

pub fn run(quick: bool, write: bool) -> Done {
    let built = cargo::build_release(&PACKAGES)?;
    orphans::adopt();
    let table = measure(&Stage::new(&built, None)?, &built, quick)?;
    print!("{table}");
    if write {
        PART.write(&table)?;
    }
    Ok(0)
}

/// Measures what is staged and returns the table, in Markdown. Root has the product run as somebody else, and sees what
/// the kernel shows of processes that are closed to their own user.
///
/// # Errors
/// When something could not be measured.
pub fn measure(stage: &Stage, built: &[Built], quick: bool) -> Result<String, String> {
    let bench = built
        .iter()
        .find(|built| built.target == PROGRAM && !built.harness)
        .ok_or("cargo built no program clawdbot-bench")?;
    let mut command = stage.command(bench, true);
    command.args(quick.then_some("--quick"));
    if let Some(user) = stage.tester {
        command.args(["--user", &user.to_string()]);
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{PROGRAM}: {error}"))?;
    let left = orphans::end();
    match (output.status.success(), left.first()) {
        (true, None) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        (false, _) => Err(format!("{PROGRAM} ended with {}", output.status)),
        (true, Some(orphan)) => Err(format!(
            "{} (process {}) was still running afterwards",
            orphan.name, orphan.pid
        )),
    }
}
