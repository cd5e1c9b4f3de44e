//! `clawdbot sessions`: the conversations that the assistant has.

use std::time::{SystemTime, UNIX_EPOCH};

use clawdbot_proto::v1::chat_client::ChatClient;
use clawdbot_proto::v1::{ListSessionsRequest, SessionSummary};
use clawdbot_service::Edge;
use serde_json::{Value, json};
use tonic::{Response, Status};

use crate::dial::{Server, Sockets};
use crate::failure::Failure;
use crate::out::{Out, Style, duration, table};

/// Lists them, the most recent first.
///
/// # Errors
/// When nothing runs.
pub async fn run(sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let line = sockets.open(Server::Gateway).await?;
    let sessions = list(line.edge.clone())
        .await
        .map_err(|status| Failure::call("the gateway", &status))?
        .into_inner();
    match out.json {
        true => out.value(&as_json(&sessions))?,
        false => out.text(&as_text(out.style, &sessions, now_ms()))?,
    }
    Ok(0)
}

/// Those that the gateway tells of, the most recent first.
///
/// # Errors
/// When it refuses, or whom it has to ask does not answer.
pub async fn list(gateway: Edge) -> Result<Response<Vec<SessionSummary>>, Status> {
    let reply = ChatClient::new(gateway)
        .list_sessions(ListSessionsRequest {})
        .await?;
    Ok(reply.map(|reply| {
        let mut sessions = reply.sessions;
        sessions.sort_by_key(|session| std::cmp::Reverse(session.updated_at_ms));
        sessions
    }))
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago it was used last, for a person.
pub fn last_used(session: &SessionSummary, now_ms: u64) -> String {
    let ago = duration(now_ms.saturating_sub(session.updated_at_ms));
    format!("{ago} ago")
}

fn as_json(sessions: &[SessionSummary]) -> Value {
    let rows: Vec<Value> = sessions
        .iter()
        .map(|session| {
            json!({
                "sessionKey": session.session_key,
                "sessionId": session.session_id,
                "class": session.class,
                "updatedAtMs": session.updated_at_ms,
                "inputTokens": session.input_tokens,
                "outputTokens": session.output_tokens,
                "model": session.model,
            })
        })
        .collect();
    json!({ "sessions": rows })
}

fn as_text(style: Style, sessions: &[SessionSummary], now_ms: u64) -> String {
    if sessions.is_empty() {
        return "no conversations yet\n".into();
    }
    let row = |session: &SessionSummary| {
        [
            session.session_key.clone(),
            session.class.clone(),
            last_used(session, now_ms),
            (session.input_tokens + session.output_tokens).to_string(),
            session.model.clone(),
        ]
    };
    let rows: Vec<[String; 5]> = sessions.iter().map(row).collect();
    table(
        style,
        ["CONVERSATION", "CLASS", "LAST USED", "TOKENS", "MODEL"],
        &rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_one_row() {
        let sessions = [SessionSummary {
            session_key: "agent:main:main".into(),
            session_id: "id".into(),
            class: "main".into(),
            updated_at_ms: 1_000,
            input_tokens: 3,
            output_tokens: 4,
            model: "builtin/guide".into(),
        }];
        assert_eq!(
            as_text(Style::PLAIN, &sessions, 121_000),
            "CONVERSATION     CLASS  LAST USED  TOKENS  MODEL\n\
             agent:main:main  main   2 min ago  7       builtin/guide\n"
        );
        assert_eq!(
            as_json(&sessions)["sessions"][0]["sessionKey"],
            "agent:main:main"
        );
        assert_eq!(as_text(Style::PLAIN, &[], 0), "no conversations yet\n");
    }
}
