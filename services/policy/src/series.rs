//! Repeated refusals at the front door, counted instead of written down one by one: otherwise whoever knocks often enough
//! pushes everything else out of the decision record. The first of a series has its line at once, the rest of its minute
//! one line with their number. What is permitted, and every other refusal, is never part of a series.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::rate::Source;
use crate::record::Decision;

/// The requests of somebody who is not known yet, at the front door or on a channel.
const FRONT_DOOR: &[&str] = &["verify", "visit", "login", "inbound"];
/// How long a series is counted.
const MINUTE: Duration = Duration::from_secs(60);
/// Series with a source of their own at the same time. Sources beyond that share one for each request and rule.
const MAX_SOURCES: usize = 256;

/// Request, rule and source; none for requests without one and for the sources that share.
type Key = (&'static str, &'static str, Option<Source>);

/// The series of the moment. Times count from any fixed moment and never go back.
#[derive(Default)]
pub(crate) struct Series(BTreeMap<Key, Counted>);

/// How a series went on after its first refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    request: &'static str,
    rule: &'static str,
    role: String,
    source: String,
    since: Duration,
    count: u32,
}

impl Counted {
    /// Its line.
    pub(crate) fn decision(&self) -> Decision<'_> {
        Decision {
            request: self.request,
            refused: Some(self.rule),
            role: &self.role,
            source: &self.source,
            count: self.count,
            ..Decision::default()
        }
    }
}

impl Series {
    /// Whether the decision goes on with a series, so that it is counted and needs no line of its own.
    pub(crate) fn counts(&mut self, decision: &Decision<'_>, now: Duration) -> bool {
        let Some(rule) = decision.refused else {
            return false;
        };
        if !FRONT_DOOR.contains(&decision.request) {
            return false;
        }
        let mut key = (decision.request, rule, Source::parse(decision.source));
        if self.0.len() >= MAX_SOURCES && !self.0.contains_key(&key) {
            key.2 = None;
        }
        if let Some(series) = self.0.get_mut(&key) {
            series.count = series.count.saturating_add(1);
            return true;
        }
        let source = key.2.map_or("", |_| decision.source);
        let series = Counted {
            request: decision.request,
            rule,
            role: decision.role.to_owned(),
            source: source.to_owned(),
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
        let line = |one: &Counted| (one.decision().refused, one.decision().count);
        assert!(
            counted
                .iter()
                .all(|one| line(one) == (Some(one.rule), one.count))
        );
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
