//! `cargo xtask budget`: what the processes of the trusted base consist of. Whatever is in there can do what they can
//! do, so its amount is held down by a limit that somebody has to raise on purpose. The README shows the same figures.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::marks::Part;
use crate::{Done, cargo};

/// What a package may consist of: packages of others, and lines of our own code.
const LIMITS: &[(&str, Amount)] = &[
    (
        "clawdbot-policy",
        Amount {
            packages: 68,
            lines: 36_500,
        },
    ),
    (
        "clawdbot-broker",
        Amount {
            packages: 68,
            lines: 11_700,
        },
    ),
    (
        "clawdbot-dialer",
        Amount {
            packages: 29,
            lines: 10_400,
        },
    ),
    (
        "clawdbot-sandbox",
        Amount {
            packages: 12,
            lines: 3_800,
        },
    ),
    (
        "clawdbot-confine",
        Amount {
            packages: 10,
            lines: 3_600,
        },
    ),
];

const PART: Part = Part {
    page: "README.md",
    command: "cargo xtask budget --write",
};
/// Lines are shown in hundreds. The README may be off by this much, so that not every commit has to change it.
const SLACK: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amount {
    packages: usize,
    lines: usize,
}

impl Amount {
    fn exceeds(self, limit: Self) -> bool {
        self.packages > limit.packages || self.lines > limit.lines
    }
}

pub fn run(write: bool) -> Done {
    let mut amounts = Vec::new();
    for (package, limit) in LIMITS {
        amounts.push((*package, measure(package)?, *limit));
    }
    let table = table(&amounts);
    print!("{table}");
    let mut status = 0;
    for (package, amount, limit) in &amounts {
        if amount.exceeds(*limit) {
            println!(
                "{package} exceeds its limit: {} lines, {} packages",
                amount.lines, amount.packages
            );
            status = 1;
        }
    }
    if write {
        PART.write(&table)?;
    } else if !is_current(&PART.read()?, &table) {
        println!("{} shows something else; run `{}`", PART.page, PART.command);
        status = 1;
    }
    Ok(status)
}

fn table(amounts: &[(&str, Amount, Amount)]) -> String {
    let mut table = String::from(
        "| Package | Packages of others | at most | Lines of ours | at most |\n|---|---:|---:|---:|---:|\n",
    );
    for (package, amount, limit) in amounts {
        let lines = (amount.lines + 50) / 100 * 100;
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| {package} | {} | {} | {lines} | {} |",
            amount.packages, limit.packages, limit.lines
        );
    }
    table
}

/// Whether two tables say the same, but for some lines more or less.
fn is_current(shown: &str, table: &str) -> bool {
    let same = |(shown, now): (&str, &str)| match (cells(shown), cells(now)) {
        (Some((shown, lines)), Some((now, now_lines))) => {
            shown == now && lines.abs_diff(now_lines) <= SLACK
        }
        _ => shown == now,
    };
    shown.lines().count() == table.lines().count() && shown.lines().zip(table.lines()).all(same)
}

/// The lines of a row, and its other cells.
fn cells(row: &str) -> Option<(Vec<&str>, usize)> {
    let mut cells: Vec<&str> = row.split(" | ").collect();
    let lines = cells.get(3)?.parse().ok()?;
    cells.remove(3);
    Some((cells, lines))
}

/// Packages of others, and lines of ours without tests.
fn measure(package: &str) -> Result<Amount, String> {
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
    let packages = others.iter().filter(|line| !line.is_empty()).count();
    Ok(Amount { packages, lines })
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
        .map(|entry| entry.path())
        .filter(|path| !is_test(path))
        .map(
            |path| match path.extension().and_then(|ending| ending.to_str()) {
                _ if path.is_dir() => lines_below(&path),
                Some("rs") => std::fs::read_to_string(&path).map_or(0, |text| code_lines(&text)),
                _ => 0,
            },
        )
        .sum()
}

/// `tests.rs`, `tests/`, `test_child.rs`.
fn is_test(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.is_some_and(|stem| stem == "tests" || stem.starts_with("test_"))
}

/// Lines with code, up to the tests at the end of a file: comments are not held down.
fn code_lines(text: &str) -> usize {
    text.lines()
        .take_while(|line| *line != "mod tests {")
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with("//") && *line != "#[cfg(test)]")
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Amount = Amount {
        packages: 5,
        lines: 2000,
    };

    fn of(packages: usize, lines: usize) -> String {
        table(&[("a", Amount { packages, lines }, LIMIT)])
    }

    #[test]
    fn a_package_of_ours_is_known_by_its_folder() {
        assert_eq!(folder("clawdbot-proto v0.1.0 (/w/proto)"), Some("/w/proto"));
        assert_eq!(folder("tokio-macros v2.5.0 (proc-macro)"), None);
        assert_eq!(folder("tokio v1.54.0"), None);
    }

    #[test]
    fn tests_comments_and_empty_lines_are_no_code() {
        let text = "//! Page.\n\nfn a() {\n    // why\n    b();\n}\n\n#[cfg(test)]\nmod tests {\n    c();\n}\n";
        assert_eq!(code_lines(text), 3);
        assert!(is_test("src/x/tests.rs".as_ref()) && is_test("src/x/tests".as_ref()));
        assert!(!is_test("src/testing.rs".as_ref()) && !is_test("src/x.rs".as_ref()));
    }

    #[test]
    fn the_readme_is_out_of_date_when_a_package_came_or_many_lines_did() {
        assert!(of(4, 1234).contains("| a | 4 | 5 | 1200 | 2000 |"));
        assert!(is_current(&of(4, 1000), &of(4, 1200)));
        assert!(!is_current(&of(4, 1000), &of(4, 1300)));
        assert!(!is_current(&of(4, 1000), &of(5, 1000)));
        assert!(!is_current("", &of(4, 1000)));
    }

    #[test]
    fn either_amount_alone_can_exceed_the_limit() {
        let amount = |packages, lines| Amount { packages, lines };
        assert!(!amount(5, 2000).exceeds(LIMIT));
        assert!(amount(6, 1).exceeds(LIMIT));
        assert!(amount(1, 2001).exceeds(LIMIT));
    }
}
