//! `clawdbot-attempt`: the attempts outside of a service: in a tool call's box, or free, as the control.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    clawdbot_attempts::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
