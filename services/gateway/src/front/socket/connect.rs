//! The first request of a connection. Its parameters are checked as a whole; then version, role and credential. A
//! device's identity is read and not used yet: it neither helps nor stands in for a credential.

use std::collections::HashMap;
use std::sync::Arc;

use clawdbot_proto::v1::verify_request::Credential;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::super::Front;
use super::super::connection::Connection;
use super::wire::{self, INVALID_REQUEST, NOT_PAIRED, WireError};
use super::{Visit, methods};
use crate::desk::Visitor;
use crate::{clock, limits};

/// The version of the protocol that is spoken here.
const PROTOCOL: u32 = 3;

/// A `connect` that will not do.
#[derive(Debug)]
pub struct Refused {
    /// What to answer to; `None` when it was no request at all.
    pub id: Option<String>,
    /// What to answer.
    pub error: WireError,
    /// What to close with.
    pub code: CloseCode,
}

/// A `connect` whose form, version and role are right.
#[derive(Debug)]
pub struct Connect {
    /// Id of the request.
    pub id: String,
    credential: Option<AuthParams>,
    scopes: Scopes,
}

/// What a connection may do. Requested scopes can only narrow what the credential gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    /// Look at sessions and their events.
    pub read: bool,
    /// Send and stop.
    pub write: bool,
}

impl Scopes {
    fn granted(requested: &[String]) -> Self {
        if requested.is_empty() {
            return Self {
                read: true,
                write: true,
            };
        }
        let asks = |names: &[&str]| {
            requested
                .iter()
                .any(|scope| names.contains(&scope.as_str()))
        };
        let write = asks(&["operator.admin", "operator.write"]);
        Self {
            read: write || asks(&["operator.read"]),
            write,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "some members are checked for their form only")]
struct Params {
    min_protocol: u32,
    max_protocol: u32,
    client: Client,
    role: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    caps: Option<Vec<String>>,
    commands: Option<Vec<String>>,
    permissions: Option<HashMap<String, bool>>,
    path_env: Option<String>,
    auth: Option<AuthParams>,
    device: Option<Device>,
    locale: Option<String>,
    user_agent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "checked for their form only")]
