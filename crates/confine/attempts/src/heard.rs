//! What the lines of a run say. One that was killed did not say what came of its last attempt.

/// The number of SIGSYS, which a filter ends a process with.
const SIGSYS: i32 = 31;

/// What was said so far.
#[derive(Debug, Default)]
pub struct Heard {
    /// Attempts and what came of them.
    pub outcomes: Vec<(String, String)>,
    /// The attempt that was begun last, as long as nothing is known of it.
    pub trying: Option<String>,
    /// Every other line.
    pub other: Vec<String>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was silent for too long.
    Stuck,
}

impl Heard {
    /// Takes a line.
    pub fn line(&mut self, line: String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["try", name] => self.trying = Some((*name).to_owned()),
            ["got", name, outcome] => {
                self.trying = None;
                self.outcomes
                    .push(((*name).to_owned(), (*outcome).to_owned()));
            }
            _ => self.other.push(line),
        }
    }

    /// What ended the process was what came of its last attempt.
    pub fn end(&mut self, end: End) {
        let Some(name) = self.trying.take() else {
            return;
        };
        let outcome = match end {
            End::Stuck => "hung".to_owned(),
            End::Signal(SIGSYS) => "killed".to_owned(),
            End::Signal(signal) => format!("signal-{signal}"),
            End::Code(code) => format!("exit-{code}"),
        };
        self.outcomes.push((name, outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attempt_that_a_process_did_not_survive_has_its_end_as_outcome() {
        let outcomes = |lines: &[&str], end: End| {
            let mut heard = Heard::default();
            for line in lines {
                heard.line((*line).to_owned());
            }
            heard.end(end);
            (heard.outcomes, heard.other)
        };
        let (found, other) = outcomes(
            &["a warning", "try a.b", "got a.b EPERM", "try c.d"],
            End::Signal(SIGSYS),
        );
        let of = |name: &str, outcome: &str| (name.to_owned(), outcome.to_owned());
        assert_eq!(found, [of("a.b", "EPERM"), of("c.d", "killed")]);
        assert_eq!(other, ["a warning"]);
        assert_eq!(outcomes(&["try c.d"], End::Stuck).0, [of("c.d", "hung")]);
        assert_eq!(
            outcomes(&["try c.d"], End::Signal(11)).0,
            [of("c.d", "signal-11")]
        );
        // One that ended before its first attempt has none.
        assert!(outcomes(&["no"], End::Code(78)).0.is_empty());
    }
}
