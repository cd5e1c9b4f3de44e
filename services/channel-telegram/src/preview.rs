//! How much of an unfinished answer is shown. Nothing that may turn out to be a directive or silence is; in block mode only
//! whole lines or sentences are.

/// What the model writes when it chooses to say nothing.
const SILENCE: &str = "NO_REPLY";
/// Least text for a message of its own, characters: shorter beginnings say too little.
const LEAST: usize = 20;
/// Least new text in block mode, characters.
const BLOCK: usize = 200;

/// The part of `text` to show; `blocks` for block mode.
pub(crate) fn visible(text: &str, blocks: bool) -> Option<&str> {
    let text = text.trim();
    if SILENCE.starts_with(text) || text.starts_with(SILENCE) {
        return None;
    }
    // A reply directive is at the very beginning, if anywhere.
    let text = match text.strip_prefix("[[") {
        Some(rest) => rest.split_once("]]")?.1.trim_start(),
        None if text == "[" => return None,
        None => text,
    };
    let shown = match blocks {
        true => whole_blocks(text)?,
        false => text,
    };
    (shown.chars().count() >= LEAST).then_some(shown)
}

/// Up to the last line or sentence end, once there is a block's worth.
fn whole_blocks(text: &str) -> Option<&str> {
    let ends = text.match_indices(['\n', '.', '!', '?', '。']);
    let end = ends.map(|(at, found)| at + found.len()).next_back()?;
    let shown = text[..end].trim_end();
    (shown.chars().count() >= BLOCK).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_directives_are_never_shown() {
        for text in [
            "",
            " ",
            "N",
            "NO_RE",
            "NO_REPLY",
            "NO_REPLY\n",
            "[",
            "[[reply_to",
            "[[reply_to_current]]",
        ] {
            assert_eq!(visible(text, false), None, "{text:?}");
        }
        let answer = "Nobody knows the answer to this.";
        assert_eq!(visible(answer, false), Some(answer));
        let directed = format!("[[reply_to_current]] {answer}");
        assert_eq!(visible(&directed, false), Some(answer));
        assert_eq!(visible("too short", false), None);
    }

    #[test]
    fn block_mode_shows_whole_sentences_only() {
        let sentence = "This is a sentence of some length, for the test. ";
        let text = format!("{}And this is not fin", sentence.repeat(5));
        assert_eq!(visible(&text, true), Some(sentence.repeat(5).trim_end()));
        assert_eq!(visible(&sentence.repeat(2), true), None);
    }
}