struct Client {
    id: ClientId,
    version: String,
    platform: String,
    mode: ClientMode,
    display_name: Option<String>,
    device_family: Option<String>,
    model_identifier: Option<String>,
    instance_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ClientId {
    WebchatUi,
    #[serde(alias = "moltbot-control-ui")]
    ClawdbotControlUi,
    Webchat,
    Cli,
    GatewayClient,
    #[serde(alias = "moltbot-macos")]
    ClawdbotMacos,
    #[serde(alias = "moltbot-ios")]
    ClawdbotIos,
    #[serde(alias = "moltbot-android")]
    ClawdbotAndroid,
    NodeHost,
    Test,
    Fingerprint,
    #[serde(alias = "moltbot-probe")]
    ClawdbotProbe,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClientMode {
    Webchat,
    Cli,
    Ui,
    Backend,
    Node,
    Probe,
    Test,
}

/// No Debug output of what it holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthParams {
    token: Option<String>,
    password: Option<String>,
}

impl std::fmt::Debug for AuthParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[credential]")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "device identities are not there yet")]
struct Device {
    id: String,
    public_key: String,
    signature: String,
    signed_at: u64,
    nonce: Option<String>,
}

/// Reads the first frame of a connection.
///
/// # Errors
/// When it is no request, is no `connect`, or asks for what is not spoken or given here.
pub fn parse(text: &str) -> Result<Connect, Box<Refused>> {
    let request = wire::request(text).map_err(|(_, error)| {
        Box::new(Refused {
            id: None,
            error,
            code: CloseCode::Policy,
        })
    })?;
    let refuse = |code, error| {
        Err(Box::new(Refused {
            id: Some(request.id.clone()),
            error,
            code,
        }))
    };
    if request.method != "connect" {
        let error = WireError::new(INVALID_REQUEST, "the first request must be connect");
        return refuse(CloseCode::Policy, error);
    }
    let params: Params = match serde_json::from_value(request.params.clone()) {
        Ok(params) => params,
        Err(error) => {
            let message = format!("invalid connect params: {error}");
            return refuse(CloseCode::Policy, WireError::new(INVALID_REQUEST, message));
        }
    };
    if params.min_protocol == 0 || params.max_protocol == 0 {
        let message = "invalid connect params: protocol versions start at 1";
        return refuse(CloseCode::Policy, WireError::new(INVALID_REQUEST, message));
    }
    if params.max_protocol < PROTOCOL || params.min_protocol > PROTOCOL {
        let error = WireError::new(INVALID_REQUEST, "protocol mismatch")
            .with(json!({ "expectedProtocol": PROTOCOL }));
        return refuse(CloseCode::Protocol, error);
    }
    if params.role.as_deref().unwrap_or("operator") != "operator" {
        let error = WireError::new(INVALID_REQUEST, "invalid role: only operator is there yet");
        return refuse(CloseCode::Policy, error);
    }
    Ok(Connect {
        id: request.id.clone(),
        credential: params.auth,
        scopes: Scopes::granted(&params.scopes),
    })
}

/// Checks the credential: the one in the frame, else the one that came with the HTTP request.
///
/// # Errors
/// When there is none, or policy refuses it or cannot be reached.
pub async fn authenticate(
    front: &Front,
    connection: &Connection,
    request: &Connect,
    key: Option<String>,
) -> Result<Visit, WireError> {
    let mode = front
        .slice()
        .map(|slice| slice.auth_mode.clone())
        .unwrap_or_default();
    let given = request.credential.as_ref().and_then(|auth| {
        let token = auth.token.clone().map(Credential::Token);
        let password = auth.password.clone().map(Credential::Password);
        match mode.as_str() {
            "password" => password.or(token),
            _ => token.or(password),
        }
    });
    let key = match (given, key) {
        (Some(credential), _) => {
            let verified = front.0.access.verify(credential, connection.peer.ip());
            verified
                .await?
                .map_err(|mut refusal| {
                    refusal.message = format!("unauthorized: {}", refusal.message);
                    WireError::from(refusal)
                })?
                .key
        }
        (None, Some(key)) => key,
        (None, None) => {
            return Err(WireError::new(
                NOT_PAIRED,
                "device identity is not there yet: connect with the gateway's token or password in auth",
            ));
        }
    };
    Ok(Visit {
        who: Visitor::Web(key.clone()),
        key,
        scopes: request.scopes,
        problems: Arc::clone(&front.desk().problems().borrow()),
    })
}

/// The answer to a right `connect`.
pub fn hello(front: &Front, visit: &Visit) -> Value {
    let health = match visit.scopes.read {
        true => methods::health(front, &visit.problems),
        false => json!({}),
    };
    json!({
        "type": "hello-ok",
        "protocol": PROTOCOL,
        "server": {
            "version": env!("CARGO_PKG_VERSION"),
            "connId": clock::random_id().unwrap_or_default(),
        },
        "features": {
            "methods": methods::names(),
            "events": ["connect.challenge", "chat", "agent", "health", "tick", "shutdown"],
        },
        "snapshot": {
            "presence": [],
            "health": health,
            "stateVersion": { "presence": 0, "health": 0 },
            "uptimeMs": front.status().uptime_ms,
        },
        "policy": {
            "maxPayload": limits::FRAME_BYTES,
            "maxBufferedBytes": limits::HISTORY_BYTES,
            "tickIntervalMs": limits::TICK.as_millis(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(change: impl FnOnce(&mut Value)) -> String {
        let mut frame = json!({
            "type": "req", "id": "c1", "method": "connect",
            "params": {
                "minProtocol": 3, "maxProtocol": 3,
                "client": { "id": "test", "version": "1", "platform": "linux", "mode": "test" },
                "auth": { "token": "t" },
            },
        });
        change(&mut frame);
        frame.to_string()
    }

    #[test]
    fn a_right_connect_is_taken_with_all_its_optional_members() {
        assert!(parse(&frame(|_| {})).is_ok());
        let full = frame(|f| {
            let params = &mut f["params"];
            params["minProtocol"] = 1.into();
            params["maxProtocol"] = 9.into();
            params["role"] = "operator".into();
            params["scopes"] = json!(["operator.read"]);
            params["caps"] = json!([]);
            params["commands"] = json!([]);
            params["permissions"] = json!({ "a": true });
            params["pathEnv"] = "/bin".into();
            params["locale"] = "de".into();
            params["userAgent"] = "x".into();
            params["client"]["id"] = "moltbot-ios".into();
            params["client"]["displayName"] = "x".into();
            params["device"] =
                json!({ "id": "i", "publicKey": "k", "signature": "s", "signedAt": 1 });
        });
        assert!(parse(&full).is_ok());
    }

    #[test]
    fn each_fault_has_its_answer_and_its_close_code() {
        let policy = CloseCode::Policy;
        let long = frame(|f| f["params"]["more"] = 1.into());
        for (text, id, code, word) in [
            ("hello".to_owned(), None, policy, "invalid request frame"),
            (
                frame(|f| f["type"] = "event".into()),
                None,
                policy,
                "invalid request frame",
            ),
            (
                frame(|f| f["method"] = "health".into()),
                Some("c1"),
                policy,
                "first request",
            ),
            (long, Some("c1"), policy, "unknown field `more`"),
            (
                frame(|f| f["params"]["client"]["mode"] = "operator".into()),
                Some("c1"),
                policy,
                "operator",
            ),
            (
                frame(|f| f["params"]["client"]["id"] = "other".into()),
                Some("c1"),
                policy,
                "other",
            ),
            (
                frame(|f| f["params"]["minProtocol"] = 0.into()),
                Some("c1"),
                policy,
                "start at 1",
            ),
            (
                frame(|f| f["params"]["maxProtocol"] = 2.into()),
                Some("c1"),
                CloseCode::Protocol,
                "mismatch",
            ),
            (
                frame(|f| f["params"]["minProtocol"] = 4.into()),
                Some("c1"),
                CloseCode::Protocol,
                "mismatch",
            ),
            (
                frame(|f| f["params"]["role"] = "node".into()),
                Some("c1"),
                policy,
                "invalid role",
            ),
            (
                frame(|f| f["params"]["auth"]["key"] = "x".into()),
                Some("c1"),
                policy,
                "key",
            ),
            (
                frame(|f| f["params"]["device"] = json!({ "id": "i" })),
                Some("c1"),
                policy,
                "publicKey",
            ),
        ] {
            let refused = parse(&text).unwrap_err();
            assert_eq!(refused.id.as_deref(), id, "{text}");
            assert_eq!(refused.code, code, "{text}");
            let answer = wire::response("x", Err(refused.error));
            assert!(answer.contains(word), "{answer}");
        }
    }

    #[test]
    fn requested_scopes_narrow_and_never_widen() {
        let granted = |scopes: &[&str]| {
            let scopes: Vec<_> = scopes.iter().map(|s| (*s).to_owned()).collect();
            let Scopes { read, write } = Scopes::granted(&scopes);
            (read, write)
        };
        assert_eq!(granted(&[]), (true, true));
        assert_eq!(granted(&["operator.admin"]), (true, true));
        assert_eq!(granted(&["operator.write"]), (true, true));
        assert_eq!(granted(&["operator.read"]), (true, false));
        assert_eq!(granted(&["operator.pairing", "other"]), (false, false));
    }

    #[test]
    fn a_credential_is_not_printed() {
        let connect = parse(&frame(|f| f["params"]["auth"]["token"] = "canary".into())).unwrap();
        assert!(!format!("{connect:?}").contains("canary"));
    }
}
