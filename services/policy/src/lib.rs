//! The policy process: reads the configuration, decides who may talk and what a session may do.

mod denied;
mod handle;
mod keep;
mod login;
mod password;
mod rate;
mod record;
mod seal;
mod visit;

pub use password::{Password, PasswordError};
