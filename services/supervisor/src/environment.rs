//! The start environment: read once, handed to the broker as one blob, wiped here. The gateway's own
//! credentials go to policy alone. No child has an environment.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use clawdbot_confine::{fd, process};
use zeroize::Zeroizing;

/// Variables of policy, by the name of the descriptor that carries them.
const OF_POLICY: [(&str, &str); 2] = [
    ("CLAWDBOT_GATEWAY_TOKEN", "gateway-token"),
    ("CLAWDBOT_GATEWAY_PASSWORD", "gateway-password"),
];

/// Sealed memory files, ready to be handed over, and again after a restart.
pub(crate) struct Environment {
    /// For the broker: NAME=VALUE, each followed by a NUL byte.
    pub(crate) broker: OwnedFd,
    /// For policy, by name.
    pub(crate) policy: Vec<(&'static str, OwnedFd)>,
}

/// Takes the environment of this process and leaves none behind.
pub(crate) fn take() -> io::Result<Environment> {
    let mut blob = Zeroizing::new(Vec::new());
    let mut policy = Vec::new();
    for (name, value) in std::env::vars_os() {
        let value = Zeroizing::new(value.as_bytes().to_vec());
        if let Some((_, file)) = OF_POLICY.iter().find(|(variable, _)| name == *variable) {
            if !value.is_empty() {
                policy.push((*file, fd::memfd(file, &value)?));
            }
            continue;
        }
        blob.extend_from_slice(name.as_bytes());
        blob.push(b'=');
        blob.extend_from_slice(&value);
        blob.push(0);
    }
    let broker = fd::memfd("environment", &blob)?;
    process::env_wipe();
    Ok(Environment { broker, policy })
}
