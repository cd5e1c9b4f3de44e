//! `clawdbotctl`: the command line. The same program as `clawdbot`.

fn main() -> std::process::ExitCode {
    clawdbot_cli::run()
}
