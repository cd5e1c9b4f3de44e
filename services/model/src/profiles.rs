//! Which log-in profile a request uses, and which rest after trouble. A state machine in memory: the time comes in with
//! each call. Profiles rest 1, 5, 25, then 60 minutes after a refused key, a rate limit or a timeout, and for hours after
//! trouble with payment; while all rest, requests are answered without network.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::fault::Kind;

/// First rest after ordinary trouble; each further one is five times as long.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
/// Sessions that are remembered to stay on their profile.
const SESSIONS: usize = 1024;

/// The figures that the configuration sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    pub billing_first: Duration,
    pub billing_longest: Duration,
    /// Quiet time after which earlier failures are forgotten.
    pub window: Duration,
}

/// The profiles of one provider.
#[derive(Default)]
pub struct Profiles {
    records: HashMap<String, Record>,
    sessions: HashMap<String, Pinned>,
}

#[derive(Default)]
struct Record {
    last_used: Option<Instant>,
    last_failure: Option<Instant>,
    failures: u32,
    billing_failures: u32,
    rests: Option<Rest>,
}

#[derive(Clone, Copy)]
struct Rest {
    until: Instant,
    why: Kind,
}

struct Pinned {
    profile: String,
    used: Instant,
}

/// No profile can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// All rest; the soonest ends after this time.
    Resting { why: Kind, left: Duration },
    /// All that do not rest were tried.
    Tried,
}

impl Profiles {
    /// The profile for a request, out of `leased`: the session's own if it does not rest, else the first of `order`, else
    /// the one that was not used for longest. `tried` are those that failed this request already.
    pub fn choose(
        &mut self,
        leased: &[&str],
        order: &[String],
        session: &str,
        tried: &[String],
        now: Instant,
    ) -> Result<String, Unusable> {
        let free = |name: &str| !tried.iter().any(|t| t == name) && self.rest(name, now).is_none();
        let pinned = self.sessions.get(session).map(|pin| pin.profile.as_str());
        let pinned = pinned.filter(|name| leased.contains(name) && free(name));
        let rank = |name: &str| {
            let place = order.iter().position(|o| o == name).unwrap_or(usize::MAX);
            (place, self.records.get(name).and_then(|r| r.last_used))
        };
        let chosen = pinned.or_else(|| {
            let free = leased.iter().copied().filter(|name| free(name));
            free.min_by_key(|name| rank(name))
        });
        let Some(chosen) = chosen.map(str::to_owned) else {
            let untried = leased
                .iter()
                .filter(|name| !tried.iter().any(|t| t == *name));
            let soonest = untried
                .filter_map(|name| self.rest(name, now))
                .min_by_key(|rest| rest.until);
            return Err(match soonest {
                Some(rest) if tried.is_empty() => Unusable::Resting {
                    why: rest.why,
                    left: rest.until.saturating_duration_since(now),
                },
                _ => Unusable::Tried,
            });
        };
        self.record(&chosen).last_used = Some(now);
        if !session.is_empty() {
            self.pin(session, &chosen, now);
        }
        Ok(chosen)
    }

    /// The profile answered a request that had chosen it at this time. A request from before a failure says nothing about
    /// what came of that.
    pub fn succeeded(&mut self, profile: &str, chosen: Instant) {
        let later = |record: &&mut Record| record.last_failure.is_none_or(|last| last <= chosen);
        if let Some(record) = self.records.get_mut(profile).filter(later) {
            record.failures = 0;
            record.billing_failures = 0;
            record.rests = None;
        }
    }

    /// A request that chose the profile at the first time failed for good at the second; the rest that the profile takes
    /// now. Requests that were on their way together share one failure. What the profile cannot help, such as a provider
    /// that is down, brings none.
    pub fn failed(
        &mut self,
        profile: &str,
        why: Kind,
        asked: Option<Duration>,
        pauses: &Pauses,
        (chosen, now): (Instant, Instant),
    ) -> Option<Duration> {
        let record = self.record(profile);
        let counted = record.last_failure.is_some_and(|last| chosen < last);
        let same =
            |rest: &Rest| counted && rest.until > now && (why != Kind::Billing || rest.why == why);
        if brings_rest(why)
            && let Some(rest) = record.rests.filter(same)
        {
            // A longer wish of the provider still counts.
            let until = rest.until.max(now + asked.unwrap_or_default());
            record.rests = Some(Rest { until, ..rest });
            return Some(until - now);
        }
        let quiet = record
            .last_failure
            .is_some_and(|last| now.saturating_duration_since(last) > pauses.window);
        if quiet {
            record.failures = 0;
            record.billing_failures = 0;
        }
        let rest = match why {
            Kind::Billing => {
                record.billing_failures = record.billing_failures.saturating_add(1);
                let doublings = (record.billing_failures - 1).min(10);
                let doubled = pauses.billing_first.saturating_mul(1 << doublings);
                doubled.min(pauses.billing_longest)
            }
            _ if brings_rest(why) => {
                record.failures = record.failures.saturating_add(1);
                let grown = FIRST.saturating_mul(5_u32.pow((record.failures - 1).min(3)));
                grown.min(LONGEST).max(asked.unwrap_or_default())
            }
            _ => return None,
        };
        record.last_failure = Some(now);
        record.rests = Some(Rest {
            until: now + rest,
            why,
        });
        Some(rest)
    }

