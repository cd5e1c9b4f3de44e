//! gRPC edges: one connected stream for each permitted pair of roles, and the table that says what
//! may be called on it. Whoever calls is known by the stream, never by the message.

mod body;
mod client;
mod gather;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Edge, Handover};
pub use server::{Caller, Router, caller, serve_stream};
