//! Sources that policy has locked out, until it said they may try again. They are refused here meanwhile, so that a
//! flood of guesses does not use up the rate at which policy can be asked by everybody else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::census::source;
use crate::limits;

/// The sources, as the census counts them, as many as are remembered. One that is not is simply asked about again.
#[derive(Default)]
pub struct Lockouts(HashMap<IpAddr, Instant>);

impl Lockouts {
    /// How long a source still has to wait, in whole seconds; zero when it may try.
    pub fn wait(&self, peer: IpAddr, now: Instant) -> u32 {
        let left = self
            .0
            .get(&source(peer))
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    }

    /// Remembers what policy said.
    pub fn remember(&mut self, peer: IpAddr, seconds: u32, now: Instant) {
        if self.0.len() >= limits::LOCKOUTS {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() < limits::LOCKOUTS {
            self.0
                .insert(source(peer), now + Duration::from_secs(seconds.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_source_waits_as_long_as_policy_said_and_others_do_not() {
        let mut lockouts = Lockouts::default();
        let (guesser, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let now = Instant::now();
        lockouts.remember(guesser, 300, now);
        assert_eq!(lockouts.wait(guesser, now), 300);
        assert_eq!(
            lockouts.wait(guesser, now + Duration::from_millis(1500)),
            299
        );
        assert_eq!(lockouts.wait(guesser, now + Duration::from_secs(300)), 0);
        assert_eq!(lockouts.wait(other, now), 0);
    }

    #[test]
    fn another_address_of_the_same_source_waits_too() {
        let mut lockouts = Lockouts::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let now = Instant::now();
        lockouts.remember(ip("2001:db8::1"), 60, now);
        lockouts.remember(ip("::ffff:192.0.2.1"), 60, now);
        for (peer, wait) in [
            ("2001:db8::ffff:2", 60),
            ("2001:db8:0:1::1", 0),
            ("192.0.2.1", 60),
        ] {
            assert_eq!(lockouts.wait(ip(peer), now), wait, "{peer}");
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_over_makes_room() {
        let mut lockouts = Lockouts::default();
        let now = Instant::now();
        let source = |n: u32| IpAddr::from(Ipv4Addr::from_bits(n));
        for n in 0..5000 {
            lockouts.remember(source(n), 60, now);
        }
        assert_eq!(lockouts.0.len(), limits::LOCKOUTS);
        let later = now + Duration::from_secs(61);
        lockouts.remember(source(9999), 60, later);
        assert_eq!(
            (lockouts.0.len(), lockouts.wait(source(9999), later)),
            (1, 60)
        );
    }
}
