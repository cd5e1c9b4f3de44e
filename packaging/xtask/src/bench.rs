//! `cargo xtask bench`: builds the product as it is shipped, has it measured, and shows or writes down the table. `bench
//! system` does so with the package, installed in machines of their own.

use std::path::PathBuf;
use std::process::Stdio;

use clawdbot_rig::Suite;

use crate::cargo::{self, Built};
use crate::marks::Part;
use crate::stage::Stage;
use crate::{Done, deb, orphans, rig};

/// The packages that the product does not have: who measures, and who plays another kernel.
const PACKAGES: [&str; 2] = ["clawdbot-tests", "clawdbot-simulate"];
const PROGRAM: &str = "clawdbot-bench";
const PART: Part = Part {
    page: "docs/performance.md",
    command: "cargo xtask bench --write",
};
const SYSTEM: Part = Part {
    page: "docs/performance.md",
    command: "cargo xtask bench system --write",
};

/// What the words after `bench system` say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct System {
    quick: bool,
    write: bool,
    /// A package that is there, instead of one that is built as it is shipped.
    deb: Option<PathBuf>,
}

impl System {
    /// Reads the words of the command line.
    pub fn read(words: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--quick" => options.quick = true,
                "--write" => options.write = true,
                "--deb" => options.deb = Some((*words.next()?).into()),
                _ => return None,
            }
        }
        Some(options)
    }
}

/// Measures the package in machines with systemd, as root.
pub fn system(options: &System) -> Done {
    rig::make(&Suite::ALL)?;
    let deb = match &options.deb {
        Some(deb) => {
            std::path::absolute(deb).map_err(|error| format!("{}: {error}", deb.display()))?
        }
        None => deb::shipped()?,
    };
    // It only watches: how it is built is in no figure.
    let built = cargo::build(&["--package", PACKAGES[0], "--bin", PROGRAM])?;
    let bench = built.iter().find(|built| built.target == PROGRAM);
    let bench = bench.ok_or("cargo built no program clawdbot-bench")?;
    let output = cargo::clean(&bench.path)
        .arg("--system")
        .arg(&deb)
        .args(options.quick.then_some("--quick"))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{PROGRAM}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{PROGRAM} ended with {}", output.status));
    }
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{table}");
    if options.write {
        SYSTEM.write(&table)?;
    }
    Ok(0)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_system_s_figures_are_read_with_their_values_and_nothing_else() {
        let options = System::read(&["--deb", "a.deb", "--quick"]).unwrap();
        assert_eq!(options.deb, Some(PathBuf::from("a.deb")));
        assert!(options.quick && !options.write);
        assert_eq!(System::read(&[]), Some(System::default()));
        for wrong in [&["--deb"][..], &["a.deb"], &["--fast"]] {
            assert_eq!(System::read(wrong), None);
        }
    }
}
