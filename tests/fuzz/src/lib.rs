//! What every parser of untrusted bytes promises, as one function of bytes for each: it panics where a promise is broken.
//! `cargo xtask fuzz` looks for such bytes with libFuzzer; `cargo xtask test` tries those in `corpus/`.
//!
//! The trusted base has no door for this: its parsers are compiled in here a second time, from the same files.

// There are no tests in here, and those of the files that are compiled a second time stay with the first.
#![cfg(not(test))]

mod answers;
mod bodies;
mod config;
mod dialer;
mod frames;
mod markdown;
mod messages;
mod names;
mod pieces;
mod records;
mod targets;
mod telegram;
mod transcript;
mod vault;

pub use targets::{TARGETS, Target, target};
