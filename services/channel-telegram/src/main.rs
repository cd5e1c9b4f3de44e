//! Program `clawdbot-channel-telegram`.

fn main() -> std::process::ExitCode {
    clawdbot_service::run(
        "channel-telegram",
        clawdbot_channel_telegram::prepare,
        clawdbot_channel_telegram::serve,
    )
}
