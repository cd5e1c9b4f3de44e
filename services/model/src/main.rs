//! Program `clawdbot-model NAME`.

fn main() -> std::process::ExitCode {
    clawdbot_service::run("model", clawdbot_model::prepare, clawdbot_model::serve)
}
