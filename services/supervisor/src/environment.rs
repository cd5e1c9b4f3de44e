//! The start environment: read once, handed to the broker as one blob, wiped here. The gateway's own
//! credentials go to policy alone. No child has an environment.

use std::io;
use std::os::fd::OwnedFd;

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

/// Takes the environment of this process and leaves none behind: no copy but the memory files.
pub(crate) fn take() -> io::Result<Environment> {
    let mut size = 0;
    process::env_visit(|entry| size += entry.len() + 1);
    // Large enough at once: a buffer that grows leaves its contents behind.
    let mut blob = Zeroizing::new(Vec::with_capacity(size));
    let mut policy = Ok(Vec::new());
    process::env_visit(|entry| match of_policy(entry) {
        Some((file, value)) => {
            if let (false, Ok(files)) = (value.is_empty(), &mut policy) {
                match fd::memfd(file, value) {
                    Ok(fd) => files.push((file, fd)),
                    Err(error) => policy = Err(error),
                }
            }
        }
        None => {
            blob.extend_from_slice(entry);
            blob.push(0);
        }
    });
    let broker = fd::memfd("environment", &blob)?;
    process::env_wipe();
    Ok(Environment {
        broker,
        policy: policy?,
    })
}

/// The name of the descriptor that carries a variable of policy, and its value.
fn of_policy(entry: &[u8]) -> Option<(&'static str, &[u8])> {
    OF_POLICY.iter().find_map(|(variable, file)| {
        let value = entry
            .strip_prefix(variable.as_bytes())?
            .strip_prefix(b"=")?;
        Some((*file, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_gateways_own_credentials_go_to_policy() {
        assert_eq!(
            of_policy(b"CLAWDBOT_GATEWAY_TOKEN=a=b"),
            Some(("gateway-token", b"a=b".as_slice()))
        );
        assert_eq!(of_policy(b"CLAWDBOT_GATEWAY_TOKEN_2=x"), None);
        assert_eq!(of_policy(b"ANTHROPIC_API_KEY=x"), None);
    }
}
