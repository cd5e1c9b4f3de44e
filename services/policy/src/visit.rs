//! Visit keys: what a right token, password or login code earns, good for twelve hours. They are sealed, not stored, so
//! they survive a restart; the sealing key follows from the credential, so a changed credential ends every visit.

use std::time::Duration;

use crate::clock;
use crate::denied::Denied;
use crate::seal::Sealer;

/// How long a visit lasts. It does not slide.
pub const TTL: Duration = Duration::from_secs(12 * 60 * 60);

const VERSION: u8 = 1;

/// Makes and checks the visit keys of one credential.
pub struct Visits(Sealer);

impl Visits {
    /// `credential` is the fingerprint of what opens the door now.
    pub fn new(master: &[u8; 32], credential: &[u8; 32]) -> Self {
        Self(Sealer::derive(master, &[b"visit", credential]))
    }

    /// A new key, from `now` (Unix seconds) on. `random` tells two visits apart.
    pub fn open(&self, random: [u8; 16], now: u64) -> String {
        let mut payload = vec![VERSION];
        payload.extend_from_slice(&(now + TTL.as_secs()).to_be_bytes());
        payload.extend_from_slice(&random);
        self.0.seal(&payload)
    }

    /// How much of the visit is left at `now` (Unix seconds).
    ///
    /// # Errors
    /// With the rule `visit.key` for a key that is not of this credential, `visit.expired`, or `visit.clock`.
    pub fn check(&self, key: &str, now: u64) -> Result<Duration, Denied> {
        let expires = self
            .0
            .open(key)
            .filter(|payload| payload.len() == 1 + 8 + 16 && payload[0] == VERSION)
            .and_then(|payload| payload[1..9].try_into().ok().map(u64::from_be_bytes))
            .ok_or_else(|| Denied::new("visit.key", "this visit has ended; sign in again"))?;
        if clock::is_ahead(expires.saturating_sub(TTL.as_secs()), now) {
            return Err(Denied::new(
                "visit.clock",
                "this visit began while the clock ran ahead of what it shows now; sign in again",
            ));
        }
        match expires.checked_sub(now) {
            None | Some(0) => Err(Denied::new(
                "visit.expired",
                "this visit is over after twelve hours; sign in again",
            )),
            // A clock that differs a little does not make a visit longer than it was meant to be.
            Some(left) => Ok(Duration::from_secs(left).min(TTL)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visits(credential: u8) -> Visits {
        Visits::new(&[3; 32], &[credential; 32])
    }

    fn rule(result: Result<Duration, Denied>) -> &'static str {
        result.err().map_or("open", |denied| denied.rule)
    }

    #[test]
    fn a_visit_lasts_twelve_hours_to_the_second_and_survives_a_restart() {
        let key = visits(0).open([0; 16], 100);
        let again = visits(0);
        assert_eq!(again.check(&key, 100), Ok(TTL));
        assert_eq!(
            again.check(&key, 100 + TTL.as_secs() - 1),
            Ok(Duration::from_secs(1))
        );
        assert_eq!(
            rule(again.check(&key, 100 + TTL.as_secs())),
            "visit.expired"
        );
        assert_eq!(rule(again.check(&key, u64::MAX)), "visit.expired");
        assert_eq!(again.check(&key, 0), Ok(TTL));
    }

    #[test]
    fn a_visit_from_the_future_is_refused_until_its_time_has_come() {
        let (visits, ahead) = (visits(0), 10 * TTL.as_secs());
        let key = visits.open([0; 16], ahead);
        let slack = clock::SLACK.as_secs();
        for (now, expected) in [
            (0, "visit.clock"),
            (ahead - slack - 1, "visit.clock"),
            (ahead - slack, "open"),
            (ahead + 1, "open"),
            (ahead + TTL.as_secs(), "visit.expired"),
        ] {
            assert_eq!(rule(visits.check(&key, now)), expected, "{now}");
        }
    }

    #[test]
    fn another_credential_or_master_key_ends_every_visit() {
        let now = visits(4);
        let key = now.open([9; 16], 0);
        assert_eq!(rule(now.check(&key, 0)), "open");
        for other in [visits(5), Visits::new(&[4; 32], &[4; 32])] {
            assert_eq!(rule(other.check(&key, 0)), "visit.key");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let visits = visits(0);
        let key = visits.open([0; 16], 0);
        for text in [
            "",
            "x",
            &key[1..],
            &key[..key.len() - 1],
            &format!("{key}A"),
            "\u{202e}",
        ] {
            assert_eq!(rule(visits.check(text, 0)), "visit.key");
        }
        let sealed_nonsense = visits.0.seal(b"short");
        assert_eq!(rule(visits.check(&sealed_nonsense, 0)), "visit.key");
    }

    #[test]
    fn two_visits_have_two_keys() {
        let visits = visits(0);
        assert_ne!(visits.open([0; 16], 0), visits.open([1; 16], 0));
    }
}
