//! A key as text, for stores that keep text only. Both forms are wiped.

use zeroize::Zeroizing;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Two lower-case digits for each byte.
pub fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
    text
}

/// The bytes that digits of either case stand for; nothing for any other text.
pub fn decode(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |byte: u8| {
        let digit = char::from(byte).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(pairs.len()));
    for [high, low] in pairs {
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_through_text_and_back_and_other_texts_are_nothing() {
        let text = encode(&[0, 0x9a, 0xff]);
        assert_eq!(text.as_str(), "009aff");
        for text in [text.as_bytes(), b"009AFF"] {
            assert_eq!(decode(text).unwrap().as_slice(), [0, 0x9a, 0xff]);
        }
        for text in [&b"0"[..], b"0g", b"00 ", "\u{e9}".as_bytes(), b"+1"] {
            assert!(decode(text).is_none(), "{text:?}");
        }
    }
}
