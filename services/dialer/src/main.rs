//! The dialer.

fn main() -> std::process::ExitCode {
    clawdbot_service::run("dialer", clawdbot_dialer::prepare, clawdbot_dialer::serve)
}
