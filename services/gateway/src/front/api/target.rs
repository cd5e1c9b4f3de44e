//! Which agent answers, in which session: by the model's name or a header, by a header or the client's `user`. A request
//! that names no session has one of its own, so that two of them never meet.

use std::fmt::Write as _;

use clawdbot_identity::{AgentId, SessionKey};
use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::fault::Fault;
use crate::desk::Wanted;

/// The default agent as a model; every agent is this, a colon and its id.
pub const MODEL: &str = "clawdbot";
/// Begins the name of a session that is for one request. The agent knows it by this, and keeps it only as long as its turn.
const ONE_SHOT: &str = "openai-once-";
/// Names the agent, whatever the model is called.
const AGENT_HEADERS: &[&str] = &["x-clawdbot-agent-id", "x-clawdbot-agent"];
/// Names the session: a name of the operator's, or a whole key.
const SESSION_HEADER: &str = "x-clawdbot-session-key";

/// The agent that a model's name stands for; `agents` are those of the configuration, the default one first.
pub fn agent_of(model: &str, agents: &[AgentId]) -> Option<AgentId> {
    let model = model.to_ascii_lowercase();
    if model == MODEL {
        return Some(agents.first().cloned().unwrap_or_else(AgentId::main));
    }
    let prefixes = ["clawdbot:", "clawdbot/", "agent:"];
    let id = prefixes
        .iter()
        .find_map(|prefix| model.strip_prefix(prefix))?;
    agents.iter().find(|agent| agent.as_str() == id).cloned()
}

/// The agents of the configuration that can be named, the default one first.
pub fn agents(ids: &[String]) -> Vec<AgentId> {
    let agents: Vec<_> = ids.iter().flat_map(|id| AgentId::parse(id)).collect();
    match agents.is_empty() {
        true => vec![AgentId::main()],
        false => agents,
    }
}

/// The session of a request, whose own id is `id`.
///
/// # Errors
/// When the model, the agent or the session is none.
pub fn choose(
    agents: &[AgentId],
    headers: &HeaderMap,
    model: &str,
    user: Option<&str>,
    id: &str,
) -> Result<Wanted, Fault> {
    let agent = match header(headers, AGENT_HEADERS)? {
        Some(named) => {
            let id = named.to_ascii_lowercase();
            let found = agents.iter().find(|agent| agent.as_str() == id);
            found.cloned().ok_or_else(|| {
                Fault::no_model(format!("There is no agent {named:?}; see agents.list."))
            })?
        }
        None => agent_of(model, agents).ok_or_else(|| no_model(model))?,
    };
    if let Some(session) = header(headers, &[SESSION_HEADER])? {
        let wanted = Wanted::named_or_key(session);
        let wanted = wanted.map_err(|status| {
            Fault::invalid(
                SESSION_HEADER,
                format!("{SESSION_HEADER}: {}", status.message()),
            )
        })?;
        return Ok(match session.starts_with("agent:") {
            true => wanted,
            false => wanted.of_agent(agent),
        });
    }
    let name = match user.filter(|user| !user.is_empty()) {
        Some(user) => user_session(user),
        None => format!("{ONE_SHOT}{id}"),
    };
    let wanted = Wanted::named(&name).map_err(|status| Fault::status(&status))?;
    Ok(wanted.of_agent(agent))
}

/// Whether a session is for one request.
pub fn is_one_shot(session: &SessionKey) -> bool {
    let name = session.rest().rsplit(':').next();
    name.is_some_and(|name| name.starts_with(ONE_SHOT))
}

/// What is said of a model that is none.
pub fn no_model(model: &str) -> Fault {
    Fault::no_model(format!(
        "The model {model:?} does not exist here. Use \"{MODEL}\" for the default agent or \"{MODEL}:AGENT\" for another; \
         which model an agent asks is set in the configuration."
    ))
}

/// The session of a client's user: the same for the same user, and another for every other. What is no session name is
/// known by its digest, under a prefix that no name can have.
fn user_session(user: &str) -> String {
    let name = format!("openai-user-{user}");
    match SessionKey::operator(&AgentId::main(), &name) {
        Ok(_) => name,
        Err(_) => {
            let digest = Sha256::digest(user.as_bytes());
            let mut name = "openai-userhash-".to_owned();
            for byte in &digest[..16] {
                // Writing to a String cannot fail.
                let _ = write!(name, "{byte:02x}");
            }
            name
        }
    }
}

/// The first of these headers that is there.
fn header<'a>(headers: &'a HeaderMap, names: &[&'static str]) -> Result<Option<&'a str>, Fault> {
    for name in names {
        if let Some(value) = headers.get(*name) {
            let text = value.to_str().map(str::trim);
            let text =
                text.map_err(|_| Fault::invalid(*name, format!("{name} is not readable.")))?;
            if !text.is_empty() {
                return Ok(Some(text));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_names_an_agent_of_the_configuration_or_nobody() {
        let configured = agents(&["work".into(), "home".into()]);
        for (model, agent) in [
            ("clawdbot", Some("work")),
            ("Clawdbot", Some("work")),
            ("clawdbot:home", Some("home")),
            ("clawdbot/home", Some("home")),
            ("agent:HOME", Some("home")),
            ("clawdbot:main", None),
            ("clawdbot:", None),
            ("", None),
            ("gpt-4o", None),
            ("home", None),
        ] {
            let found = agent_of(model, &configured);
            assert_eq!(found.as_ref().map(AgentId::as_str), agent, "{model}");
        }
        assert_eq!(agent_of("clawdbot", &agents(&[])), Some(AgentId::main()));
    }

    #[test]
    fn users_have_sessions_of_their_own_whatever_they_are_called() {
        let long = "x".repeat(53);
        let users = [
            "ann",
            "Ann",
            "zoë",
            "a b",
            "ann@example.org",
            "main",
            "",
            &long,
            &long[1..],
        ];
        let names: Vec<_> = users.iter().map(|user| user_session(user)).collect();
        let mut different = names.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), users.len());
        assert_eq!(
            (names[0].as_str(), names[5].as_str()),
            ("openai-user-ann", "openai-user-main")
        );
        for name in names {
            assert!(Wanted::named(&name).is_ok(), "{name}");
        }
        assert_eq!(user_session("zoë"), user_session("zoë"));
    }

    #[test]
    fn headers_choose_before_model_and_user_and_are_checked() {
        let configured = agents(&["work".into(), "home".into()]);
        let choose = |rows: &[(&'static str, &str)], model: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in rows {
                headers.insert(*name, value.parse().unwrap());
            }
            super::choose(&configured, &headers, model, Some("ann"), "0").err()
        };
        for rows in [
            &[][..],
            &[("x-clawdbot-agent-id", "home")],
            &[("x-clawdbot-session-key", "main")],
            &[("x-clawdbot-session-key", "agent:home:main")],
        ] {
            assert_eq!(choose(rows, "clawdbot"), None, "{rows:?}");
        }
        assert_eq!(choose(&[("x-clawdbot-agent", "work")], "gpt-4o"), None);
        for (rows, model, word) in [
            (&[][..], "gpt-4o", "does not exist"),
            (&[("x-clawdbot-agent-id", "main")], "clawdbot", "no agent"),
            (
                &[("x-clawdbot-session-key", "a b")],
                "clawdbot",
                "session name",
            ),
            (
                &[("x-clawdbot-session-key", "agent:home:telegram:dm:1")],
                "clawdbot",
                "session name",
            ),
        ] {
            let fault = choose(rows, model).unwrap();
            assert!(fault.message().contains(word), "{fault:?}");
        }
    }
}
