//! The executor: runs tool calls for the agents after policy allowed each one at the moment of use, and bounds what comes
//! back. It has no network, writes no file, and remembers the last calls so that a repeated one does not run twice.

mod arguments;
mod facts;
mod process;
mod recent;
mod report;
mod service;
mod tools;

pub use process::{Prepared, prepare, serve};
