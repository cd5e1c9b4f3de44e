//! What a client may ask for after `connect`: one table of names and needed scopes, one closed parameter object each.
//! What is recognised but not there yet is refused by name rather than ignored.

use clawdbot_identity::MessageId;
use clawdbot_proto::v1;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::Front;
use super::Visit;
use super::follow::Followed;
use super::wire::{INVALID_REQUEST, WireError};
use crate::clock;
use crate::desk::{Sent, Wanted};

/// The scope that a method needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Read,
    Write,
}

const METHODS: &[(&str, Need)] = &[
    ("health", Need::Read),
    ("status", Need::Read),
    ("chat.send", Need::Write),
    ("chat.history", Need::Read),
    ("chat.abort", Need::Write),
    ("sessions.list", Need::Read),
];

/// All method names.
pub fn names() -> Vec<&'static str> {
    METHODS.iter().map(|(name, _)| *name).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "checked for its form only")]
struct Probe {
    probe: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ChatSend {
    session_key: String,
    message: String,
    idempotency_key: String,
    thinking: Option<String>,
    deliver: Option<bool>,
    attachments: Option<Vec<Value>>,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ChatHistory {
    session_key: String,
    #[serde(default = "default_history")]
    limit: u32,
}

fn default_history() -> u32 {
    200
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ChatAbort {
    session_key: String,
    run_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SessionsList {
    limit: Option<usize>,
    active_minutes: Option<u64>,
    search: Option<String>,
    // There are no such sessions here, so both answers are the same list.
    #[expect(dead_code, reason = "checked for its form only")]
    include_global: Option<bool>,
    #[expect(dead_code, reason = "checked for its form only")]
    include_unknown: Option<bool>,
}

/// What a request is answered with, once it is known.
pub type Answer<'a> = BoxFuture<'a, Result<Value, WireError>>;

/// What has come of a request.
pub enum Called<'a> {
    /// It is answered.
    Done(Value),
    /// The answer waits for an agent: for the end of its turn, or for what it has on record.
    Waits(Answer<'a>),
}

/// Does what a request asks for.
///
/// # Errors
/// When the method is unknown, its parameters are wrong, its scope is missing, or it cannot be done.
pub async fn call<'a>(
    front: &'a Front,
    visit: &'a Visit,
    followed: &mut Followed,
    method: &str,
    params: Value,
) -> Result<Called<'a>, WireError> {
    let Some((name, need)) = METHODS.iter().find(|(name, _)| *name == method) else {
        return Err(WireError::new(INVALID_REQUEST, "unknown method"));
    };
    let (permitted, scope) = match need {
        Need::Read => (visit.scopes.read, "operator.read"),
        Need::Write => (visit.scopes.write, "operator.write"),
    };
    if !permitted {
        let message = format!("missing scope: {scope}");
        return Err(WireError::new(INVALID_REQUEST, message));
    }
    let done = match *name {
        "health" => {
            let Probe { .. } = parsed(params)?;
            let problems = front.desk().problems();
            health(front, &problems.borrow())
        }
        "status" => {
            let Probe { .. } = parsed(params)?;
            let status = front.status();
            json!({
                "version": env!("CARGO_PKG_VERSION"),
                "urls": status.urls,
                "pending": status.pending,
                "running": status.running,
                "connections": status.connections,
                "uptimeMs": status.uptime_ms,
            })
        }
        "chat.send" => send(front, visit, followed, parsed(params)?).await?,
        "chat.history" => {
            let answer = history(front, visit, parsed(params)?);
            return Ok(Called::Waits(Box::pin(answer)));
        }
        "chat.abort" => {
            let answer = abort(front, visit, parsed(params)?);
            return Ok(Called::Waits(Box::pin(answer)));
        }
        _ => {
            let answer = sessions(front, visit, parsed(params)?);
            return Ok(Called::Waits(Box::pin(answer)));
        }
    };
    Ok(Called::Done(done))
}

/// Whether all is well, and what the operator has to know if not.
pub fn health(front: &Front, problems: &[v1::Problem]) -> Value {
    let listed: Vec<_> = problems
        .iter()
        .map(|problem| {
            json!({
                "code": problem.code,
                "message": problem.message,
                "role": problem.role,
                "since": problem.since_ms,
            })
        })
        .collect();
    json!({
        "ok": listed.is_empty(),
        "ts": clock::now_ms(),
        "uptimeMs": front.status().uptime_ms,
        "problems": listed,
    })
}

fn parsed<T: DeserializeOwned>(params: Value) -> Result<T, WireError> {
    serde_json::from_value(params)
        .map_err(|error| WireError::new(INVALID_REQUEST, format!("invalid params: {error}")))
}

async fn send(
    front: &Front,
    visit: &Visit,
    followed: &mut Followed,
    params: ChatSend,
) -> Result<Value, WireError> {
    for (name, used) in [
        ("thinking", params.thinking.is_some_and(|t| !t.is_empty())),
        ("deliver", params.deliver == Some(true)),
        (
            "attachments",
            params.attachments.is_some_and(|a| !a.is_empty()),
        ),
        ("timeoutMs", params.timeout_ms.is_some()),
    ] {
        if used {
            let message = format!("{name} is not there yet");
            return Err(WireError::new(INVALID_REQUEST, message));
        }
    }
    let wanted = Wanted::named_or_key(&params.session_key)?;
    let run_id = params.idempotency_key;
    let sent = front
        .desk()
        .send(&visit.who, wanted, &run_id, params.message)
        .await??;
    Ok(match sent {
        Sent::Stopped(stopped) => aborted(&stopped),
        Sent::Told(session, text) => {
            followed.told(&session, &run_id, text);
            json!({ "runId": run_id, "status": "ok" })
        }
        Sent::Settled(session, row, outcome) => {
            followed.ended(front, &session, &run_id, row, outcome);
            json!({ "runId": run_id, "status": "ok" })
        }
        Sent::Running { log, known, .. } => {
            let status = if known { "in_flight" } else { "started" };
            let turn_id = log.turn.turn_id.as_str().to_owned();
            followed.add(front, log);
            json!({ "runId": run_id, "status": status, "turnId": turn_id })
        }
    })
}

async fn history(front: &Front, visit: &Visit, params: ChatHistory) -> Result<Value, WireError> {
    let wanted = Wanted::named_or_key(&params.session_key)?;
    let (session, reply) = front
        .desk()
        .history(&visit.who, &wanted, params.limit)
        .await??;
    let messages: Vec<_> = reply
        .entries
        .iter()
        .map(|entry| {
            json!({
                "role": entry.role,
                "content": [{ "type": "text", "text": entry.text }],
                "timestamp": entry.at_ms,
                "turnId": entry.turn_id,
            })
        })
        .collect();
    Ok(json!({ "sessionKey": session.as_str(), "messages": messages }))
}

async fn abort(front: &Front, visit: &Visit, params: ChatAbort) -> Result<Value, WireError> {
    let wanted = Wanted::named_or_key(&params.session_key)?;
    let only = params
        .run_id
        .map(|id| MessageId::parse(&id))
        .transpose()
        .map_err(|error| WireError::new(INVALID_REQUEST, error.to_string()))?;
    let (_, stopped) = front
        .desk()
        .stop(&visit.who, &wanted, only.as_ref())
        .await??;
    Ok(aborted(&stopped))
}

fn aborted(stopped: &[MessageId]) -> Value {
    let ids: Vec<_> = stopped.iter().map(MessageId::as_str).collect();
    json!({ "ok": true, "aborted": !ids.is_empty(), "runIds": ids })
}

async fn sessions(front: &Front, visit: &Visit, params: SessionsList) -> Result<Value, WireError> {
    let now = clock::now_ms();
    let since = params.active_minutes.map_or(0, |minutes| {
        now.saturating_sub(minutes.saturating_mul(60_000))
    });
    let search = params.search.unwrap_or_default().to_lowercase();
    let sessions: Vec<_> = front
        .desk()
        .sessions(&visit.who)
        .await??
        .into_iter()
        .filter(|s| s.updated_at_ms >= since && s.session_key.contains(&search))
        .take(params.limit.unwrap_or(usize::MAX))
        .map(|s| {
            json!({
                "key": s.session_key,
                "sessionId": s.session_id,
                "class": s.class,
                "updatedAt": s.updated_at_ms,
                "inputTokens": s.input_tokens,
                "outputTokens": s.output_tokens,
                "totalTokens": s.input_tokens.saturating_add(s.output_tokens),
                "model": s.model,
            })
        })
        .collect();
    Ok(json!({ "ts": now, "count": sessions.len(), "sessions": sessions }))
}
