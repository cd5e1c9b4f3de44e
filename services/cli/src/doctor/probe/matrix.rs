//! What came of the attempts, compared with the table of what is expected: for a person, for a script, and as findings.
//! Whoever started the processes is not known here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clawdbot_attempts::{Column, LETTERS, OTHER, Table, all, letter, upright};
use clawdbot_config::Severity::{Critical, Warn};
use clawdbot_identity::text::sanitize_line;
use clawdbot_service::{gaps, level};
use serde_json::{Value, json};

use crate::doctor::check::{Check, Found, Hit, elsewhere};
use crate::out::{Style, count};

pub const CHECKS: &[Check] = &[ESCAPE, FAILED];

const ESCAPE: Check = Check {
    id: "probe.escape",
    severity: Critical,
    title: "An attempt to break out did not end as it must",
    why: "Whoever takes this process over reaches what it must not reach.",
    help: "see what its unit says, and take out what opens it",
    command: "systemctl cat UNIT",
    fixes: false,
    look: elsewhere,
};

const FAILED: Check = Check {
    id: "probe.failed",
    severity: Warn,
    title: "A process could not be tried, or not as a whole",
    why: "Whether it holds whoever takes it over is not known.",
    help: "see why it does not start, and try again",
    command: "systemctl cat UNIT",
    fixes: false,
    look: elsewhere,
};

/// What ends a weakening that a file is to blame for.
const EDIT: &str =
    "sudo \"${EDITOR:-vi}\" PATH && sudo systemctl daemon-reload && sudo systemctl restart UNIT";
/// What can be done where no unit has a part in it.
const VERSIONS: &str = "see that all programs are of one version; if they are, this machine behaves as none before: report it";
const EACH: &str = "clawdbot doctor --probe --verbose";
/// So many cells a finding tells.
const TOLD: usize = 8;

/// What became of a process that was to be tried.
#[derive(Debug)]
pub enum Tried {
    /// Attempts and what came of them.
    Made(BTreeMap<String, String>),
    /// It did not start; why.
    Failed(String),
    /// It is left out; why.
    Left(String),
}

/// One process.
#[derive(Debug)]
pub struct Subject {
    /// Who it is.
    pub role: String,
    /// Its column in the table.
    pub column: Column,
    /// Its unit, as a shell takes it; empty where it has none.
    pub unit: String,
    /// Files that make the unit weaker than it was shipped.
    pub weakened_by: Vec<PathBuf>,
    /// What it measured of its confinement, where that is known.
    pub confinement: Option<String>,
    /// What became of it.
    pub tried: Tried,
}

/// An attempt in a process.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    /// What came of it is what must come of it.
    Right(String),
    /// It is not; and what would be.
    Wrong { got: String, expected: String },
    /// Nobody tried.
    Untried,
}

/// Everything that was tried.
#[derive(Debug)]
pub struct Matrix {
    subjects: Vec<Subject>,
    /// In the order of the table of attempts, a cell for each subject.
    rows: Vec<(&'static str, Vec<Cell>)>,
}

impl Matrix {
    /// Compares what was found with the table.
    ///
    /// # Errors
    /// When the table says nothing of a cell, which its tests rule out.
    pub fn new(subjects: Vec<Subject>) -> Result<Self, String> {
        let table = Table::load()?;
        let cell = |attempt: &str, subject: &Subject| {
            let Tried::Made(outcomes) = &subject.tried else {
                return Ok(Cell::Untried);
            };
            let expected = table.expected(attempt, &subject.column)?;
            let Some(got) = outcomes.get(attempt) else {
                return Ok(Cell::Untried);
            };
            Ok::<_, String>(match expected.is(got) {
                true => Cell::Right(got.to_owned()),
                false => Cell::Wrong {
                    got: got.to_owned(),
                    expected: expected.words.join(" or "),
                },
            })
        };
        let row = |name: &'static str| {
            let cells = subjects.iter().map(|subject| cell(name, subject));
            Ok((name, cells.collect::<Result<_, String>>()?))
        };
        let rows = all().map(|attempt| row(attempt.name));
        let rows = rows.collect::<Result<_, String>>()?;
        Ok(Self { subjects, rows })
    }

    /// What is to be said of each process that did not hold, or could not be tried as a whole.
    pub fn findings(&self) -> Vec<Found> {
        let of = |(at, subject): (usize, &Subject)| {
            let why = match &subject.tried {
                Tried::Made(_) => self.missed(at),
                Tried::Failed(why) => Some(sanitize_line(why).into_owned()),
                Tried::Left(_) => None,
            };
            let failed = why.map(|why| {
                let detail = format!("{}: {why}", subject.role);
                found(&FAILED, subject, detail)
            });
            self.escapes(at, subject).into_iter().chain(failed)
        };
        self.subjects.iter().enumerate().flat_map(of).collect()
    }

