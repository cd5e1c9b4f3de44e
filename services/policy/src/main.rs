//! The policy process.
fn main() {}
