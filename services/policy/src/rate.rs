//! How often a credential may be guessed: so many failures within a window from one source, and so many from all sources
//! together, so that loopback and a swarm of addresses are bounded as well. Whoever is locked out is refused before
//! anything is compared, the right credential included: otherwise the refusal would tell which guess was right.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// `gateway.auth.rateLimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Failures within the window that lock a source out.
    pub max_attempts: u32,
    /// How long a failure counts.
    pub window: Duration,
    /// How long a lockout lasts.
    pub lockout: Duration,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            max_attempts: 10,
            window: Duration::from_secs(60),
            lockout: Duration::from_secs(300),
        }
    }
}

impl Limit {
    /// The limit over all sources: ten times the failures of one. Its lockout lasts one window only, since it hits
    /// the innocent, too.
    fn everywhere(self) -> Self {
        Self {
            max_attempts: self.max_attempts.saturating_mul(10),
            lockout: self.window,
            ..self
        }
    }
}

/// Sources that are remembered at the same time. The limit over all sources keeps the number far below.
const MAX_SOURCES: usize = 1024;

/// Who counts as one: an IPv4 address, or the /64 network of an IPv6 address, since one host has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl Source {
    /// Takes the text of an address without a port.
    pub fn parse(text: &str) -> Option<Self> {
        let ip = text.parse::<IpAddr>().ok()?.to_canonical();
        Some(Self(match ip {
            IpAddr::V4(_) => ip,
            IpAddr::V6(v6) if v6.is_loopback() => ip,
            IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64)).into(),
        }))
    }
}

/// The failures of one source that still count.
#[derive(Default)]
struct Tally {
    failures: VecDeque<Duration>,
    locked_until: Duration,
}

impl Tally {
    fn wait(&self, now: Duration) -> Option<Duration> {
        self.locked_until
            .checked_sub(now)
            .filter(|wait| !wait.is_zero())
    }

    fn failed(&mut self, limit: Limit, now: Duration) {
        self.forget(limit, now);
        self.failures.push_back(now);
        if self.failures.len() >= limit.max_attempts as usize {
            self.failures.clear();
            self.locked_until = now + limit.lockout;
        }
    }

    fn forget(&mut self, limit: Limit, now: Duration) {
        self.failures
            .retain(|at| now.saturating_sub(*at) < limit.window);
    }

    fn is_idle(&self, now: Duration) -> bool {
        self.failures.is_empty() && self.wait(now).is_none()
    }
}

/// Counts failures and says who has to wait. Times count from any fixed moment and never go back.
#[derive(Default)]
pub struct RateLimiter {
    limit: Limit,
    sources: BTreeMap<Source, Tally>,
    all: Tally,
}

