//! Secrets in the environment of whoever looks. Only names are ever looked at.

use clawdbot_config::Severity::Info;
use clawdbot_secrets::owner::of_name;

use super::check::{Check, Hit, Hits};
use super::facts::Facts;

pub const CHECKS: &[Check] = &[Check {
    id: "config.secrets.environment",
    severity: Info,
    title: "Secret in the environment",
    why: "Every program that is started from here inherits it, and every process of this user can read it there.",
    help: "store it with clawdbot login and take it out of the environment",
    command: "clawdbot login --provider NAME",
    fixes: false,
    look,
}];

/// Whether a variable's value is a secret of the assistant.
pub fn is_ours(name: &str) -> bool {
    of_name(name).is_some() && !name.ends_with("_PORT")
}

fn look(facts: &Facts, hits: &mut Hits) {
    for name in &facts.variables {
        let owner = of_name(name)
            .map(|role| role.to_string())
            .unwrap_or_default();
        let command = match owner.split_once('-') {
            Some(("model", provider)) => {
                format!("clawdbot login --provider {provider} && unset {name}")
            }
            Some(("channel", channel)) => {
                format!("clawdbot login --channel {channel} && unset {name}")
            }
            // The gateway's own token is made and kept by policy.
            _ => format!("unset {name} && clawdbot token"),
        };
        hits.add(Hit {
            command: Some(command),
            ..Hit::setting("", format!("{name} is set where this command runs"))
        });
    }
}
