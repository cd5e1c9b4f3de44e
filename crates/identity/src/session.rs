//! Session keys: which conversation of which agent. The grammar is `agent:<agent>:<rest>`, all lower case.
//! Keys that name no agent (`global`, `cron:…`, `hook:…` of the original) are refused: every session has an owner here.

use std::sync::Arc;

use crate::name::{AgentId, slug, text_display, text_traits};
use crate::{IdError, text};

const WHAT: &str = "session key";

/// The key of one conversation, at most 512 bytes: `agent:main:main`, `agent:main:telegram:dm:42`.
///
/// A key says where a conversation is stored. It grants nothing: ownership is what policy's handles are for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(Arc<str>, AgentId);

text_traits!(SessionKey);
text_display!(SessionKey);

impl SessionKey {
    /// Takes a key in its one spelling; upper case is refused, not converted, so that one conversation has one key.
    ///
    /// # Errors
    /// When the form is wrong, a part is empty, or a character is upper case, a space or not printable.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.len() > 512 {
            return Err(IdError::new(WHAT, "must have at most 512 bytes"));
        }
        let form = IdError::new(
            WHAT,
            "must have the form agent:AGENT:REST, for instance agent:main:main",
        );
        let (agent, rest) = text
            .strip_prefix("agent:")
            .and_then(|tail| tail.split_once(':'))
            .ok_or(form)?;
        let agent = AgentId::parse(agent)?;
        if rest.split(':').any(str::is_empty) {
            return Err(IdError::new(
                WHAT,
                "must not have an empty part between its colons",
            ));
        }
        if rest.chars().any(|c| !c.to_lowercase().eq([c])) {
            return Err(IdError::new(WHAT, "must be lower case"));
        }
        if rest
            .chars()
            .any(|c| c.is_whitespace() || text::is_deceptive(c))
        {
            return Err(IdError::new(
                WHAT,
                "must not contain spaces, control or invisible characters",
            ));
        }
        Ok(Self(text.into(), agent))
    }

    /// The agent's main session, the owner's own: `agent:<agent>:main`.
    pub fn main(agent: &AgentId) -> Self {
        Self(format!("agent:{agent}:main").into(), agent.clone())
    }

    /// A further chat of the local operator: `agent:<agent>:<name>`. The name is one part without a colon, so it can
    /// never be the key of a channel's conversation; the name `main` is the main session.
    ///
    /// # Errors
    /// When `name` is not 1 to 64 characters of `a-z`, `0-9`, `_` and `-`, starting with a letter or digit.
    pub fn operator(agent: &AgentId, name: &str) -> Result<Self, IdError> {
        match slug(name, 64) {
            true => Ok(Self(format!("agent:{agent}:{name}").into(), agent.clone())),
            false => Err(IdError::new(
                "session name",
                "must be 1 to 64 characters of a-z, 0-9, _ and -, starting with a letter or digit",
            )),
        }
    }

    /// Whose conversation it is.
    pub fn agent(&self) -> &AgentId {
        &self.1
    }

    /// What follows the agent: `main`, `telegram:dm:42`.
    pub fn rest(&self) -> &str {
        &self.0["agent:".len() + self.1.as_str().len() + 1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_original_that_names_an_agent_is_a_key() {
        for rest in [
            "main",
            "dm:42",
            "telegram:dm:42",
            "telegram:default:dm:42",
            "whatsapp:group:1203@g.us",
            "discord:channel:9",
            "discord:channel:9:thread:7",
            "telegram:group:-100:topic:3",
            "discord:slash:5",
            "openai-user:zoë",
            "subagent:123e4567-e89b-12d3-a456-426614174000",
            "signal:dm:+15550100",
        ] {
            let key = SessionKey::parse(&format!("agent:work:{rest}")).expect(rest);
            assert_eq!((key.agent().as_str(), key.rest()), ("work", rest));
        }
    }

    #[test]
    fn other_forms_are_refused_and_the_rule_is_named() {
        let long = format!("agent:main:{}", "x".repeat(502));
        for (text, rule) in [
            ("", "form"),
            ("global", "form"),
            ("cron:1", "form"),
            ("agent:main", "form"),
            ("Agent:main:main", "form"),
            ("agent::main", "agent id"),
            ("agent:Main:main", "agent id"),
            ("agent:main:", "empty part"),
            ("agent:main:a::b", "empty part"),
            ("agent:main:Dm:1", "lower case"),
            ("agent:main:É", "lower case"),
            ("agent:main:a b", "spaces"),
            ("agent:main:a\n", "spaces"),
            ("agent:main:a\u{202e}b", "invisible"),
            (long.as_str(), "512"),
        ] {
            let error = SessionKey::parse(text).expect_err(text).to_string();
            assert!(error.contains(rule), "{text:?}: {error}");
        }
        assert!(SessionKey::parse(&long[..512]).is_ok());
    }

    #[test]
    fn constructors_agree_with_parse() {
        let agent = AgentId::main();
        let key = SessionKey::operator(&agent, "notes-2").unwrap();
        assert_eq!(key.as_str(), "agent:main:notes-2");
        assert_eq!(SessionKey::parse(key.as_str()), Ok(key));
        assert_eq!(
            SessionKey::operator(&agent, "main").unwrap(),
            SessionKey::main(&agent)
        );
        for name in ["", "a:b", "Notes", "-a", "telegram:dm:1"] {
            assert!(SessionKey::operator(&agent, name).is_err(), "{name:?}");
        }
    }
}