impl RateLimiter {
    /// Changes the limit from now on; lockouts stay.
    pub fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
    }

    /// How long this source has to wait before it may try, if it has to.
    pub fn wait(&self, source: Source, now: Duration) -> Option<Duration> {
        let own = self.sources.get(&source).and_then(|tally| tally.wait(now));
        own.max(self.all.wait(now))
    }

    /// Counts a wrong credential. A right one changes nothing: else somebody who shares the owner's address could
    /// guess on without end.
    pub fn failed(&mut self, source: Source, now: Duration) {
        self.all.failed(self.limit.everywhere(), now);
        self.make_room(source, now);
        self.sources
            .entry(source)
            .or_default()
            .failed(self.limit, now);
    }

    fn make_room(&mut self, source: Source, now: Duration) {
        if self.sources.len() < MAX_SOURCES || self.sources.contains_key(&source) {
            return;
        }
        let limit = self.limit;
        self.sources.retain(|_, tally| {
            tally.forget(limit, now);
            !tally.is_idle(now)
        });
        if self.sources.len() < MAX_SOURCES {
            return;
        }
        let soonest = |(_, tally): &(&Source, &Tally)| {
            tally
                .locked_until
                .max(tally.failures.back().copied().unwrap_or_default())
        };
        if let Some(first) = self
            .sources
            .iter()
            .min_by_key(soonest)
            .map(|(source, _)| *source)
        {
            self.sources.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        max_attempts: 3,
        window: Duration::from_secs(60),
        lockout: Duration::from_secs(300),
    };

    fn limiter() -> RateLimiter {
        let mut limiter = RateLimiter::default();
        limiter.set_limit(LIMIT);
        limiter
    }

    fn source(text: &str) -> Source {
        Source::parse(text).unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_last_permitted_failure_locks_out_for_exactly_the_lockout() {
        let (mut limiter, here) = (limiter(), source("127.0.0.1"));
        for second in [100, 101] {
            limiter.failed(here, at(second));
            assert_eq!(limiter.wait(here, at(second)), None);
        }
        limiter.failed(here, at(102));
        assert_eq!(limiter.wait(here, at(102)), Some(at(300)));
        assert_eq!(limiter.wait(here, at(401)), Some(at(1)));
        assert_eq!(limiter.wait(here, at(402)), None);
        assert_eq!(limiter.wait(source("127.0.0.2"), at(102)), None);
    }

    #[test]
    fn a_failure_counts_until_the_window_has_passed() {
        for (third, locked) in [(159, true), (160, false)] {
            let (mut limiter, here) = (limiter(), source("10.0.0.1"));
            for second in [100, 101, third] {
                limiter.failed(here, at(second));
            }
            assert_eq!(
                limiter.wait(here, at(third)).is_some(),
                locked,
                "third failure at {third}"
            );
        }
    }

    #[test]
    fn a_lockout_starts_counting_anew() {
        let (mut limiter, here) = (limiter(), source("10.0.0.1"));
        (0..3).for_each(|_| limiter.failed(here, at(0)));
        limiter.failed(here, at(300));
        assert_eq!(limiter.wait(here, at(300)), None);
    }

    #[test]
    fn many_addresses_together_are_locked_out_too() {
        let mut limiter = limiter();
        for host in 0..29 {
            limiter.failed(source(&format!("10.0.0.{host}")), at(5));
        }
        assert_eq!(limiter.wait(source("10.9.9.9"), at(5)), None);
        limiter.failed(source("10.0.1.1"), at(5));
        assert_eq!(limiter.wait(source("10.9.9.9"), at(5)), Some(LIMIT.window));
        assert_eq!(limiter.wait(source("10.9.9.9"), at(5) + LIMIT.window), None);
    }

    #[test]
    fn addresses_of_one_host_are_one_source() {
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::1", "::2", false),
            ("10.0.0.1", "10.0.0.2", false),
        ] {
            assert_eq!(source(one) == source(other), same, "{one} {other}");
        }
        for text in ["", "localhost", "10.0.0.1:80", "[::1]", "fe80::1%eth0"] {
            assert_eq!(Source::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sources_are_bounded_and_a_lockout_outlives_fresh_failures() {
        let mut limiter = RateLimiter::default();
        limiter.set_limit(Limit {
            max_attempts: 2,
            window: at(10_000),
            lockout: at(20_000),
        });
        let locked = source("10.255.0.1");
        (0..2).for_each(|_| limiter.failed(locked, at(0)));
        for n in 0..3 * MAX_SOURCES as u32 {
            let address = Ipv6Addr::from(u128::from(n) << 64);
            limiter.failed(
                source(&address.to_string()),
                at(1) + Duration::from_millis(n.into()),
            );
        }
        assert_eq!(limiter.sources.len(), MAX_SOURCES);
        assert!(limiter.sources.contains_key(&locked));
    }

    #[test]
    fn a_new_limit_keeps_lockouts() {
        let (mut limiter, here) = (limiter(), source("10.0.0.1"));
        (0..3).for_each(|_| limiter.failed(here, at(0)));
        limiter.set_limit(Limit::default());
        assert_eq!(limiter.wait(here, at(1)), Some(at(299)));
    }
}
