//! The broker process.

use std::process::ExitCode;

fn main() -> ExitCode {
    clawdbot_service::run("broker", clawdbot_broker::prepare, clawdbot_broker::serve)
}
