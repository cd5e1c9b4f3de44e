//! What the dialer reads of others: the system's files and answers of name servers. Whoever can send a datagram can try,
//! so an answer to another question is none, and nothing is taken for an address that does not stand in the message.

use std::net::IpAddr;

use clawdbot_identity::HostName;

use crate::pieces::digest;

#[path = "../../../services/dialer/src/resolv/config.rs"]
#[allow(dead_code)]
mod config;
#[path = "../../../services/dialer/src/resolv/message.rs"]
#[allow(dead_code)]
mod message;

use message::{Answer, Kind, Query};

/// `resolv.conf` and `hosts`: what was understood, written plainly, is understood in the same way.
pub fn files(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let servers = config::servers(&text, 53);
    assert!((1..=3).contains(&servers.len()) && servers.iter().all(|server| server.port() == 53));
    let plain: String = servers
        .iter()
        .map(|server| match server {
            std::net::SocketAddr::V6(v6) if v6.scope_id() > 0 => {
                format!("nameserver {}%{}\n", v6.ip(), v6.scope_id())
            }
            server => format!("nameserver {}\n", server.ip()),
        })
        .collect();
    assert_eq!(config::servers(&plain, 53), servers);

    let mut known = false;
    let words = text
        .lines()
        .flat_map(|line| line.split_whitespace().skip(1));
    for name in words.take(16).map(str::to_ascii_lowercase) {
        let found = config::hosts(&text, &name);
        let plain: String = found.iter().map(|ip| format!("{ip} {name}\n")).collect();
        if !name.contains('#') {
            assert_eq!(config::hosts(&plain, &name), found);
        }
        known |= !found.is_empty();
    }
    known || text.contains("nameserver")
}

/// Datagrams and messages over TCP.
pub fn answer(bytes: &[u8]) -> bool {
    let id = bytes
        .first_chunk::<2>()
        .map_or(0, |id| u16::from_be_bytes(*id));
    let name = HostName::parse("api.example.com").expect("a host name");
    let mut taken = false;
    for kind in [Kind::A, Kind::Aaaa] {
        let extended = digest(bytes).is_multiple_of(2);
        let query = Query::new(id, &name, kind, extended).expect("a question");
        let forged = Query::new(id ^ 1, &name, kind, extended).expect("a question");
        assert_eq!(forged.read(bytes), None, "an answer to another question");
        let Some(answer) = query.read(bytes) else {
            continue;
        };
        taken = true;
        let Answer::Addresses(addresses) = answer else {
            continue;
        };
        assert!(addresses.len() <= 16);
        for address in addresses {
            let stands = match (kind, address) {
                (Kind::A, IpAddr::V4(ip)) => holds(bytes, &ip.octets()),
                (Kind::Aaaa, IpAddr::V6(ip)) => holds(bytes, &ip.octets()),
                _ => false,
            };
            assert!(stands, "{address}");
        }
    }
    taken
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
