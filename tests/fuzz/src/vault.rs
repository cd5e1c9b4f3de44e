//! The vault's file. What is taken apart has one form, so that it can be put together again byte for byte; what a key has
//! sealed it finds whole, and changed at any place it does not.

use std::io;
use std::sync::OnceLock;

use clawdbot_secrets::Secret;

use crate::pieces::{digest, place};

#[path = "../../../services/broker/src/vault/format.rs"]
#[allow(dead_code)]
mod format;

use format::{Image, MAX_RECORDS};

/// Nonce and tag at the end of the file.
const SEAL: usize = 24 + 16;

/// A file of any bytes.
pub fn vault(bytes: &[u8]) -> bool {
    // Without the key nothing is proved, whatever the bytes are; the seeds are sealed with another one.
    assert!(!format::verify(bytes, key()));
    let Ok(mut image) = Image::parse(bytes) else {
        return false;
    };
    let written = image
        .encode(key(), random)
        .expect("a vault that can be written");
    let body = bytes.len() - SEAL;
    assert_eq!(written.len(), bytes.len());
    assert_eq!(written[..body], bytes[..body]);
    assert!(format::verify(&written, key()));
    let mut changed = written;
    let at = place(digest(bytes), changed.len() - 1);
    changed[at] ^= 1;
    assert!(
        !format::verify(&changed, key()),
        "a change at {at} is not seen"
    );
    for record in image.records() {
        assert!(
            image.reveal(key(), record).is_none(),
            "a foreign record opens"
        );
    }
    if image.records().len() < MAX_RECORDS && image.counter < u64::MAX {
        put(&mut image);
    }
    true
}

fn put(image: &mut Image) {
    let (name, secret) = (("model-fuzz", "default"), b"a secret");
    let before = image.records().len();
    let replaced = image.put(key(), name, secret, random).expect("a record");
    assert_eq!(image.records().len(), before + usize::from(!replaced));
    let bytes = image
        .encode(key(), random)
        .expect("a vault that can be written");
    let again = Image::parse(&bytes).unwrap_or_else(|damage| panic!("{damage}"));
    let record = again
        .record(name.0, name.1)
        .expect("the record that was put");
    let revealed = again.reveal(key(), record).expect("the secret");
    assert_eq!(revealed.as_slice(), secret);
    assert_eq!(again.counter, image.counter);
}

fn key() -> &'static Secret {
    static KEY: OnceLock<Secret> = OnceLock::new();
    KEY.get_or_init(|| Secret::new(vec![7; format::KEY].into()).expect("memory for a key"))
}

/// The same every time, since a finding has to happen again.
fn random(bytes: &mut [u8]) -> io::Result<()> {
    bytes.fill(0x5a);
    Ok(())
}
