//! Confinement of a process by its own hand, descriptors and locked memory; the only unsafe code.

pub mod fd;
pub mod frame;
pub mod memory;
pub mod process;
pub mod spawn;

#[cfg(test)]
mod test_child;
