//! One-time login codes: 128 random bits, good for one use within 60 seconds, kept in memory only.
//! A restart of policy forgets them, and so does a seventeenth code the oldest.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clawdbot_secrets::TokenDigest;

/// How long a code is good.
pub const TTL: Duration = Duration::from_secs(60);

/// Codes that may be open at the same time.
pub const MAX_OPEN: usize = 16;

/// The codes that were given out and not used. Times count from any fixed moment.
#[derive(Default)]
pub struct LoginCodes(VecDeque<(TokenDigest, Duration)>);

impl LoginCodes {
    /// A new code, from `now` on.
    pub fn mint(&mut self, random: [u8; 16], now: Duration) -> String {
        self.forget(now);
        if self.0.len() == MAX_OPEN {
            self.0.pop_front();
        }
        let code = URL_SAFE_NO_PAD.encode(random);
        self.0
            .push_back((TokenDigest::of(code.as_bytes()), now + TTL));
        code
    }

    /// Whether the code was good; it no longer is.
    pub fn redeem(&mut self, code: &str, now: Duration) -> bool {
        self.forget(now);
        let found = self
            .0
            .iter()
            .position(|(digest, _)| digest.is_of(code.as_bytes()));
        found.and_then(|at| self.0.remove(at)).is_some()
    }

    /// Takes back every open code.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn forget(&mut self, now: Duration) {
        self.0.retain(|(_, expires)| now < *expires);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    #[test]
    fn a_code_is_good_once() {
        let mut codes = LoginCodes::default();
        let code = codes.mint([5; 16], START);
        assert_eq!(code.len(), 22);
        assert!(!codes.redeem("", START) && !codes.redeem(&code[1..], START));
        assert!(codes.redeem(&code, START));
        assert!(!codes.redeem(&code, START));
    }

    #[test]
    fn a_code_ends_after_sixty_seconds() {
        let mut codes = LoginCodes::default();
        let (early, late) = (codes.mint([1; 16], START), codes.mint([2; 16], START));
        assert!(codes.redeem(&early, START + TTL - Duration::from_nanos(1)));
        assert!(!codes.redeem(&late, START + TTL));
    }

    #[test]
    fn the_oldest_of_too_many_codes_goes() {
        let mut codes = LoginCodes::default();
        let all: Vec<_> = (0..=MAX_OPEN as u8)
            .map(|n| codes.mint([n; 16], START))
            .collect();
        let good: Vec<_> = all.iter().map(|code| codes.redeem(code, START)).collect();
        assert_eq!(
            (good[0], good.iter().filter(|good| **good).count()),
            (false, MAX_OPEN)
        );
    }

    #[test]
    fn cleared_codes_are_gone() {
        let mut codes = LoginCodes::default();
        let code = codes.mint([1; 16], START);
        codes.clear();
        assert!(!codes.redeem(&code, START));
    }
}
