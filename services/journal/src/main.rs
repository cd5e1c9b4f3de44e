//! The log's way out of the journal.

fn main() -> std::process::ExitCode {
    clawdbot_journal::main()
}
