//! `clawdbot pairing`: who waits for approval, who has it, and the owner's word on both. The answer comes from policy over
//! its own socket; nobody else can approve anybody.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::pairing_reply::Outcome;
use clawdbot_proto::v1::policy_operator_client::PolicyOperatorClient;
use clawdbot_proto::v1::{
    ApprovedRow, ListPairingReply, ListPairingRequest, PairingCode, PairingReply,
    PairingRequestRow, RevokePairingRequest,
};
use serde_json::{Value, json};

use crate::args::{Pairing, PairingRequest};
use crate::dial::{Server, Sockets};
use crate::failure::{EXIT_USAGE, Failure};
use crate::out::{Out, Style, duration, table};

/// Does what was asked.
///
/// # Errors
/// When nothing runs, or policy refuses: no such request, nobody approved under this id.
pub async fn run(wanted: &Pairing, sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let line = sockets.open(Server::Policy).await?;
    let mut policy = PolicyOperatorClient::new(line.edge.clone());
    let failed = |status| Failure::call("policy", &status);
    let (done, reply) = match wanted {
        Pairing::List { channel, approved } => {
            let reply = policy.list_pairing(ListPairingRequest {}).await;
            let all = reply.map_err(failed)?.into_inner();
            return list(&only(all, channel.as_deref(), *approved), out);
        }
        Pairing::Approve {
            request,
            notify,
            owner,
        } => {
            let request = PairingCode {
                notify: *notify,
                owner: *owner,
                ..code(request)?
            };
            (Done::Approved, policy.approve_pairing(request).await)
        }
        Pairing::Reject { request } => {
            let request = code(request)?;
            (Done::Rejected, policy.reject_pairing(request).await)
        }
        Pairing::Revoke {
            channel,
            sender,
            account,
        } => {
            let request = RevokePairingRequest {
                channel: channel.clone(),
                account: account.clone(),
                sender_id: sender.clone(),
            };
            (Done::Revoked, policy.revoke_pairing(request).await)
        }
    };
    let row = accepted(reply.map_err(failed)?.into_inner())?;
    match out.json {
        true => out.value(&json!({ done.word(): approved_json(&row) }))?,
        false => out.text(&done.sentence(&row))?,
    }
    Ok(0)
}

fn code(request: &PairingRequest) -> Result<PairingCode, Failure> {
    let wrong = |why| Failure::new("usage", why).exit(EXIT_USAGE);
    let (channel, code) = request.parts().map_err(wrong)?;
    Ok(PairingCode {
        channel: channel.to_owned(),
        code: code.trim().to_owned(),
        ..PairingCode::default()
    })
}

/// What was asked for of a list.
fn only(mut all: ListPairingReply, channel: Option<&str>, approved: bool) -> ListPairingReply {
    let here = |own: &str| channel.is_none_or(|channel| own.eq_ignore_ascii_case(channel));
    all.pending.retain(|row| here(&row.channel) && !approved);
    all.approved.retain(|row| here(&row.channel));
    all
}

fn accepted(reply: PairingReply) -> Result<ApprovedRow, Failure> {
    match reply.outcome {
        Some(Outcome::Done(row)) => Ok(row),
        Some(Outcome::Refusal(refusal)) => Err(Failure::new(&refusal.rule, refusal.message)),
        None => Err(
            Failure::new("version", "policy gave an answer of another version")
                .remedy("restart the assistant"),
        ),
    }
}

#[derive(Clone, Copy)]
enum Done {
    Approved,
    Rejected,
    Revoked,
}

impl Done {
    fn word(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Revoked => "revoked",
        }
    }

    fn sentence(self, row: &ApprovedRow) -> String {
        let who = match row.sender_hint.as_str() {
            "" => row.sender_id.clone(),
            hint => format!("{} ({hint})", row.sender_id),
        };
        let place = match row.account.as_str() {
            "default" => row.channel.clone(),
            account => format!("{}, account {account}", row.channel),
        };
        let text = match self {
            Self::Approved => format!("{who} may write to the assistant now, on {place}"),
            Self::Rejected => {
                format!("the request of {who} on {place} is gone; a new message makes a new one")
            }
            Self::Revoked => format!("{who} may no longer write to the assistant on {place}"),
        };
        sanitize_line(&text).into_owned()
    }
}

fn list(reply: &ListPairingReply, out: Out) -> Result<u8, Failure> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    match out.json {
        true => out.value(&as_json(reply))?,
        false => out.text(&as_text(
            out.style,
            reply,
            u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        ))?,
    }
    Ok(0)
}

fn as_json(reply: &ListPairingReply) -> Value {
    let pending = |row: &PairingRequestRow| {
        json!({
            "channel": row.channel,
            "account": row.account,
            "code": row.code,
            "senderId": row.sender_id,
            "senderHint": row.sender_hint,
            "listedName": row.name,
            "createdMs": row.created_ms,
            "expiresMs": row.expires_ms,
        })
    };
    json!({
        "pending": reply.pending.iter().map(pending).collect::<Vec<_>>(),
        "approved": reply.approved.iter().map(approved_json).collect::<Vec<_>>(),
    })
}

fn approved_json(row: &ApprovedRow) -> Value {
    json!({
        "channel": row.channel,
        "account": row.account,
        "senderId": row.sender_id,
        "senderHint": row.sender_hint,
        "approvedMs": (row.approved_ms > 0).then_some(row.approved_ms),
        "expiresMs": (row.expires_ms > 0 && row.approved_ms > 0).then_some(row.expires_ms),
    })
}

