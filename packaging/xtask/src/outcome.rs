//! What a test program said about itself, read from the text that Rust's test harness prints with `--show-output`. A
//! passed test that printed `SKIPPED name: reason` counts as skipped: it says itself that it tried nothing.

/// What came of a test program.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub passed: usize,
    pub failed: Vec<Failure>,
    pub skipped: Vec<Skip>,
    /// Whether the harness came to its end.
    pub finished: bool,
}

/// A test that failed, with what it printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub test: String,
    pub output: String,
}

/// A test that could not run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    pub test: String,
    pub reason: String,
}

impl Outcome {
    /// Reads the whole output of one or several harnesses.
    pub fn read(text: &str) -> Self {
        let mut outcome = Self::default();
        let mut sections: Vec<(&str, String)> = Vec::new();
        let mut lines = text.lines().peekable();
        let mut listed = None;
        while let Some(line) = lines.next() {
            if let Some(test) = heading(line) {
                sections.push((test, String::new()));
                listed = None;
            } else if let Some(result) = line.strip_prefix("test result: ") {
                outcome.finish(result, std::mem::take(&mut sections));
                listed = None;
            } else if line == "failures:" || line == "successes:" {
                // Output comes after an empty line, names come at once.
                let names = lines.peek().is_some_and(|next| next.starts_with("    "));
                listed = names.then_some(line);
            } else if let (Some("failures:"), Some(test)) = (listed, line.strip_prefix("    ")) {
                let at = sections.iter().position(|(name, _)| *name == test);
                let output = at.map(|at| sections.swap_remove(at).1).unwrap_or_default();
                outcome.failed.push(Failure {
                    test: test.into(),
                    output,
                });
            } else if listed.is_none()
                && let Some((_, output)) = sections.last_mut()
            {
                output.push_str(line);
                output.push('\n');
            }
            outcome.skipped.extend(ignored(line));
        }
        outcome
    }

    /// The last line of a harness: `ok. 3 passed; 0 failed; 1 ignored; …`. The sections left are those of passed tests.
    fn finish(&mut self, result: &str, sections: Vec<(&str, String)>) {
        let words: Vec<&str> = result.split_whitespace().collect();
        let passed = words
            .windows(2)
            .find(|pair| pair[1] == "passed;")
            .and_then(|pair| pair[0].parse().ok());
        self.passed += passed.unwrap_or(0);
        self.finished = true;
        for (_, output) in sections {
            let mut skips = output.lines().filter_map(skip).peekable();
            if skips.peek().is_some() {
                self.passed = self.passed.saturating_sub(1);
                let reasons: Vec<Skip> = skips.collect();
                self.skipped.extend(reasons.into_iter().take(1));
            }
        }
    }
}

/// `tests::a` from `---- tests::a stdout ----`.
fn heading(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?
        .strip_suffix(" ----")?
        .strip_suffix(" stdout")
}

fn skip(line: &str) -> Option<Skip> {
    let (test, reason) = line.trim().strip_prefix("SKIPPED ")?.split_once(": ")?;
    Some(Skip {
        test: test.into(),
        reason: reason.into(),
    })
}

/// `test a ... ignored, reason`.
fn ignored(line: &str) -> Option<Skip> {
    let (test, reason) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let reason = reason.trim_start_matches(", ");
    let reason = if reason.is_empty() {
        "marked #[ignore]"
    } else {
        reason
    };
    Some(Skip {
        test: test.into(),
        reason: reason.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = "
running 5 tests
test a ... ok
test b ... FAILED
test c ... ok
test d ... ignored, takes an hour
test e ... ok

successes:

---- a stdout ----
SKIPPED a: no systemd here

---- e stdout ----
said something

successes:
    a
    c
    e

failures:

---- b stdout ----

thread 'b' panicked at src/lib.rs:1:1:
failures:
no

failures:
    b

test result: FAILED. 3 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

";

    #[test]
    fn passed_failed_and_skipped_are_told_apart() {
        let outcome = Outcome::read(MIXED);
        assert!(outcome.finished);
        assert_eq!(outcome.passed, 2);
        assert_eq!(outcome.failed.len(), 1);
        assert_eq!(outcome.failed[0].test, "b");
        assert!(
            outcome.failed[0]
                .output
                .contains("panicked at src/lib.rs:1:1")
        );
        let reasons: Vec<_> = outcome
            .skipped
            .iter()
            .map(|skip| (skip.test.as_str(), skip.reason.as_str()))
            .collect();
        assert_eq!(reasons, [("d", "takes an hour"), ("a", "no systemd here")]);
    }

    #[test]
    fn several_harnesses_add_up() {
        let twice = format!("{MIXED}{MIXED}");
        let outcome = Outcome::read(&twice);
        assert_eq!(
            (outcome.passed, outcome.failed.len(), outcome.skipped.len()),
            (4, 2, 4)
        );
    }

    #[test]
    fn a_harness_that_was_cut_short_has_not_finished() {
        let cut = MIXED.split("\nsuccesses:").next().unwrap();
        assert!(!Outcome::read(cut).finished);
        assert!(!Outcome::read("").finished);
    }
}
