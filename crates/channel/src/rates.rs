//! The pace that a platform permits: token buckets for each account and each lane, and pauses that it asked for. Buckets
//! are kept as the one instant at which they would be full again (GCRA). Time comes from outside.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// So many messages in so much time, at most `burst` of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Time that one message costs.
    pub every: Duration,
    /// Messages that may come at once; at least one.
    pub burst: u32,
}

/// Who is limited: an account as a whole, or one lane of it.
type Key = (String, Option<String>);

#[derive(Debug, Default)]
struct Bucket {
    /// For each quota: when it will be full again.
    full_at: Vec<Instant>,
    paused_until: Option<Instant>,
}

/// Who may send when.
#[derive(Debug, Default)]
pub struct Limiter {
    buckets: HashMap<Key, Bucket>,
}

impl Limiter {
    /// Takes one message's worth from the account's and the lane's quotas.
    ///
    /// # Errors
    /// When to ask again; nothing was taken.
    pub fn take(
        &mut self,
        account: &str,
        lane: &str,
        quotas: (&[Quota], &[Quota]),
        now: Instant,
    ) -> Result<(), Instant> {
        let account_key = (account.to_owned(), None);
        let lane_key = (account.to_owned(), Some(lane.to_owned()));
        let ready = self
            .ready_at(&account_key, quotas.0, now)
            .max(self.ready_at(&lane_key, quotas.1, now));
        if ready > now {
            return Err(ready);
        }
        self.spend(account_key, quotas.0, now);
        self.spend(lane_key, quotas.1, now);
        if self.buckets.len() > 4096 {
            self.buckets.retain(|_, bucket| bucket.is_limiting(now));
        }
        Ok(())
    }

    /// The platform asked for silence: in one lane, or of the whole account.
    pub fn pause(&mut self, account: &str, lane: Option<&str>, until: Instant) {
        let key = (account.to_owned(), lane.map(str::to_owned));
        let paused = &mut self.buckets.entry(key).or_default().paused_until;
        *paused = (*paused).max(Some(until));
    }

    /// Until when a lane is paused, itself or with its account.
    #[must_use]
    pub fn paused_until(&self, account: &str, lane: &str, now: Instant) -> Option<Instant> {
        let of = |lane: Option<String>| self.buckets.get(&(account.to_owned(), lane))?.paused_until;
        of(None)
            .max(of(Some(lane.to_owned())))
            .filter(|until| *until > now)
    }

    fn ready_at(&self, key: &Key, quotas: &[Quota], now: Instant) -> Instant {
        let Some(bucket) = self.buckets.get(key) else {
            return now;
        };
        let quotas = quotas.iter().zip(&bucket.full_at).map(|(quota, full)| {
            let saved = quota.every * quota.burst.max(1).saturating_sub(1);
            full.checked_sub(saved).unwrap_or(now)
        });
        quotas.chain(bucket.paused_until).max().unwrap_or(now)
    }

    fn spend(&mut self, key: Key, quotas: &[Quota], now: Instant) {
        let bucket = self.buckets.entry(key).or_default();
        bucket.full_at.resize(quotas.len(), now);
        for (full, quota) in bucket.full_at.iter_mut().zip(quotas) {
            *full = (*full).max(now) + quota.every;
        }
    }
}

impl Bucket {
    fn is_limiting(&self, now: Instant) -> bool {
        self.full_at
            .iter()
            .chain(&self.paused_until)
            .any(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;
    const SLOW: &[Quota] = &[Quota {
        every: Duration::from_secs(1),
        burst: 2,
    }];

    #[test]
    fn a_burst_is_let_through_and_then_the_pace_holds() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        let mut take = |at| limiter.take("a", "1", (&[], SLOW), at);
        assert_eq!((take(now), take(now)), (Ok(()), Ok(())));
        assert_eq!(take(now), Err(now + S(1)));
        assert_eq!(take(now + S(1)), Ok(()));
        assert_eq!(take(now + S(1)), Err(now + S(2)));
        assert_eq!(take(now + S(60)), Ok(()));
    }

    #[test]
    fn lanes_are_independent_and_the_account_counts_them_all() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        let all = &[Quota {
            every: S(10),
            burst: 3,
        }];
        for lane in ["1", "2", "3"] {
            assert_eq!(limiter.take("a", lane, (all, SLOW), now), Ok(()));
        }
        assert_eq!(limiter.take("a", "4", (all, SLOW), now), Err(now + S(10)));
        assert_eq!(limiter.take("b", "4", (all, SLOW), now), Ok(()));
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        limiter.pause("a", Some("1"), now + S(5));
        for _ in 0..10 {
            assert_eq!(limiter.take("a", "1", (SLOW, SLOW), now), Err(now + S(5)));
        }
        assert_eq!(limiter.take("a", "2", (SLOW, SLOW), now), Ok(()));
        assert_eq!(limiter.take("a", "2", (SLOW, SLOW), now), Ok(()));
    }

    #[test]
    fn a_pause_has_its_scope_and_its_end() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        limiter.pause("a", Some("1"), now + S(5));
        limiter.pause("b", None, now + S(9));
        limiter.pause("b", None, now + S(3));
        assert_eq!(limiter.paused_until("a", "1", now), Some(now + S(5)));
        assert_eq!(limiter.paused_until("a", "2", now), None);
        assert_eq!(limiter.paused_until("b", "7", now), Some(now + S(9)));
        assert_eq!(limiter.paused_until("a", "1", now + S(5)), None);
    }
}
