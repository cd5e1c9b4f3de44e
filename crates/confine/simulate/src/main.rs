//! `clawdbot-simulate`: a command on a kernel that lacks something.

fn main() -> std::process::ExitCode {
    clawdbot_simulate::main()
}
