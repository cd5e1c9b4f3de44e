//! Frames of the gateway protocol as JSON: closed objects, bounded nesting, and errors with the codes of the original.

use std::time::Duration;

use clawdbot_proto::v1;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};

use crate::limits;

/// The request itself is wrong, or not permitted.
pub const INVALID_REQUEST: &str = "INVALID_REQUEST";
/// The client is nobody that we know.
pub const NOT_PAIRED: &str = "NOT_PAIRED";
/// It cannot be done now.
pub const UNAVAILABLE: &str = "UNAVAILABLE";

/// Longest id of a request, bytes.
const ID_BYTES: usize = 256;

/// A request frame.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "checked by its type")]
    kind: Kind,
    /// Comes back in the response.
    pub id: String,
    /// What to do.
    pub method: String,
    /// With what; absent means an empty object.
    #[serde(default = "empty_object")]
    pub params: Value,
}

#[derive(Debug, Deserialize)]
enum Kind {
    #[serde(rename = "req")]
    Request,
}

fn empty_object() -> Value {
    Value::Object(Map::new())
}

/// What a request ended with.
#[derive(Debug, Clone, PartialEq)]
pub struct WireError {
    code: &'static str,
    message: String,
    details: Option<Value>,
    retry_after: Option<Duration>,
    retryable: bool,
}

impl WireError {
    /// An error that trying again does not mend.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
            retry_after: None,
            retryable: false,
        }
    }

    /// The same with details.
    pub fn with(self, details: Value) -> Self {
        Self {
            details: Some(details),
            ..self
        }
    }

    fn to_json(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(details) = &self.details {
            error["details"] = details.clone();
        }
        if self.retryable {
            error["retryable"] = true.into();
        }
        if let Some(wait) = self.retry_after {
            error["retryAfterMs"] = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).into();
        }
        error
    }
}

impl From<Status> for WireError {
    fn from(status: Status) -> Self {
        let (code, retryable) = match status.code() {
            Code::InvalidArgument | Code::PermissionDenied | Code::NotFound => {
                (INVALID_REQUEST, false)
            }
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => {
                (UNAVAILABLE, true)
            }
            _ => (UNAVAILABLE, false),
        };
        Self {
            retryable,
            ..Self::new(code, status.message())
        }
    }
}

impl From<v1::Refusal> for WireError {
    fn from(refusal: v1::Refusal) -> Self {
        let wait = Duration::from_secs(refusal.retry_after_seconds.into());
        Self {
            retryable: !wait.is_zero(),
            retry_after: (!wait.is_zero()).then_some(wait),
            ..Self::new(INVALID_REQUEST, refusal.message).with(json!({ "rule": refusal.rule }))
        }
    }
}

/// Reads a request frame.
///
/// # Errors
/// With the id to answer to: the frame's own where it has one, else `invalid`.
pub fn request(text: &str) -> Result<Request, (String, WireError)> {
    let invalid = |id: Option<String>, why: String| {
        let error = WireError::new(INVALID_REQUEST, format!("invalid request frame: {why}"));
        (id.unwrap_or_else(|| "invalid".into()), error)
    };
    if let Err(error) = clawdbot_http::json_depth(text.as_bytes(), limits::JSON_DEPTH) {
        return Err(invalid(None, error.to_string()));
    }
    let request: Request = serde_json::from_str(text).map_err(|error| {
        let value: Option<Value> = serde_json::from_str(text).ok();
        let id = value.as_ref().and_then(|v| v.get("id")?.as_str());
        let id = id.filter(|id| (1..=ID_BYTES).contains(&id.len()));
        invalid(id.map(str::to_owned), error.to_string())
    })?;
    match request.id.len() {
        1..=ID_BYTES => Ok(request),
        _ => Err(invalid(None, format!("id must have 1 to {ID_BYTES} bytes"))),
    }
}

/// A response frame.
pub fn response(id: &str, result: Result<Value, WireError>) -> String {
    match result {
        Ok(payload) => json!({ "type": "res", "id": id, "ok": true, "payload": payload }),
        Err(error) => json!({ "type": "res", "id": id, "ok": false, "error": error.to_json() }),
    }
    .to_string()
}

/// An event frame.
pub fn event(name: &str, payload: Value, seq: Option<u64>) -> String {
    let mut frame = json!({ "type": "event", "event": name, "payload": payload });
    if let Some(seq) = seq {
        frame["seq"] = seq.into();
    }
    frame.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_closed_bounded_and_typed() {
        let good = request(r#"{"type":"req","id":"1","method":"health"}"#).unwrap();
        assert_eq!((good.id.as_str(), good.params), ("1", json!({})));
        let deep = format!(
            r#"{{"type":"req","id":"1","method":"health","params":{}{}}}"#,
            "[".repeat(64),
            "]".repeat(64)
        );
        for (bad, id, why) in [
            ("", "invalid", "EOF"),
            ("[]", "invalid", "invalid"),
            (r#"{"type":"req","id":"1"}"#, "1", "method"),
            (
                r#"{"type":"req","id":"1","method":"x","more":1}"#,
                "1",
                "more",
            ),
            (r#"{"type":"res","id":"1","method":"x"}"#, "1", "res"),
            (r#"{"type":"req","id":7,"method":"x"}"#, "invalid", "id"),
            (r#"{"type":"req","id":"","method":"x"}"#, "invalid", "id"),
            (
                r#"{"type":"req","id":"1","id":"2","method":"x"}"#,
                "2",
                "duplicate",
            ),
            (deep.as_str(), "invalid", "deep"),
        ] {
            let (found, error) = request(bad).unwrap_err();
            assert_eq!(found, id, "{bad}");
            assert!(error.message.contains(why), "{bad}: {error:?}");
        }
    }

    #[test]
    fn errors_say_whether_another_try_makes_sense() {
        for (status, code, retryable) in [
            (Status::invalid_argument("x"), INVALID_REQUEST, false),
            (Status::unavailable("x"), UNAVAILABLE, true),
            (Status::resource_exhausted("x"), UNAVAILABLE, true),
            (Status::internal("x"), UNAVAILABLE, false),
        ] {
            let error = WireError::from(status);
            assert_eq!((error.code, error.retryable), (code, retryable));
        }
        let limited = v1::Refusal {
            rule: "auth.rate_limited".into(),
            message: "wait".into(),
            retry_after_seconds: 7,
        };
        let error = WireError::from(limited).to_json();
        assert_eq!(error["retryAfterMs"], 7000);
        assert_eq!(error["details"]["rule"], "auth.rate_limited");
    }
}
