//! What an IP address may be dialled for: a table of address space, judged after resolution, so that
//! a name cannot be pointed at something inside. What the tables do not call public is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of place an address lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// The Internet.
    Public,
    /// This machine or its own network: only for a destination that the configuration itself names.
    Private,
    /// Metadata services, neighbours without a router, groups and space that nobody may use: never.
    Never,
}

use Space::{Never, Private, Public};

/// First address, prefix length, verdict, the word for people. The first row that holds counts.
type Row<A> = (A, u32, Space, &'static str);

const fn v4(a: u8, b: u8, c: u8, d: u8) -> u32 {
    Ipv4Addr::new(a, b, c, d).to_bits()
}

const fn v6(head: [u16; 4], tail: [u16; 4]) -> u128 {
    let [a, b, c, d] = head;
    let [e, f, g, h] = tail;
    Ipv6Addr::new(a, b, c, d, e, f, g, h).to_bits()
}

/// IANA's special-purpose registry (RFC 6890 and later) and the metadata services that hide in
/// ordinary space.
const V4: &[Row<u32>] = &[
    (v4(100, 100, 100, 200), 32, Never, "metadata"), // Alibaba, inside shared space
    (v4(168, 63, 129, 16), 32, Never, "metadata"),   // Azure, inside public space
    (v4(0, 0, 0, 0), 8, Never, "unspecified"),
    (v4(10, 0, 0, 0), 8, Private, "private"),
    (v4(100, 64, 0, 0), 10, Private, "shared (carrier NAT)"),
    (v4(127, 0, 0, 0), 8, Private, "loopback"),
    (v4(169, 254, 0, 0), 16, Never, "link-local"), // metadata of most clouds: 169.254.169.254
    (v4(172, 16, 0, 0), 12, Private, "private"),
    (v4(192, 0, 0, 0), 24, Never, "reserved"), // metadata of Oracle: 192.0.0.192
    (v4(192, 0, 2, 0), 24, Never, "documentation"),
    (v4(192, 88, 99, 0), 24, Never, "reserved"), // 6to4 relays, withdrawn
    (v4(192, 168, 0, 0), 16, Private, "private"),
    (v4(198, 18, 0, 0), 15, Never, "benchmark"),
    (v4(198, 51, 100, 0), 24, Never, "documentation"),
    (v4(203, 0, 113, 0), 24, Never, "documentation"),
    (v4(224, 0, 0, 0), 4, Never, "multicast"),
    (v4(255, 255, 255, 255), 32, Never, "broadcast"),
    (v4(240, 0, 0, 0), 4, Never, "reserved"),
    (0, 0, Public, "public"),
];

/// Only 2000::/3 is handed out; the rows before it are the holes in it. Forms that carry an IPv4
/// address are judged by [`judge`] before they come here, or are withdrawn and refused.
const V6: &[Row<u128>] = &[
    (v6([0, 0, 0, 0], [0, 0, 0, 1]), 128, Private, "loopback"),
    (v6([0, 0, 0, 0], [0, 0, 0, 0]), 128, Never, "unspecified"),
    (
        v6([0xfd00, 0xec2, 0, 0], [0, 0, 0, 0x254]),
        128,
        Never,
        "metadata",
    ), // Amazon
    (
        v6([0xfd20, 0xce, 0, 0], [0, 0, 0, 0x254]),
        128,
        Never,
        "metadata",
    ), // Google
    (v6([0xfc00, 0, 0, 0], [0; 4]), 7, Private, "unique local"),
    (v6([0xfe80, 0, 0, 0], [0; 4]), 10, Never, "link-local"),
    (v6([0xff00, 0, 0, 0], [0; 4]), 8, Never, "multicast"),
    (v6([0x2001, 0, 0, 0], [0; 4]), 23, Never, "reserved"), // Teredo, benchmark, ORCHID
    (
        v6([0x2001, 0xdb8, 0, 0], [0; 4]),
        32,
        Never,
        "documentation",
    ),
    (v6([0x2002, 0, 0, 0], [0; 4]), 16, Never, "6to4"), // carries an IPv4 address, withdrawn
    (v6([0x3fff, 0, 0, 0], [0; 4]), 20, Never, "documentation"),
    (v6([0x2000, 0, 0, 0], [0; 4]), 3, Public, "public"),
    (0, 0, Never, "reserved"),
];

/// 64:ff9b::/96 (RFC 6052): how a network without IPv4 reaches an IPv4 address.
const NAT64: u128 = v6([0x64, 0xff9b, 0, 0], [0; 4]);

/// Where an address lies, and the word for it. An IPv4-mapped address is the IPv4 address that it
/// reaches; one behind NAT64 is public when the IPv4 address is, and nothing otherwise.
pub fn judge(address: IpAddr) -> (Space, &'static str) {
    match address.to_canonical() {
        IpAddr::V4(ip) => find(V4, |first, prefix| holds32(ip.to_bits(), first, prefix)),
        IpAddr::V6(ip) if holds128(ip.to_bits(), NAT64, 96) => {
            let [.., a, b, c, d] = ip.octets();
            match judge(IpAddr::from([a, b, c, d])) {
                (Public, _) => (Public, "public behind NAT64"),
                (_, word) => (Never, word),
            }
        }
        IpAddr::V6(ip) => find(V6, |first, prefix| holds128(ip.to_bits(), first, prefix)),
    }
}

fn find<A: Copy>(table: &[Row<A>], holds: impl Fn(A, u32) -> bool) -> (Space, &'static str) {
    let row = table
        .iter()
        .find(|(first, prefix, ..)| holds(*first, *prefix));
    row.map_or((Never, "reserved"), |(.., space, word)| (*space, word))
}

fn holds32(ip: u32, first: u32, prefix: u32) -> bool {
    (ip ^ first).checked_shr(32 - prefix).unwrap_or(0) == 0
}

fn holds128(ip: u128, first: u128, prefix: u32) -> bool {
    (ip ^ first).checked_shr(128 - prefix).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(text: &str) -> Space {
        judge(text.parse().expect(text)).0
    }

    #[test]
    fn every_range_begins_and_ends_where_it_should() {
        // Before the range, its first address, its last, after it; what lies inside; what around.
        for (before, first, last, after, inside, around) in [
            (
                "9.255.255.255",
                "10.0.0.0",
                "10.255.255.255",
                "11.0.0.0",
                Private,
                Public,
            ),
            (
                "100.63.255.255",
                "100.64.0.0",
                "100.127.255.255",
                "100.128.0.0",
                Private,
                Public,
            ),
            (
                "126.255.255.255",
                "127.0.0.0",
                "127.255.255.255",
                "128.0.0.0",
                Private,
                Public,
            ),
            (
                "169.253.255.255",
                "169.254.0.0",
                "169.254.255.255",
                "169.255.0.0",
                Never,
                Public,
            ),
            (
                "172.15.255.255",
                "172.16.0.0",
                "172.31.255.255",
                "172.32.0.0",
                Private,
                Public,
            ),
            (
                "191.255.255.255",
                "192.0.0.0",
                "192.0.0.255",
                "192.0.1.0",
                Never,
                Public,
            ),
            (
                "192.0.1.255",
                "192.0.2.0",
                "192.0.2.255",
                "192.0.3.0",
                Never,
                Public,
            ),
            (
                "192.88.98.255",
                "192.88.99.0",
                "192.88.99.255",
                "192.88.100.0",
                Never,
                Public,
            ),
            (
                "192.167.255.255",
                "192.168.0.0",
                "192.168.255.255",
                "192.169.0.0",
                Private,
                Public,
            ),
            (
                "198.17.255.255",
                "198.18.0.0",
                "198.19.255.255",
                "198.20.0.0",
                Never,
                Public,
            ),
            (
                "198.51.99.255",
                "198.51.100.0",
                "198.51.100.255",
                "198.51.101.0",
                Never,
                Public,
            ),
            (
                "203.0.112.255",
                "203.0.113.0",
                "203.0.113.255",
                "203.0.114.0",
                Never,
                Public,
            ),
            (
                "168.63.129.15",
                "168.63.129.16",
                "168.63.129.16",
                "168.63.129.17",
                Never,
                Public,
            ),
            (
                "100.100.100.199",
                "100.100.100.200",
                "100.100.100.200",
                "100.100.100.201",
                Never,
                Private,
            ),
            (
                "fbff:ffff::",
                "fc00::",
                "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "fe00::",
                Private,
                Never,
            ),
            (
                "2000:ffff:ffff::",
                "2001::",
                "2001:1ff:ffff::",
                "2001:200::",
                Never,
                Public,
            ),
            (
                "2001:db7:ffff::",
                "2001:db8::",
                "2001:db8:ffff:ffff::",
                "2001:db9::",
                Never,
                Public,
            ),
            (
                "2001:ffff::",
                "2002::",
                "2002:ffff:ffff::",
                "2003::",
                Never,
                Public,
            ),
            (
                "3ffe:ffff::",
                "3fff::",
                "3fff:fff:ffff::",
                "3fff:1000::",
                Never,
                Public,
            ),
            (
                "fd00:ec2::253",
                "fd00:ec2::254",
                "fd00:ec2::254",
                "fd00:ec2::255",
                Never,
                Private,
            ),
            (
                "fd20:ce::253",
                "fd20:ce::254",
                "fd20:ce::254",
                "fd20:ce::255",
                Never,
                Private,
            ),
        ] {
            assert_eq!(space(first), inside, "{first}");
            assert_eq!(space(last), inside, "{last}");
            assert_eq!(space(before), around, "{before}");
            assert_eq!(space(after), around, "{after}");
        }
    }

    #[test]
    fn what_has_no_outside_is_judged_at_its_edges() {
        for (text, expected) in [
            ("0.0.0.0", Never),
            ("0.255.255.255", Never),
            ("1.0.0.0", Public),
            ("223.255.255.255", Public),
            ("224.0.0.0", Never),
            ("239.255.255.255", Never),
            ("240.0.0.0", Never),
            ("255.255.255.255", Never),
            ("8.8.8.8", Public),
            ("::", Never),
            ("::1", Private),
            ("::2", Never),
            ("100::1", Never),
            ("5f00::1", Never),
            ("fe80::1", Never),
            ("febf:ffff::1", Never),
            ("fec0::1", Never),
            ("ff02::1", Never),
            ("1fff:ffff::", Never),
            ("2000::", Public),
            ("3fff:ffff::", Public),
            ("4000::", Never),
            ("2606:4700::1111", Public),
        ] {
            assert_eq!(space(text), expected, "{text}");
        }
    }

    #[test]
    fn an_address_inside_another_does_not_hide() {
        for (text, expected) in [
            ("::ffff:8.8.8.8", Public),
            ("::ffff:127.0.0.1", Private),
            ("::ffff:169.254.169.254", Never),
            ("::8.8.8.8", Never),
            ("::127.0.0.1", Never),
            ("::ffff:0:127.0.0.1", Never),
            ("2002:7f00:1::", Never),
            ("64:ff9b::8.8.8.8", Public),
            ("64:ff9b::127.0.0.1", Never),
            ("64:ff9b::10.0.0.1", Never),
            ("64:ff9b::169.254.169.254", Never),
            ("64:ff9b:1::8.8.8.8", Never),
            ("2001::808:808", Never),
        ] {
            assert_eq!(space(text), expected, "{text}");
        }
    }

    #[test]
    fn no_row_is_hidden_by_one_before_it() {
        for (i, (first, ..)) in V4.iter().enumerate() {
            let hit = V4.iter().position(|(f, p, ..)| holds32(*first, *f, *p));
            assert!(hit == Some(i) || *first == 0, "row {i} of IPv4");
        }
        for (i, (first, ..)) in V6.iter().enumerate() {
            let hit = V6.iter().position(|(f, p, ..)| holds128(*first, *f, *p));
            assert!(hit == Some(i) || *first == 0, "row {i} of IPv6");
        }
    }
}
