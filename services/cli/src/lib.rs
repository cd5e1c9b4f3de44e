//! The command line: clawdbot and clawdbotctl.
