//! The front door's bookkeeping: who has to wait, which credential opens, which login codes are open.
//! It decides in a fixed order: no configuration, then the wait, then the credential; so a lockout tells nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::credential::{Credential, Kind};
use crate::denied::{Denied, whole_seconds};
use crate::login::LoginCodes;
use crate::rate::{Limit, RateLimiter, Source};
use crate::settings::AuthMode;

/// What is to be done with it.
pub(crate) enum Knock {
    /// It is right; the credential opens the visit.
    Right(Arc<Credential>),
    /// It has to be hashed first, which takes a while.
    Hash(Arc<Credential>),
}

/// The state of the door. Times count from any fixed moment.
#[derive(Default)]
pub(crate) struct Door {
    limiter: Option<RateLimiter>,
    codes: LoginCodes,
    credential: Option<Arc<Credential>>,
}

impl Door {
    /// Puts a configuration into force. Visits and codes end if the credential is another one.
    pub(crate) fn set(&mut self, credential: Credential, limit: Option<Limit>) {
        match limit {
            Some(limit) => self.limiter.get_or_insert_default().set_limit(limit),
            None => self.limiter = None,
        }
        self.replace(credential);
    }

    /// Changes the credential alone.
    pub(crate) fn replace(&mut self, credential: Credential) {
        // The same password keeps its hash.
        if !self
            .credential
            .as_ref()
            .is_some_and(|old| old.is_same_as(&credential))
        {
            self.codes.clear();
            self.credential = Some(Arc::new(credential));
        }
    }

    /// What opens the door, if there is a configuration at all.
    pub(crate) fn credential(&self) -> Option<Arc<Credential>> {
        self.credential.clone()
    }

    /// Judges what was shown, and as what.
    ///
    /// # Errors
    /// With the rule that refuses it. A wrong token has been counted then.
    pub(crate) fn knock(
        &mut self,
        source: Source,
        kind: AuthMode,
        shown: &[u8],
        now: Duration,
    ) -> Result<Knock, Denied> {
        let credential = self.credential.clone().ok_or_else(no_config)?;
        self.admit(source, now)?;
        match (&credential.kind, kind) {
            (Kind::Token { digest, .. }, AuthMode::Token) => match digest.is_of(shown) {
                true => Ok(Knock::Right(credential)),
                false => Err(self.wrong(source, "auth.token_mismatch", now)),
            },
            (Kind::Password(_), AuthMode::Password) => Ok(Knock::Hash(credential)),
            (Kind::Token { .. }, AuthMode::Password) => {
                Err(self.wrong(source, "auth.token_required", now))
            }
            (Kind::Password(_), AuthMode::Token) => {
                Err(self.wrong(source, "auth.password_required", now))
            }
        }
    }

    /// Refuses who has to wait.
    pub(crate) fn admit(&self, source: Source, now: Duration) -> Result<(), Denied> {
        match self
            .limiter
            .as_ref()
            .and_then(|limiter| limiter.wait(source, now))
        {
            None => Ok(()),
            Some(wait) => Err(Denied::until(
                "auth.rate_limited",
                format!(
                    "too many wrong tries: wait {} seconds; until then the right credential is refused, too",
                    whole_seconds(wait)
                ),
                wait,
            )),
        }
    }

    /// Counts a wrong try and words its refusal.
    pub(crate) fn wrong(&mut self, source: Source, rule: &'static str, now: Duration) -> Denied {
        if let Some(limiter) = &mut self.limiter {
            limiter.failed(source, now);
        }
        Denied::new(
            rule,
            match rule {
                "auth.token_mismatch" => {
                    "this is not the gateway's token; on its machine `clawdbot token` shows it"
                }
                "auth.password_mismatch" => {
                    "this is not the gateway's password (gateway.auth.password)"
                }
                "auth.token_required" => {
                    "the gateway asks for its token, not for a password (gateway.auth.mode)"
                }
                "auth.password_required" => {
                    "the gateway asks for its password, not for a token (gateway.auth.mode)"
                }
                _ => {
                    "this login link was used already or is older than a minute; `clawdbot open` makes a new one"
                }
            },
        )
    }

    /// A new login code.
    ///
    /// # Errors
    /// Without a configuration.
    pub(crate) fn mint(&mut self, random: [u8; 16], now: Duration) -> Result<String, Denied> {
        match self.credential {
            Some(_) => Ok(self.codes.mint(random, now)),
            None => Err(no_config()),
        }
    }

    /// Trades a login code for the credential that opens the visit.
    ///
    /// # Errors
    /// With the rule that refuses it. A wrong code has been counted then.
    pub(crate) fn redeem(
        &mut self,
        source: Source,
        code: &str,
        now: Duration,
    ) -> Result<Arc<Credential>, Denied> {
        let credential = self.credential.clone().ok_or_else(no_config)?;
        self.admit(source, now)?;
        match self.codes.redeem(code, now) {
            true => Ok(credential),
            false => Err(self.wrong(source, "login.code", now)),
        }
    }

