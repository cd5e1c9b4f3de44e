//! Access: the gateway asks who is at the front door.

use std::sync::{Arc, Mutex, PoisonError};

use clawdbot_identity::{AgentId, MessageId, SessionKey};
use clawdbot_proto::v1;
use clawdbot_proto::v1::access_server::Access;
use clawdbot_service::caller;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::{Services, invalid, wire_class};
use crate::credential::{Credential, Kind};
use crate::denied::{Denied, whole_seconds};
use crate::door::{self, Knock};
use crate::handle::{Grant, Trace};
use crate::password::Password;
use crate::policy::{Policy, random, unix_seconds};
use crate::rate::Source;
use crate::record::Decision;
use crate::settings::AuthMode;
use crate::visit;

#[tonic::async_trait]
impl Access for Services {
    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> Result<Response<v1::VerifyReply>, Status> {
        let role = caller(&request)?;
        let v1::VerifyRequest { credential, source } = request.into_inner();
        let address = parse_source(&source)?;
        let credential = credential
            .ok_or_else(|| Status::invalid_argument("a token or a password is needed"))?;
        let policy = Arc::clone(&self.0);
        // In a task of its own, so that a caller who hangs up cannot keep a wrong try from being counted.
        let judged = tokio::spawn(async move {
            let outcome = judge(&policy, address, credential).await;
            let decision = Decision {
                request: "verify",
                role: role.as_str(),
                source: &source,
                ..Decision::default()
            };
            policy.decide(decision, outcome)
        });
        answer(
            judged
                .await
                .map_err(|_| Status::internal("the check ended early"))?,
        )
    }

    async fn check_key(
        &self,
        request: Request<v1::CheckKeyRequest>,
    ) -> Result<Response<v1::VerifyReply>, Status> {
        let role = caller(&request)?;
        let key = request.into_inner().key;
        let outcome = check_key(&self.0, &key).map(|(left, _)| v1::Visit {
            key,
            ttl_seconds: whole_seconds(left),
        });
        let decision = Decision {
            request: "visit",
            role: role.as_str(),
            ..Decision::default()
        };
        answer(self.0.decide(decision, outcome))
    }

    async fn redeem(
        &self,
        request: Request<v1::RedeemRequest>,
    ) -> Result<Response<v1::VerifyReply>, Status> {
        let role = caller(&request)?;
        let v1::RedeemRequest { code, source } = request.into_inner();
        let address = parse_source(&source)?;
        let redeemed = self.0.door().redeem(address, &code, self.0.now());
        let outcome = redeemed.and_then(|credential| open_visit(&credential));
        let decision = Decision {
            request: "login",
            role: role.as_str(),
            source: &source,
            ..Decision::default()
        };
        answer(self.0.decide(decision, outcome))
    }

    async fn admit_operator(
        &self,
        request: Request<v1::AdmitOperatorRequest>,
    ) -> Result<Response<v1::AdmitReply>, Status> {
        use v1::admit_operator_request::Way;
        let role = caller(&request)?;
        let v1::AdmitOperatorRequest {
            way,
            session,
            message_id,
            agent,
            text,
        } = request.into_inner();
        let message = MessageId::parse(&message_id).map_err(invalid)?;
        let way = match way {
            Some(Way::OperatorSocket(false)) | None => {
                return Err(Status::invalid_argument(
                    "the way in must be the operator socket or a key",
                ));
            }
            Some(way) => way,
        };
        let current = self.0.current();
        let agent = match (agent.as_str(), &current) {
            ("", Ok(current)) => current.settings.default_agent.clone(),
            ("", Err(_)) => AgentId::main(),
            (named, _) => AgentId::parse(named).map_err(invalid)?,
        };
        // The operator's usual chat is the owner's own, whatever its key is.
        let session = match (session.as_str(), &current) {
            ("main", Ok(current)) => &current.settings.main_key,
            _ => &session,
        };
        let session = SessionKey::operator(&agent, session).map_err(invalid)?;
        let outcome = current.and_then(|current| {
            let opened = match &way {
                Way::OperatorSocket(_) => None,
                Way::Key(key) => Some(check_key(&self.0, key)?.1),
            };
            match current.settings.agents.iter().any(|row| row.id == agent) {
                true => Ok(opened),
                false => Err(Denied::new(
                    "agent.unknown",
                    "the configuration has no such agent; see agents.list",
                )),
            }
        });
        let decision = Decision {
            request: "admit",
            role: role.as_str(),
            session: session.as_str(),
            id: message.as_str(),
            ..Decision::default()
        };
        let trace = trace();
        let decision = Decision {
            trace: trace.as_ref().map(|trace| *trace).unwrap_or_default(),
            ..decision
        };
        let outcome = outcome.and_then(|opened| trace.clone().map(|_| opened));
        let outcome = self.0.decide(decision, outcome);
        if outcome.is_ok()
            && let Ok(Some(answer)) = self.command_at_gateway(&text)
        {
            let outcome = Some(v1::admit_reply::Outcome::Answer(answer));
            return Ok(Response::new(v1::AdmitReply {
                outcome,
                session_key: session.to_string(),
            }));
        }
        let outcome = outcome.and_then(|credential| Ok((credential, trace?)));
        let outcome = outcome.map(|(credential, trace)| {
            let grant = Grant {
                credential,
                ..Grant::operator(session.clone(), unix_seconds()).of(trace, "")
            };
            self.0.provenance.said(&grant, &text, self.has_commands());
            v1::Admission {
                handle: grant.seal(&self.0.handles),
                class: wire_class(grant.class).into(),
                session_key: session.to_string(),
                trace: trace.to_string(),
                mark: String::new(),
            }
        });
        Ok(Response::new(admit_reply(outcome)))
    }

