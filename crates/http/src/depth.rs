//! Bounds how deep a JSON text nests before anything recursive looks at it. It neither parses nor allocates, and it
//! refuses depth only: every other fault is the parser's to report.

/// A JSON text that nests too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("JSON is nested too deep: the bracket at byte {offset} exceeds the limit")]
pub struct DepthError {
    /// Where the first bracket too many stands, in bytes from the start.
    pub offset: usize,
}

/// Checks that `json` never has more than `max` arrays and objects open at once. Brackets in strings do not count.
/// Of a text that is not JSON it says nothing but that no valid beginning of it nests deeper.
///
/// # Errors
/// With the place of the first bracket too many.
pub fn json_depth(json: &[u8], max: usize) -> Result<(), DepthError> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (offset, byte) in json.iter().enumerate() {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') if depth == max => return Err(DepthError { offset }),
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bracket_too_many_is_named() {
        for (json, max, offset) in [
            ("[[1]]", 2, None),
            ("[[1]]", 1, Some(1)),
            ("{\"a\":{\"b\":[]}}", 3, None),
            ("{\"a\":{\"b\":[]}}", 2, Some(10)),
            ("[]", 0, Some(0)),
            ("1", 0, None),
            ("", 0, None),
        ] {
            assert_eq!(
                json_depth(json.as_bytes(), max).err().map(|e| e.offset),
                offset,
                "{json} {max}"
            );
        }
    }

    #[test]
    fn siblings_do_not_add_up() {
        assert!(json_depth("[[],[],{},{\"a\":[]}]".repeat(1000).as_bytes(), 3).is_ok());
    }

    #[test]
    fn brackets_in_strings_do_not_count_and_escapes_do_not_end_a_string() {
        assert!(json_depth(br#"["[[[[", "\"[[[", "\\", "{{\\\"{{"]"#, 1).is_ok());
        // The string ends after the escaped backslash, so this bracket is a real one.
        assert_eq!(json_depth(br#"["\\",["#, 1), Err(DepthError { offset: 6 }));
    }

    #[test]
    fn closing_too_much_buys_no_depth() {
        assert_eq!(json_depth(b"]]]][[", 1), Err(DepthError { offset: 5 }));
    }

    #[test]
    fn a_megabyte_of_brackets_is_refused_at_the_limit() {
        assert_eq!(
            json_depth(&[b'['; 1 << 20], 64),
            Err(DepthError { offset: 64 })
        );
    }
}
