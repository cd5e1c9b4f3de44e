//! A table of what attempts are expected to come to at each server, and the matrix of what they came to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Prints a matrix, and adds it to the file that `CLAWDBOT_MATRIX` names.
pub fn publish(matrix: &str) {
    println!("{matrix}");
    if let Some(path) = std::env::var_os("CLAWDBOT_MATRIX") {
        use std::io::Write as _;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.create(true).append(true).open(path).unwrap();
        writeln!(file, "{matrix}").unwrap();
    }
}

/// Attempt, server, outcome.
#[derive(Default)]
pub struct Verdicts {
    rows: Vec<&'static str>,
    columns: BTreeSet<String>,
    outcomes: BTreeMap<(&'static str, String), String>,
}

impl Verdicts {
    /// Notes an outcome.
    pub fn note(&mut self, attempt: &'static str, server: &str, outcome: impl Into<String>) {
        if !self.rows.contains(&attempt) {
            self.rows.push(attempt);
        }
        self.columns.insert(server.into());
        self.outcomes
            .insert((attempt, server.into()), outcome.into());
    }

    /// The matrix, aligned.
    pub fn matrix(&self) -> String {
        let cell = |row: &&'static str, column: &String| {
            let outcome = self.outcomes.get(&(*row, column.clone()));
            outcome.map_or("·", String::as_str)
        };
        let first = self.rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let mut text = format!("{:first$}", "");
        let widths: Vec<usize> = self
            .columns
            .iter()
            .map(|column| {
                let cells = self
                    .rows
                    .iter()
                    .map(|row| cell(row, column).chars().count());
                cells.chain([column.len()]).max().unwrap_or(0)
            })
            .collect();
        for (column, width) in self.columns.iter().zip(&widths) {
            let _written = write!(text, "  {column:width$}");
        }
        for row in &self.rows {
            let _written = write!(text, "\n{row:first$}");
            for (column, width) in self.columns.iter().zip(&widths) {
                let _written = write!(text, "  {:width$}", cell(row, column));
            }
        }
        text
    }

    /// Prints the matrix, and fails when an outcome is not as the section of the table says, when a row was not tried, or
    /// when something was tried that has no row.
    #[track_caller]
    pub fn agree(&self, section: &str) {
        publish(&format!("{section}\n{}\n", self.matrix()));
        let text = include_str!("../protocol.toml");
        let table: toml::Table = toml::from_str(text).unwrap();
        let table = table[section].as_table().unwrap();
        let mut surprises = Vec::new();
        for (row, expected) in table {
            if !self.rows.contains(&row.as_str()) {
                surprises.push(format!("{row} was not tried"));
            }
            for server in expected.as_table().unwrap().keys() {
                let tried = self
                    .outcomes
                    .keys()
                    .any(|(name, at)| name == row && at == server);
                if server != "all" && !tried {
                    surprises.push(format!("{row} was not tried at {server}"));
                }
            }
        }
        for ((row, server), outcome) in &self.outcomes {
            let expected = table
                .get(*row)
                .and_then(|row| row.get(server).or(row.get("all")));
            let expected = expected.and_then(toml::Value::as_str).unwrap_or("nothing");
            if !expected.split(" or ").any(|word| word == outcome) {
                surprises.push(format!("{row} at {server}: {outcome}, expected {expected}"));
            }
        }
        assert!(surprises.is_empty(), "{section}: {surprises:#?}");
    }
}
