//! The front door's listening sockets. They are made here, since the gateway may not make any, and kept
//! here, so that a restart of the gateway refuses nobody.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Sockets by address.
#[derive(Default)]
pub(crate) struct Listeners(BTreeMap<SocketAddr, TcpListener>);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub(crate) struct Occupied {
    pub(crate) address: String,
    pub(crate) error: io::Error,
}

impl Listeners {
    /// Brings the sockets in line with the plan: binds what is new, and only then lets go of what the
    /// plan does not name any more. If one cannot be bound, the old ones stay.
    pub(crate) fn follow(&mut self, planned: &[String]) -> Result<Vec<SocketAddr>, Occupied> {
        let mut fresh = BTreeMap::new();
        let (mut named, mut wanted) = (Vec::new(), Vec::new());
        for text in planned {
            let occupied = |error| Occupied {
                address: text.clone(),
                error,
            };
            let address: SocketAddr = text
                .parse()
                .map_err(|_| occupied(io::ErrorKind::InvalidInput.into()))?;
            named.push(address);
            if !self.0.contains_key(&address) {
                wanted.push(address);
            }
        }
        for address in wanted {
            let occupied = |error| Occupied {
                address: address.to_string(),
                error,
            };
            let bound = TcpListener::bind(address);
            let bound = match bound {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    self.make_way(address, &named);
                    TcpListener::bind(address)
                }
                bound => bound,
            };
            fresh.insert(address, bound.map_err(occupied)?);
        }
        let new = fresh.keys().copied().collect();
        self.0.retain(|address, _| named.contains(address));
        self.0.extend(fresh);
        Ok(new)
    }

    /// Ends those of our own sockets that are in the way of an address: the same port, and not planned
    /// any more. Ended for everybody who holds them, since an owner who narrows the address means it.
    fn make_way(&mut self, address: SocketAddr, named: &[SocketAddr]) {
        self.0.retain(|old, socket| {
            let stays = old.port() != address.port() || named.contains(old);
            if !stays {
                // One that is closed already is as good.
                let _closed = rustix::net::shutdown(socket, rustix::net::Shutdown::Read);
            }
            stays
        });
    }

    /// All sockets.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SocketAddr, &TcpListener)> {
        self.0.iter()
    }

    /// The addresses as text.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.0.keys().map(ToString::to_string).collect()
    }

    /// Where a browser finds the front door.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.0
            .keys()
            .map(|address| format!("http://{address}/"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_narrowed_address_takes_the_place_of_the_wide_one_on_the_same_port() {
        // An address that nobody else uses: the port stays free until it is taken again.
        let port = TcpListener::bind("127.84.9.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        // Both on the loopback network: all of it cannot be listened on, two of its addresses can.
        let wide = format!("[::ffff:127.84.9.1]:{port}");
        let narrow = format!("127.84.9.1:{port}");
        let mut listeners = Listeners::default();
        listeners.follow(std::slice::from_ref(&wide)).unwrap();
        let held_elsewhere: Vec<_> = listeners
            .iter()
            .map(|(_, socket)| socket.try_clone().unwrap())
            .collect();
        listeners.follow(std::slice::from_ref(&narrow)).unwrap();
        assert_eq!(listeners.addresses(), std::slice::from_ref(&narrow));
        std::net::TcpStream::connect(narrow).unwrap();
        assert!(held_elsewhere.iter().all(|socket| socket.accept().is_err()));
    }

    #[test]
    fn an_occupied_address_leaves_the_old_socket_in_place() {
        // As above, where there are such addresses.
        let alone = if cfg!(target_os = "linux") {
            "127.84.9.2:0"
        } else {
            "127.0.0.1:0"
        };
        let free = TcpListener::bind(alone).unwrap().local_addr().unwrap();
        let mut listeners = Listeners::default();
        assert_eq!(listeners.follow(&[free.to_string()]).unwrap(), [free]);
        assert_eq!(
            listeners.follow(&[free.to_string()]).unwrap(),
            [],
            "nothing new"
        );

        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap().to_string();
        let error = listeners.follow(std::slice::from_ref(&taken)).unwrap_err();
        assert!(error.to_string().contains(&taken), "{error}");
        assert_eq!(listeners.addresses(), [free.to_string()]);

        drop(other);
        listeners.follow(std::slice::from_ref(&taken)).unwrap();
        assert_eq!(listeners.addresses(), [taken]);
        TcpListener::bind(free).unwrap();
    }
}
