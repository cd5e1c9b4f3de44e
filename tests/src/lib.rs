//! What the end-to-end tests share: a scratch home, the running product, its processes as the kernel
//! sees them, and single processes wired up by hand.

pub mod cell;
mod command;
pub mod dojo;
#[cfg(target_os = "linux")]
pub mod escape;
pub mod hunt;
pub mod kernel;
#[cfg(target_os = "linux")]
pub mod open_chat;
pub mod peers;
mod product;
#[cfg(target_os = "linux")]
pub mod rig;
pub mod solo;
pub mod verdict;
pub mod wire;

pub use command::{
    Output, Scratch, binary, finish, finish_within, free_port, log_pipe, runs_as_root, skip,
};
pub use product::{Conversation, Product, Start};
