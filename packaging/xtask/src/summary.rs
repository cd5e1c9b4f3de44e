//! What is shown of a test run: one line for each program as it ends, then what failed and what was skipped, then the
//! counts as the last line, in a form that programs rely on.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::outcome::{Failure, Outcome, Skip};

/// The results so far.
pub struct Summary {
    passed: usize,
    failed: Vec<(String, Failure)>,
    skipped: Vec<(String, Skip)>,
    matrices: Vec<(String, String)>,
    terminal: bool,
    began: Instant,
}

impl Summary {
    pub fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            passed: 0,
            failed: Vec::new(),
            skipped: Vec::new(),
            matrices: Vec::new(),
            terminal,
            began: Instant::now(),
        }
    }

    /// Something begins. Shown where it can be overwritten.
    pub fn begin(&self, label: &str) {
        if self.terminal {
            print!("  {label} …");
            let _lost = std::io::stdout().flush();
        }
    }

    /// It ended.
    pub fn end(&mut self, label: &str, outcome: Outcome, took: Duration) {
        if self.terminal {
            print!("\r\x1b[K");
        }
        if let Some(line) = self.line(label, &outcome, took) {
            println!("{line}");
        }
        self.passed += outcome.passed;
        self.failed.extend(
            outcome
                .failed
                .into_iter()
                .map(|failure| (label.to_owned(), failure)),
        );
        self.skipped.extend(
            outcome
                .skipped
                .into_iter()
                .map(|skip| (label.to_owned(), skip)),
        );
    }

    /// A table to be shown before the results.
    pub fn matrix(&mut self, label: &str, text: String) {
        self.matrices.push((label.to_owned(), text));
    }

    /// Something that was not begun.
    pub fn skip(&mut self, label: &str, test: &str, reason: &str) {
        let outcome = Outcome {
            skipped: vec![Skip {
                test: test.into(),
                reason: reason.into(),
            }],
            ..Outcome::default()
        };
        self.end(label, outcome, Duration::ZERO);
    }

    /// Nothing for a program in which there is no test.
    fn line(&self, label: &str, outcome: &Outcome, took: Duration) -> Option<String> {
        let (failed, skipped) = (outcome.failed.len(), outcome.skipped.len());
        if outcome.passed + failed + skipped == 0 {
            return None;
        }
        let mut line = format!("  {label:<40} {:>4} passed", outcome.passed);
        if failed > 0 {
            line.push_str(&self.painted("31", &format!(", {failed} FAILED")));
        }
        if skipped > 0 {
            line.push_str(&self.painted("33", &format!(", {skipped} skipped")));
        }
        line.push_str(&format!("  ({:.1} s)", took.as_secs_f64()));
        Some(line)
    }

    fn painted(&self, color: &str, text: &str) -> String {
        if self.terminal {
            format!("\x1b[{color}m{text}\x1b[0m")
        } else {
            text.into()
        }
    }

    /// Turns skips into failures: on a build server nothing may be left out in silence.
    pub fn forbid_skips(&mut self) {
        for (label, skip) in std::mem::take(&mut self.skipped) {
            let failure = Failure {
                test: skip.test,
                output: format!("skipped, where nothing may be: {}\n", skip.reason),
            };
            self.failed.push((label, failure));
        }
    }

    /// Shows the rest. The exit status.
    pub fn close(self) -> u8 {
        for (label, text) in &self.matrices {
            println!("\n{label}\n\n{}", text.trim_end());
        }
        for (label, failure) in &self.failed {
            println!(
                "\n{}\n{}",
                self.painted("31", &format!("---- {} in {label} ----", failure.test)),
                failure.output.trim_end()
            );
        }
        println!();
        for (label, skip) in &self.skipped {
            println!("SKIPPED {} in {label}: {}", skip.test, skip.reason);
        }
        for (label, failure) in &self.failed {
            println!("FAILED {} in {label}", failure.test);
        }
        println!("tests took {} s", self.began.elapsed().as_secs());
        println!("{}", self.counts());
        u8::from(!self.failed.is_empty())
    }

    fn counts(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            passed: 3,
            failed: vec![Failure {
                test: "b".into(),
                output: String::new(),
            }],
            skipped: vec![Skip {
                test: "c".into(),
                reason: "no root".into(),
            }],
            finished: true,
        }
    }

    #[test]
    fn the_last_line_counts_everything() {
        let mut summary = Summary::new();
        summary.end("x (lib)", outcome(), Duration::ZERO);
        summary.skip("y", "root_z", "needs root");
        assert_eq!(summary.counts(), "3 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn on_a_build_server_a_skip_is_a_failure_whatever_the_machine_lacks() {
        let mut summary = Summary::new();
        summary.end("x (lib)", outcome(), Duration::ZERO);
        summary.skip("y", "root_rig_z", "no control groups");
        summary.forbid_skips();
        assert_eq!(summary.counts(), "3 passed, 3 failed, 0 skipped");
        let (label, failure) = summary.failed.last().unwrap();
        assert_eq!((label.as_str(), failure.test.as_str()), ("y", "root_rig_z"));
        assert!(failure.output.contains("no control groups"));
    }

    #[test]
    fn a_program_without_a_test_has_no_line() {
        let summary = Summary {
            terminal: false,
            ..Summary::new()
        };
        assert_eq!(summary.line("x", &Outcome::default(), Duration::ZERO), None);
        let line = summary
            .line("x (lib)", &outcome(), Duration::from_millis(1240))
            .unwrap();
        assert!(
            line.ends_with("3 passed, 1 FAILED, 1 skipped  (1.2 s)"),
            "{line}"
        );
    }
}
