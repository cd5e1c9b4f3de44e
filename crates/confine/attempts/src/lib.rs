//! What a program that breaks out would try, one function for each attempt, for the escape tests. Every
//! call is made raw, past the checks of the libraries, and the kernel's answer is all that comes back.
#![cfg(target_os = "linux")]

mod answer;
mod files;
mod kernel;
mod listing;
mod memory;
mod net;
mod outside;
mod plan;
mod process;
mod reaim;
mod rights;
mod space;
mod sys;
mod unix;
mod world;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use answer::{Answer, errno_name, word};
pub use listing::{Attempt, Needs, all};
pub use outside::main;
pub use plan::Plan;
pub use world::World;
