//! The owner's part of pairing, over policy.sock. What has been answered is on disk.

use clawdbot_identity::Role;
use clawdbot_proto::v1;
use clawdbot_proto::v1::pairing_reply::Outcome;
use tonic::Status;

use super::Services;
use crate::denied::Denied;
use crate::notices::{About, Notice, Recipient, To};
use crate::pairing::{self, Approved, Book, Row};
use crate::policy::unix_ms;
use crate::record::Decision;

impl Services {
    /// Who waits and who was approved.
    pub(super) fn pairing(&self) -> Result<v1::ListPairingReply, Denied> {
        let ttl = self.0.current()?.settings.approval_ttl;
        let (book, now) = (self.0.people.book()?, unix_ms());
        let pending = book
            .pending(now)
            .into_iter()
            .map(|row| v1::PairingRequestRow {
                channel: row.channel,
                account: row.account,
                code: row.what.code.clone(),
                sender_id: row.sender,
                sender_hint: row.what.hint.clone(),
                created_ms: row.what.created_ms,
                expires_ms: row.what.expires_ms(),
                name: row.what.name.clone().unwrap_or_default(),
            });
        let approved = book
            .approved(now, ttl)
            .into_iter()
            .map(|row| v1::ApprovedRow {
                expires_ms: row.what.expires_ms(ttl),
                channel: row.channel,
                account: row.account,
                sender_id: row.sender,
                sender_hint: row.what.hint.clone(),
                approved_ms: row.what.approved_ms,
            });
        Ok(v1::ListPairingReply {
            pending: pending.collect(),
            approved: approved.collect(),
        })
    }

    /// Has somebody who was let in told so.
    pub(super) fn welcome(&self, reply: &v1::PairingReply) {
        let Some(Outcome::Done(row)) = &reply.outcome else {
            return;
        };
        let now = unix_ms();
        self.0.notices.tell(Notice {
            about: About::Welcome(format!(
                "{}/{}/{} {now}",
                row.channel, row.account, row.sender_id
            )),
            to: To::These(vec![Recipient {
                channel: row.channel.clone(),
                accounts: vec![row.account.clone()],
                person: row.sender_id.clone(),
                thread: String::new(),
            }]),
            text: pairing::WELCOME.to_owned(),
            expires_ms: now.saturating_add(pairing::TTL_MS),
            by_others: true,
        });
    }

    /// Writes down whom a change of the book will let in, when it will. What cannot be written down does not happen.
    ///
    /// # Errors
    /// With the rule `audit.unavailable`.
    pub(super) fn announce(
        &self,
        name: &'static str,
        role: &Role,
        change: impl FnOnce(&mut Book) -> Result<Row<Approved>, Denied>,
    ) -> Result<(), Denied> {
        let Ok(row) = self
            .0
            .people
            .book()
            .and_then(|book| change(&mut Book::clone(&book)))
        else {
            return Ok(());
        };
        let subject = subject(&row);
        let decision = Decision {
            request: name,
            role: role.as_str(),
            subject: &subject,
            ..Decision::default()
        };
        self.0.decide(decision, Ok(()))
    }

    /// Changes the book and writes down who was concerned; what was announced only when it came out otherwise.
    pub(super) async fn change_pairing(
        &self,
        name: &'static str,
        role: &Role,
        announced: bool,
        change: impl FnOnce(&mut Book) -> Result<Row<Approved>, Denied> + Send + 'static,
    ) -> Result<v1::PairingReply, Status> {
        let ttl = self
            .0
            .current()
            .ok()
            .and_then(|current| current.settings.approval_ttl);
        let changed = self
            .0
            .people
            .change(change)
            .await
            .and_then(|outcome| outcome);
        self.0.renew_problems();
        if changed.is_err() || !announced {
            // It has happened, and so it is written down as soon as it can be.
            self.0.note(&Decision {
                request: name,
                refused: changed.as_ref().err().map(|denied| denied.rule),
                role: role.as_str(),
                subject: &changed.as_ref().map(subject).unwrap_or_default(),
                ..Decision::default()
            });
        }
        let _ = self.0.synced().await;
        let outcome = match changed {
            Ok(row) => Outcome::Done(v1::ApprovedRow {
                expires_ms: row.what.expires_ms(ttl),
                channel: row.channel,
                account: row.account,
                sender_id: row.sender,
                sender_hint: row.what.hint,
                approved_ms: row.what.approved_ms,
            }),
            Err(denied) => Outcome::Refusal(denied.into()),
        };
        Ok(v1::PairingReply {
            outcome: Some(outcome),
        })
    }
}

fn subject(row: &Row<Approved>) -> String {
    format!("{}/{}/{}", row.channel, row.account, row.sender)
}
