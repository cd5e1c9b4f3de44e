//! A model provider on loopback that speaks four protocols and misbehaves on request. It knows no model: it answers what it
//! was told to, or says the last words of the user back, piece by piece. Written to the protocols' own documents, not to
//! our client.

mod body;
mod faults;
mod formats;
mod script;
mod server;

pub use faults::Fault;
pub use formats::Format;
pub use script::{Call, End, Part, Reply, Step};
pub use server::{Pace, Provider, Seen};
