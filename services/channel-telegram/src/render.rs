//! Styled text as Telegram's HTML, which is strict: only its own tags, code holds no other style, and quotes, links and
//! code are not nested in themselves. What it would refuse is left out here and stays as text.

use clawdbot_channel::{Marked, Piece, Style};

/// A message as HTML and as plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) html: String,
    pub(crate) plain: String,
}

/// Schemes of links that Telegram makes clickable.
const SCHEMES: [&str; 5] = ["http://", "https://", "tg://", "mailto:", "tel:"];

/// Renders one message.
pub(crate) fn render(marked: &Marked) -> Rendered {
    let mut html = String::with_capacity(marked.text.len() + 64);
    // For each open style: its end tag, and whether it is code.
    let mut open: Vec<(&str, bool)> = Vec::new();
    marked.walk(|piece| match piece {
        Piece::Open(style) => {
            let in_code = open.iter().any(|(_, code)| *code);
            let (start, end, code) = tags(style).filter(|_| !in_code).unwrap_or_default();
            html += &start;
            open.push((end, code));
        }
        Piece::Text(text) => escape(text, &mut html),
        Piece::Close(_) => html += open.pop().unwrap_or_default().0,
    });
    Rendered {
        html,
        plain: marked.text.clone(),
    }
}

/// Start tag, end tag, and whether it is code.
fn tags(style: &Style) -> Option<(String, &'static str, bool)> {
    Some(match style {
        Style::Bold => ("<b>".into(), "</b>", false),
        Style::Italic => ("<i>".into(), "</i>", false),
        Style::Strike => ("<s>".into(), "</s>", false),
        Style::Quote => ("<blockquote>".into(), "</blockquote>", false),
        Style::Code => ("<code>".into(), "</code>", true),
        Style::Pre(language) if language.is_empty() => ("<pre>".into(), "</pre>", true),
        Style::Pre(language) => {
            let mut start = "<pre><code class=\"language-".to_owned();
            escape(language, &mut start);
            (start + "\">", "</code></pre>", true)
        }
        Style::Link(url) => {
            let lower = url.to_ascii_lowercase();
            if !SCHEMES.iter().any(|scheme| lower.starts_with(scheme)) {
                return None;
            }
            let mut start = "<a href=\"".to_owned();
            escape(url, &mut start);
            (start + "\">", "</a>", false)
        }
    })
}

fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            _ => html.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_channel::parse_markdown;

    use super::*;

    #[test]
    fn styles_become_tags_and_text_is_escaped() {
        for (source, wanted) in [
            ("a < b & \"c\"", "a &lt; b &amp; &quot;c&quot;"),
            (
                "**b** *i* ~~s~~ `x<y`",
                "<b>b</b> <i>i</i> <s>s</s> <code>x&lt;y</code>",
            ),
            ("**b *i* b**", "<b>b <i>i</i> b</b>"),
            (
                "```rust\na&b\n```",
                "<pre><code class=\"language-rust\">a&amp;b</code></pre>",
            ),
            ("```\nx\n```", "<pre>x</pre>"),
            ("> q", "<blockquote>q</blockquote>"),
            (
                "[t](https://x.y/?a=1&b=2)",
                "<a href=\"https://x.y/?a=1&amp;b=2\">t</a>",
            ),
            ("[t](javascript:alert)", "t"),
            ("**`c`**", "<b><code>c</code></b>"),
            ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ] {
            assert_eq!(render(&parse_markdown(source)).html, wanted, "{source}");
        }
    }
}
