//! `clawdbot-supervisor`: everything in the foreground, for one user.

fn main() -> std::process::ExitCode {
    clawdbot_supervisor::main()
}
