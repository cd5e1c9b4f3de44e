//! The policy process.
