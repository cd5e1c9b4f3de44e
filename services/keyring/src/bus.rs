//! The way to the session bus: a UNIX socket that this process connects to before its confinement. Other transports are
//! refused: one of them would start a program, and the others leave the machine.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::str::FromStr;

use zbus::Address;
use zbus::address::transport::{Transport, UnixSocket};

/// Longest address, bytes.
const MAX: u64 = 4096;
/// What to do where there is no bus.
const REMEDY: &str = "start Clawdbot from your desktop session and unlock the keyring";

/// Connects to the bus whose address is in `file`.
///
/// # Errors
/// Why there is no bus to talk to, and the remedy.
pub(crate) fn connect(file: Option<OwnedFd>) -> Result<UnixStream, String> {
    let file = file.ok_or_else(|| format!("there is no session bus here; {REMEDY}"))?;
    let mut text = String::new();
    File::from(file)
        .take(MAX)
        .read_to_string(&mut text)
        .map_err(|error| format!("the session bus has no address that can be read: {error}"))?;
    let sockets: Vec<SocketAddr> = text.split(';').filter_map(socket).collect();
    let mut last = format!("the session bus is no UNIX socket of this machine; {REMEDY}");
    for socket in sockets {
        match UnixStream::connect_addr(&socket) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("the session bus cannot be reached: {error}; {REMEDY}"),
        }
    }
    Err(last)
}

/// The socket of one address.
fn socket(address: &str) -> Option<SocketAddr> {
    let address = Address::from_str(address).ok()?;
    let Transport::Unix(unix) = address.transport() else {
        return None;
    };
    match unix.path() {
        UnixSocket::File(path) => SocketAddr::from_pathname(path).ok(),
        UnixSocket::Abstract(name) => SocketAddr::from_abstract_name(name.as_encoded_bytes()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn file(text: &str) -> Option<OwnedFd> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        Some(file.into())
    }

    #[test]
    fn a_socket_of_this_machine_is_reached_also_behind_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let _listener = UnixListener::bind(&path).unwrap();
        let here = format!(
            "unix:path={},guid=0123456789abcdef0123456789abcdef",
            path.display()
        );
        let gone = format!("unix:path={}/gone", folder.path().display());
        for text in [
            here.clone(),
            format!("tcp:host=localhost,port=1;{gone};{here}"),
        ] {
            connect(file(&text)).unwrap();
        }
        let name = path.display().to_string();
        let abstracted = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let _listener = UnixListener::bind_addr(&abstracted).unwrap();
        connect(file(&format!("unix:abstract={name}"))).unwrap();
    }

    #[test]
    fn no_bus_another_transport_and_a_dead_socket_are_told_with_the_remedy() {
        for (file, part) in [
            (None, "no session bus"),
            (file(""), "no UNIX socket"),
            (file("tcp:host=localhost,port=1"), "no UNIX socket"),
            (file("unixexec:path=/bin/true"), "no UNIX socket"),
            (file("autolaunch:"), "no UNIX socket"),
            (file("unix:path=/nonexistent/bus"), "cannot be reached"),
        ] {
            let why = connect(file).unwrap_err();
            assert!(why.contains(part) && why.contains("unlock"), "{why}");
        }
    }
}
