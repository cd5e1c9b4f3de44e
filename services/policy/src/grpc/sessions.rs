//! Sessions: an agent asks what a handle stands for, when a turn begins.

use clawdbot_identity::Handle;
use clawdbot_proto::v1;
use clawdbot_proto::v1::sessions_server::Sessions;
use clawdbot_service::caller;
use tonic::{Request, Response, Status};

use super::{Services, UNDECIDED, invalid, key_of, trace_of, undecided, wire_session};
use crate::handle::Grant;
use crate::record::Decision;
use crate::tools;

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
                self.0.budgets.begun(self.who(&grant));
                Ok(Response::new(self.resolved(&grant)))
            }
            Err(denied) if UNDECIDED.contains(&denied.rule) => Err(undecided(denied)),
            Err(denied) => Err(Status::permission_denied(format!(
                "{}: {}",
                denied.rule, denied.message
            ))),
        }
    }
}

impl Services {
    fn resolved(&self, grant: &Grant) -> v1::Session {
        let session = wire_session(grant);
        let Ok(current) = self.0.current() else {
            return session;
        };
        let settings = &current.settings;
        let limits = settings.budgets.of(grant.session.agent());
        let rows = self.0.budgets.means(limits, self.who(grant));
        v1::Session {
            means: (!rows.is_empty()).then_some(v1::Means { rows }),
            offers: self.asking(settings, grant, |asker| tools::mark(&settings.tools, asker)),
            ..session
        }
    }
}
