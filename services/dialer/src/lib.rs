//! The dialer: the only process that opens Internet sockets. It checks a destination against the
//! calling role's list, resolves it, checks the addresses, connects, locks the socket to its peer and
//! hands it over. It sees ciphertext only and keeps nothing.

mod address;
mod dial;
mod dialer;
mod events;
#[cfg(test)]
mod fakes;
mod handover;
mod resolv;
mod rules;
mod service;
mod work;

pub use address::{Space, judge};
pub use service::{Prepared, prepare, serve};
