//! Confinement of a process by its own hand, descriptors and locked memory; the only unsafe code.

mod confine;
pub mod fd;
pub mod frame;
pub mod landlock;
pub mod machine;
pub mod measure;
pub mod memory;
pub mod process;
pub mod profile;
pub mod seccomp;
pub mod selftest;
pub mod signals;
pub mod socket_filter;
pub mod spawn;
pub mod tool;
pub mod wipe;

pub use confine::{ConfineError, confine};
pub use profile::profile;

#[cfg(test)]
mod test_child;
