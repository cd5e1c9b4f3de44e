//! What opens the front door: the token or the password, where it comes from and what recognises it.
//! The configuration wins over the environment; without either a token is generated. A missing password is an error.

use std::io;
use std::sync::{Arc, Mutex};

use clawdbot_secrets::{Secret, TokenDigest};
use zeroize::Zeroizing;

use crate::keep::{Keep, MIN_PASSWORD, MIN_TOKEN};
use crate::password::Password;
use crate::seal;
use crate::settings::AuthMode;
use crate::visit::Visits;

/// `gateway.auth` as the configuration gives it.
pub(crate) struct Auth {
    pub(crate) mode: AuthMode,
    pub(crate) token: Given,
    pub(crate) password: Given,
}

/// One secret setting.
pub(crate) enum Given {
    Nothing,
    Literal(Zeroizing<Vec<u8>>),
    /// An environment variable of this name.
    Environment(String),
    /// Kept in a place that policy cannot look into.
    Elsewhere(&'static str),
}

/// `CLAWDBOT_GATEWAY_TOKEN` and `CLAWDBOT_GATEWAY_PASSWORD` of the start environment.
#[derive(Default)]
pub(crate) struct StartCredentials {
    pub(crate) token: Option<Secret>,
    pub(crate) password: Option<Secret>,
}

/// What opens the front door now.
pub(crate) struct Credential {
    pub(crate) kind: Kind,
    /// Recognises the same credential again, over restarts too.
    fingerprint: Zeroizing<[u8; 32]>,
    /// The visits that it opened.
    pub(crate) visits: Visits,
}

pub(crate) enum Kind {
    Token {
        clear: Secret,
        digest: TokenDigest,
        source: &'static str,
    },
    Password(Arc<Mutex<Password>>),
}

impl Credential {
    pub(crate) fn mode(&self) -> AuthMode {
        match self.kind {
            Kind::Token { .. } => AuthMode::Token,
            Kind::Password(_) => AuthMode::Password,
        }
    }

    /// Recognises it where others may read along; what opens the door does not follow from it.
    pub(crate) fn tag(&self) -> [u8; 8] {
        let mut tag = [0; 8];
        tag.copy_from_slice(&seal::fingerprint(&self.fingerprint, &[b"tag"])[..8]);
        tag
    }

    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

/// A credential in clear, and where it comes from.
type Found = (Zeroizing<Vec<u8>>, &'static str);

/// What differs between the two settings.
struct Setting {
    path: &'static str,
    name: &'static str,
    shortest: usize,
}

const TOKEN: Setting = Setting {
    path: "gateway.auth.token",
    name: "CLAWDBOT_GATEWAY_TOKEN",
    shortest: MIN_TOKEN,
};
const PASSWORD: Setting = Setting {
    path: "gateway.auth.password",
    name: "CLAWDBOT_GATEWAY_PASSWORD",
    shortest: MIN_PASSWORD,
};

/// Finds the credential of a configuration.
pub(crate) struct Finder<'a> {
    pub(crate) keep: &'a Keep,
    pub(crate) master: &'a [u8; 32],
    pub(crate) start: &'a StartCredentials,
    pub(crate) random: fn() -> io::Result<[u8; 32]>,
}

impl Finder<'_> {
    /// # Errors
    /// One line that names the setting and what to do.
    pub(crate) fn find(&self, auth: &Auth) -> Result<Credential, String> {
        let (setting, given, start) = match auth.mode {
            AuthMode::Token => (TOKEN, &auth.token, &self.start.token),
            AuthMode::Password => (PASSWORD, &auth.password, &self.start.password),
        };
        let found = match setting.look(given, start.as_ref())? {
            Some(found) => found,
            None if auth.mode == AuthMode::Token => {
                let token = self
                    .keep
                    .token(self.random)
                    .map_err(|error| error.to_string())?;
                (Zeroizing::new(token.as_bytes().to_vec()), "generated")
            }
            None => {
                return Err(format!(
                    "{} is missing, but gateway.auth.mode is \"password\": set it, or start with {}",
                    setting.path, setting.name
                ));
            }
        };
        self.made(auth.mode, found)
    }

    /// Puts a new generated token in the place of the old one.
    ///
    /// # Errors
    /// One line that says what the system refused.
    pub(crate) fn rotate(&self) -> Result<Credential, String> {
        let random = (self.random)().map_err(|error| error.to_string())?;
        let token = self
            .keep
            .new_token(random)
            .map_err(|error| error.to_string())?;
        self.made(
            AuthMode::Token,
            (Zeroizing::new(token.as_bytes().to_vec()), "generated"),
        )
    }

