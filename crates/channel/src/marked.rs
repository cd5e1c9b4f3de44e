//! Text with styles, as every chat can show it, and its division into messages. Lengths are UTF-16 units, as chats count
//! them. A cut never falls into a character, falls into a grapheme only when one alone is longer than a message, and a
//! style that is cut ends in one message and begins again in the next: so no code fence is ever left open.

use std::ops::Range;

use unicode_segmentation::GraphemeCursor;

/// How a stretch of text looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Style {
    /// Strong.
    Bold,
    /// Emphasis.
    Italic,
    /// Struck out.
    Strike,
    /// Code within a line.
    Code,
    /// A block of code, with its language or nothing.
    Pre(String),
    /// A link to this address.
    Link(String),
    /// Somebody else's words.
    Quote,
}

/// A styled stretch: bytes of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Where it lies.
    pub range: Range<usize>,
    /// How it looks.
    pub style: Style,
}

/// Plain text and the styles in it. Spans lie one inside the other or side by side, the outer before the inner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marked {
    /// What a reader sees.
    pub text: String,
    /// How it looks.
    pub spans: Vec<Span>,
}

/// Where text may be divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunking {
    /// Only where a message would get too long.
    Length,
    /// Also after every paragraph.
    Newline,
}

/// What a renderer meets on its way through a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A style begins.
    Open(&'a Style),
    /// Text to escape.
    Text(&'a str),
    /// The innermost open style ends.
    Close(&'a Style),
}

/// Length in UTF-16 units.
#[must_use]
pub fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The byte at which UTF-16 unit `offset` begins; `None` behind the end and inside a surrogate pair.
#[must_use]
pub fn utf16_to_byte(text: &str, offset: usize) -> Option<usize> {
    let mut units = 0;
    for (byte, c) in text.char_indices() {
        if units >= offset {
            return (units == offset).then_some(byte);
        }
        units += c.len_utf16();
    }
    (units == offset).then_some(text.len())
}

/// The last byte boundary that is at most `units` UTF-16 units behind `start`.
fn reach(text: &str, start: usize, units: usize) -> usize {
    let mut left = units;
    for (byte, c) in text[start..].char_indices() {
        match left.checked_sub(c.len_utf16()) {
            Some(rest) => left = rest,
            None => return start + byte,
        }
    }
    text.len()
}

impl Marked {
    /// Text without styles.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            spans: Vec::new(),
        }
    }

    /// Messages of at most `limit` UTF-16 units (at least 2, so that every character fits), none of them blank.
    #[must_use]
    pub fn split(&self, limit: usize, chunking: Chunking) -> Vec<Self> {
        let limit = limit.max(2);
        let mut pieces = Vec::new();
        for paragraphs in self.paragraphs(chunking) {
            self.split_range(paragraphs, limit, &mut pieces);
        }
        pieces
    }

    /// The first message of [`split`](Self::split) by length; a preview of a longer text.
    #[must_use]
    pub fn first(&self, limit: usize) -> Option<Self> {
        self.split(limit, Chunking::Length).into_iter().next()
    }

    /// Calls `each` with the styles and texts in reading order.
    pub fn walk<'a>(&'a self, mut each: impl FnMut(Piece<'a>)) {
        let mut open: Vec<&Span> = Vec::new();
        let mut at = 0;
        let advance = |at: &mut usize, to: usize, each: &mut dyn FnMut(Piece<'a>)| {
            if to > *at {
                each(Piece::Text(&self.text[*at..to]));
                *at = to;
            }
        };
        for span in &self.spans {
            while let Some(last) = open.pop_if(|last| last.range.end <= span.range.start) {
                advance(&mut at, last.range.end, &mut each);
                each(Piece::Close(&last.style));
            }
            advance(&mut at, span.range.start, &mut each);
            each(Piece::Open(&span.style));
            open.push(span);
        }
        while let Some(last) = open.pop() {
            advance(&mut at, last.range.end, &mut each);
            each(Piece::Close(&last.style));
        }
        advance(&mut at, self.text.len(), &mut each);
    }

    fn paragraphs(&self, chunking: Chunking) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let mut start = 0;
        if chunking == Chunking::Newline {
            for (at, _) in self.text.match_indices("\n\n") {
                if at >= start && !self.in_code(at) {
                    ranges.push(start..at);
                    start = at + 2;
                }
            }
        }
        ranges.push(start..self.text.len());
        ranges
    }

    fn split_range(&self, range: Range<usize>, limit: usize, pieces: &mut Vec<Self>) {
        let Range { mut start, end } = range;
        while start < end {
            let far = reach(&self.text, start, limit).min(end);
            let cut = if far == end {
                end
            } else {
                self.cut_before(start, far, limit)
            };
            if let Some(piece) = self.slice(start..cut) {
                pieces.push(piece);
            }
            start = cut;
            let rest = &self.text[start..end];
            start += match self.in_code(start) {
                true => usize::from(rest.starts_with('\n')),
                false => rest.len() - rest.trim_start().len(),
            };
        }
    }

    /// The best place for a cut between `start` and `far`.
    fn cut_before(&self, start: usize, far: usize, limit: usize) -> usize {
        let half = reach(&self.text, start, limit / 2);
        // A break right behind the last character that fits is as good as one before it.
        let next = self.text[far..].chars().next().map_or(0, char::len_utf8);
        let window = &self.text[half..far + next];
        let paragraph = window
            .rmatch_indices("\n\n")
            .map(|(at, _)| half + at)
            .find(|at| !self.in_code(*at));
        let space = |wanted: fn(char) -> bool| {
            window
                .char_indices()
                .rev()
                .find(|(_, c)| wanted(*c))
                .map(|(at, _)| half + at)
        };
        paragraph
            .or_else(|| space(|c| c == '\n'))
            .or_else(|| space(char::is_whitespace))
            .filter(|cut| *cut > start)
            .unwrap_or_else(|| grapheme_before(&self.text, start, far))
    }

    fn in_code(&self, at: usize) -> bool {
        self.spans.iter().any(|span| {
            matches!(span.style, Style::Pre(_)) && span.range.start <= at && at < span.range.end
        })
    }

    /// The styled text of a range without the blanks at its ends, except in code; nothing when only blanks are left.
    fn slice(&self, range: Range<usize>) -> Option<Self> {
        let text = &self.text[range.clone()];
        let end = range.start + text.trim_end().len();
        let lead = text.len() - text.trim_start().len();
        let start = match self.in_code(range.start) {
            true => range.start,
            false => range.start + lead,
        };
        if start >= end {
            return None;
        }
        let spans = self.spans.iter().filter_map(|span| {
            let (from, to) = (span.range.start.max(start), span.range.end.min(end));
            (from < to).then(|| Span {
                range: from - start..to - start,
                style: span.style.clone(),
            })
        });
        Some(Self {
            text: self.text[start..end].to_owned(),
            spans: spans.collect(),
        })
    }
}

