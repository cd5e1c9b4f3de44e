//! Tools: the executor asks at the moment of use. Lists first, then budgets, then where the arguments come from, then,
//! where the rules say so, the owner.

use clawdbot_identity::{Handle, MessageId, ToolName};
use clawdbot_proto::v1;
use clawdbot_proto::v1::calls_server::Calls;
use clawdbot_proto::v1::tools_server::Tools;
use clawdbot_service::caller;
use tonic::{Request, Response, Status};

use super::{Services, UNDECIDED, class, invalid, key_of, trace_of, undecided, wire_session};
use crate::denied::Denied;
use crate::handle::Grant;
use crate::provenance::Verdict;
use crate::questions::Question;
use crate::record::Decision;
use crate::rules;
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

/// Entries or members of one report.
const MAX_REPORTED: usize = 512;

#[tonic::async_trait]
impl Calls for Services {
    async fn report(&self, request: Request<v1::CallReport>) -> Result<Response<v1::Done>, Status> {
        let role = caller(&request)?;
        let report = request.into_inner();
        let handle = Handle::parse(&report.handle).map_err(invalid)?;
        let class = class(report.caller_class)?;
        let tool = ToolName::parse(&report.tool).map_err(invalid)?;
        let call = MessageId::parse(&report.call_id).map_err(invalid)?;
        if report.entries.len().max(report.members.len()) > MAX_REPORTED {
            return Err(Status::invalid_argument("a report has at most 512 entries"));
        }
        let grant = self.session(&handle, class);
        let (session, trace) = (key_of(&grant), trace_of(&grant));
        let outcome = match &grant {
            Ok(grant) => self.0.provenance.report(grant, &call, &tool, report).await,
            Err(denied) => Err(denied.clone()),
        };
        // What every call does is not worth a line; that a flag rose or a report was refused is.
        let risen = match &outcome {
            Ok(risen) if risen.is_empty() => return Ok(Response::new(v1::Done {})),
            Ok(risen) => risen.join("+"),
            Err(_) => tool.to_string(),
        };
        let decision = Decision {
            request: "taint",
            role: role.as_str(),
            session: &session,
            trace,
            subject: &risen,
            id: call.as_str(),
            ..Decision::default()
        };
        match self.0.decide(decision, outcome) {
            Ok(_) => Ok(Response::new(v1::Done {})),
            Err(denied) if UNDECIDED.contains(&denied.rule) => Err(undecided(denied)),
            Err(denied) => Err(Status::permission_denied(format!(
                "{}: {}",
                denied.rule, denied.message
            ))),
        }
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
        self.listed(grant, tool, facts)?;
        let current = self.0.current()?;
        let limits = current.settings.budgets.of(grant.session.agent());
        let arguments = &request.arguments_json;
        let (budgets, who) = (&self.0.budgets, self.who(grant));
        budgets.take_call(limits, who, call.as_str(), tool.as_str(), arguments)?;
        match self.0.provenance.judge(grant, facts, arguments) {
            Verdict::Allow => {}
            Verdict::Ask(reasons) => {
                let question = Question {
                    grant,
                    call,
                    tool,
                    arguments,
                    reasons,
                };
                self.0.questions.ask(&self.0, question).await?;
                // The configuration may have become another one while the owner was waited for, and the author put out.
                let grant = self.stands(grant.clone())?;
                self.listed(&grant, tool, facts)?;
            }
        }
        let provenance = &self.0.provenance;
        provenance.allowed(grant, call, tool, facts, arguments);
        Ok(())
    }
    /// Whether the configuration in force has the session's agent and permits it the tool.
    fn listed(&self, grant: &Grant, tool: &ToolName, facts: &v1::ToolFacts) -> Result<(), Denied> {
        let current = self.0.current()?;
        rules::agent(&current.settings, &grant.session)?;
        let called = Tool {
            name: tool.as_str(),
            groups: &facts.groups,
        };
        self.asking(&current.settings, grant, |asker| {
            tools::judge(&current.settings.tools, asker, called)
        })
    }
}
