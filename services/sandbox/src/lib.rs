//! The sandbox launcher: one process per tool call. It reads one request, confines itself, and becomes
//! the program; what it cannot confine it does not start. No runtime, no network, no configuration.

mod launch;
mod request;
mod starter;

pub use launch::main;