    /// The attempts that a process began and did not come to.
    fn missed(&self, at: usize) -> Option<String> {
        let untried = |cells: &Vec<Cell>| cells.get(at) == Some(&Cell::Untried);
        let missed = self.rows.iter().filter(|(_, cells)| untried(cells));
        let mut names: Vec<String> = missed.map(|(name, _)| (*name).to_owned()).collect();
        if names.is_empty() {
            return None;
        }
        let all = names.len();
        names.truncate(TOLD);
        if let more @ 1.. = all - names.len() {
            names.push(format!("{more} more"));
        }
        Some(format!("nothing came of {}", names.join("; ")))
    }

    fn escapes(&self, at: usize, subject: &Subject) -> Option<Found> {
        let wrong: Vec<_> = self
            .rows
            .iter()
            .filter_map(|(name, cells)| match cells.get(at) {
                Some(Cell::Wrong { got, expected }) => Some((name, got, expected)),
                _ => None,
            })
            .collect();
        if wrong.is_empty() {
            return None;
        }
        let mut told: Vec<String> = wrong
            .iter()
            .take(TOLD)
            .map(|(name, got, expected)| format!("{name} {got} instead of {expected}"))
            .collect();
        if let more @ 1.. = wrong.len().saturating_sub(TOLD) {
            told.push(format!("{more} more"));
        }
        let mut detail = format!("{}: {}", subject.role, told.join("; "));
        let level = subject.confinement.as_deref().and_then(level);
        if let Some(level) = level.filter(|level| *level != "full") {
            let _ = write!(detail, " (it is confined {level} here)");
        }
        Some(found(&ESCAPE, subject, detail))
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.rows.iter().flat_map(|(_, cells)| cells)
    }

    /// Attempts as rows, processes as columns. Rows of one group in which the same came of everything are one, unless
    /// each is wanted.
    pub fn text(&self, style: Style, each: bool) -> String {
        let mut lines: Vec<(String, usize, String)> = Vec::new();
        for (name, cells) in &self.rows {
            let group = name.split('.').next().unwrap_or(name);
            let shown: String = cells.iter().map(|cell| show(cell, style)).collect();
            match lines.iter_mut().find(|(first, _, known)| {
                !each && first.split('.').next() == Some(group) && *known == shown
            }) {
                Some((_, more, _)) => *more += 1,
                None => lines.push(((*name).to_owned(), 0, shown)),
            }
        }
        let lines: Vec<(String, String)> = lines
            .into_iter()
            .map(|(name, more, shown)| match more {
                0 => (name, shown),
                more => (format!("{name} and {more} more"), shown),
            })
            .collect();
        let widths = lines.iter().map(|(name, _)| name.chars().count());
        let width = widths.max().unwrap_or(0);
        let mut text = format!("{}\n", style.bold("Attempts to break out, by process"));
        let roles: Vec<&str> = self.subjects.iter().map(|s| s.role.as_str()).collect();
        // Writing to a String cannot fail.
        for letters in upright(&roles) {
            let _ = writeln!(text, "  {:width$}{letters}", "");
        }
        for (name, shown) in lines {
            let _ = writeln!(text, "  {name:width$}{shown}");
        }
        self.legend(&mut text, style);
        text
    }

    fn legend(&self, text: &mut String, style: Style) {
        text.push('\n');
        let known = LETTERS.iter();
        let known = known.map(|(_, letter, meaning)| (*letter, *meaning));
        let more = [OTHER, ('!', "not as it must be"), ('.', "not tried")];
        for (letter, meaning) in known.chain(more) {
            let _ = writeln!(text, "  {letter}  {}", style.dim(meaning));
        }
        let lines = self.subjects.iter();
        let lines = lines.filter_map(|of| Some((of.role.as_str(), of.confinement.as_deref()?)));
        for gap in gaps(lines) {
            let (what, meaning) = (gap.missing.what, gap.missing.meaning);
            let roles = gap.roles.join(", ");
            let _ = writeln!(text, "  missing here: {what} ({roles}): {meaning}");
        }
        for (at, subject) in self.subjects.iter().enumerate() {
            if let Tried::Left(why) | Tried::Failed(why) = &subject.tried {
                let why = sanitize_line(why);
                let _ = writeln!(text, "  not tried: {}, {why}", subject.role);
            } else if let Some(why) = self.missed(at) {
                let _ = writeln!(text, "  not tried as a whole: {}, {why}", subject.role);
            }
        }
        let wrong = self
            .cells()
            .filter(|cell| matches!(cell, Cell::Wrong { .. }));
        let wrong = wrong.count();
        let tried = self.cells().filter(|cell| **cell != Cell::Untried).count();
        let verdict = match wrong {
            0 => style.green("all as they must be"),
            _ => style.red(&format!("{wrong} not as they must be")),
        };
        let _ = writeln!(text, "  {}, {verdict}\n", count(tried, "attempt"));
    }

