//! `GET /v1/models`: the agents, as the models that a client can choose from.

use clawdbot_identity::AgentId;
use serde_json::{Value, json};

use super::fault::Fault;
use super::target::{MODEL, agent_of, no_model};

/// All of them.
pub fn list(agents: &[AgentId]) -> Value {
    let named = agents.iter().map(|agent| format!("{MODEL}:{agent}"));
    let models: Vec<_> = [MODEL.to_owned()]
        .into_iter()
        .chain(named)
        .map(|id| model(&id))
        .collect();
    json!({ "object": "list", "data": models })
}

/// One of them, by any of its names; `id` is as it stands in the address.
///
/// # Errors
/// When there is none.
pub fn one(id: &str, agents: &[AgentId]) -> Result<Value, Fault> {
    let id = decoded(id).unwrap_or_else(|| id.to_owned());
    match agent_of(&id, agents) {
        Some(_) => Ok(model(&id)),
        None => Err(no_model(&id)),
    }
}

fn model(id: &str) -> Value {
    // An agent has no date of its own.
    json!({ "id": id, "object": "model", "created": 0, "owned_by": MODEL })
}

/// A part of an address without its percent signs (RFC 3986, 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_each_of_its_names_however_they_are_written() {
        let agents = super::super::target::agents(&["work".into()]);
        for id in [
            "clawdbot",
            "clawdbot:work",
            "clawdbot%3Awork",
            "clawdbot%2fwork",
        ] {
            assert!(one(id, &agents).is_ok(), "{id}");
        }
        for id in ["", "gpt-4o", "clawdbot%3", "clawdbot%3Ahome", "%ff", "%zz"] {
            assert!(one(id, &agents).is_err(), "{id}");
        }
        let all = list(&agents);
        let ids: Vec<_> = all["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| &m["id"])
            .collect();
        assert_eq!(ids, ["clawdbot", "clawdbot:work"]);
    }
}
