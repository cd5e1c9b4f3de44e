//! Repeated refusals at the front door, and repeated dials and leases, counted instead of written down one by one:
//! otherwise whoever knocks often enough pushes everything else out of the audit log. The first of a series has its record
//! at once, the rest of its minute one record with their number. No other decision is ever part of a series.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::rate::Source;
use crate::record::Decision;

/// The requests of somebody who is not known yet, at the front door or on a channel.
const FRONT_DOOR: &[&str] = &["verify", "visit", "login", "inbound"];
/// What workers do again and again, allowed or not: a series is one role and one subject.
const REPEATED: &[&str] = &["dial", "lease"];
/// How long a series is counted.
const MINUTE: Duration = Duration::from_secs(60);
/// Series with a source of their own at the same time. Sources beyond that share one for each request and rule.
const MAX_SOURCES: usize = 256;

/// Request and rule, which is empty for what was permitted.
type Key = (&'static str, String, Who);

/// Whose series it is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// Somebody at the front door; none for requests without a source.
    Source(Option<Source>),
    /// A role, and what it was about.
    Role(String, String),
    /// Everybody beyond [`MAX_SOURCES`].
    Others,
}

/// The series of the moment. Times count from any fixed moment and never go back.
#[derive(Default)]
pub(crate) struct Series(BTreeMap<Key, Counted>);

/// How a series went on after its first refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    request: &'static str,
    rule: String,
    role: String,
    source: String,
    subject: String,
    since: Duration,
    count: u32,
}

impl Counted {
    /// Its line.
    pub(crate) fn decision(&self) -> Decision<'_> {
        Decision {
            request: self.request,
            refused: Some(self.rule.as_str()).filter(|rule| !rule.is_empty()),
            role: &self.role,
            source: &self.source,
            subject: &self.subject,
            count: self.count,
            ..Decision::default()
        }
    }
}

impl Series {
    /// Whether the decision goes on with a series, so that it is counted and needs no line of its own.
    pub(crate) fn counts(&mut self, decision: &Decision<'_>, now: Duration) -> bool {
        let who = match decision.refused {
            _ if REPEATED.contains(&decision.request) => {
                Who::Role(decision.role.to_owned(), decision.subject.to_owned())
            }
            Some(_) if FRONT_DOOR.contains(&decision.request) => {
                Who::Source(Source::parse(decision.source))
            }
            _ => return false,
        };
        let rule = decision.refused.unwrap_or_default();
        let mut key = (decision.request, rule.to_owned(), who);
        if self.0.len() >= MAX_SOURCES && !self.0.contains_key(&key) {
            key.2 = Who::Others;
        }
        // An event may stand for several already.
        let more = decision.count.saturating_add(1);
        if let Some(series) = self.0.get_mut(&key) {
            series.count = series.count.saturating_add(more);
            return true;
        }
        let told = |text: &str, tells: bool| match tells {
            true => text.to_owned(),
            false => String::new(),
        };
        let series = Counted {
            request: decision.request,
            rule: rule.to_owned(),
            role: decision.role.to_owned(),
            source: told(decision.source, key.2 != Who::Others),
            subject: told(decision.subject, matches!(key.2, Who::Role(..))),
            since: now,
            count: 0,
        };
        self.0.insert(key, series);
        false
    }

    /// Ends the series whose minute is over, and gives those that have gone on after their first refusal.
    pub(crate) fn over(&mut self, now: Duration) -> Vec<Counted> {
        self.end(|series| now.saturating_sub(series.since) >= MINUTE)
    }

    /// Ends all of them.
    pub(crate) fn all(&mut self) -> Vec<Counted> {
        self.end(|_| true)
    }

