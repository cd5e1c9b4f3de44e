//! Who is connected: a cap on all connections, and one on those of each source that have not authenticated. Whoever
//! comes above a cap is turned away before anything is kept for them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::limits;

/// The count. Clones share it.
#[derive(Clone, Default)]
pub struct Census(Arc<Inner>);

#[derive(Default)]
struct Inner {
    counts: Mutex<Counts>,
    left: Notify,
}

#[derive(Default)]
struct Counts {
    open: u32,
    strangers: HashMap<IpAddr, u32>,
}

/// The place of one connection; dropping it makes room.
pub struct Place {
    census: Census,
    /// The source that it counts for, until it has authenticated.
    stranger: Mutex<Option<IpAddr>>,
}

impl Census {
    /// A place for a connection from `peer`, if there is one.
    pub fn enter(&self, peer: IpAddr) -> Option<Place> {
        let source = source(peer);
        let mut counts = self.counts();
        let strangers = counts.strangers.get(&source).copied().unwrap_or(0);
        if counts.open >= limits::CONNECTIONS || strangers >= limits::STRANGERS_OF_SOURCE {
            return None;
        }
        counts.open += 1;
        counts.strangers.insert(source, strangers + 1);
        Some(Place {
            census: self.clone(),
            stranger: Mutex::new(Some(source)),
        })
    }

    /// Open connections.
    pub fn open(&self) -> u32 {
        self.counts().open
    }

    /// Returns when no connection is open.
    pub async fn empty(&self) {
        loop {
            let left = self.0.left.notified();
            if self.open() == 0 {
                return;
            }
            left.await;
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acquainted(&self, source: IpAddr) {
        let mut counts = self.counts();
        if let Some(strangers) = counts.strangers.get_mut(&source) {
            *strangers -= 1;
            if *strangers == 0 {
                counts.strangers.remove(&source);
            }
        }
    }
}

impl Place {
    /// The connection has authenticated. It stays so.
    pub fn authenticated(&self) {
        let stranger = self
            .stranger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(source) = stranger {
            self.census.acquainted(source);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.authenticated();
        self.census.counts().open -= 1;
        self.census.0.left.notify_waiters();
    }
}

/// What counts as one source: this machine under all its loopback addresses, an IPv4 address, an IPv6 /64.
pub fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        ip if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn strangers_of_one_source_are_capped_and_others_are_not_hurt() {
        let census = Census::default();
        let peer = ip("192.0.2.1");
        let mut places: Vec<_> = (0..limits::STRANGERS_OF_SOURCE)
            .map(|_| census.enter(peer).unwrap())
            .collect();
        assert!(census.enter(peer).is_none());
        assert!(census.enter(ip("::ffff:192.0.2.1")).is_none());
        let other = census.enter(ip("192.0.2.2")).unwrap();
        places[0].authenticated();
        places[0].authenticated();
        places.push(census.enter(peer).unwrap());
        assert!(census.enter(peer).is_none());
        drop(places);
        drop(other);
        assert_eq!(census.open(), 0);
        assert!(census.counts().strangers.is_empty());
    }

    #[test]
    fn all_connections_together_are_capped() {
        let census = Census::default();
        let places: Vec<_> = (0..limits::CONNECTIONS)
            .map(|n| {
                let place = census.enter(ip(&format!("192.0.2.{}", n % 250))).unwrap();
                place.authenticated();
                place
            })
            .collect();
        assert!(census.enter(ip("198.51.100.1")).is_none());
        drop(places);
        assert!(census.enter(ip("198.51.100.1")).is_some());
    }

    #[test]
    fn addresses_that_one_peer_can_choose_from_are_one_source() {
        for (a, b, same) in [
            ("127.0.0.1", "127.9.9.9", true),
            ("127.0.0.1", "::1", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            assert_eq!(source(ip(a)) == source(ip(b)), same, "{a} {b}");
        }
    }
}
