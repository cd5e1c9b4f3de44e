//! Time and chance, passed in so that everything else can be tested without either.

use std::io;
use std::time::SystemTime;

/// Where time and random bytes come from.
pub trait World: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
    /// Fresh random bytes.
    fn random(&self) -> io::Result<[u8; 16]>;
}

/// The real ones.
pub struct System;

impl World for System {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(bytes)
    }
}

/// A random UUID (RFC 9562, version 4): the name of a session.
pub fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// The id of an entry in a transcript: eight hexadecimal digits, as in the original.
pub fn entry_id(bytes: [u8; 16]) -> String {
    hex(&bytes[..4])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Every look at the clock is a millisecond later, and every random number is the next one.
    #[derive(Default)]
    pub struct Counting(AtomicU64);

    impl World for Counting {
        fn now_ms(&self) -> u64 {
            1_769_500_000_000 + self.0.fetch_add(1, Ordering::Relaxed)
        }

        fn random(&self) -> io::Result<[u8; 16]> {
            let n = self.0.fetch_add(1, Ordering::Relaxed);
            Ok((u128::from(n) << 96 | u128::from(n)).to_be_bytes())
        }
    }

    #[test]
    fn ids_have_their_forms() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(entry_id([0x0a; 16]), "0a0a0a0a");
        assert_ne!(System.random().unwrap(), System.random().unwrap());
        assert!(System.now_ms() > 1_700_000_000_000);
    }
}
