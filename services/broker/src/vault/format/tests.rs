use super::*;

/// Other bytes at every call, the same in every run.
fn counting(bytes: &mut [u8]) -> std::io::Result<()> {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    bytes.fill_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
    Ok(())
}

fn key(fill: u8) -> Secret {
    Secret::new(vec![fill; KEY].into()).unwrap()
}

fn header() -> Header {
    Header {
        source: KeySource::File,
        id: *b"0123456789abcdef",
    }
}

fn image(records: &[(&str, &str, &str)]) -> Image {
    let mut image = Image::new(header());
    for (owner, profile, secret) in records {
        let at = (*owner, *profile);
        image.put(&key(1), at, secret.as_bytes(), counting).unwrap();
    }
    image
}

const TWO: &[(&str, &str, &str)] = &[
    ("model-openai", "default", "sk-one"),
    ("channel-telegram", "work", "123:two"),
];

fn revealed(image: &Image, owner: &str, profile: &str) -> Option<String> {
    let secret = image.reveal(&key(1), image.record(owner, profile)?)?;
    Some(String::from_utf8(secret.to_vec()).unwrap())
}

#[test]
fn what_was_put_in_is_there_after_a_way_through_the_file() {
    let mut written = image(TWO);
    assert_eq!(written.counter, 2);
    let bytes = written.encode(&key(1), counting).unwrap();
    assert!(verify(&bytes, &key(1)));
    let read = Image::parse(&bytes).unwrap();
    assert_eq!((&read.header, read.counter), (&header(), 2));
    assert_eq!(
        revealed(&read, "model-openai", "default").as_deref(),
        Some("sk-one")
    );
    assert_eq!(
        revealed(&read, "channel-telegram", "work").as_deref(),
        Some("123:two")
    );
    assert_eq!(revealed(&read, "channel-telegram", "default"), None);

    let replaced = written.put(&key(1), ("model-openai", "default"), b"new", counting);
    assert!(replaced.unwrap());
    assert_eq!(
        revealed(&written, "model-openai", "default").as_deref(),
        Some("new")
    );
    assert!(written.remove("model-openai", "default"));
    assert!(!written.remove("model-openai", "default"));
    assert_eq!((written.counter, written.records().len()), (4, 1));
}

#[test]
fn the_file_holds_no_secret_in_the_clear_and_no_two_are_alike() {
    let (first, second) = (image(TWO), image(TWO));
    let bytes = first.encode(&key(1), counting).unwrap();
    for secret in [b"sk-one".as_slice(), b"123:two", &[1; KEY]] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret));
    }
    let fingerprint = |image: &Image| *image.records()[0].fingerprint();
    assert_ne!(fingerprint(&first), fingerprint(&second));
    assert_ne!(bytes, first.encode(&key(1), counting).unwrap());
}

#[test]
fn every_flipped_bit_and_every_other_length_is_refused() {
    let bytes = image(TWO).encode(&key(1), counting).unwrap();
    let holds = |bytes: &[u8]| Image::parse(bytes).is_ok() && verify(bytes, &key(1));
    assert!(holds(&bytes));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut other = bytes.clone();
            other[at] ^= 1 << bit;
            assert!(!holds(&other), "bit {bit} of byte {at}");
        }
        assert!(!holds(&bytes[..at]), "cut at {at}");
    }
    assert!(!holds(&[bytes.as_slice(), b"x"].concat()));
}

#[test]
fn the_wrong_key_opens_nothing() {
    let image = image(TWO);
    let bytes = image.encode(&key(1), counting).unwrap();
    assert!(!verify(&bytes, &key(2)));
    assert!(!verify(
        &bytes,
        &Secret::new(vec![1; KEY - 1].into()).unwrap()
    ));
    let record = &image.records()[0];
    assert!(image.reveal(&key(2), record).is_none());
    assert!(image.reveal(&key(1), record).is_some());
}

