//! The agent process: the loop of one trust class. It holds the sessions, builds the prompt, asks a model worker, has tools
//! called by the executor, and writes transcripts. It has no network, no credential and no say in what is permitted.
//!
//! # What is on disk when
//!
//! The question is appended before the model is asked, the rest of the turn when it has ended, and then one `fdatasync`
//! covers both. After the death of the process both appends are there, since the kernel has them. After a loss of power the
//! question may be missing, but the gateway's inbox has it and asks again with the same turn id. Two things cost one sync
//! more: the first turn of a session (the name of its file), and a command that begins a new session (its file must be
//! there before the old one steps aside).
//!
//! `sessions.json` is derived from the transcripts and written after as many turns as it has entries, and at the end of
//! the process; so a turn costs the same with ten sessions as with ten thousand.

mod agent;
mod command;
mod disk;
mod drive;
mod index;
mod live;
mod peers;
mod process;
mod prompt;
mod service;
mod sessions;
mod text;
mod transcript;
mod turn;
mod workspace;
mod world;

#[cfg(test)]
mod tests;

pub use process::{Prepared, prepare, serve};
