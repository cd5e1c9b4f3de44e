//! `cargo xtask budget`: what the processes of the trusted base consist of. Whatever is in there can do what they can
//! do, so its amount is held down by a limit that somebody has to raise on purpose.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use crate::{Done, cargo};

/// Package, and the most that it may consist of: packages of others, thousands of lines of our own.
const LIMITS: &[(&str, usize, usize)] = &[
    ("clawdbot-policy", 78, 31),
    ("clawdbot-broker", 73, 12),
    ("clawdbot-dialer", 32, 13),
    ("clawdbot-sandbox", 14, 6),
    ("clawdbot-confine", 11, 5),
];

pub fn run() -> Done {
    println!(
        "{:<20} {:>24} {:>24}",
        "package", "packages of others", "own lines (thousands)"
    );
    let mut status = 0;
    for (package, packages, thousands) in LIMITS {
        let (others, lines) = measure(package)?;
        let over = others > *packages || lines > thousands * 1000;
        status |= u8::from(over);
        #[allow(clippy::cast_precision_loss)] // A number of lines.
        let own = format!("{:.1} of {thousands}", lines as f64 / 1000.0);
        let mark = if over { "  OVER THE LIMIT" } else { "" };
        println!(
            "{package:<20} {:>24} {own:>24}{mark}",
            format!("{others} of {packages}")
        );
    }
    Ok(status)
}

/// Packages of others and lines of ours, tests left out as far as they have files of their own.
fn measure(package: &str) -> Result<(usize, usize), String> {
    let mut command = cargo::command();
    command.args([
        "tree",
        "--locked",
        "--package",
        package,
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree {package}: {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all: BTreeSet<&str> = text
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .collect();
    let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|line| folder(line).is_some());
    let lines = own
        .iter()
        .filter_map(|line| folder(line))
        .map(|folder| lines_below(&Path::new(folder).join("src")))
        .sum();
    Ok((others.iter().filter(|line| !line.is_empty()).count(), lines))
}

/// The folder of a package of ours: `clawdbot-proto v0.1.0 (/w/proto)`.
fn folder(line: &str) -> Option<&str> {
    line.split_once(" (")?
        .1
        .strip_suffix(')')
        .filter(|place| place.starts_with('/'))
}

fn lines_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.path() {
            path if path.is_dir() => lines_below(&path),
            path if path.extension().is_some_and(|ending| ending == "rs")
                && !path.ends_with("tests.rs") =>
            {
                std::fs::read_to_string(&path).map_or(0, |text| text.lines().count())
            }
            _ => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_of_ours_is_known_by_its_folder() {
        assert_eq!(folder("clawdbot-proto v0.1.0 (/w/proto)"), Some("/w/proto"));
        assert_eq!(folder("tokio-macros v2.5.0 (proc-macro)"), None);
        assert_eq!(folder("tokio v1.54.0"), None);
    }
}
