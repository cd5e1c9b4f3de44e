//! Markdown (CommonMark with tables, task lists and strike-through) made into text with styles. What chats cannot show is
//! put in words or signs: bullets, rules, tables in aligned columns. HTML in it stays as it is written: text.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use unicode_segmentation::UnicodeSegmentation as _;

use crate::{Marked, Span, Style};

/// Levels of lists that are indented; deeper ones stand below the last. Without an end n bullets on one line would be
/// n times n blanks.
const DEEPEST: usize = 8;
/// Graphemes up to which the cells of a column are padded, for the same reason.
const WIDEST: usize = 60;

/// Text and styles of a Markdown source. Nothing is refused: every text is Markdown.
#[must_use]
pub fn parse_markdown(source: &str) -> Marked {
    let options =
        Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS;
    let mut builder = Builder::default();
    for event in Parser::new_ext(source, options) {
        builder.event(event);
    }
    builder.finish()
}

#[derive(Default)]
struct Builder {
    text: String,
    spans: Vec<Span>,
    /// Begun and not ended: the index of the span, or nothing for what has no style of its own.
    open: Vec<Option<usize>>,
    /// Line ends to write before the next text.
    breaks: usize,
    /// The next number of each open list, or nothing for bullets.
    lists: Vec<Option<u64>>,
    /// Right behind a bullet or the beginning of a quote, where a paragraph begins without a blank line.
    at_start: bool,
    table: Option<Table>,
}

#[derive(Default)]
struct Table {
    rows: Vec<Vec<String>>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Code(text) => {
                self.begin(Style::Code);
                self.push(&text);
                self.close();
            }
            Event::SoftBreak | Event::HardBreak => self.push("\n"),
            Event::Rule => {
                self.block(2);
                self.push("———");
                self.block(2);
            }
            Event::TaskListMarker(done) => self.push(if done { "☑ " } else { "☐ " }),
            Event::Text(text)
            | Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => self.push(&text),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { .. } => {
                self.block(2);
                self.begin(Style::Bold);
            }
            Tag::BlockQuote(_) => {
                self.block(2);
                self.begin(Style::Quote);
                self.at_start = true;
            }
            Tag::CodeBlock(kind) => {
                let language = match kind {
                    CodeBlockKind::Fenced(info) => info
                        .split(|c: char| c.is_whitespace() || c == ',')
                        .next()
                        .unwrap_or_default()
                        .to_owned(),
                    CodeBlockKind::Indented => String::new(),
                };
                self.block(2);
                self.begin(Style::Pre(language));
            }
            Tag::List(first) => {
                self.block(if self.lists.is_empty() { 2 } else { 1 });
                self.lists.push(first);
            }
            Tag::Item => self.item(),
            Tag::Table(_) => self.table = Some(Table::default()),
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.rows.push(Vec::new());
                }
            }
            Tag::TableCell => {
                if let Some(row) = self.table.as_mut().and_then(|table| table.rows.last_mut()) {
                    row.push(String::new());
                }
            }
            Tag::Emphasis => self.begin(Style::Italic),
            Tag::Strong => self.begin(Style::Bold),
            Tag::Strikethrough => self.begin(Style::Strike),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.begin(Style::Link(dest_url.into_string()));
            }
            _ => self.block(2),
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::CodeBlock => {
                let code = self.open.last().copied().flatten();
                let begins = code.map_or(0, |index| self.spans[index].range.start);
                let kept = self.text.trim_end_matches('\n').len().max(begins);
                self.text.truncate(kept);
                self.close();
                self.block(2);
            }
            TagEnd::Heading(_) | TagEnd::BlockQuote(_) => {
                self.close();
                self.block(2);
            }
            TagEnd::Emphasis
            | TagEnd::Strong
            | TagEnd::Strikethrough
            | TagEnd::Link
            | TagEnd::Image => self.close(),
            TagEnd::List(_) => {
                self.lists.pop();
                self.block(if self.lists.is_empty() { 2 } else { 1 });
            }
            TagEnd::Item => {
                self.at_start = false;
                self.breaks = self.breaks.min(1);
            }
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    self.block(2);
                    self.begin(Style::Pre(String::new()));
                    self.push(&table.to_text());
                    self.close();
                    self.block(2);
                }
            }
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.block(2),
            _ => {}
        }
    }

    fn item(&mut self) {
        self.block(1);
        let depth = self.lists.len().saturating_sub(1);
        let indent = "  ".repeat(depth.min(DEEPEST));
        let bullet = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{indent}{}. ", *number - 1)
            }
            _ => format!("{indent}• "),
        };
        self.push(&bullet);
        self.at_start = true;
    }

    /// Asks for line ends before the next text; never at the very beginning.
    fn block(&mut self, breaks: usize) {
        if !self.text.is_empty() && !self.at_start {
            self.breaks = self.breaks.max(breaks);
        }
    }

    fn push(&mut self, text: &str) {
        if let Some(row) = self.table.as_mut().and_then(|table| table.rows.last_mut()) {
            if let Some(cell) = row.last_mut() {
                cell.push_str(text);
            }
            return;
        }
        self.flush();
        self.text.push_str(text);
        self.at_start = false;
    }

    fn flush(&mut self) {
        for _ in 0..std::mem::take(&mut self.breaks) {
            self.text.push('\n');
        }
    }

    fn begin(&mut self, style: Style) {
        if self.table.is_some() {
            return;
        }
        self.flush();
        // Chats refuse a style within itself, and any style within code.
        let within = |found: &Option<usize>| {
            found.is_some_and(|index| {
                let outer = &self.spans[index].style;
                std::mem::discriminant(outer) == std::mem::discriminant(&style)
            })
        };
        if self.open.iter().any(within) {
            self.open.push(None);
            return;
        }
        let at = self.text.len();
        self.open.push(Some(self.spans.len()));
        self.spans.push(Span {
            range: at..at,
            style,
        });
    }

    fn close(&mut self) {
        if self.table.is_some() {
            return;
        }
        if let Some(Some(index)) = self.open.pop() {
            self.spans[index].range.end = self.text.len();
        }
    }

    fn finish(mut self) -> Marked {
        self.spans.retain(|span| !span.range.is_empty());
        Marked {
            text: self.text,
            spans: self.spans,
        }
    }
}

