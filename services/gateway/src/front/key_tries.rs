//! How many visit keys a source may show in vain. Beyond that it is refused here, so that junk cookies do not use up the
//! rate at which policy can be asked by everybody else. A try counts until its key turned out right: who hangs up before
//! the answer has used one.

use std::collections::HashMap;
use std::net::IpAddr;

use tokio::time::Instant;

use super::census::source;
use crate::limits::{KEY_TRIES, LOCKOUTS};

/// The tries of each source, as many sources as are remembered; one that is not may try.
#[derive(Default)]
pub struct KeyTries(HashMap<IpAddr, Tries>);

struct Tries {
    since: Instant,
    wrong: u32,
}

impl Tries {
    fn are_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= KEY_TRIES.1
    }
}

impl KeyTries {
    /// Counts a try.
    ///
    /// # Errors
    /// With the whole seconds to wait when there were too many; it is not counted then.
    pub fn begin(&mut self, peer: IpAddr, now: Instant) -> Result<(), u32> {
        let source = source(peer);
        if self.0.len() >= LOCKOUTS && !self.0.contains_key(&source) {
            self.0.retain(|_, tries| !tries.are_over(now));
            if self.0.len() >= LOCKOUTS {
                return Ok(());
            }
        }
        let fresh = Tries {
            since: now,
            wrong: 0,
        };
        let tries = self.0.entry(source).or_insert(fresh);
        if tries.are_over(now) {
            (tries.since, tries.wrong) = (now, 0);
        }
        if tries.wrong >= KEY_TRIES.0 {
            let left = (tries.since + KEY_TRIES.1).saturating_duration_since(now);
            return Err(u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX));
        }
        tries.wrong += 1;
        Ok(())
    }

    /// Takes a try back: its key was right, or nobody could say.
    pub fn forgive(&mut self, peer: IpAddr) {
        let source = source(peer);
        if let Some(tries) = self.0.get_mut(&source) {
            tries.wrong = tries.wrong.saturating_sub(1);
            if tries.wrong == 0 {
                self.0.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_with_too_many_wrong_keys_waits_out_its_minute_and_others_do_not() {
        let (mut tries, now) = (KeyTries::default(), Instant::now());
        for _ in 0..KEY_TRIES.0 {
            assert_eq!(tries.begin(ip("2001:db8::1"), now), Ok(()));
        }
        let half = now + KEY_TRIES.1 / 2;
        assert_eq!(tries.begin(ip("2001:db8::ffff:2"), half), Err(30));
        assert_eq!(tries.begin(ip("2001:db8:0:1::1"), half), Ok(()));
        assert_eq!(tries.begin(ip("2001:db8::1"), now + KEY_TRIES.1), Ok(()));
    }

    #[test]
    fn right_keys_use_nothing_up() {
        let (mut tries, now) = (KeyTries::default(), Instant::now());
        let peer = ip("192.0.2.1");
        for _ in 0..3 * KEY_TRIES.0 {
            assert_eq!(tries.begin(peer, now), Ok(()));
            tries.forgive(peer);
        }
        assert!(tries.0.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_what_is_over_makes_room() {
        let (mut tries, now) = (KeyTries::default(), Instant::now());
        for n in 0..5000 {
            assert_eq!(tries.begin(Ipv4Addr::from_bits(n).into(), now), Ok(()));
        }
        assert_eq!(tries.0.len(), LOCKOUTS);
        let later = now + KEY_TRIES.1 + Duration::from_secs(1);
        assert_eq!(tries.begin(ip("192.0.2.1"), later), Ok(()));
        assert_eq!(tries.0.len(), 1);
    }
}
