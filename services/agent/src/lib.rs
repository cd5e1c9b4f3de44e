//! The agent process: the loop of one trust class. It holds the sessions, builds the prompt, asks a model worker, has tools
//! called by the executor, and writes transcripts. It has no network, no credential and no say in what is permitted.

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
