//! The policy process: reads the configuration, decides who may talk and what a session may do.
//!
//! It is the only process that parses the configuration. Everybody else gets a slice of it, asks here at the moment of
//! use, and gets an answer that has been written down before.

mod admission;
mod audience;
mod audit;
#[cfg(test)]
mod bench;
mod budget;
mod clock;
mod command;
mod config_file;
mod credential;
mod denied;
mod destinations;
mod distil;
mod door;
mod facts;
mod file_watch;
mod grpc;
mod handle;
mod health;
mod journal;
mod keep;
mod login;
mod notices;
mod pairing;
mod password;
mod people;
mod plan_files;
mod policy;
mod provenance;
mod push;
mod questions;
mod rate;
mod record;
mod reload;
mod rules;
mod seal;
mod seen;
mod series;
mod settings;
mod slices;
mod start;
mod tools;
mod trouble;
mod visit;

pub use password::{Password, PasswordError};
pub use start::{Prepared, prepare, serve};
