//! Refusals and failures in the one shape that the SDKs of this API read, each with the status that makes them do the
//! right thing: raise the right class, wait, or not ask again. Nothing here holds a secret or anybody's words.

use std::borrow::Cow;

use clawdbot_proto::v1;
use http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::super::reply::{self, Reply};

/// The request is wrong.
const INVALID: &str = "invalid_request_error";
/// Too much at once.
const RATE: &str = "rate_limit_error";
/// It is not the client's fault.
const SERVER: &str = "server_error";

/// Says to SDKs that the same request would fail again, or that it makes sense.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// A request that is not answered as asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<Cow<'static, str>>,
    /// Seconds after which another try makes sense; zero when that is not known.
    wait: u32,
    /// Whether SDKs should ask again by themselves, where the status alone would say something else.
    again: Option<bool>,
    /// The rest of the request is not read.
    hangs_up: bool,
}

impl Fault {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            param: None,
            code: None,
            wait: 0,
            again: None,
            hangs_up: false,
        }
    }

    fn coded(self, code: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Some(code.into()),
            ..self
        }
    }

    /// The request breaks a rule as a whole.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, message)
    }

    /// A parameter breaks a rule.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..Self::malformed(message).coded("invalid_value")
        }
    }

    /// A parameter asks for something that is not there.
    pub fn unsupported(param: impl Into<String>) -> Self {
        let param = param.into();
        let message =
            format!("{param} is not supported here. Leave it out, or set it to its default.");
        Self {
            param: Some(param),
            ..Self::malformed(message).coded("unsupported_parameter")
        }
    }

    /// There is no such path.
    pub fn no_path(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, INVALID, message).coded("unknown_url")
    }

    /// There is no such model.
    pub fn no_model(message: impl Into<String>) -> Self {
        Self {
            param: Some("model".into()),
            ..Self::new(StatusCode::NOT_FOUND, INVALID, message).coded("model_not_found")
        }
    }

    /// The path takes another method.
    pub fn method(allowed: &str) -> Self {
        let message = format!("This address takes {allowed} only.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, message).coded("method_not_allowed")
    }

    /// The body is of another kind.
    pub fn media_type() -> Self {
        let message = "The body must be sent as content-type: application/json.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID, message)
            .coded("unsupported_media_type")
    }

    /// The body is too long.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("The request body may have at most {limit} bytes.");
        Self {
            hangs_up: true,
            ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, message).coded("request_too_large")
        }
    }

    /// A page of another origin asks.
    pub fn foreign_page() -> Self {
        let message = "This page may not act here. If it is yours, list its origin in gateway.allowedOrigins.";
        Self::new(StatusCode::FORBIDDEN, INVALID, message).coded("foreign_origin")
    }

    /// A credential is missing or malformed.
    pub fn no_credential() -> Self {
        let message = "This interface needs the gateway's token or password as an API key: Authorization: Bearer TOKEN. \
            On the gateway's machine, `clawdbot token` shows it.";
        Self::new(StatusCode::UNAUTHORIZED, INVALID, message).coded("invalid_api_key")
    }

    /// Policy's refusal of a credential.
    pub fn credential(refusal: &v1::Refusal) -> Self {
        match refusal.retry_after_seconds {
            0 if refusal.rule == "config.none" => Self::unconfigured(),
            0 => Self::new(StatusCode::UNAUTHORIZED, INVALID, refusal.message.as_str())
                .coded("invalid_api_key"),
            wait => Self::limited(refusal, wait),
        }
    }

    /// Policy's refusal of a session.
    pub fn admission(refusal: &v1::Refusal) -> Self {
        match (refusal.rule.as_str(), refusal.retry_after_seconds) {
            ("config.none", _) => Self::unconfigured(),
            ("agent.unknown", _) => Self::no_model(refusal.message.as_str()),
            (rule, 0) => {
                let status = match rule.starts_with("visit.") {
                    true => StatusCode::UNAUTHORIZED,
                    false => StatusCode::FORBIDDEN,
                };
                Self::new(status, INVALID, refusal.message.as_str()).coded(rule.to_owned())
            }
            (_, wait) => Self::limited(refusal, wait),
        }
    }

    fn limited(refusal: &v1::Refusal, wait: u32) -> Self {
        Self {
            wait,
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                RATE,
                refusal.message.as_str(),
            )
            .coded(refusal.rule.clone())
        }
    }

    /// There has never been a valid configuration.
    pub fn unconfigured() -> Self {
        let message = "There is no valid configuration yet. `clawdbot config validate` shows what is wrong with it.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, message).coded("config.none")
    }

    /// The gateway stops before there is an answer.
    pub fn stopping() -> Self {
        let message = "The gateway stops; ask again in a moment.";
        Self {
            wait: 1,
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, message).coded("gateway.stopping")
        }
    }

    /// The answer began again and says something else than what the client has of it already.
    pub fn restarted() -> Self {
        let message = "The answer began again after a part of it was sent. Ask again.";
        Self::new(StatusCode::BAD_GATEWAY, SERVER, message).coded("turn.restarted")
    }

    /// Nothing was accepted, for the reason that a status names.
    pub fn status(status: &Status) -> Self {
        let (http, kind, wait) = match status.code() {
            Code::InvalidArgument => (StatusCode::BAD_REQUEST, INVALID, 0),
            Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, RATE, 1),
            Code::Unavailable | Code::DeadlineExceeded => {
                (StatusCode::SERVICE_UNAVAILABLE, SERVER, 1)
            }
            _ => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, 0),
        };
        if kind == SERVER {
            tracing::warn!(%status, "a request of the HTTP interface was not accepted");
        }
        let code = match status.code() {
            Code::InvalidArgument => "invalid_value",
            Code::ResourceExhausted => "queue.full",
            Code::Unavailable | Code::DeadlineExceeded => "unavailable",
            _ => "internal",
        };
        Self {
            wait,
            ..Self::new(http, kind, status.message()).coded(code)
        }
    }

    /// A turn that brought no answer. Asking again by itself helps only where the trouble passes by itself.
    pub fn turn(failed: &v1::Failed) -> Self {
        let (status, kind, again) = FAILURES
            .iter()
            .find(|(code, ..)| *code == failed.code)
            .map_or((StatusCode::BAD_GATEWAY, SERVER, false), |row| {
                (row.1, row.2, row.3)
            });
        Self {
            again: Some(again),
            ..Self::new(status, kind, failed.message.as_str()).coded(failed.code.clone())
        }
    }

    /// The `error` object.
    pub fn error(&self) -> Value {
        json!({
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        })
    }

    /// The stable name, or the kind where there is none.
    pub fn code(&self) -> &str {
        self.code.as_deref().unwrap_or(self.kind)
    }

    /// What to tell a person.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Code of a failed turn, status, kind, and whether SDKs should ask again by themselves. Everything else is a 502: the
