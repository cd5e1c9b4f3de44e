//! Where in the text something is added or taken away, with the commas and line breaks that go with it.
//! Touches no comment but those inside a value that is taken away.

use super::print::Style;
use crate::json5::{Member, Node, is_blank, is_line_end};
use crate::problem::Span;

/// What stands in the place of a range.
pub(super) type Change = (Span, String);

/// Makes all changes; their ranges do not overlap.
pub(super) fn apply(text: &str, mut changes: Vec<Change>) -> String {
    changes.sort_by_key(|(span, _)| *span);
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for (span, new) in changes {
        out.push_str(&text[at..span.start]);
        out.push_str(&new);
        at = span.end;
    }
    out.push_str(&text[at..]);
    out
}

/// A member with its key.
pub(super) fn item(member: &Member) -> Span {
    Span::new(member.key_span.start, member.node.span.end)
}

/// What follows a value up to the next one or the bracket.
struct Gap {
    comma: Option<usize>,
    /// The end of the last comma or comment.
    end: usize,
    /// The last one is a comment that ends with its line.
    open: bool,
    comments: bool,
}

fn gap(text: &str, from: usize) -> Gap {
    let mut gap = Gap {
        comma: None,
        end: from,
        open: false,
        comments: false,
    };
    let mut at = from;
    loop {
        let rest = &text[at..];
        if rest.starts_with("//") {
            at += rest.find(is_line_end).unwrap_or(rest.len());
            (gap.end, gap.open, gap.comments) = (at, true, true);
        } else if let Some(inside) = rest.strip_prefix("/*") {
            at += inside.find("*/").map_or(rest.len(), |length| length + 4);
            (gap.end, gap.open, gap.comments) = (at, false, true);
        } else if rest.starts_with(',') && gap.comma.is_none() {
            gap.comma = Some(at);
            at += 1;
            (gap.end, gap.open) = (at, false);
        } else {
            match rest.chars().next().filter(|c| is_blank(*c)) {
                Some(c) => at += c.len_utf8(),
                None => return gap,
            }
        }
    }
}

/// Whether a container ends with a comma, if it holds anything.
pub(super) fn ends_with_comma(text: &str, last: Span) -> bool {
    gap(text, last.end).comma.is_some()
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at]
        .char_indices()
        .rev()
        .find(|(_, c)| is_line_end(*c))
        .map_or(0, |(index, c)| index + c.len_utf8())
}

/// What the line of `at` begins with.
pub(super) fn indent(text: &str, at: usize) -> &str {
    let line = text[line_start(text, at)..].trim_start_matches('\u{feff}');
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// Whether nothing stands before `at` in its line.
pub(super) fn is_first(text: &str, at: usize) -> bool {
    text[line_start(text, at)..at].chars().all(is_blank)
}

fn has_line_end(text: &str) -> bool {
    text.contains(is_line_end)
}

fn insertion(at: usize, text: String) -> Change {
    (Span::new(at, at), text)
}

/// Adds to the end of an object or array, whose last member is `last`. `member` writes it for an indentation.
pub(super) fn append(
    text: &str,
    node: &Node,
    last: Option<Span>,
    outermost: bool,
    style: &Style,
    member: &dyn Fn(&str) -> String,
) -> Vec<Change> {
    let (inner, close) = (node.span.start + 1, node.span.end - 1);
    let gap = gap(text, last.map_or(inner, |last| last.end));
    let after = &text[gap.end..close];
    let outer = indent(text, node.span.start);
    let deeper = format!("{outer}{}", style.unit);
    let newline = style.newline;
    let Some(last) = last else {
        let line = member(outer);
        let wide = line.len() + outer.len() > Style::WIDTH || line.contains('\n');
        if has_line_end(&text[inner..close]) || outermost || wide {
            let comma = if style.trailing { "," } else { "" };
            let end = match has_line_end(after) {
                true => String::new(),
                false => format!("{newline}{outer}"),
            };
            let line = format!("{newline}{deeper}{}{comma}{end}", member(&deeper));
            let blank = if end.is_empty() { gap.end } else { close };
            return vec![(Span::new(gap.end, blank), line)];
        }
        return vec![(Span::new(gap.end, close), format!(" {line} "))];
    };
    let mut changes = Vec::new();
    let comma = match gap.comma {
        Some(_) => ",",
        None => {
            changes.push(insertion(last.end, ",".to_owned()));
            ""
        }
    };
    let multi = gap.open || has_line_end(after);
    let line = match multi {
        true => {
            let indent = match is_first(text, last.start) {
                true => indent(text, last.start),
                false => &deeper,
            };
            format!("{newline}{indent}{}{comma}", member(indent))
        }
        false => format!(" {}{comma}", member(indent(text, last.start))),
    };
    changes.push(insertion(gap.end, line));
    changes
}

/// Adds in front of an item of an array.
pub(super) fn before(
    text: &str,
    item: Span,
    style: &Style,
    member: &dyn Fn(&str) -> String,
) -> Vec<Change> {
    let indent = indent(text, item.start);
    let member = member(indent);
    let line = match is_first(text, item.start) {
        true => format!("{member},{}{indent}", style.newline),
        false => format!("{member}, "),
    };
    vec![insertion(item.start, line)]
}

/// Takes one of the items away. What is left of an object or array that held nothing else is `{}` or `[]`.
pub(super) fn remove(text: &str, node: &Node, items: &[Span], index: usize) -> Vec<Change> {
    let item = items[index];
    let after = gap(text, item.end);
    let mut changes = Vec::new();
    let mut cut = |start, end| changes.push((Span::new(start, end), String::new()));
    let end = match after.comma {
        // Without a comment between them value and comma go together.
        Some(comma) if text[item.end..comma].chars().all(is_blank) => comma + 1,
        Some(comma) => {
            cut(comma, comma + 1);
            item.end
        }
        None => {
            let above = index
                .checked_sub(1)
                .map(|above| gap(text, items[above].end));
            if let Some(comma) = above.and_then(|gap| gap.comma) {
                cut(comma, comma + 1);
            }
            item.end
        }
    };
    let space = |c: char| matches!(c, ' ' | '\t');
    let (inner, close) = (node.span.start + 1, node.span.end - 1);
    let (head, tail) = (&text[inner..item.start], &text[end..close]);
    if items.len() == 1 && head.chars().chain(tail.chars()).all(is_blank) {
        cut(inner, close);
        return changes;
    }
    let rest = &text[end..];
    let line = rest.trim_start_matches(space);
    let line_end = end + rest.len() - line.len();
    let newline = match line.as_bytes() {
        [b'\r', b'\n', ..] => 2,
        [b'\n' | b'\r', ..] => 1,
        _ => 0,
    };
    match is_first(text, item.start) {
        true if newline > 0 => cut(line_start(text, item.start), line_end + newline),
        true => cut(item.start, line_end),
        false => {
            let kept = text[..item.start].trim_end_matches(space).len();
            // A comma that goes as well ends what stays.
            cut(kept.max(inner), end);
        }
    }
    changes
}
