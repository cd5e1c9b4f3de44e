//! `clawdbot-simulate KERNEL[,KERNEL...] -- COMMAND [ARGUMENT...]` runs a command, and all that it
//! starts, as if the kernel lacked features: for tests and benches, no part of the product. The command
//! takes the place of this program: same process id, same descriptors.
//!
//! `no-landlock,no-seccomp,no-userns` is a kernel on which nothing but limits is left. The whole list is
//! in `kernel.rs`, and is printed when nothing is asked for.

#[cfg(target_os = "linux")]
mod asked;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
pub mod filters;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(target_os = "linux")]
mod run;

#[cfg(target_os = "linux")]
pub use run::main;

/// There is nothing to simulate elsewhere.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(2)
}
