//! What a session may do beside tools, by the configuration in force. Default deny; a refusal names its rule.

use clawdbot_identity::{InstanceName, ModelRef, SessionKey};

use crate::denied::Denied;
use crate::settings::Settings;

/// Whether the worker of a provider may be asked for a model.
pub(crate) fn model(worker: &InstanceName, model: &ModelRef) -> Result<(), Denied> {
    match worker.as_str() == model.provider().as_str() {
        true => Ok(()),
        false => Err(Denied::new(
            "model.provider",
            "this worker serves another provider's models",
        )),
    }
}

/// Whether the agent of a session still exists.
pub(crate) fn agent(settings: &Settings, session: &SessionKey) -> Result<(), Denied> {
    match settings
        .agents
        .iter()
        .any(|agent| agent.id == *session.agent())
    {
        true => Ok(()),
        false => Err(Denied::new(
            "session.agent",
            "the configuration no longer has the agent of this session (agents.list)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_identity::AgentId;

    use super::*;
    use crate::settings::tests::{agent as agent_of, defaults};

    fn rule(result: Result<(), Denied>) -> &'static str {
        result.err().map_or("allowed", |denied| denied.rule)
    }

    #[test]
    fn a_worker_serves_its_own_provider_only() {
        let model_ref = ModelRef::parse("builtin/guide").unwrap();
        assert_eq!(
            rule(model(&InstanceName::parse("builtin").unwrap(), &model_ref)),
            "allowed"
        );
        assert_eq!(
            rule(model(&InstanceName::parse("openai").unwrap(), &model_ref)),
            "model.provider"
        );
    }

    #[test]
    fn a_session_of_a_removed_agent_is_refused() {
        let settings = Settings {
            agents: vec![agent_of("work")],
            ..defaults()
        };
        let session = |id| SessionKey::main(&AgentId::parse(id).unwrap());
        assert_eq!(rule(agent(&settings, &session("work"))), "allowed");
        assert_eq!(rule(agent(&settings, &session("main"))), "session.agent");
    }
}
