//! What attempts to break out are aimed at: folders with a canary in each, listening sockets of every kind, and the
//! descriptors that are handed over. The escape tests and the doctor set it up; neither aims at anything else, so that
//! an attempt that succeeds does no harm. Only the address of a cloud's metadata service is a real one; nothing is sent to it.
#![cfg(target_os = "linux")]

mod handed;
mod neighbour;
mod set;
mod sockets;
mod talk;

pub use handed::{Handed, hand, play_dialer, source};
pub use neighbour::Neighbour;
pub use set::{Places, Set, furnish};
pub use sockets::{EDGES, Listener, edges};
pub use talk::{NOT_STARTED, Talk, need_of, need_word};

/// Folder of a state directory where plans lie, each under the name of its role.
pub const PLANS: &str = "probe";