#[test]
fn a_record_is_of_its_vault_owner_and_profile_only() {
    let image = image(TWO);
    let record = image.record("model-openai", "default").unwrap();
    for (owner, profile) in [
        ("model-other", "default"),
        ("model-openai", "work"),
        ("model-openaid", "efault"),
        ("model-opena", "idefault"),
    ] {
        let moved = Record {
            owner: owner.to_owned(),
            profile: profile.to_owned(),
            ..record.clone()
        };
        assert!(image.reveal(&key(1), &moved).is_none(), "{owner} {profile}");
    }
    for other in [
        Header {
            id: *b"fedcba9876543210",
            ..header()
        },
        Header {
            source: KeySource::Keyring,
            ..header()
        },
    ] {
        assert!(Image::new(other).reveal(&key(1), record).is_none());
    }
    assert!(image.reveal(&key(1), record).is_some());
}

#[test]
fn records_that_are_removed_reordered_or_brought_from_elsewhere_break_the_seal() {
    let original = image(TWO);
    let sealed = original.encode(&key(1), counting).unwrap();
    let seal = &sealed[sealed.len() - NONCE - TAG..];
    let under_the_old_seal = |image: &Image| {
        let mut bytes = image.encode(&key(1), counting).unwrap();
        let at = bytes.len() - NONCE - TAG;
        bytes[at..].copy_from_slice(seal);
        bytes
    };
    assert!(verify(&under_the_old_seal(&original), &key(1)));

    let mut removed = original.clone();
    removed.remove("model-openai", "default");
    let mut replaced = original.clone();
    replaced.records[0] = image(TWO).records[0].clone();
    let mut added = original.clone();
    added.records.push(Record {
        profile: "zz".to_owned(),
        ..original.records[1].clone()
    });
    let mut newer = original.clone();
    newer.counter += 1;
    for other in [&removed, &replaced, &added, &newer] {
        let bytes = under_the_old_seal(other);
        assert!(Image::parse(&bytes).is_ok() && !verify(&bytes, &key(1)));
    }
    let mut reordered = original.clone();
    reordered.records.reverse();
    let mut doubled = original.clone();
    doubled.records.push(original.records[1].clone());
    for other in [&reordered, &doubled] {
        let bytes = other.encode(&key(1), counting).unwrap();
        assert_eq!(Image::parse(&bytes).err(), Some(Damage::Form));
    }
}

/// The documented limit: nothing outside the file knows how far its counter had come.
#[test]
fn an_older_file_put_back_as_a_whole_is_not_found_out() {
    let mut image = image(TWO);
    let old = image.encode(&key(1), counting).unwrap();
    image.remove("model-openai", "default");
    assert!(Image::parse(&old).unwrap().counter < image.counter);
    assert!(verify(&old, &key(1)));
}

#[test]
fn other_files_are_told_apart_from_damaged_ones() {
    let bytes = image(&[]).encode(&key(1), counting).unwrap();
    let with = |at: usize, byte: u8| {
        let mut other = bytes.clone();
        other[at] = byte;
        Image::parse(&other).err()
    };
    assert_eq!(Image::parse(&bytes).unwrap().records().len(), 0);
    assert_eq!(with(0, b'X'), Some(Damage::Foreign));
    assert_eq!(with(8, 2), Some(Damage::Newer(2)));
    assert_eq!(with(8, 0), Some(Damage::Version));
    assert_eq!(with(9, 2), Some(Damage::Version));
    assert_eq!(with(10, 0), Some(Damage::Version));
    assert_eq!(with(10, 4), Some(Damage::Version));
    assert_eq!(with(37, 1), Some(Damage::Form));
    assert_eq!(Image::parse(b"").err(), Some(Damage::Form));
}

#[test]
fn a_system_without_randomness_writes_nothing() {
    fn none(_: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::Error::other("none"))
    }
    let mut image = image(TWO);
    assert!(image.encode(&key(1), none).is_err());
    assert!(
        image
            .put(&key(1), ("model-x", "default"), b"x", none)
            .is_err()
    );
    assert_eq!((image.counter, image.records().len()), (2, 2));
}