    /// The same for a script.
    pub fn json(&self) -> Value {
        let processes = self.subjects.iter().map(|subject| {
            let (state, reason) = match &subject.tried {
                Tried::Made(_) => ("tried", None),
                Tried::Failed(why) => ("failed", Some(why)),
                Tried::Left(why) => ("left-out", Some(why)),
            };
            json!({
                "role": subject.role,
                "state": state,
                "reason": reason,
                "confinement": subject.confinement,
            })
        });
        let attempts = self.rows.iter().map(|(name, cells)| {
            let cells = self.subjects.iter().zip(cells);
            let cells = cells.filter_map(|(subject, cell)| match cell {
                Cell::Right(got) => Some(json!({
                    "role": subject.role, "got": got, "right": true, "expected": null,
                })),
                Cell::Wrong { got, expected } => Some(json!({
                    "role": subject.role, "got": got, "right": false, "expected": expected,
                })),
                Cell::Untried => None,
            });
            json!({
                "attempt": name,
                "outcomes": cells.collect::<Vec<_>>(),
            })
        });
        json!({
            "processes": processes.collect::<Vec<_>>(),
            "attempts": attempts.collect::<Vec<_>>(),
        })
    }
}

fn show(cell: &Cell, style: Style) -> String {
    let letter = match cell {
        Cell::Right(got) if got == "worked" => style.dim("+"),
        Cell::Right(got) => style.green(&letter(got).to_string()),
        Cell::Wrong { .. } => style.red("!"),
        Cell::Untried => ".".to_owned(),
    };
    format!("  {letter}")
}

/// A finding about a process, with the file that is to blame where one is.
fn found(check: &Check, subject: &Subject, detail: String) -> Found {
    let blamed = subject.weakened_by.first();
    let mut hit = match blamed {
        Some(file) => Hit::file(file, detail),
        None => Hit::setting("", detail),
    };
    if let [_, others @ ..] = subject.weakened_by.as_slice()
        && !others.is_empty()
    {
        let names: Vec<String> = others
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let _ = write!(hit.detail, " (also {})", names.join(", "));
    }
    hit.unit = (!subject.unit.is_empty()).then(|| subject.unit.clone());
    let (help, command) = match (blamed, subject.unit.is_empty()) {
        (Some(_), _) => (check.help, EDIT),
        (None, false) => (check.help, check.command),
        (None, true) => (VERSIONS, EACH),
    };
    let check = Check {
        help,
        command,
        ..*check
    };
    check.found(hit)
}

/// The schema of [`Matrix::json`].
pub fn schema() -> Value {
    let text = || json!({ "type": "string" });
    let maybe = || json!({ "type": ["string", "null"] });
    let closed = |properties: Value| {
        let names: Vec<String> = properties
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect();
        json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
    };
    let list = |items: Value| json!({ "type": "array", "items": items });
    let process = closed(json!({
        "role": text(),
        "state": { "type": "string", "enum": ["tried", "failed", "left-out"] },
        "reason": maybe(),
        "confinement": maybe(),
    }));
    let outcome = closed(json!({
        "role": text(),
        "got": text(),
        "right": { "type": "boolean" },
        "expected": maybe(),
    }));
    let attempt = closed(json!({
        "attempt": text(),
        "outcomes": list(outcome),
    }));
    closed(json!({ "processes": list(process), "attempts": list(attempt) }))
}

#[cfg(test)]
mod tests {
    use clawdbot_attempts::system_columns;

    use super::*;

    const PARTIAL: &str = "level=partial landlock=0 seccomp=on filters=5 nnp=on caps=off dumpable=off core=0 env=0 strays=0 net=own memory=secret missing=landlock";

    /// Everything as the table has it.
    fn right(key: &str) -> (Column, BTreeMap<String, String>) {
        let table = Table::load().unwrap();
        let column = system_columns().into_iter().find(|c| c.key == key);
        let column = column.unwrap();
        let outcomes = all().map(|attempt| {
            let expected = table.expected(attempt.name, &column).unwrap();
            (attempt.name.to_owned(), expected.words[0].clone())
        });
        (column, outcomes.collect())
    }

    fn subject(role: &str, key: &str) -> Subject {
        let (column, outcomes) = right(key);
        Subject {
            role: role.into(),
            column,
            unit: format!("clawdbot-{role}.service"),
            weakened_by: Vec::new(),
            confinement: None,
            tried: Tried::Made(outcomes),
        }
    }

