//! What old copies of the configuration still tell. A change keeps the text as it was, so a secret that was taken out of the
//! file is still in the copy.

use clawdbot_config::Severity::Warn;

use super::check::{Check, Hit};

pub const CHECKS: &[Check] = &[Check {
    id: "config.secrets.backup",
    severity: Warn,
    title: "Secret in an old copy of the configuration",
    why: "What was taken out of the file is still good and still there for whoever gets the copy.",
    help: "remove the copy when you need it no longer, or give the secret a new value",
    command: "rm PATH",
    fixes: false,
    look: |facts, hits| {
        for path in &facts.telling {
            hits.add(Hit::file(path, "holds a secret in clear text"));
        }
    },
}];
