//! The model worker: one provider's wire protocol behind one neutral stream. It asks policy before it spends, holds only
//! the keys of its own provider, and reaches the network only through sockets that the dialer handed over. `builtin` needs
//! neither.

mod builtin;
mod exchange;
mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod guide;
mod health;
mod idle;
mod lease;
mod live;
mod process;
mod profiles;
mod retry;
mod settings;
mod spending;
#[cfg(test)]
mod tests;
mod transport;
mod wire;
mod worker;

pub use process::{Prepared, prepare, serve};
