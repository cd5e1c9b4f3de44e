//! Where the dialer's unit lets packets go: everywhere but the places that no destination may name. The dialer judges
//! each address itself and more finely (`services/dialer/src/address.rs`); this list holds when it is taken over.
//! The service manager looks for an allowed prefix first, so an exception inside an allowed one cannot be said: the list
//! is what is left when the refused prefixes are cut out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Its first address.
    pub first: IpAddr,
    /// How many bits all of it share.
    pub bits: u32,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl Prefix {
    /// Whether an address lies in it.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4()
            && Block::of(*self).holds(&Block::of(Prefix {
                first: address,
                bits: width(address),
            }))
    }
}

/// A prefix that the unit refuses, and what is there.
pub struct Refused {
    /// The prefix as text.
    pub prefix: &'static str,
    /// What is there.
    pub what: &'static str,
}

const fn refused(prefix: &'static str, what: &'static str) -> Refused {
    Refused { prefix, what }
}

/// What nobody has a reason to reach.
pub const REFUSED: &[Refused] = &[
    refused(
        "0.0.0.0/8",
        "\"this network\"; the kernel takes 0.0.0.0 for the own machine",
    ),
    refused("100.100.100.200/32", "metadata (Alibaba)"),
    refused("168.63.129.16/32", "metadata (Azure)"),
    refused("169.254.0.0/16", "link-local; metadata of most clouds"),
    refused("192.0.0.0/24", "reserved; metadata (Oracle)"),
    refused("224.0.0.0/4", "multicast"),
    refused("240.0.0.0/4", "reserved, broadcast"),
    // A whole /48 of private space for one address: a finer cut would take 80 more prefixes.
    refused("fd00:ec2::/48", "metadata (Amazon)"),
    refused("fd20:ce::/48", "metadata (Google)"),
];

/// IPv6 space that is in use; everything else (link-local, multicast, unassigned) is refused.
const V6: &[&str] = &["::1/128", "64:ff9b::/96", "2000::/3", "fc00::/7"];

/// What is permitted: the fewest prefixes that cover it.
#[must_use]
pub fn permitted() -> Vec<Prefix> {
    let all = std::iter::once("0.0.0.0/0").chain(V6.iter().copied());
    let refused: Vec<Block> = REFUSED.iter().filter_map(|row| parse(row.prefix)).collect();
    let mut left = Vec::new();
    for block in all.filter_map(parse) {
        cut(block, &refused, &mut left);
    }
    left.into_iter().map(Block::prefix).collect()
}

/// A prefix as number: IPv4 in the upper 32 bits.
#[derive(Debug, Clone, Copy)]
struct Block {
    first: u128,
    bits: u32,
    v4: bool,
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn parse(text: &str) -> Option<Block> {
    let (first, bits) = text.split_once('/')?;
    Some(Block::of(Prefix {
        first: first.parse().ok()?,
        bits: bits.parse().ok()?,
    }))
}

impl Block {
    fn of(prefix: Prefix) -> Self {
        let (first, v4) = match prefix.first {
            IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, true),
            IpAddr::V6(ip) => (ip.to_bits(), false),
        };
        Self {
            first,
            bits: prefix.bits,
            v4,
        }
    }

    fn prefix(self) -> Prefix {
        let first = match self.v4 {
            true => Ipv4Addr::from_bits((self.first >> 96) as u32).into(),
            false => Ipv6Addr::from_bits(self.first).into(),
        };
        Prefix {
            first,
            bits: self.bits,
        }
    }

    /// Whether `other` lies in this block.
    fn holds(&self, other: &Self) -> bool {
        let differ = self.first ^ other.first;
        self.v4 == other.v4
            && self.bits <= other.bits
            && differ.checked_shr(128 - self.bits).unwrap_or(0) == 0
    }

    fn halves(self) -> [Self; 2] {
        let bits = self.bits + 1;
        let upper = self.first | 1 << (128 - bits);
        [self.first, upper].map(|first| Self {
            first,
            bits,
            ..self
        })
    }
}

/// Puts what is left of a block into `left`.
fn cut(block: Block, refused: &[Block], left: &mut Vec<Block>) {
    if refused.iter().any(|hole| hole.holds(&block)) {
    } else if refused.iter().any(|hole| block.holds(hole)) {
        for half in block.halves() {
            cut(half, refused, left);
        }
    } else {
        left.push(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_permitted(address: &str) -> bool {
        let address = address.parse().unwrap();
        permitted().iter().any(|prefix| prefix.holds(address))
    }

    #[test]
    fn metadata_neighbours_and_groups_are_out_and_what_somebody_may_dial_is_in() {
        for out in [
            "169.254.169.254",
            "169.254.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "0.0.0.0",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fe80::1",
            "ff02::1",
            "::",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fec0::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(!is_permitted(out), "{out}");
        }
        for inside in [
            "127.0.0.1",
            "127.0.0.53",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.199",
            "100.100.100.201",
            "168.63.129.15",
            "169.253.255.255",
            "169.255.0.0",
            "1.1.1.1",
            "223.255.255.255",
            "2606:4700::1",
            "fd00::1",
            "fd00:ec2:1::1",
            "::1",
            "64:ff9b::101:101",
        ] {
            assert!(is_permitted(inside), "{inside}");
        }
    }

    #[test]
    fn the_prefixes_do_not_overlap_and_none_could_be_one_with_its_neighbour() {
        let all: Vec<Block> = permitted().into_iter().map(Block::of).collect();
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert!(!one.holds(other) && !other.holds(one));
                let siblings = one.bits == other.bits
                    && one.v4 == other.v4
                    && (one.first ^ other.first) == 1 << (128 - one.bits);
                assert!(!siblings, "{} {}", one.prefix(), other.prefix());
            }
        }
    }
}
