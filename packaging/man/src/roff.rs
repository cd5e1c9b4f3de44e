//! Writes the language of manual pages. Text is escaped here and nowhere else; what stands between backticks is set bold.

use std::fmt::Write as _;

/// A page that grows.
pub struct Page {
    text: String,
}

impl Page {
    /// `name` as in `man NAME`, with its section and one line of what it is.
    pub fn new(name: &str, section: u8, about: &str, date: &str) -> Self {
        let mut text = header(name, section, date);
        // The line that apropos reads; no capital and no full stop there.
        let about = about.trim_end_matches('.');
        let _ = writeln!(text, ".SH NAME\n{} \\- {}", escape(name), prose(about));
        Self { text }
    }

    /// Begins a section.
    pub fn section(&mut self, title: &str) -> &mut Self {
        self.line(&format!(".SH \"{}\"", escape(title)))
    }

    /// Begins a part of a section.
    pub fn part(&mut self, title: &str) -> &mut Self {
        self.line(&format!(".SS \"{}\"", escape(title)))
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) -> &mut Self {
        let text = prose(text);
        // The first of a section needs no sign, and is not given one.
        let last = self.text.lines().last().unwrap_or_default();
        if !last.starts_with(".S") {
            self.line(".PP");
        }
        self.line(&text)
    }

    /// A paragraph that hangs on a word.
    pub fn item(&mut self, word: &str, text: &str) -> &mut Self {
        // A path of a setting may be longer than a line.
        let word = escape(word).replace('.', ".\\:");
        self.line(".TP")
            .line(&format!("\\fB{word}\\fR"))
            .line(&prose(text))
    }

    /// Lines as they are.
    pub fn verbatim(&mut self, text: &str) -> &mut Self {
        self.line(".PP\n.RS 4\n.nf");
        for line in text.lines() {
            self.line(&escape(line));
        }
        self.line(".fi\n.RE")
    }

    /// Pages beside this one, as `clawdbot(1)`.
    pub fn see_also(&mut self, pages: &[String]) -> &mut Self {
        self.section("SEE ALSO");
        let pages: Vec<String> = pages.iter().map(|page| reference(page)).collect();
        self.line(&pages.join(",\n"))
    }

    /// What is written in that language already.
    pub fn raw(&mut self, text: &str) -> &mut Self {
        self.line(text.trim_end())
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    fn line(&mut self, line: &str) -> &mut Self {
        self.text.push_str(line);
        self.text.push('\n');
        self
    }
}

/// What every page begins with: long words, such as paths of settings, would tear lines apart that are adjusted.
pub fn header(name: &str, section: u8, date: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let title = escape(&name.to_uppercase());
    format!(
        ".TH \"{title}\" {section} \"{date}\" \"clawdbot {version}\" \"Clawdbot\"\n.ad l\n.nh\n"
    )
}

/// `\fBclawdbot\fR(1)`.
fn reference(page: &str) -> String {
    match page.split_once('(') {
        Some((name, section)) => format!("\\fB{}\\fR({section}", escape(name)),
        None => escape(page),
    }
}

/// Text of a paragraph, on one line.
fn prose(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    bold(&escape(&text))
}

/// Sets what stands between backticks bold; a single one stays.
pub fn bold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, code, after)) = rest.split_once('`').and_then(|(before, rest)| {
        rest.split_once('`')
            .map(|(code, after)| (before, code, after))
    }) {
        let _ = write!(out, "{before}\\fB{code}\\fR");
        rest = after;
    }
    out + rest
}

/// Signs that would be commands or would be replaced by typographic ones; what is not ASCII by its number, so that no
/// encoding matters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    if text.starts_with(['.', '\'']) {
        out.push_str("\\&");
    }
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '"' => out.push_str("\\(dq"),
            '\'' => out.push_str("\\(aq"),
            '\u{2013}' => out.push_str("\\(en"),
            '\u{2026}' => out.push_str("..."),
            c if c.is_ascii() => out.push(c),
            c => {
                let _ = write!(out, "\\[u{:04X}]", u32::from(c));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_a_command() {
        assert_eq!(escape(".so x"), "\\&.so x");
        assert_eq!(escape("'x"), "\\&\\(aqx");
        assert_eq!(escape("a\\b"), "a\\eb");
        assert_eq!(escape("--no-color ~/x"), "\\-\\-no\\-color \\(ti/x");
        assert_eq!(escape("\u{e9}\u{2013}\u{2026}"), "\\[u00E9]\\(en...");
        let mut page = Page::new("x", 1, "Does x.", "2026-01-31");
        page.section("A").paragraph("one\n.two  three");
        assert!(page.text().ends_with(".SH \"A\"\none .two three\n"));
        assert!(page.text().contains("x \\- Does x\n"));
    }

    #[test]
    fn what_is_typed_is_bold_and_an_odd_backtick_stays() {
        assert_eq!(bold("run `a b` or `c`."), "run \\fBa b\\fR or \\fBc\\fR.");
        assert_eq!(bold("a ` b"), "a ` b");
        assert_eq!(bold("`a` and ` b"), "\\fBa\\fR and ` b");
    }

    #[test]
    fn paragraphs_after_the_first_of_a_section_are_set_apart() {
        let mut page = Page::new("x", 1, "x", "2026-01-31");
        page.section("A").paragraph("one").paragraph("two");
        assert!(page.text().ends_with(".SH \"A\"\none\n.PP\ntwo\n"));
    }
}
