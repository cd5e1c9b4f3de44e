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
    let allowed = match plain.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        length => length / 3,
    };
    let close = |candidate: &'a str| {
        let other = simple(candidate);
        let distance = strsim::osa_distance(&plain, &other);
        let shared = distance < plain.chars().count().max(other.chars().count());
        (distance <= allowed && shared).then_some((distance, candidate))
    };
    let best = candidates.into_iter().filter_map(close);
    best.min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
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
