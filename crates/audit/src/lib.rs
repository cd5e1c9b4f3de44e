//! The form of the audit log, for policy, which writes it, and for whoever checks it without asking policy.
//!
//! Every line carries a number and a hash of itself and of the line before it, so that none can be changed, moved or
//! removed without changing all that follow. Checkpoints are sealed under keys of which each follows from the one before
//! and is forgotten after its use: whoever takes over the writer cannot make the past anew.

mod chain;
mod files;
mod head;
mod hex;
mod seal;
mod show;
mod verify;

pub use chain::{Chain, Line, MAX_LINE, OWN};
pub use files::{CURRENT, LogFile, list, rotated};
pub use head::{Cursor, HEAD, HEAD_BYTES, Head};
pub use hex::{decode as from_hex, encode as to_hex};
pub use seal::{Key, KeyError};
pub use show::{Lines, Wanted};
pub use verify::{Problem, Proof, Verdict, Witness, verify};
