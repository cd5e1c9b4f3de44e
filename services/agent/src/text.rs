//! Cutting text by characters, in the one way that everything here uses.

/// At most `chars` characters; what was longer ends in `…`.
pub fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text.into(),
        Some(_) => {
            let kept = text.char_indices().nth(chars.saturating_sub(1));
            let end = kept.map_or(0, |(at, _)| at);
            format!("{}…", &text[..end])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_characters_and_marks_a_cut() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüx", 3), "äö…");
        assert_eq!(shortened("", 3), "");
        assert_eq!(shortened("ab", 0), "…");
    }
}
