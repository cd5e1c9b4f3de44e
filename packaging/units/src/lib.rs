//! What `systemd/` holds: units, users and folders of system mode, as text. Names come from
//! `clawdbot_service::system`, edges from `proto/edges.toml`, what a process writes, locks and opens from its profile;
//! here is what only a service manager needs, each line with its reason. No service links this.

mod addresses;
mod folders;
mod hardening;
mod page;
mod reasons;
mod services;
mod slices;
mod sockets;
mod target;
mod unit;

pub use addresses::{Prefix, REFUSED, Refused, permitted};
pub use hardening::{COMMON, Common, Who};
pub use page::page;
pub use reasons::{REASONS, Reason, reason};

/// A file of `systemd/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Below `systemd/`, such as `system/clawdbot.target`; below `/usr/lib/systemd`, or `/usr/lib` for
    /// `sysusers.d` and `tmpfiles.d`, once installed.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl Generated {
    fn system(name: impl AsRef<str>, text: String) -> Self {
        Self {
            path: format!("system/{}", name.as_ref()),
            text,
        }
    }
}

/// All files, in the order of their names.
#[must_use]
pub fn files() -> Vec<Generated> {
    let mut files = services::files();
    files.extend(sockets::files());
    files.extend(slices::files());
    files.extend(target::files());
    files.extend(folders::files());
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}
