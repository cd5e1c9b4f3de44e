//! Machines to install the product in: Debian 12 and 13 with their own systemd as the first process, in namespaces and
//! control groups of their own, with a network that has nothing but `lo`. A root file system is made once and kept; what a
//! machine writes goes to a bounded memory file system above it, so that every one begins fresh and leaves nothing.

mod groups;
mod machine;
mod roots;

pub use groups::Groups;
pub use machine::Rig;
pub use roots::{Suite, make};

/// The Debian packages that this needs here, each with a command that works when it is there.
pub const NEEDS: [(&[&str], &str); 3] = [
    (&["mmdebstrap", "--version"], "mmdebstrap"),
    (&["systemd-nspawn", "--version"], "systemd-container"),
    (&["ip", "-V"], "iproute2"),
];

/// Why no machine can be started here, if none can.
///
/// # Errors
/// With the reason, for the summary of a test run.
pub fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root".into());
    }
    Groups::hierarchies().map(drop)
}
