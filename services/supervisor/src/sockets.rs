//! The operator's sockets in STATE/run: made here with mode 0600, accepted by the process they are
//! named after. A path that is too long for a socket address is reached through its directory.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use clawdbot_identity::Role;
use clawdbot_proto::edges::EDGES;
use clawdbot_service::own_directory;

use crate::home::Refusal;

/// Shorter paths, in bytes, fit into a socket address on every system.
const DIRECT: usize = 100;

/// The directory of the sockets, kept open.
pub(crate) struct RunDirectory {
    path: PathBuf,
    open: File,
}

impl RunDirectory {
    pub(crate) fn open(state_dir: &Path) -> Result<Self, Refusal> {
        let path = state_dir.join("run");
        own_directory(&path).map_err(|error| Refusal::new(error.to_string(), ""))?;
        let open = File::open(&path).map_err(|e| {
            Refusal::io(&path.display().to_string(), &e, "mend the state directory")
        })?;
        Ok(Self { path, open })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A descriptor of the directory, for the process that tidies up.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.open.try_clone()?.into())
    }

    /// Makes the socket of one process; one that an earlier run left behind goes.
    pub(crate) fn bind(&self, server: &Role) -> io::Result<UnixListener> {
        let name = format!("{server}.sock");
        let path = self.path.join(&name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let bound = if path.as_os_str().len() < DIRECT {
            UnixListener::bind(&path)?
        } else {
            self.bind_through_descriptor(&name)?
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(bound)
    }

    #[cfg(target_os = "linux")]
    fn bind_through_descriptor(&self, name: &str) -> io::Result<UnixListener> {
        use std::os::fd::AsRawFd as _;
        UnixListener::bind(format!("/proc/self/fd/{}/{name}", self.open.as_raw_fd()))
    }

    #[cfg(not(target_os = "linux"))]
    fn bind_through_descriptor(&self, _name: &str) -> io::Result<UnixListener> {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "a socket's path has at most {} bytes here; choose a shorter state directory",
                DIRECT - 1
            ),
        ))
    }

    /// Removes all sockets.
    pub(crate) fn clear(&self) {
        for server in servers() {
            // Gone already is as good.
            let _gone = fs::remove_file(self.path.join(format!("{server}.sock")));
        }
    }
}

/// The processes that the operator may talk to.
pub(crate) fn servers() -> impl Iterator<Item = &'static str> {
    EDGES
        .iter()
        .filter(|edge| edge.client == "operator")
        .map(|edge| edge.server)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_is_private_and_replaces_one_that_was_left_behind() {
        let scratch = tempfile::tempdir().unwrap();
        let run = RunDirectory::open(scratch.path()).unwrap();
        drop(run.bind(&Role::gateway()).unwrap());
        let listener = run.bind(&Role::gateway()).unwrap();
        let path = scratch.path().join("run/gateway.sock");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        run.clear();
        assert!(!path.exists());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_path_longer_than_a_socket_address_works() {
        let scratch = tempfile::tempdir().unwrap();
        let deep = scratch.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let run = RunDirectory::open(&deep).unwrap();
        let _listener = run.bind(&Role::gateway()).unwrap();
        assert!(deep.join("run/gateway.sock").exists());
    }
}
