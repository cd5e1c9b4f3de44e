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

/// The first and the last `chars` characters, with a note between them of what was left out.
pub fn middle_cut(text: &str, chars: usize) -> String {
    let head = text
        .char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at);
    let tail = text.char_indices().rev().nth(chars.saturating_sub(1));
    let tail = tail.map_or(0, |(at, _)| at).max(head);
    if tail == head {
        return text.into();
    }
    let left_out = tail - head;
    format!(
        "{}\n[… {left_out} bytes are left out here …]\n{}",
        &text[..head],
        &text[tail..]
    )
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

    #[test]
    fn the_middle_is_cut_between_characters_and_said_to_be() {
        let text = "äö".to_owned() + &"x".repeat(10) + "üß";
        assert_eq!(
            middle_cut(&text, 2),
            "äö\n[… 10 bytes are left out here …]\nüß"
        );
        for short in ["", "ä", "äöüß"] {
            assert_eq!(middle_cut(short, 2), short);
        }
    }
}
