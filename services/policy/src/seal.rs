//! Texts that only policy can have made: a payload and its HMAC-SHA256, in base64url. What was changed, cut, made for
//! another purpose or under another key does not open. The payload is not hidden, so it never holds a secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const TAG: usize = 32;

/// Seals and opens under one key.
pub struct Sealer(Zeroizing<[u8; 32]>);

impl Sealer {
    /// The sealer for one purpose: its key follows from the master key and every part, in order.
    pub fn derive(master: &[u8; 32], parts: &[&[u8]]) -> Self {
        Self(fingerprint(master, parts))
    }

    /// The payload as text that [`open`](Self::open) of the same sealer takes.
    pub fn seal(&self, payload: &[u8]) -> String {
        let mut mac = keyed(&self.0);
        mac.update(payload);
        let mut bytes = mac.finalize().into_bytes().to_vec();
        bytes.extend_from_slice(payload);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// A text that is the same for the same parts, in order, and tells nothing of them.
    pub fn mark(&self, parts: &[&[u8]]) -> String {
        // It begins with a length, which no payload does: zeros.
        URL_SAFE_NO_PAD.encode(*fingerprint(&self.0, parts))
    }

    /// The payload of a text that this sealer made. Compared in constant time.
    pub fn open(&self, text: &str) -> Option<Vec<u8>> {
        let mut bytes = URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .filter(|bytes| bytes.len() > TAG)?;
        let payload = bytes.split_off(TAG);
        let mut mac = keyed(&self.0);
        mac.update(&payload);
        mac.verify_slice(&bytes).ok().map(|()| payload)
    }
}

/// 32 bytes that follow from the key and every part, in order, and from which neither can be told.
pub fn fingerprint(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut mac = keyed(key);
    for part in parts {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC takes keys of any length; this branch does not exist for 32 bytes.
    Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(parts: &[&[u8]]) -> Sealer {
        Sealer::derive(&[7; 32], parts)
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_that_was_changed() {
        let sealer = sealer(&[b"test"]);
        let text = sealer.seal(b"payload");
        assert_eq!(sealer.open(&text).as_deref(), Some(&b"payload"[..]));
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(
                sealer.open(std::str::from_utf8(&other).unwrap()),
                None,
                "changed at {at}"
            );
            assert_eq!(sealer.open(&text[..at]), None, "cut at {at}");
        }
        for other in [
            format!("{text}A"),
            format!("{text}="),
            format!(" {text}"),
            String::new(),
            "é".into(),
        ] {
            assert_eq!(sealer.open(&other), None);
        }
    }

    #[test]
    fn each_purpose_and_master_key_has_its_own_key() {
        let text = sealer(&[b"ab", b"c"]).seal(b"x");
        assert!(sealer(&[b"ab", b"c"]).open(&text).is_some());
        for other in [
            sealer(&[b"a", b"bc"]),
            sealer(&[b"abc"]),
            sealer(&[]),
            Sealer::derive(&[8; 32], &[b"ab", b"c"]),
        ] {
            assert_eq!(other.open(&text), None);
        }
    }

    #[test]
    fn the_tag_is_hmac_sha256() {
        // RFC 4231 test case 1 has a 20-byte key, which HMAC pads with zeros to the block: the same as these 32 bytes.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let text = Sealer(Zeroizing::new(key)).seal(b"Hi There");
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        assert_eq!(bytes[..8], [0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53]);
    }
}
