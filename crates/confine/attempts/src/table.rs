//! The one table, `escape.toml`: what is expected in every cell, and why where something works.

use std::collections::BTreeMap;

use crate::column::{Column, Place};
use crate::listing::all;

/// The table's text.
const TEXT: &str = include_str!("../escape.toml");

type Cells = BTreeMap<String, String>;

/// The groups of rows.
pub const GROUPS: &[&str] = &[
    "file", "net", "reaim", "unix", "process", "space", "memory", "rights", "kernel", "x86",
];

/// The table.
#[derive(Debug)]
pub struct Table {
    why: Cells,
    groups: BTreeMap<String, BTreeMap<String, Cells>>,
}

/// What is expected of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// One of these words.
    pub words: Vec<String>,
    /// Why it is permitted.
    pub why: Option<String>,
}

impl Expected {
    /// Whether an outcome is one of those.
    pub fn is(&self, outcome: &str) -> bool {
        self.words.iter().any(|word| word == outcome)
    }
}

impl Table {
    /// Reads it; the text is part of the program.
    ///
    /// # Errors
    /// When it is no such table.
    pub fn load() -> Result<Self, String> {
        Self::parse(TEXT).map_err(|error| format!("escape.toml: {error}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let all: BTreeMap<String, toml::Table> = toml::from_str(text).map_err(|e| e.to_string())?;
        let text_of = |value: &toml::Value| match value {
            toml::Value::String(text) => Ok(text.clone()),
            other => Err(format!("{other} is no text")),
        };
        let mut table = Self {
            why: Cells::new(),
            groups: BTreeMap::new(),
        };
        for (group, rows) in &all {
            for (name, cells) in rows {
                if group == "why" {
                    table.why.insert(name.clone(), text_of(cells)?);
                    continue;
                }
                let cells = cells
                    .as_table()
                    .ok_or(format!("{group}.{name} is no row"))?;
                let cells: Result<Cells, String> = cells
                    .iter()
                    .map(|(column, cell)| Ok((column.clone(), text_of(cell)?)))
                    .collect();
                let rows = table.groups.entry(group.clone()).or_default();
                rows.insert(name.clone(), cells?);
            }
        }
        Ok(table)
    }

    /// The rows of a group: name, and cells by column.
    pub fn group(&self, name: &str) -> BTreeMap<String, Cells> {
        self.groups.get(name).cloned().unwrap_or_default()
    }

    /// Whether there is such a row.
    pub fn has(&self, attempt: &str) -> bool {
        self.row(attempt).is_some()
    }

    fn row(&self, attempt: &str) -> Option<&Cells> {
        let (group, name) = attempt.split_once('.')?;
        self.groups.get(group)?.get(name)
    }

    fn cell(&self, attempt: &str, column: &str) -> Option<&str> {
        self.row(attempt)?.get(column).map(String::as_str)
    }

    /// Rows of attempts that nobody can make, and attempts without a row.
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for group in GROUPS {
            if *group == "x86" && !cfg!(target_arch = "x86_64") {
                continue;
            }
            for name in self.group(group).keys() {
                let name = format!("{group}.{name}");
                if !all().any(|attempt| attempt.name == name) {
                    gaps.push(format!("{name}: a row, and nobody makes the attempt"));
                }
            }
        }
        for attempt in all() {
            if !self.has(attempt.name) {
                gaps.push(format!("{}: an attempt without a row", attempt.name));
            }
        }
        gaps
    }

    /// Who succeeds outside of all confinement.
    pub fn control(&self, attempt: &str) -> Option<&str> {
        self.cell(attempt, "control")
    }

    /// The answers that mean that the kernel has no such thing.
    pub fn lacks(&self, attempt: &str) -> Vec<&str> {
        let cell = self.cell(attempt, "lacks").unwrap_or_default();
        cell.split_whitespace().collect()
    }

    /// What is expected of an attempt in a process.
    ///
    /// # Errors
    /// When the table says nothing that makes sense.
    pub fn expected(&self, attempt: &str, column: &Column) -> Result<Expected, String> {
        let own = |name: &str| self.cell(attempt, name);
        let system = format!("system-{}", column.key);
        let everybody = || own(column.key).or_else(|| own("all")).unwrap_or("killed");
        let cell = match column.place {
            Place::Single => everybody(),
            Place::System => own(&system)
                .or_else(|| own("system"))
                .unwrap_or_else(everybody),
            Place::Tool => own("tool").unwrap_or("EPERM"),
            Place::Supervisor => own("supervisor").unwrap_or(match self.control(attempt) {
                Some("user") => "worked: supervisor",
                _ => "EPERM",
            }),
        };
        let mut expected = self
            .read(cell)
            .map_err(|error| format!("{attempt}: {error}"))?;
        if matches!(column.place, Place::Supervisor | Place::Tool) {
            // No filter, or a list of what is refused: what the kernel lacks, the kernel may say.
            let lacks = self.lacks(attempt).into_iter().map(String::from);
            expected.words.extend(lacks);
        }
        Ok(expected)
    }

    /// `EPERM`, `worked: KEY`, or several of them with `|` between.
    fn read(&self, cell: &str) -> Result<Expected, String> {
        let mut expected = Expected {
            words: Vec::new(),
            why: None,
        };
        for word in cell.split('|').map(str::trim) {
            match word.strip_prefix("worked") {
                Some(key) => {
                    let key = key
                        .strip_prefix(": ")
                        .ok_or("what works needs a reason: worked: KEY")?;
                    let why = self
                        .why
                        .get(key)
                        .ok_or(format!("there is no reason {key}"))?;
                    expected.why = Some(why.clone());
                    expected.words.push("worked".into());
                }
                None => expected.words.push(word.into()),
            }
        }
        Ok(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{columns, system_columns};

    #[test]
    fn the_most_particular_word_counts_and_what_works_needs_a_reason() {
        let table = Table::parse(
            "[why]\nown = \"its own\"\nsupervisor = \"no filter\"\n[net]\n\
             a = { all = \"EPERM\", dialer = \"worked: own\", system = \"EACCES\", control = \"user\" }\n\
             b = { control = \"root\" }\nc = { all = \"worked\" }\nd = { system-model = \"EPERM | ENOSYS\" }\n",
        )
        .unwrap();
        let of = |attempt: &str, key: &str| {
            let columns: Vec<Column> = columns().into_iter().chain(system_columns()).collect();
            let (place, key) = match key.strip_prefix("system-") {
                Some(key) => (Place::System, key),
                None => (Place::Single, key),
            };
            let found = columns
                .into_iter()
                .find(|c| c.key == key && (c.place == Place::System) == (place == Place::System));
            table.expected(attempt, &found.unwrap())
        };
        assert_eq!(of("net.a", "gateway").unwrap().words, ["EPERM"]);
        assert_eq!(of("net.a", "dialer").unwrap().why.unwrap(), "its own");
        assert_eq!(of("net.a", "system-gateway").unwrap().words, ["EACCES"]);
        assert_eq!(of("net.a", "supervisor").unwrap().words, ["worked"]);
        assert_eq!(of("net.a", "tool").unwrap().words, ["EPERM"]);
        assert_eq!(of("net.b", "gateway").unwrap().words, ["killed"]);
        assert_eq!(of("net.b", "supervisor").unwrap().words, ["EPERM"]);
        assert!(
            of("net.c", "gateway")
                .unwrap_err()
                .contains("needs a reason")
        );
        assert!(of("net.d", "system-model").unwrap().is("ENOSYS"));
        assert!(of("net.d", "system-gateway").unwrap().is("killed"));
    }
}
