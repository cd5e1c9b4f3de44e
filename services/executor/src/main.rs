//! Program `clawdbot-executor`.

fn main() -> std::process::ExitCode {
    clawdbot_service::run(
        "executor",
        clawdbot_executor::prepare,
        clawdbot_executor::serve,
    )
}
