//! How every process starts, talks to the others and reports itself.
//!
//! [`run`] is the one start order: descriptors, identity, files, limits, landlock, seccomp, self-test,
//! runtime, READY. [`Context`] is what a process has afterwards: its edges, its slice of the
//! configuration and its status line.
//!
//! Without the feature `grpc` there is no HTTP in here: only frames, as the dialer speaks them.

mod callers;
mod confinement;
mod context;
mod control;
#[cfg(feature = "grpc")]
mod edge;
mod error;
mod folders;
mod format;
mod frames;
mod gate;
mod inherit;
mod journal;
pub mod log;
mod notify;
mod pace;
mod places;
mod pulse;
mod rate;
mod run;
mod source;
mod start;
pub mod system;
#[cfg(feature = "grpc")]
pub mod testing;
#[cfg(feature = "grpc")]
mod watch_config;
mod wipe;

pub use confinement::{Gap, confinement_json, gaps, level, shortfall, split_status, version};
#[cfg(feature = "grpc")]
pub use context::serve_socket;
pub use context::{Context, Listener, Shutdown};
#[cfg(feature = "grpc")]
pub use edge::{Caller, Edge, Handover, Router, caller, serve_stream};
pub use error::{ServeError, StartError, needs_a_person};
pub use folders::own_directory;
pub use format::newer_format;
pub use frames::{FrameClient, FrameConnection, FrameError, FrameMessage};
pub use notify::Notifier;
pub use places::config_folders;
pub use pulse::{Pulse, Pulses, Work};
pub use run::run;
pub use start::Start;
#[cfg(feature = "grpc")]
pub use watch_config::follow_config;
