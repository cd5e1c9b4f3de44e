//! Names to addresses without the C library: it would load plug-ins and open what this process may
//! not open. Literals, localhost, the hosts file, then DNS; never search domains, never a cache (the
//! system's resolver has one, and what it forgets is forgotten here too).

pub mod config;
mod exchange;
pub mod file;
pub mod message;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clawdbot_identity::HostName;
use tokio::task::JoinSet;
use tokio::time::timeout;

use file::Watched;
use message::Kind;

/// Port of DNS.
pub const DNS_PORT: u16 = 53;

/// Why a name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name servers say so.
    #[error("the name does not exist")]
    NoSuchName,
    /// The name exists.
    #[error("the name has no address")]
    NoAddress,
    /// No name server could say.
    #[error("{0}")]
    Failed(String),
    /// No name server said anything.
    #[error("no name server answered in time")]
    TimedOut,
}

/// How long resolution may take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// For one server's answer.
    pub attempt: Duration,
    /// How often the servers are gone through.
    pub rounds: u8,
    /// For one name.
    pub total: Duration,
    /// For the other kind of address once one kind is known.
    pub grace: Duration,
}

/// The resolver of this process.
#[derive(Debug)]
pub struct Resolver {
    resolv_conf: Mutex<Watched>,
    hosts: Mutex<Watched>,
    port: u16,
    timing: Timing,
}

impl Resolver {
    /// Reads both files for the first time; that one is missing is fine. `port` is where name servers
    /// listen.
    pub fn new(resolv_conf: &Path, hosts: &Path, port: u16, timing: Timing) -> Self {
        let watched = |path: &Path| Mutex::new(Watched::open(PathBuf::from(path)));
        Self {
            resolv_conf: watched(resolv_conf),
            hosts: watched(hosts),
            port,
            timing,
        }
    }

    /// Whether a file was replaced by one that this process may not read, so that only a new start
    /// brings what it says.
    pub fn is_stale(&self) -> bool {
        [&self.resolv_conf, &self.hosts]
            .iter()
            .any(|file| lock(file).is_stale())
    }

    /// All addresses of a host, IPv6 first, not judged in any way.
    ///
    /// # Errors
    /// Never for a literal; otherwise as the variants say. An answer without addresses is
    /// [`ResolveError::NoAddress`].
    pub async fn lookup(&self, host: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(ip) = host.ip() {
            return Ok(vec![ip]);
        }
        let local = config::hosts(lock(&self.hosts).text(), host.as_str());
        if !local.is_empty() {
            return Ok(local);
        }
        if config::is_localhost(host.as_str()) {
            return Ok(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
        }
        self.dns(host).await
    }

    /// Both kinds at once. When one has come, the other gets [`Timing::grace`].
    async fn dns(&self, host: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
        let servers = config::servers(lock(&self.resolv_conf).text(), self.port);
        let timing = self.timing;
        let mut asking = JoinSet::new();
        for kind in [Kind::Aaaa, Kind::A] {
            let (servers, host) = (servers.clone(), host.clone());
            asking.spawn(async move {
                let asked = exchange::ask(&servers, &host, kind, timing);
                timeout(timing.total, asked)
                    .await
                    .unwrap_or(Err(ResolveError::TimedOut))
            });
        }
        let mut found = Vec::new();
        let mut error = None;
        let mut wait = timing.total;
        while let Ok(Some(Ok(result))) = timeout(wait, asking.join_next()).await {
            match result {
                Ok(addresses) => found.extend(addresses),
                Err(e) => error = Some(e),
            }
            if !found.is_empty() {
                wait = timing.grace;
            }
        }
        found.sort_by_key(IpAddr::is_ipv4);
        if found.is_empty() {
            Err(error.unwrap_or(ResolveError::NoAddress))
        } else {
            Ok(found)
        }
    }
}

/// The data behind are whole at every moment, so a panic elsewhere takes nothing from them.
fn lock(file: &Mutex<Watched>) -> std::sync::MutexGuard<'_, Watched> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