    fn made(&self, mode: AuthMode, (clear, source): Found) -> Result<Credential, String> {
        let fingerprint = seal::fingerprint(
            self.master,
            &[b"credential", mode.as_str().as_bytes(), &clear],
        );
        let digest = TokenDigest::of(&clear);
        let clear =
            Secret::new(clear).map_err(|error| format!("no memory for a secret: {error}"))?;
        let kind = match mode {
            AuthMode::Token => Kind::Token {
                clear,
                digest,
                source,
            },
            AuthMode::Password => Kind::Password(Arc::new(Mutex::new(Password::new(clear)))),
        };
        Ok(Credential {
            kind,
            visits: Visits::new(self.master, &fingerprint),
            fingerprint,
        })
    }
}

impl Setting {
    fn look(&self, given: &Given, start: Option<&Secret>) -> Result<Option<Found>, String> {
        let (path, name) = (self.path, self.name);
        match given {
            // The configuration's own rules have judged its length.
            Given::Literal(bytes) => return Ok(Some((bytes.clone(), "config"))),
            Given::Nothing => {}
            Given::Environment(other) if other == name => {
                if start.is_none() {
                    return Err(format!(
                        "{path} is \"${{{name}}}\", but {name} is not set in the environment that started Clawdbot"
                    ));
                }
            }
            Given::Environment(_) => {
                return Err(format!(
                    "{path} can name no variable but {name}, since all others go to the broker and never to policy"
                ));
            }
            Given::Elsewhere(place) => {
                return Err(format!(
                    "{path} cannot come from {place} yet; write \"${{{name}}}\", or leave it out"
                ));
            }
        }
        let Some(secret) = start else { return Ok(None) };
        if secret.len() < self.shortest {
            return Err(format!(
                "{name} is too short: at least {} characters are needed",
                self.shortest
            ));
        }
        Ok(Some((
            Zeroizing::new(secret.expose(<[u8]>::to_vec)),
            "environment",
        )))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const LONG: &str = "an environment value that is long";

    pub(crate) struct Bench {
        _folder: tempfile::TempDir,
        keep: Keep,
        pub(crate) start: StartCredentials,
    }

    impl Bench {
        pub(crate) fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let keep = Keep::new(folder.path().to_owned());
            Self {
                _folder: folder,
                keep,
                start: StartCredentials::default(),
            }
        }

        pub(crate) fn finder(&self) -> Finder<'_> {
            Finder {
                keep: &self.keep,
                master: &[9; 32],
                start: &self.start,
                random: || Ok([4; 32]),
            }
        }
    }

    fn secret(text: &str) -> Option<Secret> {
        Some(Secret::new(text.as_bytes().to_vec().into()).unwrap())
    }

    pub(crate) fn literal(text: &str) -> Given {
        Given::Literal(text.as_bytes().to_vec().into())
    }

    pub(crate) fn token(given: Given) -> Auth {
        Auth {
            mode: AuthMode::Token,
            token: given,
            password: Given::Nothing,
        }
    }

    pub(crate) fn password(given: Given) -> Auth {
        Auth {
            mode: AuthMode::Password,
            token: Given::Nothing,
            password: given,
        }
    }

    fn source(found: Result<Credential, String>) -> (&'static str, String) {
        match found.unwrap().kind {
            Kind::Token { clear, source, .. } => (
                source,
                String::from_utf8(clear.expose(<[u8]>::to_vec)).unwrap(),
            ),
            Kind::Password(_) => ("password", String::new()),
        }
    }

    #[test]
    fn the_configuration_wins_over_the_environment_and_both_over_a_generated_token() {
        let mut bench = Bench::new();
        let (kind, generated) = source(bench.finder().find(&token(Given::Nothing)));
        assert_eq!((kind, generated.len()), ("generated", 43));
        bench.start.token = secret(LONG);
        assert_eq!(
            source(bench.finder().find(&token(Given::Nothing))),
            ("environment", LONG.to_owned())
        );
        let named = Given::Environment("CLAWDBOT_GATEWAY_TOKEN".to_owned());
        assert_eq!(
            source(bench.finder().find(&token(named))),
            ("environment", LONG.to_owned())
        );
        assert_eq!(
            source(bench.finder().find(&token(literal("configured")))),
            ("config", "configured".to_owned())
        );
    }

    #[test]
    fn a_credential_that_cannot_be_had_is_an_error_that_says_what_to_do() {
        let env = |name: &str| Given::Environment(name.to_owned());
        let mut bench = Bench::new();
        for (auth, part) in [
            (
                token(env("CLAWDBOT_GATEWAY_TOKEN")),
                "CLAWDBOT_GATEWAY_TOKEN is not set",
            ),
            (
                token(env("MY_TOKEN")),
                "can name no variable but CLAWDBOT_GATEWAY_TOKEN",
            ),
            (
                token(Given::Elsewhere("a file")),
                "cannot come from a file yet",
            ),
            (
                password(Given::Nothing),
                "start with CLAWDBOT_GATEWAY_PASSWORD",
            ),
            (
                password(env("CLAWDBOT_GATEWAY_PASSWORD")),
                "CLAWDBOT_GATEWAY_PASSWORD is not set",
            ),
        ] {
            let error = bench.finder().find(&auth).err().unwrap();
            assert!(error.contains(part), "{error}");
        }
        bench.start = StartCredentials {
            token: secret("short"),
            password: secret("elevenchars"),
        };
        for auth in [token(Given::Nothing), password(Given::Nothing)] {
            let error = bench.finder().find(&auth).err().unwrap();
            assert!(
                error.contains("too short") && !error.contains("elevenchars"),
                "{error}"
            );
        }
        bench.start.password = secret("twelve chars");
        assert!(bench.finder().find(&password(Given::Nothing)).is_ok());
    }

    #[test]
    fn the_same_credential_is_recognised_and_another_ends_the_visits() {
        let bench = Bench::new();
        let find = |auth: Auth| bench.finder().find(&auth).unwrap();
        let one = find(token(literal("the same text")));
        let key = one.visits.open([0; 16], 0);
        for (other, same) in [
            (find(token(literal("the same text"))), true),
            (find(token(literal("another text"))), false),
            (find(password(literal("the same text"))), false),
        ] {
            assert_eq!(one.is_same_as(&other), same);
            assert_eq!(other.visits.check(&key, 0).is_ok(), same);
        }
    }

    #[test]
    fn rotation_makes_another_token_that_stays() {
        let bench = Bench::new();
        let old = bench.finder().find(&token(Given::Nothing)).unwrap();
        let new = Finder {
            random: || Ok([5; 32]),
            ..bench.finder()
        }
        .rotate()
        .unwrap();
        assert!(!old.is_same_as(&new));
        assert!(
            bench
                .finder()
                .find(&token(Given::Nothing))
                .unwrap()
                .is_same_as(&new)
        );
    }
}
