//! The helper that fetches the vault's key from the user's keyring, or keeps a new one there: one request of the broker,
//! one answer, and it ends. It connects to the session bus before its confinement and can reach nothing else after it.

mod answer;
#[cfg(target_os = "linux")]
mod bus;
#[cfg_attr(target_os = "linux", path = "secret_service.rs")]
#[cfg_attr(target_os = "macos", path = "keychain.rs")]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "macos")),
    path = "nowhere.rs"
)]
mod ring;
mod start;

pub use start::{Prepared, prepare, serve};
