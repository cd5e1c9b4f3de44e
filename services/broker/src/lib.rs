//! The broker process: keeps credentials in locked memory and leases one secret to the one role it belongs to.
//!
//! Whose a secret is follows from a table, never from who asks or who brought it. There is no way to read one back.

mod files;
mod grpc;
mod start;
mod store;

pub use start::{Prepared, prepare, serve};
