//! The gateway process; everything is in the library.

fn main() -> std::process::ExitCode {
    clawdbot_service::run(
        "gateway",
        clawdbot_gateway::prepare,
        clawdbot_gateway::serve,
    )
}