/// gateway works and what stands behind it does not.
const FAILURES: &[(&str, StatusCode, &str, bool)] = &[
    (
        "model.rate_limited",
        StatusCode::TOO_MANY_REQUESTS,
        RATE,
        true,
    ),
    (
        "model.unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
        SERVER,
        true,
    ),
    (
        "model.context_overflow",
        StatusCode::BAD_REQUEST,
        INVALID,
        false,
    ),
    ("turn.too_long", StatusCode::BAD_REQUEST, INVALID, false),
    (
        "model.invalid_request",
        StatusCode::BAD_REQUEST,
        INVALID,
        false,
    ),
    ("turn.timeout", StatusCode::GATEWAY_TIMEOUT, SERVER, false),
    ("turn.stopped", StatusCode::CONFLICT, INVALID, false),
    ("model.denied", StatusCode::FORBIDDEN, INVALID, false),
];

impl From<Fault> for Reply {
    fn from(fault: Fault) -> Self {
        let mut reply = reply::json(fault.status, &json!({ "error": fault.error() }));
        if fault.status == StatusCode::UNAUTHORIZED {
            reply::set(&mut reply, header::WWW_AUTHENTICATE, "Bearer");
        }
        if fault.wait > 0 {
            reply::set(&mut reply, header::RETRY_AFTER, &fault.wait.to_string());
        }
        if let Some(again) = fault.again {
            reply::set(
                &mut reply,
                SHOULD_RETRY,
                if again { "true" } else { "false" },
            );
        }
        if fault.hangs_up {
            reply::set(&mut reply, header::CONNECTION, "close");
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_turn_has_a_status_that_tells_whose_trouble_it_is() {
        for (code, status, again) in [
            ("model.rate_limited", 429, "true"),
            ("model.unavailable", 503, "true"),
            ("model.auth", 502, "false"),
            ("model.billing", 502, "false"),
            ("model.unknown", 502, "false"),
            ("model.context_overflow", 400, "false"),
            ("turn.timeout", 504, "false"),
            ("turn.stopped", 409, "false"),
            ("turn.loop", 502, "false"),
            ("a code of a later version", 502, "false"),
        ] {
            let failed = v1::Failed {
                code: code.into(),
                message: "why".into(),
            };
            let fault = Fault::turn(&failed);
            assert_eq!((fault.code(), fault.message()), (code, "why"));
            let reply = Reply::from(fault);
            assert_eq!(reply.status().as_u16(), status, "{code}");
            assert_eq!(reply.headers()[&SHOULD_RETRY], again, "{code}");
        }
    }

    #[test]
    fn what_was_not_accepted_says_whether_and_when_to_come_again() {
        for (status, http, wait) in [
            (Status::invalid_argument("x"), 400, None),
            (Status::resource_exhausted("x"), 429, Some("1")),
            (Status::unavailable("x"), 503, Some("1")),
            (Status::deadline_exceeded("x"), 503, Some("1")),
            (Status::internal("x"), 500, None),
        ] {
            let reply = Reply::from(Fault::status(&status));
            assert_eq!(reply.status().as_u16(), http);
            let found = reply.headers().get(header::RETRY_AFTER);
            assert_eq!(found.map(|v| v.to_str().unwrap()), wait);
        }
    }

    #[test]
    fn a_refusal_of_policy_becomes_the_status_that_fits_its_rule() {
        let refusal = |rule: &str, wait| v1::Refusal {
            rule: rule.into(),
            message: "no".into(),
            retry_after_seconds: wait,
        };
        for (fault, status) in [
            (Fault::credential(&refusal("auth.token_mismatch", 0)), 401),
            (Fault::credential(&refusal("auth.rate_limited", 7)), 429),
            (Fault::credential(&refusal("config.none", 0)), 503),
            (Fault::admission(&refusal("visit.expired", 0)), 401),
            (Fault::admission(&refusal("agent.unknown", 0)), 404),
            (Fault::admission(&refusal("config.none", 0)), 503),
            (Fault::admission(&refusal("some.rule", 0)), 403),
            (Fault::admission(&refusal("some.rule", 7)), 429),
        ] {
            let reply = Reply::from(fault);
            assert_eq!(reply.status().as_u16(), status);
            let waits = reply.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(waits, status == 429);
        }
    }
}
