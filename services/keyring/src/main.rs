//! The helper that reaches the user's keyring.

use std::process::ExitCode;

fn main() -> ExitCode {
    clawdbot_service::run(
        "keyring",
        clawdbot_keyring::prepare,
        clawdbot_keyring::serve,
    )
}