    /// Keys were exchanged: nothing that was known of the old ones counts.
    pub fn forget(&mut self) {
        self.records.clear();
        self.sessions.clear();
    }

    fn rest(&self, profile: &str, now: Instant) -> Option<Rest> {
        let rest = self.records.get(profile)?.rests?;
        (rest.until > now).then_some(rest)
    }

    fn record(&mut self, profile: &str) -> &mut Record {
        self.records.entry(profile.to_owned()).or_default()
    }

    fn pin(&mut self, session: &str, profile: &str, now: Instant) {
        if let Some(pin) = self.sessions.get_mut(session) {
            if pin.profile != profile {
                profile.clone_into(&mut pin.profile);
            }
            pin.used = now;
            return;
        }
        if self.sessions.len() >= SESSIONS {
            let oldest = self.sessions.iter().min_by_key(|(_, pin)| pin.used);
            if let Some(oldest) = oldest.map(|(session, _)| session.clone()) {
                self.sessions.remove(&oldest);
            }
        }
        let pin = Pinned {
            profile: profile.to_owned(),
            used: now,
        };
        self.sessions.insert(session.to_owned(), pin);
    }
}

/// Whether this kind of trouble is the profile's.
fn brings_rest(why: Kind) -> bool {
    matches!(
        why,
        Kind::Billing | Kind::Auth | Kind::RateLimit | Kind::Timeout
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const PAUSES: Pauses = Pauses {
        billing_first: Duration::from_secs(5 * 3600),
        billing_longest: Duration::from_secs(24 * 3600),
        window: Duration::from_secs(24 * 3600),
    };

    struct Rig {
        profiles: Profiles,
        now: Instant,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                profiles: Profiles::default(),
                now: Instant::now(),
            }
        }

        fn choose(
            &mut self,
            order: &[&str],
            session: &str,
            tried: &[&str],
        ) -> Result<String, Unusable> {
            let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
            let leased = ["a", "b", "c"];
            self.now += Duration::from_millis(1);
            self.profiles
                .choose(&leased, &own(order), session, &own(tried), self.now)
        }

        fn fail(&mut self, name: &str, why: Kind) {
            self.fail_since(self.now, name, why);
        }

        fn fail_since(&mut self, chosen: Instant, name: &str, why: Kind) {
            let times = (chosen, self.now);
            self.profiles.failed(name, why, None, &PAUSES, times);
        }

        fn left(&mut self) -> Duration {
            match self.profiles.choose(&["a"], &[], "", &[], self.now) {
                Err(Unusable::Resting { left, .. }) => left,
                Ok(_) => Duration::ZERO,
                Err(Unusable::Tried) => panic!("nothing was tried"),
            }
        }
    }

    #[test]
    fn the_named_come_first_and_the_others_take_turns() {
        let mut rig = Rig::new();
        for _ in 0..3 {
            assert_eq!(rig.choose(&["b"], "", &[]).unwrap(), "b");
        }
        assert_eq!(rig.choose(&["x", "c", "a"], "", &[]).unwrap(), "c");
        let turns: Vec<_> = (0..6).map(|_| rig.choose(&[], "", &[]).unwrap()).collect();
        assert_eq!(turns, ["a", "b", "c", "a", "b", "c"]);
    }

    #[test]
    fn a_session_stays_on_its_profile_until_that_rests() {
        let mut rig = Rig::new();
        let mine = rig.choose(&[], "s", &[]).unwrap();
        rig.choose(&[], "", &[]).unwrap();
        assert_eq!(rig.choose(&[], "s", &[]).unwrap(), mine);
        rig.fail(&mine, Kind::RateLimit);
        let other = rig.choose(&[], "s", &[]).unwrap();
        assert_ne!(other, mine);
        rig.now += HOUR;
        assert_eq!(
            rig.choose(&[], "s", &[]).unwrap(),
            other,
            "it stays where its cache is now"
        );
    }

    #[test]
    fn sessions_are_remembered_in_a_limited_number() {
        let mut rig = Rig::new();
        for n in 0..SESSIONS + 50 {
            rig.choose(&[], &format!("s{n}"), &[]).unwrap();
        }
        assert_eq!(rig.profiles.sessions.len(), SESSIONS);
        assert!(
            rig.profiles
                .sessions
                .contains_key(&format!("s{}", SESSIONS + 49))
        );
    }

    #[test]
    fn rests_grow_and_a_success_or_a_quiet_time_ends_the_growth() {
        let mut rig = Rig::new();
        let minutes = |m: u64| Duration::from_secs(60 * m);
        for expected in [1, 5, 25, 60, 60] {
            rig.fail("a", Kind::RateLimit);
            assert_eq!(rig.left(), minutes(expected));
            rig.now += HOUR;
            assert_eq!(rig.left(), Duration::ZERO);
        }
        rig.profiles.succeeded("a", rig.now);
        rig.fail("a", Kind::Auth);
        assert_eq!(rig.left(), minutes(1));
        rig.fail("a", Kind::Timeout);
        rig.now += PAUSES.window + Duration::from_secs(1);
        rig.fail("a", Kind::Timeout);
        assert_eq!(rig.left(), minutes(1));
    }

    #[test]
    fn requests_that_fail_together_are_one_failure() {
        let mut rig = Rig::new();
        let chosen = rig.now;
        for _ in 0..5 {
            rig.now += Duration::from_millis(10);
            rig.fail_since(chosen, "a", Kind::RateLimit);
        }
        assert!(rig.left() <= FIRST);
        // What began before is no sign that it is over.
        rig.profiles.succeeded("a", chosen);
        assert!(rig.left() > Duration::ZERO);
        // Payment weighs more than speed, and once.
        for _ in 0..3 {
            rig.fail_since(chosen, "a", Kind::Billing);
            rig.fail_since(chosen, "a", Kind::RateLimit);
        }
        rig.now += Duration::from_millis(10);
        rig.fail_since(chosen, "a", Kind::Billing);
        assert!(rig.left() > HOUR * 4 && rig.left() <= HOUR * 5);
        // After the rest it is another failure.
        rig.now += HOUR * 6;
        rig.fail("a", Kind::RateLimit);
        assert_eq!(rig.left(), FIRST * 5);
    }

    #[test]
    fn trouble_with_payment_rests_for_hours_up_to_the_longest() {
        let mut rig = Rig::new();
        for hours in [5, 10, 20, 24, 24] {
            rig.fail("a", Kind::Billing);
            assert_eq!(rig.left(), HOUR * hours);
            rig.now += Duration::from_secs(1);
        }
    }

    #[test]
    fn a_provider_asks_for_longer_than_the_first_rest_and_gets_it() {
        let mut rig = Rig::new();
        let asked = Some(Duration::from_secs(600));
        rig.profiles
            .failed("a", Kind::RateLimit, asked, &PAUSES, (rig.now, rig.now));
        assert_eq!(rig.left(), Duration::from_secs(600));
    }

    #[test]
    fn what_a_profile_cannot_help_brings_no_rest() {
        let mut rig = Rig::new();
        for why in [
            Kind::Server,
            Kind::Overloaded,
            Kind::Unreachable,
            Kind::Invalid,
            Kind::UnknownModel,
            Kind::Truncated,
        ] {
            rig.fail("a", why);
            assert_eq!(rig.left(), Duration::ZERO, "{why:?}");
        }
    }

    #[test]
    fn one_request_tries_each_profile_once_and_all_resting_say_why_and_how_long() {
        let mut rig = Rig::new();
        assert_eq!(rig.choose(&["a"], "", &["a"]).unwrap(), "b");
        assert_eq!(rig.choose(&[], "", &["a", "b", "c"]), Err(Unusable::Tried));
        for name in ["a", "b", "c"] {
            rig.fail(name, Kind::Billing);
        }
        rig.profiles.succeeded("b", rig.now);
        rig.fail("b", Kind::Auth);
        assert_eq!(rig.choose(&[], "", &["a"]), Err(Unusable::Tried));
        let Err(Unusable::Resting { why, left }) = rig.choose(&[], "", &[]) else {
            panic!("all rest");
        };
        assert!(why == Kind::Auth && left <= FIRST);
        rig.profiles.forget();
        assert!(rig.choose(&[], "", &[]).is_ok());
    }
}
