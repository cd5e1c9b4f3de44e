//! `clawdbot sessions`: the conversations that the assistant has.

use std::time::{SystemTime, UNIX_EPOCH};

use clawdbot_proto::v1::chat_client::ChatClient;
use clawdbot_proto::v1::{ListSessionsRequest, SessionSummary};
use serde_json::{Value, json};

use crate::dial::{Server, Sockets};
use crate::failure::Failure;
use crate::out::{Out, Style, duration, table};

/// Lists them, the most recent first.
///
/// # Errors
/// When nothing runs.
pub async fn run(sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let line = sockets.open(Server::Gateway).await?;
    let reply = ChatClient::new(line.edge.clone())
        .list_sessions(ListSessionsRequest {})
        .await
        .map_err(|status| Failure::call("the gateway", &status))?;
    let mut sessions = reply.into_inner().sessions;
    sessions.sort_by_key(|session| std::cmp::Reverse(session.updated_at_ms));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    match out.json {
        true => out.value(&as_json(&sessions))?,
        false => out.text(&as_text(
            out.style,
            &sessions,
            u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        ))?,
    }
    Ok(0)
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
            format!(
                "{} ago",
                duration(now_ms.saturating_sub(session.updated_at_ms))
            ),
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
