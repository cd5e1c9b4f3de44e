//! Lets operators read the log without the right to read the journal, which is the whole machine's. The service manager
//! starts one process for each connection to a socket of theirs. It reads one short request, refuses whatever is not a
//! way to read our own lines, and becomes journalctl with arguments that nobody can add to; journalctl ends when the
//! other end of the connection is closed.

mod pass;
mod receive;

pub use pass::main;