fn as_text(style: Style, reply: &ListPairingReply, now_ms: u64) -> String {
    let mut text = String::new();
    if !reply.pending.is_empty() {
        let row = |row: &PairingRequestRow| {
            [
                row.channel.clone(),
                row.account.clone(),
                row.code.clone(),
                row.sender_id.clone(),
                duration(row.expires_ms.saturating_sub(now_ms)),
                row.name.clone(),
                row.sender_hint.clone(),
            ]
        };
        let rows: Vec<[String; 7]> = reply.pending.iter().map(row).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", style.bold("Waiting for your approval"));
        text.push_str(&table(
            style,
            [
                "CHANNEL",
                "ACCOUNT",
                "CODE",
                "SENDER",
                "LEFT",
                "IN ALLOWFROM",
                "CALLS ITSELF",
            ],
            &rows,
        ));
        let _ = writeln!(
            text,
            "\nLet somebody in: clawdbot pairing approve CHANNEL CODE"
        );
    }
    if !reply.approved.is_empty() {
        let row = |row: &ApprovedRow| {
            let ends = match row.expires_ms {
                0 => "never".to_owned(),
                ends => format!("in {}", duration(ends.saturating_sub(now_ms))),
            };
            [
                row.channel.clone(),
                row.account.clone(),
                row.sender_id.clone(),
                format!("{} ago", duration(now_ms.saturating_sub(row.approved_ms))),
                ends,
                row.sender_hint.clone(),
            ]
        };
        let rows: Vec<[String; 6]> = reply.approved.iter().map(row).collect();
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "{}", style.bold("Approved"));
        text.push_str(&table(
            style,
            [
                "CHANNEL",
                "ACCOUNT",
                "SENDER",
                "SINCE",
                "ENDS",
                "CALLED ITSELF",
            ],
            &rows,
        ));
    }
    if text.is_empty() {
        text.push_str("nobody waits for approval, and nobody was approved; allowFrom is in the configuration\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::Refusal;

    use super::*;

    fn reply() -> ListPairingReply {
        ListPairingReply {
            pending: vec![PairingRequestRow {
                channel: "telegram".into(),
                account: "default".into(),
                code: "ABCD2345".into(),
                sender_id: "42".into(),
                sender_hint: "Ann (@ann)".into(),
                created_ms: 0,
                expires_ms: 3_600_000,
                name: "@ann".into(),
            }],
            approved: vec![
                approved("default", "7", 0),
                approved("work", "8", 7_260_000),
            ],
        }
    }

    fn approved(account: &str, sender: &str, expires_ms: u64) -> ApprovedRow {
        ApprovedRow {
            channel: "telegram".into(),
            account: account.into(),
            sender_id: sender.into(),
            sender_hint: String::new(),
            approved_ms: 1,
            expires_ms,
        }
    }

    #[test]
    fn who_waits_stands_first_and_everything_is_aligned() {
        assert_eq!(
            as_text(Style::PLAIN, &reply(), 60_000),
            "Waiting for your approval\n\
             CHANNEL   ACCOUNT  CODE      SENDER  LEFT    IN ALLOWFROM  CALLS ITSELF\n\
             telegram  default  ABCD2345  42      59 min  @ann          Ann (@ann)\n\
             \n\
             Let somebody in: clawdbot pairing approve CHANNEL CODE\n\
             \n\
             Approved\n\
             CHANNEL   ACCOUNT  SENDER  SINCE     ENDS        CALLED ITSELF\n\
             telegram  default  7       59 s ago  never\n\
             telegram  work     8       59 s ago  in 2 h 0 min\n"
                .replace("ENDS        CALLED", "ENDS          CALLED")
        );
        let cut = |channel, approved| only(reply(), channel, approved);
        assert_eq!(cut(Some("Telegram"), false), reply());
        assert_eq!(cut(Some("discord"), false), ListPairingReply::default());
        let approved = cut(None, true);
        assert!(approved.pending.is_empty() && approved.approved.len() == 2);
        let nobody = as_text(Style::PLAIN, &ListPairingReply::default(), 0);
        assert!(nobody.starts_with("nobody waits"));
    }

    #[test]
    fn a_script_reads_the_same() {
        let json = as_json(&reply());
        assert_eq!(json["pending"][0]["code"], "ABCD2345");
        assert_eq!(json["pending"][0]["expiresMs"], 3_600_000);
        assert_eq!(json["approved"][0]["expiresMs"], Value::Null);
        assert_eq!(json["approved"][1]["expiresMs"], 7_260_000);
    }

    #[test]
    fn a_refusal_is_a_failure_with_its_rule_and_what_was_done_is_a_sentence() {
        let refusal = Refusal {
            rule: "pairing.no_request".into(),
            message: "no request waits under this code".into(),
            retry_after_seconds: 0,
        };
        let refused = PairingReply {
            outcome: Some(Outcome::Refusal(refusal)),
        };
        let failure = accepted(refused).unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.exit),
            ("pairing.no_request", 1)
        );
        assert!(accepted(PairingReply::default()).is_err());
        let row = ApprovedRow {
            sender_hint: "Ann\u{1b}".into(),
            ..approved("work", "8", 0)
        };
        let done = PairingReply {
            outcome: Some(Outcome::Done(row)),
        };
        let row = accepted(done).unwrap();
        assert_eq!(
            Done::Approved.sentence(&row),
            "8 (Ann\\u{1b}) may write to the assistant now, on telegram, account work"
        );
        for done in [Done::Approved, Done::Rejected, Done::Revoked] {
            assert!(done.sentence(&row).contains('8') && !done.word().is_empty());
        }
    }
}
