//! The whole worker against the fake Telegram: what comes in arrives once, what goes out goes once, and what is not known
//! is said.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod inbound;
mod kill;
mod notices;
mod outbound;
mod rig;