    fn end(&mut self, ends: impl Fn(&Counted) -> bool) -> Vec<Counted> {
        let ended = self.0.extract_if(.., |_, series| ends(series));
        let ended = ended.map(|(_, series)| series);
        ended.filter(|series| series.count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(source: &str) -> Decision<'_> {
        Decision {
            request: "verify",
            refused: Some("auth.rate_limited"),
            role: "gateway",
            source,
            ..Decision::default()
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn told(counted: &[Counted]) -> Vec<(&str, u32)> {
        assert!(counted.iter().all(|one| {
            let line = one.decision();
            (line.refused, line.count) == (Some(one.rule.as_str()), one.count)
        }));
        counted
            .iter()
            .map(|one| (one.source.as_str(), one.count))
            .collect()
    }

    #[test]
    fn the_first_of_a_series_is_written_and_the_rest_of_its_minute_counted() {
        let mut series = Series::default();
        assert!(!series.counts(&refused("192.0.2.1"), at(100)));
        for second in [100, 130, 159] {
            assert!(series.counts(&refused("192.0.2.1"), at(second)));
        }
        assert!(!series.counts(&refused("192.0.2.2"), at(130)));
        assert_eq!(told(&series.over(at(159))), []);
        assert_eq!(told(&series.over(at(160))), [("192.0.2.1", 3)]);
        assert!(
            !series.counts(&refused("192.0.2.1"), at(160)),
            "a new series"
        );
        assert!(series.counts(&refused("192.0.2.2"), at(161)));
        assert_eq!(told(&series.all()), [("192.0.2.2", 1)]);
        assert_eq!(told(&series.all()), []);
    }

    #[test]
    fn a_series_has_one_request_one_rule_and_one_source() {
        let mut series = Series::default();
        let first = refused("2001:db8::1");
        for other in [
            first,
            Decision {
                request: "login",
                ..first
            },
            Decision {
                refused: Some("auth.token_mismatch"),
                ..first
            },
            refused("2001:db8:0:1::1"),
            refused(""),
        ] {
            assert!(!series.counts(&other, at(0)), "{other:?}");
            assert!(series.counts(&other, at(0)), "{other:?}");
        }
        assert!(
            series.counts(&refused("2001:db8::ffff:1"), at(0)),
            "the same /64"
        );
    }

    #[test]
    fn what_is_permitted_or_not_at_the_front_door_always_has_its_line() {
        let mut series = Series::default();
        for decision in [
            Decision {
                refused: None,
                ..refused("192.0.2.1")
            },
            Decision {
                request: "admit",
                ..refused("192.0.2.1")
            },
            Decision {
                request: "tool",
                ..refused("")
            },
        ] {
            for _ in 0..3 {
                assert!(!series.counts(&decision, at(0)), "{decision:?}");
            }
        }
        assert!(series.0.is_empty());
    }

    #[test]
    fn a_worker_that_dials_the_same_place_again_and_again_is_counted() {
        let mut series = Series::default();
        let dial = |subject, refused| Decision {
            request: "dial",
            refused,
            role: "model-a",
            subject,
            ..Decision::default()
        };
        assert!(!series.counts(&dial("a.example:443", None), at(0)));
        assert!(!series.counts(&dial("b.example:443", None), at(0)));
        assert!(!series.counts(&dial("a.example:443", Some("dial.not_listed")), at(0)));
        let several = Decision {
            count: 4,
            ..dial("a.example:443", None)
        };
        assert!(series.counts(&several, at(1)));
        let over = series.over(at(60));
        let lines: Vec<_> = over.iter().map(Counted::decision).collect();
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].subject, lines[0].count), ("a.example:443", 5));
        assert_eq!(lines[0].refused, None);
    }

    #[test]
    fn sources_are_bounded_and_those_beyond_share_a_series() {
        let mut series = Series::default();
        let sources: Vec<_> = (0..1000_u32)
            .map(|n| std::net::Ipv4Addr::from_bits(n).to_string())
            .collect();
        let lines = sources
            .iter()
            .filter(|source| !series.counts(&refused(source), at(0)));
        assert_eq!(lines.count(), MAX_SOURCES + 1);
        assert_eq!(series.0.len(), MAX_SOURCES + 1);
        assert_eq!(
            told(&series.over(at(60))),
            [("", 1000 - MAX_SOURCES as u32 - 1)]
        );
    }
}
