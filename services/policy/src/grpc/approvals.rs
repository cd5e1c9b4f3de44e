//! Commands that policy answers, wherever they are typed, and the owner's word over policy.sock. Through the gateway no
//! word is taken: whoever took that over could otherwise approve of anything.

use clawdbot_proto::v1;
use clawdbot_proto::v1::approvals_operator_server::ApprovalsOperator;
use clawdbot_service::caller;
use tonic::{Request, Response, Status};

use super::Services;
use crate::command::{self, Said};
use crate::denied::Denied;
use crate::handle::Standing;
use crate::policy::unix_ms;
use crate::questions::Voice;

#[tonic::async_trait]
impl ApprovalsOperator for Services {
    async fn list(
        &self,
        _: Request<v1::ListQuestionsRequest>,
    ) -> Result<Response<v1::ListQuestionsReply>, Status> {
        let questions = self.0.questions.list(unix_ms());
        Ok(Response::new(v1::ListQuestionsReply { questions }))
    }

    async fn answer(
        &self,
        request: Request<v1::AnswerRequest>,
    ) -> Result<Response<v1::AnswerReply>, Status> {
        use v1::answer_reply::Outcome;
        caller(&request)?;
        let v1::AnswerRequest { id, allow } = request.into_inner();
        let questions = &self.0.questions;
        let outcome = match questions.answer(&self.0, &Voice::Operator, id.trim(), allow) {
            Ok(row) => Outcome::Done(row),
            Err(denied) => Outcome::Refusal(denied.into()),
        };
        Ok(Response::new(v1::AnswerReply {
            outcome: Some(outcome),
        }))
    }
}

impl Services {
    /// What goes back to somebody whose message is a command for policy; nothing for any other message.
    ///
    /// # Errors
    /// With the rule `command.not_yours`: nothing happens then, and nothing is said.
    pub(super) fn command(
        &self,
        channel: &str,
        person: &str,
        text: &str,
        standing: Standing,
    ) -> Result<Option<String>, Denied> {
        let enabled = self.0.current()?.settings.commands;
        Ok(match command::read(text, standing, enabled) {
            Said::Message => None,
            Said::Silent(denied) => return Err(denied),
            Said::Answer(text) => Some(text),
            Said::Word { id, allow } => {
                let voice = Voice::Owner { channel, person };
                let word = self.0.questions.answer(&self.0, &voice, &id, allow);
                Some(match word {
                    Ok(row) if allow => format!("Allowed, once: {}.", row.tool),
                    Ok(row) => format!("Refused: {}.", row.tool),
                    Err(denied) => format!("Nothing was changed: {}.", denied.message),
                })
            }
        })
    }

    /// The same for what comes through the gateway.
    pub(super) fn command_at_gateway(&self, text: &str) -> Result<Option<String>, Denied> {
        let enabled = self.0.current()?.settings.commands;
        Ok(match command::read(text, Standing::Owner, enabled) {
            Said::Message | Said::Silent(_) => None,
            Said::Answer(_) => Some(elsewhere("ID", true)),
            Said::Word { id, allow } => Some(elsewhere(&id, allow)),
        })
    }
}

fn elsewhere(id: &str, allow: bool) -> String {
    let command = if allow { "approve" } else { "deny" };
    format!(
        "The front door takes no word on calls, so that nobody who gets in there can approve of anything. \
         In a terminal: clawdbot approvals {command} {}",
        clawdbot_identity::text::sanitize_line(id)
    )
}
