//! What was found beside what the table expects: a line for each attempt, a letter for each process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use clawdbot_attempts::{Column, Expected, Table, all};
use clawdbot_identity::text::sanitize_line;
use serde_json::{Value, json};

use crate::out::Style;

/// Letters of outcomes as they are expected.
const LETTERS: &[(&str, char, &str)] = &[
    ("killed", 'K', "the filter ended the process (SIGSYS)"),
    ("EPERM", 'P', "answered EPERM"),
    ("EACCES", 'A', "answered EACCES"),
    (
        "ENOSYS",
        'N',
        "answered ENOSYS, as if the kernel had no such call",
    ),
    ("worked", '+', "worked, by design"),
];
const OTHER: char = 'E';
const WRONG: char = '!';
/// What came of an attempt that nobody made.
const NOTHING: &str = "nothing";

/// Outcomes by column and attempt.
pub type Outcomes = BTreeMap<(Column, &'static str), String>;

/// One attempt in one process.
struct Cell {
    column: Column,
    outcome: String,
    expected: Expected,
}

/// All of it.
pub struct Matrix {
    columns: Vec<Column>,
    rows: Vec<(&'static str, Vec<Cell>)>,
}

/// A cell that is not as the table says.
pub struct Difference {
    pub column: Column,
    pub attempt: &'static str,
    pub outcome: String,
    pub expected: String,
}

impl Matrix {
    /// Compares.
    ///
    /// # Errors
    /// When the table says nothing that makes sense.
    pub fn new(table: &Table, columns: Vec<Column>, outcomes: &Outcomes) -> Result<Self, String> {
        let cell = |name, column: &Column| {
            let outcome = outcomes.get(&(*column, name));
            Ok(Cell {
                column: *column,
                outcome: outcome.map_or(NOTHING, String::as_str).to_owned(),
                expected: table.expected(name, column)?,
            })
        };
        let row = |name| {
            let cells: Result<Vec<Cell>, String> =
                columns.iter().map(|column| cell(name, column)).collect();
            Ok((name, cells?))
        };
        let rows: Result<_, String> = all().map(|attempt| row(attempt.name)).collect();
        Ok(Self {
            rows: rows?,
            columns,
        })
    }

    /// The processes that were tried.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The cells that differ.
    pub fn differences(&self) -> Vec<Difference> {
        let wrong = |attempt: &'static str, cell: &Cell| {
            (!cell.holds()).then(|| Difference {
                column: cell.column,
                attempt,
                outcome: cell.outcome.clone(),
                expected: cell.expected.words.join(" or "),
            })
        };
        let rows = self.rows.iter();
        rows.flat_map(|(name, cells)| cells.iter().filter_map(|cell| wrong(name, cell)))
            .collect()
    }

    /// For a script: what each attempt came to in one process.
    pub fn outcomes(&self, column: &Column) -> Value {
        let cells = self.rows.iter().filter_map(|(name, cells)| {
            let cell = cells.iter().find(|cell| cell.column == *column)?;
            Some(((*name).to_owned(), json!(cell.outcome)))
        });
        Value::Object(cells.collect())
    }

    /// For a person.
    pub fn text(&self, style: Style) -> String {
        let names = self.rows.iter().map(|(name, _)| name.len());
        let width = names.max().unwrap_or_default();
        let mut text = self.heads(width);
        for (name, cells) in &self.rows {
            let _ = write!(text, "  {name:width$} ");
            for cell in cells {
                let _ = write!(text, "  {}", cell.letter(style));
            }
            text.push('\n');
        }
        text.push('\n');
        for (_, letter, meaning) in LETTERS {
            let _ = writeln!(text, "  {letter}  {meaning}");
        }
        let _ = writeln!(
            text,
            "  {OTHER}  answered with another error, which is the one expected"
        );
        let _ = writeln!(
            text,
            "  {WRONG}  not as it should be; the findings below say what"
        );
        let _ = writeln!(text, "  what works, works because:");
        for reason in self.reasons() {
            let _ = writeln!(text, "  -  {reason}");
        }
        text
    }

    /// Column names, upright.
    fn heads(&self, width: usize) -> String {
        let keys = self.columns.iter().map(|column| column.key.len());
        let tall = keys.max().unwrap_or_default();
        let mut text = String::new();
        for row in 0..tall {
            let mut line = " ".repeat(width + 3);
            for column in &self.columns {
                let above = tall - column.key.len();
                let letter = row
                    .checked_sub(above)
                    .and_then(|at| column.key.chars().nth(at));
                let _ = write!(line, "  {}", letter.unwrap_or(' '));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn reasons(&self) -> BTreeSet<&str> {
        let cells = self.rows.iter().flat_map(|(_, cells)| cells);
        cells
            .filter(|cell| cell.holds() && cell.outcome == "worked")
            .filter_map(|cell| cell.expected.why.as_deref())
            .collect()
    }
}

impl Cell {
    fn holds(&self) -> bool {
        self.expected.is(&self.outcome)
    }

    fn letter(&self, style: Style) -> String {
        if !self.holds() {
            return style.red(&WRONG.to_string());
        }
        let known = LETTERS.iter().find(|(word, ..)| *word == self.outcome);
        known.map_or(OTHER, |(_, letter, _)| *letter).to_string()
    }
}

impl Difference {
    /// In a few words, without the process.
    pub fn text(&self) -> String {
        format!(
            "{} {}, expected {}",
            self.attempt,
            sanitize_line(&self.outcome),
            self.expected
        )
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_attempts::{Place, columns};

    use super::*;

    /// Everything as the table says, in two processes.
    fn clean() -> (Table, Vec<Column>, Outcomes) {
        let table = Table::load().unwrap();
        let mut two = columns();
        two.retain(|column| {
            column.place == Place::Single && ["broker", "dialer"].contains(&column.key)
        });
        let mut outcomes = Outcomes::new();
        for column in &two {
            for attempt in all() {
                let expected = table.expected(attempt.name, column).unwrap();
                outcomes.insert((*column, attempt.name), expected.words[0].clone());
            }
        }
        (table, two, outcomes)
    }

    #[test]
    fn what_is_as_the_table_says_differs_nowhere() {
        let (table, columns, outcomes) = clean();
        let matrix = Matrix::new(&table, columns, &outcomes).unwrap();
        assert!(matrix.differences().is_empty());
        let text = matrix.text(Style::PLAIN);
        let line = |name: &str| {
            let found = text
                .lines()
                .find(|line| line.trim_start().starts_with(name));
            found
                .unwrap()
                .split_whitespace()
                .skip(1)
                .collect::<Vec<_>>()
        };
        assert_eq!(line("file.hosts "), ["A", "+"]);
        assert_eq!(line("process.ptrace "), ["K", "K"]);
        assert!(text.contains("-  the dialer resolves names"), "{text}");
    }

    #[test]
    fn a_cell_that_differs_in_either_direction_is_named_and_so_is_one_that_nobody_tried() {
        let (table, columns, mut outcomes) = clean();
        let [broker, dialer] = [columns[0], columns[1]];
        outcomes.insert((broker, "file.hosts"), "worked".to_owned());
        outcomes.insert((dialer, "file.hosts"), "EACCES".to_owned());
        outcomes.remove(&(broker, "net.tcp4"));
        let matrix = Matrix::new(&table, columns, &outcomes).unwrap();
        let found: Vec<String> = { matrix.differences().iter() }
            .map(|one| format!("{}: {}", one.column.key, one.text()))
            .collect();
        assert_eq!(
            found,
            [
                "broker: file.hosts worked, expected EACCES",
                "dialer: file.hosts EACCES, expected worked",
                "broker: net.tcp4 nothing, expected EPERM",
            ]
        );
        let text = matrix.text(Style::PLAIN);
        assert!(
            text.lines()
                .any(|line| line.contains("file.hosts") && line.ends_with("!  !")),
            "{text}"
        );
        assert_eq!(matrix.outcomes(&broker)["file.hosts"], "worked");
    }
}
