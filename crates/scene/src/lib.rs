//! What attempts to break out are aimed at: folders with a canary in each, listening sockets of every kind, and the
//! descriptors that are handed over. The escape tests and the doctor set it up; neither aims at anything else, so that
//! an attempt that succeeds does no harm.
#![cfg(target_os = "linux")]

mod handed;
mod set;
mod sockets;
mod talk;

pub use handed::{Handed, as_the_dialer_does, hand, play_dialer, source};
pub use set::{Places, Set, furnish};
pub use sockets::{EDGES, Listener, edges};
pub use talk::{Talk, need_of, need_word};
