//! `cargo xtask minimal`: leaves each row of the filters out in turn and lists those whose loss nothing notices. A row that
//! nobody needs is one more thing that a hijacked process may do.
//!
//! A row is first tried by one test in which every process does its work. What that does not notice is left out together, in
//! halves and quarters down to single rows, while further tests run: without a row a process can only do less, so what goes
//! unnoticed together is unnoticed alone.

mod rows;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::cargo::{self, Built, Kind};
use crate::stage::Stage;
use crate::{Done, orphans, test};

pub use rows::{Options, Row};

/// Builds the product so that it looks for the file.
const FEATURE: &str = "clawdbot-confine/drop-row";
/// Beside a program: the rows that its filter goes without.
const FILE: &str = "drop-row";
/// Every process at its work.
const FIRST: &[&str] = &["work"];
/// The same for rows of system mode alone.
const FIRST_IN_SYSTEM_MODE: &[&str] = &["system_mode"];
/// What else starts the real programs, those that fail soonest first. Not what compares the tables with themselves.
const FURTHER: &[&str] = &[
    "work",
    "system_mode",
    "confined",
    "process",
    "real",
    "kernel",
    "product",
    "models",
    "edges",
    "bad_input",
    "kill",
];

pub fn run(options: &Options) -> Done {
    let folder = cargo::target()?.join("minimal");
    let mut arguments = vec!["--workspace", "--bins", "--example", "rows"];
    arguments.extend(["--features", FEATURE]);
    for name in FURTHER {
        arguments.extend(["--test", name]);
    }
    let built = cargo::build_in(Some(&folder), &arguments)?;
    let rows = rows::choose(&rows::list(&built)?, options)?;
    orphans::adopt();
    let exam = Exam::new(built, options.profile.as_deref().unwrap_or("*"))?;
    println!(
        "{} rows; all tests once with every row in force …",
        rows.len()
    );
    if let Some(by) = exam.notice(&[], FURTHER)? {
        return Err(format!("fails although no row is left out: {by}"));
    }
    let mut results = Results::open(&folder.join("results"), options.from.is_some())?;
    let begin = rows::position(&rows, options.from.as_deref())?;
    for (at, row) in rows.iter().enumerate().skip(begin) {
        let began = Instant::now();
        let by = exam.notice_surely(&[row], row.first_tests())?;
        println!(
            "[{:>3}/{}] {row}: {} ({:.1} s)",
            at + 1,
            rows.len(),
            by.as_deref().unwrap_or("not yet noticed"),
            began.elapsed().as_secs_f64()
        );
        results.note(row, by)?;
    }
    let left: Vec<&Row> = rows.iter().filter(|row| !results.noticed(row)).collect();
    println!("{} rows are left for the further tests", left.len());
    sift(&exam, &left, &mut results)?;
    print!("{}", results.table(&rows));
    Ok(0)
}

/// Tries rows together and takes apart what is noticed.
fn sift(exam: &Exam, rows: &[&Row], results: &mut Results) -> Result<(), String> {
    if rows.is_empty() {
        return Ok(());
    }
    let began = Instant::now();
    let by = match rows.len() {
        1 => exam.notice_surely(rows, FURTHER)?,
        _ => exam.notice(rows, FURTHER)?,
    };
    println!(
        "  {} rows, {} … {}: {} ({:.0} s)",
        rows.len(),
        rows[0],
        rows[rows.len() - 1],
        by.as_deref().unwrap_or("unnoticed"),
        began.elapsed().as_secs_f64()
    );
    match (by, rows) {
        (None, _) => Ok(()),
        (by, [row]) => results.note(row, by),
        _ => {
            let (one, other) = rows.split_at(rows.len() / 2);
            sift(exam, one, results)?;
            sift(exam, other, results)
        }
    }
}

/// The staged build.
struct Exam {
    stage: Stage,
    built: Vec<Built>,
    /// Whose rows are left out: a profile's name, or everybody's.
    scope: String,
    /// One beside the programs, one beside the tests that confine themselves.
    files: Vec<PathBuf>,
}

impl Exam {
    fn new(built: Vec<Built>, scope: &str) -> Result<Self, String> {
        let stage = Stage::new(&built, None)?;
        let mut files: Vec<PathBuf> = built
            .iter()
            .filter_map(|built| fs::canonicalize(stage.program(built)).ok())
            .map(|program| program.with_file_name(FILE))
            .collect();
        files.sort();
        files.dedup();
        Ok(Self {
            stage,
            built,
            scope: scope.into(),
            files,
        })
    }

    /// As `notice`; but what is no death by the filter has to happen twice, since a test may fail on a busy machine.
    fn notice_surely(&self, rows: &[&Row], tests: &[&str]) -> Result<Option<String>, String> {
        match self.notice(rows, tests)? {
            Some(by) if by.contains("filter") || by.contains("signal 31") => Ok(Some(by)),
            Some(_) => self.notice(rows, tests),
            None => Ok(None),
        }
    }

    /// Runs tests without these rows until one fails; which, and what it says.
    fn notice(&self, rows: &[&Row], tests: &[&str]) -> Result<Option<String>, String> {
        let text: String = rows
            .iter()
            .map(|row| format!("{} {}\n", self.scope, row.name))
            .collect();
        for file in &self.files {
            fs::write(file, &text).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        for name in tests {
            let programs = self
                .built
                .iter()
                .filter(|built| built.harness && built.kind == Kind::Test && built.target == *name);
            for program in programs {
                if let Some(why) = test::first_failure(&self.stage, program)? {
                    return Ok(Some(format!("{name}: {why}")));
                }
            }
        }
        Ok(None)
    }
}

impl Drop for Exam {
    fn drop(&mut self) {
        for file in &self.files {
            let _never_written = fs::remove_file(file);
        }
    }
}

/// Who noticed which row, kept in a file so that a run can go on where another one ended.
struct Results {
    file: fs::File,
    noticed: BTreeMap<String, String>,
}

impl Results {
    fn open(path: &Path, keep: bool) -> Result<Self, String> {
        let failed = |error| format!("{}: {error}", path.display());
        let old = match keep {
            true => fs::read_to_string(path).unwrap_or_default(),
            false => String::new(),
        };
        let noticed = old
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(row, by)| (row.to_owned(), by.to_owned()))
            .collect();
        let mut file = fs::File::create(path).map_err(failed)?;
        file.write_all(old.as_bytes()).map_err(failed)?;
        Ok(Self { file, noticed })
    }

    fn noticed(&self, row: &Row) -> bool {
        self.noticed.contains_key(&row.name)
    }

    fn note(&mut self, row: &Row, by: Option<String>) -> Result<(), String> {
        match by {
            Some(by) => {
                writeln!(self.file, "{}\t{by}", row.name).map_err(|error| error.to_string())?;
                self.noticed.insert(row.name.clone(), by);
            }
            None => drop(self.noticed.remove(&row.name)),
        }
        Ok(())
    }

    fn table(&self, rows: &[Row]) -> String {
        let mut table = String::from("\n| Row | Noticed first by |\n|---|---|\n");
        let (mut unnoticed, mut others) = (String::new(), 0);
        for row in rows {
            match self.noticed.get(&row.name) {
                Some(by) => {
                    table.push_str(&format!("| `{row}` | {by} |\n"));
                    others += 1;
                }
                None => unnoticed.push_str(&format!("  {row}\n")),
            }
        }
        let count = rows.len() - others;
        format!(
            "{table}\n{others} rows are needed; the loss of {count} is noticed by nothing:\n{unnoticed}"
        )
    }
}
