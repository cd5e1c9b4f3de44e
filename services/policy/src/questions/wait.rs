//! Asking and answering: whom a question reaches, how long it waits, and what is written down. A word counts only when its
//! record is written; whatever goes wrong in between is a refusal.

use clawdbot_proto::v1;
use tokio::time::{Duration, timeout};

use super::{Question, Questions, Seat, Voice, words};
use crate::denied::Denied;
use crate::handle::{Standing, Trace};
use crate::notices::{About, Notice, To};
use crate::people;
use crate::policy::{Policy, random, unix_ms};
use crate::record::Decision;

impl Questions {
    /// Asks the owner and waits for his word.
    ///
    /// # Errors
    /// With the rule `approval.denied`, `approval.timeout` or `approval.nobody`; `approval.off` when the configuration has
    /// nobody asked, `approval.too_many` when too much waits already.
    pub(crate) async fn ask(&self, policy: &Policy, question: Question<'_>) -> Result<(), Denied> {
        let current = policy.current()?;
        let approvals = &current.settings.approvals;
        if !approvals.enabled {
            return Err(Denied::new(
                "approval.off",
                "this call needs the owner's word, and the configuration has nobody asked (approvals.exec.enabled)",
            ));
        }
        let approvers = policy.approvers(&current.settings);
        let to = approvals.recipients(question.grant, approvers);
        // Who is at this machine's own door sees the question there.
        if to.is_empty() && question.grant.door.family() != "operator" {
            return Err(Denied::new(
                "approval.nobody",
                "this call needs the owner's word, and there is no conversation in which the owner could be asked (commands.ownerAllowFrom)",
            ));
        }
        let now = unix_ms();
        let Seat { row, word, fresh } = self.sit(&question, approvals.timeout, now, random)?;
        let mut waiting = AtQuestion {
            policy,
            id: Some(row.id.clone()),
            word,
        };
        if fresh {
            let trace = question.grant.trace;
            policy.decide(recorded("question", "executor", &row, trace), Ok(()))?;
            policy.notices.tell(Notice {
                about: About::Question(row.id.clone()),
                to: To::These(to),
                text: words::question(&row),
                expires_ms: row.expires_ms,
                by_others: question.grant.standing != Standing::Owner,
            });
            policy.renew_problems();
        }
        let left = Duration::from_millis(row.expires_ms.saturating_sub(now));
        // Either way the word counts that was given before this seat was left, and none after that.
        drop(timeout(left, waiting.word.wait_for(Option::is_some)).await);
        match waiting.leave() {
            // A word takes effect when its record cannot get lost any more.
            Some(true) => policy.synced().await,
            Some(false) => Err(Denied::new(
                "approval.denied",
                "the owner refused this call",
            )),
            None => Err(Denied::new(
                "approval.timeout",
                format!(
                    "the owner was asked and did not answer within {} seconds",
                    approvals.timeout.as_secs()
                ),
            )),
        }
    }

    /// Gives somebody's word on the call that waits under an id.
    ///
    /// # Errors
    /// With the rule `approval.no_question`, `approval.not_approver`, or `audit.unavailable`.
    pub(crate) fn answer(
        &self,
        policy: &Policy,
        voice: &Voice<'_>,
        id: &str,
        allow: bool,
    ) -> Result<v1::QuestionRow, Denied> {
        let name = if allow { "approve" } else { "deny" };
        let role = voice.role();
        let mut reached = false;
        let settled = may(policy, voice).and_then(|()| {
            self.settle(id, allow, unix_ms(), |row, trace| {
                reached = true;
                policy.decide(recorded(name, &role, row, trace), Ok(()))
            })
        });
        let row = match settled {
            Err(denied) if !reached => {
                let decision = Decision {
                    request: name,
                    role: &role,
                    ..Decision::default()
                };
                return policy.decide(decision, Err(denied));
            }
            settled => settled?,
        };
        policy.notices.over(&About::Question(row.id.clone()));
        policy.renew_problems();
        Ok(row)
    }
}

fn recorded<'a>(
    request: &'static str,
    role: &'a str,
    row: &'a v1::QuestionRow,
    trace: Trace,
) -> Decision<'a> {
    Decision {
        request,
        role,
        session: &row.session_key,
        subject: &row.tool,
        id: &row.id,
        trace,
        ..Decision::default()
    }
}

/// Whether somebody may answer: the operator, and those of the owners whom the configuration names.
fn may(policy: &Policy, voice: &Voice<'_>) -> Result<(), Denied> {
    let Voice::Owner { channel, person } = voice else {
        return Ok(());
    };
    let current = policy.current()?;
    // Admission has said that it is an owner.
    if current.settings.approvals.approvers.is_empty() {
        return Ok(());
    }
    let approvers = policy.approvers(&current.settings);
    let named = { approvers.iter() }.any(|one| one.channel == *channel && one.person == *person);
    match named {
        true => Ok(()),
        false => Err(Denied::new(
            "approval.not_approver",
            "the configuration gives this word to others (approvals.exec.approvers)",
        )),
    }
}

/// Who waits at a question; leaves it when dropped.
struct AtQuestion<'a> {
    policy: &'a Policy,
    /// None when it was left.
    id: Option<String>,
    word: tokio::sync::watch::Receiver<Option<bool>>,
}

impl AtQuestion<'_> {
    /// Leaves it, with the word if one was given.
    fn leave(&mut self) -> Option<bool> {
        if let Some(id) = self.id.take() {
            let questions = &self.policy.questions;
            questions.leave(&id);
            if !questions.waits(&id) {
                self.policy.notices.over(&About::Question(id));
                self.policy.renew_problems();
            }
        }
        *self.word.borrow()
    }
}

impl Drop for AtQuestion<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Policy {
    /// Who may answer questions, as conversations.
    pub(crate) fn approvers(
        &self,
        settings: &crate::settings::Settings,
    ) -> Vec<crate::notices::Recipient> {
        let book = self.people.book().unwrap_or_default();
        match settings.approvals.approvers.as_slice() {
            [] => people::owners(settings, &book, unix_ms()),
            these => people::conversations(settings, &book, unix_ms(), these),
        }
    }
}
