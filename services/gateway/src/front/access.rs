//! Credentials of the front door, as policy judges them: tokens, passwords, one-time codes and visit keys. No right
//! credential is remembered here, so a key that policy ends is over at the next request.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdbot_proto::v1;
use clawdbot_proto::v1::access_client::AccessClient;
use clawdbot_proto::v1::verify_reply::Outcome;
use clawdbot_proto::v1::verify_request::Credential;
use clawdbot_service::Edge;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tonic::Status;

use super::key_tries::KeyTries;
use super::lockouts::Lockouts;
use crate::desk::Decided;
use crate::limits;

/// Name of the cookie that holds a visit key.
pub const COOKIE_NAME: &str = "clawdbot_session";
/// Longest credential that is passed on, bytes; anything longer is wrong.
const CREDENTIAL_BYTES: usize = 4096;
/// Longest visit key, bytes; the edge takes requests of at most 1024.
const KEY_BYTES: usize = 1000;

/// Asks policy. Clones share it.
#[derive(Clone)]
pub struct Access {
    policy: Edge,
    lockouts: Arc<Mutex<Lockouts>>,
    tries: Arc<Mutex<KeyTries>>,
    asking: Arc<Semaphore>,
}

impl Access {
    /// Over the edge to policy.
    pub fn new(policy: Edge) -> Self {
        Self {
            policy,
            lockouts: Arc::default(),
            tries: Arc::default(),
            asking: Arc::new(Semaphore::new(limits::QUESTIONS)),
        }
    }

    /// Judges a token or password.
    ///
    /// # Errors
    /// When policy cannot be reached.
    pub async fn verify(
        &self,
        credential: Credential,
        peer: IpAddr,
    ) -> Result<Decided<v1::Visit>, Status> {
        let (Credential::Token(text) | Credential::Password(text)) = &credential;
        if text.len() > CREDENTIAL_BYTES {
            return Ok(Err(refusal(
                "auth.malformed",
                "The token or password is wrong.",
            )));
        }
        if let Some(refusal) = self.locked_out(peer) {
            return Ok(Err(refusal));
        }
        let request = v1::VerifyRequest {
            credential: Some(credential),
            source: source(peer),
        };
        let access = self.clone();
        self.ask(async move {
            let reply = access.client().verify(request).await?;
            access.noted(peer, decided(reply.into_inner())?)
        })
        .await
    }

    /// Judges a visit key that a peer shows. Wrong ones are counted against its source.
    ///
    /// # Errors
    /// When policy cannot be reached.
    pub async fn check(&self, key: &str, peer: IpAddr) -> Result<Decided<v1::Visit>, Status> {
        if let Err(wait) = lock(&self.tries).begin(peer, Instant::now()) {
            return Ok(Err(too_many(wait)));
        }
        let checked = self.recheck(key).await;
        if !matches!(checked, Ok(Err(_))) {
            lock(&self.tries).forgive(peer);
        }
        checked
    }

    /// Judges a visit key that was right before.
    ///
    /// # Errors
    /// When policy cannot be reached.
    pub async fn recheck(&self, key: &str) -> Result<Decided<v1::Visit>, Status> {
        if key.is_empty() || key.len() > KEY_BYTES {
            return Ok(Err(refusal("auth.malformed", "The session is not known.")));
        }
        let request = v1::CheckKeyRequest {
            key: key.to_owned(),
        };
        let mut client = self.client();
        self.ask(async move { decided(client.check_key(request).await?.into_inner()) })
            .await
    }

    /// Trades a one-time code for a visit.
    ///
    /// # Errors
    /// When policy cannot be reached; the code may be used up then.
    pub async fn redeem(&self, code: &str, peer: IpAddr) -> Result<Decided<v1::Visit>, Status> {
        if let Some(refusal) = self.locked_out(peer) {
            return Ok(Err(refusal));
        }
        let request = v1::RedeemRequest {
            code: code.to_owned(),
            source: source(peer),
        };
        let access = self.clone();
        self.ask(async move {
            let reply = access.client().redeem(request).await?;
            access.noted(peer, decided(reply.into_inner())?)
        })
        .await
    }

    /// Asks in a task of its own, to which it makes no difference that the client hangs up: every call that is given up
    /// resets a stream, and whoever makes this process reset enough of them ends the edge for everybody. What policy said
    /// is noted there, too.
    async fn ask(
        &self,
        question: impl Future<Output = Result<Decided<v1::Visit>, Status>> + Send + 'static,
    ) -> Result<Decided<v1::Visit>, Status> {
        let early = |_| Status::internal("the question to policy ended early");
        let asking = Arc::clone(&self.asking).acquire_owned().await;
        let place = asking.map_err(|_| Status::internal("policy is no longer asked"))?;
        let asked = tokio::spawn(async move {
            let _place = place;
            let late = |_| Status::deadline_exceeded("policy takes too long");
            timeout(limits::REQUEST, question).await.map_err(late)?
        });
        asked.await.map_err(early)?
    }

    fn client(&self) -> AccessClient<Edge> {
        AccessClient::new(self.policy.clone())
    }

