//! The sandbox launcher.

fn main() -> std::process::ExitCode {
    clawdbot_sandbox::main()
}
