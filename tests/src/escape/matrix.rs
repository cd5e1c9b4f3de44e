//! The printed result: one line for each attempt, one letter for each process, and the counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;

use clawdbot_attempts::{Attempt, Column, LETTERS, OTHER, Place, Table, all, letter, upright};

use super::control::Control;
use super::run::Found;

/// A matrix with its counts, and everything that is not as the table says.
#[derive(Debug)]
pub struct Report {
    /// What is printed.
    pub text: String,
    /// What fails the test.
    pub surprises: Vec<String>,
}

/// A cell's letter: small where the kernel has no such thing and the filter was asked all the same.
fn shown_as(outcome: &str, lacking: bool) -> char {
    match (letter(outcome), lacking) {
        (letter, true) => letter.to_ascii_lowercase(),
        (letter, false) => letter,
    }
}

impl Report {
    /// Compares what was found with the table. `controls`: outcomes of the controls made so far.
    pub fn new(
        title: &str,
        table: &Table,
        columns: &[Column],
        found: &Found,
        controls: &BTreeMap<&'static str, String>,
        wanted: impl Fn(&Attempt) -> bool,
    ) -> Self {
        let mut report = Self {
            text: format!("\n{title}\n"),
            surprises: table.gaps(),
        };
        let attempts: Vec<Attempt> = all().filter(|attempt| wanted(attempt)).collect();
        let width = attempts.iter().map(|a| a.name.len()).max().unwrap_or(0);
        report.heads(columns, width);
        let mut counts: BTreeMap<Column, BTreeMap<&str, u32>> = BTreeMap::new();
        let mut reasons: BTreeSet<String> = BTreeSet::new();
        for attempt in &attempts {
            let lacking = report.control(table, attempt, controls);
            let mut line = format!("  {:width$} ", attempt.name);
            for column in columns {
                let got = found.outcomes.get(&(*column, attempt.name));
                let outcome = got.map_or("nothing", String::as_str);
                let shown = match column.place {
                    Place::System => format!("system-{}", column.key),
                    _ => column.key.to_owned(),
                };
                match table.expected(attempt.name, column) {
                    Ok(expected) if expected.is(outcome) => {
                        reasons.extend(expected.why.filter(|_| outcome == "worked"));
                    }
                    Ok(expected) => report.surprises.push(format!(
                        "{} in {shown}: {outcome}, expected {}",
                        attempt.name,
                        expected.words.join(" or ")
                    )),
                    Err(error) => report.surprises.push(error),
                }
                let kind = match outcome {
                    "worked" => "worked by design",
                    // It was our answer, whatever the kernel would have said.
                    _ if lacking => "kernel lacks it",
                    "killed" => "killed",
                    _ => "denied by errno",
                };
                *counts.entry(*column).or_default().entry(kind).or_default() += 1;
                let _ = write!(line, "  {}", shown_as(outcome, lacking));
            }
            report.text.push_str(line.trim_end());
            report.text.push('\n');
        }
        report.counts(columns, &counts, width);
        report.legend(&reasons);
        let _ = writeln!(
            report.text,
            "  {} cells, {} processes started",
            attempts.len() * columns.len(),
            found.starts
        );
        report
    }

    /// Column names, upright.
    fn heads(&mut self, columns: &[Column], width: usize) {
        let keys: Vec<&str> = columns.iter().map(|column| column.key).collect();
        for letters in upright(&keys) {
            let line = format!("{}{letters}", " ".repeat(width + 3));
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
    }

    /// Judges the control of an attempt; whether the kernel lacks what it is about.
    fn control(
        &mut self,
        table: &Table,
        attempt: &Attempt,
        controls: &BTreeMap<&'static str, String>,
    ) -> bool {
        let name = attempt.name;
        match table.control(name).map(|word| (word, Control::parse(word))) {
            Some((_, Some(_))) => {}
            Some((word, None)) => self
                .surprises
                .push(format!("{name}: no control is called {word}")),
            None if table.has(name) => self.surprises.push(format!("{name}: no control")),
            None => {}
        }
        let Some(outcome) = controls.get(name) else {
            // Root's part of the suite makes it.
            return false;
        };
        if table.lacks(name).contains(&outcome.as_str()) {
            return true;
        }
        if outcome != "worked" {
            let who = table.control(name).unwrap_or("nobody");
            self.surprises
                .push(format!("{name}: the control as {who} fails with {outcome}"));
        }
        false
    }

    fn counts(
        &mut self,
        columns: &[Column],
        counts: &BTreeMap<Column, BTreeMap<&str, u32>>,
        width: usize,
    ) {
        self.text.push('\n');
        let kinds = [
            "denied by errno",
            "killed",
            "kernel lacks it",
            "worked by design",
        ];
        let mut totals: BTreeMap<&str, u32> = BTreeMap::new();
        for column in columns {
            let of = |kind: &str| {
                counts
                    .get(column)
                    .and_then(|c| c.get(kind))
                    .copied()
                    .unwrap_or(0)
            };
            let cells = kinds.map(|kind| {
                *totals.entry(kind).or_default() += of(kind);
                format!("{kind} {:3}", of(kind))
            });
            let _ = writeln!(self.text, "  {:width$}  {}", column.key, cells.join("   "));
        }
        let cells = kinds.map(|kind| format!("{kind} {}", totals.get(kind).copied().unwrap_or(0)));
        let _ = writeln!(self.text, "  {:width$}  {}", "all", cells.join("   "));
    }

    fn legend(&mut self, reasons: &BTreeSet<String>) {
        self.text.push('\n');
        for (_, letter, meaning) in LETTERS {
            let _ = writeln!(self.text, "  {letter}  {meaning}");
        }
        let (letter, meaning) = OTHER;
        let _ = writeln!(self.text, "  {letter}  {meaning}");
        self.text.push_str(
            "  small letters: this kernel has no such thing, and our answer came first\n",
        );
        self.text.push_str("  what works, works because:\n");
        for reason in reasons {
            let _ = writeln!(self.text, "  -  {reason}");
        }
    }

    /// Adds what the controls came to.
    pub fn add_controls(&mut self, table: &Table, controls: &BTreeMap<&'static str, String>) {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for attempt in all() {
            let who = table.control(attempt.name).unwrap_or("nobody");
            let key = match controls.get(attempt.name) {
                Some(outcome) if outcome == "worked" => format!("succeeded as {who}"),
                Some(_) => "the kernel has no such thing".to_owned(),
                None => "left to root's part (root_escape)".to_owned(),
            };
            *counts.entry(key).or_default() += 1;
        }
        self.text
            .push_str("  controls, the same attempts outside of all confinement:\n");
        for (what, count) in counts {
            let _ = writeln!(self.text, "     {count:3} {what}");
        }
    }

    /// Every process measured that it is confined in full.
    pub fn check_levels(&mut self, found: &Found) {
        if found.levels.is_empty() {
            self.surprises.push("no process has said its level".into());
        }
        let less = found.levels.iter().filter(|(_, level)| *level != "full");
        let less = less.map(|(column, level)| format!("{} is confined {level}", column.key));
        self.surprises.extend(less);
    }

    /// Fails if anything is not as the table says.
    #[track_caller]
    pub fn check(self) {
        let Self { text, surprises } = self;
        publish(&text);
        let count = surprises.len();
        assert!(count == 0, "{count} surprises:\n{}", surprises.join("\n"));
    }
}

/// Prints a matrix, and adds it to the file that `CLAWDBOT_MATRIX` names.
pub fn publish(text: &str) {
    println!("{text}");
    if let Some(path) = std::env::var_os("CLAWDBOT_MATRIX") {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}
