//! The start environment: read once, handed to the broker as one blob, wiped here. The gateway's own
//! credentials go to policy alone, and the way to the session bus to the keyring's helper. No child has an
//! environment.

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
    /// Address of the session bus, if there is one.
    pub(crate) bus: Option<String>,
}

/// Takes the environment of this process and leaves none behind: no copy but the memory files.
pub(crate) fn take() -> io::Result<Environment> {
    let mut size = 0;
    process::env_visit(|entry| size += entry.len() + 1);
    // Large enough at once: a buffer that grows leaves its contents behind.
    let mut blob = Zeroizing::new(Vec::with_capacity(size));
    let mut policy = Ok(Vec::new());
    let mut bus = Bus::default();
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
            bus.note(entry);
            blob.extend_from_slice(entry);
            blob.push(0);
        }
    });
    let broker = fd::memfd("environment", &blob)?;
    process::env_wipe();
    Ok(Environment {
        broker,
        policy: policy?,
        bus: bus.address(),
    })
}

/// What the environment says about the session bus.
#[derive(Default)]
struct Bus {
    address: Option<String>,
    runtime_dir: Option<String>,
}

impl Bus {
    fn note(&mut self, entry: &[u8]) {
        for (variable, place) in [
            ("DBUS_SESSION_BUS_ADDRESS=", &mut self.address),
            ("XDG_RUNTIME_DIR=", &mut self.runtime_dir),
        ] {
            let value = entry.strip_prefix(variable.as_bytes());
            let value = value.and_then(|value| std::str::from_utf8(value).ok());
            if let (None, Some(value)) = (&place, value.filter(|value| !value.is_empty())) {
                *place = Some(value.to_owned());
            }
        }
    }

    /// The address that is named, else the one that every desktop has.
    fn address(self) -> Option<String> {
        let usual = |folder: String| format!("unix:path={folder}/bus");
        self.address.or(self.runtime_dir.map(usual))
    }
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

    #[test]
    fn the_bus_is_the_named_one_or_that_of_the_runtime_directory() {
        for (entries, expected) in [
            (&[][..], None),
            (&["XDG_RUNTIME_DIR=/r"], Some("unix:path=/r/bus")),
            (
                &[
                    "XDG_RUNTIME_DIR=/r",
                    "DBUS_SESSION_BUS_ADDRESS=unix:path=/b",
                ],
                Some("unix:path=/b"),
            ),
            (
                &["DBUS_SESSION_BUS_ADDRESS=", "XDG_RUNTIME_DIR=/r"],
                Some("unix:path=/r/bus"),
            ),
            (&["DBUS_SESSION_BUS_ADDRESS_2=x", "XDG_RUNTIME_DIR="], None),
        ] {
            let mut bus = Bus::default();
            for entry in entries {
                bus.note(entry.as_bytes());
            }
            assert_eq!(bus.address().as_deref(), expected, "{entries:?}");
        }
    }
}
