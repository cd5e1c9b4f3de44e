//! `--probe`: everything that a program would try that breaks out, tried in the confinement of every role as it is on this
//! machine, beside what the table expects of it. A difference is a finding in either direction: it means that something
//! is not as it was built and tested.

#[cfg(target_os = "linux")]
mod matrix;
#[cfg(target_os = "linux")]
mod single;

use clawdbot_config::Severity;
use serde_json::{Value, json};

use super::check::{Check, Found, Hit, elsewhere};

pub const CHECKS: &[Check] = &[ESCAPE, FAILED];

const ESCAPE: Check = Check {
    id: "probe.escape",
    severity: Severity::Critical,
    title: "the confinement of a process is not what it was built to be",
    why: "What a hijacked process gets beyond the table, its confinement does not hold back.",
    help: "install all programs of one version; if that is the case, this kernel behaves as none before: report it",
    command: "clawdbot doctor --probe --json",
    fixes: false,
    look: elsewhere,
};

const FAILED: Check = Check {
    id: "probe.failed",
    severity: Severity::Warn,
    title: "the attempts to break out could not be made",
    why: "How well the processes are confined was not tried.",
    help: "mend what is named and look again",
    command: "clawdbot doctor --probe",
    fixes: false,
    look: elsewhere,
};

/// What came of it.
#[derive(Debug, Default)]
pub struct Probe {
    /// The matrix, for a person.
    pub text: String,
    /// For a script.
    pub json: Value,
    pub findings: Vec<Found>,
}

impl Probe {
    /// Nothing could be tried.
    fn failed(why: &str) -> Self {
        Self {
            json: json!({ "processes": [], "differences": [] }),
            findings: vec![FAILED.found(Hit {
                detail: why.to_owned(),
                ..Hit::default()
            })],
            ..Self::default()
        }
    }
}

#[cfg(target_os = "linux")]
pub use linux::run;

/// There is nothing like it elsewhere.
#[cfg(not(target_os = "linux"))]
pub async fn run(
    _: &crate::place::Place,
    _: Option<u32>,
    _: crate::out::Out,
) -> Result<Probe, crate::failure::Failure> {
    Ok(Probe::failed("the attempts are about Linux"))
}