    /// The refusal of a source that policy locked out, for as long as it said.
    pub fn locked_out(&self, peer: IpAddr) -> Option<v1::Refusal> {
        let wait = lock(&self.lockouts).wait(peer, Instant::now());
        (wait > 0).then(|| too_many(wait))
    }

    fn noted(
        &self,
        peer: IpAddr,
        decision: Decided<v1::Visit>,
    ) -> Result<Decided<v1::Visit>, Status> {
        if let Err(refusal) = &decision
            && refusal.retry_after_seconds > 0
        {
            let (seconds, now) = (refusal.retry_after_seconds, Instant::now());
            lock(&self.lockouts).remember(peer, seconds, now);
        }
        Ok(decision)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_many(wait: u32) -> v1::Refusal {
    v1::Refusal {
        retry_after_seconds: wait,
        ..refusal(
            "auth.rate_limited",
            &format!("Too many wrong tries; wait {wait} seconds."),
        )
    }
}

fn source(peer: IpAddr) -> String {
    peer.to_canonical().to_string()
}

fn refusal(rule: &str, message: &str) -> v1::Refusal {
    v1::Refusal {
        rule: rule.into(),
        message: message.into(),
        retry_after_seconds: 0,
    }
}

fn decided(reply: v1::VerifyReply) -> Result<Decided<v1::Visit>, Status> {
    match reply.outcome {
        Some(Outcome::Visit(visit)) => Ok(Ok(visit)),
        Some(Outcome::Refusal(refusal)) => Ok(Err(refusal)),
        None => Err(Status::internal(
            "policy answered with an outcome that is not known here",
        )),
    }
}

/// The word after `Bearer` in the one Authorization header. `Some(None)` when there is a header, but not of that form.
pub fn bearer(headers: &HeaderMap) -> Option<Option<String>> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let first = all.next()?;
    let word = std::str::from_utf8(first.as_bytes()).ok().and_then(|text| {
        let (scheme, word) = text.split_once(' ')?;
        let word = word.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !word.is_empty()).then(|| word.to_owned())
    });
    Some(word.filter(|_| all.next().is_none()))
}

/// A bearer word as the credential that the configuration asks for.
pub fn credential(auth_mode: &str, word: String) -> Credential {
    match auth_mode {
        "password" => Credential::Password(word),
        _ => Credential::Token(word),
    }
}

/// The visit key in the cookie.
pub fn cookie_key(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, key)| key.to_owned())
}

/// The cookie that keeps a visit, for `Set-Cookie`; `None` when the key has characters that a cookie cannot hold.
pub fn cookie(visit: &v1::Visit, secure: bool) -> Option<String> {
    let fits = |b: u8| b.is_ascii_graphic() && !b"\",;\\".contains(&b);
    if visit.key.is_empty() || visit.key.len() > KEY_BYTES || !visit.key.bytes().all(fits) {
        return None;
    }
    Some(set_cookie(&visit.key, visit.ttl_seconds, secure))
}

/// The cookie that ends a visit in this browser.
pub fn no_cookie() -> String {
    set_cookie("", 0, false)
}

fn set_cookie(key: &str, seconds: u32, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={key}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_bearer_word_is_taken_from_one_header_of_its_form_only() {
        let word = |rows: &[(&'static str, &str)]| bearer(&headers(rows));
        assert_eq!(word(&[]), None);
        for good in ["Bearer abc", "bearer  abc "] {
            assert_eq!(word(&[("authorization", good)]), Some(Some("abc".into())));
        }
        for bad in ["Basic abc", "Bearer", "Bearer ", "abc"] {
            assert_eq!(word(&[("authorization", bad)]), Some(None), "{bad}");
        }
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(word(&twice), Some(None));
    }

    #[test]
    fn the_cookie_is_found_among_others_and_by_its_whole_name() {
        let rows = [
            (
                "cookie",
                "a=b; xclawdbot_session=no; clawdbot_session=yes=; c=d",
            ),
            ("cookie", "clawdbot_session=second"),
        ];
        assert_eq!(cookie_key(&headers(&rows)), Some("yes=".into()));
        assert_eq!(cookie_key(&headers(&rows[1..])), Some("second".into()));
        assert_eq!(
            cookie_key(&headers(&[("cookie", "clawdbot_sessio=1")])),
            None
        );
    }

    #[test]
    fn a_cookie_is_kept_from_scripts_other_sites_and_odd_keys() {
        let visit = |key: &str| v1::Visit {
            key: key.into(),
            ttl_seconds: 60,
        };
        assert_eq!(
            cookie(&visit("k.1_-"), false).unwrap(),
            "clawdbot_session=k.1_-; Max-Age=60; Path=/; HttpOnly; SameSite=Strict"
        );
        assert!(cookie(&visit("k"), true).unwrap().ends_with("; Secure"));
        for odd in ["", "a;b", "a b", "a\r\nb", "é", &"x".repeat(1001)] {
            assert!(cookie(&visit(odd), false).is_none(), "{odd:?}");
        }
    }
}
