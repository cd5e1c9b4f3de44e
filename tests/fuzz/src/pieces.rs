//! Ways to cut bytes, as a network would: whole, byte by byte, and at places that depend on nothing but the bytes.

/// FNV-1a.
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A place in `0..=length` that depends on `seed`.
pub fn place(seed: u64, length: usize) -> usize {
    usize::try_from(seed % (length as u64 + 1)).unwrap_or(0)
}

/// Calls `each` with several ways to cut `bytes`; the whole is not among them.
pub fn cuts(bytes: &[u8], mut each: impl FnMut(&[&[u8]])) {
    let seed = digest(bytes);
    for size in [1, 2 + place(seed, 14)] {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        each(&pieces);
    }
    for turn in [8, 24, 40] {
        let (before, after) = bytes.split_at(place(seed.rotate_right(turn), bytes.len()));
        each(&[before, &[], after]);
    }
}