    async fn present(
        &self,
        request: Request<v1::PresentRequest>,
    ) -> Result<Response<v1::AdmitReply>, Status> {
        let role = caller(&request)?;
        let outcome = self.presented(&request.into_inner(), &role)?;
        Ok(Response::new(admit_reply(outcome)))
    }
}

fn admit_reply(outcome: Result<v1::Admission, Denied>) -> v1::AdmitReply {
    use v1::admit_reply::Outcome;
    let outcome = match outcome {
        Ok(admission) => Outcome::Admission(admission),
        Err(denied) => Outcome::Refusal(denied.into()),
    };
    v1::AdmitReply {
        outcome: Some(outcome),
        ..v1::AdmitReply::default()
    }
}

fn parse_source(text: &str) -> Result<Source, Status> {
    Source::parse(text)
        .ok_or_else(|| Status::invalid_argument("the source must be an IP address without a port"))
}

fn answer(outcome: Result<v1::Visit, Denied>) -> Result<Response<v1::VerifyReply>, Status> {
    use v1::verify_reply::Outcome;
    let outcome = match outcome {
        Ok(visit) => Outcome::Visit(visit),
        Err(denied) => Outcome::Refusal(denied.into()),
    };
    Ok(Response::new(v1::VerifyReply {
        outcome: Some(outcome),
    }))
}

fn open_visit(credential: &Credential) -> Result<v1::Visit, Denied> {
    let random = random().map_err(no_randomness)?;
    let key = credential.visits.open(random, unix_seconds());
    Ok(v1::Visit {
        key,
        ttl_seconds: whole_seconds(visit::TTL),
    })
}

/// A new one.
pub(super) fn trace() -> Result<Trace, Denied> {
    random().map(Trace).map_err(no_randomness)
}

fn no_randomness(error: std::io::Error) -> Denied {
    Denied::new(
        "system.random",
        format!("the system gives no random numbers: {error}"),
    )
}

/// How much of a visit is left, and what opened it.
fn check_key(policy: &Policy, key: &str) -> Result<(std::time::Duration, [u8; 8]), Denied> {
    policy.current()?;
    let credential = policy.door().credential().ok_or_else(door::no_config)?;
    let left = credential.visits.check(key, unix_seconds())?;
    Ok((left, credential.tag()))
}

async fn judge(
    policy: &Policy,
    source: Source,
    credential: v1::verify_request::Credential,
) -> Result<v1::Visit, Denied> {
    use v1::verify_request::Credential as Wire;
    policy.current()?;
    let (mode, secret) = match credential {
        Wire::Token(token) => (AuthMode::Token, Zeroizing::new(token)),
        Wire::Password(password) => (AuthMode::Password, Zeroizing::new(password)),
    };
    let knocked = policy
        .door()
        .knock(source, mode, secret.as_bytes(), policy.now())?;
    let credential = match knocked {
        Knock::Right(credential) => credential,
        Knock::Hash(credential) => check_password(policy, source, credential, secret).await?,
    };
    open_visit(&credential)
}

async fn check_password(
    policy: &Policy,
    source: Source,
    credential: Arc<Credential>,
    shown: Zeroizing<String>,
) -> Result<Arc<Credential>, Denied> {
    let Kind::Password(password) = &credential.kind else {
        return Ok(credential);
    };
    let busy = || {
        Denied::until(
            "auth.busy",
            "too many passwords are being checked; try again",
            std::time::Duration::from_secs(1),
        )
    };
    let _waiting = policy.waiting.try_acquire().map_err(|_| busy())?;
    let _turn = policy.hashing.acquire().await.map_err(|_| busy())?;
    // Those who were before in the queue may have used up the tries.
    policy.door().admit(source, policy.now())?;
    let salt = random().map_err(no_randomness)?;
    let password = Arc::clone(password);
    let hashed = tokio::task::spawn_blocking(move || {
        let mut password: std::sync::MutexGuard<'_, Password> =
            Mutex::lock(&password).unwrap_or_else(PoisonError::into_inner);
        password.is(shown.as_bytes(), salt)
    });
    match hashed.await {
        Ok(Ok(true)) => Ok(credential),
        Ok(Ok(false)) => Err(policy
            .door()
            .wrong(source, "auth.password_mismatch", policy.now())),
        Ok(Err(error)) => Err(Denied::new("auth.unavailable", error.to_string())),
        Err(_) => Err(Denied::new(
            "auth.unavailable",
            "the password check ended early",
        )),
    }
}
