//! The Telegram worker: it polls the Bot API with its own token, names senders to policy, gives admitted messages to the
//! gateway, and renders, divides and sends answers. It decides about nobody and reaches the network only through sockets
//! that the dialer handed over.

mod account;
mod address;
mod admit;
mod album;
mod client;
mod cursor;
mod describe;
mod dial;
mod errors;
#[doc(hidden)]
pub mod fuzzing;
mod incoming;
mod notices;
mod outlet;
mod poll;
mod preview;
mod process;
mod render;
mod token;
mod trouble;
mod types;
mod typing;
mod worker;

pub use dial::{Connect, through_dialer};
pub use process::{Prepared, prepare, serve};
pub use worker::Worker;
