//! Secret bytes in locked memory, whose they are, and how to keep them out of what is shown.

pub mod environment;
pub mod environment_file;
pub mod hex;
pub mod owner;
pub mod redact;
mod secret;

pub use environment::{Environment, EnvironmentError};
pub use environment_file::EnvironmentFile;
pub use secret::{Secret, TokenDigest};