/// The last grapheme boundary in `start..=far`, or `far` itself when the first grapheme alone is longer.
fn grapheme_before(text: &str, start: usize, far: usize) -> usize {
    let mut cursor = GraphemeCursor::new(far, text.len(), true);
    let boundary = match cursor.is_boundary(text, 0) {
        Ok(true) => Some(far),
        _ => cursor.prev_boundary(text, 0).ok().flatten(),
    };
    boundary.filter(|at| *at > start).unwrap_or(far)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_markdown;

    fn texts(marked: &Marked, limit: usize, chunking: Chunking) -> Vec<String> {
        let pieces = marked.split(limit, chunking);
        pieces.into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn utf16_offsets_are_bytes_only_between_characters() {
        let text = "a😀é";
        assert_eq!(utf16_len(text), 4);
        assert_eq!(utf16_to_byte(text, 0), Some(0));
        assert_eq!(utf16_to_byte(text, 1), Some(1));
        assert_eq!(utf16_to_byte(text, 2), None, "inside the pair");
        assert_eq!(utf16_to_byte(text, 3), Some(5));
        assert_eq!(utf16_to_byte(text, 4), Some(7));
        assert_eq!(utf16_to_byte(text, 5), None);
    }

    #[test]
    fn no_message_is_longer_than_the_limit_and_no_text_is_lost() {
        let source =
            "Über 😀 Wörter, die länger sind als andere.\n\nZweiter Absatz 👩‍👩‍👧 hier. ".repeat(40);
        for limit in [2, 3, 7, 30, 100, 4096] {
            let pieces = texts(&Marked::plain(&*source), limit, Chunking::Length);
            assert!(
                pieces.iter().all(|piece| utf16_len(piece) <= limit),
                "{limit}"
            );
            let squeeze = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(squeeze(&pieces.concat()), squeeze(&source), "{limit}");
        }
    }

    #[test]
    fn a_cut_prefers_paragraph_line_space_and_then_a_grapheme() {
        let split = |text: &str, limit| texts(&Marked::plain(text), limit, Chunking::Length);
        assert_eq!(split("aaaa bbb\n\ncc dd", 12), ["aaaa bbb", "cc dd"]);
        assert_eq!(split("aaaa bbb\ncc dd", 12), ["aaaa bbb", "cc dd"]);
        assert_eq!(split("aaaa bbbb cccc", 10), ["aaaa bbbb", "cccc"]);
        assert_eq!(
            split("aaaa bbbb", 4),
            ["aaaa", "bbbb"],
            "a break right behind"
        );
        assert_eq!(
            split("e\u{301}e\u{301}e\u{301}", 3),
            ["e\u{301}", "e\u{301}", "e\u{301}"]
        );
        assert_eq!(split("a😀😀", 2), ["a", "😀", "😀"], "no half pair");
    }

    #[test]
    fn one_endless_grapheme_is_cut_between_characters() {
        let text = format!("e{}", "\u{301}".repeat(9));
        let pieces = texts(&Marked::plain(&*text), 4, Chunking::Length);
        assert_eq!(pieces.concat(), text);
        assert!(pieces.iter().all(|piece| utf16_len(piece) <= 4));
    }

    #[test]
    fn a_code_fence_that_is_cut_is_closed_and_opened_again() {
        let marked = parse_markdown("before\n\n```rust\nlet a = 1;\n\nlet b = 2;\n```\nafter");
        let pieces = marked.split(20, Chunking::Length);
        let in_code: Vec<_> = pieces
            .iter()
            .filter(|piece| !piece.spans.is_empty())
            .collect();
        assert!(in_code.len() >= 2, "{pieces:?}");
        for piece in in_code {
            let span = &piece.spans[0];
            assert_eq!(span.style, Style::Pre("rust".into()));
            assert!(span.range.end <= piece.text.len());
        }
    }

    #[test]
    fn paragraphs_are_messages_of_their_own_on_wish_but_not_within_code() {
        let marked = parse_markdown("one\n\ntwo\n\n```\na\n\nb\n```");
        assert_eq!(
            texts(&marked, 4096, Chunking::Newline),
            ["one", "two", "a\n\nb"]
        );
        assert_eq!(
            texts(&marked, 4096, Chunking::Length),
            ["one\n\ntwo\n\na\n\nb"]
        );
    }

    #[test]
    fn the_walk_opens_and_closes_in_order() {
        let marked = parse_markdown("a **b *c* d**");
        let mut seen = String::new();
        marked.walk(|piece| match piece {
            Piece::Open(style) => seen += &format!("<{style:?}>"),
            Piece::Text(text) => seen += text,
            Piece::Close(style) => seen += &format!("</{style:?}>"),
        });
        assert_eq!(seen, "a <Bold>b <Italic>c</Italic> d</Bold>");
    }

    #[test]
    fn blanks_alone_are_no_message() {
        assert!(
            Marked::plain(" \n\n ")
                .split(10, Chunking::Length)
                .is_empty()
        );
        assert!(Marked::plain("").split(10, Chunking::Newline).is_empty());
    }
}
