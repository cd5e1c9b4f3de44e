//! Tools: the executor asks at the moment of use. Lists first, then budgets, then where the arguments come from, then,
//! where the rules say so, the owner.

use clawdbot_identity::{Handle, MessageId, ToolName};
use clawdbot_proto::v1;
use clawdbot_proto::v1::tools_server::Tools;
use clawdbot_service::caller;
use tonic::{Request, Response, Status};

use super::{Services, class, invalid, key_of, trace_of, wire_session};
use crate::denied::Denied;
use crate::handle::Grant;
use crate::policy::unix_ms;
use crate::provenance::Verdict;
use crate::questions::Question;
use crate::record::Decision;
use crate::tools::{self, Tool};

#[tonic::async_trait]
impl Tools for Services {
    async fn decide(
        &self,
        request: Request<v1::DecideRequest>,
    ) -> Result<Response<v1::DecideReply>, Status> {
        let role = caller(&request)?;
        let request = request.into_inner();
        let handle = Handle::parse(&request.handle).map_err(invalid)?;
        let class = class(request.caller_class)?;
        let tool = ToolName::parse(&request.tool).map_err(invalid)?;
        let call = MessageId::parse(&request.call_id).map_err(invalid)?;
        let grant = self.session(&handle, class);
        let (session, trace) = (key_of(&grant), trace_of(&grant));
        let outcome = match grant {
            Ok(grant) => self
                .rule_on(&grant, &tool, &call, &request)
                .await
                .map(|()| grant),
            Err(denied) => Err(denied),
        };
        let decision = Decision {
            request: "tool",
            role: role.as_str(),
            session: &session,
            subject: tool.as_str(),
            id: call.as_str(),
            trace,
            ..Decision::default()
        };
        use v1::decide_reply::Outcome;
        let outcome = match self.0.decide(decision, outcome) {
            Ok(grant) => Outcome::Allowed(wire_session(&grant)),
            Err(denied) => Outcome::Refusal(denied.into()),
        };
        Ok(Response::new(v1::DecideReply {
            outcome: Some(outcome),
        }))
    }
}

impl Services {
    async fn rule_on(
        &self,
        grant: &Grant,
        tool: &ToolName,
        call: &MessageId,
        request: &v1::DecideRequest,
    ) -> Result<(), Denied> {
        let none = v1::ToolFacts::default();
        let facts = request.facts.as_ref().unwrap_or(&none);
        let current = self.0.current()?;
        let called = Tool {
            name: tool.as_str(),
            groups: &facts.groups,
        };
        self.asking(&current.settings, grant, |asker| {
            tools::judge(&current.settings.tools, asker, called)
        })?;
        self.0.budgets.take_call(grant, unix_ms())?;
        let arguments = &request.arguments_json;
        match self.0.provenance.judge(grant, tool, facts, arguments) {
            Verdict::Allow => Ok(()),
            Verdict::Deny(denied) => Err(denied),
            Verdict::Ask(reasons) => {
                let question = Question {
                    grant,
                    call,
                    tool,
                    arguments,
                    reasons,
                };
                self.0.questions.ask(&self.0, question).await
            }
        }
    }
}
