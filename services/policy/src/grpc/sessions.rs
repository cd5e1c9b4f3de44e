//! Sessions and Spending: whoever enforces asks here at the moment of use.

use clawdbot_identity::{Handle, MessageId, ModelRef};
use clawdbot_proto::v1;
use clawdbot_proto::v1::sessions_server::Sessions;
use clawdbot_proto::v1::spending_server::Spending;
use clawdbot_service::caller;
use tonic::{Request, Response, Status};

use super::{Services, UNDECIDED, class, invalid, key_of, trace_of, undecided, wire_session};
use crate::policy::unix_ms;
use crate::record::Decision;
use crate::rules;

#[tonic::async_trait]
impl Sessions for Services {
    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::Session>, Status> {
        let role = caller(&request)?;
        let class = role
            .class()
            .ok_or_else(|| Status::permission_denied("only agents have sessions"))?;
        let handle = Handle::parse(&request.into_inner().handle).map_err(invalid)?;
        let grant = self.session(&handle, class);
        let (session, trace) = (key_of(&grant), trace_of(&grant));
        let decision = Decision {
            request: "resolve",
            role: role.as_str(),
            session: &session,
            trace,
            ..Decision::default()
        };
        match self.0.decide(decision, grant) {
            Ok(grant) => {
                self.0.provenance.begun(&grant);
                Ok(Response::new(v1::Session {
                    offers: self.offers_mark(&grant),
                    ..wire_session(&grant)
                }))
            }
            Err(denied) if UNDECIDED.contains(&denied.rule) => Err(undecided(denied)),
            Err(denied) => Err(Status::permission_denied(format!(
                "{}: {}",
                denied.rule, denied.message
            ))),
        }
    }
}

#[tonic::async_trait]
impl Spending for Services {
    async fn authorize(
        &self,
        request: Request<v1::AuthorizeRequest>,
    ) -> Result<Response<v1::AuthorizeReply>, Status> {
        let role = caller(&request)?;
        let worker = role
            .name()
            .ok_or_else(|| Status::permission_denied("only model workers spend"))?;
        let request = request.into_inner();
        let handle = Handle::parse(&request.handle).map_err(invalid)?;
        let class = class(request.caller_class)?;
        let model = ModelRef::parse(&request.model).map_err(invalid)?;
        let id = MessageId::parse(&request.request_id).map_err(invalid)?;
        let grant = self.session(&handle, class);
        let (session, trace) = (key_of(&grant), trace_of(&grant));
        let outcome = grant.and_then(|grant| {
            rules::model(&worker, &model)?;
            self.0.budgets.authorize(&grant, &request, unix_ms())?;
            let provider = model.provider().as_str();
            self.0.providers.asked(grant.session.as_str(), provider);
            Ok(grant)
        });
        let decision = Decision {
            request: "model",
            role: role.as_str(),
            session: &session,
            subject: model.as_str(),
            id: id.as_str(),
            trace,
            ..Decision::default()
        };
        use v1::authorize_reply::Outcome;
        let outcome = match self.0.decide(decision, outcome) {
            Ok(grant) => Outcome::Allowed(wire_session(&grant)),
            Err(denied) => Outcome::Refusal(denied.into()),
        };
        Ok(Response::new(v1::AuthorizeReply {
            outcome: Some(outcome),
        }))
    }
}
