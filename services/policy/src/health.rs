//! What workers say about themselves: the problems that keep them from their work, each told once when it begins and once
//! when it is over, however often it is reported.

use std::collections::BTreeMap;

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::{HealthReport, Problem};

/// Problems of one worker.
const MAX_PROBLEMS: usize = 64;
/// Longest message, bytes.
const MAX_MESSAGE: usize = 2000;

/// The last report of every worker, by role.
#[derive(Default)]
pub(crate) struct Health(BTreeMap<String, HealthReport>);

/// What a report changed.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct News {
    pub(crate) begun: Vec<Problem>,
    pub(crate) over: Vec<Problem>,
}

impl Health {
    /// Takes a report in place of the worker's last one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn report(
        &mut self,
        role: &str,
        mut report: HealthReport,
        now_ms: u64,
    ) -> Result<News, &'static str> {
        if report.problems.len() > MAX_PROBLEMS {
            return Err("a report has at most 64 problems");
        }
        if !report.problems.iter().all(|problem| is_code(&problem.code)) {
            return Err("a problem's code is 1 to 64 characters of a-z, 0-9, _ and .");
        }
        // What is not its own to say, for instance that somebody asks to be let in, is nobody's word but policy's.
        let family = role.split_once('-').map_or(role, |(family, _)| family);
        let own = |code: &str| {
            let rest = code.strip_prefix(family);
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        if !report.problems.iter().all(|problem| own(&problem.code)) {
            return Err("a problem's code begins with what the worker is, model. or channel.");
        }
        let mut before = self
            .0
            .remove(role)
            .map(|report| report.problems)
            .unwrap_or_default();
        let mut begun = Vec::new();
        for problem in &mut report.problems {
            problem.role = role.to_owned();
            problem.message = shorten(&problem.message);
            // The same trouble, even if it is worded anew, for instance with another time to wait.
            match before.iter().position(|old| old.code == problem.code) {
                Some(at) => problem.since_ms = before.remove(at).since_ms,
                None => {
                    problem.since_ms = now_ms;
                    begun.push(problem.clone());
                }
            }
        }
        self.0.insert(role.to_owned(), report);
        Ok(News {
            begun,
            over: before,
        })
    }

    /// A worker's last report.
    pub(crate) fn of(&self, role: &str) -> Option<&HealthReport> {
        self.0.get(role)
    }

    /// Forgets workers that do not run any more.
    pub(crate) fn keep(&mut self, runs: impl Fn(&str) -> bool) {
        self.0.retain(|role, _| runs(role));
    }

    /// All problems, by role.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.0.values().flat_map(|report| &report.problems)
    }
}

fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len())
        && code
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.".contains(&b))
}

fn shorten(message: &str) -> String {
    sanitize_line(&message[..message.floor_char_boundary(MAX_MESSAGE)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(problems: &[(&str, &str)]) -> HealthReport {
        let problem = |(code, message): &(&str, &str)| Problem {
            code: (*code).to_owned(),
            message: (*message).to_owned(),
            // What a worker says of others or of the past counts for nothing.
            role: "model-other".to_owned(),
            since_ms: 5,
        };
        HealthReport {
            problems: problems.iter().map(problem).collect(),
            lease_version: 7,
            checked: true,
        }
    }

    fn codes(problems: &[Problem]) -> Vec<(&str, u64)> {
        problems
            .iter()
            .map(|problem| (problem.code.as_str(), problem.since_ms))
            .collect()
    }

    #[test]
    fn a_problem_begins_once_and_ends_once() {
        let mut health = Health::default();
        let mut told = |now, problems: &[(&str, &str)]| {
            let news = health.report("model-x", report(problems), now).unwrap();
            let codes = |list: &[Problem]| list.iter().map(|p| p.code.clone()).collect::<Vec<_>>();
            (codes(&news.begun), codes(&news.over))
        };
        let none = Vec::<String>::new;
        assert_eq!(
            told(10, &[("model.auth", "a")]),
            (vec!["model.auth".to_owned()], none())
        );
        assert_eq!(
            told(11, &[("model.auth", "another wording")]),
            (none(), none())
        );
        assert_eq!(
            told(
                12,
                &[("model.auth", "a"), ("model.auth", "of another profile")]
            ),
            (vec!["model.auth".to_owned()], none())
        );
        assert_eq!(
            told(13, &[("model.auth", "a"), ("model.auth", "b")]),
            (none(), none())
        );
        assert_eq!(
            told(14, &[("model.billing", "c")]),
            (
                vec!["model.billing".to_owned()],
                vec!["model.auth".to_owned(); 2]
            )
        );
        assert_eq!(told(15, &[]), (none(), vec!["model.billing".to_owned()]));
        assert_eq!(told(16, &[]), (none(), none()));
    }

    #[test]
    fn role_and_time_are_ours_and_text_is_made_safe() {
        let mut health = Health::default();
        for now in [10, 20] {
            let long = format!("x\u{1b}{}", "é".repeat(3000));
            health
                .report("model-x", report(&[("model.auth", &long)]), now)
                .unwrap();
        }
        health
            .report("model-y", report(&[("model.no_key", "")]), 30)
            .unwrap();
        let all: Vec<_> = health.problems().cloned().collect();
        assert_eq!(codes(&all), [("model.auth", 10), ("model.no_key", 30)]);
        assert_eq!(
            (all[0].role.as_str(), all[1].role.as_str()),
            ("model-x", "model-y")
        );
        assert!(all[0].message.starts_with("x\\u{1b}é") && all[0].message.len() < 2100);
        assert_eq!(
            health
                .of("model-x")
                .map(|report| (report.lease_version, report.checked)),
            Some((7, true))
        );
        health.keep(|role| role == "model-y");
        assert_eq!(health.problems().count(), 1);
        assert!(health.of("model-x").is_none());
    }

    #[test]
    fn nonsense_is_refused_and_changes_nothing() {
        let mut health = Health::default();
        health
            .report("model-x", report(&[("model.auth", "a")]), 1)
            .unwrap();
        let many = vec![("model.a", "b"); 65];
        for bad in [
            &[("", "x")][..],
            &[("model.Auth", "x")],
            &[("model.a b", "x")],
            &[("model.auth", "x"), ("pairing.requested", "x")],
            &[("channel.conflict", "x")],
            &[("models.auth", "x")],
            &[("model", "x")],
            &many,
        ] {
            assert!(health.report("model-x", report(bad), 2).is_err());
        }
        assert_eq!(health.problems().count(), 1);
    }
}
