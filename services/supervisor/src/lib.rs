//! Single-user mode: one process that makes the edges, starts the others, watches and restarts them.
//! It holds no secret beyond the start, has no rights beyond the login user's, and parses nothing from
//! outside but the frames of its own children.

mod child;
mod environment;
mod fleet;
mod helper;
mod home;
mod life;
mod listeners;
mod log_file;
mod operator;
mod options;
mod programs;
mod run;
mod sockets;
mod ui;
mod wiring;

pub use run::main;
