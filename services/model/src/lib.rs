//! The model worker: one provider's wire protocol behind one neutral stream. It asks policy before it spends, holds at most
//! one leased key, and reaches the network only through sockets that the dialer handed over. `builtin` needs neither.

mod guide;
mod process;
mod service;

pub use process::{Prepared, prepare, serve};
