//! What `/etc/resolv.conf` and `/etc/hosts` say: which name servers to ask and which names have
//! their addresses here. Pure; search domains and sort lists are left out, destinations are full names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// As many as the C library asks (MAXNS).
const MAX_SERVERS: usize = 3;

/// The name servers of a `resolv.conf`, at most three; without any, the one on this machine, as
/// resolv.conf(5) has it. A server whose zone is an interface's name is left out: turning it into a
/// number needs calls that this process does not have.
pub fn servers(text: &str, port: u16) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let server = words
            .next()
            .filter(|key| *key == "nameserver")
            .and_then(|_| words.next());
        if let Some(address) = server.and_then(|word| server_address(word, port)) {
            found.push(address);
        }
    }
    found.truncate(MAX_SERVERS);
    if found.is_empty() {
        found.push(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    found
}

fn server_address(word: &str, port: u16) -> Option<SocketAddr> {
    if let Some((address, zone)) = word.split_once('%') {
        let address: Ipv6Addr = address.parse().ok()?;
        return Some(SocketAddrV6::new(address, port, 0, zone.parse().ok()?).into());
    }
    Some(SocketAddr::new(word.parse().ok()?, port))
}

/// The addresses that a `hosts` file has for a name in lower case.
pub fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        if let Some(address) = address
            && words.any(|word| word.eq_ignore_ascii_case(name))
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

/// Names that are this machine whatever anybody says (RFC 6761 section 6.3).
pub fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        servers(text, 53).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_three_name_servers_are_asked() {
        let text = "# made by somebody\nsearch lan\noptions edns0 trust-ad\nnameserver 127.0.0.53\n\
                    nameserver\t2001:db8::1 # x\n nameserver 9.9.9.9\nnameserver 8.8.8.8\n";
        assert_eq!(
            shown(text),
            ["127.0.0.53:53", "[2001:db8::1]:53", "9.9.9.9:53"]
        );
    }

    #[test]
    fn what_is_no_name_server_is_left_out_and_none_means_this_machine() {
        for text in [
            "",
            "nameserver",
            "nameserver dns.example",
            "nameservers 1.1.1.1",
            ";nameserver 1.1.1.1",
            "nameserver fe80::1%wlan0",
            "nameserver 1.1.1.1%2",
        ] {
            assert_eq!(shown(text), ["127.0.0.1:53"], "{text}");
        }
        assert_eq!(shown("nameserver fe80::1%2"), ["[fe80::1%2]:53"]);
    }

    #[test]
    fn a_hosts_line_gives_its_address_to_every_name_on_it() {
        let text = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.0.0.5\tNas nas.lan # 9.9.9.9 x\n\
                    bad nas\n10.0.0.5 nas\n#10.0.0.6 nas\n10.0.0.7";
        let of = |name| {
            hosts(text, name)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(of("nas"), ["10.0.0.5"]);
        assert_eq!(of("nas.lan"), ["10.0.0.5"]);
        assert_eq!(of("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(of("x"), [""; 0]);
        assert_eq!(of("lan"), [""; 0]);
    }

    #[test]
    fn localhost_is_a_whole_label() {
        assert!(is_localhost("localhost") && is_localhost("a.localhost"));
        assert!(!is_localhost("notlocalhost") && !is_localhost("localhost.example"));
    }
}
