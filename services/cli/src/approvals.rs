//! `clawdbot approvals`: calls that wait for the owner's word, and the word. It goes to policy over its own socket; the
//! gateway takes none.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::answer_reply::Outcome;
use clawdbot_proto::v1::approvals_operator_client::ApprovalsOperatorClient;
use clawdbot_proto::v1::{AnswerReply, AnswerRequest, ListQuestionsRequest, QuestionRow};
use serde_json::{Value, json};

use crate::args::Approvals;
use crate::dial::{Server, Sockets};
use crate::failure::Failure;
use crate::out::{Out, Style, duration};

/// Does what was asked.
///
/// # Errors
/// When nothing runs, or no call waits under this id.
pub async fn run(wanted: &Approvals, sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    match wanted {
        Approvals::List => {
            let questions = waiting(sockets).await?;
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            match out.json {
                true => out.value(&as_json(&questions))?,
                false => out.text(&as_text(out.style, &questions, now))?,
            }
        }
        Approvals::Approve { id } => said(&answer(sockets, id, true).await?, true, out)?,
        Approvals::Deny { id } => said(&answer(sockets, id, false).await?, false, out)?,
    }
    Ok(0)
}

/// What waits, the oldest first.
///
/// # Errors
/// When nothing runs.
pub async fn waiting(sockets: &Sockets) -> Result<Vec<QuestionRow>, Failure> {
    let line = sockets.open(Server::Policy).await?;
    let reply = ApprovalsOperatorClient::new(line.edge.clone())
        .list(ListQuestionsRequest {})
        .await;
    let reply = reply.map_err(|status| Failure::call("policy", &status))?;
    Ok(reply.into_inner().questions)
}

/// Gives the word on a call.
///
/// # Errors
/// When nothing runs, or no call waits under this id.
pub async fn answer(sockets: &Sockets, id: &str, allow: bool) -> Result<QuestionRow, Failure> {
    let line = sockets.open(Server::Policy).await?;
    let request = AnswerRequest {
        id: id.trim().to_owned(),
        allow,
    };
    let reply = ApprovalsOperatorClient::new(line.edge.clone())
        .answer(request)
        .await;
    accepted(
        reply
            .map_err(|status| Failure::call("policy", &status))?
            .into_inner(),
    )
}

fn accepted(reply: AnswerReply) -> Result<QuestionRow, Failure> {
    match reply.outcome {
        Some(Outcome::Done(row)) => Ok(row),
        Some(Outcome::Refusal(refusal)) => Err(Failure::new(&refusal.rule, refusal.message)),
        None => Err(
            Failure::new("version", "policy gave an answer of another version")
                .remedy("restart the assistant"),
        ),
    }
}

fn said(row: &QuestionRow, allow: bool, out: Out) -> Result<(), Failure> {
    match out.json {
        true => {
            let word = if allow { "approved" } else { "denied" };
            out.value(&json!({ word: row_json(row) }))?;
        }
        false => out.text(&sentence(row, allow))?,
    }
    Ok(())
}

/// What was done, as a sentence.
pub fn sentence(row: &QuestionRow, allow: bool) -> String {
    let text = match allow {
        true => format!("{} may be called, this once", row.tool),
        false => format!("{} is not called", row.tool),
    };
    sanitize_line(&text).into_owned()
}

fn row_json(row: &QuestionRow) -> Value {
    json!({
        "id": row.id,
        "session": row.session_key,
        "agent": row.agent_id,
        "tool": row.tool,
        "what": row.what,
        "reasons": row.reasons,
        "askedMs": row.asked_ms,
        "expiresMs": row.expires_ms,
    })
}

fn as_json(questions: &[QuestionRow]) -> Value {
    json!({ "waiting": questions.iter().map(row_json).collect::<Vec<_>>() })
}

fn as_text(style: Style, questions: &[QuestionRow], now_ms: u64) -> String {
    if questions.is_empty() {
        return "no call waits for your word\n".to_owned();
    }
    let mut text = String::new();
    for row in questions {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {} in {}, {} left",
            style.bold(&row.id),
            sanitize_line(&row.tool),
            sanitize_line(&row.session_key),
            duration(row.expires_ms.saturating_sub(now_ms)),
        );
        for line in row
            .what
            .lines()
            .chain(row.reasons.iter().map(String::as_str))
        {
            let _ = writeln!(text, "  {}", sanitize_line(line));
        }
    }
    text.push_str("\nclawdbot approvals approve ID allows a call once, clawdbot approvals deny ID refuses it\n");
    text
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::Refusal;

    use super::*;

    fn row() -> QuestionRow {
        QuestionRow {
            id: "ABCD2345".into(),
            session_key: "agent:main:main".into(),
            agent_id: "main".into(),
            tool: "exec".into(),
            what: "command: ls\u{1b}".into(),
            reasons: vec!["the path comes from a web page".into()],
            asked_ms: 0,
            expires_ms: 120_000,
        }
    }

    #[test]
    fn what_waits_is_shown_with_what_it_would_do_and_why() {
        assert_eq!(
            as_text(Style::PLAIN, &[row()], 60_000),
            "ABCD2345  exec in agent:main:main, 1 min left\n  command: ls\\u{1b}\n  the path comes from a web page\n\n\
             clawdbot approvals approve ID allows a call once, clawdbot approvals deny ID refuses it\n"
        );
        assert!(as_text(Style::PLAIN, &[], 0).starts_with("no call waits"));
        let json = as_json(&[row()]);
        assert_eq!(json["waiting"][0]["id"], "ABCD2345");
        assert_eq!(json["waiting"][0]["expiresMs"], 120_000);
    }

    #[test]
    fn a_refusal_is_a_failure_with_its_rule() {
        let refusal = Refusal {
            rule: "approval.no_question".into(),
            message: "no call waits under this id".into(),
            retry_after_seconds: 0,
        };
        let refused = AnswerReply {
            outcome: Some(Outcome::Refusal(refusal)),
        };
        assert_eq!(accepted(refused).unwrap_err().code, "approval.no_question");
        assert!(accepted(AnswerReply::default()).is_err());
        let done = AnswerReply {
            outcome: Some(Outcome::Done(row())),
        };
        let row = accepted(done).unwrap();
        for allow in [true, false] {
            assert!(sentence(&row, allow).contains("exec"));
        }
    }
}
