//! The policy process.

use std::process::ExitCode;

fn main() -> ExitCode {
    clawdbot_service::run("policy", clawdbot_policy::prepare, clawdbot_policy::serve)
}
