//! ExplainOperator: what a session may use, from the same steps that decide it.

use std::collections::BTreeMap;

use clawdbot_config::tool_names;
use clawdbot_identity::{AgentId, Class, SessionKey};
use clawdbot_proto::v1;
use clawdbot_proto::v1::explain_operator_server::ExplainOperator;
use tonic::{Request, Response, Status};

use super::operator::refusal;
use super::{Services, invalid, wire_class};
use crate::rules;
use crate::slices;
use crate::tools::{self, Asker, Provider, Tool};

#[tonic::async_trait]
impl ExplainOperator for Services {
    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        let v1::ExplainRequest {
            session_key,
            agent,
            sender,
        } = request.into_inner();
        let current = self.0.current().map_err(refusal)?;
        let settings = &current.settings;
        let session = match (session_key.as_str(), agent.as_str()) {
            ("", "") => SessionKey::main(&settings.default_agent),
            ("", agent) => SessionKey::main(&AgentId::parse(agent).map_err(invalid)?),
            (key, _) => SessionKey::parse(key).map_err(invalid)?,
        };
        rules::agent(settings, &session).map_err(refusal)?;
        // Keys of the owner's own sessions have one part behind the agent.
        let class = match session.rest().contains(':') {
            true => Class::Guest,
            false => Class::Main,
        };
        let model = { settings.agents.iter() }
            .find(|row| row.id == *session.agent())
            .map(|agent| slices::effective_model(settings, agent))
            .unwrap_or_default();
        let configured = model.split('/').next().unwrap_or_default();
        let asked = self.0.providers.of(session.as_str());
        let channel = session.rest().split(':').next().unwrap_or_default();
        let asker = Asker {
            class,
            session: &session,
            sender: &sender,
            provider: Provider::Known(asked.as_deref().unwrap_or(configured)),
            is_named: &|name| self.is_named(settings, channel, &sender, name),
        };
        let offered = self.0.catalogue.all();
        let mut all: BTreeMap<&str, &[String]> =
            tool_names().map(|name| (name, [].as_slice())).collect();
        all.extend(
            offered
                .iter()
                .map(|(name, groups)| (name.as_str(), groups.as_slice())),
        );
        let named = all.iter().map(|(name, groups)| Tool { name, groups });
        let found = tools::explain(&settings.tools, &asker, named);
        let line = |line: tools::Line| v1::ToolLine {
            offered: offered.contains_key(&line.tool),
            tool: line.tool,
            allowed: line.allowed,
            source: line.source,
            remedy: line.remedy,
        };
        Ok(Response::new(v1::ExplainReply {
            session_key: session.to_string(),
            agent_id: session.agent().to_string(),
            class: wire_class(class).into(),
            mode: found.sandbox.mode.to_owned(),
            scope: found.sandbox.scope.to_owned(),
            workspace_access: found.sandbox.access.to_owned(),
            sandboxed: found.sandboxed,
            tools: found.tools.into_iter().map(line).collect(),
        }))
    }
}