impl Table {
    /// Columns padded to the same width, counted in graphemes; cells wider than that stick out. A row ends with its last
    /// cell that holds anything: the parser adds those that are missing, and each of them would cost a column's width.
    fn to_text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.graphemes(true).count())
                .max()
                .unwrap_or(0)
                .min(WIDEST)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut lines: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let last = row.iter().rposition(|cell| !cell.is_empty());
                let cells = row.iter().take(last.map_or(0, |at| at + 1)).zip(&widths);
                let cells = cells.map(|(cell, width)| {
                    let missing = width.saturating_sub(cell.graphemes(true).count());
                    format!("{cell}{}", " ".repeat(missing))
                });
                let line = cells.collect::<Vec<_>>().join(" | ");
                line.trim_end().to_owned()
            })
            .collect();
        if lines.len() > 1 {
            let rule = widths.iter().map(|width| "-".repeat(*width));
            lines.insert(1, rule.collect::<Vec<_>>().join("-+-"));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with each styled stretch in brackets.
    fn shown(source: &str) -> String {
        let marked = parse_markdown(source);
        let mut out = String::new();
        marked.walk(|piece| match piece {
            crate::Piece::Open(Style::Pre(language)) => out += &format!("{{pre {language}:"),
            crate::Piece::Open(Style::Link(url)) => out += &format!("{{link {url}:"),
            crate::Piece::Open(style) => out += &format!("{{{style:?}:").to_lowercase(),
            crate::Piece::Text(text) => out += text,
            crate::Piece::Close(_) => out += "}",
        });
        out
    }

    #[test]
    fn every_construct_has_one_plain_form() {
        for (source, wanted) in [
            ("plain", "plain"),
            ("a\nb", "a\nb"),
            ("a\n\nb", "a\n\nb"),
            ("# Title\ntext", "{bold:Title}\n\ntext"),
            (
                "**b** *i* ~~s~~ `c`",
                "{bold:b} {italic:i} {strike:s} {code:c}",
            ),
            ("[t](https://x.y)", "{link https://x.y:t}"),
            ("![alt](https://x.y/p.png)", "{link https://x.y/p.png:alt}"),
            ("- a\n- b\n  - c", "• a\n• b\n  • c"),
            ("3. a\n4. b", "3. a\n4. b"),
            ("text\n- a\n- b\n\nafter", "text\n\n• a\n• b\n\nafter"),
            ("- [x] done\n- [ ] open", "• ☑ done\n• ☐ open"),
            ("> quoted\n> more\n\nmine", "{quote:quoted\nmore}\n\nmine"),
            ("> a\n>> b", "{quote:a\n\nb}"),
            ("a\n\n> b", "a\n\n{quote:b}"),
            ("- a\n\n  more\n- b", "• a\n\nmore\n• b"),
            ("-\n- b", "• \n• b"),
            (
                "```rust\nfn x() {}\n```\nend",
                "{pre rust:fn x() {}}\n\nend",
            ),
            ("a\n\n---\n\nb", "a\n\n———\n\nb"),
            ("1 < 2 & <b>x</b>", "1 < 2 & <b>x</b>"),
            ("snake_case_name", "snake_case_name"),
            ("# **x**", "{bold:x}"),
            ("", ""),
        ] {
            assert_eq!(shown(source), wanted, "{source:?}");
        }
    }

    #[test]
    fn a_table_is_text_in_columns() {
        let table = "| a | long |\n|---|---|\n| 1 | 2 |\n";
        assert_eq!(shown(table), "{pre :a | long\n--+-----\n1 | 2}");
    }

    #[test]
    fn no_text_grows_with_its_square() {
        let lists = format!("{}x", "- ".repeat(2000));
        let wide = format!(
            "|{}|b|\n|-|-|\n{}",
            "a".repeat(10_000),
            "|x|y|\n".repeat(1000)
        );
        let ragged = format!(
            "{}\n{}\n{}\n{}",
            "|x".repeat(1000),
            "|-".repeat(1000),
            format!("|{}", "a".repeat(60)).repeat(1000),
            "|x\n".repeat(200)
        );
        for source in [lists, wide, ragged] {
            let text = parse_markdown(&source).text;
            assert!(
                text.contains('x') && text.len() < 40 * source.len(),
                "{}",
                text.len()
            );
        }
    }

    #[test]
    fn an_unfinished_fence_is_code_to_the_end() {
        assert_eq!(shown("```py\nx = 1"), "{pre py:x = 1}");
    }
}
