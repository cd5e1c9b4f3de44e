//! The tools that exist, as a table: name, what the model is told, how it runs. A name that is not here does not exist.
//! The one tool so far reports facts and touches nothing.

use std::time::Duration;

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::{self, Effect, ExecutorSlice, SessionFacts};

use crate::arguments::Arguments;
use crate::facts::Facts;
use crate::report::Output;

/// What a tool may look at.
pub struct Scene<'a> {
    /// From policy, not from the agent.
    pub session: &'a v1::Session,
    /// From the agent, about its own session.
    pub facts: &'a SessionFacts,
    pub slice: Option<&'a ExecutorSlice>,
    pub uptime: Duration,
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

/// A tool.
pub struct Tool {
    pub name: &'static str,
    description: &'static str,
    parameters: &'static str,
    facts: Facts,
    /// The output, or in words why there is none.
    pub run: fn(&Arguments, &Scene<'_>) -> Result<Output, Output>,
}

const TOOLS: [Tool; 1] = [Tool {
    name: "session_status",
    description: "Reports the present session: its key and trust class, the model, messages and tokens so far, the \
                  sandbox mode and the time. Takes no arguments.",
    parameters: r#"{"type":"object","properties":{},"additionalProperties":false}"#,
    facts: Facts {
        effect: Effect::Read,
        groups: &["group:sessions", "group:clawdbot"],
        arguments: &[],
    },
    // Only what policy, the executor and the agent itself know: nothing that anybody wrote.
    run: |arguments, scene| {
        let status = session_status(arguments, scene);
        status.map(Output::own).map_err(Output::own)
    },
}];

impl Tool {
    /// What policy has to know of it.
    pub fn facts(&self) -> v1::ToolFacts {
        self.facts.wire()
    }
}

/// The tool of a name.
pub fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

/// All names, for people.
pub fn names() -> String {
    TOOLS.each_ref().map(|tool| tool.name).join(", ")
}

/// All tools, for policy.
pub fn named() -> Vec<v1::NamedTool> {
    let named = TOOLS.iter().map(|tool| v1::NamedTool {
        name: tool.name.into(),
        facts: Some(tool.facts()),
    });
    named.collect()
}

/// Those of the names, for the model.
pub fn specs(allowed: &[String]) -> Vec<v1::ToolSpec> {
    let is_allowed = |tool: &&Tool| allowed.iter().any(|name| name == tool.name);
    let specs = TOOLS.iter().filter(is_allowed).map(|tool| v1::ToolSpec {
        name: tool.name.into(),
        description: tool.description.into(),
        parameters_json: tool.parameters.into(),
    });
    specs.collect()
}

fn session_status(arguments: &Arguments, scene: &Scene<'_>) -> Result<String, String> {
    if let Some(member) = arguments.object.keys().next() {
        return Err(format!(
            "session_status takes no arguments, but there is {:?}",
            cut(member)
        ));
    }
    let facts = scene.facts;
    let class = match scene.session.class() {
        v1::Class::Main => "main",
        v1::Class::Guest => "guest",
        v1::Class::Unspecified => "unknown",
    };
    let (mode, scope) = match scene.slice {
        Some(slice) => (slice.sandbox_mode.as_str(), slice.sandbox_scope.as_str()),
        None => ("unknown", "unknown"),
    };
    let at = std::time::UNIX_EPOCH + Duration::from_millis(scene.now_ms);
    Ok(format!(
        "Session: {} (class {class})\nSession id: {}\nModel: {}\nMessages: {}\nTokens: {} in, {} out\n\
         Tool calls shown: {}\nSandbox: {mode}, scope {scope}\nExecutor up: {}\nTime: {}",
        scene.session.session_key,
        cut(&facts.session_id),
        cut(&facts.model),
        facts.messages,
        facts.input_tokens,
        facts.output_tokens,
        if facts.verbose { "yes" } else { "no" },
        humantime::format_duration(Duration::from_secs(scene.uptime.as_secs())),
        humantime::format_rfc3339_seconds(at),
    ))
}

/// One line of bounded length: what an agent says about itself is shown, not trusted.
fn cut(text: &str) -> String {
    sanitize_line(text).chars().take(240).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_valid_tool() {
        for tool in &TOOLS {
            assert!(clawdbot_identity::ToolName::parse(tool.name).is_ok());
            let schema: serde_json::Value = serde_json::from_str(tool.parameters).unwrap();
            assert_eq!(schema["type"], "object");
            assert!(find(tool.name).is_some() && names().contains(tool.name));
            // Policy is told what every argument is, and of none that does not exist.
            let facts = tool.facts();
            assert_ne!(facts.effect(), Effect::Unspecified);
            let arguments = schema["properties"].as_object().unwrap();
            let described: Vec<_> = facts
                .arguments
                .iter()
                .map(|fact| fact.name.as_str())
                .collect();
            assert!(
                arguments
                    .keys()
                    .all(|name| described.contains(&name.as_str()))
            );
            assert!(described.iter().all(|path| {
                arguments.contains_key(path.split('.').next().unwrap_or_default())
            }));
        }
        let all: Vec<_> = named().into_iter().map(|tool| tool.name).collect();
        assert_eq!((all.len(), specs(&all).len()), (TOOLS.len(), TOOLS.len()));
        assert!(specs(&["exec".to_owned()]).is_empty());
        assert!(find("exec").is_none() && find("").is_none());
    }

    #[test]
    fn the_status_says_what_policy_and_the_agent_know() {
        let session = v1::Session {
            session_key: "agent:main:main".into(),
            class: v1::Class::Main.into(),
            ..Default::default()
        };
        let facts = SessionFacts {
            session_id: format!("s1\n{}", "x".repeat(1000)),
            model: "builtin/guide".into(),
            input_tokens: 7,
            output_tokens: 8,
            messages: 3,
            verbose: true,
        };
        let slice = ExecutorSlice {
            sandbox_mode: "non-main".into(),
            sandbox_scope: "session".into(),
        };
        let mut scene = Scene {
            session: &session,
            facts: &facts,
            slice: Some(&slice),
            uptime: Duration::from_millis(61_500),
            now_ms: 1_769_500_000_123,
        };
        let run =
            |json: &str, scene: &Scene<'_>| session_status(&Arguments::parse(json).unwrap(), scene);
        let text = run("{}", &scene).unwrap();
        for line in [
            "Session: agent:main:main (class main)",
            "Model: builtin/guide",
            "Messages: 3",
            "Tokens: 7 in, 8 out",
            "Sandbox: non-main, scope session",
            "Executor up: 1m 1s",
            "Time: 2026-01-27T07:46:40Z",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
        assert!(
            text.len() < 700 && text.contains("s1\\nxxx"),
            "bounded, and on its own line"
        );
        scene.slice = None;
        assert!(run("{}", &scene).unwrap().contains("Sandbox: unknown"));
        assert!(
            run(r#"{"path":"/etc"}"#, &scene)
                .unwrap_err()
                .contains("\"path\"")
        );
    }
}
