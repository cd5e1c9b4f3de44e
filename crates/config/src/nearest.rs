//! The valid word that somebody probably meant.

/// The candidate that is closest to `word`, if any is close enough to be worth proposing.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // A long word cannot be a slip of the pen, and comparing it would cost time.
    if word.len() > 48 {
        return None;
    }
    let plain = simple(word);
    let length = plain.chars().count();
    let allowed = match length {
        0..=2 => 1,
        3..=5 => 2,
        length => length / 3,
    };
    let close = |candidate: &'a str| {
        // Looking at the lengths first saves comparing most candidates.
        let separators = candidate.matches(['_', '-']).count();
        if (candidate.len() - separators).abs_diff(plain.len()) > allowed {
            return None;
        }
        let other = simple(candidate);
        let distance = strsim::osa_distance(&plain, &other);
        let shared = distance < length.max(other.chars().count());
        (distance <= allowed && shared).then_some((distance, candidate))
    };
    let best = candidates.into_iter().filter_map(close);
    // Of equally close ones the one of the same length: letters change places more often than they are left out.
    let order = |found: &(usize, &str)| (found.0, found.1.len().abs_diff(word.len()));
    best.min_by_key(order).map(|(_, candidate)| candidate)
}

/// Spelling without what people vary: case, `_`, `-`.
pub(crate) fn simple(word: &str) -> String {
    let kept = word.chars().filter(|c| !matches!(c, '_' | '-'));
    kept.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = ["port", "bind", "customBindHost", "auth", "allowedOrigins"];
        for (word, meant) in [
            ("prot", Some("port")),
            ("Port", Some("port")),
            ("custom_bind_host", Some("customBindHost")),
            ("alowedOrigin", Some("allowedOrigins")),
            ("banana", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
        assert_eq!(nearest(&"port".repeat(1000), keys), None);
    }
}