    fn change(subject: &mut Subject, attempt: &str, outcome: &str) {
        let Tried::Made(outcomes) = &mut subject.tried else {
            panic!("not tried");
        };
        outcomes.insert(attempt.into(), outcome.into());
    }

    #[test]
    fn what_is_as_the_table_says_is_no_finding_and_rows_that_are_alike_are_one() {
        let subjects = vec![subject("policy", "policy"), subject("dialer", "dialer")];
        let matrix = Matrix::new(subjects).unwrap();
        assert!(matrix.findings().is_empty());
        let text = matrix.text(Style::PLAIN, false);
        assert!(text.contains("all as they must be"), "{text}");
        assert!(!text.contains('\u{1b}'));
        let whole = matrix.text(Style::PLAIN, true);
        assert!(whole.lines().count() > 200);
        assert!(text.lines().count() < 80, "{text}");
        let json = matrix.json();
        assert_eq!(json["attempts"].as_array().unwrap().len(), all().count());
    }

    #[test]
    fn a_cell_that_differs_names_process_attempt_both_answers_and_the_file_to_blame() {
        let mut policy = subject("policy", "policy");
        change(&mut policy, "unix.docker", "worked");
        policy.weakened_by = vec!["/etc/x.conf".into()];
        let mut gateway = subject("gateway", "gateway");
        for attempt in all().filter(|attempt| attempt.name.starts_with("process.")) {
            change(&mut gateway, attempt.name, "EPERM");
        }
        let matrix = Matrix::new(vec![policy, gateway]).unwrap();
        let [of_policy, of_gateway] = matrix.findings().try_into().unwrap();
        assert_eq!(of_policy.id, "probe.escape");
        assert_eq!(of_policy.severity, Critical);
        assert_eq!(
            of_policy.detail,
            "policy: unix.docker worked instead of EACCES"
        );
        assert_eq!(of_policy.spot.unwrap().file, PathBuf::from("/etc/x.conf"));
        assert!(of_policy.command.contains("/etc/x.conf"));
        assert!(of_gateway.detail.ends_with(" more"), "{of_gateway:?}");
        assert!(of_gateway.command.contains("clawdbot-gateway.service"));
        let text = matrix.text(Style::PLAIN, false);
        assert!(text.contains("not as they must be") && text.contains("  !"));
    }

    #[test]
    fn what_a_kernel_lacks_is_told_and_blames_no_unit() {
        let mut policy = subject("policy", "policy");
        policy.unit = String::new();
        policy.confinement = Some(PARTIAL.into());
        change(&mut policy, "file.passwd", "worked");
        let matrix = Matrix::new(vec![policy]).unwrap();
        let found = matrix.findings().remove(0);
        let told = "policy: file.passwd worked instead of EACCES (it is confined partial here)";
        assert_eq!(found.detail, told);
        assert!(!found.command.contains("systemctl"), "{}", found.command);
        let text = matrix.text(Style::PLAIN, false);
        assert!(text.contains("missing here: landlock (policy): "), "{text}");
    }

    #[test]
    fn an_attempt_without_an_outcome_is_not_taken_for_a_refused_one() {
        let mut policy = subject("policy", "policy");
        if let Tried::Made(outcomes) = &mut policy.tried {
            outcomes.remove("net.tcp4");
        }
        let matrix = Matrix::new(vec![policy]).unwrap();
        let found = matrix.findings().remove(0);
        assert_eq!(found.id, "probe.failed");
        assert_eq!(found.detail, "policy: nothing came of net.tcp4");
        let text = matrix.text(Style::PLAIN, true);
        let row = text.lines().find(|line| line.contains("net.tcp4 "));
        assert!(row.unwrap().ends_with(" ."), "{text}");
        assert!(text.contains("not tried as a whole: policy"), "{text}");
    }

    #[test]
    fn what_was_not_tried_is_never_green() {
        let mut failed = subject("policy", "policy");
        failed.tried = Tried::Failed("it refuses to be root".into());
        let mut masked = subject("gateway", "gateway");
        masked.tried = Tried::Left("its unit is masked".into());
        let dialer = subject("dialer", "dialer");
        let matrix = Matrix::new(vec![failed, masked, dialer]).unwrap();
        let found = matrix.findings();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, "probe.failed");
        assert!(found[0].detail.contains("refuses to be root"));
        let text = matrix.text(Style::PLAIN, true);
        let row = text.lines().find(|line| line.contains("net.tcp4 "));
        assert!(row.unwrap().contains(".  .  "), "{text}");
        assert!(text.contains("not tried: gateway, its unit is masked"));
        let json = matrix.json();
        assert_eq!(json["processes"][0]["state"], "failed");
    }
}