/// The schema of what a script reads.
pub fn schema() -> Value {
    let text = || json!({ "type": "string" });
    let object = |properties: Value, required: Value| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    let outcomes = json!({
        "type": "object",
        "description": "What each attempt came to: the name of an error, `killed`, or `worked`.",
        "properties": {},
        "required": [],
        "additionalProperties": { "type": "string" },
    });
    let process = object(
        json!({
            "role": text(),
            "confinement": { "type": ["string", "null"], "description": "What it measured of itself." },
            "outcomes": outcomes,
        }),
        json!(["role", "confinement", "outcomes"]),
    );
    let difference = object(
        json!({ "role": text(), "attempt": text(), "outcome": text(), "expected": text() }),
        json!(["role", "attempt", "outcome", "expected"]),
    );
    object(
        json!({
            "processes": { "type": "array", "items": process },
            "differences": { "type": "array", "items": difference },
        }),
        json!(["processes", "differences"]),
    )
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::io::{ErrorKind, IsTerminal as _, Write as _};
    use std::time::Instant;

    use clawdbot_attempts::{Column, Table};
    use clawdbot_service::gaps;
    use serde_json::json;

    use super::matrix::{Difference, Matrix};
    use super::{ESCAPE, Probe, single};
    use crate::doctor::check::{Found, Hit};
    use crate::failure::Failure;
    use crate::out::{Out, count};
    use crate::place::Place;

    /// Differences of one process that are told one by one.
    const TOLD: usize = 5;

    /// Makes all attempts. `sibling`: a process of the assistant, where one runs.
    ///
    /// # Errors
    /// When the person ends it.
    pub async fn run(place: &Place, sibling: Option<u32>, out: Out) -> Result<Probe, Failure> {
        if place.is_system() {
            return Ok(Probe::failed(
                "there is no way yet to try what the service manager starts",
            ));
        }
        if rustix::process::geteuid().is_root() {
            return Ok(Probe::failed(
                "root is not who the processes run as; run it as the user who runs `clawdbot up`",
            ));
        }
        let programs = match crate::up::programs() {
            Ok(folder) => folder,
            Err(failure) => return Ok(Probe::failed(&failure.message)),
        };
        let began = Instant::now();
        let shown = !out.json && std::io::stderr().is_terminal();
        let sibling = sibling.unwrap_or_else(std::process::id);
        let found = single::run(&programs, sibling, |made, all| {
            if shown {
                progress(&format!("trying to break out: {made} of {all}"));
            }
        });
        let found = found.await;
        if shown {
            progress("");
        }
        let found = match found {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                return Err(Failure::new("interrupted", error.to_string()).exit(130));
            }
            Err(error) => return Ok(Probe::failed(&error.to_string())),
        };
        let table = Table::load();
        let matrix = table.and_then(|table| Matrix::new(&table, single::tried(), &found.outcomes));
        let matrix = match matrix {
            Ok(matrix) => matrix,
            Err(why) => return Ok(Probe::failed(&why)),
        };
        let seconds = began.elapsed().as_secs_f32();
        let mut probe = report(&matrix, &found.levels, out);
        let _ = writeln!(
            probe.text,
            "  {} in {}, {seconds:.1} s",
            count(found.outcomes.len(), "attempt"),
            count(matrix.columns().len(), "role")
        );
        Ok(probe)
    }

    /// One line that is written over and over.
    fn progress(text: &str) {
        let mut stderr = std::io::stderr().lock();
        // Whoever closed it does not want to know.
        let _closed = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
    }

    fn report(matrix: &Matrix, levels: &BTreeMap<Column, String>, out: Out) -> Probe {
        let mut text = matrix.text(out.style);
        let lines = levels
            .iter()
            .map(|(column, line)| (column.key, line.as_str()));
        for gap in gaps(lines) {
            let (what, meaning) = (gap.missing.what, gap.missing.meaning);
            let _ = writeln!(
                text,
                "  missing here: {what} ({}): {meaning}",
                gap.roles.join(", ")
            );
        }
        let differences = matrix.differences();
        let processes = matrix.columns().iter().map(|column| {
            json!({
                "role": column.key,
                "confinement": levels.get(column),
                "outcomes": matrix.outcomes(column),
            })
        });
        let told = differences.iter().map(|one| {
            json!({
                "role": one.column.key,
                "attempt": one.attempt,
                "outcome": one.outcome,
                "expected": one.expected,
            })
        });
        Probe {
            json: json!({
                "processes": processes.collect::<Vec<_>>(),
                "differences": told.collect::<Vec<_>>(),
            }),
            findings: findings(matrix, &differences, levels),
            text,
        }
    }

    /// One for each process that has any.
    fn findings(
        matrix: &Matrix,
        differences: &[Difference],
        levels: &BTreeMap<Column, String>,
    ) -> Vec<Found> {
        let of = |column: &Column| {
            let all: Vec<String> = { differences.iter() }
                .filter(|one| one.column == *column)
                .map(Difference::text)
                .collect();
            let (told, more) = all.split_at(all.len().min(TOLD));
            let mut detail = format!("{}: {}", column.key, told.join("; "));
            if !more.is_empty() {
                let _ = write!(detail, "; and {} more", more.len());
            }
            let level = levels.get(column);
            let level = level.and_then(|line| clawdbot_service::level(line));
            if let Some(level) = level.filter(|level| *level != "full") {
                let _ = write!(detail, " (it is confined {level} here)");
            }
            (!all.is_empty()).then(|| {
                ESCAPE.found(Hit {
                    detail,
                    ..Hit::default()
                })
            })
        };
        matrix.columns().iter().filter_map(of).collect()
    }

    #[cfg(test)]
    mod tests {
        use clawdbot_attempts::all;
        use clawdbot_config::Severity;

        use super::super::matrix::Outcomes;
        use super::*;
        use crate::out::Style;

        #[test]
        fn a_process_that_differs_is_one_critical_finding_with_its_level() {
            let table = Table::load().unwrap();
            let mut outcomes = Outcomes::new();
            for column in single::tried() {
                for attempt in all() {
                    let words = table.expected(attempt.name, &column).unwrap().words;
                    let open = column.key == "broker" && attempt.name.starts_with("file.");
                    let outcome = if open {
                        "worked".to_owned()
                    } else {
                        words[0].clone()
                    };
                    outcomes.insert((column, attempt.name), outcome);
                }
            }
            let broker = single::tried().into_iter().find(|one| one.key == "broker");
            let line = "level=partial landlock=0 seccomp=on missing=landlock".to_owned();
            let levels = [(broker.unwrap(), line)].into();
            let matrix = Matrix::new(&table, single::tried(), &outcomes).unwrap();
            let out = Out {
                json: false,
                verbose: false,
                style: Style::PLAIN,
                err: Style::PLAIN,
            };
            let probe = report(&matrix, &levels, out);
            let [found] = probe.findings.as_slice() else {
                panic!("{:?}", probe.findings);
            };
            assert_eq!(
                (found.id.as_str(), found.severity),
                ("probe.escape", Severity::Critical)
            );
            let begins = "broker: file.shadow worked, expected EACCES; ";
            assert!(found.detail.starts_with(begins), "{}", found.detail);
            assert!(
                found
                    .detail
                    .ends_with(" more (it is confined partial here)"),
                "{}",
                found.detail
            );
            assert!(
                probe.text.contains("missing here: landlock (broker): "),
                "{}",
                probe.text
            );
            let processes = probe.json["processes"].as_array().unwrap();
            assert_eq!(processes.len(), 10);
            assert!(probe.json["differences"].as_array().unwrap().len() > TOLD);
        }
    }
}
