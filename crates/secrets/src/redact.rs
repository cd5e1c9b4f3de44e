//! Blanks exact secret values in what others sent us (a provider may echo a key in its error body).
//! It knows values, not patterns: it never guesses what might be a secret, and it does not see encoded forms.

use std::borrow::Cow;

use crate::Secret;

/// Secrets shorter than this many bytes are left alone: blanking every `x` would tell more than it hides.
pub const SHORTEST: usize = 6;

const BLANK: &[u8] = b"[secret]";

/// Replaces every occurrence of each secret by `[secret]`. Overlapping occurrences become one blank.
/// Takes time proportional to the text and the number of secrets: meant for error bodies, not for streams.
pub fn bytes<'a>(text: &'a [u8], secrets: &[&Secret]) -> Cow<'a, [u8]> {
    let mut hidden = vec![false; text.len()];
    for secret in secrets {
        secret.expose(|needle| hide(text, needle, &mut hidden));
    }
    if !hidden.contains(&true) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut before = false;
    for (&byte, &now) in text.iter().zip(&hidden) {
        match (before, now) {
            (_, false) => out.push(byte),
            (false, true) => out.extend_from_slice(BLANK),
            (true, true) => {}
        }
        before = now;
    }
    Cow::Owned(out)
}

/// As [`bytes`], for text.
pub fn text<'a>(text: &'a str, secrets: &[&Secret]) -> Cow<'a, str> {
    match bytes(text.as_bytes(), secrets) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        // A secret that is not UTF-8 may have cut a character.
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

fn hide(text: &[u8], needle: &[u8], hidden: &mut [bool]) {
    if needle.len() < SHORTEST {
        return;
    }
    for (start, window) in text.windows(needle.len()).enumerate() {
        if window == needle {
            hidden[start..start + needle.len()].fill(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: &str) -> Secret {
        Secret::new(value.as_bytes().to_vec().into()).unwrap()
    }

    #[test]
    fn every_occurrence_is_blanked_and_the_rest_is_kept() {
        let key = secret("sk-abc123");
        let shown = text("bad key sk-abc123, sk-abc12; again: sk-abc123", &[&key]);
        assert_eq!(shown, "bad key [secret], sk-abc12; again: [secret]");
        assert!(matches!(
            text("nothing here", &[&key]),
            Cow::Borrowed("nothing here")
        ));
        assert!(matches!(text("", &[&key]), Cow::Borrowed("")));
    }

    #[test]
    fn no_part_of_overlapping_or_nested_secrets_stays() {
        let (long, inner, tail) = (secret("abcdefgh"), secret("cdefgh"), secret("fghijk"));
        for order in [[&long, &inner, &tail], [&tail, &inner, &long]] {
            assert_eq!(text("<abcdefghijk>", &order), "<[secret]>");
        }
        assert_eq!(text("aaaaaaa", &[&secret("aaaaaa")]), "[secret]");
    }

    #[test]
    fn very_short_values_do_not_blank_half_of_the_text() {
        assert_eq!(text("an x in a box", &[&secret("x")]), "an x in a box");
        assert_eq!(text("123456", &[&secret("123456")]), "[secret]");
    }

    #[test]
    fn secrets_that_are_not_text_are_blanked_too() {
        let key = Secret::new(b"\xff\x00key\xfe".to_vec().into()).unwrap();
        assert_eq!(bytes(b"<\xff\x00key\xfe>", &[&key]).as_ref(), b"<[secret]>");
    }
}
