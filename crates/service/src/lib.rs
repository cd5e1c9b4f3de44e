//! How every process starts, talks to the others and reports itself.
//!
//! [`run`] is the one start order: descriptors, identity, files, limits, landlock, seccomp, self-test,
//! runtime, READY. [`Context`] is what a process has afterwards: its edges, its slice of the
//! configuration and its status line.

mod context;
mod control;
mod edge;
mod error;
mod frames;
mod inherit;
pub mod log;
mod notify;
mod rate;
mod run;
mod start;
pub mod testing;
mod watch_config;

pub use context::{Context, Listener, Shutdown, serve_socket};
pub use edge::{Caller, Edge, Handover, Router, caller, serve_stream};
pub use error::{ServeError, StartError};
pub use frames::{FrameClient, FrameConnection, FrameError, FrameMessage};
pub use notify::Notifier;
pub use run::run;
pub use start::{Start, own_directory};
pub use watch_config::follow_config;
