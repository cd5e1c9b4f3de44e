//! The broker process: keeps credentials in locked memory and in an encrypted vault, and leases to each role what
//! belongs to it.
//!
//! Whose a secret is follows from a table, never from who asks or who brought it. There is no way to read one back.

mod files;
mod grpc;
mod journal;
mod keeper;
mod keyring;
mod start;
mod store;
mod vault;

pub use start::{Prepared, prepare, serve};
