//! Program `clawdbot-agent CLASS`.

fn main() -> std::process::ExitCode {
    clawdbot_service::run("agent", clawdbot_agent::prepare, clawdbot_agent::serve)
}
