//! A text as others read it: a browser, which knows HTML and leaves characters out, and whoever sees it when its markup is
//! gone. For finding the links in it, and for nothing that is shown.

/// Characters that HTML can name and that matter in an address.
const NAMED: &[(&str, char)] = &[
    ("amp", '&'),
    ("period", '.'),
    ("sol", '/'),
    ("bsol", '\\'),
    ("colon", ':'),
    ("commat", '@'),
    ("percnt", '%'),
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("quot", '"'),
    ("apos", '\''),
    ("lt", '<'),
    ("gt", '>'),
];
/// Elements of HTML that stand on lines of their own.
const BLOCKS: &[&str] = &[
    "p",
    "div",
    "br",
    "li",
    "ul",
    "ol",
    "td",
    "th",
    "tr",
    "table",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "pre",
    "blockquote",
];

/// The text as a browser reads it: references of HTML replaced, wide letters and other dots in their usual form.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let (c, after) = reference(after).unwrap_or(('&', after));
        plain.push(c);
        rest = after;
    }
    plain.push_str(rest);
    let seen = plain.chars().filter(|c| !is_unseen(*c));
    let usual = seen.map(|c| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '\u{3002}' | '\u{ff61}' | '\u{2024}' | '\u{fe52}' => '.',
        c => c,
    });
    usual.collect()
}

/// The character that HTML means by what stands behind an ampersand, and what is left.
fn reference(text: &str) -> Option<(char, &str)> {
    let Some(number) = text.strip_prefix('#') else {
        let end = text.find(|c: char| !c.is_ascii_alphabetic())?;
        let rest = text[end..].strip_prefix(';')?;
        let row = NAMED.iter().find(|row| row.0 == &text[..end])?;
        return Some((row.1, rest));
    };
    let (digits, radix) = match number.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix));
    let (digits, rest) = digits.split_at(end.unwrap_or(digits.len()));
    let c = char::from_u32(u32::from_str_radix(digits, radix).ok()?)?;
    Some((c, rest.strip_prefix(';').unwrap_or(rest)))
}

/// The text as it is shown, without what only changes its look.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        shown.push_str(before);
        let end = after
            .find(['<', '>'])
            .filter(|end| after[*end..].starts_with('>'));
        let name = after.trim_start_matches('/');
        let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next();
        let parts = |name: &str| BLOCKS.iter().any(|block| name.eq_ignore_ascii_case(block));
        match end {
            Some(end) => rest = &after[end + 1..],
            None => rest = after,
        }
        if end.is_none() || name.is_none_or(parts) {
            shown.push(' ');
        }
    }
    shown.push_str(rest);
    let mut marked = shown.chars().peekable();
    let mut plain = String::with_capacity(shown.len());
    while let Some(c) = marked.next() {
        let escapes = c == '\\' && marked.peek().is_some_and(char::is_ascii_punctuation);
        if !escapes && !matches!(c, '*' | '~' | '`') {
            plain.push(c);
        }
    }
    plain
}

/// Undoes the escapes of an address.
pub(super) fn unescaped(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Characters that browsers leave out of a name.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0100}'..='\u{e01ef}'
    )
}
