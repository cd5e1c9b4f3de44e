//! `clawdbot`: the command line. The same program as `clawdbotctl`.

fn main() -> std::process::ExitCode {
    clawdbot_cli::run()
}