    /// What the mode is; for the status.
    pub(crate) fn mode(&self) -> Option<AuthMode> {
        self.credential.as_ref().map(|credential| credential.mode())
    }
}

/// The refusal of everything while no configuration was ever valid.
pub(crate) fn no_config() -> Denied {
    Denied::new(
        "config.none",
        "no valid configuration has been read yet; `clawdbot config validate` shows what is wrong",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::tests::{Bench, literal, password, token};

    const LIMIT: Limit = Limit {
        max_attempts: 3,
        window: Duration::from_secs(60),
        lockout: Duration::from_secs(300),
    };
    const NOW: Duration = Duration::from_secs(1_000);

    fn open_with(limit: Option<Limit>) -> Door {
        let mut door = Door::default();
        door.set(
            Bench::new()
                .finder()
                .find(&token(literal("right")))
                .unwrap(),
            limit,
        );
        door
    }

    fn here() -> Source {
        Source::parse("127.0.0.1").unwrap()
    }

    fn rule<T>(result: Result<T, Denied>) -> &'static str {
        result.err().map_or("ok", |denied| denied.rule)
    }

    fn show(door: &mut Door, kind: AuthMode, shown: &str, now: Duration) -> &'static str {
        rule(door.knock(here(), kind, shown.as_bytes(), now))
    }

    #[test]
    fn without_a_configuration_everything_is_refused() {
        let mut door = Door::default();
        assert_eq!(show(&mut door, AuthMode::Token, "", NOW), "config.none");
        assert_eq!(rule(door.redeem(here(), "", NOW)), "config.none");
        assert_eq!(rule(door.mint([0; 16], NOW)), "config.none");
    }

    #[test]
    fn a_locked_out_source_is_refused_with_the_right_token_too_and_told_how_long() {
        let mut door = open_with(Some(LIMIT));
        assert_eq!(show(&mut door, AuthMode::Token, "right", NOW), "ok");
        for _ in 0..3 {
            assert_eq!(
                show(&mut door, AuthMode::Token, "wrong", NOW),
                "auth.token_mismatch"
            );
        }
        let denied = door
            .knock(here(), AuthMode::Token, b"right", NOW)
            .err()
            .unwrap();
        assert_eq!(
            (denied.rule, denied.retry_after),
            ("auth.rate_limited", LIMIT.lockout)
        );
        assert!(denied.message.contains("300 seconds"), "{}", denied.message);
        assert_eq!(
            show(&mut door, AuthMode::Token, "right", NOW + LIMIT.lockout),
            "ok"
        );
    }

    #[test]
    fn wrong_kinds_and_wrong_codes_count_as_tries() {
        let mut door = open_with(Some(LIMIT));
        assert_eq!(
            show(&mut door, AuthMode::Password, "right", NOW),
            "auth.token_required"
        );
        assert_eq!(rule(door.redeem(here(), "x", NOW)), "login.code");
        let code = door.mint([1; 16], NOW).unwrap();
        assert_eq!(rule(door.redeem(here(), "y", NOW)), "login.code");
        assert_eq!(rule(door.redeem(here(), &code, NOW)), "auth.rate_limited");
    }

    #[test]
    fn a_limit_that_is_off_counts_nothing() {
        let mut door = open_with(None);
        for _ in 0..200 {
            assert_eq!(
                show(&mut door, AuthMode::Token, "wrong", NOW),
                "auth.token_mismatch"
            );
        }
        assert_eq!(show(&mut door, AuthMode::Token, "right", NOW), "ok");
    }

    #[test]
    fn another_credential_closes_the_open_codes_and_the_same_does_not() {
        let bench = Bench::new();
        let find = |text| bench.finder().find(&token(literal(text))).unwrap();
        for (next, expected) in [("right", "ok"), ("other", "login.code")] {
            let mut door = Door::default();
            door.set(find("right"), Some(LIMIT));
            let code = door.mint([1; 16], NOW).unwrap();
            door.set(find(next), Some(LIMIT));
            assert_eq!(rule(door.redeem(here(), &code, NOW)), expected);
        }
    }

    #[test]
    fn a_password_is_hashed_only_after_the_wait_was_checked() {
        let mut door = Door::default();
        door.set(
            Bench::new()
                .finder()
                .find(&password(literal("a long password")))
                .unwrap(),
            Some(LIMIT),
        );
        assert!(matches!(
            door.knock(here(), AuthMode::Password, b"x", NOW),
            Ok(Knock::Hash(_))
        ));
        for _ in 0..3 {
            assert_eq!(
                show(&mut door, AuthMode::Token, "a long password", NOW),
                "auth.password_required"
            );
        }
        assert_eq!(
            show(&mut door, AuthMode::Password, "a long password", NOW),
            "auth.rate_limited"
        );
    }
}
