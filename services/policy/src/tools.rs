//! Which tools a session may call, by the lists of the configuration. Default deny; a refusal names its rule.

use clawdbot_config::ToolPattern;
use clawdbot_identity::ToolName;

use crate::denied::Denied;
use crate::settings::Settings;

/// Tools that exist in this build.
const TOOLS: &[&str] = &["session_status"];

/// Whether a tool may be called.
pub(crate) fn judge(settings: &Settings, tool: &ToolName) -> Result<(), Denied> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
                rule(judge(&settings, &ToolName::parse(name).unwrap())),
                expected,
                "{tools} {name}"
            );
        }
    }
}
