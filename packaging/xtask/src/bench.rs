//! `cargo xtask bench`: builds the product as it is shipped, has it measured, and shows or writes down the table.

use std::process::Stdio;

use crate::cargo;
use crate::stage::Stage;
use crate::{Done, orphans};

/// The package and the program that measures.
const PACKAGE: &str = "clawdbot-tests";
const PROGRAM: &str = "clawdbot-bench";
/// The page, and the marks around what is written into it.
const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- written by cargo xtask bench --write -->\n";
const END: &str = "<!-- end -->\n";

pub fn run(quick: bool, write: bool) -> Done {
    let table = table(quick)?;
    print!("{table}");
    if write {
        let path = cargo::root().join(PAGE);
        let page = std::fs::read_to_string(&path).map_err(|error| format!("{PAGE}: {error}"))?;
        let page = replaced(&page, &table)
            .ok_or_else(|| format!("{PAGE}: the marks around the table are missing"))?;
        std::fs::write(&path, page).map_err(|error| format!("{PAGE}: {error}"))?;
    }
    Ok(0)
}

/// Builds, measures and returns the table, in Markdown. Root has the product run as somebody else, and sees what the
/// kernel shows of processes that are closed to their own user.
///
/// # Errors
/// When something could not be measured.
pub fn table(quick: bool) -> Result<String, String> {
    let built = cargo::build_release(&[PACKAGE])?;
    let bench = built
        .iter()
        .find(|built| built.target == PROGRAM)
        .ok_or("cargo built no program clawdbot-bench")?;
    orphans::adopt();
    let stage = Stage::new(&built, None)?;
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

/// The page with `table` between its marks.
fn replaced(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("# Title\n{BEGIN}old\n{END}\nrest\n");
        assert_eq!(
            replaced(&page, "new\n").unwrap(),
            format!("# Title\n{BEGIN}new\n{END}\nrest\n")
        );
        assert_eq!(replaced("no marks", "new"), None);
    }
}
