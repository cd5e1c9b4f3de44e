//! What a session may do: tools and models, by the configuration in force. Default deny; a refusal names its rule.

use clawdbot_config::ToolPattern;
use clawdbot_identity::{InstanceName, ModelRef, SessionKey, ToolName};

use crate::denied::Denied;
use crate::settings::Settings;

/// Tools that exist in this build.
const TOOLS: &[&str] = &["session_status"];

/// Whether a tool may be called.
pub(crate) fn tool(settings: &Settings, tool: &ToolName) -> Result<(), Denied> {
    if !TOOLS.contains(&tool.as_str()) {
        return Err(Denied::new("tool.unknown", "there is no such tool"));
    }
    let lists = |list: &[ToolPattern]| list.iter().any(|pattern| pattern.matches(tool.as_str()));
    if lists(&settings.tools.deny) {
        return Err(Denied::new(
            "tool.denied",
            "the configuration denies this tool (tools.deny)",
        ));
    }
    if !settings.tools.allow.is_empty() && !lists(&settings.tools.allow) {
        return Err(Denied::new(
            "tool.denied",
            "the configuration does not list this tool (tools.allow)",
        ));
    }
    Ok(())
}

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
    fn the_one_tool_is_allowed_unless_the_lists_say_otherwise() {
        for (tools, name, expected) in [
            ("", "session_status", "allowed"),
            ("", "exec", "tool.unknown"),
            ("allow: ['exec']", "exec", "tool.unknown"),
            ("deny: ['session_status']", "session_status", "tool.denied"),
            ("deny: ['*']", "session_status", "tool.denied"),
            ("deny: ['group:sessions']", "session_status", "tool.denied"),
            ("deny: ['exec']", "session_status", "allowed"),
            (
                "allow: ['session_status'], deny: ['session_status']",
                "session_status",
                "tool.denied",
            ),
            ("allow: ['session_status']", "session_status", "allowed"),
            ("allow: ['*']", "session_status", "allowed"),
            ("allow: ['exec']", "session_status", "tool.denied"),
            ("alsoAllow: ['exec']", "session_status", "allowed"),
        ] {
            let settings =
                crate::distil::tests::reading(&format!("{{tools: {{{tools}}}}}")).settings;
            assert_eq!(
                rule(tool(&settings, &ToolName::parse(name).unwrap())),
                expected,
                "{tools} {name}"
            );
        }
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
