//! The agent process: the loop of one trust class. It holds the sessions, builds the prompt, asks a model worker, has tools
//! called by the executor, and writes transcripts. It has no network, no credential and no say in what is permitted.
//!
//! # What is on disk when
//!
//! The question is appended before the model is asked, and everything else when it happens: what the model said, what a tool
//! returned, a summary, the answer. So after the death of the process the turn goes on from there, since the kernel has it;
//! only a call that was being made is not made again, because nobody knows whether it was. The answer is given out as soon
//! as it is appended. The `fdatasync` that follows is waited for by nobody: after a loss of power the last moments of a
//! transcript may be missing, but the gateway has the question and the answer on its own disk and neither asks nor answers
//! twice. A command that begins a new session waits for the disk: its file must be there before the old one steps aside.
//!
//! `sessions.json` is derived from the transcripts and written after as many turns as it has entries, and at the end of
//! the process; so a turn costs the same with ten sessions as with ten thousand.

mod agent;
mod ask;
mod choice;
mod command;
mod compact;
mod context;
mod disk;
mod drive;
mod failure;
#[doc(hidden)]
pub mod fuzzing;
mod generate;
mod index;
mod live;
mod peers;
mod process;
mod prompt;
mod reply;
mod service;
mod sessions;
mod syncs;
mod text;
mod tokens;
mod transcript;
mod turn;
mod workspace;
mod world;

#[cfg(test)]
mod tests;

pub use process::{Prepared, prepare, serve};
